"""Neutral answers as Anthropic's messages, whole and streamed: each row is read by the official SDK in both forms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translators.anthropic.sdk_reader import accumulated, plain, raised, validated
from translators.anthropic import parse_response
from translators.anthropic.client import StreamRenderer, render_count, render_error, render_response
from translators.assemble import replay
from translators.dialect import ReplyTo
from translators.neutral import (
    Audio,
    Choice,
    Document,
    Event,
    Failure,
    Finish,
    Image,
    Native,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Request,
    Response,
    ResponseNative,
    Source,
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageReport,
)
from translators.sealed import seal, unseal

ASKED = Request("anthropic", "claude-x", (), stop=("END",), include_usage=True)
TO = ReplyTo(ASKED, {}, "abc", 5, input_tokens=77)
COUNTED = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def answer(*parts: Part, reason: Any = "stop", native: Native | None = None, **more: Any) -> Response:
    return Response("chatcmpl-1", "gpt-x", 9, (Choice(parts, reason, native=native or {}),), **more)


def streamed(response: Response) -> bytes:
    renderer = StreamRenderer(TO)
    return renderer.render(list(replay(response))) + renderer.close(b'{"cost_usd":"0.1"}')


def frames_of(stream: bytes) -> Iterator[dict[str, Any]]:
    """The events of *stream*; each is named by its type."""
    for block in stream.decode().split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("event: "):
            event = json.loads(lines[1].removeprefix("data: "))
            assert lines[0] == f"event: {event['type']}"
            yield event


# --- one table, whole and streamed ---------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """*expected* are fields of the message that *parts* become."""

    parts: Sequence[Part]
    expected: Mapping[str, Any]
    reason: Any = "stop"
    native: Native = field(default_factory=dict)


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


HI = block("text", text="Hi")
CALL = ToolCall("call_1", "weather", '{"city":"Oslo"}')
USE = block("tool_use", id="call_1", name="weather", input={"city": "Oslo"})
CITATION = block("char_location", cited_text="c", document_index=0, start_char_index=0, end_char_index=1)
LINK = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "start_index": 0, "end_index": 2}}
DETAILS = {"type": "refusal", "category": "bio", "explanation": "Too risky."}
SEARCH = block("server_tool_use", id="srv_1", name="web_search", input={"query": "x"})
FOUND = block("web_search_tool_result", tool_use_id="srv_1", content=[])


def own(**fields: Any) -> Native:
    return {"anthropic": fields}


ROWS: dict[str, Row] = {
    "text": Row([Text("Hi")], {"content": [HI], "stop_reason": "end_turn"}),
    "nothing": Row([], {"content": [], "stop_reason": "end_turn"}),
    "WIRE 15 empty texts never appear": Row(
        [Text(""), CALL, Text("")], {"content": [USE], "stop_reason": "tool_use"}, "tool_calls"
    ),
    "WIRE 50 text and call": Row([Text("Hi"), CALL], {"content": [HI, USE], "stop_reason": "tool_use"}, "tool_calls"),
    "WIRE 51 several texts": Row([Text("Hi"), Text("Hi")], {"content": [HI, HI]}),
    "WIRE 51 citations": Row(
        [Text("Hi", native=own(citations=[CITATION]))], {"content": [{**HI, "citations": [CITATION]}]}
    ),
    "WIRE 51 foreign citations": Row(
        [Text("Hi", (LINK, {"type": "url_citation", "url_citation": {}}, {"type": "file"}))],
        {
            "content": [
                {
                    **HI,
                    "citations": [
                        {
                            "type": "web_search_result_location",
                            "cited_text": "",
                            "encrypted_index": seal({}),
                            "title": "A",
                            "url": "https://a",
                        }
                    ],
                }
            ]
        },
    ),
    "WIRE 56 no arguments": Row([replace(CALL, arguments="")], {"content": [{**USE, "input": {}}]}),
    "WIRE 17 null arguments": Row([replace(CALL, arguments="null")], {"content": [{**USE, "input": {}}]}),
    "WIRE 17 arguments encoded twice": Row([replace(CALL, arguments='"{\\"city\\":\\"Oslo\\"}"')], {"content": [USE]}),
    "WIRE 17 raw line breaks": Row(
        [replace(CALL, arguments='{\n "city": "a\nb\tc"\n}')], {"content": [{**USE, "input": {"city": "a\nb\tc"}}]}
    ),
    "WIRE 17 not JSON": Row([replace(CALL, arguments="city=Oslo")], {"content": [{**USE, "input": {}}]}),
    "custom tool": Row(
        [replace(CALL, kind="custom", arguments="print(1)")], {"content": [{**USE, "input": {"input": "print(1)"}}]}
    ),
    "caller of a call": Row(
        [replace(CALL, native=own(caller={"type": "direct"}))], {"content": [{**USE, "caller": {"type": "direct"}}]}
    ),
    "WIRE 57 signed thinking": Row(
        [Thinking("Hm.", own(signature="SIG")), Text("Hi")],
        {"content": [block("thinking", thinking="Hm.", signature="SIG"), HI]},
    ),
    "WIRE 58 thinking without text": Row(
        [Thinking("", own(signature="SIG"))], {"content": [block("thinking", thinking="", signature="SIG")]}
    ),
    "redacted thinking": Row(
        [Thinking("", own(redacted_data="D"))], {"content": [block("redacted_thinking", data="D")]}
    ),
    "WIRE 68 unsigned thinking": Row(
        [Thinking("Hm.")], {"content": [block("thinking", thinking="Hm.", signature=seal({}))]}
    ),
    "WIRE 68 thinking of another vendor": Row(
        [Thinking("Hm.", {"gemini": {"thoughtSignature": "G"}})],
        {"content": [block("thinking", thinking="Hm.", signature=seal({"gemini": {"thoughtSignature": "G"}}))]},
    ),
    "WIRE 68 encrypted thinking": Row(
        [Thinking("", {"openai_responses": {"id": "rs", "encrypted_content": "E"}})],
        {
            "content": [
                block(
                    "thinking",
                    thinking="",
                    signature=seal({"openai_responses": {"id": "rs", "encrypted_content": "E"}}),
                )
            ]
        },
    ),
    "no thinking at all": Row([Thinking(""), Text("Hi")], {"content": [HI]}),
    "WIRE 59 server tools": Row(
        [Opaque("anthropic", "server_tool_use", SEARCH), Opaque("anthropic", "web_search_tool_result", FOUND)],
        {"content": [SEARCH, FOUND]},
    ),
    "picture": Row(
        [Image(Source("image/png", "aGk="))],
        {"content": [block("text", text="[image/png: its data cannot be shown in this dialect]")]},
    ),
    "picture by URL": Row([Image(Source(url="https://a"))], {"content": [block("text", text="[image: https://a]")]}),
    "sound": Row([Audio(Source("audio/wav", "aGk="), transcript="Hi")], {"content": [HI]}),
    "text document": Row([Document(Source(), text="Hi")], {"content": [HI]}),
    "length": Row([Text("Hi")], {"stop_reason": "max_tokens"}, "length"),
    "WIRE 45 full window": Row(
        [Text("Hi")],
        {"stop_reason": "model_context_window_exceeded"},
        "length",
        own(stop_reason="model_context_window_exceeded"),
    ),
    "WIRE 47 pause": Row([Text("Hi")], {"stop_reason": "pause_turn"}, "pause"),
    "WIRE 64 stop sequence": Row(
        [Text("Hi")],
        {"stop_reason": "stop_sequence", "stop_sequence": "END"},
        "stop",
        own(stop_reason="stop_sequence", stop_sequence="END"),
    ),
    "WIRE 64 stop sequence that vLLM tells": Row(
        [Text("Hi")],
        {"stop_reason": "stop_sequence", "stop_sequence": "END"},
        "stop",
        {"openai_chat": {"stop_reason": "END"}},
    ),
    "a stop word that is none of the client's": Row(
        [Text("Hi")], {"stop_reason": "end_turn"}, "stop", {"openai_chat": {"stop_reason": "</s>"}}
    ),
    "WIRE 48 no reason with a call": Row([CALL], {"stop_reason": "tool_use"}, None),
    "WIRE 48 no reason": Row([Text("Hi")], {"stop_reason": "end_turn"}, None),
    "WIRE 66 content filter": Row(
        [Text("Hi")], {"stop_reason": "refusal", "stop_details": {"type": "refusal"}}, "content_filter"
    ),
    "WIRE 46 Anthropic's refusal": Row(
        [Refusal("Too risky.")],
        {"content": [], "stop_reason": "refusal", "stop_details": DETAILS},
        "content_filter",
        own(stop_reason="refusal", stop_details=DETAILS),
    ),
    "WIRE 46 another vendor's refusal": Row(
        [Refusal("I cannot.")],
        {
            "content": [block("text", text="I cannot.")],
            "stop_reason": "refusal",
            "stop_details": {"type": "refusal", "explanation": "I cannot."},
        },
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_whole_answer(row: Row) -> None:
    body = render_response(answer(*row.parts, reason=row.reason, native=row.native), TO)
    message = validated(body)

    assert {name: message.get(name) for name in row.expected} == row.expected
    assert (message["id"], message["model"], message["role"]) == ("msg_abc", "gpt-x", "assistant")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_streamed_answer_is_the_same(row: Row) -> None:
    response = answer(*row.parts, reason=row.reason, native=row.native, usage=Usage(9, 4))

    message = accumulated(streamed(response))

    assert message == {
        name: value for name, value in plain(render_response(response, TO)).items() if name != "extra_content"
    }


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_events_are_in_order(row: Row) -> None:
    """message_start, blocks one after the other with indexes from 0, one message_delta, the receipt, message_stop."""
    stream = streamed(answer(*row.parts, reason=row.reason, native=row.native))
    events = list(frames_of(stream))
    blocks = [event for event in events if event["type"].startswith("content_block")]

    assert [event["type"] for event in events if event not in blocks] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    assert events[1:-2] == blocks
    opened = -1
    is_open = False
    for event in blocks:
        if event["type"] == "content_block_start":
            assert not is_open
            opened, is_open = opened + 1, True
        assert (event["index"], is_open) == (opened, True)
        if event["type"] == "content_block_stop":
            is_open = False
    assert not is_open
    assert stream.endswith(
        b'}\n\n: modelport {"cost_usd":"0.1"}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


def test_a_vendors_own_id_and_fields_stay() -> None:
    response = Response("msg_01", "", 0, answer(Text("Hi")).choices, native=own(container={"id": "c"}))

    body = render_response(response, TO)

    assert (body["id"], body["model"], body["container"]) == ("msg_01", "claude-x", {"id": "c"})


def test_what_other_dialects_say_stands_beside_the_message() -> None:
    """Blocks that no SDK of Anthropic's knows would break strict readers inside the content."""
    foreign = Opaque("gemini", "executableCode", {"executableCode": {"code": "1"}})
    response = replace(
        answer(foreign, Text("Hi"), native={"gemini": {"safetyRatings": [1]}}),
        native={"openai_chat": {"system_fingerprint": "fp"}},
    )
    extra = {
        "openai_chat": {"system_fingerprint": "fp"},
        "gemini": {"safetyRatings": [1], "blocks": [foreign.value]},
    }

    body = render_response(response, TO)
    delta = next(event for event in frames_of(streamed(response)) if event["type"] == "message_delta")

    assert (body["content"], body["extra_content"]) == ([HI], extra)
    assert delta["extra_content"] == extra


