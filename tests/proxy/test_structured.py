"""Answers held against the schema that the client asked for, and mended."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from proxy.structured import (
    MAX_ANSWER_DEPTH,
    MAX_PROBLEM_CHARS,
    MAX_PROBLEMS,
    answer_text,
    enforced,
    fenced,
    problems,
    repair_request,
)
from translators.anthropic import render_request as render_anthropic
from translators.dialect import Rules
from translators.gemini import render_request as render_gemini
from translators.llamacpp import render_request as render_llamacpp
from translators.losses import Loss
from translators.neutral import (
    Choice,
    Message,
    OutputFormat,
    Refusal,
    Request,
    Response,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
)

PET = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "born": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
        "my key": {"type": "integer"},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"tag": {"enum": ["small", "loud"]}},
}


@pytest.mark.parametrize(
    ("schema", "answer", "found"),
    [
        pytest.param(PET, '{"name": "Rex", "born": "2026-11-21", "tags": ["loud"]}', [], id="valid"),
        pytest.param(PET, '{"name": 1}', ['$.name: 1 is not of type "string"'], id="type"),
        pytest.param(PET, "{}", ['$: "name" is a required property'], id="required"),
        pytest.param(PET, '{"name": "Rex", "born": "soon"}', ['$.born: "soon" is not a "date"'], id="format"),
        pytest.param(
            PET, '{"name": "Rex", "tags": ["loud", "x"]}', ['$.tags[1]: "x" is not one of "small" or "loud"'], id="item"
        ),
        pytest.param(PET, '{"name": "Rex", "my key": ""}', ['$["my key"]: "" is not of type "integer"'], id="odd-key"),
        pytest.param(
            PET,
            '{"name": "Rex", "x": 1}',
            ["$: Additional properties are not allowed ('x' was unexpected)"],
            id="closed",
        ),
        pytest.param(
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "1",
            ['$: fits none of the alternatives: 1 is not of type "string"; or 1 is not of type "null"'],
            id="each-alternative-says-what-it-misses",
        ),
        pytest.param(None, "{}", [], id="object"),
        pytest.param(None, "[1]", ["$: expected a JSON object, found an array"], id="no-object"),
        pytest.param({}, "3", [], id="a-schema-that-takes-anything"),
    ],
)
def test_problems_name_their_place(schema: dict[str, Any] | None, answer: str, found: list[str]) -> None:
    assert problems(schema, answer) == found


@pytest.mark.parametrize("answer", ["", "Sure!", '{"name": "Rex"', '{"name": NaN}', "```json\n{}\n```"])
@pytest.mark.parametrize("schema", [None, PET])
def test_what_is_no_json_is_one_problem(schema: dict[str, Any] | None, answer: str) -> None:
    [found] = problems(schema, answer)

    assert found.startswith("$: not valid JSON: ")


def test_problems_are_few_and_short() -> None:
    answer = json.dumps({f"key{n}": "x" * 10_000 for n in range(50)})

    found = problems({"additionalProperties": {"type": "integer"}}, answer)

    assert len(found) == MAX_PROBLEMS
    assert max(map(len, found)) == MAX_PROBLEM_CHARS


def test_an_answer_nested_too_deep_is_a_problem() -> None:
    depth = MAX_ANSWER_DEPTH + 1

    assert problems({}, "[" * depth + "]" * depth) == [f"$: nested deeper than {MAX_ANSWER_DEPTH} levels"]


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"type": "strin"}, id="no-type"),
        pytest.param({"$ref": "#/$defs/nowhere"}, id="a-ref-to-nothing"),
        pytest.param({"pattern": "("}, id="no-pattern"),
        pytest.param({"properties": 3}, id="no-properties"),
    ],
)
def test_a_schema_that_is_none_is_not_held_against_the_answer(schema: dict[str, Any]) -> None:
    assert problems(schema, '{"a": 1}') == []
    assert problems(schema, "{") != []


@pytest.mark.parametrize("key", ["$schema", "$id"])
def test_a_schema_may_name_a_server_that_nobody_asks(key: str) -> None:
    schema = {key: "http://127.0.0.1:1/own", "type": "object", "required": ["a"]}

    assert problems(schema, "{}") == ['$: "a" is a required property']


def test_a_remote_ref_is_never_fetched_and_allows_everything() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        schema = {"properties": {"a": {"$ref": address}, "b": {"type": "string"}}}

        found = problems(schema, '{"a": [], "b": 1}')

        with pytest.raises(BlockingIOError):
            server.accept()
    assert found == ['$.b: 1 is not of type "string"']


def test_a_pattern_that_would_run_forever_says_nothing() -> None:
    assert problems({"pattern": "^(a|aa)+(?!b)$"}, json.dumps("a" * 80 + "c")) == []


def test_refs_that_double_at_each_step_cost_nothing() -> None:
    """Forty definitions of two refs each would be 2^40 nodes."""
    defs = {f"d{n}": {"properties": {x: {"$ref": f"#/$defs/d{n + 1}"} for x in "ab"}} for n in range(39)}

    assert problems({"$defs": {**defs, "d39": {"type": "null"}}, "$ref": "#/$defs/d0"}, '{"a": {"b": {}}}') == []


def test_a_tuple_of_an_older_draft_is_understood_without_its_name() -> None:
    assert problems({"items": [{"type": "string"}]}, "[1]") == ['$[0]: 1 is not of type "string"']


def test_recursive_schemas_are_validated() -> None:
    tree = {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}

    assert problems(tree, "[[[]], [1]]") == ['$[1][0]: 1 is not of type "array"']


# --- unwrapping ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        pytest.param('```json\n{"a": 1}\n```', '{"a": 1}', id="fence"),
        pytest.param("Here it is:\n```\n[1]\n```\nBye.", "[1]", id="fence-without-a-language"),
        pytest.param('```JSON\r\n{"a": "`x`"}\r\n```', '{"a": "`x`"}', id="windows-lines"),
        pytest.param("```python\nx = 1\n```\n```json\n{}\n```", "{}", id="the-one-block-that-is-json"),
        pytest.param('Sure! {"a": {"b": [1]}} Anything else?', '{"a": {"b": [1]}}', id="prose"),
        pytest.param('A set {x, y}: {"a": "}"}', '{"a": "}"}', id="brackets-that-are-no-json"),
        pytest.param('{"a": 1}', None, id="json-already"),
        pytest.param('```json\n{"a": 1}\n```\n```json\n{"a": 2}\n```', None, id="two-blocks"),
        pytest.param('Either {"a": 1} or {"a": 2}', None, id="two-values"),
        pytest.param('As [1] says: {"a": 1}', None, id="a-footnote-is-a-value-too"),
        pytest.param("No.", None, id="none"),
        pytest.param('{"a": 1', None, id="cut"),
        pytest.param('It is {"a": NaN}', None, id="no-strict-json"),
    ],
)
def test_exactly_one_value_can_be_unwrapped(text: str, inside: str | None) -> None:
    assert fenced(text) == inside


@pytest.mark.parametrize("text", ["[" * 200_000, "[1," * 200_000, "```x\n" * 50_000, '{"a": ' * 100_000])
def test_hostile_text_is_given_up_on(text: str) -> None:
    assert fenced(text) is None


# --- which answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "reason", "text"),
    [
        ((Text("{"), Text("}")), "stop", "{}"),
        ((Thinking("hm"), Text("{}")), "stop", "{}"),
        ((), "stop", ""),
        ((Text("{"),), "length", None),
        ((Text("{}"),), "content_filter", None),
        ((Refusal("No."),), "stop", None),
        ((Text("I look."), ToolCall("1", "look", "{}")), "tool_calls", None),
        ((ToolCall("1", "look", "{}"),), "stop", None),
    ],
)
def test_only_a_finished_answer_in_text_has_to_be_json(parts: Any, reason: Any, text: str | None) -> None:
    assert answer_text(Choice(parts, reason)) == text


def _asked(output: OutputFormat | None, dialect: str = "openai_chat") -> Request:
    return Request(dialect, "m", (Message("user", (Text("A pet."),)),), output=output)


SIMPLE = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
HARD = {**SIMPLE, "properties": {"a": {"type": "string", "not": {"const": "b"}}}}


@pytest.mark.parametrize(
    ("rules", "output", "held"),
    [
        (Rules(), None, True),
        (Rules(conformant=True), OutputFormat("json_schema", SIMPLE, strict=True), True),
        (Rules(conformant=True), OutputFormat("json_schema", SIMPLE), False),
        (Rules(conformant=True), OutputFormat("json_object"), True),
        (Rules(), OutputFormat("json_schema", SIMPLE, strict=True), False),
        (Rules(), OutputFormat("json_object"), False),
        (Rules("openai_responses", conformant=True), OutputFormat("json_schema", SIMPLE, strict=True), True),
    ],
)
def test_openai_holds_strict_schemas_and_nobody_else_is_believed(
    rules: Rules, output: OutputFormat | None, held: bool
) -> None:
    assert enforced(_asked(output), rules, []) is held


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini", "anthropic", "openai_responses"])
@pytest.mark.parametrize(
    ("target", "render"), [("anthropic", render_anthropic), ("gemini", render_gemini), ("llamacpp", render_llamacpp)]
)
def test_a_schema_that_arrives_whole_is_held_by_the_decoder(target: str, render: Any, dialect: str) -> None:
    rules = Rules(target, max_output_tokens=100)
    whole, cut = (
        _asked(OutputFormat("json_schema", SIMPLE), dialect),
        _asked(OutputFormat("json_schema", HARD), dialect),
    )

    assert enforced(whole, rules, render(whole, rules).losses)
    # A client of the target's own dialect is believed to know what the vendor takes.
    assert dialect == target or not enforced(cut, rules, render(cut, rules).losses)


def test_a_form_asked_for_in_words_is_not_held() -> None:
    asked = _asked(OutputFormat("json_object"))
    rules = Rules("anthropic", max_output_tokens=100)

    assert not enforced(asked, rules, render_anthropic(asked, rules).losses)
    assert not enforced(asked, Rules("gemini", structured_output=False), [])


def test_a_lost_description_of_the_schema_does_not_weaken_it() -> None:
    losses = [Loss("response_format.json_schema.description", "dropped", "r"), Loss("seed", "dropped", "r")]

    assert enforced(_asked(OutputFormat("json_schema", SIMPLE)), Rules("anthropic"), losses)


# --- repair --------------------------------------------------------------------------------------


def test_a_repair_is_the_conversation_with_the_answer_and_its_problems() -> None:
    asked = Request(
        "openai_chat",
        "m",
        (Message("user", (Text("A pet."),)),),
        n=2,
        temperature=0.5,
        output=OutputFormat("json_schema", PET),
        tool_choice=ToolChoice("auto"),
    )
    signed = Thinking("hm", {"anthropic": {"signature": "s"}})
    response = Response("r", "m", 0, (Choice((signed, Text('{"name": 1}')), "stop"),))

    problem = "$.name: 1 is not a string"

    repair = repair_request(asked, response, [problem, "$: too small"])

    *kept, answer, demand = repair.messages
    assert tuple(kept) == asked.messages
    assert answer == Message("assistant", (signed, Text('{"name": 1}')))
    assert demand.role == "user"
    assert [isinstance(part, Text) and problem in part.text for part in demand.parts] == [True]
    assert (repair.n, repair.temperature, repair.output) == (None, 0.5, asked.output)
    assert repair.tool_choice == ToolChoice("none")


@pytest.mark.parametrize("choices", [(), (Choice((Text("  "),), "stop"),)])
def test_a_repair_of_nothing_has_no_empty_turn(choices: tuple[Choice, ...]) -> None:
    repair = repair_request(_asked(OutputFormat("json_object")), Response("r", "m", 0, choices), ["$: no JSON"])

    body = render_anthropic(repair, Rules("anthropic", max_output_tokens=9)).body
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
