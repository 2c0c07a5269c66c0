"""What a Gemini client asks, read and asked again. Numbers in test ids are cases of the wire facts, read backwards."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.genai import types

from translators import anthropic, openai_chat
from translators.dialect import Rules
from translators.errors import BadRequest
from translators.gemini import render_request
from translators.gemini.client import parse_count_request, parse_request
from translators.gemini.contents import SKIP_SIGNATURE
from translators.gemini.schema import json_schema
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Request,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from translators.sealed import seal

SHARED = Path(os.environ.get("MODELPORT_SHARED") or Path(__file__).resolve().parents[4] / "shared")
HI = [{"role": "user", "parts": [{"text": "hi"}]}]
BUDGET = Rules(dialect="gemini", thinking="budget")
LEVEL = Rules(dialect="gemini", thinking="level")
FREE_KEYS = frozenset(
    {"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels"}
)


def asked(**fields: Any) -> Request:
    return parse_request({"contents": HI, **fields}, "gemini-x", stream=False)


def configured(**config: Any) -> Request:
    return asked(generationConfig=config)


def messages(*contents: dict[str, Any]) -> tuple[Message, ...]:
    return parse_request({"contents": list(contents)}, "gemini-x", stream=False).messages


def part_of(part: dict[str, Any], role: str = "user") -> Part:
    return messages({"role": role, "parts": [part]})[0].parts[0]


# --- fields ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        ({"temperature": 0.5}, "temperature", 0.5),
        ({"topP": 0.9}, "top_p", 0.9),
        ({"top_k": 40.0}, "top_k", 40),
        pytest.param({"candidateCount": 2}, "n", 2, id="90-n"),
        ({"maxOutputTokens": 7}, "max_output_tokens", 7),
        ({"stopSequences": ["a", "b"]}, "stop", ("a", "b")),
        ({"presencePenalty": 1}, "presence_penalty", 1),
        ({"frequency_penalty": -1}, "frequency_penalty", -1),
        ({"seed": 3}, "seed", 3),
        pytest.param({"responseLogprobs": True}, "logprobs", True, id="90-logprobs"),
        ({"logprobs": 4}, "top_logprobs", 4),
        ({"responseModalities": ["TEXT", "IMAGE"]}, "modalities", ("text", "image")),
        pytest.param({"thinkingConfig": {"thinkingLevel": "LOW"}}, "reasoning", Reasoning("low"), id="86-level"),
        pytest.param(
            {"thinkingConfig": {"thinking_budget": 1024, "include_thoughts": True}},
            "reasoning",
            Reasoning(budget_tokens=1024, visible=True),
            id="86-budget",
        ),
        ({"thinkingConfig": {"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}}, "reasoning", None),
        (
            {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 3}},
            "reasoning",
            Reasoning("low", native={"gemini": {"thinkingBudget": 3}}),
        ),
    ],
)
def test_generation_config(config: dict[str, Any], field: str, value: Any) -> None:
    request = configured(**config)

    assert getattr(request, field) == value
    assert request.native == {}


@pytest.mark.parametrize(
    ("fields", "native"),
    [
        ({"safetySettings": [{"category": "X"}]}, {"safetySettings": [{"category": "X"}]}),
        ({"cached_content": "cachedContents/1"}, {"cachedContent": "cachedContents/1"}),
        ({"store": True, "later": {"a_b": 1}}, {"store": True, "later": {"a_b": 1}}),
        ({"generationConfig": {"speech_config": {"a": 1}}}, {"generationConfig.speechConfig": {"a": 1}}),
        (
            {"toolConfig": {"retrievalConfig": {"languageCode": "de"}}},
            {"toolConfig.retrievalConfig": {"languageCode": "de"}},
        ),
        (
            {"toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["f"]}}},
            {"toolConfig.functionCallingConfig.allowedFunctionNames": ["f"]},
        ),
        (
            {"tool_config": {"function_calling_config": {"mode": "VALIDATED"}}},
            {"toolConfig.functionCallingConfig.mode": "VALIDATED"},
        ),
        (
            {"generationConfig": {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING"}}},
            {
                "generationConfig.responseMimeType": "text/x.enum",
                "generationConfig.responseSchema": {"type": "STRING"},
            },
        ),
    ],
)
def test_what_only_gemini_has_is_kept_and_asked_again(fields: dict[str, Any], native: dict[str, Any]) -> None:
    request = asked(**fields)

    assert request.native == {"gemini": native}
    assert equal_body(render_request(request, BUDGET).body) == equal_body({"contents": HI, **fields})


PLAIN_SCHEMA = {"type": "object"}
OLD_SCHEMA = {"type": "STRING"}


@pytest.mark.parametrize(
    ("place", "value", "fields"),
    [
        (
            "generationConfig.responseSchema",
            OLD_SCHEMA,
            {"generationConfig": {"responseJsonSchema": PLAIN_SCHEMA, "responseSchema": OLD_SCHEMA}},
        ),
        (
            "generationConfig.responseSchema",
            OLD_SCHEMA,
            {"generationConfig": {"responseMimeType": "text/plain", "responseSchema": OLD_SCHEMA}},
        ),
        (
            "toolConfig.functionCallingConfig.mode",
            "VALIDATED",
            {
                "tools": [{"functionDeclarations": [{"name": "f"}]}],
                "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}},
            },
        ),
        (
            "tools.0.functionDeclarations.0.parameters",
            OLD_SCHEMA,
            {
                "tools": [
                    {
                        "functionDeclarations": [
                            {"name": "f", "parametersJsonSchema": PLAIN_SCHEMA, "parameters": OLD_SCHEMA}
                        ]
                    }
                ]
            },
        ),
        ("contents.0.parts.0.later", 1, {"contents": [{"parts": [{"text": "hi", "later": 1}]}]}),
    ],
    ids=["two schemas", "schema of plain text", "validated", "two parameters", "text part"],
)
def test_what_only_gemini_can_judge_goes_there_and_is_a_loss_elsewhere(place: str, value: Any, fields: Any) -> None:
    request = asked(**fields)
    told: Any = render_request(request, BUDGET).body
    for step in place.split("."):
        told = told[int(step)] if step.isdigit() else told[step]
    elsewhere = anthropic.render_request(request, Rules(dialect="anthropic", max_output_tokens=9))

    assert told == value
    assert re.sub(r"\.(\d+)", r"[\1]", place) in [loss.field for loss in elsewhere.losses]


def test_an_unknown_field_beside_a_text_stays_with_it() -> None:
    part = part_of({"text": "hi", "later": {"a": 1}, "videoMetadata": {"fps": 1}})

    assert part == Text("hi", native={"gemini": {"later": {"a": 1}, "videoMetadata": {"fps": 1}}})


def test_pieces_of_a_text_with_fields_of_their_own_are_not_joined() -> None:
    parts = [{"text": "a"}, {"text": "b", "later": 1}, {"text": "c"}]

    assert [part.text for part in messages({"role": "model", "parts": parts})[0].parts] == ["a", "b", "c"]


def test_what_only_gemini_has_is_a_loss_by_its_own_path_elsewhere() -> None:
    request = asked(
        safetySettings=[], generationConfig={"speechConfig": {"a": 1}, "topK": 5, "thinkingConfig": {"later": 1}}
    )

    assert {loss.field for loss in anthropic.render_request(request, Rules(max_output_tokens=9)).losses} >= {
        "safetySettings",
        "generationConfig.speechConfig",
    }


@pytest.mark.parametrize("mode", ["AUTO", "VALIDATED"])
@pytest.mark.parametrize("functions", [["f"], ["f", "g"]])
def test_85_functions_that_may_not_be_called_and_googles_own_tools_are_each_a_loss_elsewhere(
    mode: str, functions: list[str]
) -> None:
    """allowedFunctionNames is about functions alone: Google's own tools are lost with it as without it."""
    request = asked(
        tools=[
            {"functionDeclarations": [{"name": name} for name in functions]},
            {"googleSearch": {}},
            {"codeExecution": {}, "urlContext": {}},
        ],
        toolConfig={"functionCallingConfig": {"mode": mode, "allowedFunctionNames": ["f"]}},
    )

    rendered = anthropic.render_request(request, Rules(dialect="anthropic", max_output_tokens=1000))

    assert [tool["name"] for tool in rendered.body["tools"]] == ["f"]
    assert [loss.field for loss in rendered.losses if loss.field.startswith("tool")] == [
        *(["toolConfig.functionCallingConfig"] if functions != ["f"] else []),
        "tools[1].googleSearch",
        "tools[2].codeExecution",
        "tools[2].urlContext",
        *(["toolConfig.functionCallingConfig.mode"] if mode == "VALIDATED" else []),
    ]


