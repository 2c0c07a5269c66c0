"""Neutral requests as bodies of generateContent. Numbers in test ids are cases of the wire facts."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from translators.dialect import Rendered, Rules
from translators.errors import BadRequest, Unsupported
from translators.gemini import render_request
from translators.losses import client_field
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Request,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

LEVEL = Rules(dialect="gemini", thinking="level", temperature_max=2, efforts=("minimal", "low", "medium", "high"))
BUDGET = Rules(dialect="gemini", thinking="budget", image_url_prefixes=("https://generativelanguage.googleapis.com/",))
USER = Message("user", (Text("hi"),))
SIGNED = {"gemini": {"thoughtSignature": "sig"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOL = Tool("f", "does f", SCHEMA)
CALL = ToolCall("c1", "f", '{"a":"x"}')
ARGUMENTS = "messages[0].tool_calls[0].function.arguments"
RESULT = Message("tool", (ToolResult("c1", (Text("out"),)),))


def request(*messages: Message, **more: Any) -> Request:
    return Request("openai_chat", "gemini-x", messages or (USER,), **more)


def render(*messages: Message, rules: Rules = BUDGET, **more: Any) -> Rendered:
    rendered = render_request(request(*messages, **more), rules)
    check(rendered.body)
    return rendered


def check(body: dict[str, Any]) -> None:
    """*body* is made of what the official SDK's types know."""
    json.dumps(body)
    for content in body["contents"]:
        types.Content.model_validate(content)
    config = dict(body.get("generationConfig", {}))
    for key in ("tools", "toolConfig", "systemInstruction", "serviceTier", "safetySettings"):
        if key in body:
            config[key] = body[key]
    types.GenerateContentConfig.model_validate(config)


def losses(rendered: Rendered) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in rendered.losses]


def model(*parts: Part) -> Message:
    return Message("assistant", parts)


def answer(call_id: str, *parts: Part, **more: Any) -> Message:
    return Message("tool", (ToolResult(call_id, parts, **more),))


def function_call(call_id: str, name: str = "f", **more: Any) -> dict[str, Any]:
    return {"functionCall": {"id": call_id, "name": name, "args": {"a": "x"}}, **more}


def response(call_id: str, output: Any, name: str = "f") -> dict[str, Any]:
    return {"functionResponse": {"id": call_id, "name": name, "response": output}}


