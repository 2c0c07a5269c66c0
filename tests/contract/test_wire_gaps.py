"""Wire cases that show only from outside: two vendors in one conversation, quirks of a row, and waits.

The number in a test's name is the case.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.contract.backends import DIALECTS, STEMS, UPSTREAM_KEY, Backends, bare, row
from tests.replay import Answer, Upstream, cassette
from tests.running import Modelport

CHAT = "/v1/chat/completions"
TEXT = "Paris is the capital of France."
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
PNG = b"\x89PNG\r\n\x1a\n0123"


def frames(*events: dict[str, Any]) -> str:
    """An event stream; those of Anthropic's have names."""
    named = (f"event: {event['type']}\n" if "type" in event else "" for event in events)
    return "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(named, events, strict=True))


def message_start(**usage: int) -> dict[str, Any]:
    """Anthropic's first event."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}}


PING = {"type": "ping"}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
TEXT_BLOCK = (
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
    {"type": "content_block_stop", "index": 0},
)
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
STOP = {"type": "message_stop"}


def google(*parts: dict[str, Any], finish: str | None = None, **usage: int) -> dict[str, Any]:
    """One answer or chunk of Gemini's."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "responseId": "r1", "modelVersion": "m", "usageMetadata": usage}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of OpenAI's."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


DONE = "data: [DONE]\n\n"


def streamed(client: OpenAI, model: str, **more: Any) -> tuple[list[Any], str, list[str]]:
    """The chunks, the text of all of them, and the finish reasons."""
    chunks = list(client.chat.completions.create(model=model, messages=QUESTION, stream=True, **more))
    choices = [choice for each in chunks for choice in each.choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    return chunks, text, [choice.finish_reason for choice in choices if choice.finish_reason]


# --- two vendors in one conversation ---------------------------------------------------------------

SIGNED = {
    "anthropic": ("anthropic/reasoning", "c2lnbmVkLWJ5LWhhbmQ="),
    "gemini": ("gemini/tools", "c2lnbmF0dXJlLW9uZQ=="),
}


def answered(client: OpenAI, model: str) -> list[dict[str, Any]]:
    """The conversation after a first turn with *model*, its answer kept whole."""
    found = client.chat.completions.create(model=model, messages=QUESTION, tools=[WEATHER]).choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "18"} for call in found.tool_calls or ()]
    return [*QUESTION, found.model_dump(exclude_none=True), *results, {"role": "user", "content": "And now?"}]


@pytest.mark.parametrize("second", DIALECTS)
@pytest.mark.parametrize("first", SIGNED)
def test_78_signatures_go_back_to_their_vendor_and_to_no_other(
    client: OpenAI, backends: Backends, first: str, second: str
) -> None:
    """76, 78, 138: the same client sends all that it got, to the same vendor or to the next one."""
    name, signature = SIGNED[first]
    conversation: Any = answered(client, backends.says(first, cassette(name)))
    model = backends.says(second, cassette(f"{second}/text"))

    raw = client.chat.completions.with_raw_response.create(model=model, messages=conversation, tools=[WEATHER])

    (body,) = backends.asked(model)
    assert signature in json.dumps(conversation)
    assert (signature in json.dumps(body)) == (first == second)
    assert ("signature" in raw.headers.get("x-modelport-losses", "").lower()) == (first != second)


@pytest.mark.parametrize("first", SIGNED)
def test_138_failover_leaves_the_first_targets_signatures_behind(
    client: OpenAI, backends: Backends, first: str
) -> None:
    name, signature = SIGNED[first]
    conversation: Any = answered(client, backends.says(first, cassette(name)))
    busy = backends.says(first, cassette(f"{first}/error_500"), own_row=True)
    next_one = backends.says("openai_chat", cassette("openai_chat/text"))

    client.chat.completions.create(
        model=busy, messages=conversation, tools=[WEATHER], extra_body={"models": [busy, next_one]}
    )

    assert signature in json.dumps(backends.asked(busy)[0])
    assert signature not in json.dumps(backends.asked(next_one)[0])


