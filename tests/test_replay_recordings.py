"""The judge of the recordings sees every kind of difference, in every dialect: it can fail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.recordings.asking import Case, can_be_asked, cases_of
from tests.recordings.clients import Got, read
from tests.recordings.facts import Call, Expected, Said, seen_by
from tests.recordings.judging import compare
from tests.recordings.page import Result, cell, shares
from tests.recordings.recorded import expected_of

HEADERS = dict.fromkeys(("x-request-id", "x-modelport-target", "x-modelport-attempts", "x-modelport-cache"), "1")
TOLD = '{"cost_usd":null,"attempts":1,"losses":[]}'
RECEIPT = f": modelport {TOLD}\n\n"
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk as it should be."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


GOOD = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "hm"}),
    chunk({"content": "Hi"}),
    chunk({"tool_calls": [CALL]}),
    chunk({}, "tool_calls"),
    chunk({}, choices=[], usage=USAGE),
]


def stream(chunks: list[dict[str, Any]], receipt: bool = True, done: bool = True) -> str:
    """Chunks as a client of modelport gets them."""
    text = "".join(f"data: {json.dumps(value)}\n\n" for value in chunks)
    return text + (RECEIPT if receipt else "") + ("data: [DONE]\n\n" if done else "")


def recording(api: str = "chat_completions", provider: str = "openrouter", **response: Any) -> dict[str, Any]:
    """A recorded stream."""
    request = {"body": {"messages": [], "stream": True}}
    return {
        "id": "r",
        "api": api,
        "provider": provider,
        "stream": True,
        "request": request,
        "response": {"status": 200, **response},
    }


def case(recorded: Mapping[str, Any], client: str = "openai_chat") -> Case:
    """*recorded*, cut finely, for a client."""
    return Case(recorded, 7, recorded["provider"], "m", client, expected_of(recorded))


def judged(text: str, client: str = "openai_chat") -> list[str]:
    """What is wrong with *text* as the answer to the recording of GOOD."""
    got = Got(200, HEADERS, text.encode())
    read(got, client, True)
    return compare(case(recording(sse=stream(GOOD)), client), got)


def changed(at: int, **changes: Any) -> list[dict[str, Any]]:
    """GOOD with another chunk at one place."""
    return [{**value, **changes} if index == at else value for index, value in enumerate(GOOD)]


# --- the other dialects' good answers ----------------------------------------------------------------


def named(events: list[dict[str, Any]], last: str) -> str:
    """Events by name, the receipt before the event *last*."""
    frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return "".join(RECEIPT + each if each.startswith(f"event: {last}\n") else each for each in frames)


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one of Anthropic's blocks."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


HEAD: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
}
MESSAGE = [
    {
        "type": "message_start",
        "message": {
            **HEAD,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 0},
        },
    },
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "s"},
    ),
    *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}),
    *block(
        2,
        {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"a": 1}'},
    ),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    },
    {"type": "message_stop"},
]
PARTS: list[dict[str, Any]] = [
    {"text": "hm", "thought": True},
    {"text": "Hi"},
    {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}},
]
COUNTS = {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}


def gemini(parts: list[dict[str, Any]], finish: str = "STOP", told: str = TOLD, **counts: int) -> str:
    """A stream of one part a frame."""
    frames = [{"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]} for part in parts]
    last = {"candidates": [{"content": {"role": "model"}, "finishReason": finish, "index": 0}]}
    values = [*frames, {**last, "usageMetadata": {**COUNTS, **counts}, "modelport": json.loads(told)}]
    return "".join(f"data: {json.dumps(value)}\n\n" for value in values)


def item_events(index: int, item: dict[str, Any], kind: str, text: str) -> list[dict[str, Any]]:
    """The events of an output item with one delta."""
    at = {"output_index": index, "item_id": item["id"]}
    place = (
        {"summary_index": 0} if "summary" in kind else {"content_index": 0, "logprobs": []} if "text" in kind else {}
    )
    lists: dict[str, Any] = {name: [] for name in ("content", "summary") if name in item}
    emptied = {**item, **lists}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": emptied},
        {"type": f"response.{kind}.delta", "delta": text, **at, **place},
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
WORDS = {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}
SPOKEN = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [WORDS]}
CALLED = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "c1",
    "name": "f",
    "arguments": '{"a": 1}',
    "status": "completed",
}
RESPONSE_USAGE = {
    "input_tokens": 5,
    "output_tokens": 7,
    "total_tokens": 12,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def responses(output: list[dict[str, Any]] | None = None, delta: str = "Hi", **fields: Any) -> str:
    """A stream of the three items, whose last event says *output*."""
    whole = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "output": [THOUGHT, SPOKEN, CALLED] if output is None else output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "status": "completed",
        "usage": RESPONSE_USAGE,
    }
    events = [
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
        *item_events(0, THOUGHT, "reasoning_summary_text", "hm"),
        *item_events(1, SPOKEN, "output_text", delta),
        *item_events(2, CALLED, "function_call_arguments", '{"a": 1}'),
        {"type": "response.completed", "response": {**whole, **fields}},
    ]
    return named([{**event, "sequence_number": at} for at, event in enumerate(events)], "response.completed")


def without(events: list[dict[str, Any]], at: int) -> list[dict[str, Any]]:
    """*events* but for one."""
    return [*events[:at], *events[at + 1 :]]


# --- what the judge says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("openai_chat", stream(GOOD)),
        ("anthropic", named(MESSAGE, "message_stop")),
        ("gemini", gemini(PARTS)),
        ("openai_responses", responses()),
    ],
)
def test_the_same_is_right(client: str, text: str) -> None:
    assert judged(text, client) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (stream(GOOD, done=False), "last frame"),
        (stream(GOOD, receipt=False), "no receipt"),
        (stream(GOOD[1:]), "without its role"),
        (stream([*GOOD[:2], *GOOD[3:]]), "text differs"),
        (stream([GOOD[0], *GOOD[2:]]), "reasoning differs"),
        (stream([*GOOD[:3], *GOOD[4:]]), "calls []"),
        (stream([*GOOD[:4], GOOD[3], *GOOD[4:]]), "calls [Call(name='ff'"),
        (stream([*GOOD[:5], GOOD[4], GOOD[5]]), "finish reasons"),
        (stream([*GOOD[:4], GOOD[5]]), "finish reasons"),
        (stream(GOOD[:5]), "usage input None"),
        (stream(changed(2, id="y")), "id of the chunks"),
        (stream(changed(2, created="now")), "not a ChatCompletionChunk: created"),
        (stream(changed(4, choices=[{"index": 0, "delta": {}, "finish_reason": "eos"}])), "finish_reason"),
        (stream(changed(4, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])), "finish ['stop']"),
        (stream(changed(5, usage={**USAGE, "prompt_tokens": 6})), "usage input 6"),
        (stream([*GOOD[:2], {"error": {"message": "no"}}]), "status 200"),
    ],
)
def test_each_difference_is_seen(text: str, said: str) -> None:
    assert said in " | ".join(judged(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (named(MESSAGE[:-1], "message_delta"), "last frame"),
        (named(MESSAGE, "nothing"), "no receipt"),
        (named(MESSAGE[1:], "message_stop"), "begins with content_block_start"),
        (named(without(MESSAGE, 2), "message_stop"), "reasoning differs"),
        (named(without(MESSAGE, 3), "message_stop"), "thinking without a signature"),
        (named(without(MESSAGE, 4), "message_stop"), "begins while 0 is open"),
        (named(without(MESSAGE, 6), "message_stop"), "text differs"),
        (named(without(MESSAGE, 9), "message_stop"), "arguments of f"),
        (named(without(MESSAGE, 11), "message_stop"), "too few events"),
        (named(MESSAGE, "message_stop").replace('reason": "tool_use', 'reason": "end_turn'), "finish ['stop']"),
        (named(MESSAGE, "message_stop").replace('"output_tokens": 7', '"output_tokens": 8'), "usage output 8"),
        (named(MESSAGE, "message_stop").replace('"role": "assistant", ', ""), "not a RawMessageStartEvent"),
        (named(MESSAGE, "message_stop").replace("event: message_delta", "event: delta"), "is named otherwise"),
    ],
)  # fmt: skip
def test_each_difference_is_seen_in_messages(text: str, said: str) -> None:
    assert said in " | ".join(judged(text, "anthropic"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (gemini(PARTS[1:]), "reasoning differs"),
        (gemini(without(PARTS, 1)), "text differs"),
        (gemini(PARTS[:2]), "calls []"),
        (gemini(PARTS, "MAX_TOKENS"), "finish ['length']"),
        (gemini(PARTS, "NONSENSE"), "NONSENSE is not a valid FinishReason"),
        (gemini(PARTS, thoughtsTokenCount=1), "usage output 8"),
        (gemini(PARTS, told="{}"), "receipt"),
        (gemini(PARTS) + RECEIPT, "would read as JSON"),
        (gemini([{"text": 5}, *PARTS]), "unreadable"),
        (gemini([{"text": "Hi", "inlineData": "x"}, *PARTS[::2]]), "not a GenerateContentResponse"),
    ],
)
def test_each_difference_is_seen_in_gemini(text: str, said: str) -> None:
    assert said in " | ".join(judged(text, "gemini"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (responses([SPOKEN, CALLED]), "reasoning of the deltas"),
        (responses([THOUGHT, CALLED]), "text differs"),
        (responses([THOUGHT, SPOKEN]), "calls []"),
        (responses([]), "the last event has no output"),
        (responses(delta="H"), "text of the deltas"),
        (responses(usage={**RESPONSE_USAGE, "input_tokens": 6}), "usage input 6"),
        (responses(status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "finish ['length']"),
        (responses(tools=None), "not a Response"),
        (responses().replace(RECEIPT, ""), "no receipt"),
        (responses().replace('"sequence_number": 3', '"sequence_number": 9'), "sequence numbers"),
        (responses().replace("response.completed", "response.done"), "the last event is response.done"),
    ],
)
def test_each_difference_is_seen_in_responses(text: str, said: str) -> None:
    assert said in " | ".join(judged(text, "openai_responses"))


def test_a_completion_is_the_text_alone() -> None:
    """Reasoning has no place there; a word that is missing is seen."""
    recorded = recording(sse=stream([*GOOD[:3], chunk({}, "stop"), GOOD[5]]))
    base = {"id": "x", "object": "text_completion", "created": 1, "model": "m"}

    def found(text: str) -> list[str]:
        choices = [{"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}]
        body = stream([{**base, "choices": choices}, {**base, "choices": [], "usage": USAGE}])
        got = Got(200, HEADERS, body.encode())
        read(got, "openai_completions", True)
        return compare(case(recorded, "openai_completions"), got)

    assert found("Hi") == []
    assert "text differs" in found("H")[0]


@pytest.mark.parametrize(
    ("upstream", "status", "right"),
    [(401, 502, True), (401, 401, False), (404, 404, True), (404, 502, False), (500, 503, True), (500, 400, False)],
)
def test_statuses(upstream: int, status: int, right: bool) -> None:
    """A refused key and a vendor's trouble are ours; a wrong request is the client's."""
    asked = case(recording(status=upstream, body={"error": {"message": "gone"}}))
    error = {"error": {"message": "gone", "type": "t", "param": None, "code": None}}
    got = Got(status, {**HEADERS, "x-should-retry": "false"}, error=error)

    assert (compare(asked, got) == []) is right


@pytest.mark.parametrize(
    ("client", "error"),
    [
        ("anthropic", {"type": "error", "error": {"type": "not_found_error", "message": "gone"}, "request_id": "r"}),
        ("gemini", {"error": {"code": 404, "status": "NOT_FOUND", "message": "gone", "details": []}}),
        ("openai_responses", {"error": {"message": "gone", "type": "t", "param": None, "code": None}}),
    ],
)
def test_an_error_has_the_clients_envelope(client: str, error: dict[str, Any]) -> None:
    clients = ("anthropic", "gemini", "openai_responses")
    recorded = recording(status=404, body={"error": {"message": "gone"}})
    told = {**HEADERS, "x-should-retry": "false"}

    right = [each for each in clients if compare(case(recorded, each), Got(404, told, error=error)) == []]

    assert right == [client]


def test_the_vendors_bytes_must_be_the_same() -> None:
    """But for the receipt; and nothing that the vendor itself wrote is wrong."""
    sent = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in MESSAGE[2:])
    recorded = recording("messages", "anthropic", sse=sent.replace("content_block_delta", "ping"))
    asked = Case(recorded, 7, "anthropic", "m", "anthropic", Expected())
    came = sent.replace("event: message_stop", f"{RECEIPT}event: message_stop")

    assert compare(asked, Got(200, HEADERS, came.encode()), sent.encode()) == []
    assert (
        "the vendor's bytes" in compare(asked, Got(200, HEADERS, came.replace("Hi", "Hj").encode()), sent.encode())[0]
    )


def test_whole_answers_need_their_message() -> None:
    base = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    empty = Got(200, HEADERS, json.dumps({**base, "choices": []}).encode())
    silent = Got(200, HEADERS, json.dumps({**base, "choices": [{"index": 0}]}).encode())

    read(empty, "openai_chat", False)
    read(silent, "openai_chat", False)

    assert empty.wrong == []
    assert "unreadable answer: KeyError('message')" in silent.wrong[-1]


@pytest.mark.parametrize(
    ("client", "said", "seen"),
    [
        ("anthropic", Said("a", refusal="no", finish={"stop"}), Said("ano", finish={"content_filter"})),
        ("gemini", Said("a", refusal="no", finish={"stop"}), Said("ano", finish={"stop"})),
        ("openai_responses", Said(refusal="no", finish={"stop"}), Said(refusal="no", finish={"stop"})),
        ("openai_completions", Said("a", "thought", "no", finish={"stop"}), Said("ano", finish={"stop"})),
        ("gemini", Said(calls=[Call("f", '{"a')], finish={"length"}), Said(finish={"length"})),
        ("gemini", Said(calls=[Call("f", '{"a')], finish={"tool_calls"}), Said(finish={"broken"})),
        (
            "anthropic",
            Said(calls=[Call("f", "x", custom=True)], finish={"tool_calls"}),
            Said(calls=[Call("f", '{"input": "x"}')], finish={"tool_calls"}),
        ),
    ],
)
def test_what_a_dialect_can_show(client: str, said: Said, seen: Said) -> None:
    assert seen_by(client, Expected({0: said}), "chat_completions").choices == {0: seen}


def test_every_recording_is_asked_for_by_every_client_that_can() -> None:
    """Completions have no tools, and nobody else asks for what answers them."""
    chat, older = recording(sse=stream(GOOD)), recording("completions", sse="data: {}\n\n")
    clients = ("openai_chat", "anthropic", "gemini", "openai_responses", "openai_completions")

    assert [each for each in clients if can_be_asked(each, chat, expected_of(chat))] == list(clients[:4])
    assert [each for each in clients if can_be_asked(each, older, expected_of(older))] == list(clients[4:])
    assert len(cases_of([chat], clients, "default")) == 5
    assert len(cases_of([chat], clients, "all")) == 9
    assert len({each.model for each in cases_of([chat, older], clients, "all")}) == 12


def test_nothing_but_all_is_a_hundred_per_cent() -> None:
    results = [Result("r", "p", "gemini", "whole", ["no"] if number == 0 else []) for number in range(5000)]

    assert cell(shares(results)["total"]["gemini"]) == "99.9 %"
    assert cell((1, 1)) == "100 %"
