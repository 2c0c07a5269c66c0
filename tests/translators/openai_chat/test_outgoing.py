"""Neutral requests of other dialects, written for an OpenAI-compatible server."""

from typing import Any

import pytest

from translators import openai_chat, openai_responses
from translators.dialect import BackendDialect, Rules
from translators.errors import BadRequest, Unsupported
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
from translators.openai_chat import parse_request, render_request

USER = Message("user", (Text("hi"),))
TOOL = Tool("f", "does f", {"type": "object"})


EMPTY = {"type": "object", "properties": {}, "additionalProperties": False}


def asked(*messages: Message, **fields: Any) -> Request:
    return Request("anthropic", "m", messages or (USER,), **fields)


def body_of(request: Request, rules: Rules | None = None) -> dict[str, Any]:
    return render_request(request, rules or Rules()).body


def losses_of(request: Request, rules: Rules | None = None) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in render_request(request, rules or Rules()).losses]


@pytest.mark.parametrize(
    ("fields", "rules", "sent"),
    [
        pytest.param({"max_output_tokens": 0}, Rules(), {"max_completion_tokens": 0}, id="WIRE 9"),
        ({"max_output_tokens": 5}, Rules(max_tokens_field="max_tokens"), {"max_tokens": 5}),
        ({"stop": ("a",), "temperature": 0.5, "top_k": 4}, Rules(), {"stop": ["a"], "temperature": 0.5, "top_k": 4}),
        pytest.param(
            {"stream": True}, Rules(), {"stream": True, "stream_options": {"include_usage": True}}, id="WIRE 118"
        ),
        ({"stream": True}, Rules(stream_options=False), {"stream": True}),
        ({"service_tier": "standard_only"}, Rules(), {"service_tier": "default"}),
        ({"reasoning": Reasoning("max")}, Rules(efforts=("low", "high")), {"reasoning_effort": "high"}),
        ({"reasoning": Reasoning(budget_tokens=4000)}, Rules(), {"reasoning_effort": "low"}),
        (
            {"reasoning": Reasoning(budget_tokens=4000)},
            Rules(thinking="budget"),
            {"thinking": {"type": "enabled", "budget_tokens": 4000}},
        ),
        ({"output": OutputFormat("json_object")}, Rules(), {"response_format": {"type": "json_object"}}),
        (
            {"output": OutputFormat("json_schema", EMPTY, strict=True)},
            Rules(),
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": EMPTY, "strict": True},
                }
            },
        ),
        ({"seed": 3}, Rules(rename={"seed": "random_seed"}, extra_body={"x": 1}), {"random_seed": 3, "x": 1}),
        ({"native": {"openai_chat": {"min_p": 0.1}}}, Rules(), {"min_p": 0.1}),
    ],
)
def test_each_field_is_written(fields: dict[str, Any], rules: Rules, sent: dict[str, Any]) -> None:
    assert body_of(asked(**fields), rules) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        **sent,
    }


FUNCTION = {"type": "function", "function": {"name": "f", "description": "does f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("choice", "rules", "sent"),
    [
        (ToolChoice("required"), Rules(), "required"),
        (ToolChoice("named", ("f",)), Rules(), {"type": "function", "function": {"name": "f"}}),
        (ToolChoice("named", ("f",)), Rules(forced_tools="never"), "auto"),
        (ToolChoice("allowed", ("f",), "required"), Rules(), "required"),
        (
            ToolChoice("allowed", ("f",)),
            Rules(conformant=True),
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
        ),
    ],
)
def test_tools_are_written(choice: ToolChoice, rules: Rules, sent: Any) -> None:
    body = body_of(asked(tools=(TOOL,), tool_choice=choice, parallel_tool_calls=False), rules)

    assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == ([FUNCTION], sent, False)


def test_tools_that_were_not_allowed_are_left_out() -> None:
    body = body_of(asked(tools=(TOOL, Tool("g")), tool_choice=ToolChoice("allowed", ("f",))))

    assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]