def test_only_the_first_choice_is_told() -> None:
    first, second = Choice((Text("Hi"),), "stop"), Choice((Text("Ho"),), "stop", 1)
    response = Response("", "", 0, (first, second))

    assert render_response(response, TO)["content"] == accumulated(streamed(response))["content"] == [HI]


def test_a_rendered_answer_read_again_is_the_same() -> None:
    parts = (
        Thinking("Hm.", own(signature="SIG")),
        Text("Hi", native=own(citations=[CITATION])),
        Thinking("", own(redacted_data="D")),
        Opaque("anthropic", "web_search_tool_result", FOUND),
        replace(CALL, native=own(caller={"type": "direct"})),
    )
    response = Response(
        "msg_1", "claude-x", 0, (Choice(parts, "tool_calls", native=own(stop_reason="tool_use")),), Usage(9, 4)
    )

    again = parse_response(render_response(response, TO))

    assert replace(again, usage=None) == replace(response, usage=None)


# --- usage ---------------------------------------------------------------------------------------


def test_usage_counts_cached_tokens_apart() -> None:
    """WIRE 52, reversed."""
    usage = Usage(100, 20, cached_input_tokens=60, cache_write_tokens=30, reasoning_tokens=7)

    rendered = render_response(answer(Text("Hi"), usage=usage), TO)["usage"]

    assert rendered == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 60,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 7},
    }