CONTENTS = [
    pytest.param(
        [Message("system", (Text("s"),)), Message("developer", (Text("d"),)), USER],
        {
            "systemInstruction": {"parts": [{"text": "s"}, {"text": "d"}]},
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        },
        [],
        id="71-leading-instructions",
    ),
    pytest.param(
        [USER, model(Text("a")), Message("system", (Text("s"),)), USER],
        {
            "contents": [
                {"role": "user", "parts": [{"text": "hi"}]},
                {"role": "model", "parts": [{"text": "a"}]},
                {"role": "user", "parts": [{"text": "s"}, {"text": "hi"}]},
            ]
        },
        [("messages[2].role", "emulated")],
        id="71-a-later-instruction-stays-in-place",
    ),
    pytest.param(
        [Message("system", (Text("s"),))],
        {"contents": [{"role": "user", "parts": [{"text": "s"}]}]},
        [("messages", "emulated")],
        id="71-an-instruction-alone",
    ),
    pytest.param(
        [USER, USER],
        {"contents": [{"role": "user", "parts": [{"text": "hi"}, {"text": "hi"}]}]},
        [],
        id="71-neighbours",
    ),
    pytest.param(
        [USER, model(CALL), RESULT, USER],
        {
            "contents": [
                {"role": "user", "parts": [{"text": "hi"}]},
                {"role": "model", "parts": [function_call("c1")]},
                {"role": "user", "parts": [response("c1", {"output": "out"}), {"text": "hi"}]},
            ]
        },
        [],
        id="72-the-name-comes-from-the-call",
    ),
    pytest.param(
        [USER, model(CALL, replace(CALL, id="c2")), RESULT, answer("c2", Text("2"))],
        {
            "contents": [
                {"role": "user", "parts": [{"text": "hi"}]},
                {"role": "model", "parts": [function_call("c1"), function_call("c2")]},
                {"role": "user", "parts": [response("c1", {"output": "out"}), response("c2", {"output": "2"})]},
            ]
        },
        [],
        id="74-parallel-answers-in-one-content",
    ),
    pytest.param(
        [model(CALL), model(replace(CALL, id="c2")), RESULT, answer("c2", Text("2"))],
        {
            "contents": [
                {"role": "model", "parts": [function_call("c1"), function_call("c2")]},
                {"role": "user", "parts": [response("c1", {"output": "out"}), response("c2", {"output": "2"})]},
            ]
        },
        [],
        id="74-calls-in-several-messages",
    ),
    pytest.param(
        [model(CALL, replace(CALL, id="c2")), RESULT, USER],
        {
            "contents": [
                {"role": "model", "parts": [function_call("c1"), function_call("c2")]},
                {
                    "role": "user",
                    "parts": [
                        response("c1", {"output": "out"}),
                        response("c2", {"error": "no result was given"}),
                        {"text": "hi"},
                    ],
                },
            ]
        },
        [("messages[2]", "emulated")],
        id="74-a-missing-answer-is-an-error",
    ),
    *(
        pytest.param(
            [model(CALL, replace(CALL, id="c2")), RESULT, between, answer("c2", Text("2")), USER],
            {
                "contents": [
                    {"role": "model", "parts": [function_call("c1"), function_call("c2")]},
                    {
                        "role": "user",
                        "parts": [
                            response("c1", {"output": "out"}),
                            response("c2", {"output": "2"}),
                            {"text": "hi"},
                            {"text": "hi"},
                        ],
                    },
                ]
            },
            lost,
            id=f"74-a-late-answer-stands-where-it-was-due-{between.role}",
        )
        for between, lost in ((USER, []), (replace(USER, role="system"), [("messages[2].role", "emulated")]))
    ),
    pytest.param(
        [model(CALL), model(Text("a")), USER, model(Text("b")), RESULT],
        {
            "contents": [
                {"role": "model", "parts": [function_call("c1"), {"text": "a"}]},
                {"role": "user", "parts": [response("c1", {"output": "out"}), {"text": "hi"}]},
                {"role": "model", "parts": [{"text": "b"}]},
            ]
        },
        [],
        id="74-an-answer-a-turn-late",
    ),
    pytest.param(
        [model(CALL, CALL), RESULT, USER, answer("c1", Text("2"))],
        {
            "contents": [
                {"role": "model", "parts": [function_call("c1"), function_call("c1")]},
                {
                    "role": "user",
                    "parts": [response("c1", {"output": "out"}), response("c1", {"output": "2"}), {"text": "hi"}],
                },
            ]
        },
        [],
        id="74-a-late-answer-to-the-second-call-of-an-id",
    ),
    pytest.param(
        [model(CALL), USER, RESULT, answer("c1", Text("again"))],
        {
            "contents": [
                {"role": "model", "parts": [function_call("c1")]},
                {"role": "user", "parts": [response("c1", {"output": "out"}), {"text": "hi"}]},
            ]
        },
        [("messages[3]", "dropped")],
        id="74-a-second-answer",
    ),
    pytest.param(
        [model(CALL), RESULT, model(CALL), RESULT],
        {
            "contents": [
                {"role": "model", "parts": [function_call("c1")]},
                {"role": "user", "parts": [response("c1", {"output": "out"})]},
                {"role": "model", "parts": [function_call("c1")]},
                {"role": "user", "parts": [response("c1", {"output": "out"})]},
            ]
        },
        [],
        id="74-an-id-used-in-each-turn",
    ),
    pytest.param(
        [model(CALL), answer("c1", Text("1"), Text("2"))],
        {
            "contents": [
                {"role": "model", "parts": [function_call("c1")]},
                {"role": "user", "parts": [response("c1", {"output": ["1", "2"]})]},
            ]
        },
        [],
        id="73-a-list",
    ),
    pytest.param(
        [model(CALL), answer("c1", Text("bad"), is_error=True)],
        {
            "contents": [
                {"role": "model", "parts": [function_call("c1")]},
                {"role": "user", "parts": [response("c1", {"error": "bad"})]},
            ]
        },
        [],
        id="73-a-failure",
    ),
    pytest.param(
        [model(CALL), answer("c1")],
        {
            "contents": [
                {"role": "model", "parts": [function_call("c1")]},
                {"role": "user", "parts": [response("c1", {"output": ""})]},
            ]
        },
        [],
        id="73-nothing",
    ),
    pytest.param(
        [model(CALL), answer("c1", Text('{"$ref":"#/x","$defs":{}}'))],
        {
            "contents": [
                {"role": "model", "parts": [function_call("c1")]},
                {"role": "user", "parts": [response("c1", {"output": '{"$ref":"#/x","$defs":{}}'})]},
            ]
        },
        [],
        id="82-json-in-a-result-stays-text",
    ),
    pytest.param(
        [model(replace(CALL, arguments="")), answer("c1", Text("o"))],
        {
            "contents": [
                {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "f", "args": {}}}]},
                {"role": "user", "parts": [response("c1", {"output": "o"})]},
            ]
        },
        [],
        id="17-empty-arguments",
    ),
    pytest.param(
        [model(ToolCall("c1", "f", "free text", kind="custom")), answer("c1", Text("o"))],
        {
            "contents": [
                {
                    "role": "model",
                    "parts": [{"functionCall": {"id": "c1", "name": "f", "args": {"input": "free text"}}}],
                },
                {"role": "user", "parts": [response("c1", {"output": "o"})]},
            ]
        },
        [],
        id="custom-calls",
    ),
    pytest.param(
        [model(Text("a", native=SIGNED), Thinking("t", native=SIGNED), replace(CALL, native=SIGNED)), RESULT],
        {
            "contents": [
                {
                    "role": "model",
                    "parts": [
                        {"text": "a", "thoughtSignature": "sig"},
                        {"text": "t", "thought": True, "thoughtSignature": "sig"},
                        function_call("c1", thoughtSignature="sig"),
                    ],
                },
                {"role": "user", "parts": [response("c1", {"output": "out"})]},
            ]
        },
        [],
        id="76-signatures-go-back",
    ),
    pytest.param(
        [USER, model(Thinking("t", native={"anthropic": {"signature": "s"}}), Text("a"))],
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": [{"text": "a"}]}]},
        [("messages[1].reasoning_content", "dropped"), ("messages[1].reasoning_content.signature", "dropped")],
        id="78-other-vendors-thoughts-do-not",
    ),
    pytest.param(
        [USER, model(Refusal("no"), Opaque("gemini", "toolCall", {"toolCall": {}}), Opaque("anthropic", "x", {}))],
        {
            "contents": [
                {"role": "user", "parts": [{"text": "hi"}]},
                {"role": "model", "parts": [{"text": "no"}, {"toolCall": {}}]},
            ]
        },
        [("messages[1].refusal", "emulated"), ("messages[1].content[1]", "dropped")],
        id="138-opaque-parts-go-home-only",
    ),
    pytest.param(
        [Message("user", (Text(""), Text("a")), name="Bo"), model(Text(""))],
        {"contents": [{"role": "user", "parts": [{"text": "a"}]}]},
        [("messages[0].name", "dropped")],
        id="empty-text-and-names",
    ),
    pytest.param(
        [
            Message(
                "user",
                (
                    Image(Source("image/jpg", "QQ=="), "high"),
                    Audio(Source("audio/wav", "QQ==")),
                    Document(Source("application/pdf", "QQ=="), "a.pdf"),
                    Document(Source(), text="plain"),
                    Document(Source("video/mp4", "QQ==")),
                ),
            )
        ],
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"inlineData": {"mimeType": "image/jpeg", "data": "QQ=="}},
                        {"inlineData": {"mimeType": "audio/wav", "data": "QQ=="}},
                        {"inlineData": {"mimeType": "application/pdf", "data": "QQ=="}},
                        {"text": "plain"},
                        {"inlineData": {"mimeType": "video/mp4", "data": "QQ=="}},
                    ],
                }
            ]
        },
        [("messages[0].content[0].image_url.detail", "dropped"), ("messages[0].content[2].file.filename", "dropped")],
        id="92-media",
    ),
    pytest.param(
        [model(Audio(Source(), id="audio_1", transcript="said")), USER],
        {"contents": [{"role": "model", "parts": [{"text": "said"}]}, {"role": "user", "parts": [{"text": "hi"}]}]},
        [("messages[0].content[0]", "emulated")],
        id="an-earlier-answers-sound",
    ),
    pytest.param(
        [
            Message(
                "user",
                (
                    Image(Source(url="https://generativelanguage.googleapis.com/v1beta/files/x")),
                    Document(Source(media_type="application/pdf", file_id="files/y", vendor="gemini")),
                ),
            )
        ],
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
                        {"fileData": {"mimeType": "application/pdf", "fileUri": "files/y"}},
                    ],
                }
            ]
        },
        [],
        id="91-its-own-files",
    ),
]


