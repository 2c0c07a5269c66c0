"""Requests for llama-cpp-python: each field ends in the body or is reported."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from translators.dialect import Rules
from translators.errors import BadRequest, Unsupported
from translators.llamacpp import render_request
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
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

RULES = Rules(dialect="llamacpp", modalities=frozenset({"text"}), image_urls=False)
SEEING = replace(RULES, modalities=frozenset({"text", "image"}))
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TIME = Tool("get_time", "The time.", CITY)
DATE = Tool("get_date")
CALL_TIME = {
    "type": "object",
    "properties": {"name": {"const": "get_time"}, "arguments": CITY},
    "required": ["name", "arguments"],
    "additionalProperties": False,
}
CALL_DATE = {**CALL_TIME, "properties": {"name": {"const": "get_date"}, "arguments": {"type": "object"}}}
FREE = {"calls": "none", "tools": [], "constrained": False}
HELD = {**FREE, "constrained": True}
WIRE_TIME = {"type": "function", "function": {"name": "get_time", "description": "The time.", "parameters": CITY}}


def request(*messages: Message, **other: Any) -> Request:
    return Request("openai_chat", "tiny", messages or (Message("user", (Text("Hi"),)),), **other)


def body(sent: Request, rules: Rules = RULES) -> dict[str, Any]:
    return render_request(sent, rules).body


def losses(sent: Request, rules: Rules = RULES) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in render_request(sent, rules).losses]


def test_the_smallest_request() -> None:
    assert body(request()) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "modelport": FREE,
    }
    assert losses(request()) == []


# Field of Request -> (value, what it adds to the body, what is reported).
FIELDS: dict[str, tuple[Any, dict[str, Any], list[tuple[str, str]]]] = {
    "tools": ((TIME,), {"tools": [WIRE_TIME], "modelport": {**FREE, "calls": "auto", "tools": ["get_time"]}}, []),
    "tool_choice": (ToolChoice("auto"), {}, []),
    "parallel_tool_calls": (False, {}, [("parallel_tool_calls", "dropped")]),
    "max_output_tokens": (5, {"max_tokens": 5}, []),
    "temperature": (0, {"temperature": 0}, []),
    "top_p": (0.5, {"top_p": 0.5}, []),
    "top_k": (7, {"top_k": 7}, []),
    "presence_penalty": (0.5, {"presence_penalty": 0.5}, []),
    "frequency_penalty": (-0.5, {"frequency_penalty": -0.5}, []),
    "seed": (2**32 + 3, {"seed": 3}, []),
    "stop": (("a", ""), {"stop": ["a"]}, [("stop", "dropped")]),
    "n": (2, {}, [("n", "dropped")]),
    "logprobs": (True, {"logprobs": True, "top_logprobs": 0}, []),
    "top_logprobs": (2, {}, [("top_logprobs", "dropped")]),
    "logit_bias": ({"5": -100.0}, {"logit_bias": {"5": -100.0}}, []),
    "reasoning": (Reasoning("high"), {}, [("reasoning_effort", "dropped")]),
    "output": (OutputFormat("json_object"), {"response_format": {"type": "json_object"}, "modelport": HELD}, []),
    "verbosity": ("low", {}, [("verbosity", "dropped")]),
    "modalities": (("text", "audio"), {}, [("modalities", "dropped")]),
    "user": ("me", {}, [("user", "dropped")]),
    "metadata": ({"a": 1}, {}, [("metadata", "dropped")]),
    "service_tier": ("flex", {}, [("service_tier", "dropped")]),
    "stream": (True, {"stream": True}, []),
    "include_usage": (True, {}, []),
    "native": ({"openai_chat": {"min_p": 0.1, "store": True}}, {"min_p": 0.1}, [("store", "dropped")]),
}  # fmt: skip


def test_the_table_has_every_field() -> None:
    assert set(FIELDS) == {item.name for item in fields(Request) if item.compare} - {"dialect", "model", "messages"}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_ends_in_the_body_or_is_reported(name: str) -> None:
    value, added, reported = FIELDS[name]
    sent = request(**{name: value})

    assert body(sent) == {**body(request()), **added}
    assert losses(sent) == reported


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ("native", "stream", "include_usage")])
def test_a_field_that_the_model_refuses_is_dropped_and_reported(name: str) -> None:
    sent = request(**{name: FIELDS[name][0]})

    rendered = render_request(sent, replace(RULES, refuses=frozenset({name})))

    assert rendered.body == body(request())
    assert [loss.action for loss in rendered.losses] == ["dropped"]


@pytest.mark.parametrize(
    "sent",
    [request(n=1), request(parallel_tool_calls=True), request(modalities=("text",)), request(service_tier="auto")],
)
def test_asking_for_what_happens_anyway_loses_nothing(sent: Request) -> None:
    assert losses(sent) == []


def test_a_limit_of_zero_is_clamped_because_it_would_mean_none() -> None:
    assert body(request(max_output_tokens=0))["max_tokens"] == 1
    assert losses(request(max_output_tokens=0)) == [("max_completion_tokens", "clamped")]


def test_losses_name_fields_in_the_clients_dialect() -> None:
    sent = replace(request(reasoning=Reasoning("high"), user="me"), dialect="anthropic")

    assert losses(sent) == [("thinking", "dropped"), ("metadata.user_id", "dropped")]


# --- tools and forms of the answer ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "offered", "calls", "schema"),
    [
        (request(tools=(TIME, DATE)), ["get_time", "get_date"], "auto", None),
        (request(tools=(TIME, DATE), tool_choice=ToolChoice("none")), [], "none", None),
        (request(tools=(TIME,), tool_choice=ToolChoice("required")), ["get_time"], "named", CITY),
        (request(tools=(DATE, TIME), tool_choice=ToolChoice("named", ("get_time",))), ["get_time"], "named", CITY),
        (request(tools=(TIME, DATE), tool_choice=ToolChoice("required")), ["get_time", "get_date"], "one",
         {"anyOf": [CALL_TIME, CALL_DATE]}),
        (request(tools=(TIME, DATE), tool_choice=ToolChoice("allowed", ("get_date",))), ["get_date"], "auto", None),
        (request(tools=(TIME, DATE), tool_choice=ToolChoice("allowed", ("get_date",), "required")), ["get_date"],
         "named", {"type": "object"}),
        (request(output=OutputFormat("json_schema", CITY)), [], "none", CITY),
        (request(tools=(TIME,), output=OutputFormat("json_schema", CITY)), ["get_time"], "auto",
         {"anyOf": [CALL_TIME, CITY]}),
        (request(tools=(TIME,), output=OutputFormat("json_schema", CITY), tool_choice=ToolChoice("required")),
         ["get_time"], "named", CITY),
    ],
)  # fmt: skip
def test_choices_become_hints_and_grammars(
    sent: Request, offered: list[str], calls: str, schema: dict[str, Any] | None
) -> None:
    got = body(sent)

    assert got["modelport"] == {"calls": calls, "tools": offered, "constrained": schema is not None}
    assert [tool["function"]["name"] for tool in got.get("tools", ())] == offered
    assert got.get("response_format", {}).get("schema") == schema
    assert "tool_choice" not in got


@pytest.mark.parametrize(
    "sent",
    [
        request(tools=(TIME,), tool_choice=ToolChoice("named", ("other",))),
        request(tools=(Tool("code", kind="custom"),), tool_choice=ToolChoice("named", ("code",))),
    ],
)
def test_a_choice_that_cannot_be_met_is_a_bad_request(sent: Request) -> None:
    with pytest.raises(BadRequest) as caught:
        render_request(sent, RULES)

    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("sent", "reported"),
    [
        (request(tools=(Tool("web_search", kind="native"),)), [("tools[0]", "dropped")]),
        (request(tools=(replace(TIME, strict=True),)), [("tools[0].function.strict", "dropped")]),
        (request(tools=(replace(TIME, strict=True),), tool_choice=ToolChoice("required")), []),
        (request(tools=(replace(TIME, native={"anthropic": {"cache_control": {}}}),)),
         [("tools[0].cache_control", "dropped")]),
        (request(tools=(TIME,), output=OutputFormat("json_schema", CITY)), [("tools", "emulated")]),
        (request(tools=(TIME,), output=OutputFormat("json_object"), tool_choice=ToolChoice("required")),
         [("response_format", "dropped")]),
        (request(output=OutputFormat("json_schema", {"type": "integer", "minimum": 3})),
         [("response_format.json_schema.schema.minimum", "dropped")]),
    ],
)  # fmt: skip
def test_losses_of_tools_and_schemas(sent: Request, reported: list[tuple[str, str]]) -> None:
    assert losses(sent) == reported


# --- messages --------------------------------------------------------------------------------------

PICTURE = Image(Source("image/png", data="AAAA"))


def test_a_conversation_in_the_form_of_templates() -> None:
    sent = request(
        Message("system", (Text("One."),)),
        Message("developer", (Text("Two."),)),
        Message("user", (Text("a"), Text("b"))),
        Message("assistant", (Thinking("hm"), Text("I look."), ToolCall("c1", "get_time", ""))),
        Message("tool", (ToolResult("c1", (Text("12"),)), ToolResult("c2", (Text("no"),), is_error=True, name="x"))),
        Message("system", (Text("Later."),)),
        Message("user", (Text("So?"),)),
    )

    rendered = render_request(sent, RULES)

    assert rendered.body["messages"] == [
        {"role": "system", "content": "One.\n\nTwo."},
        {"role": "user", "content": "ab"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "12", "name": "get_time"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: no", "name": "x"},
        {"role": "system", "content": "Later."},
        {"role": "user", "content": "So?"},
    ]
    assert [(loss.field, loss.action) for loss in rendered.losses] == [
        ("messages[1].role", "renamed"),
        ("messages[3].reasoning_content", "dropped"),
        ("messages[4].is_error", "emulated"),
    ]


@pytest.mark.parametrize(
    ("replay", "with_call", "sent_back"),
    [("never", True, False), ("tool_turns", True, True), ("tool_turns", False, False), ("always", False, True)],
)
def test_earlier_reasoning_goes_back_as_the_rules_say(replay: Any, with_call: bool, sent_back: bool) -> None:
    call = (ToolCall("c", "get_time", "{}"),) if with_call else ()
    sent = request(Message("assistant", (Thinking("hm"), *call)), Message("user", (Text("go"),)))

    message = body(sent, replace(RULES, reasoning_replay=replay))["messages"][0]

    assert ("reasoning_content" in message) == sent_back


def test_a_picture_goes_to_a_model_with_a_projector() -> None:
    sent = request(Message("user", (Text("What?"), PICTURE)))

    assert body(sent, SEEING)["messages"][0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]


@pytest.mark.parametrize(
    ("part", "rules"),
    [
        (PICTURE, RULES),
        (Image(Source(url="http://127.0.0.1/secret.png")), SEEING),
        (Image(Source(file_id="f1", vendor="anthropic")), SEEING),
        (Audio(Source("audio/wav", data="AAAA")), SEEING),
        (Document(Source("application/pdf", data="AAAA")), SEEING),
    ],
)
def test_what_a_local_model_cannot_take_is_refused_with_its_place(part: Part, rules: Rules) -> None:
    with pytest.raises(Unsupported) as caught:
        render_request(request(Message("user", (Text("?"), part))), rules)

    assert caught.value.param == "messages[0].content[1]"


@pytest.mark.parametrize(
    ("message", "content", "reported"),
    [
        (Message("user", (Document(Source(), "a.txt", "hi"),)), "a.txt:\nhi", ("messages[0].content[0]", "emulated")),
        (Message("user", (Opaque("anthropic", "x", {}), Text("t"))), "t", ("messages[0].content[0]", "dropped")),
        (Message("user", (Text("t"),), name="bob"), "t", ("messages[0].name", "dropped")),
        (Message("user", (Text("t", native={"anthropic": {"cache_control": {}}}),)), "t",
         ("messages[0].content.cache_control", "dropped")),
        (Message("assistant", (Text("It is"),)), "It is", ("messages[0]", "emulated")),
    ],
)  # fmt: skip
def test_losses_of_messages(message: Message, content: str, reported: tuple[str, str]) -> None:
    assert body(request(message))["messages"][0]["content"] == content
    assert losses(request(message)) == [reported]


def test_no_messages_are_a_bad_request() -> None:
    with pytest.raises(BadRequest):
        render_request(Request("openai_chat", "tiny", ()), RULES)


def test_rendering_is_pure() -> None:
    sent = request(tools=(TIME, DATE), tool_choice=ToolChoice("required"), output=OutputFormat("json_schema", CITY))

    assert render_request(sent, RULES) == render_request(sent, RULES)
    assert CITY == {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