def test_anthropics_own_usage_stays_whole() -> None:
    raw = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation": {"ephemeral_1h_input_tokens": 3, "ephemeral_5m_input_tokens": 0},
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 0,
        "service_tier": "standard",
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    }
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [HI], "usage": raw}

    assert render_response(parse_response({**whole, "stop_reason": "end_turn"}), TO)["usage"] == raw


def test_a_foreign_raw_usage_is_not_copied() -> None:
    raw = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_tokens_details": {}}

    assert set(render_response(answer(usage=Usage(1, 2, raw=raw)), TO)["usage"]) == set(COUNTED)


# --- streams -------------------------------------------------------------------------------------

START = Start("chatcmpl-1", "gpt-x", 9)


def stream_of(*events: Event) -> bytes:
    renderer = StreamRenderer(TO)
    return renderer.render(events) + renderer.close()


def test_message_start_tells_an_estimate_of_the_input() -> None:
    """WIRE 65: clients read the input tokens there; message_delta corrects them."""
    events = list(
        frames_of(
            stream_of(START, *list(replay(answer(Text("Hi"))))[1:], UsageReport(Usage(90, 3, cached_input_tokens=10)))
        )
    )

    assert events[0]["message"]["usage"]["input_tokens"] == 77
    assert events[-2]["usage"] == {
        "input_tokens": 80,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 10,
        "output_tokens": 3,
    }


