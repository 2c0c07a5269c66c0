"""Losses speak the client's language: each names the field as the client wrote it, where the client wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from translators.anthropic.client import parse_request as anthropic_request
from translators.codec import dumps
from translators.dialect import Rendered, Rules
from translators.dialects import BACKENDS
from translators.errors import BadRequest, Unsupported
from translators.frozen import described
from translators.gemini.client import parse_request as gemini_request
from translators.losses import GIVEN_TWICE, Loss, distinct, header_value, neutral_of_wire, weakens_output
from translators.neutral import Message, Request, Text
from translators.openai_chat import parse_request as chat_request
from translators.openai_responses.client import parse_request as responses_request

HI: dict[str, Any] = {"role": "user", "content": "Hi"}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
MARK = {"type": "ephemeral"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def chat(*messages: dict[str, Any], **more: Any) -> Request:
    return chat_request({"model": "m", "messages": list(messages) or [HI], **more})


def anthropic(*messages: dict[str, Any], **more: Any) -> Request:
    return anthropic_request({"model": "m", "max_tokens": 99, "messages": list(messages) or [HI], **more})


def responses(*items: dict[str, Any], **more: Any) -> Request:
    return responses_request({"model": "m", "input": list(items) or "Hi", **more})


def gemini(*contents: dict[str, Any], **more: Any) -> Request:
    said = list(contents) or [{"role": "user", "parts": [{"text": "Hi"}]}]
    return gemini_request({"contents": said, **more}, "m", False)


def rendered(request: Request, target: str, **rules: Any) -> Rendered:
    return BACKENDS[target].render_request(request, Rules(target, **rules))


def names(request: Request, target: str, **rules: Any) -> set[str]:
    return {loss.field for loss in rendered(request, target, **rules).losses}


ANTHROPIC_TURN = {
    "role": "assistant",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "A", "citations": [{"type": "web_search_result_location", "url": "https://a.test"}]},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}, "caller": {"type": "direct"}},
    ],
}
ANTHROPIC_RESULT = {
    "role": "user",
    "content": [
        {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": [
            {"type": "text", "text": "x", "cache_control": MARK}, {"type": "text", "text": "y"}]},
        {"type": "text", "text": "z", "later": 1},
    ],
}  # fmt: skip

PLACES = [
    pytest.param(
        anthropic(HI, ANTHROPIC_TURN, ANTHROPIC_RESULT),
        "openai_chat",
        {
            "messages[1].content[0]",
            "messages[1].content[0].signature",
            "messages[1].content[1].citations",
            "messages[1].content[2].caller",
            "messages[2].content[0].is_error",
            "messages[2].content[0].content[0].cache_control",
            "messages[2].content[1].later",
        },
        id="anthropic-content",
    ),
    pytest.param(
        chat(HI, {"role": "assistant", "reasoning_content": "Hm.", "refusal": "No", "tool_calls": [CALL]},
             {"role": "tool", "tool_call_id": "c1", "content": "x"}),
        "gemini",
        {"messages[1].reasoning_content", "messages[1].refusal"},
        id="chat-beside-the-content",
    ),
    pytest.param(
        chat({"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "high"}}]}),
        "anthropic",
        {"max_completion_tokens", "messages[0].content[0].image_url.detail"},
        id="chat-detail",
    ),
    pytest.param(
        responses(
            {"type": "message", "role": "user", "content": "Hi"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}],
             "encrypted_content": "e"},
            {"type": "message", "role": "assistant", "id": "msg_1", "phase": "commentary", "content": [
                {"type": "output_text", "text": "A", "annotations": [{"type": "file_citation", "file_id": "f"}],
                 "logprobs": [{"token": "A", "logprob": -1, "bytes": [65]}]}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "name": "g", "output": "x"},
        ),
        "gemini",
        {"input[1]", "input[1].encrypted_content", "input[1].summary", "input[2].phase",
         "input[2].content[0].annotations", "input[2].content[0].logprobs", "input[4].name"},
        id="responses-items-of-one-message",
    ),
    pytest.param(
        gemini(
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "A"}]},
            {"role": "model", "parts": [{"text": "B", "thoughtSignature": "s"},
                                        {"functionCall": {"id": "c1", "name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "g", "response": {}}},
                                       {"text": "x", "partMetadata": {}}]},
        ),
        "openai_chat",
        {"contents[1].parts[0].thoughtSignature", "contents[3].parts[0].functionResponse.name",
         "contents[3].parts[1].partMetadata"},
        id="gemini-joined-contents",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "target", "fields"), PLACES)
def test_a_part_is_named_by_the_place_where_the_client_wrote_it(
    request_: Request, target: str, fields: set[str]
) -> None:
    assert names(request_, target) == fields


FIELDS = [
    (chat(HI, max_tokens=9), {"max_output_tokens": 5}, {"max_tokens"}),
    (chat(HI, max_completion_tokens=9), {"max_output_tokens": 5}, {"max_completion_tokens"}),
    (chat(HI, user="u"), {"refuses": frozenset({"user"})}, {"user"}),
    (chat(HI, safety_identifier="u"), {"refuses": frozenset({"user"})}, {"safety_identifier"}),
    (chat(HI, reasoning={"max_tokens": 99}), {}, {"reasoning.max_tokens"}),
    (chat(HI, thinking={"type": "enabled", "budget_tokens": 99}), {}, {"thinking.budget_tokens"}),
    (anthropic(thinking={"type": "enabled", "budget_tokens": 2048}), {}, {"thinking.budget_tokens"}),
    (anthropic(output_config={"effort": "high"}), {"thinking": "none"}, {"output_config.effort"}),
    (anthropic(tool_choice={"type": "auto", "later": 1}), {}, {"tool_choice.later"}),
    (anthropic(metadata={"user_id": "u", "later": 1}), {}, {"metadata.later"}),
    (anthropic(output_config={"format": {"type": "json_schema", "schema": SCHEMA, "later": 1}}), {},
     {"output_config.format"}),
    (responses(reasoning={"effort": "max"}), {"efforts": ("low",)}, {"reasoning.effort"}),
    (responses(include=["message.output_text.logprobs"]), {"refuses": frozenset({"logprobs"})}, {"include"}),
    (responses(top_logprobs=2), {"refuses": frozenset({"top_logprobs"})}, {"top_logprobs"}),
    (gemini(generationConfig={"thinkingConfig": {"thinkingBudget": 99}}), {},
     {"generationConfig.thinkingConfig.thinkingBudget"}),
    (gemini(generationConfig={"responseMimeType": "application/json", "responseSchema": SCHEMA}),
     {"structured_output": False}, {"generationConfig.responseSchema"}),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "rules", "fields"), FIELDS)
def test_a_field_has_the_name_that_the_client_gave_it(
    request_: Request, rules: dict[str, Any], fields: set[str]
) -> None:
    assert fields <= names(request_, "openai_chat", **rules)


TOOLS = [
    (chat(HI, tools=[{"type": "function", "function": {"name": "a b", "parameters": SCHEMA}}]),
     "tools[0].function.name"),
    (chat(HI, functions=[{"name": "a b", "parameters": SCHEMA}]), "functions[0].name"),
    (anthropic(tools=[{"name": "a b", "input_schema": SCHEMA}]), "tools[0].name"),
    (responses(tools=[{"type": "function", "name": "a b", "parameters": SCHEMA, "strict": False}]), "tools[0].name"),
    (gemini(tools=[{"googleSearch": {}}, {"functionDeclarations": [{"name": "f"}, {"name": "a b"}]}]),
     "tools[1].functionDeclarations[1].name"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "field"), TOOLS)
def test_a_tool_is_named_by_the_place_of_its_definition(request_: Request, field: str) -> None:
    assert field in names(request_, "anthropic") | names(request_, "gemini")


def test_places_say_nothing_about_what_is_asked() -> None:
    """WIRE 139: the cache's key is the same wherever a client wrote a text."""
    asked = Request("openai_chat", "m", (Message("user", (Text("Hi"),)),))

    assert described(chat(HI)) == described(responses(HI)) == described(asked)
    assert chat(HI) == asked


