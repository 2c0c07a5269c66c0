"""Answers of Anthropic Messages, whole and streamed: the numbered wire cases. A row holds for both forms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.anthropic import StreamParser, error_in, parse_error, parse_response
from translators.assemble import collect, replay
from translators.dialect import Rules
from translators.errors import BadAnswer
from translators.neutral import (
    Event,
    Failure,
    Finish,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Response,
    ResponseNative,
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageReport,
)

WEB = {
    "type": "web_search_result_location",
    "cited_text": "Sunny.",
    "url": "https://x.test",
    "title": "X",
    "encrypted_index": "e",
}
PAGE = {
    "type": "page_location",
    "cited_text": "Sunny.",
    "document_index": 0,
    "document_title": None,
    "start_page_number": 1,
    "end_page_number": 2,
}


def message(*content: dict[str, Any], stop_reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 5},
        **more,
    }


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def tool_use(call_id: str, name: str = "weather", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def frame(event: Mapping[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One block as Anthropic streams it: strings and inputs in two halves."""
    skeleton, deltas = dict(block), []
    match block["type"]:
        case "text":
            skeleton["text"] = ""
            half = len(block["text"]) // 2
            deltas = [{"type": "text_delta", "text": piece} for piece in (block["text"][:half], block["text"][half:])]
            deltas += [{"type": "citations_delta", "citation": item} for item in skeleton.pop("citations", ())]
        case "thinking":
            skeleton |= {"thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}]
            deltas += [{"type": "signature_delta", "signature": block["signature"]}]
        case "tool_use" | "server_tool_use":
            skeleton["input"] = {}
            words = json.dumps(block["input"], separators=(",", ":"))
            pieces = ("", words[:3], words[3:]) if block["input"] else ()
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    yield {"type": "content_block_start", "index": index, "content_block": skeleton}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def streamed(whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The events by which Anthropic sends the message *whole*."""
    end = {name: whole[name] for name in ("stop_reason", "stop_sequence", "stop_details", "container") if name in whole}
    opening = {name: value for name, value in whole.items() if name not in end}
    opening |= {"content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    return [
        {"type": "message_start", "message": opening},
        {"type": "ping"},
        *(event for index, block in enumerate(whole["content"]) for event in _block_events(index, block)),
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": whole["usage"]["output_tokens"]}},
        {"type": "message_stop"},
    ]


def parsed(events: list[dict[str, Any]]) -> list[Event]:
    parser = StreamParser()
    return [*(found for event in events for found in parser.feed(frame(event))), *parser.close()]


@dataclass(frozen=True)
class Case:
    number: str
    wire: Mapping[str, Any]
    parts: tuple[Part, ...]
    reason: str
    ending: Mapping[str, Any] = field(default_factory=dict)


def anthropic(**fields: Any) -> dict[str, dict[str, Any]]:
    return {"anthropic": fields}


def url_citation(end: int) -> dict[str, Any]:
    return {
        "type": "url_citation",
        "url_citation": {"url": "https://x.test", "title": "X", "start_index": 0, "end_index": end},
    }


REFUSED = {"type": "refusal", "category": "cyber", "explanation": "Too risky."}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sun"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}

CASES = [
    *(
        Case(f"45-{stop}", message(text("Hi"), stop_reason=stop), (Text("Hi"),), reason, {"stop_reason": stop})
        for stop, reason in (
            ("end_turn", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("refusal", "content_filter"),
        )
    ),
    Case(
        "45-tool_use",
        message(tool_use("t", city="P"), stop_reason="tool_use"),
        (ToolCall("t", "weather", '{"city":"P"}'),),
        "tool_calls",
    ),
    Case("45-empty-answer", message(), (), "stop"),
    Case(
        "46-refusal-explained",
        message(text("I"), stop_reason="refusal", stop_details=REFUSED),
        (Text("I"), Refusal("Too risky.")),
        "content_filter",
        {"stop_reason": "refusal", "stop_details": REFUSED},
    ),
    Case(
        "46-refusal-by-category",
        message(stop_reason="refusal", stop_details={**REFUSED, "explanation": None}),
        (Refusal("cyber"),),
        "content_filter",
    ),
    Case(
        "47-pause",
        message(text("Wait"), SEARCH, stop_reason="pause_turn"),
        (Text("Wait"), Opaque("anthropic", "server_tool_use", SEARCH)),
        "pause",
    ),
    Case(
        "48-unknown-reason", message(text("Hi"), stop_reason="tired"), (Text("Hi"),), "stop", {"stop_reason": "tired"}
    ),
    Case(
        "48-unknown-reason-with-call",
        message(tool_use("t"), stop_reason="tired"),
        (ToolCall("t", "weather", "{}"),),
        "tool_calls",
    ),
    Case(
        "48-natural-end-with-call",
        message(tool_use("t")),
        (ToolCall("t", "weather", "{}"),),
        "tool_calls",
        {"stop_reason": "end_turn"},
    ),
    Case(
        "50-text-and-call",
        message(text("Look:"), tool_use("t", a=1), stop_reason="tool_use"),
        (Text("Look:"), ToolCall("t", "weather", '{"a":1}')),
        "tool_calls",
    ),
    Case(
        "51-citations",
        message(text("It is "), text("sunny", citations=[WEB]), text(" there", citations=[PAGE])),
        (
            Text("It is "),
            Text("sunny", (url_citation(5),), anthropic(citations=[WEB])),
            Text(" there", native=anthropic(citations=[PAGE])),
        ),
        "stop",
    ),
    Case(
        "54-two-calls-around-a-block",
        message(tool_use("t", a=1), text("and"), tool_use("u", "clock"), stop_reason="tool_use"),
        (ToolCall("t", "weather", '{"a":1}'), Text("and"), ToolCall("u", "clock", "{}")),
        "tool_calls",
    ),
    Case(
        "56-call-without-input",
        message(tool_use("t"), stop_reason="tool_use"),
        (ToolCall("t", "weather", "{}"),),
        "tool_calls",
    ),
    Case(
        "57-thinking-in-order",
        message(
            {"type": "thinking", "thinking": "Hm.", "signature": "s1"},
            {"type": "redacted_thinking", "data": "r1"},
            text("Hi"),
            {"type": "thinking", "thinking": "So.", "signature": "s2"},
            tool_use("t"),
            stop_reason="tool_use",
        ),
        (
            Thinking("Hm.", anthropic(signature="s1")),
            Thinking("", anthropic(redacted_data="r1")),
            Text("Hi"),
            Thinking("So.", anthropic(signature="s2")),
            ToolCall("t", "weather", "{}"),
        ),
        "tool_calls",
    ),
    Case(
        "58-signature-alone",
        message({"type": "thinking", "thinking": "", "signature": "s1"}, text("Hi")),
        (Thinking("", anthropic(signature="s1")), Text("Hi")),
        "stop",
    ),
    Case(
        "59-server-tools",
        message(SEARCH, FOUND, text("Sunny")),
        (
            Opaque("anthropic", "server_tool_use", SEARCH),
            Opaque("anthropic", "web_search_tool_result", FOUND),
            Text("Sunny"),
        ),
        "stop",
    ),
    Case(
        "59-unknown-block",
        message({"type": "hologram", "rays": [1]}, text("Hi")),
        (Opaque("anthropic", "hologram", {"type": "hologram", "rays": [1]}), Text("Hi")),
        "stop",
    ),
    Case(
        "59-caller-of-a-call",
        message({**tool_use("t"), "caller": {"type": "direct"}}, stop_reason="tool_use"),
        (ToolCall("t", "weather", "{}", native=anthropic(caller={"type": "direct"})),),
        "tool_calls",
    ),
    Case(
        "64-stop-sequence",
        message(text("Hi"), stop_reason="stop_sequence", stop_sequence="END"),
        (Text("Hi"),),
        "stop",
        {"stop_reason": "stop_sequence", "stop_sequence": "END"},
    ),
]


@pytest.mark.parametrize("form", ["whole", "stream"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"wire-{case.number}")
def test_case(case: Case, form: str) -> None:
    response = parse_response(case.wire) if form == "whole" else collect(parsed(streamed(case.wire)))

    (choice,) = response.choices or (None,)
    assert choice is not None
    assert choice.parts == case.parts
    assert choice.finish_reason == case.reason
    assert choice.native["anthropic"] | dict(case.ending) == choice.native["anthropic"]
    assert (response.id, response.model, response.created) == ("msg_1", "claude-test", 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"wire-{case.number}")
def test_whole_and_streamed_answers_are_one_thing(case: Case) -> None:
    whole = parse_response({**case.wire, "container": {"id": "c"}})

    assert collect(parsed(streamed({**case.wire, "container": {"id": "c"}}))) == whole
    assert collect(replay(whole)) == whole


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"wire-{case.number}")
def test_events_keep_the_order_of_the_algebra(case: Case) -> None:
    """55, 62: Start once and first; a part's id and name at its start alone; all parts end before the one Finish."""
    events = parsed(streamed(case.wire))

    starts = [event for event in events if isinstance(event, PartStart)]
    ends = [event.index for event in events if isinstance(event, PartEnd)]
    assert isinstance(events[0], Start)
    assert isinstance(events[-1], Finish)
    assert sum(isinstance(event, Start | Finish) for event in events) == 2
    assert [start.index for start in starts] == ends == list(range(len(starts)))
    assert all(start.part.arguments == "" for start in starts if isinstance(start.part, ToolCall))


def test_case_49_arguments_that_were_cut_stay_as_they_are() -> None:
    events = streamed(message(tool_use("t", city="Paris"), stop_reason="max_tokens"))
    cut = [event for event in events if event.get("delta", {}).get("partial_json") != 'ity":"Paris"}']

    (choice,) = collect(parsed(cut)).choices

    assert choice.parts == (ToolCall("t", "weather", '{"c'),)
    assert choice.finish_reason == "length"


USAGES = [
    (
        "52-cache-and-thinking",
        {
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 4},
        },
        Usage(130, 7, 100, 20, 4),
    ),
    ("52-nulls", {"input_tokens": 10, "cache_read_input_tokens": None, "output_tokens": 7}, Usage(10, 7)),
    (
        "52-writes-by-lifetime-alone",
        {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        },
        Usage(8, 2, 0, 7),
    ),
]


@pytest.mark.parametrize(("raw", "usage"), [pytest.param(*row[1:], id=f"wire-{row[0]}") for row in USAGES])
def test_cached_tokens_count_within_the_input(raw: dict[str, Any], usage: Usage) -> None:
    assert parse_response(message(text("Hi"), usage=raw)).usage == replace(usage, raw=raw)


def test_case_53_stream_usage_overwrites() -> None:
    """Absent keys keep their values, an explicit 0 counts, nothing is added up."""
    events = streamed(message(text("Hi"), usage={"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 9}))
    events[-2]["usage"] = {"output_tokens": 7, "cache_read_input_tokens": 0, "input_tokens": None}

    reports = [event.usage for event in parsed(events) if isinstance(event, UsageReport)]

    assert [(usage.input_tokens, usage.output_tokens, usage.cached_input_tokens) for usage in reports] == [
        (15, 1, 5),
        (10, 7, 0),
    ]
    assert reports[-1].raw == {"input_tokens": 10, "cache_read_input_tokens": 0, "output_tokens": 7}


def test_late_fields_of_the_message_are_kept() -> None:
    events = streamed(message(text("Hi")))
    events[-2] |= {"context_management": {"applied_edits": []}}
    events[-2]["delta"] |= {"container": {"id": "c"}}

    found = [event.native for event in parsed(events) if isinstance(event, ResponseNative)]

    assert found == [anthropic(context_management={"applied_edits": []}, container={"id": "c"})]


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}


@pytest.mark.parametrize("events_before", [0, 1, 4], ids=["first", "after-start", "after-content"])
def test_case_60_an_error_ends_the_stream(events_before: int) -> None:
    events = streamed(message(text("Hi")))

    found = parsed([*events[:events_before], OVERLOADED, *events[events_before:]])

    assert found[-1] == Failure("overloaded", "Overloaded", 529, "overloaded_error", raw=OVERLOADED)
    assert sum(isinstance(event, Failure) for event in found) == 1
    assert not any(isinstance(event, Finish) for event in found)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(json.dumps(OVERLOADED), "overloaded"), (json.dumps(OVERLOADED, indent=1), "overloaded")],
)
def test_case_60_an_error_without_a_stream_around_it(body: str, kind: str) -> None:
    parser = StreamParser()

    (failure,) = [*parser.feed(body.encode()), *parser.close()]

    assert isinstance(failure, Failure)
    assert failure.kind == kind


def test_a_message_without_a_stream_around_it_is_replayed() -> None:
    wire = message(text("Hi"))
    parser = StreamParser(Rules(dialect="anthropic"))

    events = [*parser.feed(json.dumps(wire).encode()), *parser.close()]

    assert collect(events) == parse_response(wire)


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_cut_stream_fails(cut: int) -> None:
    """Before the reason to stop was said, the end of the bytes is not the end of the message."""
    found = parsed(streamed(message(text("Hi")))[:cut])

    failure = found[-1]
    assert isinstance(failure, Failure)
    assert failure.kind == "invalid_response"


def test_an_empty_stream_fails() -> None:
    (failure,) = StreamParser().close()

    assert isinstance(failure, Failure)
    assert failure.kind == "invalid_response"


def test_a_stream_without_message_stop_is_complete_once_the_reason_is_known() -> None:
    events = streamed(message(text("Hi")))

    assert parsed(events[:-1]) == parsed(events)


def test_case_63_pings_comments_and_new_events_say_nothing() -> None:
    parser = StreamParser()
    noise = frame({"type": "ping"}) + b": keep-alive\n\n" + frame({"type": "weather_report", "sun": 1})

    found = [event for wire in streamed(message(text("Hi"))) for event in parser.feed(noise + frame(wire))]

    assert collect(found) == parse_response(message(text("Hi")))


BROKEN = [
    b"data: {not json}\n\n",
    b"data: [1]\n\n",
    b'data: {"type":"message_start"}\n\n',
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
    b'data: {"type":"content_block_delta","index":9,"delta":{"type":"text_delta","text":"x"}}\n\n',
    b'data: {"type":"content_block_delta","index":[],"delta":5}\n\n',
    b'data: {"type":"content_block_stop","index":9}\n\n',
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n',
    b'data: {"type":"message_stop"}\n\n',
]


@pytest.mark.parametrize("piece", BROKEN)
def test_what_is_no_event_of_the_dialect_is_a_failure(piece: bytes) -> None:
    parser = StreamParser()

    found = [*parser.feed(piece), *parser.feed(piece), *parser.close()]

    (failure,) = found
    assert isinstance(failure, Failure)
    assert failure.kind == "invalid_response"


@given(st.lists(st.sampled_from([*(frame(event) for event in streamed(CASES[-4].wire)), *BROKEN]), max_size=12))
def test_any_mix_of_events_ends_in_a_finish_or_a_failure(pieces: list[bytes]) -> None:
    parser = StreamParser()

    found = [event for piece in pieces for event in parser.feed(piece)] + parser.close()

    collect(found)
    assert isinstance(found[-1], Finish | Failure)
    assert sum(isinstance(event, Finish | Failure) for event in found) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "content"),
        ({"content": "Hi"}, "content"),
        ({"content": [5]}, "content"),
        (message(stop_reason="tired"), "tired"),
        (OVERLOADED, "Overloaded"),
    ],
    ids=["empty", "text", "number", "48-empty-with-unknown-reason", "error"],
)
def test_what_is_no_message_raises(body: dict[str, Any], said: str) -> None:
    with pytest.raises(BadAnswer, match=said):
        parse_response(body)