@pytest.mark.parametrize(
    ("first", "stem"), [("anthropic", "anthropic/claude-opus-5.5"), ("gemini", "google/gemini-3.8-flash")]
)
def test_78_a_gateway_in_front_of_the_same_model_gets_its_signatures_back(
    client: OpenAI, backends: Backends, first: str, stem: str
) -> None:
    """Which model stands behind a compatible server shows in its name."""
    name, signature = SIGNED[first]
    conversation: Any = answered(client, backends.says(first, cassette(name)))
    model = backends.says("openai_chat", cassette("openai_chat/text"), stem=stem)

    client.chat.completions.create(model=model, messages=conversation, tools=[WEATHER])

    assert signature in json.dumps(backends.asked(model)[0])


def test_77_a_call_without_its_signature_is_told_to_pass(client: OpenAI, backends: Backends) -> None:
    """The client kept OpenAI's own fields alone; Gemini 3 refuses an unsigned first call."""
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    conversation: Any = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "18"},
    ]
    model = backends.says("gemini", cassette("gemini/text"), stem="gemini-3.8-flash")

    client.chat.completions.create(model=model, messages=conversation, tools=[WEATHER])

    body: Any = backends.asked(model)[0]
    assert body["contents"][1]["parts"][0]["thoughtSignature"] == "skip_thought_signature_validator"


def test_123_deepseek_gets_the_key_on_tool_turns(client: OpenAI, backends: Backends) -> None:
    """Even from a client that dropped the reasoning."""
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    conversation: Any = [
        *QUESTION,
        {"role": "assistant", "content": "Let me see."},
        {"role": "user", "content": "Do."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "18"},
    ]
    model = backends.says("openai_chat", cassette("openai_chat/text"), stem="deepseek-v4-pro")

    client.chat.completions.create(model=model, messages=conversation, tools=[WEATHER])

    body: Any = backends.asked(model)[0]
    assert "reasoning_content" not in body["messages"][1]
    assert body["messages"][3] == {**conversation[3], "reasoning_content": ""}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_124_unknown_fields_of_an_answer_go_to_servers_of_the_dialect_alone(
    client: OpenAI, backends: Backends, dialect: str
) -> None:
    conversation: Any = [*QUESTION, {"role": "assistant", "content": "Paris.", "brand_new": "kept"}, *QUESTION]
    model = backends.says(dialect, cassette(f"{dialect}/text"))

    client.chat.completions.create(model=model, messages=conversation)

    assert ("brand_new" in json.dumps(backends.asked(model)[0])) == (dialect == "openai_chat")


@pytest.mark.parametrize("stream", [False, True])
def test_20_a_renamed_tool_has_its_own_name_in_the_answer(client: OpenAI, backends: Backends, stream: bool) -> None:
    """Anthropic takes no dots and blanks; the client's program knows no other name."""
    block = {"type": "tool_use", "id": "t1", "name": "db_look_up", "input": {}}
    start = message_start(input_tokens=20, output_tokens=9)
    whole = {**start["message"], "content": [block], "stop_reason": "tool_use"}
    events = (
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    )
    model = backends.says("anthropic", Answer.sse(frames(start, *events, STOP)) if stream else Answer.json(whole))
    tools: Any = [{"type": "function", "function": {"name": "db.look up"}}]

    if stream:
        with client.chat.completions.stream(model=model, messages=QUESTION, tools=tools) as open_stream:
            calls: Any = open_stream.get_final_completion().choices[0].message.tool_calls
    else:
        calls = (
            client.chat.completions.create(model=model, messages=QUESTION, tools=tools).choices[0].message.tool_calls
        )

    body: Any = backends.asked(model)[0]
    assert [tool["name"] for tool in body["tools"]] == ["db_look_up"]
    assert [(call.function.name, call.function.arguments) for call in calls] == [("db.look up", "{}")]