def test_labels_are_metadata_and_come_back_as_labels() -> None:
    request = asked(labels={"team": "search"}, serviceTier="standard")
    other = replace(request, dialect="openai_chat")

    assert (request.metadata, request.service_tier) == ({"team": "search"}, "default")
    assert render_request(request, BUDGET).body["labels"] == {"team": "search"}
    assert render_request(request, BUDGET).body["serviceTier"] == "standard"
    assert [loss.field for loss in render_request(other, BUDGET).losses] == ["metadata"]


@pytest.mark.parametrize(
    ("calling", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({"mode": "none"}, ToolChoice("none")),
        ({"mode": "ANY"}, ToolChoice("required")),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("named", ("f",))),
        ({"mode": "ANY", "allowed_function_names": ["f", "g"]}, ToolChoice("allowed", ("f", "g"), "required")),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ToolChoice("allowed", ("f",))),
        ({"mode": "VALIDATED"}, None),
        ({"mode": "MODE_UNSPECIFIED"}, None),
    ],
)
def test_85_tool_choice(calling: dict[str, Any], choice: ToolChoice | None) -> None:
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]
    body = {"contents": HI, "tools": tools, "toolConfig": {"functionCallingConfig": calling}}
    request = parse_request(body, "gemini-x", stream=False)
    again = render_request(request, BUDGET).body.get("toolConfig", {"functionCallingConfig": {}})

    assert request.tool_choice == choice
    if calling["mode"] != "MODE_UNSPECIFIED":
        assert equal_body(again) == equal_body(body["toolConfig"])