def test_case_48_empty_stream_with_an_unknown_reason_fails() -> None:
    failure = parsed(streamed(message(stop_reason="tired")))[-1]

    assert isinstance(failure, Failure)
    assert "tired" in failure.message


def wire_error(kind: str, words: str = "No.") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}


ERRORS = [
    (400, "invalid_request_error", "No.", "invalid_request"),
    (401, "authentication_error", "No.", "authentication"),
    (402, "billing_error", "No.", "billing"),
    (403, "permission_error", "No.", "permission"),
    (404, "not_found_error", "No.", "not_found"),
    (409, "conflict_error", "No.", "invalid_request"),
    (413, "request_too_large", "No.", "too_large"),
    (429, "rate_limit_error", "This would exceed your spending limit of tokens", "rate_limit"),
    (500, "api_error", "No.", "server"),
    (504, "timeout_error", "No.", "timeout"),
    (529, "overloaded_error", "No.", "overloaded"),
    (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "context_length"),
    (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 3", "context_length"),
    (400, "invalid_request_error", "Your credit balance is too low to access the API.", "billing"),
    (400, "invalid_request_error", "You have reached your specified API usage limits.", "billing"),
    (400, "invalid_request_error", "Output blocked by content filtering policy", "content_filter"),
    (413, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "context_length"),
    (422, "invalid_request_error", "Output blocked by content filtering policy", "content_filter"),
    (422, "rate_limit_error", "No.", "rate_limit"),
    (400, "overloaded_error", "No.", "overloaded"),
    (413, "invalid_request_error", "Your credit balance is too low to access the API.", "too_large"),
    (403, "invalid_request_error", "Your credit balance is too low to access the API.", "permission"),
    (500, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "server"),
    (500, "not_found_error", "No.", "server"),
    (418, "teapot_error", "No.", "invalid_request"),
    (503, "teapot_error", "No.", "overloaded"),
]


@pytest.mark.parametrize(("status", "name", "words", "kind"), ERRORS)
def test_case_61_errors_keep_status_and_words(status: int, name: str, words: str, kind: str) -> None:
    body = wire_error(name, words)

    failure = parse_error(status, json.dumps(body).encode(), {"retry-after": "7"})

    assert failure == Failure(kind, words, status, name, retry_after_s=7.0, raw=body)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (
            502,
            b"<html><head><style>p{}</style></head><body><h1>Bad Gateway</h1></body></html>",
            "server",
            "Bad Gateway",
        ),
        (503, b"", "overloaded", "the vendor answered with status 503 and no message"),
        (429, b"slow down", "rate_limit", "slow down"),
        (429, b'{"message": "usage limit reached"}', "rate_limit", "usage limit reached"),
        (500, b"\xff\xfe", "server", "\ufffd\ufffd"),
        (400, b'{"error": "plain words"}', "invalid_request", "plain words"),
        (400, b'{"message": "top level"}', "invalid_request", "top level"),
        (400, b"[1]", "invalid_request", "the vendor answered with status 400 and no message"),
        (403, b'{"error": {"message": 5}}', "permission", "the vendor answered with status 403 and no message"),
    ],
)
def test_errors_that_are_not_of_the_dialect(status: int, body: bytes, kind: str, words: str) -> None:
    failure = parse_error(status, body, {"request-id": "req_9"})

    assert (failure.kind, failure.message, failure.status) == (kind, words, status)
    assert failure.raw["request_id"] == "req_9"