def test_38_a_sound_for_a_deaf_vendor_is_refused(client: OpenAI, backends: Backends) -> None:
    """And goes to a target of the chain that hears, never on without it."""
    sound: Any = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "What is said?"}, sound]}]
    deaf = backends.says("anthropic", cassette("anthropic/text"))
    hearing = backends.says("gemini", cassette("gemini/text"))

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=deaf, messages=messages)
    client.chat.completions.create(model=deaf, messages=messages, extra_body={"models": [deaf, hearing]})

    assert "audio" in refused.value.message
    assert backends.asked(deaf) == []
    assert "inlineData" in json.dumps(backends.asked(hearing)[0])


# --- answers and streams ---------------------------------------------------------------------------


def test_6_several_choices_of_a_vendor_that_gives_one_are_streamed_too(client: OpenAI, backends: Backends) -> None:
    model = backends.says("anthropic", cassette("anthropic/text"))

    chunks, _, finishes = streamed(client, model, n=3, stream_options={"include_usage": True})

    texts = dict.fromkeys(range(3), "")
    for choice in (choice for each in chunks for choice in each.choices):
        texts[choice.index] += choice.delta.content or ""
    assert list(texts.values()) == [TEXT] * 3
    assert finishes == ["stop"] * 3
    assert chunks[-1].usage.completion_tokens == 27
    assert len(backends.asked(model)) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_47_a_paused_turn_is_marked_and_not_kept(client: OpenAI, backends: Backends, stream: bool) -> None:
    """`stop` alone would say that Claude is done; the next equal question is asked again.

    The model takes no turn back that ends with its own text, so that nothing can continue it.
    """
    whole = {
        **message_start(input_tokens=20, output_tokens=9)["message"],
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "pause_turn",
    }
    paused = {"type": "message_delta", "delta": {"stop_reason": "pause_turn"}, "usage": {"output_tokens": 9}}
    events = frames(message_start(input_tokens=20, output_tokens=1), *TEXT_BLOCK, paused, STOP)
    model = backends.says("anthropic", Answer.sse(events) if stream else Answer.json(whole), stem="claude-opus-5-5")

    for _ in range(2):
        if stream:
            chunks = client.chat.completions.create(model=model, messages=QUESTION, temperature=0, stream=True)
            choice: Any = next(choice for each in chunks for choice in each.choices if choice.finish_reason)
        else:
            choice = client.chat.completions.create(model=model, messages=QUESTION, temperature=0).choices[0]

        assert choice.finish_reason == "stop"
        assert choice.extra_content["modelport"] == {"finish_reason": "pause"}
    assert len(backends.asked(model)) == 2


@pytest.mark.parametrize("stem", ["claude-sonnet-4-5", "claude-opus-5-5"])
def test_47_a_client_can_send_a_paused_turn_again(client: OpenAI, backends: Backends, stem: str) -> None:
    """Where the proxy could not. It ends with the block at which Claude paused, so that it is no prefill."""
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Paris"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    whole = {
        **message_start(input_tokens=20, output_tokens=9)["message"],
        "content": [{"type": "text", "text": "Let me see."}, search, found],
        "stop_reason": "pause_turn",
    }
    busy = Answer.json(OVERLOADED, 529)
    model = backends.says("anthropic", Answer.json(whole), busy, cassette("anthropic/text"), stem=stem)
    paused = client.chat.completions.create(model=model, messages=QUESTION).choices[0].message
    conversation: Any = [*QUESTION, paused.model_dump(exclude_none=True)]

    answer = client.chat.completions.create(model=model, messages=conversation)

    _, *again = backends.asked(model)
    assert answer.choices[0].message.content == TEXT
    assert [body["messages"][-1] for body in again] == [{"role": "assistant", "content": whole["content"]}] * 2