def test_message_start_tells_what_the_vendor_has_told_by_then() -> None:
    events = list(frames_of(stream_of(START, UsageReport(Usage(90, 1)), PartStart(0, Text("")), PartDelta(0, "Hi"))))

    assert (events[0]["message"]["usage"]["input_tokens"], events[0]["message"]["usage"]["output_tokens"]) == (90, 1)


def test_parts_that_are_open_at_once_become_blocks_one_after_the_other() -> None:
    """WIRE 54, 67: the first streams live, the others are held and go out whole, in the order of their beginning."""
    renderer = StreamRenderer(TO)
    renderer.render([START])
    steps: list[tuple[Event, list[tuple[str, int]]]] = [
        (PartStart(0, replace(CALL, arguments="")), [("message_start", -1), ("content_block_start", 0)]),
        (PartStart(1, ToolCall("call_2", "weather", "")), []),
        (PartDelta(0, '{"city":'), [("content_block_delta", 0)]),
        (PartDelta(1, '{"city":"Rome"'), []),
        (PartStart(2, Text("")), []),
        (PartDelta(1, "}"), []),
        (PartEnd(1), []),
        (PartDelta(2, "Hi"), []),
        (PartDelta(0, '"Oslo"}'), [("content_block_delta", 0)]),
        (
            PartEnd(0),
            [
                ("content_block_stop", 0),
                ("content_block_start", 1),
                ("content_block_delta", 1),
                ("content_block_delta", 1),
                ("content_block_stop", 1),
                ("content_block_start", 2),
                ("content_block_delta", 2),
            ],
        ),
        (PartDelta(2, "!"), [("content_block_delta", 2)]),
        (PartEnd(2), [("content_block_stop", 2)]),
        (Finish("tool_calls"), []),
    ]
    told = b""
    for event, expected in steps:
        frames = renderer.render([event])
        told += frames

        assert [(frame["type"], frame.get("index", -1)) for frame in frames_of(frames)] == expected, event

    assert accumulated(told + renderer.close())["content"] == [
        USE,
        {**USE, "id": "call_2", "input": {"city": "Rome"}},
        block("text", text="Hi!"),
    ]