GOOGLES = {
    "type": "OBJECT",
    "property_ordering": ["b", "a"],
    "properties": {
        "a": {"type": "INTEGER", "format": "int32", "minimum": "1"},
        "b": {"type": "STRING", "nullable": True, "enum": ["x", "y"], "format": "enum"},
        "any_of": {"anyOf": [{"type": "NUMBER"}, {"type": "ARRAY", "items": {"type": "BOOLEAN"}, "maxItems": "2"}]},
    },
    "required": ["a"],
    "example": {"a": 1},
}
JSON_SCHEMA = {
    "type": "object",
    "properties": {
        "b": {"type": ["string", "null"], "enum": ["x", "y", None]},
        "a": {"type": "integer", "format": "int32", "minimum": 1},
        "any_of": {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}]},
    },
    "required": ["a"],
    "examples": [{"a": 1}],
}


def test_80_googles_schema_is_json_schema() -> None:
    found = json_schema(GOOGLES)

    assert found == JSON_SCHEMA
    assert list(found["properties"]) == ["b", "a", "any_of"]


@pytest.mark.parametrize("field", ["parameters", "parametersJsonSchema"])
def test_79_a_function_is_json_schema_for_others_and_itself_for_gemini(field: str) -> None:
    schema = GOOGLES if field == "parameters" else JSON_SCHEMA
    declaration = {"name": "f", "description": "d", field: schema, "behavior": "BLOCKING"}
    request = asked(tools=[{"function_declarations": [declaration], "googleSearch": {}}, {"urlContext": {}}])
    own = render_request(request, BUDGET)
    others = openai_chat.render_request(request, Rules())

    assert request.tools == (
        Tool("f", "d", JSON_SCHEMA, native={"gemini": {"functionDeclarations.behavior": "BLOCKING"}}),
        Tool("googleSearch", kind="native", native={"gemini": {"googleSearch": {}}}),
        Tool("urlContext", kind="native", native={"gemini": {"urlContext": {}}}),
    )
    assert own.body["tools"] == [{"functionDeclarations": [declaration]}, {"googleSearch": {}}, {"urlContext": {}}]
    assert own.losses == ()
    assert others.body["tools"][0]["function"]["parameters"] == JSON_SCHEMA
    assert {loss.field for loss in others.losses} == {
        "tools[0].functionDeclarations[0].behavior",
        "tools[0].googleSearch",
        "tools[1].urlContext",
    }


