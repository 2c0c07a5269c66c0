"""Schemas as each vendor takes them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from anthropic.lib._parse._transform import transform_schema
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from translators.errors import BadRequest
from translators.json_schema import (
    LONGEST_REMEMBERED,
    anthropic_output_schema,
    gemini_response_schema,
    gemini_tool_schema,
    inline_refs,
    openapi_subset,
)

STRING = {"type": "string"}
PET = {"type": "object", "properties": {"name": STRING}}


@pytest.mark.parametrize(
    ("schema", "inlined"),
    [
        pytest.param(
            {"$schema": "s", "$id": "i", "$defs": {"Pet": PET}, "properties": {"pet": {"$ref": "#/$defs/Pet"}}},
            {"properties": {"pet": PET}},
            id="79-defs",
        ),
        pytest.param(
            {"definitions": {"a/b": STRING}, "items": {"$ref": "#/definitions/a~1b"}},
            {"items": STRING},
            id="79-definitions-and-an-escaped-pointer",
        ),
        pytest.param(
            {"$defs": {"a b": STRING}, "items": {"$ref": "#/$defs/a%20b"}}, {"items": STRING}, id="79-percent-encoded"
        ),
        pytest.param(
            {"properties": {"a": STRING, "b": {"$ref": "#/properties/a"}}},
            {"properties": {"a": STRING, "b": STRING}},
            id="79-a-pointer-anywhere",
        ),
        pytest.param(
            {
                "$defs": {"Pet": {**PET, "description": "any"}},
                "anyOf": [{"$ref": "#/$defs/Pet", "description": "mine"}],
            },
            {"anyOf": [{**PET, "description": "mine"}]},
            id="81-siblings-of-a-ref-are-merged-over-it",
        ),
        pytest.param(
            {"$defs": {"N": {"properties": {"next": {"$ref": "#/$defs/N"}}}}, "$ref": "#/$defs/N"},
            {"properties": {"next": {"type": "object"}}},
            id="80-a-cycle-becomes-an-object",
        ),
        pytest.param(
            {"properties": {"up": {"$ref": "#"}}}, {"properties": {"up": {"type": "object"}}}, id="80-the-root"
        ),
        pytest.param(
            {"properties": {"$ref": STRING, "definitions": STRING}, "default": {"$ref": "#/x"}},
            {"properties": {"$ref": STRING, "definitions": STRING}, "default": {"$ref": "#/x"}},
            id="79-properties-and-data-may-be-called-like-keywords",
        ),
        pytest.param({"items": {"$ref": "https://x.test/s"}}, {"items": {}}, id="79-a-remote-ref-says-nothing"),
    ],
)
def test_refs_are_inlined(schema: dict[str, Any], inlined: dict[str, Any]) -> None:
    assert inline_refs(schema) == inlined


def test_refs_that_double_at_each_step_are_refused() -> None:
    """Forty definitions of two refs each would be 2^40 nodes."""
    defs = {f"d{n}": {"properties": {x: {"$ref": f"#/$defs/d{n + 1}"} for x in "ab"}} for n in range(40)}

    with pytest.raises(BadRequest, match=r"tools\[0\].parameters: its \$refs unfold to more than"):
        gemini_tool_schema({"$defs": defs, "$ref": "#/$defs/d0"}, "tools[0].parameters")


def test_a_long_chain_of_refs_is_refused() -> None:
    defs = {f"d{n}": {"items": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(500)}

    with pytest.raises(BadRequest, match="levels"):
        inline_refs({"$defs": defs, "$ref": "#/$defs/d0"})


@pytest.mark.parametrize(
    ("schema", "subset", "lost"),
    [
        pytest.param({"const": "a"}, {"type": "string", "enum": ["a"]}, [], id="80-const"),
        pytest.param({"type": ["string", "null"]}, {"type": "string", "nullable": True}, [], id="80-type-or-null"),
        pytest.param(
            {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "d"},
            {"type": "integer", "nullable": True, "description": "d"},
            [],
            id="80-any-of-null",
        ),
        pytest.param(
            {"oneOf": [STRING, {"type": "integer"}]}, {"anyOf": [STRING, {"type": "integer"}]}, [], id="80-one-of"
        ),
        pytest.param(
            {"type": ["string", "integer"]}, {"anyOf": [STRING, {"type": "integer"}]}, [], id="80-several-types"
        ),
        pytest.param(
            {**PET, "additionalProperties": False}, PET, [], id="80-closed-objects-are-open-here-without-a-loss"
        ),
        pytest.param({**PET, "additionalProperties": STRING}, PET, ["p.additionalProperties"], id="80-maps"),
        pytest.param(
            {"type": "integer", "enum": [1, 2]},
            {"type": "integer", "description": "{enum: [1,2]}"},
            ["p.enum"],
            id="80-enums-are-for-strings",
        ),
        pytest.param({"enum": ["a", None]}, {"type": "string", "enum": ["a"], "nullable": True}, [], id="80-enum-null"),
        pytest.param({"type": "array"}, {"type": "array", "items": STRING}, [], id="80-an-array-needs-items"),
        pytest.param(
            {"type": "string", "format": "uri", "pattern": "x"},
            {"type": "string", "pattern": "x", "description": '{format: "uri"}'},
            ["p.format"],
            id="80-formats",
        ),
        pytest.param(
            {"type": "number", "exclusiveMinimum": 0, "description": "d"},
            {"type": "number", "description": "d\n\n{exclusiveMinimum: 0}"},
            ["p.exclusiveMinimum"],
            id="80-unknown-keywords",
        ),
        pytest.param(
            {"allOf": [PET, {"properties": {"age": STRING}, "required": ["age"]}]},
            {"type": "object", "properties": {"age": STRING, "name": STRING}, "required": ["age"]},
            [],
            id="80-all-of-is-merged",
        ),
        pytest.param(
            {**PET, "required": ["name", "x"]}, {**PET, "required": ["name"]}, [], id="80-required-must-exist"
        ),
    ],
)
def test_the_openapi_subset(schema: dict[str, Any], subset: dict[str, Any], lost: list[str]) -> None:
    found, losses = openapi_subset(schema, "p")

    assert found == subset
    assert [loss.field for loss in losses] == lost


@pytest.mark.parametrize(
    ("schema", "expected", "lost"),
    [
        pytest.param({"const": 3}, {"enum": [3]}, [], id="83-const"),
        pytest.param(
            {"type": "string", "pattern": "x"},
            {"type": "string", "description": '{pattern: "x"}'},
            ["s.pattern"],
            id="83",
        ),
        pytest.param({"type": ["string", "null"]}, {"type": ["string", "null"]}, [], id="83-types-stay"),
        pytest.param(
            {**PET, "additionalProperties": False}, {**PET, "additionalProperties": False}, [], id="83-closed"
        ),
    ],
)
def test_gemini_response_schemas_keep_what_is_understood(
    schema: dict[str, Any], expected: dict[str, Any], lost: list[str]
) -> None:
    found, losses = gemini_response_schema(schema, "s")

    assert found == expected
    assert [loss.field for loss in losses] == lost


def test_a_keyword_is_one_loss_however_often_it_stands() -> None:
    node = {"type": "string", "pattern": "x"}
    _, losses = openapi_subset({"properties": {"a": {**node, "format": "uri"}, "b": {**node, "format": "uri"}}}, "p")

    assert [(loss.field, loss.reason.endswith("(2 places)")) for loss in losses] == [("p.properties.a.format", True)]


SDK_CASES = [
    {"type": "object", "properties": {"a": STRING}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": "array", "items": PET, "minItems": 1}}},
    {"type": "string", "format": "date-time"},
    {"oneOf": [STRING, {"type": "null"}]},
    {"$defs": {"Pet": PET}, "type": "object", "properties": {"pet": {"$ref": "#/$defs/Pet"}}},
    {"$defs": {"Pet": PET}, "$ref": "#/$defs/Pet"},
    {"enum": ["a", None], "type": ["string", "null"]},
    {"const": 1},
    {"type": "boolean", "title": "t", "description": "d"},
]


@pytest.mark.parametrize("schema", SDK_CASES, ids=lambda schema: "30-" + ",".join(schema))
def test_anthropic_schemas_are_those_of_the_official_sdk(schema: dict[str, Any]) -> None:
    found, losses = anthropic_output_schema(schema, "s")

    assert found == transform_schema(schema)
    assert losses == []


@pytest.mark.parametrize(
    ("schema", "expected", "lost"),
    [
        pytest.param(
            {"type": "array", "items": STRING, "minItems": 2},
            {"type": "array", "items": STRING, "description": "{minItems: 2}"},
            ["s.minItems"],
            id="30-min-items-beyond-one",
        ),
        pytest.param(
            {"type": "string", "format": "color", "description": "d"},
            {"type": "string", "description": 'd\n\n{format: "color"}'},
            ["s.format"],
            id="30-format-outside-the-list",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": STRING},
            {"type": "object", "properties": {}, "additionalProperties": False},
            ["s.additionalProperties"],
            id="30-maps",
        ),
        pytest.param(
            {"type": ["integer", "null"], "minimum": 1},
            {"anyOf": [{"type": "integer", "description": "{minimum: 1}"}, {"type": "null"}]},
            ["s.anyOf[0].minimum"],
            id="30-several-types",
        ),
        pytest.param(
            {"$defs": {"P": PET}, "anyOf": [{"$ref": "#/$defs/P", "description": "d"}]},
            {
                "anyOf": [{"anyOf": [{"$ref": "#/$defs/P"}], "description": "d"}],
                "$defs": {"P": {**PET, "additionalProperties": False}},
            },
            [],
            id="30-a-ref-with-siblings",
        ),
        pytest.param(
            {"definitions": {"P": PET}, "anyOf": [{"$ref": "#/definitions/P"}]},
            {"anyOf": [{**PET, "additionalProperties": False}]},
            [],
            id="30-other-refs-are-inlined",
        ),
    ],
)
def test_anthropic_schemas_where_the_sdk_gives_up(
    schema: dict[str, Any], expected: dict[str, Any], lost: list[str]
) -> None:
    found, losses = anthropic_output_schema(schema, "s")

    assert found == expected
    assert [loss.field for loss in losses] == lost
    assert {loss.action for loss in losses} <= {"emulated", "clamped"}


KEYWORDS = st.sampled_from(
    [
        "type",
        "properties",
        "items",
        "anyOf",
        "oneOf",
        "allOf",
        "enum",
        "const",
        "$ref",
        "format",
        "required",
        "minItems",
    ]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.sampled_from(["object", "string", "#", "#/$defs/a", "x"])
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(KEYWORDS, st.just("$defs")), inner)),
    max_leaves=12,
)


@given(st.dictionaries(KEYWORDS, SCHEMAS, max_size=5))
@pytest.mark.parametrize(
    "translate", [gemini_tool_schema, gemini_response_schema, openapi_subset, anthropic_output_schema]
)
def test_nonsense_is_no_crash(translate: Any, schema: dict[str, Any]) -> None:
    found, _ = translate(schema, "s")

    assert isinstance(found, dict)


@pytest.mark.parametrize("schema", SDK_CASES, ids=",".join)
def test_the_openapi_subset_has_no_field_that_the_schema_message_lacks(schema: dict[str, Any]) -> None:
    found, _ = openapi_subset(schema, "s")

    # The SDK's class is strict about unknown fields.
    assert types.Schema.model_validate(_upper(found)) is not None
    assert not re.search(r"additionalProperties|\$", str(found))


def _upper(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_upper(item) for item in schema]
    if isinstance(schema, dict):
        return {k: v.upper() if k == "type" and isinstance(v, str) else _upper(v) for k, v in schema.items()}
    return schema


@pytest.mark.parametrize(
    "cut",
    [gemini_tool_schema, gemini_response_schema, openapi_subset, anthropic_output_schema],
    ids=lambda cut: cut.__name__,
)
@given(st.dictionaries(KEYWORDS, SCHEMAS, max_size=5))
def test_a_schema_that_is_remembered_is_cut_as_it_was_the_first_time(cut: Any, schema: dict[str, Any]) -> None:
    """And who changes what was given changes nothing for others; a place is part of what is remembered."""
    fresh = cut.__wrapped__(schema, "at")
    given_first, lost_first = cut(schema, "at")
    given_first["later"] = 1
    lost_first.append("later")

    assert cut(schema, "at") == fresh
    assert [loss.field for loss in cut(schema, "x.at")[1]] == [f"x.{loss.field}" for loss in fresh[1]]


def test_a_schema_too_long_to_be_remembered_is_cut_all_the_same() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": "x" * LONGEST_REMEMBERED}}}

    assert gemini_tool_schema(schema, "") == (schema, [])