def test_arguments_go_out_as_they_come() -> None:
    renderer = StreamRenderer(TO)
    renderer.render([START, PartStart(0, replace(CALL, arguments=""))])

    pieces = [
        [event["delta"]["partial_json"] for event in frames_of(renderer.render([PartDelta(0, piece)]))]
        for piece in ('{"a', '": "x', "\n", '\\"', "\ny", '",', "\n", '"b": 1}')
    ]

    assert pieces == [['{"a'], ['": "x'], ["\\n"], ['\\"'], ["\\ny"], ['",'], ["\n"], ['"b": 1}']]


def test_cut_arguments_stay_cut_and_the_sdk_reads_them() -> None:
    """WIRE 49, as Anthropic's own streams do it."""
    stream = stream_of(
        START,
        PartStart(0, replace(CALL, arguments="")),
        PartDelta(0, '{"a":1,"city":"Os'),
        PartEnd(0),
        Finish("length"),
    )
    message = accumulated(stream)

    assert (message["content"][0]["input"], message["stop_reason"]) == ({"a": 1}, "max_tokens")


def test_signature_comes_before_the_thought_ends() -> None:
    """WIRE 57: a signature that is known only at the end."""
    stream = stream_of(
        START,
        PartStart(0, Thinking("")),
        PartDelta(0, "Hm."),
        PartEnd(0, native=own(signature="SIG")),
        Finish("stop"),
    )

    assert [event.get("delta", {}).get("type") for event in frames_of(stream)][1:5] == [
        None,
        "thinking_delta",
        "signature_delta",
        None,
    ]


def test_a_stream_without_finish_ends_properly_all_the_same() -> None:
    """WIRE 66: message_delta and message_stop come whatever happened, and open blocks are closed."""
    for events, reason in (
        ((START,), "end_turn"),
        ((), "end_turn"),
        ((START, PartStart(0, Text("")), PartDelta(0, "Hi"), PartStart(1, Text("")), PartDelta(1, "Ho")), "end_turn"),
        ((START, PartStart(0, CALL)), "tool_use"),
    ):
        stream = stream_of(*events)

        assert [event["type"] for event in frames_of(stream)][-2:] == ["message_delta", "message_stop"]
        assert accumulated(stream)["stop_reason"] == reason


def test_late_fields_of_the_answer_come_with_its_end() -> None:
    late = ResponseNative(own(container={"id": "c", "expires_at": "2026-01-01T00:00:00Z"}, context_management={}))

    delta = list(frames_of(stream_of(START, late, Finish("stop"))))[-2]

    assert delta["delta"]["container"]["id"] == "c"
    assert delta["context_management"] == {}


def test_a_failure_is_one_error_event() -> None:
    """WIRE 60: no message_stop follows."""
    renderer = StreamRenderer(TO)
    renderer.render([START, PartStart(0, Text("")), PartDelta(0, "Hi")])
    failure = Failure("overloaded", "busy", 503)

    assert renderer.render([failure]) == b""
    assert renderer.fail(failure) == (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    )


WORDS = st.text('ab"\\\n{}\u00e9', max_size=4)
PARTS = st.one_of(
    st.builds(Text, WORDS),
    st.builds(Thinking, WORDS, st.sampled_from([{}, own(signature="S"), {"gemini": {"thoughtSignature": "G"}}])),
    st.builds(Refusal, WORDS),
    st.builds(lambda words: replace(CALL, arguments=json.dumps({"x": words})), WORDS),
    st.just(Opaque("anthropic", "server_tool_use", SEARCH)),
    st.just(Opaque("gemini", "executableCode", {"x": 1})),
)


@given(
    st.lists(PARTS, max_size=5), st.sampled_from(["stop", "length", "tool_calls", "content_filter", None]), st.data()
)
def test_streamed_in_any_order_and_size_is_what_is_told_whole(
    parts: list[Part], reason: Any, data: st.DataObject
) -> None:
    response = answer(*parts, reason=reason, usage=Usage(9, 4))
    events = data.draw(interleaved(list(replay(response))))
    renderer = StreamRenderer(TO)

    stream = b"".join(renderer.render([event]) for event in events) + renderer.close()

    once = StreamRenderer(TO)
    assert stream == once.render(events) + once.close()
    content = accumulated(stream)["content"]
    assert content == plain(render_response(response, TO)["content"])


