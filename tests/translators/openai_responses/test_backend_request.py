"""Requests for the Responses API: what chat completions and other vendors' requests become, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from routing.catalog import rules_for
from translators import openai_chat
from translators.dialect import Rendered, Rules
from translators.errors import BadRequest, Unsupported
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Request,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from translators.openai_responses import render_request
from translators.openai_responses.incoming import parse_request

RULES = Rules(dialect="openai_responses", conformant=True)
USER = {"role": "user", "content": "Hello"}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
PARAMETERS = TypeAdapter(ResponseCreateParamsNonStreaming)


def bridged(rules: Rules = RULES, **fields: Any) -> Rendered:
    """A chat completion request as the API's, accepted by the SDK's types."""
    request = openai_chat.parse_request({"model": "gpt-6-sol", "messages": [USER], **fields})
    rendered = render_request(request, rules)
    PARAMETERS.validate_python(rendered.body)
    return rendered


def items(*messages: dict[str, Any], rules: Rules = RULES, **fields: Any) -> list[dict[str, Any]]:
    """The items that chat messages become."""
    found: list[dict[str, Any]] = bridged(rules, messages=list(messages), **fields).body["input"]
    return found


def lost(rendered: Rendered) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in rendered.losses]


# --- the request as a whole ----------------------------------------------------------------------


def test_the_server_stores_nothing_unless_the_client_asks() -> None:
    """WIRE 108."""
    assert bridged().body["store"] is False
    assert bridged(store=False).body["store"] is False
    assert bridged(store=True).body["store"] is True


@pytest.mark.parametrize(
    ("model", "effort", "asked"),
    [
        ("gpt-6-sol", None, True),
        ("gpt-6-sol", "high", True),
        ("gpt-6-sol", "none", False),
        ("gpt-4.1", None, False),
        ("o3", "low", True),
    ],
)
def test_encrypted_reasoning_is_asked_for_where_the_model_reasons(model: str, effort: str | None, asked: bool) -> None:
    """WIRE 109: a model that does not reason answers the wish with 400."""
    body = bridged(rules_for("openai_responses", model), model=model, reasoning_effort=effort).body

    assert ("reasoning.encrypted_content" in body.get("include", ())) == asked


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_completion_tokens": 100}, {"max_output_tokens": 100}),
        ({"max_tokens": 100}, {"max_output_tokens": 100}),
        ({"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}}),
        ({"reasoning": {"effort": "low", "exclude": False}}, {"reasoning": {"effort": "low", "summary": "auto"}}),
        ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        ({"response_format": {"type": "text"}}, {}),
        ({"stop": []}, {}),
        ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "description": "b", "schema": WEATHER, "strict": True},
                },
                "verbosity": "high",
            },
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "a",
                        "schema": WEATHER,
                        "description": "b",
                        "strict": True,
                    },
                    "verbosity": "high",
                }
            },
        ),
        ({"user": "u", "safety_identifier": "s"}, {"user": "u", "safety_identifier": "s"}),
        ({"service_tier": "standard"}, {"service_tier": "default"}),
    ],
)
def test_each_field_is_written_in_its_place(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    """WIRE 112; fields that both endpoints have keep their names."""
    rendered = bridged(**fields)

    known = {"model", "input", "store", "include"}
    assert {name: value for name, value in rendered.body.items() if name not in known} == sent
    assert rendered.losses == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metadata", {"a": "b"}),
        ("moderation", {"model": "omni", "policy": {"input": {"mode": "score"}}}),
        ("parallel_tool_calls", True),
        ("prompt_cache_key", "k"),
        ("prompt_cache_options", {"mode": "explicit", "ttl": "30m"}),
        ("prompt_cache_retention", "24h"),
        ("service_tier", "flex"),
        ("store", True),
        ("stream_options", {"include_obfuscation": False}),
        ("temperature", 0.5),
        ("top_p", 0.5),
        ("user", "u"),
    ],
)
def test_a_field_of_both_endpoints_passes(name: str, value: Any) -> None:
    rendered = bridged(tools=[{"type": "function", "function": {"name": "f"}}], **{name: value})

    assert rendered.body[name] == value
    assert rendered.losses == ()


def test_an_effort_that_is_not_known_yet_passes() -> None:
    request = openai_chat.parse_request({"model": "m", "messages": [USER], "reasoning_effort": "colossal"})

    rendered = render_request(request, RULES)

    assert (rendered.body["reasoning"], rendered.losses) == ({"effort": "colossal"}, ())


def test_log_probabilities_have_to_be_included() -> None:
    body = bridged(logprobs=True, top_logprobs=2).body

    assert "message.output_text.logprobs" in body["include"]
    assert body["top_logprobs"] == 2


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"n": 2}, "emulated"),
        ({"seed": 1}, "dropped"),
        ({"stop": ["x"]}, "dropped"),
        ({"logit_bias": {"1": 2}}, "dropped"),
        ({"prediction": {"type": "content", "content": "x"}}, "dropped"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "dropped"),
        ({"modalities": ["text", "audio"]}, "dropped"),
        ({"presence_penalty": 1}, "dropped"),
        ({"frequency_penalty": 1}, "dropped"),
        ({"top_k": 3}, "dropped"),
        ({"something_new": 1}, "dropped"),
    ],
)
def test_what_the_api_has_no_field_for_is_reported(fields: dict[str, Any], action: str) -> None:
    """WIRE 116."""
    rendered = bridged(**fields)

    assert lost(rendered) == [(next(iter(fields)), action)]
    assert not fields.keys() & rendered.body.keys()


def test_a_limit_below_the_least_is_raised_and_reported() -> None:
    rendered = bridged(max_completion_tokens=5)

    assert rendered.body["max_output_tokens"] == 16
    assert lost(rendered) == [("max_completion_tokens", "clamped")]


def test_a_model_that_reasons_gets_no_sampling() -> None:
    """WIRE 106."""
    sampling = {"temperature": 0.2, "top_p": 0.9, "logprobs": True, "top_logprobs": 2}
    rendered = bridged(rules_for("openai_responses", "gpt-5.4"), reasoning_effort="low", **sampling)
    free = bridged(rules_for("openai_responses", "gpt-5.4"), reasoning_effort="none", **sampling)

    assert not sampling.keys() & rendered.body.keys()
    assert rendered.body["include"] == ["reasoning.encrypted_content"]
    assert sorted(lost(rendered)) == sorted((name, "dropped") for name in sampling)
    assert (free.body["temperature"], lost(free)) == (0.2, [])


def test_the_least_effort_becomes_low_where_minimal_is_gone() -> None:
    """WIRE 107."""
    rendered = bridged(rules_for("openai_responses", "gpt-5.6-sol"), reasoning_effort="minimal")

    assert rendered.body["reasoning"] == {"effort": "low"}
    assert lost(rendered) == [("reasoning_effort", "clamped")]


@pytest.mark.parametrize(("visible", "summary"), [(True, "auto"), (None, None)])
def test_a_summary_is_asked_for_only_by_whoever_wants_to_see_it(visible: bool | None, summary: str | None) -> None:
    body = bridged(reasoning_effort="low", include_reasoning=visible).body

    assert body["reasoning"].get("summary") == summary


def test_a_schema_is_asked_for_in_words_where_the_target_takes_none() -> None:
    rules = Rules(dialect="openai_responses", structured_output=False)
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": WEATHER}}
    rendered = bridged(rules, messages=[{"role": "system", "content": "Be brief."}, USER], response_format=schema)

    assert rendered.body["text"] == {"format": {"type": "json_object"}}
    assert [item["role"] for item in rendered.body["input"]] == ["system", "developer", "user"]
    assert lost(rendered) == [("response_format", "emulated")]


# --- tools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "strict"), [({}, False), ({"strict": True}, True), ({"strict": False}, False)])
def test_a_function_is_flattened_and_says_whether_it_is_strict(said: dict[str, Any], strict: bool) -> None:
    """WIRE 110."""
    function = {"name": "weather", "description": "d", "parameters": WEATHER, **said}
    body = bridged(tools=[{"type": "function", "function": function}]).body

    assert body["tools"] == [
        {"type": "function", "name": "weather", "description": "d", "parameters": WEATHER, "strict": strict}
    ]


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    body = bridged(tools=[{"type": "function", "function": {"name": "now"}}]).body

    assert body["tools"][0]["parameters"] == {"type": "object", "properties": {}}


def test_a_custom_tools_grammar_is_flattened() -> None:
    chat = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    rendered = bridged(tools=[{"type": "custom", "custom": {"name": "c", "format": chat}}])

    wanted = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
    assert rendered.body["tools"] == [{"type": "custom", "name": "c", "format": wanted}]
    assert rendered.losses == ()


@pytest.mark.parametrize(
    ("chat", "responses"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "custom", "custom": {"name": "c"}}, {"type": "custom", "name": "c"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)
def test_the_tool_choice_is_flattened(chat: Any, responses: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}]
    rendered = bridged(tools=tools, tool_choice=chat, parallel_tool_calls=False)

    assert rendered.body["tool_choice"] == responses
    assert rendered.body["parallel_tool_calls"] is False
    assert rendered.losses == ()


def test_a_server_that_knows_no_allowed_tools_gets_only_those() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "g"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    rendered = bridged(Rules(dialect="openai_responses"), tools=tools, tool_choice=choice)

    assert [tool["name"] for tool in rendered.body["tools"]] == ["g"]
    assert (rendered.body["tool_choice"], lost(rendered)) == ("auto", [("tool_choice", "emulated")])


def test_openais_own_tools_pass_and_other_vendors_do_not() -> None:
    own = {"type": "web_search", "search_context_size": "low"}
    rendered = bridged(tools=[own, {"type": "google_maps"}])

    assert rendered.body["tools"] == [own]
    assert lost(rendered) == [("tools[1]", "dropped")]


def test_chats_web_search_becomes_the_tool() -> None:
    location = {"type": "approximate", "approximate": {"city": "Rome", "country": "IT"}}
    rendered = bridged(web_search_options={"search_context_size": "high", "user_location": location})

    flat = {"type": "approximate", "city": "Rome", "country": "IT"}
    assert rendered.body["tools"] == [{"type": "web_search", "search_context_size": "high", "user_location": flat}]
    assert lost(rendered) == [("web_search_options", "emulated")]


def test_an_illegal_tool_name_is_replaced_and_can_be_restored() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "a.b", "arguments": "{}"}}
    rendered = bridged(
        messages=[
            USER,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": ""},
        ],
        tools=[{"type": "function", "function": {"name": "a.b"}}],
    )

    assert (rendered.body["tools"][0]["name"], rendered.body["input"][1]["name"]) == ("a_b", "a_b")
    assert rendered.tool_names == {"a_b": "a.b"}


# --- messages ------------------------------------------------------------------------------------


def test_every_message_keeps_its_place_and_role() -> None:
    """None is hoisted into `instructions`: a cached prefix stays what it was."""
    messages = [{"role": role, "content": role} for role in ("system", "developer", "user", "system", "user")]
    body = bridged(messages=messages).body

    assert "instructions" not in body
    assert body["input"] == [{"type": "message", **message} for message in messages]


def test_a_server_without_the_developer_role_gets_system() -> None:
    rules = Rules(dialect="openai_responses", developer_role=False)

    assert items({"role": "developer", "content": "x"}, USER, rules=rules)[0]["role"] == "system"


@pytest.mark.parametrize(
    ("chat", "responses"),
    [
        ({"type": "text", "text": "a"}, {"type": "input_text", "text": "a"}),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, {"type": "input_file", "file_id": "file-1"}),
    ],
)
def test_a_part_becomes_the_apis(chat: dict[str, Any], responses: dict[str, Any]) -> None:
    """WIRE 111. A breakpoint of the prompt cache stays on its part."""
    mark = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}

    assert items({"role": "user", "content": [{**chat, **mark}]})[0]["content"] == [{**responses, **mark}]


def test_a_sound_goes_where_it_is_taken_and_is_refused_elsewhere() -> None:
    sound = Message("user", (Audio(Source("audio/mpeg", "aGk=")),))
    request = Request("openai_chat", "m", (sound,))

    rendered = render_request(request, RULES)

    wanted = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}}
    assert rendered.body["input"][0]["content"] == [wanted]
    with pytest.raises(Unsupported, match=r"messages\[0\].content\[0\]: the target takes no audio"):
        render_request(request, rules_for("openai_responses", "gpt-5.4"))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Image(Source(file_id="f", vendor="anthropic")), "a file of anthropic means nothing here"),
        (Opaque("gemini", "executableCode", {}), "takes no executableCode here"),
        (Opaque("openai_chat", "video_url", {}), "takes no video_url here"),
    ],
)
def test_a_part_without_an_equivalent_is_refused(part: Any, said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        render_request(Request("anthropic", "m", (Message("user", (part,)),)), RULES)


def test_a_text_document_is_sent_as_text() -> None:
    document = Document(Source("text/plain"), "notes.txt", "hi")
    rendered = render_request(Request("anthropic", "m", (Message("user", (document,), place="messages[0]"),)), RULES)

    assert rendered.body["input"][0]["content"] == "notes.txt:\nhi"
    assert lost(rendered) == [("messages[0].content[0]", "emulated")]


def test_calls_and_their_results_become_items() -> None:
    """WIRE 111, 113: `call_id` is the id that chat clients know."""
    turn = {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}},
            {"id": "call_2", "type": "custom", "custom": {"name": "c", "input": "raw"}},
        ],
    }
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    found = items(
        USER,
        turn,
        {"role": "tool", "tool_call_id": "call_1", "content": "5"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "see"}, picture]},
    )

    assert found[1:] == [
        {"type": "message", "role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "c", "input": "raw"},
        {"type": "function_call_output", "call_id": "call_1", "output": "5"},
        {
            "type": "custom_tool_call_output",
            "call_id": "call_2",
            "output": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
            ],
        },
    ]


def test_an_id_that_is_too_long_is_the_same_for_call_and_result() -> None:
    long = "x" * 65
    call = ToolCall(long, "f", "{}")
    messages = (Message("assistant", (call,)), Message("tool", (ToolResult(long, (Text("1"),)),)))
    ids = [item["call_id"] for item in render_request(Request("gemini", "m", messages), RULES).body["input"]]

    assert ids[0] == ids[1]
    assert len(ids[0]) <= 64


def test_an_earlier_refusal_is_sent_as_text() -> None:
    """The API takes a refusal in a message with an id alone, which chat completions do not give."""
    rendered = bridged(messages=[USER, {"role": "assistant", "content": None, "refusal": "No."}, USER])

    assert rendered.body["input"][1]["content"] == "No."
    assert lost(rendered) == [("messages[1].refusal", "emulated")]


def test_reasoning_goes_back_before_the_calls_of_its_turn() -> None:
    """WIRE 109. From OpenRouter's form, in which summary and encrypted text may share an index and miss the id."""
    entry = {"format": "openai-responses-v1", "index": 0}
    turn = {
        "role": "assistant",
        "content": None,
        "reasoning_content": "I think.",
        "reasoning_details": [
            {"type": "reasoning.summary", "summary": "I think.", **entry},
            {"type": "reasoning.encrypted", "data": "enc1", "id": "rs_1", **entry},
            {"type": "reasoning.encrypted", "data": "enc2", "id": "rs_2", **entry},
            {"type": "reasoning.encrypted", "data": "foreign", "format": "anthropic-claude-v1"},
        ],
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    found = items(USER, turn, {"role": "tool", "tool_call_id": "call_1", "content": "5"})

    summary = [{"type": "summary_text", "text": "I think."}]
    assert found[1:3] == [
        {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "enc1"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "enc2"},
    ]
    assert found[3]["type"] == "function_call"


@pytest.mark.parametrize(
    ("native", "kept"),
    [
        ({"openai_responses": {"id": "rs_1", "summary": [], "encrypted_content": "e"}}, True),
        ({"openai_responses": {"id": "rs_1", "content": [{"type": "reasoning_text", "text": "t"}]}}, True),
        ({"openai_responses": {"id": "rs_1", "summary": []}}, False),
        ({"anthropic": {"signature": "s"}}, False),
        ({}, False),
    ],
)
def test_only_reasoning_that_means_something_to_the_server_goes_back(native: dict[str, Any], kept: bool) -> None:
    """An id alone names what a server stored, and it stored nothing."""
    messages = (Message("user", (Text("a"),)), Message("assistant", (Thinking("t", native), Text("b"))))
    rendered = render_request(Request("anthropic", "m", messages), RULES)

    assert ("reasoning" in [item["type"] for item in rendered.body["input"]]) == kept
    assert [loss.action for loss in rendered.losses] == ([] if kept else ["dropped"])


def test_other_vendors_blocks_are_dropped_and_reported() -> None:
    parts = (Opaque("anthropic", "server_tool_use", {"type": "server_tool_use"}), Text("b"))
    messages = (Message("user", (Text("a"),)), Message("assistant", parts))
    rendered = render_request(Request("anthropic", "m", messages), RULES)

    assert [item.get("role") for item in rendered.body["input"]] == ["user", "assistant"]
    assert lost(rendered) == [("messages[1].content[0]", "dropped")]


def test_marks_of_other_vendors_are_reported_at_each_place() -> None:
    marked = {"anthropic": {"cache_control": {"type": "ephemeral"}}}
    messages = (Message("user", (Text("a", native=marked),)), Message("user", (Text("b", native=marked),)))
    tool = Tool("f", native=marked)
    rendered = render_request(Request("anthropic", "m", messages, tools=(tool,)), RULES)

    assert sorted(lost(rendered)) == [
        ("messages[0].content.cache_control", "dropped"),
        ("messages[1].content.cache_control", "dropped"),
        ("tools[0].cache_control", "dropped"),
    ]


NO_SUMMARY = replace(RULES, refuses=frozenset({"reasoning.visible"}))
NOT_ENCRYPTED = replace(RULES, refuses=frozenset({"reasoning.encrypted_content"}))
NO_INCLUDE = replace(RULES, refuses=frozenset({"include"}))


def test_what_is_asked_for_unasked_is_left_out_in_silence_where_it_is_refused() -> None:
    assert bridged().body["include"] == ["reasoning.encrypted_content"]
    for rules in (NOT_ENCRYPTED, NO_INCLUDE):
        rendered = bridged(rules)
        assert ("include" in rendered.body, lost(rendered)) == (False, [])


def test_a_wish_to_see_reasoning_is_dropped_and_reported_where_it_is_refused() -> None:
    rendered = bridged(NO_SUMMARY, reasoning_effort="low", include_reasoning=True)

    assert rendered.body["reasoning"] == {"effort": "low"}
    assert lost(rendered) == [("include_reasoning", "dropped")]


@pytest.mark.parametrize(
    ("rules", "sent", "losses"),
    [
        (NOT_ENCRYPTED, ["file_search_call.results"], ["include[0]"]),
        (NO_INCLUDE, None, ["include"]),
        (NO_SUMMARY, ["reasoning.encrypted_content", "file_search_call.results"], ["reasoning.summary"]),
    ],
)
def test_a_clients_own_include_is_reported_where_it_is_refused(
    rules: Rules, sent: list[str] | None, losses: list[str]
) -> None:
    include = ["reasoning.encrypted_content", "file_search_call.results"]
    body = {"model": "m", "input": "x", "include": include, "reasoning": {"summary": "detailed", "effort": "low"}}
    rendered = render_request(parse_request(body), rules)

    assert rendered.body.get("include") == sent
    assert ("summary" in rendered.body["reasoning"]) is (rules is not NO_SUMMARY)
    assert [loss.field for loss in rendered.losses] == losses


def test_an_answer_at_the_end_is_refused_where_it_cannot_be_continued() -> None:
    request = Request("anthropic", "m", (Message("assistant", (Text("Once"),)),))

    with pytest.raises(BadRequest, match=r"messages\[0\]: the target cannot continue an answer"):
        render_request(request, Rules(dialect="openai_responses", prefill=False))


def test_a_failed_result_is_sent_and_the_mark_reported() -> None:
    messages = (
        Message("assistant", (ToolCall("c", "f", "{}"),)),
        Message("tool", (ToolResult("c", (Text("no"),), True),)),
    )
    rendered = render_request(Request("anthropic", "m", messages), RULES)

    assert rendered.body["input"][1]["output"] == "no"
    assert lost(rendered) == [("messages[1].content[0].is_error", "dropped")]


# --- requests of this dialect ----------------------------------------------------------------------


def test_a_responses_clients_request_is_written_again() -> None:
    """Instructions, ids, phases, items that nothing here knows, and every field of the API's own."""
    body = {
        "model": "gpt-6-sol",
        "instructions": "Be brief.",
        "input": [
            {"type": "additional_tools", "role": "developer", "tools": []},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "See", "prompt_cache_breakpoint": {"mode": "explicit"}},
                    {"type": "input_image", "file_id": "file-1", "detail": "high"},
                    {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                    {"type": "input_file", "file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"},
                ],
            },
            {"type": "reasoning", "summary": [], "id": "rs_1", "encrypted_content": "e"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
            {
                "type": "message",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "a", "annotations": []},
                    {"type": "refusal", "refusal": "b"},
                ],
                "id": "msg_1",
                "status": "completed",
                "phase": "commentary",
            },
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "id": "fc_1", "namespace": "n"},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "1"}] * 2},
            {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
        ],
        "tools": [
            {"type": "function", "name": "f", "parameters": WEATHER, "defer_loading": True},
            {"type": "mcp", "server_label": "s", "server_url": "https://example.com"},
        ],
        "tool_choice": {"type": "mcp", "server_label": "s"},
        "reasoning": {"effort": "high", "summary": "detailed", "context": "all_turns"},
        "text": {"format": {"type": "json_schema", "name": "a", "schema": WEATHER}, "verbosity": "low"},
        "include": ["web_search_call.action.sources"],
        "max_output_tokens": 8,
        "service_tier": "ultrafast",
        "truncation": "auto",
        "max_tool_calls": 3,
        "brand_new": {"a": 1},
    }

    rendered = render_request(parse_request(body), RULES)

    assert rendered.body == body
    assert rendered.losses == ()


