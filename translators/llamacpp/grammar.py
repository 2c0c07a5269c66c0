"""JSON Schema as llama-cpp-python's grammar converter can take it, and schemas for calls.

The converter (llama_cpp/llama_grammar.py, 0.3.36) raises on schemas without a type, on boolean schemas and on
patterns without anchors, and resolves two refs with the same last name to one. Keywords that it does not know, such as
the bounds of numbers, it passes over in silence, and of several that stand together it takes one: alternatives before
types, types before `enum`, `properties` before `allOf`, `items` before `prefixItems`. Any key `$ref` is a
reference to it, also the name of a property or a key in data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from translators.json_schema import Findings, all_of_merged, inlined_refs
from translators.llamacpp.patterns import grammar_pattern
from translators.losses import Loss
from translators.neutral import Tool
from translators.written import keyword_at

ANY_VALUE: Final[Mapping[str, Any]] = {"type": ["object", "array", "string", "number", "boolean", "null"]}
"""A schema that every JSON value fits."""

_UNENFORCED: Final = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "propertyNames",
        "contains",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedProperties",
        "unevaluatedItems",
        "minContains",
        "maxContains",
    }
)
_KEPT: Final = frozenset(
    {"type", "enum", "const", "required", "format", "pattern", "minLength", "maxLength", "minItems", "maxItems"}
)
_WORDS: Final = frozenset({"description", "default", "examples"})
"""Keywords that speak to the model; a title is no more than a label."""
_UNHELD: Final = "a grammar cannot enforce it"
_UNTOLD: Final = "a grammar holds the answer without a word to the model"
_FORMATS: Final = re.compile(r"date|time|date-time|uuid[1-5]?")
"""What the converter has rules for."""
_BESIDE_ALTERNATIVES: Final = frozenset({"type", "title", "description", "default", "examples", "$comment"})
_ALTERNATIVES: Final = ("anyOf", "oneOf")


def grammar_schema(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
    """*schema* for the converter, and one loss for each keyword that the grammar will not enforce."""
    ignored: set[str] = set()
    findings = Findings(place)
    node = _node(inlined_refs(schema, findings), ignored)
    unheld = [
        Loss(f"{place}.{keyword_at(place, name)}", "dropped", _UNTOLD if name in _WORDS else _UNHELD)
        for name in sorted(ignored)
    ]
    return node, [*findings.losses(), *unheld]


def call_schema(tools: Iterable[Tool], answer: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Exactly one call of *tools*, `{"name", "arguments"}`, or *answer* where that is given."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": arguments_schema(tool)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    alternatives = calls if answer is None else [*calls, dict(answer)]
    return {"anyOf": alternatives} if len(alternatives) > 1 else alternatives[0]


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """The arguments of *tool*, which are always an object."""
    schema = grammar_schema(tool.parameters or {}, "parameters")[0]
    if any(name in schema for name in (*_ALTERNATIVES, "allOf")):
        return schema
    if schema.get("type") != "object":
        return {"type": "object"}
    return schema


def _node(schema: Any, ignored: set[str]) -> dict[str, Any]:
    """One schema. Whatever says nothing about its value becomes ANY_VALUE."""
    if not isinstance(schema, dict):
        return dict(ANY_VALUE)
    merging = Findings("")
    schema = all_of_merged(schema, "", merging)
    ignored.update(loss.field for loss in merging.losses())
    ignored.update((_UNENFORCED | _WORDS).intersection(schema))
    if (alternatives := _alternatives(schema, ignored)) is not None:
        return alternatives
    node = {name: value for name, value in schema.items() if name in _KEPT}
    if literals := {name: node[name] for name in ("const", "enum") if name in node}:
        if not _names_ref(list(literals.values())):
            return literals
        ignored.update(literals)
        return dict(ANY_VALUE)
    if "$ref" in (schema.get("properties") or ()):
        ignored.add("properties")
        return {"type": "object"}
    _hold_text(node, ignored)
    if isinstance(schema.get("properties"), dict):
        node["properties"] = {name: _node(child, ignored) for name, child in schema["properties"].items()}
    if set(node.get("required", ())) - node.get("properties", {}).keys():
        ignored.add("required")
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        node["additionalProperties"] = _node(additional, ignored)
    elif "properties" in node and isinstance(additional, bool):
        node["additionalProperties"] = dict(ANY_VALUE) if additional else False
    _write_items(node, schema, ignored)
    return _typed(node)


def _names_ref(value: Any) -> bool:
    """Whether data in *value* has a key `$ref`, which the converter would follow."""
    if isinstance(value, dict):
        return "$ref" in value or any(_names_ref(inner) for inner in value.values())
    return isinstance(value, list) and any(_names_ref(inner) for inner in value)


def _alternatives(schema: Mapping[str, Any], ignored: set[str]) -> dict[str, Any] | None:
    """*schema* as a choice of others. None when it is none, or when its own properties say more."""
    given = [name for name in _ALTERNATIVES if isinstance(schema.get(name), list) and schema[name]]
    if not given:
        return None
    if {"properties", "items", "enum", "const"} & schema.keys():
        ignored.update(given)
        return None
    ignored.update(given[1:])
    ignored.update(schema.keys() & _KEPT - _BESIDE_ALTERNATIVES)
    kind = schema.get("type")
    own = {"type": kind} if isinstance(kind, str) else {}
    variants = [{**own, **child} if isinstance(child, dict) else child for child in schema[given[0]]]
    return {given[0]: [_node(child, ignored) for child in variants]}


def _write_items(node: dict[str, Any], schema: Mapping[str, Any], ignored: set[str]) -> None:
    items, first = schema.get("items"), schema.get("prefixItems")
    if isinstance(first, list) and first:
        node["prefixItems"] = [_node(child, ignored) for child in first]
        # A tuple has exactly as many items as it lists.
        ignored.update({"items"} if isinstance(items, dict) else ())
    elif isinstance(items, list):
        node["items"] = [_node(child, ignored) for child in items]
    elif isinstance(items, dict):
        node["items"] = _node(items, ignored)


def _hold_text(node: dict[str, Any], ignored: set[str]) -> None:
    """Patterns and formats as far as the converter knows them; of pattern, format and length it holds one."""
    if (pattern := node.pop("pattern", None)) is not None:
        written = grammar_pattern(pattern) if isinstance(pattern, str) else None
        if written is None:
            ignored.add("pattern")
        else:
            node["pattern"] = written
    if (form := node.pop("format", None)) is not None:
        if "pattern" in node or not isinstance(form, str) or not _FORMATS.fullmatch(form):
            ignored.add("format")
        else:
            node["format"] = form
    if {"pattern", "format"} & node.keys():
        lengths = {"minLength", "maxLength"} & node.keys()
        ignored.update(lengths)
        for name in lengths:
            del node[name]


def _typed(node: dict[str, Any]) -> dict[str, Any]:
    """*node* with the type that its other keywords imply; the converter reads no schema without."""
    if any(name in node for name in ("enum", "const", "allOf", *_ALTERNATIVES)):
        return node
    kind = node.get("type")
    if isinstance(kind, list):
        return {"anyOf": [_typed({**node, "type": one}) for one in kind]} if len(node) > 1 else node
    if kind == "array" and not {"items", "prefixItems"} & node.keys():
        return {"type": "array", "items": dict(ANY_VALUE), **_without_type(node)}
    if kind is not None:
        return node
    if {"properties", "additionalProperties", "required"} & node.keys():
        return {"type": "object", **node}
    if {"items", "prefixItems", "minItems", "maxItems"} & node.keys():
        return _typed({"type": "array", **node})
    if {"pattern", "minLength", "maxLength", "format"} & node.keys():
        return {"type": "string", **node}
    return dict(ANY_VALUE)


def _without_type(node: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != "type"}