CUMULATIVE = {
    "anthropic": frames(
        message_start(input_tokens=12, cache_read_input_tokens=8, output_tokens=3),
        *TEXT_BLOCK,
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 6}},
        END,
        STOP,
    ),
    "gemini": frames(
        google({"text": "Paris"}, promptTokenCount=20, cachedContentTokenCount=8, candidatesTokenCount=1),
        google({"text": TEXT[5:]}, promptTokenCount=20, candidatesTokenCount=4, thoughtsTokenCount=3),
        google(finish="STOP", candidatesTokenCount=6, thoughtsTokenCount=3),
    ),
    "openai_chat": frames(
        chunk({"role": "assistant", "content": "Paris"}, usage={"prompt_tokens": 20, "completion_tokens": 1}),
        chunk(
            {"content": TEXT[5:]},
            "stop",
            usage={
                "prompt_tokens": 20,
                "completion_tokens": 9,
                "total_tokens": 29,
                "prompt_tokens_details": {"cached_tokens": 8},
            },
        ),
    )
    + DONE,
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_53_usage_of_a_stream_is_cumulative(
    client: OpenAI, modelport: Modelport, backends: Backends, dialect: str
) -> None:
    """53, 98, 119: the last report counts, what it leaves out stays, wherever it stands."""
    model = backends.says(dialect, Answer.sse(CUMULATIVE[dialect]))

    with client.chat.completions.with_streaming_response.create(
        model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}
    ) as raw:
        usages = [each.usage for each in raw.parse() if each.usage]

    booked = modelport.exchange(raw.headers["x-request-id"])
    assert (usages[-1].prompt_tokens, usages[-1].completion_tokens) == (20, 9)
    assert usages[-1].prompt_tokens_details is not None
    assert usages[-1].prompt_tokens_details.cached_tokens == 8
    assert (booked["input_tokens"], booked["cached_input_tokens"], booked["output_tokens"]) == (20, 8, 9)


def slowly(*events: dict[str, Any], **how: Any) -> Answer:
    """*events* one by one, so that each is seen before the next has come."""
    return Answer.sse(frames(*events), split="events", delay_between_s=0.02, **how)


FAILS_BEFORE_CONTENT = {
    "60-error-event": ("anthropic", slowly(message_start(input_tokens=1, output_tokens=1), OVERLOADED)),
    "60-error-after-an-empty-block": (
        "anthropic",
        slowly(message_start(input_tokens=1, output_tokens=1), TEXT_BLOCK[0], OVERLOADED),
    ),
    "63-error-after-pings": (
        "anthropic",
        slowly(PING, message_start(input_tokens=1, output_tokens=1), PING, PING, OVERLOADED),
    ),
    "61-overloaded": ("anthropic", cassette("anthropic/error_529")),
    "94-malformed-call": ("gemini", slowly(google(finish="MALFORMED_FUNCTION_CALL"))),
    "94-unexpected-call": ("gemini", slowly(google({"text": ""}), google(finish="UNEXPECTED_TOOL_CALL"))),
    "134-a-signature-alone": (
        "gemini",
        slowly(google({"text": "", "thoughtSignature": "c2ln"}), google(finish="MALFORMED_RESPONSE")),
    ),
    "101-unavailable-in-a-list": (
        "gemini",
        Answer.json([{"error": {"code": 503, "status": "UNAVAILABLE", "message": "Busy."}}], 503),
    ),
    "126-error-in-a-200": ("openai_chat", Answer.json({"error": {"message": "Busy.", "code": 503}})),
    "134-roles-and-usage": (
        "openai_chat",
        slowly(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": ""}, usage={"prompt_tokens": 1, "completion_tokens": 0}),
            end="close",
        ),
    ),
}


@pytest.mark.parametrize("case", FAILS_BEFORE_CONTENT)
def test_a_failure_before_content_moves_on_unseen(client: OpenAI, backends: Backends, case: str) -> None:
    dialect, answer = FAILS_BEFORE_CONTENT[case]
    first = backends.says(dialect, answer, own_row=True)
    second = backends.says("openai_chat", cassette("openai_chat/text_stream"))

    _, text, finishes = streamed(client, first, extra_body={"models": [first, second]})

    assert (text, finishes) == (TEXT, ["stop"])
    assert len(backends.asked(second)) == 1


