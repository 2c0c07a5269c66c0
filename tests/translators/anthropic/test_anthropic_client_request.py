"""A client's Messages requests: each field in the neutral form, and the same request when it is rendered again."""

from __future__ import annotations

import copy
import json
import typing
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.anthropic import render_request
from translators.anthropic.client import parse_count_request, parse_request
from translators.dialect import Rules
from translators.errors import BadRequest
from translators.neutral import (
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from translators.sealed import seal

RULES = Rules(
    dialect="anthropic", thinking="adaptive", max_output_tokens=128_000, system_in_messages=True, conformant=True
)
BUDGET = replace(RULES, thinking="budget")
MARK = {"type": "ephemeral", "ttl": "1h"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def use(call_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "weather", "input": {"city": "Oslo"}, **more}


def gave(call_id: str, *blocks: Any, **more: Any) -> dict[str, Any]:
    content = {"content": list(blocks)} if blocks else {}
    return {"type": "tool_result", "tool_use_id": call_id, **content, **more}


HELLO = user(text("Hello"))
SEARCH_TOOL = {"name": "search", "input_schema": {"type": "object"}}
WEATHER = {"name": "weather", "description": "Tells the weather.", "input_schema": SCHEMA}


def body_of(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "claude-x", "max_tokens": 4096, "messages": list(messages or (HELLO,)), **more}


def own(**fields: Any) -> dict[str, dict[str, Any]]:
    return {"anthropic": fields}


# --- what is read --------------------------------------------------------------------------------

READ: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "limit": ({}, {"max_output_tokens": 4096}),
    "WIRE 9 limit of 0": ({"max_tokens": 0}, {"max_output_tokens": 0}),
    "sampling": ({"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}),
    "WIRE 33 stop": ({"stop_sequences": ["a", "b"]}, {"stop": ("a", "b")}),
    "stream": ({"stream": True}, {"stream": True, "include_usage": True}),
    "usage is always told": ({}, {"stream": False, "include_usage": True}),
    "WIRE 34 user": ({"metadata": {"user_id": "u-1"}}, {"user": "u-1", "native": {}}),
    "WIRE 70 telemetry": (
        {"metadata": {"user_id": '{"device_id":"d","session_id":"s"}'}},
        {"user": None, "native": own(metadata={"user_id": '{"device_id":"d","session_id":"s"}'})},
    ),
    "more metadata": ({"metadata": {"user_id": "u", "x": 1}}, {"user": "u", "native": own(metadata={"x": 1})}),
    "tier": ({"service_tier": "standard_only"}, {"service_tier": "default"}),
    "tier auto": ({"service_tier": "auto"}, {"service_tier": "auto"}),
    "WIRE 26 adaptive": (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        {"reasoning": Reasoning("high")},
    ),
    "adaptive alone": (
        {"thinking": {"type": "adaptive", "display": "summarized"}},
        {"reasoning": Reasoning(visible=True, native=own(type="adaptive"))},
    ),
    "WIRE 27 budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}},
        {"reasoning": Reasoning(budget_tokens=2048, visible=False)},
    ),
    "budget and effort": (
        {"thinking": {"type": "enabled", "budget_tokens": 2048}, "output_config": {"effort": "low"}},
        {"reasoning": Reasoning("low", native=own(budget_tokens=2048))},
    ),
    "no thinking": ({"thinking": {"type": "disabled"}}, {"reasoning": Reasoning("none")}),
    "no thinking and effort": (
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        {"reasoning": Reasoning("none"), "native": own(output_config={"effort": "low"})},
    ),
    "between tools": (
        {"thinking": {"type": "between_tools"}},
        {"reasoning": Reasoning(native=own(type="between_tools"))},
    ),
    "effort alone": ({"output_config": {"effort": "low"}}, {"reasoning": Reasoning("low", native=own())}),
    "unknown thinking": (
        {"thinking": {"type": "quantum", "qubits": 2}},
        {"reasoning": None, "native": own(thinking={"type": "quantum", "qubits": 2})},
    ),
    "WIRE 30 schema": (
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"output": OutputFormat("json_schema", SCHEMA)},
    ),
    "older schema": (
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
        {"output": OutputFormat("json_schema", SCHEMA), "native": {}},
    ),
    "task budget": (
        {"output_config": {"effort": "low", "task_budget": {"type": "tokens", "total": 9}}},
        {"native": own(output_config={"task_budget": {"type": "tokens", "total": 9}})},
    ),
    "WIRE 22 any": ({"tools": [WEATHER], "tool_choice": {"type": "any"}}, {"tool_choice": ToolChoice("required")}),
    "WIRE 22 tool": (
        {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "weather"}},
        {"tool_choice": ToolChoice("named", ("weather",))},
    ),
    "WIRE 23 one by one": (
        {"tools": [WEATHER], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"tool_choice": ToolChoice("auto"), "parallel_tool_calls": False},
    ),
    "WIRE 19 strict tool": (
        {"tools": [{**WEATHER, "strict": True, "cache_control": MARK, "defer_loading": True}]},
        {
            "tools": (
                Tool(
                    "weather",
                    "Tells the weather.",
                    SCHEMA,
                    strict=True,
                    native=own(cache_control=MARK, defer_loading=True),
                ),
            )
        },
    ),
    "server tool": (
        {"tools": [{"type": "web_search_20260318", "name": "web_search", "max_uses": 2}]},
        {
            "tools": (
                Tool(
                    "web_search_20260318",
                    kind="native",
                    native=own(type="web_search_20260318", name="web_search", max_uses=2),
                ),
            )
        },
    ),
    "what only Anthropic has": (
        {"container": "c", "speed": "fast", "mcp_servers": [{"name": "m"}], "cache_control": MARK, "new": 1},
        {"native": own(container="c", speed="fast", mcp_servers=[{"name": "m"}], cache_control=MARK, new=1)},
    ),
    "the proxy's own fields": ({"modelport": {"route": "r"}, "models": ["a"]}, {"native": {}}),
    "nulls": ({"temperature": None, "system": None, "thinking": None, "metadata": None}, {"native": {}}),
}


