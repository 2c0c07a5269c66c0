"""The table of schemas: what each target is told, that this means the same, and that the target takes it.

A rendering that has changed is renewed by `python -m tools.schema_table renew`, after reading the difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from google.genai import types
from jsonschema_rs import validator_for

from tools.schema_table import PAGE, RENDERERS, page, rendering, table
from translators.json_schema import openai_strict_obstacle

ROWS: Final = table()
CELLS: Final = [pytest.param(row, target, id=f"{row['name']}-{target}") for row in ROWS for target in RENDERERS]
TOOLS: Final = ("gemini tool", "gemini legacy")
NARROWER: Final = {("enum of objects", "anthropic"): "a literal that is no scalar has no form there"}
"""Renderings that refuse a value which fits the schema; each says so in a loss."""

_ANTHROPIC: Final = {
    *("type", "properties", "required", "additionalProperties", "items", "minItems", "anyOf"),
    *("enum", "const", "format", "title", "description", "$ref", "$defs"),
}
_GEMINI_ANSWER: Final = {
    *("type", "format", "title", "description", "enum", "items", "prefixItems", "minItems", "maxItems", "minimum"),
    *("maximum", "anyOf", "oneOf", "properties", "additionalProperties", "required", "propertyOrdering"),
}


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema in *schema*, data left out."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key, value in schema.items():
        if key in ("properties", "$defs") and isinstance(value, dict):
            for child in value.values():
                yield from _nodes(child)
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
            for child in value:
                yield from _nodes(child)
        elif key in ("items", "additionalProperties"):
            yield from _nodes(value)


def _told(row: dict[str, Any], target: str) -> dict[str, Any]:
    told: dict[str, Any] = row["renderings"][target].get("schema", row["schema"])
    return told


def _as_json_schema(schema: Any) -> Any:
    """*schema* of OpenAPI with its `nullable` as an alternative."""
    if not isinstance(schema, dict):
        return schema
    plain = {
        key: {name: _as_json_schema(child) for name, child in value.items()}
        if key == "properties"
        else [_as_json_schema(child) for child in value]
        if key == "anyOf"
        else _as_json_schema(value)
        if key == "items"
        else value
        for key, value in schema.items()
        if key != "nullable"
    }
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") else plain


def _roots_fit(row: dict[str, Any], target: str) -> bool:
    """A tool's arguments are an object, whatever its schema says."""
    return target not in TOOLS or ("root" not in row["name"] and row["name"] != "empty schema")


@pytest.mark.parametrize(("row", "target"), CELLS)
def test_a_schema_is_rendered_as_the_table_says(row: dict[str, Any], target: str) -> None:
    assert rendering(row["schema"], target) == row["renderings"][target]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_strict_mode_is_left_off_where_the_table_says(row: dict[str, Any]) -> None:
    assert openai_strict_obstacle(row["schema"]) == row["strict"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_the_values_of_the_table_fit_or_do_not(row: dict[str, Any]) -> None:
    validator = validator_for(row["schema"], validate_formats=True, retriever=lambda _uri: {})

    assert [validator.is_valid(value) for value in row["valid"]] == [True] * len(row["valid"])
    assert [validator.is_valid(value) for value in row["invalid"]] == [False] * len(row["invalid"])


@pytest.mark.parametrize(("row", "target"), CELLS)
def test_a_rendering_means_what_the_schema_means(row: dict[str, Any], target: str) -> None:
    """Values that fit still fit; without a loss, values that do not fit still do not."""
    if not _roots_fit(row, target):
        pytest.skip("arguments are objects")
    told = _told(row, target)
    validator = validator_for(_as_json_schema(told) if target == "gemini legacy" else told, validate_formats=True)
    lost = row["renderings"][target].get("losses")

    refused = [value for value in row["valid"] if not validator.is_valid(value)]
    admitted = [value for value in row["invalid"] if validator.is_valid(value)]

    if (row["name"], target) in NARROWER:
        assert refused
        assert lost
        return
    assert refused == []
    # The OpenAPI subset cannot close an object. (docs/schemas.md)
    assert lost or target == "gemini legacy" or admitted == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_anthropic_gets_closed_objects_few_keywords_and_no_circles(row: dict[str, Any]) -> None:
    told = _told(row, "anthropic")
    nodes = list(_nodes(told))

    assert set().union(*nodes) <= _ANTHROPIC
    assert all(node["additionalProperties"] is False for node in nodes if node.get("type") == "object")
    assert all({"type", "anyOf", "enum", "const", "$ref"} & node.keys() for node in nodes)
    assert all(set(node) <= {"$ref", "$defs"} for node in nodes if "$ref" in node)
    for name, definition in told.get("$defs", {}).items():
        assert f'"#/$defs/{name}"' not in json.dumps(definition)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_gemini_gets_the_keywords_that_it_reads(row: dict[str, Any]) -> None:
    nodes = list(_nodes(_told(row, "gemini answer")))

    assert set().union(*nodes) <= _GEMINI_ANSWER
    literals = [value for node in nodes for value in node.get("enum", ())]
    assert all(isinstance(value, str | int | float) and not isinstance(value, bool) for value in literals)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_no_reference_reaches_gemini(row: dict[str, Any]) -> None:
    for target in TOOLS:
        assert all("$ref" not in node for node in _nodes(_told(row, target)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_the_legacy_form_is_the_sdks_schema_message(row: dict[str, Any]) -> None:
    """Every node has a type or alternatives, which stand alone, and no field that the message lacks."""
    nodes = list(_nodes(_told(row, "gemini legacy")))
    aliases = {field.alias or name for name, field in types.Schema.model_fields.items()}

    assert set().union(*nodes) <= aliases - {"additionalProperties", "ref", "defs"}
    assert all(("type" in node) != ("anyOf" in node) for node in nodes)
    assert all(node.keys() == {"anyOf"} for node in nodes if "anyOf" in node)
    assert all("items" in node for node in nodes if node.get("type") == "array")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_the_grammar_converter_takes_every_rendering(row: dict[str, Any]) -> None:
    grammar = pytest.importorskip("llama_cpp.llama_grammar")

    assert "root ::=" in grammar.json_schema_to_gbnf(json.dumps(_told(row, "grammar")))


@pytest.mark.parametrize("target", RENDERERS)
def test_long_enums_stay_whole(target: str) -> None:
    words = [f"value{number}" for number in range(5001)]
    schema = {"type": "object", "properties": {"a": {"type": "string", "enum": words}}, "required": ["a"]}

    rendered, losses = RENDERERS[target](schema, "s")

    assert rendered["properties"]["a"]["enum"] == words
    assert losses == []


def test_a_long_enum_is_too_long_for_strict_mode() -> None:
    property_ = {"type": "string", "enum": [f"v{number}" for number in range(1001)]}
    schema = {"type": "object", "properties": {"a": property_}, "required": ["a"], "additionalProperties": False}

    assert openai_strict_obstacle(schema) == "properties.a: more than 1000 enum values"


def test_the_page_is_current() -> None:
    """Renew it with: python -m tools.schema_table page"""
    assert PAGE.read_text(encoding="utf-8") == page(ROWS)