@pytest.mark.parametrize(("messages", "body", "lost"), CONTENTS)
def test_contents(messages: list[Message], body: dict[str, Any], lost: list[tuple[str, str]]) -> None:
    rendered = render(*messages)

    assert rendered.body == body
    assert losses(rendered) == lost


@pytest.mark.parametrize(
    ("messages", "error", "place"),
    [
        pytest.param(
            [Message("user", (Image(Source(url="https://x.test/a")),))], Unsupported, "messages[0].content[0]", id="91"
        ),
        pytest.param(
            [Message("user", (Image(Source(file_id="f", vendor="openai_chat")),))],
            Unsupported,
            "messages[0].content[0]",
            id="91-file",
        ),
        pytest.param(
            [Message("system", (Image(Source("image/png", "QQ==")),))], Unsupported, "messages[0].content", id="71"
        ),
        pytest.param(
            [model(Audio(Source(), id="audio_1"))],
            Unsupported,
            "messages[0].content[0]",
            id="38-an-earlier-sound-by-its-id",
        ),
        pytest.param([model(replace(CALL, arguments="find it"))], BadRequest, ARGUMENTS, id="17-no-json"),
        pytest.param([model(replace(CALL, arguments="[1]"))], BadRequest, ARGUMENTS, id="17-no-object"),
        pytest.param([RESULT], BadRequest, "messages[0].tool_call_id", id="72-no-call"),
    ],
)
def test_what_cannot_be_said_is_refused(messages: list[Message], error: type[BadRequest], place: str) -> None:
    with pytest.raises(error) as caught:
        render(*messages)

    assert caught.value.param == place
    assert place in caught.value.message