@pytest.mark.parametrize(("fields", "expected"), READ.values(), ids=READ)
def test_each_field_is_read(fields: dict[str, Any], expected: Mapping[str, Any]) -> None:
    request = parse_request(body_of(**fields))

    assert {name: getattr(request, name) for name in expected} == expected


BLOCKS: dict[str, tuple[dict[str, Any], Any]] = {
    "text": (text("Hi", cache_control=MARK), Text("Hi", native=own(cache_control=MARK))),
    "WIRE 36 image": (
        {"type": "image", "source": PNG, "transformations": {"oversized_image": "error"}},
        Image(Source("image/png", "aGk="), native=own(transformations={"oversized_image": "error"})),
    ),
    "WIRE 35 image by URL": (
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        Image(Source(url="https://a/b.png")),
    ),
    "image by file": (
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        Image(Source(file_id="f", vendor="anthropic")),
    ),
    "WIRE 37 PDF": (
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
            "title": "T",
            "context": "C",
            "citations": {"enabled": True},
        },
        Document(Source("application/pdf", "aGk="), "T", native=own(context="C", citations={"enabled": True})),
    ),
    "PDF by URL": (
        {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}},
        Document(Source("application/pdf", url="https://a/b.pdf")),
    ),
    "text document": (
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        Document(Source(), text="words"),
    ),
    "document of blocks": (
        {"type": "document", "source": {"type": "content", "content": [text("a"), text("b")]}},
        Document(Source(), text="a\n\nb", native=own(source={"type": "content", "content": [text("a"), text("b")]})),
    ),
    "search result": (
        {"type": "search_result", "source": "https://a", "title": "T", "content": [text("found")]},
        Text(
            "T\nhttps://a\nfound",
            native=own(
                search_result={"type": "search_result", "source": "https://a", "title": "T", "content": [text("found")]}
            ),
        ),
    ),
    "upload": (
        {"type": "container_upload", "file_id": "f"},
        Opaque("anthropic", "container_upload", {"type": "container_upload", "file_id": "f"}),
    ),
    "unknown": ({"type": "hologram", "x": 1}, Opaque("anthropic", "hologram", {"type": "hologram", "x": 1})),
}


@pytest.mark.parametrize(("block", "expected"), BLOCKS.values(), ids=BLOCKS)
def test_each_block_of_a_user_is_read_and_written_again(block: dict[str, Any], expected: Any) -> None:
    body = body_of(user(block))
    request = parse_request(copy.deepcopy(body))

    assert request.messages == (Message("user", (expected,)),)
    assert render_request(request, RULES).body["messages"] == body["messages"]
    assert render_request(request, RULES).losses == ()


