"""Event streams of the Responses API, at any cut."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from translators.assemble import collect
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
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from translators.openai_responses import StreamParser, parse_response
from translators.openai_responses.stream import EventReader

OWN = "openai_responses"
HEAD = {"id": "resp_1", "object": "response", "created_at": 1700000000, "model": "gpt-6-sol", "output": []}
USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}


def created() -> dict[str, Any]:
    return {"type": "response.created", "response": {**HEAD, "status": "in_progress"}}


def ended(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    response = {**HEAD, "status": status, "output": list(output), "usage": USAGE, **fields}
    return {"type": f"response.{status}", "response": response}


def added(item: dict[str, Any], at: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": at, "item": item}


def done(item: dict[str, Any], at: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": at, "item": item}


def about(kind: str, at: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": at, "item_id": "x", "content_index": 0, **fields}


def wire(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events)


def parsed(raw: bytes, *cuts: int) -> list[Event]:
    parser = StreamParser()
    events: list[Event] = []
    for begin, end in zip((0, *cuts), (*cuts, len(raw)), strict=True):
        events += parser.feed(raw[begin:end])
    return [*events, *parser.close()]


def parts(*events: dict[str, Any]) -> list[Part]:
    """What a whole stream of these events says; it must not have failed."""
    response = collect(parsed(wire(created(), *events)))
    assert response.failure is None
    return list(response.choices[0].parts)


MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "f",
    "arguments": "",
    "status": "in_progress",
}
CUSTOM = {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_2", "name": "c", "input": ""}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "early"}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}


def whole(item: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**item, "status": "completed", **fields}


def text_of(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], **fields}


SPOKEN = whole(MESSAGE, content=[text_of("Hello")], phase="final_answer")
CALLED = whole(CALL, arguments='{"a":1}')
THOUGHTS = [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}]
THOUGHT_THROUGH = {**THOUGHT, "summary": THOUGHTS, "encrypted_content": "late"}

TURN = [
    created(),
    {"type": "response.in_progress", "response": HEAD},
    added(THOUGHT, 0),
    about("reasoning_summary_part.added", 0, summary_index=0, part={"type": "summary_text", "text": ""}),
    about("reasoning_summary_text.delta", 0, summary_index=0, delta="One."),
    about("reasoning_summary_text.done", 0, summary_index=0, text="One."),
    about("reasoning_summary_text.delta", 0, summary_index=1, delta="Two"),
    about("reasoning_summary_text.delta", 0, summary_index=1, delta="."),
    done(THOUGHT_THROUGH, 0),
    added({**SEARCH, "status": "in_progress"}, 1),
    about("web_search_call.searching", 1),
    done(SEARCH, 1),
    added({**MESSAGE, "phase": "final_answer"}, 2),
    about("content_part.added", 2, part=text_of("")),
    about("output_text.delta", 2, delta="Hel", logprobs=[], obfuscation="xyz"),
    about("output_text.delta", 2, delta="lo ü"),
    about("output_text.done", 2, text="Hello ü"),
    about("content_part.done", 2, part=text_of("Hello ü")),
    done(whole(MESSAGE, content=[text_of("Hello ü")], phase="final_answer"), 2),
    added(CALL, 3),
    about("function_call_arguments.delta", 3, delta='{"a"'),
    added(CUSTOM, 4),
    about("custom_tool_call_input.delta", 4, delta="raw"),
    about("function_call_arguments.delta", 3, delta=":1}"),
    about("function_call_arguments.done", 3, arguments='{"a":1}'),
    done(CALLED, 3),
    done(whole(CUSTOM, input="raw"), 4),
    ended(
        THOUGHT_THROUGH,
        SEARCH,
        whole(MESSAGE, content=[text_of("Hello ü")], phase="final_answer"),
        CALLED,
        whole(CUSTOM, input="raw"),
        service_tier="default",
    ),
]


def test_a_stream_says_what_the_whole_answer_says() -> None:
    """WIRE 113: calls are told apart by their order, ids are `call_id`s."""
    response = collect(parsed(wire(*TURN)))

    assert response == parse_response(TURN[-1]["response"])
    assert [type(part) for part in response.choices[0].parts] == [Thinking, Opaque, Text, ToolCall, ToolCall]
    assert isinstance(thought := response.choices[0].parts[0], Thinking)
    assert thought.text == "One.\n\nTwo."
    assert response.choices[0].finish_reason == "tool_calls"
    assert response.usage == Usage(5, 2, raw=USAGE)


def test_the_events_are_in_order_and_no_index_comes_twice() -> None:
    events = parsed(wire(*TURN))

    assert isinstance(events[0], Start)
    assert [event.index for event in events if isinstance(event, PartStart)] == [0, 1, 2, 3, 4]
    assert sorted(event.index for event in events if isinstance(event, PartEnd)) == [0, 1, 2, 3, 4]
    assert isinstance(events[-1], Finish)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(wire(*TURN))), max_size=12).map(sorted))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts: list[int]) -> None:
    assert parsed(wire(*TURN), *cuts) == parsed(wire(*TURN))


@pytest.mark.parametrize(
    "events",
    [
        [added(MESSAGE), done(SPOKEN), ended(SPOKEN)],
        [done(SPOKEN), ended()],
        [ended(SPOKEN)],
        [added(MESSAGE), about("output_text.done", text="Hello"), done(SPOKEN), ended(SPOKEN)],
        [added(MESSAGE), about("output_text.delta", delta="Hel"), ended(SPOKEN)],
        [about("output_text.delta", delta="Hello"), done(SPOKEN), ended(SPOKEN)],
    ],
)
def test_a_text_may_come_in_any_event(events: list[dict[str, Any]]) -> None:
    assert parts(*events) == [Text("Hello", native={OWN: {"id": "msg_1", "phase": "final_answer"}})]


@pytest.mark.parametrize(
    "events",
    [
        [added(THOUGHT), done(THOUGHT_THROUGH), ended(THOUGHT_THROUGH)],
        [ended(THOUGHT_THROUGH)],
        [
            added(THOUGHT),
            about("reasoning_summary_text.delta", summary_index=0, delta="O"),
            done(THOUGHT_THROUGH),
            ended(),
        ],
    ],
)
def test_a_finished_item_may_be_all_that_tells_the_reasoning(events: list[dict[str, Any]]) -> None:
    """WIRE 115."""
    native = {"id": "rs_1", "summary": THOUGHTS, "encrypted_content": "late"}

    assert parts(*events) == [Thinking("One.\n\nTwo.", {OWN: native})]


@pytest.mark.parametrize(
    "events",
    [
        [added(CALL), done(CALLED), ended(CALLED)],
        [ended(CALLED)],
        [added(CALL), about("function_call_arguments.done", arguments='{"a":1}'), ended(CALLED)],
        [added({**CALL, "arguments": '{"a":1}'}), done(CALLED), ended()],
    ],
)
def test_a_calls_arguments_may_come_whole(events: list[dict[str, Any]]) -> None:
    assert parts(*events) == [ToolCall("call_1", "f", '{"a":1}', native={OWN: {"id": "fc_1"}})]


def test_reasoning_without_a_summary_is_its_text() -> None:
    """Open-weight models (gpt-oss behind vLLM) stream the reasoning itself."""
    content = [{"type": "reasoning_text", "text": "Hm."}]
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "content": content}
    found = parts(
        added({**item, "content": []}),
        about("content_part.added", part={"type": "reasoning_text", "text": ""}),
        about("reasoning_text.delta", delta="Hm"),
        about("reasoning_text.done", text="Hm."),
        done(item),
        ended(item),
    )

    assert found == [Thinking("Hm.", {OWN: {"id": "rs_1", "summary": [], "content": content}})]


def test_a_refusal_is_a_refusal() -> None:
    item = whole(MESSAGE, content=[{"type": "refusal", "refusal": "No, sorry."}])
    found = parts(
        added(MESSAGE),
        about("refusal.delta", delta="No, "),
        about("refusal.delta", delta="sorry"),
        about("refusal.done", refusal="No, sorry."),
        done(item),
        ended(item),
    )

    assert found == [Refusal("No, sorry.", {OWN: {"id": "msg_1"}})]


def test_citations_come_once_whether_streamed_or_not() -> None:
    citation = {"type": "url_citation", "start_index": 0, "end_index": 2, "title": "t", "url": "https://example.com"}
    file = {"type": "file_citation", "file_id": "f", "filename": "a", "index": 1}
    item = whole(MESSAGE, content=[text_of("Hello", annotations=[citation, file])])
    streamed = about("output_text.annotation.added", annotation=citation, annotation_index=0)
    nested = {"type": "url_citation", "url_citation": {k: v for k, v in citation.items() if k != "type"}}

    for events in ([streamed], []):
        found = parts(added(MESSAGE), about("output_text.delta", delta="Hello"), *events, done(item), ended(item))
        assert found == [Text("Hello", (nested, file), {OWN: {"id": "msg_1"}})]


def test_log_probabilities_come_once() -> None:
    entry = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    item = whole(MESSAGE, content=[text_of("Hi", logprobs=[entry])])
    streamed = about("output_text.delta", delta="Hi", logprobs=[entry])

    for events in ([streamed], []):
        response = collect(parsed(wire(created(), added(MESSAGE), *events, done(item), ended(item))))
        assert response == parse_response(ended(item)["response"])
        assert len(response.choices[0].logprobs or ()) == 1


def test_items_may_overlap_and_change_their_ids() -> None:
    """OpenRouter opens reasoning while the message still speaks; Copilot's ids differ from event to event."""
    found = parts(
        added(MESSAGE, 0),
        about("output_text.delta", 0, delta="Hel", item_id="a"),
        added(THOUGHT, 1),
        about("output_text.delta", 0, delta="lo", item_id="b"),
        done({**SPOKEN, "id": "msg_9"}, 0),
        done(THOUGHT_THROUGH, 1),
        ended({**SPOKEN, "id": "msg_10"}, {**THOUGHT_THROUGH, "id": "rs_10"}),
    )

    assert [part.text for part in found if isinstance(part, Text | Thinking)] == ["Hello", "One.\n\nTwo."]
    assert len(found) == 2