def test_17_unfinished_arguments_are_repaired_as_for_every_target_with_objects() -> None:
    rendered = render(USER, model(replace(CALL, arguments='{"a": "b')), RESULT)

    assert rendered.body["contents"][1]["parts"][0]["functionCall"]["args"] == {"a": "b"}
    assert losses(rendered) == [(ARGUMENTS.replace("[0]", "[1]", 1), "emulated")]


@pytest.mark.parametrize(
    ("part", "modality"),
    [
        (Image(Source("image/png", "QQ==")), "image"),
        (Audio(Source("audio/wav", "QQ==")), "audio"),
        (Document(Source("application/pdf", "QQ==")), "document"),
        (Document(Source("video/mp4", "QQ==")), "video"),
    ],
)
def test_a_modality_that_the_model_lacks_is_refused(part: Part, modality: str) -> None:
    with pytest.raises(Unsupported, match=rf"messages\[0\].content\[0\].* no {modality} input"):
        render(Message("user", (part,)), rules=Rules(modalities=frozenset({"text"})))


def test_91_urls_pass_where_the_model_fetches_them() -> None:
    body = render(Message("user", (Image(Source(url="https://x.test/a")),)), rules=Rules()).body

    assert body["contents"][0]["parts"] == [{"fileData": {"fileUri": "https://x.test/a"}}]


def test_77_a_lost_signature_is_skipped_on_the_first_call_of_each_step() -> None:
    """Only models that think by level demand one, and not on parallel calls after the first."""
    history = (USER, model(CALL, replace(CALL, id="c2")), RESULT, answer("c2", Text("o")))
    rendered = render(*history, rules=LEVEL)
    first, second = rendered.body["contents"][1]["parts"]

    assert first["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in second
    assert losses(rendered) == [("messages.tool_calls", "emulated")]
    assert "Signature" not in json.dumps(render(*history, rules=BUDGET).body)
    steps = (
        USER,
        model(CALL),
        RESULT,
        model(replace(CALL, id="c2")),
        answer("c2", Text("o")),
        model(Text("Well.")),
        USER,
    )
    calls = [part for content in render(*steps, rules=LEVEL).body["contents"] for part in content["parts"]]
    assert ["thoughtSignature" in part for part in calls if "functionCall" in part] == [True, True]
    kept = render(USER, model(replace(CALL, native=SIGNED)), RESULT, rules=LEVEL)
    assert kept.body["contents"][1]["parts"][0]["thoughtSignature"] == "sig"
    assert kept.losses == ()


def test_media_in_a_result_stands_inside_it_for_newer_models() -> None:
    picture = Image(Source("image/png", "QQ=="))
    blob = {"inlineData": {"mimeType": "image/png", "data": "QQ=="}}
    history = (model(replace(CALL, native=SIGNED)), answer("c1", Text("see"), picture))
    newer, older = render(*history, rules=LEVEL), render(*history, rules=BUDGET)
    result = {"id": "c1", "name": "f", "response": {"output": "see"}}

    assert newer.body["contents"][1]["parts"] == [{"functionResponse": {**result, "parts": [blob]}}]
    assert older.body["contents"][1]["parts"] == [{"functionResponse": result}, blob]
    assert losses(older) == [("messages[1]", "emulated")]


# --- tools -----------------------------------------------------------------------------------------


def test_79_tools_are_declared_with_json_schema() -> None:
    schema = {"$schema": "s", "$defs": {"A": {"type": "string"}}, **SCHEMA, "properties": {"a": {"$ref": "#/$defs/A"}}}
    body = render(tools=(Tool("f", "d", schema), Tool("g"))).body

    assert body["tools"] == [
        {"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}, {"name": "g"}]}
    ]


def test_80_older_servers_get_the_openapi_subset() -> None:
    schema = {"type": "object", "properties": {"a": {"const": "x"}}, "additionalProperties": False}
    rules = replace(BUDGET, tool_schema_field="parameters")
    body = render(
        tools=(Tool("f", None, schema), Tool("g", None, {"type": "object", "properties": {}})), rules=rules
    ).body

    assert body["tools"][0]["functionDeclarations"] == [
        {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}}}},
        {"name": "g"},
    ]


def test_custom_and_native_tools() -> None:
    rendered = render(
        tools=(
            Tool("c", "free", kind="custom"),
            Tool("googleSearch", kind="native", native={"gemini": {"googleSearch": {}}}),
            Tool("web_search", kind="native", native={"anthropic": {"type": "web_search_20260318"}}),
        )
    )
    parameters = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}

    assert rendered.body["tools"] == [
        {"functionDeclarations": [{"name": "c", "description": "free", "parametersJsonSchema": parameters}]},
        {"googleSearch": {}},
    ]
    assert losses(rendered) == [("tools[0].custom", "emulated"), ("tools[2]", "dropped")]