CITED = {
    "type": "web_search_result_location",
    "url": "https://a",
    "title": "A",
    "cited_text": "c",
    "encrypted_index": "E",
}
PROXYS = {**CITED, "encrypted_index": seal({})}
LINK = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "start_index": 0, "end_index": 2}}
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "SIG"}
GEMINIS = {"gemini": {"thoughtSignature": "G"}}
SERVER_USE = {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}}

ANSWERS: dict[str, tuple[dict[str, Any], Any]] = {
    "WIRE 57 signed thinking": (SIGNED, Thinking("Hm.", own(signature="SIG"))),
    "WIRE 58 thinking without text": (
        {"type": "thinking", "thinking": "", "signature": "SIG"},
        Thinking("", own(signature="SIG")),
    ),
    "redacted thinking": ({"type": "redacted_thinking", "data": "D"}, Thinking("", own(redacted_data="D"))),
    "call": (
        use("toolu_1", caller={"type": "direct"}, cache_control=MARK),
        ToolCall("toolu_1", "weather", '{"city":"Oslo"}', native=own(caller={"type": "direct"}, cache_control=MARK)),
    ),
    "WIRE 51 citations": (text("ab", citations=[CITED]), Text("ab", (LINK,), own(citations=[CITED]))),
    "WIRE 59 server tool": (SERVER_USE, Opaque("anthropic", "server_tool_use", SERVER_USE)),
}


