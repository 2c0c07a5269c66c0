"""JSON Schema as llama-cpp-python's grammar converter can take it, and schemas for calls.

The converter (llama_cpp/llama_grammar.py, 0.3.36) raises on schemas without a type, on boolean schemas and on
patterns without anchors, and resolves two refs with the same last name to one. Keywords that it does not know, such as
the bounds of numbers, it passes over in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from translators.json_schema import inline_refs
from translators.losses import Loss
from translators.neutral import Tool

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
    }
)
_KEPT: Final = frozenset(
    {"type", "enum", "const", "required", "format", "pattern", "minLength", "maxLength", "minItems", "maxItems"}
)
_ALTERNATIVES: Final = ("anyOf", "oneOf")


def grammar_schema(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
    """*schema* for the converter, and one loss for each keyword that the grammar will not enforce."""
    ignored: set[str] = set()
    node = _node(inline_refs(schema, place), ignored)
    return node, [Loss(f"{place}.{name}", "dropped", "a grammar cannot enforce it") for name in sorted(ignored)]


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
    node = {name: value for name, value in schema.items() if name in _KEPT}
    ignored.update(_UNENFORCED.intersection(schema))
    _drop_unanchored_pattern(node, ignored)
    for name in (*_ALTERNATIVES, "allOf"):
        if isinstance(schema.get(name), list) and schema[name]:
            node[name] = [_node(child, ignored) for child in schema[name]]
    if isinstance(schema.get("properties"), dict):
        node["properties"] = {name: _node(child, ignored) for name, child in schema["properties"].items()}
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        node["additionalProperties"] = _node(additional, ignored)
    elif "properties" in node and isinstance(additional, bool):
        node["additionalProperties"] = dict(ANY_VALUE) if additional else False
    for name in ("items", "prefixItems"):
        if isinstance(schema.get(name), list):
            node[name] = [_node(child, ignored) for child in schema[name]]
        elif isinstance(schema.get(name), dict):
            node[name] = _node(schema[name], ignored)
    return _typed(node)


def _drop_unanchored_pattern(node: dict[str, Any], ignored: set[str]) -> None:
    pattern = node.get("pattern")
    if pattern is None:
        return
    anchored = isinstance(pattern, str) and pattern.startswith("^") and pattern.endswith("$")
    if not anchored or "(?" in pattern:
        del node["pattern"]
        ignored.add("pattern")


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
    if {"items", "prefixItems"} & node.keys():
        return {"type": "array", **node}
    if {"pattern", "minLength", "maxLength", "format"} & node.keys():
        return {"type": "string", **node}
    return dict(ANY_VALUE)


def _without_type(node: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != "type"}