def test_61_overloaded_is_asked_again_after_its_retry_after(client: OpenAI, backends: Backends) -> None:
    """529 is no plain 500."""
    busy = cassette("anthropic/error_529", headers={"content-type": "application/json", "retry-after": "0"})
    model = backends.says("anthropic", busy, cassette("anthropic/text"), own_row=True)

    raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION)

    assert raw.parse().choices[0].message.content == TEXT
    assert raw.headers["x-modelport-attempts"] == "2"


def test_63_pings_never_reach_the_client_as_chunks(modelport: Modelport, backends: Backends) -> None:
    events = frames(message_start(input_tokens=1, output_tokens=1), PING, *TEXT_BLOCK, PING, END, PING, STOP)
    model = backends.says("anthropic", Answer.sse(events))

    reply = modelport.post(CHAT, {"model": model, "messages": QUESTION, "stream": True})

    data = [line for line in reply.body.decode().splitlines() if line.startswith("data:")]
    assert [TEXT in line for line in data].count(True) == 1
    assert len(data) == 4  # role, text, finish, [DONE]
    assert b"ping" not in reply.body


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"])
def test_95_filtered_answers_say_so(client: OpenAI, backends: Backends, reason: str, stream: bool) -> None:
    """With the part of the text that came."""
    wire = google({"text": "Paris"}, finish=reason, promptTokenCount=1)
    model = backends.says("gemini", Answer.sse(frames(wire)) if stream else Answer.json(wire))

    if stream:
        _, text, (finish,) = streamed(client, model)
    else:
        choice = client.chat.completions.create(model=model, messages=QUESTION).choices[0]
        text, finish = choice.message.content or "", choice.finish_reason

    assert (text, finish) == ("Paris", "content_filter")


@pytest.mark.parametrize("stream", [False, True])
def test_96_a_blocked_prompt_is_one_refusing_choice(client: OpenAI, backends: Backends, stream: bool) -> None:
    wire = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}, "responseId": "r"}
    model = backends.says("gemini", Answer.sse(frames(wire)) if stream else Answer.json(wire))

    if stream:
        chunks, _, (finish,) = streamed(client, model)
        refusal = "".join(choice.delta.refusal or "" for each in chunks for choice in each.choices)
        indexes = {choice.index for each in chunks for choice in each.choices}
    else:
        (choice,) = client.chat.completions.create(model=model, messages=QUESTION).choices
        refusal, finish, indexes = choice.message.refusal or "", choice.finish_reason, {choice.index}

    assert (finish, indexes) == ("content_filter", {0})
    assert "SAFETY" in refusal