def test_20_illegal_names_are_renamed_everywhere_and_come_back() -> None:
    long = "n" * 200
    names = ["1a", "a b", "a_b", "ok.x:y-z", "a/b", long, long + "x"]
    calls = [replace(CALL, id=name, name=name) for name in names]
    rendered = render(
        USER,
        model(*calls),
        *(answer(name, Text("o")) for name in names),
        tools=tuple(Tool(name) for name in names),
        tool_choice=ToolChoice("named", ("a b",)),
    )
    sent = [declaration["name"] for declaration in rendered.body["tools"][0]["functionDeclarations"]]

    assert all(types.FunctionDeclaration(name=name) and len(name) <= 128 and not name[0].isdigit() for name in sent)
    assert len(set(sent)) == len(names)
    assert [rendered.tool_names.get(name, name) for name in sent] == names
    assert sent[2:4] == ["a_b", "ok.x:y-z"]
    assert [part["functionCall"]["name"] for part in rendered.body["contents"][1]["parts"]] == sent
    assert [part["functionResponse"]["name"] for part in rendered.body["contents"][2]["parts"]] == sent
    assert rendered.body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == [sent[1]]
    assert {loss.action for loss in rendered.losses} == {"renamed"}


@pytest.mark.parametrize("tools", [(), (Tool("find"),)], ids=["no-tools", "other-tools"])
def test_20_a_name_that_only_the_history_holds_is_said_once_where_it_stands_first(tools: tuple[Tool, ...]) -> None:
    calls = [ToolCall("c1", "a b", "{}"), ToolCall("c2", "find", "{}"), ToolCall("c3", "a b", "{}")]

    rendered = render(USER, model(*calls), *(answer(call.id, Text("o")) for call in calls), tools=tools)

    assert losses(rendered) == [("messages[1].tool_calls[0].function.name", "renamed")]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=140), unique=True, max_size=8))
def test_20_renaming_is_one_to_one(names: list[str]) -> None:
    rendered = render_request(request(tools=tuple(Tool(name) for name in names)), BUDGET)
    sent = [d["name"] for tool in rendered.body.get("tools", ()) for d in tool["functionDeclarations"]]

    assert len(set(sent)) == len(names)
    assert [rendered.tool_names.get(name, name) for name in sent] == names