def test_illegal_tool_names_are_renamed_one_to_one() -> None:
    """WIRE 20."""
    names = ["a.b", "a_b", "a/b", "x" * 65]
    called = Message("assistant", (ToolCall("c", "a.b", ""),))

    rendered = render_request(asked(USER, called, tools=tuple(Tool(name) for name in names)), Rules())

    sent = [tool["function"]["name"] for tool in rendered.body["tools"]]
    assert len(set(sent)) == len(names)
    assert all(len(name) <= 64 for name in sent)
    assert [rendered.tool_names.get(name, name) for name in sent] == names
    assert rendered.body["messages"][1]["tool_calls"][0]["function"] == {"name": sent[0], "arguments": "{}"}


@pytest.mark.parametrize("backend", [openai_chat, openai_responses])
def test_each_changed_name_is_said_once_where_the_client_wrote_it(backend: BackendDialect) -> None:
    calls = (ToolCall("c1", "in.history", "{}"), ToolCall("c2", "a.tool", "{}"), ToolCall("c3", "in.history", "{}"))
    results = tuple(ToolResult(call.id, (Text("o"),)) for call in calls)
    request = Request(
        "openai_chat",
        "m",
        (USER, Message("assistant", calls), Message("tool", results)),
        tools=(Tool("fine", parameters={"type": "object"}), Tool("a.tool", parameters={"type": "object"})),
    )

    losses = backend.render_request(request, Rules()).losses

    assert [(loss.field, loss.action) for loss in losses if loss.action == "renamed"] == [
        ("tools[1].function.name", "renamed"),
        ("messages[1].tool_calls[0].function.name", "renamed"),
    ]


def test_long_call_ids_are_shortened_alike_in_call_and_result() -> None:
    """WIRE 21."""
    long = "call_" + "x" * 100
    messages = [
        USER,
        Message("assistant", (ToolCall(long, "f", "{}"),)),
        Message("tool", (ToolResult(long, (Text("r"),)),)),
    ]

    sent = body_of(asked(*messages))["messages"]

    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]
    assert len(sent[2]["tool_call_id"]) <= 40


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (
            Image(Source(url="https://x"), "low"),
            {"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}},
        ),
        (Image(Source("image/png", "AA==")), {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}),
        (
            Audio(Source("audio/mpeg", "AA==")),
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        ),
        (
            Document(Source("application/pdf", "AA==")),
            {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        ),
        (Document(Source(), "a.txt", "hi"), {"type": "text", "text": "a.txt:\nhi"}),
        (Document(Source(file_id="f1", vendor="openai_chat")), {"type": "file", "file": {"file_id": "f1"}}),
    ],
)
def test_each_kind_of_content_is_written(part: Part, sent: dict[str, Any]) -> None:
    body = body_of(asked(Message("user", (Text("a"), part))))

    assert body["messages"][0]["content"] == [{"type": "text", "text": "a"}, sent]