# --- choices that cannot be met ----------------------------------------------------------------------

SEARCH = {"type": "web_search_20260318", "name": "web_search"}
NAMED = {"type": "tool", "name": "web_search"}
FUNCTION = {"name": "f", "input_schema": SCHEMA}
OTHERS = sorted(BACKENDS.keys() - {"anthropic"})


@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize("choice", [NAMED, {"type": "any"}], ids=["named", "any"])
def test_a_choice_of_a_tool_that_the_target_lacks_is_dropped_and_told(target: str, choice: dict[str, Any]) -> None:
    tools = [SEARCH] if choice["type"] == "any" else [SEARCH, FUNCTION]
    found = rendered(anthropic(tools=tools, tool_choice=choice), target)

    assert ("tool_choice", "dropped") in [(loss.field, loss.action) for loss in found.losses]
    assert "web_search" not in repr(found.body)
    assert "tool_choice" not in found.body


@pytest.mark.parametrize("target", ["anthropic", "llamacpp"])
def test_a_choice_of_a_tool_that_nobody_declared_is_the_clients_mistake(target: str) -> None:
    choice = {"type": "function", "function": {"name": "g"}}
    request = chat(HI, tools=[{"type": "function", "function": {"name": "f"}}], tool_choice=choice)

    with pytest.raises(BadRequest) as caught:
        rendered(request, target)

    assert caught.value.param == "tool_choice"