@pytest.mark.parametrize(
    ("config", "kind", "schema"),
    [
        ({"responseMimeType": "application/json"}, "json_object", None),
        ({"response_mime_type": "application/json", "response_schema": GOOGLES}, "json_schema", JSON_SCHEMA),
        ({"responseMimeType": "application/json", "responseJsonSchema": JSON_SCHEMA}, "json_schema", JSON_SCHEMA),
    ],
)
def test_83_output(config: dict[str, Any], kind: str, schema: Any) -> None:
    request = configured(**config)

    assert request.output is not None
    assert (request.output.kind, request.output.schema) == (kind, schema)
    assert render_request(request, BUDGET).losses == ()
    assert equal_body(render_request(request, BUDGET).body["generationConfig"]) == equal_body(config)


def test_plain_text_is_no_wish() -> None:
    assert configured(responseMimeType="text/plain").output is None


# --- contents --------------------------------------------------------------------------------------


def test_71_roles() -> None:
    request = parse_request(
        {
            "system_instruction": {"role": "user", "parts": [{"text": "be brief"}]},
            "contents": [{"parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}],
        },
        "gemini-x",
        stream=True,
    )

    assert [(message.role, message.place) for message in request.messages] == [
        ("system", "systemInstruction"),
        ("user", "contents[0]"),
        ("assistant", "contents[1]"),
    ]
    assert request.stream


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"text": "a"}, Text("a")),
        ({"text": "a", "thought": False}, Text("a")),
        ({"text": "a", "thought_signature": "s"}, Text("a", native={"gemini": {"thoughtSignature": "s"}})),
        pytest.param({"text": "a", "thought": True}, Thinking("a", {"gemini": {}}), id="87-thought"),
        pytest.param(
            {"inlineData": {"mimeType": "image/png", "data": "_-8"}},
            Image(Source("image/png", "/+8=")),
            id="92-base64-for-urls",
        ),
        pytest.param(
            {"inline_data": {"mime_type": "audio/wav", "data": "AAAA"}},
            Audio(Source("audio/wav", "AAAA")),
            id="92-audio",
        ),
        (
            {"inlineData": {"mimeType": "application/pdf", "data": "AAAA", "displayName": "n"}},
            Document(Source("application/pdf", "AAAA"), native={"gemini": {"inlineData.displayName": "n"}}),
        ),
        (
            {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}, "videoMetadata": {"fps": 1}},
            Document(Source("video/mp4", "AAAA"), native={"gemini": {"videoMetadata": {"fps": 1}}}),
        ),
        pytest.param(
            {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/o"}},
            Image(Source("image/png", file_id="gs://b/o", vendor="gemini")),
            id="91-file",
        ),
        pytest.param(
            {"file_data": {"file_uri": "https://youtu.be/1"}}, Document(Source(url="https://youtu.be/1")), id="91-url"
        ),
        (
            {"executable_code": {"code": "1", "language": "PYTHON"}},
            Opaque("gemini", "executableCode", {"executableCode": {"code": "1", "language": "PYTHON"}}),
        ),
        (
            {"toolCall": {"id": "1"}, "thoughtSignature": "s"},
            Opaque("gemini", "toolCall", {"toolCall": {"id": "1"}, "thoughtSignature": "s"}),
        ),
        ({"newKind": {}}, Opaque("gemini", "newKind", {"newKind": {}})),
    ],
)
def test_parts_both_ways(part: dict[str, Any], expected: Part) -> None:
    body = {"contents": [{"role": "user", "parts": [part]}]}
    rendered = render_request(parse_request(body, "gemini-x", stream=False), Rules(dialect="gemini"))

    assert part_of(part) == expected
    assert equal_body(rendered.body) == equal_body(body)
    assert rendered.losses == ()