@pytest.mark.parametrize(
    ("part", "rules"),
    [
        (Image(Source(url="https://x")), Rules(modalities=frozenset({"text"}))),
        (Image(Source(url="https://x")), Rules(image_urls=False)),
        (Image(Source(file_id="f", vendor="anthropic")), Rules()),
        (Audio(Source("audio/wav", "AA==")), Rules(modalities=frozenset({"text", "image"}))),
        (Document(Source("application/pdf", "AA==")), Rules(modalities=frozenset({"text"}))),
        (Document(Source(url="https://x")), Rules()),
        (Opaque("anthropic", "search_result", {}), Rules()),
        (Opaque("openai_chat", "video_url", {}), Rules(modalities=frozenset({"text"}))),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_place(part: Part, rules: Rules) -> None:
    with pytest.raises(Unsupported) as caught:
        body_of(asked(USER, Message("user", (Text("a"), part))), rules)

    assert caught.value.param == "messages[1].content[1]"


def test_pictures_of_tool_results_follow_after_the_last_result() -> None:
    """WIRE 41: a tool message holds text only, and the results of one turn may not be torn apart."""
    picture = Image(Source("image/png", "AA=="))
    messages = [
        Message("assistant", (ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}"))),
        Message("tool", (ToolResult("c1", (picture,)), ToolResult("c2", (Text("r"),)))),
        USER,
    ]

    sent = body_of(asked(*messages))["messages"]

    assert [message["role"] for message in sent] == ["assistant", "tool", "tool", "user", "user"]
    assert sent[3]["content"][1]["type"] == "image_url"
    assert ("messages[1].content[0].content[0]", "emulated") in losses_of(asked(*messages))


THOUGHT = Message("assistant", (Thinking("t", {"anthropic": {"signature": "s"}}), Text("a")))
CALLED = Message("assistant", (ToolCall("c", "f", "{}", native={"gemini": {"thoughtSignature": "g"}}),))


@pytest.mark.parametrize(
    ("message", "replay", "reasoning"),
    [
        (THOUGHT, "never", None),
        (THOUGHT, "tool_turns", None),
        (THOUGHT, "always", "t"),
        pytest.param(CALLED, "tool_turns", "", id="WIRE 123 empty key"),
        (CALLED, "always", None),
    ],
)
def test_earlier_reasoning_is_sent_back_as_the_target_wants(
    message: Message, replay: Any, reasoning: str | None
) -> None:
    """WIRE 123."""
    sent = body_of(asked(USER, message), Rules(reasoning_replay=replay))["messages"][1]

    assert sent.get("reasoning_content") == reasoning


def test_signatures_never_reach_another_vendor_and_are_reported() -> None:
    """WIRE 78, 124, 138."""
    request = asked(USER, THOUGHT, CALLED)

    assert "signature" not in repr(body_of(request)).lower()
    assert losses_of(request) == [
        ("messages[1].content[0].signature", "dropped"),
        ("messages[1].content[0]", "dropped"),
        ("messages[2].content[0].signature", "dropped"),
    ]


MARK = {"cache_control": {"type": "ephemeral"}}
MARKED = Text("a", native={"anthropic": MARK})


def test_every_place_of_a_lost_field_is_reported() -> None:
    cited = Text("b", ({"type": "url_citation"},), native={"anthropic": {"citations": [{}]}})
    hidden = Thinking("", {"anthropic": {"redacted_data": "x"}})
    request = asked(
        Message("system", (MARKED, MARKED)),
        Message("user", (Document(Source(), None, "d", native={"anthropic": {"citations": {"enabled": True}}}),)),
        Message("assistant", (Thinking("t", {"anthropic": {"signature": "s"}}), hidden, cited)),
        Message("assistant", (Thinking("u", {"anthropic": {"signature": "s"}}), Text("c"))),
        USER,
        native={"anthropic": MARK},
    )

    assert sorted(losses_of(request)) == [
        ("cache_control", "dropped"),
        ("messages[0].content[0].cache_control", "dropped"),
        ("messages[0].content[1].cache_control", "dropped"),
        ("messages[1].content[0]", "emulated"),
        ("messages[1].content[0].citations", "dropped"),
        ("messages[2].content[0]", "dropped"),
        ("messages[2].content[0].signature", "dropped"),
        ("messages[2].content[1].data", "dropped"),
        ("messages[2].content[2].citations", "dropped"),
        ("messages[3].content[0]", "dropped"),
        ("messages[3].content[0].signature", "dropped"),
    ]


def test_beyond_64_losses_of_one_field_one_more_stands_for_the_rest() -> None:
    losses = render_request(asked(Message("user", (MARKED,) * 70)), Rules()).losses

    assert [loss.field for loss in losses] == [f"messages[0].content[{at}].cache_control" for at in range(65)]
    assert losses[-1].reason.endswith("; 5 more alike")


TWO_CALLS = Message("assistant", (ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}")))
A = Message("tool", (ToolResult("a", (Text("ra"),)),))
B = Message("tool", (ToolResult("b", (Text("rb"),)),))
ASIDE = Message("developer", (Text("x"),))


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ((TWO_CALLS, A, ASIDE, B), ["assistant", "ra", "rb", "x"]),
        ((TWO_CALLS, ASIDE, B, USER, A), ["assistant", "rb", "ra", "x", "hi"]),
        # An id that is used again means the later call.
        ((TWO_CALLS, A, B, TWO_CALLS, A, USER, B), ["assistant", "ra", "rb", "assistant", "ra", "rb", "hi"]),
    ],
)
def test_results_stand_right_behind_the_turn_that_called(messages: tuple[Message, ...], sent: list[str]) -> None:
    """OpenAI answers any other message between them with 400."""
    written = body_of(asked(*messages))["messages"]

    assert [message["content"] or message["role"] for message in written] == sent
    assert losses_of(asked(*messages)) == []


def test_a_call_without_a_result_is_given_one() -> None:
    request = asked(TWO_CALLS, B, USER)

    written = body_of(request)["messages"]

    assert [message.get("tool_call_id") for message in written] == [None, "b", "a", None]
    assert written[2]["content"] == "This call gave no result."
    assert losses_of(request) == [("messages[0].content[0]", "emulated")]


def test_a_call_at_the_end_is_still_open() -> None:
    assert [message["role"] for message in body_of(asked(USER, TWO_CALLS))["messages"]] == ["user", "assistant"]


def test_an_answer_of_which_nothing_is_left_is_left_out() -> None:
    request = asked(USER, Message("assistant", (Opaque("openai_responses", "mcp_call", {}),)), USER)

    assert [message["role"] for message in body_of(request)["messages"]] == ["user", "user"]
    assert losses_of(request) == [("messages[1].content[0]", "dropped")]


@pytest.mark.parametrize(
    ("fields", "rules", "losses"),
    [
        ({"temperature": 2}, Rules(temperature_max=1), [("temperature", "clamped")]),
        ({"top_k": 4}, Rules(refuses=frozenset({"top_k"})), [("top_k", "dropped")]),
        ({"top_k": 4}, Rules(conformant=True), [("top_k", "dropped")]),
        ({"max_output_tokens": 9}, Rules(max_output_tokens=5), [("max_tokens", "clamped")]),
        ({"reasoning": Reasoning("max")}, Rules(efforts=("low",)), [("output_config.effort", "clamped")]),
        ({"reasoning": Reasoning("low")}, Rules(thinking="none"), [("output_config.effort", "dropped")]),
        ({"service_tier": "ultra"}, Rules(), [("service_tier", "dropped")]),
        ({"tools": (Tool("web_search", kind="native", native={"anthropic": {}}),)}, Rules(), [("tools[0]", "dropped")]),
        ({"native": {"anthropic": {"container": "c"}}}, Rules(), [("container", "dropped")]),
        (
            {"output": OutputFormat("json_schema", {})},
            Rules(structured_output=False),
            [("output_config.format", "emulated")],
        ),
    ],
)
def test_what_is_lost_is_said(fields: dict[str, Any], rules: Rules, losses: list[tuple[str, str]]) -> None:
    assert losses_of(asked(**fields), rules) == losses


def test_a_schema_that_the_target_cannot_take_is_told_in_words() -> None:
    request = asked(Message("system", (Text("s"),)), USER, output=OutputFormat("json_schema", {"a": 1}))

    body = body_of(request, Rules(structured_output=False))

    assert body["response_format"] == {"type": "json_object"}
    assert [message["role"] for message in body["messages"]] == ["system", "system", "user"]
    assert '{"a":1}' in body["messages"][1]["content"]


def test_roles_and_places_of_instructions_are_kept() -> None:
    messages = [Message("developer", (Text("a"),)), USER, Message("system", (Text("b"),))]

    roles = [message["role"] for message in body_of(asked(*messages), Rules(developer_role=False))["messages"]]

    assert roles == ["system", "user", "system"]


def test_a_begun_answer_is_refused_where_it_cannot_be_continued() -> None:
    with pytest.raises(BadRequest) as caught:
        body_of(asked(USER, Message("assistant", (Text("so"),))), Rules(prefill=False))

    assert caught.value.param == "messages[1]"


def test_our_own_dialect_is_written_as_it_was_read() -> None:
    body = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "d", "name": "n"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        "tools": [FUNCTION],
        "n": 2,
        "logit_bias": {"1": 2},
        "prediction": {"type": "content", "content": "x"},
        "max_completion_tokens": 7,
    }

    assert body_of(parse_request(body)) == body
    assert losses_of(parse_request(body)) == []