def test_items_without_an_index_are_known_by_their_ids() -> None:
    def bare(event: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in event.items() if name not in ("output_index", "content_index")}

    found = parts(
        bare(added(MESSAGE)),
        bare(about("output_text.delta", delta="Hel", item_id="msg_1")),
        bare(about("output_text.delta", delta="lo", item_id="msg_1")),
        bare(done(SPOKEN)),
        ended(SPOKEN),
    )

    assert [part.text for part in found if isinstance(part, Text)] == ["Hello"]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("word", "reason"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("brand_new", "length")],
)
def test_an_incomplete_answer_keeps_what_came_and_its_usage(word: str, reason: str) -> None:
    """WIRE 114: arguments that were cut stay as they are."""
    cut = {**CALL, "arguments": '{"a', "status": "incomplete"}
    events = [added(CALL), about("function_call_arguments.delta", delta='{"a')]
    terminal = ended(cut, status="incomplete", incomplete_details={"reason": word})
    response = collect(parsed(wire(created(), *events, terminal)))

    assert response.choices[0].finish_reason == reason
    assert response.usage is not None
    assert isinstance(call := response.choices[0].parts[0], ToolCall)
    assert call.arguments == '{"a'


@pytest.mark.parametrize(
    ("event", "kind", "status", "words"),
    [
        (
            {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None},
            "rate_limit",
            429,
            "slow down",
        ),
        ({"type": "error", "error": {"code": "server_error", "message": "oops"}}, "server", 500, "oops"),
        (
            ended(status="failed", error={"code": "invalid_prompt", "message": "flagged"}),
            "content_filter",
            400,
            "flagged",
        ),
        (ended(status="failed", error=None), "server", 502, "without a reason"),
        ({"type": "response.failed"}, "server", 502, "without a reason"),
        ({"type": "response.completed", "response": {**HEAD, "status": "cancelled"}}, "server", 502, "cancelled"),
    ],
)
def test_an_error_ends_the_stream(event: dict[str, Any], kind: str, status: int, words: str) -> None:
    """WIRE 115: nothing follows it, not even a second error."""
    events = parsed(wire(created(), added(MESSAGE), about("output_text.delta", delta="Hel"), event, ended(SPOKEN)))

    assert isinstance(failure := events[-1], Failure)
    assert (failure.kind, failure.status) == (kind, status)
    assert words in failure.message
    assert sum(isinstance(found, Failure | Finish) for found in events) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        wire(created()),
        wire(*TURN[:-1]),
        wire(*TURN)[:-40],
        wire(*TURN[:15]) + b"data: [DONE]\n\n",
        wire(created()) + b"data: {nonsense\n\n",
        wire(created()) + b'data: ["a"]\n\n',
    ],
)
def test_a_stream_that_was_cut_is_a_failure(raw: bytes) -> None:
    assert isinstance(failure := parsed(raw)[-1], Failure)
    assert (failure.kind, failure.status) == ("invalid_response", 502)


