"""Google's own Schema as JSON Schema, with the client's words kept for a target that reads them as they are.

Google writes types in capitals, `nullable` beside a type, int64 bounds as strings and the order of properties apart;
the SDKs use camelCase or snake_case. (google-genai types, Schema)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from translators.written import SchemaField, WrittenSchema

_UNDERSCORE: Final = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_BOUNDS: Final = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "minimum", "maximum"}
)
_RENAMED: Final = {"defs": "$defs", "ref": "$ref"}


def camel(name: str) -> str:
    """*name* as Google's JSON has it: `top_k` is `topK`."""
    return _UNDERSCORE.sub(lambda match: match[1].upper(), name) if "_" in name else name


def written(field: SchemaField, value: Mapping[str, Any]) -> WrittenSchema:
    """What a client wrote under *field*; the two older fields hold Google's Schema."""
    schema = json_schema(value) if field in ("parameters", "responseSchema") else value
    return WrittenSchema(schema, field, value)


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Google's Schema as JSON Schema. Keywords of JSON Schema that some clients use there stay as they are."""
    node: dict[str, Any] = {}
    for key, value in schema.items():
        name = camel(key)
        name = _RENAMED.get(name, name)
        if value is not None:
            node[name] = _value(name, value)
    _order_properties(node)
    if "example" in node:
        node.setdefault("examples", [node.pop("example")])
    if node.get("format") == "enum":
        del node["format"]
    if node.pop("nullable", False) is True:
        _allow_null(node)
    return {name: value for name, value in node.items() if value is not _NOTHING}


_NOTHING: Final = object()


def _value(name: str, value: Any) -> Any:
    match name, value:
        case "type", str():
            return _NOTHING if value.upper() == "TYPE_UNSPECIFIED" else value.lower()
        case "type", list():
            return [kind.lower() if isinstance(kind, str) else kind for kind in value]
        case (("properties" | "$defs" | "definitions" | "patternProperties"), dict()):
            return {key: _schema(child) for key, child in value.items()}
        case (("items" | "additionalProperties" | "not"), dict()):
            return json_schema(value)
        case (("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items"), list()):
            return [_schema(child) for child in value]
        case _, str() if name in _BOUNDS:
            return _number(value)
        case _:
            return value


def _schema(value: Any) -> Any:
    return json_schema(value) if isinstance(value, dict) else value


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return text


def _order_properties(node: dict[str, Any]) -> None:
    order, properties = node.pop("propertyOrdering", None), node.get("properties")
    if isinstance(order, list) and isinstance(properties, dict):
        named = {name: properties[name] for name in order if isinstance(name, str) and name in properties}
        node["properties"] = {**named, **properties}
        if len(named) < len(order):
            node["propertyOrdering"] = order  # it names what is no property, which is to be said


def _allow_null(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if isinstance(kind, str):
        node["type"] = [kind, "null"]
    elif isinstance(node.get("anyOf"), list):
        node["anyOf"] = [*node["anyOf"], {"type": "null"}]
    if isinstance(node.get("enum"), list) and None not in node["enum"]:
        node["enum"] = [*node["enum"], None]