@pytest.mark.parametrize(
    ("response", "texts", "is_error"),
    [
        ({"output": "sunny"}, ["sunny"], False),
        ({"output": ["a", "b"]}, ["a", "b"], False),
        ({"error": "no"}, ["no"], True),
        ({"result": "sunny"}, ['{"result":"sunny"}'], False),
        ({"degrees": 20}, ['{"degrees":20}'], False),
        ({"output": '{"a":1}'}, ['{"output":"{\\"a\\":1}"}'], False),
        ({"output": ["one"]}, ['{"output":["one"]}'], False),
        ({"error": {"code": 3}}, ['{"error":{"code":3}}'], True),
        ({}, ["{}"], False),
    ],
)
def test_73_results_both_ways(response: dict[str, Any], texts: list[str], is_error: bool) -> None:
    contents = [
        {"role": "model", "parts": [{"functionCall": {"id": "1", "name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "1", "name": "f", "response": response}}]},
    ]
    found = messages(*contents)[1].parts[0]
    request = parse_request({"contents": contents}, "gemini-x", stream=False)

    assert found == ToolResult("1", tuple(Text(text) for text in texts), is_error, "f")
    assert render_request(request, BUDGET).body["contents"] == contents


def test_75_calls_without_ids_are_told_apart_and_answered_in_order() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}

    def result(text: str) -> dict[str, Any]:
        return {"functionResponse": {"name": "f", "response": {"output": text}}}

    turn = [{"role": "model", "parts": [call, call]}, {"role": "user", "parts": [result("1"), result("2")]}]
    said, told = messages(*turn)
    later = messages(*turn, *turn)
    ids = [part.id for part in said.parts if isinstance(part, ToolCall)]
    more = [part.id for part in later[2].parts if isinstance(part, ToolCall)]

    assert len({*ids, *more}) == 4
    assert [part.call_id for part in told.parts if isinstance(part, ToolResult)] == ids
    assert [part.call_id for part in later[3].parts if isinstance(part, ToolResult)] == more
    assert later[0] == said


def test_72_an_id_that_no_call_has_stays() -> None:
    found = messages(
        {"role": "model", "parts": [{"functionCall": {"id": "1", "name": "f"}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "2", "name": "f", "response": {"output": "x"}}}]},
    )

    assert found[1].parts == (ToolResult("2", (Text("x"),), name="f"),)


def test_72_an_id_in_the_result_alone_is_the_calls() -> None:
    found = messages(
        {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "2", "name": "f", "response": {"output": "x"}}}]},
    )
    call, result = found[0].parts[0], found[1].parts[0]

    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert result.call_id == call.id


def test_74_a_mixed_turn_is_results_then_words() -> None:
    found = messages(
        {"role": "model", "parts": [{"functionCall": {"id": "1", "name": "f"}}]},
        {
            "role": "user",
            "parts": [{"text": "and"}, {"functionResponse": {"id": "1", "name": "f", "response": {"output": "x"}}}],
        },
    )

    assert [(message.role, message.place) for message in found] == [
        ("assistant", "contents[0]"),
        ("tool", "contents[1]"),
        ("user", "contents[1]"),
    ]
    assert found[0].parts == (ToolCall("1", "f", "{}"),)