# --- cache marks -------------------------------------------------------------------------------------

LIFETIMES = [({"ttl": "5m"}, {"ttl": "30m"}), ({"ttl": "1h"}, {"ttl": "12h"}), ({}, {})]


@pytest.mark.parametrize(("ttl", "sent"), LIFETIMES)
@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_39_anthropics_cache_marks_become_breakpoints(target: str, ttl: dict[str, str], sent: dict[str, str]) -> None:
    marked = {"type": "text", "text": "x", "cache_control": {**MARK, **ttl}}
    found = rendered(anthropic({"role": "user", "content": [marked]}), target, cache_breakpoints=True)
    part = found.body["messages" if target == "openai_chat" else "input"][0]["content"][0]

    assert part["prompt_cache_breakpoint"] == {"mode": "explicit", **sent}
    assert [loss.field for loss in found.losses] == (["messages[0].content[0].cache_control.ttl"] if ttl else [])


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_39_a_mark_on_a_result_stands_on_its_last_part(target: str) -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "x", "cache_control": MARK}
    turn = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}
    found = rendered(anthropic(HI, turn, {"role": "user", "content": [result]}), target, cache_breakpoints=True)
    said = found.body["messages"][2]["content"] if target == "openai_chat" else found.body["input"][2]["output"]

    assert said[-1]["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert found.losses == ()


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_39_a_model_without_breakpoints_is_not_sent_any(target: str) -> None:
    marked = {"type": "text", "text": "x", "cache_control": MARK}
    found = rendered(anthropic({"role": "user", "content": [marked]}), target)

    assert "prompt_cache_breakpoint" not in repr(found.body)
    assert [loss.field for loss in found.losses] == ["messages[0].content[0].cache_control"]


@pytest.mark.parametrize(("sent", "ttl"), LIFETIMES)
def test_39_breakpoints_become_anthropics_cache_marks(ttl: dict[str, str], sent: dict[str, str]) -> None:
    mark = {"mode": "explicit", **ttl}
    by_chat = chat({"role": "user", "content": [{"type": "text", "text": "x", "prompt_cache_breakpoint": mark}]})
    by_responses = responses(
        {"role": "user", "content": [{"type": "input_text", "text": "x", "prompt_cache_breakpoint": mark}]}
    )

    for asked in (by_chat, by_responses):
        body = rendered(asked, "anthropic").body
        assert body["messages"][0]["content"][0]["cache_control"] == {**MARK, **sent}


def test_a_breakpoint_passes_between_openais_two_dialects() -> None:
    mark = {"mode": "explicit", "ttl": "12h"}
    by_chat = chat({"role": "user", "content": [{"type": "text", "text": "x", "prompt_cache_breakpoint": mark}]})
    by_responses = responses(
        {"role": "user", "content": [{"type": "input_text", "text": "x", "prompt_cache_breakpoint": mark}]}
    )
    there = rendered(by_chat, "openai_responses").body["input"][0]["content"][0]
    back = rendered(by_responses, "openai_chat", cache_breakpoints=True).body["messages"][0]["content"][0]

    assert there["prompt_cache_breakpoint"] == back["prompt_cache_breakpoint"] == mark


# --- OpenAI's two dialects are one vendor's ------------------------------------------------------------

FILE = {"type": "file", "file": {"file_id": "file-1"}}
INPUT_FILE = {"type": "input_file", "file_id": "file-1"}


def test_a_file_of_openai_is_known_in_both_of_its_dialects() -> None:
    there = rendered(chat({"role": "user", "content": [FILE]}), "openai_responses").body["input"][0]["content"]
    back = rendered(responses({"role": "user", "content": [INPUT_FILE]}), "openai_chat").body["messages"][0]["content"]

    assert (there, back) == ([INPUT_FILE], [FILE])


def test_a_responses_clients_grammar_is_nested_for_chat() -> None:
    grammar = {"syntax": "lark", "definition": "start: WORD"}
    found = rendered(
        responses(tools=[{"type": "custom", "name": "run", "format": {"type": "grammar", **grammar}}]), "openai_chat"
    )

    assert found.body["tools"][0]["custom"]["format"] == {"type": "grammar", "grammar": grammar}
    assert found.losses == ()


def test_the_responses_endpoint_too_gets_no_strict_schema_that_it_would_refuse() -> None:
    found = rendered(anthropic(tools=[{**FUNCTION, "strict": True}]), "openai_responses")

    assert found.body["tools"][0]["strict"] is False
    assert [loss.field for loss in found.losses] == ["tools[0].strict"]


def test_items_of_reasoning_go_back_to_a_server_that_takes_reasoning_details() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"}
    request = responses(HI, item, {"type": "message", "role": "assistant", "content": "A"}, HI)
    taken = rendered(request, "openai_chat", reasoning_replay="always")
    refused = rendered(request, "openai_chat", reasoning_replay="always", takes_back=frozenset())

    assert [entry["data"] for entry in taken.body["messages"][1]["reasoning_details"]] == ["e"]
    assert "reasoning_details" not in refused.body["messages"][1]
    assert "input[1].encrypted_content" in {loss.field for loss in refused.losses}


@pytest.mark.parametrize("dialect", ["anthropic", "gemini", "openai_responses"])
def test_a_field_that_is_the_whole_of_a_part_is_named_once(dialect: str) -> None:
    sealed = {"type": "reasoning.encrypted", "data": "e", "format": "another-v1", "index": 0}
    found = rendered(chat(HI, {"role": "assistant", "content": "A", "reasoning_details": [sealed]}, HI), dialect)

    named = {loss.field for loss in found.losses if loss.field.startswith("messages")}
    assert named == {"messages[1].reasoning_details"}


def test_a_video_is_never_sent_as_a_file_to_openai() -> None:
    """A compatible server gets it as OpenRouter takes it; OpenAI's own models take none."""
    film = {"inlineData": {"mimeType": "video/mp4", "data": "AA=="}}
    request = gemini({"role": "user", "parts": [film]})
    found = rendered(request, "openai_chat")

    assert found.body["messages"][0]["content"][0]["video_url"] == {"url": "data:video/mp4;base64,AA=="}
    for target in ("openai_chat", "openai_responses"):
        with pytest.raises(Unsupported) as caught:
            rendered(request, target, modalities=frozenset({"text", "document"}))
        assert caught.value.param == "contents[0].parts[0]"


# --- single facts --------------------------------------------------------------------------------------


def test_geminis_automatic_thinking_never_becomes_none() -> None:
    request = gemini(generationConfig={"thinkingConfig": {"thinkingBudget": -1}})
    found = rendered(request, "openai_chat")

    assert "reasoning_effort" not in found.body
    assert [(loss.field, loss.action) for loss in found.losses] == [
        ("generationConfig.thinkingConfig.thinkingBudget", "emulated")
    ]


@pytest.mark.parametrize(
    ("request_", "target", "refused", "field"),
    [
        (anthropic(speed="fast"), "anthropic", "speed", "speed"),
        (chat(HI, stop="x"), "anthropic", "stop_sequences", "stop"),
        (chat(HI, seed=5), "gemini", "seed", "seed"),
        (chat(HI, stop="x"), "gemini", "stopSequences", "stop"),
    ],
)
def test_a_refused_name_may_be_the_wires(request_: Request, target: str, refused: str, field: str) -> None:
    found = rendered(request_, target, refuses=frozenset({refused}), max_output_tokens=9)

    assert f"'{refused}'" not in repr(found.body)
    assert field in {loss.field for loss in found.losses}


def test_unknown_halves_of_anthropics_objects_come_back_to_anthropic() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AA==", "later": 1}
    chosen = {"type": "auto", "later": 2}
    form = {"type": "json_schema", "schema": SCHEMA, "later": 3}
    request = anthropic(
        {"role": "user", "content": [{"type": "image", "source": source}]},
        tools=[FUNCTION],
        tool_choice=chosen,
        output_config={"format": form},
    )
    body = rendered(request, "anthropic").body

    assert body["messages"][0]["content"][0]["source"] == source
    assert body["tool_choice"] == chosen
    assert body["output_config"] == {"format": form}
    assert "messages[0].content[0].source.later" in names(request, "openai_chat")


@pytest.mark.parametrize(
    ("field", "weaker"),
    [
        ("response_format", True),
        ("response_format.json_schema.schema.minimum", True),
        ("response_format.json_schema.strict", True),
        ("response_format.json_schema.name", False),
        ("response_format.json_schema.schema.properties.a.description", False),
        ("temperature", False),
    ],
)
def test_only_what_holds_an_answer_weakens_it(field: str, weaker: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}

    assert weakens_output(chat(HI, response_format=form), Loss(field, "dropped", "")) is weaker


def test_the_older_form_of_geminis_schema_weakens_by_its_own_name() -> None:
    config = {"responseMimeType": "application/json", "responseSchema": SCHEMA}

    assert weakens_output(gemini(generationConfig=config), Loss("generationConfig.responseSchema.x", "dropped", ""))


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses", "anthropic", "gemini", "llamacpp"])
@pytest.mark.parametrize(("older", "is_lost"), [(9, True), (5, False)])
def test_another_limit_under_the_older_name_is_named_once(target: str, older: int, is_lost: bool) -> None:
    """`max_completion_tokens` counts; the same number twice loses nothing."""
    found = rendered(chat(max_completion_tokens=5, max_tokens=older), target)

    assert [loss for loss in found.losses if loss.field == "max_tokens"] == (
        [Loss("max_tokens", "dropped", GIVEN_TWICE)] if is_lost else []
    )
    assert b":9" not in dumps(found.body)


def test_a_loss_is_told_once() -> None:
    dropped, clamped = Loss("a", "dropped", "x"), Loss("a", "clamped", "x")

    assert distinct([dropped, clamped], (dropped,)) == (dropped, clamped)
    assert header_value([dropped, dropped, clamped]) == "a=dropped%3A%20x,a=clamped%3A%20x"


@pytest.mark.parametrize(
    ("target", "wire", "neutral"),
    [
        ("openai_chat", "max_completion_tokens", "max_output_tokens"),
        ("openai_chat", "reasoning_effort", "reasoning"),
        ("openai_chat", "temperature", "temperature"),
        ("openai_chat", "max_output_tokens", None),
        ("openai_chat", "native", None),
        ("gemini", "generationConfig.topK", "top_k"),
        ("gemini", "top_k", None),
    ],
)
def test_fields_of_the_wire_have_neutral_names(target: str, wire: str, neutral: str | None) -> None:
    assert neutral_of_wire(target, wire) == neutral