def test_101_geminis_wait_is_a_retry_after(client: OpenAI, backends: Backends) -> None:
    """Also where the body is a list of one."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
    error = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Slow down.", "details": [info]}}
    model = backends.says("gemini", Answer.json([error], 429), own_row=True)

    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model=model, messages=QUESTION)

    assert 30 < float(raised.value.response.headers["retry-after"]) <= 35


@pytest.mark.parametrize("stream", [False, True])
def test_102_geminis_key_is_never_in_the_address(client: OpenAI, backends: Backends, stream: bool) -> None:
    model = backends.says("gemini", cassette("gemini/text_stream" if stream else "gemini/text"))

    if stream:
        streamed(client, model)
    else:
        client.chat.completions.create(model=model, messages=QUESTION)

    (asked,) = backends.upstream.asked(bare(model))
    assert asked.headers["x-goog-api-key"] == UPSTREAM_KEY
    assert UPSTREAM_KEY not in asked.path
    assert "key=" not in asked.path


def test_2_anthropic_is_told_the_version_that_takes_sampling(client: OpenAI, backends: Backends) -> None:
    model = backends.says("anthropic", cassette("anthropic/text"))

    client.chat.completions.create(model=model, messages=QUESTION, temperature=1)

    asked = backends.upstream.asked(bare(model))[0]
    assert asked.headers["anthropic-version"] == "2023-06-01"
    assert asked.json["temperature"] == 1


def test_121_parallel_calls_on_one_index_are_told_apart(client: OpenAI, backends: Backends) -> None:
    """120, 121: by the official SDK's own accumulator; a finish of `stop` after calls is `tool_calls`."""

    def call(name: str, **more: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, **more, "function": {"name": name, "arguments": "{}"}}]}

    events = frames(
        chunk({"role": "assistant", **call("one", id="a")}), chunk(call("two", id="b")), chunk({}, finish="stop")
    )
    model = backends.says("openai_chat", Answer.sse(events + DONE))

    with client.chat.completions.stream(model=model, messages=QUESTION) as stream:
        choice = stream.get_final_completion().choices[0]

    calls: list[Any] = choice.message.tool_calls or []
    assert [(each.id, each.type, each.function.name) for each in calls] == [
        ("a", "function", "one"),
        ("b", "function", "two"),
    ]
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
def test_128_usage_that_nobody_told_is_estimated_and_flagged(
    client: OpenAI, modelport: Modelport, backends: Backends, stream: bool
) -> None:
    """In the ledger; a client that asked for usage in its stream gets the estimate."""
    whole = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    }
    events = frames(chunk({"role": "assistant", "content": TEXT}), chunk({}, "stop")) + DONE
    model = backends.says("openai_chat", Answer.sse(events) if stream else Answer.json(whole))
    more: Any = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}

    with client.chat.completions.with_streaming_response.create(model=model, messages=QUESTION, **more) as raw:
        told = [each.usage for each in raw.parse()] if stream else [raw.parse().usage]

    found = modelport.exchange(raw.headers["x-request-id"])
    assert found["estimated"] is True
    assert found["input_tokens"] > 0
    assert found["output_tokens"] > 0
    if stream:
        assert (told[-1].prompt_tokens, told[-1].completion_tokens) == (found["input_tokens"], found["output_tokens"])


def test_130_a_wait_in_milliseconds_is_told_in_seconds(client: OpenAI, backends: Backends) -> None:
    slow = {"content-type": "application/json", "retry-after-ms": "45500"}
    model = backends.says("openai_chat", cassette("openai_chat/error_429", headers=slow), own_row=True)

    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model=model, messages=QUESTION)

    assert 45 <= float(raised.value.response.headers["retry-after"]) <= 46


# --- quirks of a row -------------------------------------------------------------------------------


SHIPPED = {
    "openai": set(),
    "mistral": set(),
    "groq": {"reasoning"},
    "deepseek": {"reasoning_content"},
    "openrouter": {"reasoning_content", "reasoning", "reasoning_details"},
}
"""Shipped rows, and what their vendors take back of an answer beyond OpenAI's own fields."""


def own_config(upstream: Upstream) -> str:
    """One row for each quirk, shipped rows that lead to the upstream, and routes."""
    quirks = {
        "silent": "stream_options = false",
        "tags": "think_tags = true",
        "blind": "image_urls = false",
    }
    rows = [
        *(row(name, "openai_chat", upstream, f"quirks = {{ {quirk} }}") for name, quirk in quirks.items()),
        *(row(f"local{number}", "openai_chat", upstream) for number in range(3)),
        *(row(f"plain_{dialect}", dialect, upstream) for dialect in DIALECTS),
        *(f'[providers.{name}]\nbase_url = "{upstream.url}/v1"\nkeys = ["env:UPSTREAM_KEY"]\n' for name in SHIPPED),
    ]
    routes = '[routes.loading]\ntargets = ["local1/loads", "local2/ready"]\n'
    routes += f'[routes."{STEMS["openai_chat"]}"]\ntargets = ["local0/broken", "local2/ready"]\n'
    return "[server]\nmedia_allow_private = true\n" + "\n".join(rows) + routes


@pytest.fixture(scope="module")
def own(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modelport]:
    upstream.script("broken", cassette("openai_chat/error_500"))
    upstream.script("ready", cassette("openai_chat/text"))
    folder = tmp_path_factory.mktemp("quirks")
    with Modelport(folder, own_config(upstream), {"UPSTREAM_KEY": UPSTREAM_KEY}) as running:
        yield running