@st.composite
def interleaved(draw: st.DrawFn, events: list[Event]) -> list[Event]:
    """*events* with the parts begun in order but told at the same time, and their texts cut."""
    queues: dict[int, list[Event]] = {}
    ends: list[Event] = []
    for event in events[1:]:
        if isinstance(event, PartStart | PartDelta | PartEnd):
            queue = queues.setdefault(event.index, [])
            if isinstance(event, PartDelta) and len(event.text) > 1:
                at = draw(st.integers(1, len(event.text) - 1))
                queue.extend(
                    (replace(event, text=event.text[:at]), replace(event, text=event.text[at:], annotations=()))
                )
            else:
                queue.append(event)
        else:
            ends.append(event)
    begun = [queue.pop(0) for queue in queues.values()]
    told: list[Event] = []
    while waiting := [queue for queue in queues.values() if queue]:
        told.append(draw(st.sampled_from(waiting)).pop(0))
    return [events[0], *begun, *told, *ends]


def test_the_proxys_signature_is_recognised_whole_and_streamed() -> None:
    """WIRE 68."""
    response = answer(Thinking("Hm.", {"gemini": {"thoughtSignature": "G"}}))
    whole = render_response(response, TO)["content"][0]["signature"]

    assert unseal(whole) == {"gemini": {"thoughtSignature": "G"}}
    assert accumulated(streamed(response))["content"][0]["signature"] == whole


# --- errors and counts ---------------------------------------------------------------------------

ERRORS: dict[str, tuple[Failure, int, str]] = {
    "request": (Failure("invalid_request", "no", 400), 400, "invalid_request_error"),
    "key": (Failure("authentication", "no", 401), 401, "authentication_error"),
    "money": (Failure("billing", "no", 402), 402, "billing_error"),
    "right": (Failure("permission", "no", 403), 403, "permission_error"),
    "not found": (Failure("not_found", "no", 404), 404, "not_found_error"),
    "too large": (Failure("too_large", "no", 413), 413, "request_too_large"),
    "filter": (Failure("content_filter", "no", 400), 400, "invalid_request_error"),
    "rate": (Failure("rate_limit", "no", 429), 429, "rate_limit_error"),
    "server": (Failure("server", "no", 500), 500, "api_error"),
    "upstream": (Failure("connection", "no", 502), 502, "api_error"),
    "unreadable": (Failure("invalid_response", "no", 502), 502, "api_error"),
    "WIRE 61 overloaded": (Failure("overloaded", "no", 503), 503, "overloaded_error"),
    "WIRE 61 Anthropic's overloaded": (Failure("overloaded", "no", 529), 529, "overloaded_error"),
    "timeout": (Failure("timeout", "no", 504), 504, "timeout_error"),
    "our own key is at fault": (Failure("authentication", "no", 502), 502, "api_error"),
    "our own money is at fault": (Failure("billing", "no", 502), 502, "api_error"),
    "no status": (Failure("rate_limit", "no", 0), 429, "rate_limit_error"),
}


@pytest.mark.parametrize(("failure", "status", "error_type"), ERRORS.values(), ids=ERRORS)
def test_an_error_has_its_status_and_envelope(failure: Failure, status: int, error_type: str) -> None:
    """WIRE 133."""
    envelope = {"type": "error", "error": {"type": error_type, "message": "no"}, "request_id": "req_1"}

    assert render_error(failure, "req_1") == (status, envelope)
    assert raised(status, envelope).type == error_type


def test_a_prompt_that_is_too_long_says_so_in_the_words_that_agents_look_for() -> None:
    _, body = render_error(Failure("context_length", "maximum context length is 8192 tokens", 400), "")
    _, theirs = render_error(Failure("context_length", "Prompt is too long: 9 > 8", 400), "")

    assert body["error"]["message"] == "prompt is too long: maximum context length is 8192 tokens"
    assert theirs["error"]["message"] == "Prompt is too long: 9 > 8"
    assert body["request_id"] is None


def test_a_count_has_the_shape_of_the_dialect() -> None:
    """WIRE 69."""
    types = pytest.importorskip("anthropic.types")

    assert types.MessageTokensCount.model_validate(render_count(12)).input_tokens == 12