def test_the_stable_code_of_an_error_is_kept() -> None:
    body = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "No.", "details": {"error_code": "file_expired"}},
    }

    assert parse_error(400, json.dumps(body).encode(), {}).code == "file_expired"


@pytest.mark.parametrize(
    ("body", "status"),
    [(OVERLOADED, 529), (wire_error("teapot_error"), 500), ({"error": {"message": "No."}}, 500)],
)
def test_an_error_sent_with_status_200_has_the_status_of_its_type(body: dict[str, Any], status: int) -> None:
    failure = error_in(body)

    assert failure is not None
    assert failure.status == status


def test_an_error_body_with_status_200_is_no_success() -> None:
    assert parse_error(200, json.dumps(OVERLOADED).encode(), {}).status == 529


def test_a_message_is_no_error() -> None:
    assert error_in(message(text("Hi"))) is None


def test_response_without_usage_has_none() -> None:
    body = {name: value for name, value in message(text("Hi")).items() if name != "usage"}

    response = parse_response(body)

    assert isinstance(response, Response)
    assert response.usage is None


def test_a_block_that_is_whole_at_its_start_is_kept() -> None:
    """Some servers of the dialect send texts and inputs with the start of their block, or with message_start."""
    start = {"type": "message_start", "message": message(text("A"), stop_reason=None)}
    events = [
        start,
        {"type": "content_block_start", "index": 0, "content_block": text("B")},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": tool_use("t", a=1)},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ]

    found = parsed(events)

    (choice,) = collect(found).choices
    assert choice.parts == (Text("A"), Text("B"), ToolCall("t", "weather", '{"a":1}'))
    assert sum(isinstance(event, PartDelta) for event in found) == 3


def test_a_stream_whose_last_counts_cannot_be_any_has_no_usage() -> None:
    events = streamed(message(text("Hi")))
    events[-2]["usage"] = {"output_tokens": -5}

    assert collect(parsed(events)).usage is None