STRICT = replace(TOOL, strict=True)
CHOICES = [
    pytest.param(TOOL, None, None, id="85-not-said"),
    pytest.param(STRICT, None, {"mode": "VALIDATED"}, id="85-strict"),
    pytest.param(TOOL, ToolChoice("auto"), {"mode": "AUTO"}, id="85-auto"),
    pytest.param(STRICT, ToolChoice("auto"), {"mode": "VALIDATED"}, id="85-auto-strict"),
    pytest.param(TOOL, ToolChoice("none"), {"mode": "NONE"}, id="85-none"),
    pytest.param(TOOL, ToolChoice("required"), {"mode": "ANY"}, id="85-required"),
    pytest.param(TOOL, ToolChoice("named", ("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}, id="85-named"),
    # ANY holds calls to their schemas, too, and without calls there is nothing to hold.
    pytest.param(STRICT, ToolChoice("required"), {"mode": "ANY"}, id="85-required-strict"),
    pytest.param(
        STRICT, ToolChoice("named", ("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}, id="85-named-strict"
    ),
    pytest.param(STRICT, ToolChoice("none"), {"mode": "NONE"}, id="85-none-strict"),
    pytest.param(
        TOOL, ToolChoice("allowed", ("f",)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, id="85-allowed-auto"
    ),
    pytest.param(
        TOOL,
        ToolChoice("allowed", ("f",), "required"),
        {"mode": "ANY", "allowedFunctionNames": ["f"]},
        id="85-allowed-required",
    ),
]


@pytest.mark.parametrize(("tool", "choice", "expected"), CHOICES)
def test_tool_choice(tool: Tool, choice: ToolChoice | None, expected: dict[str, Any] | None) -> None:
    rendered = render(tools=(tool,), tool_choice=choice)

    assert rendered.body.get("toolConfig", {}).get("functionCallingConfig") == expected
    assert rendered.losses == ()


UNCHECKED = replace(BUDGET, refuses=frozenset({"strict"}))


@pytest.mark.parametrize(
    ("choice", "expected", "lost"),
    [
        (None, None, [("tools[1].function.strict", "dropped")]),
        (ToolChoice("auto"), {"mode": "AUTO"}, [("tools[1].function.strict", "dropped")]),
        (ToolChoice("required"), {"mode": "ANY"}, []),
        (ToolChoice("none"), {"mode": "NONE"}, []),
        (
            ToolChoice("allowed", ("f",)),
            {"mode": "AUTO"},
            [("tool_choice", "dropped"), ("tools[1].function.strict", "dropped")],
        ),
    ],
)
def test_85_strict_is_a_loss_where_the_model_knows_no_validated(choice, expected, lost) -> None:
    rendered = render(tools=(Tool("g"), STRICT), tool_choice=choice, rules=UNCHECKED)

    assert rendered.body.get("toolConfig", {}).get("functionCallingConfig") == expected
    assert losses(rendered) == lost


def test_a_tool_that_need_not_be_strict_loses_nothing() -> None:
    assert render(tools=(replace(TOOL, strict=False),), rules=UNCHECKED).losses == ()


@pytest.mark.parametrize(("kind", "mode"), [("required", "AUTO"), ("named", "VALIDATED")])
def test_a_model_that_cannot_be_forced_is_asked(kind: Any, mode: str) -> None:
    choice = ToolChoice(kind, ("f",) if kind == "named" else ())
    rendered = render(tools=(TOOL,), tool_choice=choice, rules=replace(BUDGET, forced_tools="never"))

    assert rendered.body["toolConfig"]["functionCallingConfig"]["mode"] == mode
    assert losses(rendered) == [("tool_choice", "emulated")]


# --- models without instructions ---------------------------------------------------------------------

NO_SYSTEM = replace(BUDGET, system_instruction=False)
RULE = Message("system", (Text("Be brief."),))


@pytest.mark.parametrize(
    ("messages", "contents", "lost"),
    [
        ((RULE, USER), [("user", ["Be brief.", "hi"])], [("messages[0]", "emulated")]),
        (
            (RULE, Message("developer", (Text("Be kind."),)), USER),
            [("user", ["Be brief.", "Be kind.", "hi"])],
            [("messages[0]", "emulated"), ("messages[1]", "emulated")],
        ),
        (
            (RULE, Message("assistant", (Text("Yes?"),)), USER),
            [("user", ["Be brief."]), ("model", ["Yes?"]), ("user", ["hi"])],
            [("messages[0]", "emulated")],
        ),
        ((RULE,), [("user", ["Be brief."])], [("messages[0]", "emulated"), ("messages", "emulated")]),
        ((USER,), [("user", ["hi"])], []),
    ],
    ids=["before the user", "two", "before the model", "alone", "none"],
)
def test_instructions_open_the_users_turn_of_a_model_that_takes_none(messages, contents, lost) -> None:
    rendered = render(*messages, rules=NO_SYSTEM)

    assert "systemInstruction" not in rendered.body
    assert [(said["role"], [part["text"] for part in said["parts"]]) for said in rendered.body["contents"]] == contents
    assert losses(rendered) == lost


def test_a_form_that_is_asked_for_in_words_opens_the_users_turn_too() -> None:
    rules = replace(NO_SYSTEM, structured_output=False)
    rendered = render(USER, output=OutputFormat("json_object"), rules=rules)

    (content,) = rendered.body["contents"]
    assert "JSON" in content["parts"][0]["text"]
    assert content["parts"][1:] == [{"text": "hi"}]
    assert losses(rendered) == [("response_format", "emulated")]


# --- settings --------------------------------------------------------------------------------------


SETTINGS = [
    pytest.param({}, {}, [], id="88-nothing-is-added"),
    pytest.param(
        {"temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 0, "presence_penalty": 1, "frequency_penalty": -1},
        {"temperature": 0, "topP": 0.5, "topK": 3, "seed": 0, "presencePenalty": 1, "frequencyPenalty": -1},
        [],
        id="sampling",
    ),
    pytest.param({"max_output_tokens": 0}, {"maxOutputTokens": 0}, [], id="zero-is-a-number"),
    pytest.param(
        {"n": 2, "logprobs": True, "top_logprobs": 3},
        {"candidateCount": 2, "responseLogprobs": True, "logprobs": 3},
        [],
        id="90",
    ),
    pytest.param({"top_logprobs": 3}, {}, [("top_logprobs", "dropped")], id="90-alternatives-alone"),
    pytest.param({"stop": tuple("abcdef")}, {"stopSequences": list("abcde")}, [("stop", "clamped")], id="stop"),
    pytest.param({"modalities": ("text", "audio")}, {"responseModalities": ["TEXT", "AUDIO"]}, [], id="modalities"),
    pytest.param(
        {"output": OutputFormat("json_object")}, {"responseMimeType": "application/json"}, [], id="83-json-object"
    ),
    pytest.param(
        {"output": OutputFormat("json_schema", SCHEMA, "n", "told")},
        {"responseMimeType": "application/json", "responseJsonSchema": {**SCHEMA, "title": "n", "description": "told"}},
        [],
        id="83-json-schema",
    ),
    pytest.param(
        {"logit_bias": {"1": 2}, "verbosity": "low", "user": "u", "metadata": {"a": "b"}, "parallel_tool_calls": False},
        {},
        [(name, "dropped") for name in ("logit_bias", "verbosity", "user", "metadata", "parallel_tool_calls")],
        id="no-such-field",
    ),
    pytest.param({"parallel_tool_calls": True, "service_tier": "auto"}, {}, [], id="what-is-so-anyway"),
]


@pytest.mark.parametrize(("more", "config", "lost"), SETTINGS)
def test_settings(more: dict[str, Any], config: dict[str, Any], lost: list[tuple[str, str]]) -> None:
    rendered = render(**more)

    assert rendered.body.get("generationConfig", {}) == config
    assert losses(rendered) == lost


@pytest.mark.parametrize(
    ("tier", "sent"),
    [("default", "standard"), ("flex", "flex"), ("priority", "priority"), ("fast", "priority"), ("scale", None)],
)
def test_service_tiers(tier: str, sent: str | None) -> None:
    rendered = render(service_tier=tier)

    assert rendered.body.get("serviceTier") == sent
    assert losses(rendered) == ([] if sent else [("service_tier", "dropped")])


THINKING = [
    pytest.param(LEVEL, Reasoning("high"), {"thinkingLevel": "HIGH", "includeThoughts": True}, [], id="86-level"),
    pytest.param(LEVEL, Reasoning("none"), {"thinkingLevel": "MINIMAL"}, ["clamped"], id="86-level-cannot-be-off"),
    pytest.param(LEVEL, Reasoning("max"), {"thinkingLevel": "HIGH", "includeThoughts": True}, ["clamped"], id="86-max"),
    pytest.param(
        LEVEL,
        Reasoning(budget_tokens=5000),
        {"thinkingLevel": "MEDIUM", "includeThoughts": True},
        ["emulated"],
        id="86-budget-to-level",
    ),
    pytest.param(
        replace(LEVEL, efforts=("low", "high")),
        Reasoning("minimal"),
        {"thinkingLevel": "LOW", "includeThoughts": True},
        ["clamped"],
        id="86-pro-takes-no-minimal",
    ),
    pytest.param(BUDGET, Reasoning("none"), {"thinkingBudget": 0}, [], id="86-budget-off"),
    pytest.param(BUDGET, Reasoning("low"), {"thinkingBudget": 1024, "includeThoughts": True}, [], id="86-budget"),
    pytest.param(
        BUDGET, Reasoning(budget_tokens=-1), {"thinkingBudget": -1, "includeThoughts": True}, [], id="86-budget-auto"
    ),
    pytest.param(
        replace(BUDGET, efforts=("minimal", "low")),
        Reasoning("none"),
        {"thinkingBudget": 512},
        ["clamped"],
        id="86-pro-cannot-be-off",
    ),
    pytest.param(
        BUDGET, Reasoning("low", visible=False), {"thinkingBudget": 1024, "includeThoughts": False}, [], id="86-hidden"
    ),
    pytest.param(BUDGET, Reasoning(visible=True), {"includeThoughts": True}, [], id="86-visible-alone"),
    pytest.param(replace(BUDGET, thinking="none"), Reasoning("low"), None, ["dropped"], id="86-no-thinking"),
    pytest.param(replace(BUDGET, thinking="none"), Reasoning("none"), None, [], id="86-no-thinking-wanted"),
]


@pytest.mark.parametrize(("rules", "reasoning", "config", "actions"), THINKING)
def test_thinking(rules: Rules, reasoning: Reasoning, config: dict[str, Any] | None, actions: list[str]) -> None:
    rendered = render(reasoning=reasoning, rules=rules)
    found = rendered.body.get("generationConfig", {}).get("thinkingConfig")

    assert found == config
    assert not ({"thinkingLevel", "thinkingBudget"} <= set(found or ()))
    said = "thinking.budget_tokens" if reasoning.effort is None else "reasoning_effort"
    assert losses(rendered) == [(said, action) for action in actions]


@pytest.mark.parametrize(
    ("rules", "tools", "emulated"),
    [
        pytest.param(replace(BUDGET, schema_with_tools=False), (TOOL,), True, id="84-beside-tools"),
        pytest.param(
            replace(BUDGET, schema_with_tools=False),
            (Tool("googleSearch", kind="native", native={"gemini": {"googleSearch": {}}}),),
            True,
            id="84-beside-googles-own",
        ),
        pytest.param(replace(BUDGET, schema_with_tools=False), (), False, id="84-alone"),
        pytest.param(BUDGET, (TOOL,), False, id="84-gemini-3"),
        pytest.param(replace(BUDGET, structured_output=False), (), True, id="83-not-at-all"),
    ],
)
def test_a_schema_that_cannot_be_forced_is_asked_for(rules: Rules, tools: tuple[Tool, ...], emulated: bool) -> None:
    rendered = render(
        Message("system", (Text("s"),)), USER, tools=tools, output=OutputFormat("json_schema", SCHEMA), rules=rules
    )
    instruction = rendered.body["systemInstruction"]["parts"]

    assert ("generationConfig" not in rendered.body) == emulated
    assert losses(rendered) == ([("response_format", "emulated")] if emulated else [])
    assert ("tools" in rendered.body) == bool(tools)
    assert instruction[0] == {"text": "s"}
    assert [json.loads(part["text"].split("\n", 1)[1]) for part in instruction[1:]] == ([SCHEMA] if emulated else [])


def test_what_the_model_refuses_is_dropped_and_limits_are_kept() -> None:
    rules = Rules(
        thinking="budget",
        refuses=frozenset({"temperature", "stop", "n"}),
        refuses_while_thinking=frozenset({"top_p"}),
        max_output_tokens=100,
    )
    asked = {"temperature": 1.0, "stop": ("a",), "top_p": 0.1, "max_output_tokens": 200}
    thinking = render(rules=rules, reasoning=Reasoning("low"), **asked)
    still = render(rules=rules, reasoning=Reasoning("none"), **asked)

    assert "topP" not in thinking.body["generationConfig"]
    assert still.body["generationConfig"] == {
        "topP": 0.1,
        "maxOutputTokens": 100,
        "thinkingConfig": {"thinkingBudget": 0},
    }
    assert losses(thinking) == [
        ("stop", "dropped"),
        ("temperature", "dropped"),
        ("top_p", "dropped"),
        ("max_completion_tokens", "clamped"),
    ]


def test_temperature_has_a_maximum_and_may_exclude_top_p() -> None:
    rules = Rules(temperature_max=1, one_of_temperature_top_p=True)
    rendered = render(temperature=1.5, top_p=0.5, rules=rules)

    assert rendered.body["generationConfig"] == {"temperature": 1}
    assert losses(rendered) == [("top_p", "dropped"), ("temperature", "clamped")]


def test_geminis_own_fields_pass_and_others_are_losses() -> None:
    native = {
        "gemini": {
            "safetySettings": [],
            "cachedContent": "c",
            "generationConfig": {"mediaResolution": "LOW", "topK": 9},
        },
        "openai_chat": {"prediction": {}},
    }
    rules = replace(BUDGET, extra_body={"labels": {"a": "b"}}, headers={"x-goog-x": "1"})
    rendered = render_request(request(top_k=1, native=native), rules)

    assert rendered.body["generationConfig"] == {"topK": 1, "mediaResolution": "LOW"}
    assert (rendered.body["cachedContent"], rendered.body["safetySettings"]) == ("c", [])
    assert rendered.body["labels"] == {"a": "b"}
    assert rendered.headers == {"x-goog-x": "1"}
    assert losses(rendered) == [("prediction", "dropped")]


FULL: dict[str, Any] = {
    "messages": (USER, model(Text("marker"))),
    "tools": (TOOL,),
    "tool_choice": ToolChoice("auto"),
    "parallel_tool_calls": False,
    "max_output_tokens": 7,
    "temperature": 0.3,
    "top_p": 0.4,
    "top_k": 5,
    "presence_penalty": 0.6,
    "frequency_penalty": 0.7,
    "seed": 8,
    "stop": ("end",),
    "n": 3,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"5": 1.0},
    "reasoning": Reasoning("low"),
    "output": OutputFormat("json_object"),
    "verbosity": "high",
    "modalities": ("text",),
    "user": "me",
    "metadata": {"k": "v"},
    "service_tier": "flex",
    "native": {"anthropic": {"speed": "fast"}},
}
NOT_IN_BODY = {"dialect", "model", "stream", "include_usage"}
"""Where it came from; what the URL says; usage always comes."""


@pytest.mark.parametrize("name", sorted({field.name for field in fields(Request) if field.compare} - NOT_IN_BODY))
@pytest.mark.parametrize("rules", [BUDGET, LEVEL, Rules(thinking="none")], ids=["budget", "level", "none"])
def test_every_field_of_a_request_ends_in_the_body_or_in_the_losses(name: str, rules: Rules) -> None:
    everything = replace(request(), **FULL)
    field = next(field for field in fields(Request) if field.name == name)
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    without = replace(everything, **{name: (USER,) if name == "messages" else default})
    with_it, without_it = render_request(everything, rules), render_request(without, rules)
    gone = set(with_it.losses) - set(without_it.losses)

    check(with_it.body)
    assert with_it.body != without_it.body or gone
    if with_it.body == without_it.body and name != "native":
        assert {loss.field for loss in gone} == {client_field("openai_chat", name)}


def test_rendering_is_pure() -> None:
    everything = replace(request(), **FULL)

    assert render_request(everything, LEVEL) == render_request(everything, LEVEL)
    assert everything == replace(request(), **FULL)
