"""Schemas for llama-cpp-python's grammar converter."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from translators.llamacpp.grammar import ANY_VALUE, arguments_schema, call_schema, grammar_schema
from translators.llamacpp.patterns import grammar_pattern
from translators.neutral import Tool

ANY = dict(ANY_VALUE)
NAME = {"type": "string"}

# What a client sends -> what the converter gets, and the keywords that it will not enforce.
SCHEMAS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, ANY, []),
    ({"type": "object"}, {"type": "object"}, []),
    ({"type": "string", "description": "x", "title": "y", "default": "z"}, NAME, ["default", "description"]),
    ({"properties": {"a": True, "b": {"title": "any"}}}, {"type": "object", "properties": {"a": ANY, "b": ANY}}, []),
    ({"type": "object", "properties": {"a": NAME}, "additionalProperties": True},
     {"type": "object", "properties": {"a": NAME}, "additionalProperties": ANY}, []),
    ({"type": "object", "additionalProperties": False}, {"type": "object"}, []),
    ({"type": "object", "additionalProperties": {}}, {"type": "object", "additionalProperties": ANY}, []),
    ({"$schema": "s", "$defs": {"N": NAME}, "type": "array", "items": {"$ref": "#/$defs/N"}},
     {"type": "array", "items": NAME}, []),
    ({"type": "array"}, {"type": "array", "items": ANY}, []),
    ({"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "^a+$"}, []),
    ({"type": "string", "pattern": "a+"}, NAME, ["pattern"]),
    ({"type": "string", "pattern": "^(?=a).*$"}, NAME, ["pattern"]),
    ({"pattern": "^a$"}, {"type": "string", "pattern": "^a$"}, []),
    ({"type": ["string", "null"]}, {"type": ["string", "null"]}, []),
    ({"type": ["string", "null"], "maxLength": 3},
     {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null", "maxLength": 3}]}, []),
    ({"type": "integer", "minimum": 1, "maximum": 9}, {"type": "integer"}, ["maximum", "minimum"]),
    ({"enum": ["a", 1, None]}, {"enum": ["a", 1, None]}, []),
    ({"anyOf": [NAME, {}]}, {"anyOf": [NAME, ANY]}, []),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "wanted", "ignored"), SCHEMAS)
def test_schemas_are_made_fit_for_the_converter(
    schema: dict[str, Any], wanted: dict[str, Any], ignored: list[str]
) -> None:
    before = json.dumps(schema)

    got, losses = grammar_schema(schema, "x")

    assert got == wanted
    assert [(loss.field, loss.action) for loss in losses] == [(f"x.{name}", "dropped") for name in ignored]
    assert json.dumps(schema) == before


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [(None, {"type": "object"}), ({}, {"type": "object"}), (NAME, {"type": "object"}),
     ({"properties": {"a": NAME}}, {"type": "object", "properties": {"a": NAME}}),
     ({"anyOf": [{"type": "object"}]}, {"anyOf": [{"type": "object"}]})],
)  # fmt: skip
def test_arguments_are_objects(parameters: dict[str, Any] | None, wanted: dict[str, Any]) -> None:
    assert arguments_schema(Tool("f", parameters=parameters)) == wanted


@pytest.mark.local
@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize("schema", [schema for schema, _, _ in SCHEMAS], ids=json.dumps)
def test_the_real_converter_takes_them_all(schema: dict[str, Any]) -> None:
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    assert "root ::=" in json_schema_to_gbnf(json.dumps(grammar_schema(schema, "x")[0]))
    assert "root ::=" in json_schema_to_gbnf(json.dumps(call_schema([Tool("f", parameters=schema), Tool("g")])))


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        (r"^\d{3}-[a-z]+$", "^[0-9]{3}-[a-z]+$"),
        (r"^[\w.-]+$", r"^[A-Za-z0-9_.-]+$"),
        (r"^a|b$", "^(a|b)$"),
        (r"^(?:a|b)c?$", "^((a|b)c?)$"),
        (r"^a\.b\s$", r"^a[\x2E]b[ ]$"),
        (r"^.*$", r'^[^"\\\x00-\x1F\x7F]*$'),
        (r"^[^/]$", r'^[^/"\\\x00-\x1F\x7F]$'),
        ("^größe$", "^größe$"),
        ("a", None),
        (r"^a\$", None),
        (r"^(?=a)a$", None),
        (r"^(a$", None),
        (r"^[a$", None),
        (r"^a)$", None),
        (r"^\p{L}$", None),
        (r"^\bx$", None),
        (r"^(a)\1$", None),
        (r"^x+?$", None),
        (r"^x{5000}$", None),
        (r'^"$', None),
        (r"^\\$", None),
        (r"^[ -~]$", None),
        (r"^[A-z]$", None),
        (r"^a||b$", None),
        (r"^*$", None),
    ],
)
def test_patterns_stay_inside_their_json_string(pattern: str, written: str | None) -> None:
    """What the converter would copy into the grammar unread, or what could match a quote, is written anew or left."""
    assert grammar_pattern(pattern) == written


@pytest.mark.parametrize(
    ("schema", "wanted", "ignored"),
    [
        ({"type": ["string", "null"], "enum": ["a", None]}, {"enum": ["a", None]}, []),
        ({"allOf": [{"type": "string"}, {"minLength": 2}]}, {"type": "string", "minLength": 2}, []),
        ({"type": "string", "format": "email"}, {"type": "string"}, ["s.format"]),
        ({"type": "string", "format": "uuid", "maxLength": 9}, {"type": "string", "format": "uuid"}, ["s.maxLength"]),
        ({"properties": {"$ref": {"type": "string"}}}, {"type": "object"}, ["s.properties"]),
        ({"const": {"$ref": "#/x"}}, dict(ANY_VALUE), ["s.const"]),
        (
            {"type": "object", "properties": {"a": {"type": "null"}}, "anyOf": [{"required": ["a"]}]},
            {"type": "object", "properties": {"a": {"type": "null"}}},
            ["s.anyOf"],
        ),
        (
            {"prefixItems": [{"type": "null"}], "items": {"type": "string"}},
            {"type": "array", "prefixItems": [{"type": "null"}]},
            ["s.items"],
        ),
    ],
)
def test_of_keywords_that_shadow_each_other_none_is_lost_in_silence(
    schema: dict[str, Any], wanted: dict[str, Any], ignored: list[str]
) -> None:
    node, losses = grammar_schema(schema, "s")

    assert node == wanted
    assert [loss.field for loss in losses] == ignored