def test_comments_unknown_events_and_the_done_mark_say_nothing() -> None:
    unknown = {"type": "response.brand_new.delta", "output_index": 0, "delta": "?"}
    foreign = {"type": "ping"}
    raw = b": keep-alive\n\n" + wire(created(), unknown, foreign, ended(SPOKEN)) + b": end\n\ndata: [DONE]\n\n"

    assert parsed(raw) == parsed(wire(created(), ended(SPOKEN)))


def test_a_server_that_does_not_stream_after_all_is_read() -> None:
    response = ended(SPOKEN)["response"]

    assert collect(parsed(orjson.dumps(response))) == parse_response(response)
    assert isinstance(parsed(b'{"error": {"message": "no", "code": "server_error"}}')[-1], Failure)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "type", "id"]), inner, max_size=2)
    ),
    max_leaves=4,
)
KINDS = sorted({event["type"] for event in TURN} | {"response.refusal.done", "response.output_text.annotation.added"})
FIELDS = [
    "output_index",
    "content_index",
    "summary_index",
    "item",
    "item_id",
    "delta",
    "text",
    "part",
    "response",
    "arguments",
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5)), max_size=6)
)
def test_nothing_that_a_server_may_send_raises(events: list[tuple[str, dict[str, Any]]]) -> None:
    reader = EventReader()
    found: list[Event] = []
    for kind, fields in [("response.created", {}), *events]:
        found += reader.read({"type": kind, **fields})
    found += reader.close()

    assert isinstance(found[-1], Finish | Failure)
    assert len({event.index for event in found if isinstance(event, PartStart)}) == sum(
        isinstance(event, PartStart) for event in found
    )
    started: set[int] = set()
    for event in found:
        if isinstance(event, PartStart):
            started.add(event.index)
        elif isinstance(event, PartDelta | PartEnd):
            assert event.index in started
        if isinstance(event, PartEnd):
            started.remove(event.index)