def ask(server: Modelport, model: str, **more: Any) -> Any:
    return server.post(CHAT, {"model": model, "messages": QUESTION, **more})


@pytest.mark.parametrize("wanted", [False, True])
def test_118_a_server_that_refuses_stream_options_is_not_asked(
    own: Modelport, upstream: Upstream, wanted: bool
) -> None:
    """A client that wants usage gets the proxy's count."""
    name = f"silent-{wanted}"
    upstream.script(name, Answer.sse(frames(chunk({"role": "assistant", "content": TEXT}), chunk({}, "stop")) + DONE))
    options = {"stream_options": {"include_usage": True}} if wanted else {}

    reply = ask(own, f"silent/{name}", stream=True, **options)

    assert "stream_options" not in upstream.asked(name)[0].json
    assert (b'"usage"' in reply.body) == wanted


def test_118_usage_is_asked_for_behind_the_clients_back(own: Modelport, upstream: Upstream) -> None:
    """And its chunk kept from a client that did not ask."""
    upstream.script("usage", cassette("openai_chat/text_stream"))

    reply = ask(own, "plain_openai_chat/usage", stream=True)

    assert upstream.asked("usage")[0].json["stream_options"] == {"include_usage": True}
    assert b'"choices":[]' not in reply.body
    assert b'"prompt_tokens"' not in reply.body


@pytest.mark.parametrize("size", [1, 4, 100])
def test_125_think_tags_become_reasoning(own: Modelport, upstream: Upstream, size: int) -> None:
    words, name = f"<think>\nHm.\n</think>\n\n{TEXT}", f"tags-{size}"
    pieces = [words[at : at + size] for at in range(0, len(words), size)]
    events = frames(*(chunk({"role": "assistant", "content": piece}) for piece in pieces), chunk({}, "stop"))
    upstream.script(name, Answer.sse(events + DONE))

    with OpenAI(base_url=f"{own.url}/v1", api_key="none", max_retries=0) as client:
        chunks, text, _ = streamed(client, f"tags/{name}")

    deltas: list[Any] = [choice.delta for each in chunks for choice in each.choices]
    assert text == TEXT
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm."


def _with_picture(url: str) -> Any:
    picture = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]


@pytest.mark.parametrize("target", ["plain_gemini", "blind"])
def test_91_a_remote_picture_is_fetched_for_who_cannot(own: Modelport, upstream: Upstream, target: str) -> None:
    """91, 127: neither Gemini nor a local server gets a foreign address."""
    dialect = "gemini" if "gemini" in target else "openai_chat"
    name = f"seer-{target}"
    upstream.script(name, cassette(f"{dialect}/text"))
    upstream.script(f"picture-{target}", Answer(200, {"content-type": "image/png"}, PNG))
    url = f"{upstream.url}/models/picture-{target}"

    reply = own.post(CHAT, {"model": f"{target}/{name}", "messages": _with_picture(url)})

    body = json.dumps(upstream.asked(name)[0].json)
    assert reply.status == 200
    assert len(upstream.asked(f"picture-{target}")) == 1
    assert base64.b64encode(PNG).decode() in body
    assert "http" not in body


@pytest.mark.parametrize("target", ["plain_gemini", "blind"])
def test_91_a_picture_that_cannot_be_fetched_is_the_clients_to_mend(
    own: Modelport, upstream: Upstream, target: str
) -> None:
    """A 400 that names the part; the vendor is not asked without it."""
    upstream.script(f"gone-{target}", Answer(404, {"content-type": "text/plain"}, b"no"))
    name = f"blind-seer-{target}"

    reply = own.post(
        CHAT, {"model": f"{target}/{name}", "messages": _with_picture(f"{upstream.url}/models/gone-{target}")}
    )

    assert reply.status == 400
    assert reply.json["error"]["param"] == "messages[0].content[1]"
    assert upstream.asked(name) == []