def test_media_inside_a_result() -> None:
    inside = [{"inlineData": {"mimeType": "image/png", "data": "AAAA", "displayName": "p"}}]
    contents = [
        {"role": "model", "parts": [{"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": "s"}]},
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "1",
                        "name": "f",
                        "response": {"see": {"$ref": "p"}},
                        "parts": inside,
                        "scheduling": "SILENT",
                    }
                }
            ],
        },
    ]
    rendered = render_request(parse_request({"contents": contents}, "gemini-x", stream=False), LEVEL)

    assert rendered.body["contents"] == contents
    assert rendered.losses == ()


# --- the model's turn, as SDKs send it back ----------------------------------------------------------


def test_a_recorded_stream_becomes_one_turn_again() -> None:
    """google-genai's chats keep one content for each chunk."""
    found = messages(
        {"role": "model", "parts": [{"text": "let ", "thought": True}]},
        {"role": "model", "parts": [{"text": "me", "thought": True}]},
        {"role": "model", "parts": [{"text": "Hel"}]},
        {"role": "model", "parts": [{"text": "lo"}]},
        {"role": "model", "parts": [{"text": "", "thoughtSignature": "sig"}]},
    )

    assert [message.parts for message in found] == [
        (Thinking("let me", {"gemini": {}}), Text("Hello", native={"gemini": {"thoughtSignature": "sig"}}))
    ]


@pytest.mark.parametrize("alphabet", ["+/", "-_"])
def test_another_vendors_signature_is_unpacked(alphabet: str) -> None:
    """The official SDK sends signatures back in base64 for URLs."""
    native = {"anthropic": {"signature": "\x00\U0010ffff?>" * 9}}
    packed = seal(native).translate(str.maketrans("+/", alphabet))
    found = messages(
        {"role": "model", "parts": [{"text": "hm", "thought": True}]},
        {"role": "model", "parts": [{"text": "", "thought": True, "thoughtSignature": packed}]},
    )

    assert found[0].parts == (Thinking("hm", native),)


def test_another_vendors_block_is_unpacked() -> None:
    packed = seal({"anthropic": {"type": "server_tool_use", "opaque": {"type": "server_tool_use", "id": "1"}}})

    assert part_of({"text": "", "thought": True, "thoughtSignature": packed}, "model") == Opaque(
        "anthropic", "server_tool_use", {"type": "server_tool_use", "id": "1"}
    )