@pytest.mark.parametrize(("block", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_each_block_of_an_assistant_is_read_and_written_again(block: dict[str, Any], expected: Any) -> None:
    after = user(gave("toolu_1", text("mild")) if block["type"] == "tool_use" else text("Go on"))
    body = body_of(HELLO, assistant(block), after, tools=[WEATHER])
    request = parse_request(copy.deepcopy(body))

    assert request.messages[1].parts == (expected,)
    assert render_request(request, RULES).body["messages"] == body["messages"]


FOREIGN = {
    "WIRE 68 sealed": ({"type": "thinking", "thinking": "Hm.", "signature": seal(GEMINIS)}, Thinking("Hm.", GEMINIS)),
    "sealed of nothing": ({"type": "thinking", "thinking": "Hm.", "signature": seal({})}, Thinking("Hm.")),
    "unsigned": ({"type": "thinking", "thinking": "Hm."}, Thinking("Hm.")),
}


@pytest.mark.parametrize(("block", "expected"), FOREIGN.values(), ids=FOREIGN)
def test_foreign_thinking_gets_its_native_fields_back_and_never_reaches_anthropic(
    block: dict[str, Any], expected: Any
) -> None:
    request = parse_request(body_of(HELLO, assistant(block, text("Hi")), HELLO))
    result = render_request(request, RULES)

    assert request.messages[1].parts == (expected, Text("Hi"))
    assert result.body["messages"][1] == assistant(text("Hi"))
    assert ("messages[1].content[0]", "dropped") in [(loss.field, loss.action) for loss in result.losses]


def test_a_citation_of_the_proxys_becomes_an_annotation_again() -> None:
    request = parse_request(body_of(HELLO, assistant(text("ab", citations=[PROXYS])), HELLO))

    assert request.messages[1].parts == (Text("ab", (LINK,)),)


# --- turns ---------------------------------------------------------------------------------------


def test_a_mixed_turn_is_a_tool_message_and_a_user_message_of_one_place() -> None:
    """WIRE 12, 13, 41: results first, with the tool's name, and text after them."""
    image = {"type": "image", "source": PNG}
    body = body_of(
        HELLO,
        assistant(use("a"), use("b")),
        user(gave("a", text("mild"), image, cache_control=MARK), gave("b", is_error=True), text("Thanks")),
        system=[text("Be kind.", cache_control=MARK)],
        tools=[WEATHER],
    )

    messages = parse_request(body).messages

    assert [(message.role, message.place) for message in messages] == [
        ("system", "system"),
        ("user", "messages[0]"),
        ("assistant", "messages[1]"),
        ("tool", "messages[2]"),
        ("user", "messages[2]"),
    ]
    assert messages[3].parts == (
        ToolResult(
            "a", (Text("mild"), Image(Source("image/png", "aGk="))), name="weather", native=own(cache_control=MARK)
        ),
        ToolResult("b", (), is_error=True, name="weather"),
    )
    assert messages[4].parts == (Text("Thanks"),)


def test_strings_are_texts_wherever_they_may_stand() -> None:
    body = body_of(
        {"role": "user", "content": "Hello"},
        assistant(use("a")),
        user({"type": "tool_result", "tool_use_id": "a", "content": "mild"}),
        {"role": "system", "content": "Later."},
        system="Be kind.",
    )

    messages = parse_request(body).messages

    assert [message.role for message in messages] == ["system", "user", "assistant", "tool", "system"]
    assert messages[3].parts == (ToolResult("a", (Text("mild"),), name="weather"),)
    assert messages[4].parts == (Text("Later."),)


def test_places_of_losses_are_the_clients() -> None:
    """The system text stands above the messages and moves no number."""
    body = body_of(HELLO, assistant({"type": "thinking", "thinking": "Hm."}, text("Hi")), HELLO, system="Be kind.")

    losses = render_request(parse_request(body), RULES).losses

    assert [loss.field for loss in losses] == ["messages[1].content[0]"]


def test_places_within_a_mixed_turn_are_the_clients() -> None:
    """The turn is two neutral messages; its blocks keep their numbers."""
    cited = text("mild", citations=[CITED])
    body = body_of(
        HELLO, assistant(use("a"), use("b")), user(gave("a", text("x")), gave("b", cited), cited), tools=[WEATHER]
    )

    losses = render_request(parse_request(body), RULES).losses

    assert [loss.field for loss in losses] == [
        "messages[2].content[1].content[0].citations",
        "messages[2].content[2].citations",
    ]


# --- errors --------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, str]] = {
    "no model": ({"max_tokens": 1, "messages": [HELLO]}, "model"),
    "no limit": ({"model": "m", "messages": [HELLO]}, "max_tokens"),
    "no messages": (body_of() | {"messages": []}, "messages"),
    "limit as text": (body_of(max_tokens="9"), "max_tokens"),
    "message as text": (body_of("Hello"), "messages[0]"),
    "role": (body_of({"role": "tool", "content": "x"}), "messages[0].role"),
    "no role": (body_of({"content": "x"}), "messages[0].role"),
    "content": (body_of({"role": "user", "content": 3}), "messages[0].content"),
    "no content": (body_of({"role": "user"}), "messages[0].content"),
    "block": (body_of(user("x")), "messages[0].content[0]"),
    "block without type": (body_of(user({"text": "x"})), "messages[0].content[0].type"),
    "text": (body_of(user({"type": "text", "text": 3})), "messages[0].content[0].text"),
    "source": (body_of(HELLO, HELLO, user({"type": "image", "source": 3})), "messages[2].content[0].source"),
    "kind of source": (
        body_of(user({"type": "image", "source": {"type": "ftp"}})),
        "messages[0].content[0].source.type",
    ),
    "data": (
        body_of(user({"type": "image", "source": {"type": "base64", "media_type": "image/png"}})),
        "messages[0].content[0].source.data",
    ),
    "thinking of a user": (body_of(user(SIGNED)), "messages[0].content[0].type"),
    "result of an assistant": (body_of(assistant(gave("a"))), "messages[0].content[0].type"),
    "call within a result": (body_of(user(gave("a", use("b")))), "messages[0].content[0].content[0].type"),
    "input": (body_of(assistant(use("a", input="x"))), "messages[0].content[0].input"),
    "cache mark": (body_of(user(gave("a", cache_control="x"))), "messages[0].content[0].cache_control"),
    "system": (body_of(system=3), "system"),
    "system image": (body_of(system=[{"type": "image", "source": PNG}]), "system[0].type"),
    "schema": (body_of(tools=[{"name": "a", "input_schema": True}]), "tools[0].input_schema"),
    "no schema": (body_of(tools=[{"name": "a"}]), "tools[0].input_schema"),
    "tool without name": (body_of(tools=[{"input_schema": SCHEMA}]), "tools[0].name"),
    "named choice without name": (body_of(tool_choice={"type": "tool"}), "tool_choice.name"),
    "choice": (body_of(tool_choice="auto"), "tool_choice"),
    "budget": (body_of(thinking={"type": "enabled"}), "thinking.budget_tokens"),
    "stop": (body_of(stop_sequences=["a", 1]), "stop_sequences[1]"),
    "user": (body_of(metadata={"user_id": 1}), "metadata.user_id"),
    "stream": (body_of(stream="yes"), "stream"),
    "format": (body_of(output_config={"format": {"type": "json_schema"}}), "output_config.format.schema"),
}


@pytest.mark.parametrize(("body", "place"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_names_its_place(body: Any, place: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(body)

    assert caught.value.param == place


def test_count_requests_need_no_limit() -> None:
    body = {"model": "m", "messages": [HELLO], "system": "Be kind.", "tools": [WEATHER]}

    request = parse_count_request(body)

    assert (request.max_output_tokens, len(request.messages), len(request.tools)) == (None, 2, 1)


# --- and written again ---------------------------------------------------------------------------

TALK = (
    HELLO,
    assistant(SIGNED, text("Let me see."), use("toolu_1"), use("toolu_2")),
    user(gave("toolu_1", text("mild"), cache_control=MARK), gave("toolu_2", is_error=True), text("Thanks")),
    {"role": "system", "content": [text("Be brief.")]},
    assistant(SERVER_USE, {"type": "web_search_tool_result", "tool_use_id": "srv", "content": []}, text("Done.")),
    user(text("More")),
)
AGAIN: dict[str, tuple[dict[str, Any], Rules]] = {
    "plain": (body_of(), RULES),
    "talk": (body_of(*TALK, tools=[WEATHER], system=[text("Be kind.", cache_control=MARK)]), RULES),
    "sampling": (body_of(temperature=0.5, top_p=0.9, top_k=5, stop_sequences=["x"]), RULES),
    "about": (body_of(metadata={"user_id": "u", "x": 1}, service_tier="standard_only", stream=True), RULES),
    "telemetry": (body_of(metadata={"user_id": '{"session_id":"s"}'}), RULES),
    "adaptive": (body_of(thinking={"type": "adaptive"}), RULES),
    "adaptive shown": (
        body_of(thinking={"type": "adaptive", "display": "omitted"}, output_config={"effort": "max"}),
        RULES,
    ),
    "beta display": (body_of(thinking={"type": "adaptive", "display": "updates", "block_binding": {}}), RULES),
    "disabled": (body_of(thinking={"type": "disabled"}, output_config={"effort": "low"}), RULES),
    "between tools": (body_of(thinking={"type": "between_tools"}), RULES),
    "effort alone": (body_of(output_config={"effort": "low", "task_budget": {"total": 3}}), RULES),
    "budget": (body_of(thinking={"type": "enabled", "budget_tokens": 2048, "display": "summarized"}), BUDGET),
    "budget and effort": (
        body_of(thinking={"type": "enabled", "budget_tokens": 2048}, output_config={"effort": "low"}),
        BUDGET,
    ),
    "unknown thinking": (body_of(thinking={"type": "quantum"}), RULES),
    "effort alone with a budget model": (body_of(output_config={"effort": "low"}), BUDGET),
    "schema as written": (
        body_of(output_config={"format": {"type": "json_schema", "schema": {**SCHEMA, "title": "T"}}}),
        RULES,
    ),
    "strict tool as written": (body_of(tools=[{**WEATHER, "strict": True}]), RULES),
    "server tool that is forced": (
        body_of(
            tools=[{"type": "web_search_20260318", "name": "web_search"}, WEATHER],
            tool_choice={"type": "tool", "name": "web_search", "disable_parallel_tool_use": True},
        ),
        RULES,
    ),
    "no tool": (body_of(tools=[WEATHER], tool_choice={"type": "none"}), RULES),
    "unknown fields": (
        body_of(container={"id": "c"}, speed="fast", inference_geo="eu", context_management={"edits": []}),
        RULES,
    ),
}


@pytest.mark.parametrize(("body", "rules"), AGAIN.values(), ids=AGAIN)
def test_a_request_that_is_read_and_rendered_is_the_same(body: dict[str, Any], rules: Rules) -> None:
    result = render_request(parse_request(copy.deepcopy(body)), rules)

    assert result.body == body
    assert result.losses == ()


def test_unknown_fields_of_thinking_are_lost_aloud_where_the_model_takes_no_thinking() -> None:
    body = body_of(thinking={"type": "adaptive", "display": "updates", "block_binding": {}})

    losses = render_request(parse_request(body), replace(RULES, thinking="effort")).losses

    assert {loss.field for loss in losses} == {"thinking.display", "thinking.block_binding"}


def documented_fields() -> set[str]:
    """Every body field that the SDK knows, of the stable and the beta endpoint."""
    stable = pytest.importorskip("anthropic.types.message_create_params")
    beta = pytest.importorskip("anthropic.types.beta.message_create_params")
    headers = {"betas", "user_profile_id", "workspace_id"}
    return {
        name
        for params in (stable.MessageCreateParamsStreaming, beta.MessageCreateParamsStreaming)
        for name in typing.get_type_hints(params, include_extras=True)
    } - headers


SAMPLES: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 4096,
    "messages": [HELLO],
    "metadata": {"user_id": "u"},
    "output_config": {"effort": "low"},
    "output_format": {"type": "other"},
    "service_tier": "auto",
    "stop_sequences": ["x"],
    "stream": True,
    "system": [text("Be kind.")],
    "thinking": {"type": "disabled"},
    "tool_choice": {"type": "auto"},
    "tools": [WEATHER],
}


def test_every_documented_field_is_in_the_body_again() -> None:
    for name in sorted(documented_fields()):
        body = body_of(**({"tools": [WEATHER]} if name == "tool_choice" else {}))
        body[name] = SAMPLES.get(name, {"some": "value"})

        assert render_request(parse_request(copy.deepcopy(body)), RULES).body == body, name


WORDS = st.text("ab\n\u00e9", min_size=1).filter(str.strip)
TEXTS = st.builds(text, WORDS)
SPOKEN = st.one_of(TEXTS, st.just({"type": "image", "source": PNG}), st.just({"type": "hologram", "x": [1]}))


@st.composite
def talks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Well-formed conversations, each turn of another role than the one before."""
    messages = [user(*draw(st.lists(SPOKEN, min_size=1, max_size=3)))]
    for turn in range(draw(st.integers(0, 3))):
        calls = [f"toolu_{turn}_{at}" for at in range(draw(st.integers(0, 3)))]
        thoughts = draw(st.lists(st.sampled_from([SIGNED, {"type": "redacted_thinking", "data": "D"}]), max_size=2))
        said = draw(st.lists(TEXTS, min_size=0 if calls else 1, max_size=2))
        messages.append(assistant(*thoughts, *said, *(use(call) for call in calls)))
        results = [gave(call, *draw(st.lists(TEXTS, min_size=1, max_size=2))) for call in calls]
        messages.append(user(*results, *draw(st.lists(SPOKEN, min_size=0 if calls else 1, max_size=2))))
    return messages


@given(talks())
def test_every_conversation_is_the_same_after_reading_and_rendering(messages: list[dict[str, Any]]) -> None:
    body = body_of(*messages, tools=[WEATHER])

    result = render_request(parse_request(json.loads(json.dumps(body))), RULES)

    assert (result.body, result.losses) == (body, ())


def with_absent(value: Any) -> Any:
    """*value* with a field more in each object, which is null and therefore absent."""
    if isinstance(value, list):
        return [with_absent(item) for item in value]
    if not isinstance(value, dict) or value.get("type") in ("object", "hologram"):
        return value
    return {name: inner if name == "input" else with_absent(inner) for name, inner in value.items()} | {"absent": None}


@given(talks())
def test_common_shapes_read_at_once_are_read_as_with_care(messages: list[dict[str, Any]]) -> None:
    """An object of the common shape with a field more is none of the common shape, and says the same."""
    body = body_of(*messages, HELLO, {"role": "user", "content": "Hello"}, tools=[WEATHER, SEARCH_TOOL])

    assert parse_request(with_absent(body)) == parse_request(body)
    assert [part.place for message in parse_request(with_absent(body)).messages for part in message.parts] == [
        part.place for message in parse_request(body).messages for part in message.parts
    ]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["text", "tool_result", "user", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "source", "tool_use_id", "name", "citations"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted({*SAMPLES, "container", "top_k", "temperature"})), JUNK)
def test_any_json_is_a_request_or_a_named_error(name: str, value: Any) -> None:
    outcome: Any
    try:
        outcome = parse_request(body_of() | {name: value})
    except BadRequest as error:
        outcome = error.param

    assert outcome