@pytest.mark.parametrize("vendor", SHIPPED)
def test_138_each_vendor_gets_back_what_it_knows(own: Modelport, upstream: Upstream, vendor: str) -> None:
    """Groq, Mistral and OpenAI answer 400 or 422 to a field that they do not know."""
    echoed = {
        "role": "assistant",
        "content": "Paris.",
        "reasoning_content": "Hm.",
        "reasoning": "Hm.",
        "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}],
        "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "x"}],
        "extra_content": {"google": {"thought_signature": "x"}},
    }
    upstream.script(f"echo-{vendor}", cassette("openai_chat/text"))

    reply = own.post(CHAT, {"model": f"{vendor}/echo-{vendor}", "messages": [*QUESTION, echoed, *QUESTION]})

    sent = upstream.asked(f"echo-{vendor}")[0].json["messages"][1]
    assert set(sent) == {"role", "content"} | SHIPPED[vendor]
    assert "signatures" in reply.headers["x-modelport-losses"]


@pytest.mark.parametrize(
    ("vendor", "form"), [("openai", r".{1,40}"), ("mistral", r"[a-zA-Z0-9]{9}"), ("groq", r"chatcmpl-tool-.*")]
)
def test_21_foreign_ids_of_calls_get_the_vendors_form(
    own: Modelport, upstream: Upstream, vendor: str, form: str
) -> None:
    """The same for call and result; a vendor that takes all gets them as they are."""
    ids = [f"chatcmpl-tool-{number:032}" for number in range(2)]
    function = {"name": "get_weather", "arguments": "{}"}
    calls = [{"id": each, "type": "function", "function": function} for each in ids]
    results = [{"role": "tool", "tool_call_id": each, "content": "18"} for each in ids]
    asked = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    upstream.script(f"ids-{vendor}", cassette("openai_chat/text"))

    own.post(CHAT, {"model": f"{vendor}/ids-{vendor}", "messages": asked, "tools": [WEATHER]})

    messages = upstream.asked(f"ids-{vendor}")[0].json["messages"]
    sent = [call["id"] for call in messages[1]["tool_calls"]]
    assert [message["tool_call_id"] for message in messages[2:]] == sent
    assert len(set(sent)) == 2
    assert all(re.fullmatch(form, each) for each in sent)


LOADING = Answer.json({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, 503)


def test_129_a_server_that_loads_its_model_is_waited_for(own: Modelport, upstream: Upstream) -> None:
    """Where there is no other: one more request after a pause, not several at once."""
    upstream.script("warms", LOADING, cassette("openai_chat/text"))

    reply = ask(own, "local0/warms")

    first, second = upstream.asked("warms")
    assert reply.status == 200
    assert 1 < second.arrived_at - first.arrived_at < 4


def test_129_another_target_takes_over_while_a_model_loads(own: Modelport, upstream: Upstream) -> None:
    """At once, with one request to the loading server; when it has loaded it answers again."""
    upstream.script("loads", LOADING, cassette("openai_chat/text"))
    began = time.monotonic()

    replies = [ask(own, "loading") for _ in range(2)]

    assert [reply.headers["x-modelport-target"] for reply in replies] == ["local2/ready", "local1/loads"]
    assert len(upstream.asked("loads")) == 2
    assert time.monotonic() - began < 1


def test_129_a_client_is_told_how_long_a_model_loads(own: Modelport, upstream: Upstream) -> None:
    upstream.script("slow", LOADING)

    reply = ask(own, "local0/slow", modelport={"timeout_s": 1})

    assert reply.status == 503
    assert reply.headers["retry-after"] == "2"
    assert len(upstream.asked("slow")) == 1


def test_136_the_chain_is_that_of_the_name_that_was_asked_for(own: Modelport) -> None:
    """A route may be called like a model; its targets are others."""
    reply = ask(own, STEMS["openai_chat"])

    assert reply.status == 200
    assert reply.headers["x-modelport-route"] == STEMS["openai_chat"]
    assert reply.headers["x-modelport-target"] == "local2/ready"