def test_78_gemini_signatures_are_lost_elsewhere_and_said() -> None:
    request = parse_request(
        {"contents": [*HI, {"role": "model", "parts": [{"text": "a", "thoughtSignature": "s"}]}, *HI]},
        "gemini-x",
        stream=False,
    )
    rendered = anthropic.render_request(request, Rules(max_output_tokens=9))

    assert "thoughtSignature" not in json.dumps(rendered.body)
    assert [loss.field for loss in rendered.losses] == ["contents[1].parts[0].thoughtSignature"]


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": "hi"}, "contents"),
        ({"contents": [{"role": "assistant", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"function_call": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": [{"parts": [{"inlineData": {}}]}]}, "contents[0].parts[0].inlineData.data"),
        ({"contents": HI, "generationConfig": {"top_p": "1"}}, "generationConfig.topP"),
        ({"contents": HI, "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
    ],
)
def test_a_wrong_field_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse_request(body, "gemini-x", stream=False)

    assert raised.value.param == param


@pytest.mark.parametrize(
    "body", [{"contents": HI}, {"generateContentRequest": {"model": "models/gemini-x", "contents": HI}}]
)
def test_count_requests(body: dict[str, Any]) -> None:
    assert parse_count_request(body, "gemini-x") == asked()


# --- recordings ------------------------------------------------------------------------------------


def equal_body(value: Any, key: str = "") -> Any:
    """*value* without what makes no difference to Google: spelling, nulls, defaults, the cut of contents and tools."""
    if isinstance(value, list):
        return [equal_body(item) for item in value]
    if not isinstance(value, dict) or key in FREE_KEYS:
        return value
    found = {}
    for name, item in value.items():
        camel = re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
        if item is None or item == SKIP_SIGNATURE or (camel in ("thought", "includeThoughts") and item is False):
            continue
        found[camel] = equal_body(item, camel)
    if "contents" in found:
        found["contents"] = equal_contents(found["contents"])
    if "systemInstruction" in found:
        found["systemInstruction"].pop("role", None)
    for name in ("mode", "thinkingLevel"):
        if isinstance(found.get(name), str):
            found[name] = found[name].upper()
    if "mimeType" in found and "data" in found:
        data = found["data"].translate(str.maketrans("-_", "+/"))
        found["data"] = b64decode(data + "=" * (-len(data) % 4))
    if "tools" in found:
        functions = [item for tool in found["tools"] for item in tool.pop("functionDeclarations", [])]
        own = [{name: item} for tool in found["tools"] for name, item in tool.items()]
        found["tools"] = [functions, sorted(own, key=str)]
    return {name: item for name, item in found.items() if item not in ({}, [], [[], []])}


def equal_contents(contents: list[Any]) -> list[Any]:
    found: list[Any] = []
    for content in contents:
        role = "model" if content.get("role") == "model" else "user"
        if not found or found[-1]["role"] != role:
            found.append({"role": role, "parts": []})
        for part in content.get("parts", []):
            for name in ("functionCall", "functionResponse"):
                if name in part:
                    part[name].pop("id", None)
                    part[name].setdefault("args" if name == "functionCall" else "response", {})
            found[-1]["parts"].append(part)
    return [content for content in found if content["parts"]]


def _recorded() -> list[Any]:
    paths = [
        path
        for folder in ("gemini", "vertex")
        for path in sorted((SHARED / "recordings" / folder).glob("*-generate-content-*.json"))
    ]
    found = [
        pytest.param(body, id=path.stem)
        for path in paths
        if isinstance(body := json.loads(path.read_text())["request"]["body"], dict)
    ]
    return found or [pytest.param(None, marks=pytest.mark.skip("no recordings here"))]


@pytest.mark.parametrize("body", _recorded())
def test_a_recorded_request_is_asked_again_as_it_was(body: dict[str, Any]) -> None:
    text = json.dumps(body).lower().replace("_", "")
    newer = '"thinkinglevel"' in text or re.search(r'"functionresponse": \{[^{}]*"parts"', text)
    rendered = render_request(parse_request(body, "gemini-x", stream=False), LEVEL if newer else BUDGET)

    assert equal_body(rendered.body) == equal_body(body)
    assert [loss for loss in rendered.losses if "lost thoughtSignature" not in loss.reason] == []


@pytest.mark.parametrize("body", _recorded())
def test_a_recorded_request_for_claude_and_for_openai_says_what_it_loses(body: dict[str, Any]) -> None:
    request = parse_request(body, "gemini-x", stream=False)
    for module, rules in ((anthropic, Rules(dialect="anthropic", max_output_tokens=99)), (openai_chat, Rules())):
        if any(isinstance(part, Document | Audio) for message in request.messages for part in message.parts):
            continue
        rendered = module.render_request(request, rules)

        assert rendered.body["messages"]
        assert not [loss for loss in rendered.losses if loss.field.startswith("tools") and "parameters" in loss.field]


def test_the_official_types_are_all_read() -> None:
    """What google-genai puts into a request, every field at once, comes out again."""
    config = types.GenerateContentConfig(
        temperature=0.1,
        top_p=0.2,
        top_k=3,
        candidate_count=2,
        max_output_tokens=9,
        stop_sequences=["x"],
        response_logprobs=True,
        logprobs=2,
        presence_penalty=0.3,
        frequency_penalty=0.4,
        seed=5,
        media_resolution=types.MediaResolution.MEDIA_RESOLUTION_LOW,
        response_modalities=["TEXT"],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=7),
    )
    body = {"contents": HI, "generationConfig": config.model_dump(mode="json", by_alias=True, exclude_none=True)}
    rendered = render_request(parse_request(body, "gemini-x", stream=False), BUDGET)

    assert rendered.body == body
    assert rendered.losses == ()