def test_what_a_model_refuses_is_taken_out_of_a_responses_clients_request_too() -> None:
    body = {"model": "gpt-5.4", "input": "x", "temperature": 0.5, "reasoning": {"effort": "low"}, "truncation": "auto"}
    rules = Rules(
        dialect="openai_responses", refuses=frozenset({"truncation"}), refuses_while_thinking=frozenset({"temperature"})
    )

    rendered = render_request(parse_request(body), rules)

    assert not {"temperature", "truncation"} & rendered.body.keys()
    assert lost(rendered) == [("temperature", "dropped"), ("truncation", "dropped")]


# --- shapes that are written at once ---------------------------------------------------------------

_TEXTS: Any = st.lists(
    st.builds(Text, st.text(max_size=3), st.sampled_from([(), ({"type": "file_citation"},)])), max_size=2
)
_PARTS: Any = {
    "user": _TEXTS,
    "system": _TEXTS,
    "developer": _TEXTS,
    "assistant": st.lists(
        st.one_of(
            st.builds(Text, st.text(max_size=3)),
            st.builds(ToolCall, st.sampled_from(["a", "b" * 70]), st.just("f"), st.sampled_from(["", "{}"])),
        ),
        max_size=3,
    ),
    "tool": st.lists(
        st.builds(
            ToolResult, st.sampled_from(["a", "b" * 70]), _TEXTS.map(tuple), st.booleans(), st.sampled_from([None, "f"])
        ),
        max_size=2,
    ),
}
_MESSAGES: Any = st.sampled_from(sorted(_PARTS)).flatmap(
    lambda role: st.builds(
        Message,
        st.just(role),
        _PARTS[role].map(tuple),
        st.sampled_from([None, "Ada"]),
        place=st.sampled_from(["", "p"]),
    )
)


def looked_over(message: Message) -> Message:
    """*message* with a native field set that is empty, which keeps it from being usual and loses nothing."""
    return replace(
        message, native={"nobody": {}}, parts=tuple(replace(part, native={"nobody": {}}) for part in message.parts)
    )


@given(
    st.lists(_MESSAGES, max_size=4),
    st.sampled_from(["openai_chat", "openai_responses", "anthropic", "gemini"]),
    st.booleans(),
)
def test_what_is_written_at_once_is_written_as_with_care(messages: list[Message], client: str, knows: bool) -> None:
    rules = Rules(dialect="openai_responses", developer_role=knows)
    plain = Request(client, "m", tuple(messages))
    careful = Request(client, "m", tuple(map(looked_over, messages)))

    assert render_request(plain, rules) == render_request(careful, rules)
