"""Answers of llama-cpp-python: whole and streamed are one, whatever the text holds and wherever it is cut."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.assemble import collect
from translators.errors import BadAnswer
from translators.llamacpp import StreamParser, error_in, parse_error, parse_response
from translators.neutral import (
    Event,
    Failure,
    Finish,
    Part,
    PartDelta,
    Response,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    UsageReport,
)

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 5}}
HEAD = {"id": "chatcmpl-ab-12", "model": "tiny", "created": 7}
TOOLS = ["get_time", "get_date"]
OSLO = '{"city":"Oslo"}'


def hints(calls: str = "none", tools: list[str] | None = None, **more: Any) -> dict[str, Any]:
    constrained = calls in ("one", "named")
    return {"calls": calls, "tools": TOOLS if tools is None else tools, "constrained": constrained, **more}


def whole(text: str, given_hints: dict[str, Any], reason: str = "stop") -> Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": reason}
    return parse_response({**HEAD, "choices": [choice], "usage": USAGE, "modelport": given_hints})


def wire(texts: list[str], given_hints: dict[str, Any], reason: str = "stop") -> bytes:
    deltas: list[tuple[Any, Any]] = [({"role": "assistant"}, None), *(({"content": text}, None) for text in texts)]
    lines: list[dict[str, Any]] = [{"modelport": given_hints}]
    for delta, finish in [*deltas, ({}, reason)]:
        lines.append({**HEAD, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})
    lines.append({"usage": USAGE, "timings": {"predicted_n": 4}})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def read(stream: bytes, size: int = 1 << 20) -> list[Event]:
    parser = StreamParser()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    return [*(event for piece in pieces for event in parser.feed(piece)), *parser.close()]


def call(name: str, arguments: str = OSLO, number: int = 0) -> ToolCall:
    return ToolCall(f"call_12_{number}", name, arguments)


HERMES = '<tool_call>\n{"name": "get_time", "arguments": {"city": "Oslo"}}\n</tool_call>'
PLAIN = '{"name": "get_time", "parameters": {"city": "Oslo"}}'

AUTO: list[tuple[str, list[Part]]] = [
    ("Just text.", [Text("Just text.")]),
    (HERMES, [call("get_time")]),
    (f"Let me look.\n{HERMES}\n", [Text("Let me look."), call("get_time")]),
    (f"{HERMES}\n{HERMES}", [call("get_time"), call("get_time", number=1)]),
    (f"{HERMES}\nDone.", [call("get_time"), Text("Done.")]),
    (HERMES.removesuffix("</tool_call>"), [call("get_time")]),
    ('<tool_call>{"name": "unknown", "arguments": {}}</tool_call>', [call("unknown", "{}")]),
    ("<tool_call>no JSON</tool_call> and on", [Text("<tool_call>no JSON</tool_call> and on")]),
    ("<tool_call", [Text("<tool_call")]),
    ("a < b and <tool", [Text("a < b and <tool")]),
    (f"<|python_tag|>{PLAIN}", [call("get_time")]),
    (f"<|python_tag|>{PLAIN}; {PLAIN}", [call("get_time"), call("get_time", number=1)]),
    ('<|python_tag|>print("hi")', [Text('<|python_tag|>print("hi")')]),
    (f"[TOOL_CALLS][{PLAIN}, {PLAIN}]", [call("get_time"), call("get_time", number=1)]),
    (f"[TOOL_CALLS]get_time[ARGS]{OSLO}", [call("get_time")]),
    (f"[TOOL_CALLS]get_time{OSLO}[TOOL_CALLS]get_date{{}}", [call("get_time"), call("get_date", "{}", 1)]),
    (PLAIN, [call("get_time")]),
    (f"  {PLAIN}\n", [call("get_time")]),
    (f"[{PLAIN}]", [call("get_time")]),
    (f"{PLAIN}\n{PLAIN}", [call("get_time"), call("get_time", number=1)]),
    (f"```json\n{PLAIN}\n```", [call("get_time")]),
    (json.dumps({"type": "function", "function": {"name": "get_time", "arguments": OSLO}}), [call("get_time")]),
    ('{"function": "get_date", "parameters": {}}', [call("get_date", "{}")]),
    ('{"name": "get_date", "arguments": null}', [call("get_date", "{}")]),
    ('{"name": "unknown", "arguments": {}}', [Text('{"name": "unknown", "arguments": {}}')]),
    ('{"name": "get_time"}', [Text('{"name": "get_time"}')]),
    (f"{PLAIN} is a call.", [Text(f"{PLAIN} is a call.")]),
    ('{"name": "get_ti', [Text('{"name": "get_ti')]),
    ('{"city": "Oslo"}', [Text('{"city": "Oslo"}')]),
    ("[link](x) and more", [Text("[link](x) and more")]),
    ("<think>\nhm <tool_call>\n</think>\n\n" + HERMES, [Thinking("hm <tool_call>"), call("get_time")]),
    ("text with space \n", [Text("text with space \n")]),
    ("", []),
]


@pytest.mark.parametrize(("text", "parts"), AUTO)
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_calls_are_read_in_every_form_at_every_cut(text: str, parts: list[Part], size: int) -> None:
    """A finish of stop after calls becomes tool_calls (WIRE 120)."""
    texts = [text[start : start + size] for start in range(0, len(text), size)]
    has_calls = any(isinstance(part, ToolCall) for part in parts)

    streamed = collect(read(wire(texts, hints("auto"))))

    assert list(streamed.choices[0].parts) == parts
    assert streamed.choices[0].finish_reason == ("tool_calls" if has_calls else "stop")
    assert streamed == whole(text, hints("auto"))


@pytest.mark.parametrize(
    ("text", "given_hints", "reason", "parts", "finish"),
    [
        (HERMES, hints("none"), "stop", [Text(HERMES)], "stop"),
        (OSLO, hints("named", ["get_time"]), "stop", [call("get_time")], "tool_calls"),
        ('{"city":"Os', hints("named", ["get_time"]), "length", [call("get_time", '{"city":"Os')], "length"),
        ("", hints("named", ["get_time"]), "length", [call("get_time", "")], "length"),
        ('{"name":"get_date","arguments":{"a":1}}', hints("one"), "stop", [call("get_date", '{"a":1}')], "tool_calls"),
        ('{"name":"get_date","arguments":{"a"', hints("one"), "length", [call("get_date", '{"a"')], "length"),
        ('{"na', hints("one"), "length", [Text('{"na')], "length"),
        (f"{HERMES} and", hints("auto"), "length", [call("get_time"), Text("and")], "length"),
        ("hm</think>yes", hints(thinking=True), "stop", [Thinking("hm"), Text("yes")], "stop"),
        ("hm", hints(thinking=True), "length", [Thinking("hm")], "length"),
        ("<think>hm</think>yes", hints(), "stop", [Thinking("hm"), Text("yes")], "stop"),
        ('{"a":1}', {**hints(thinking=True), "constrained": True}, "stop", [Text('{"a":1}')], "stop"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_hints_say_how_the_text_is_read(
    text: str, given_hints: dict[str, Any], reason: str, parts: list[Part], finish: str, size: int
) -> None:
    texts = [text[start : start + size] for start in range(0, len(text), size)]

    answer = whole(text, given_hints, reason)

    assert (list(answer.choices[0].parts), answer.choices[0].finish_reason) == (parts, finish)
    assert collect(read(wire(texts, given_hints, reason))) == answer


@given(text=st.text(alphabet='<>|[]{}":, \n`abtool_calTOLCS/', max_size=60), cut=st.integers(1, 7))
def test_text_that_is_no_call_comes_out_as_it_went_in(text: str, cut: int) -> None:
    texts = [text[start : start + cut] for start in range(0, len(text), cut)]

    answer = collect(read(wire(texts, hints("auto"))))

    assert answer == whole(text, hints("auto"))
    assert "".join(part.text for part in answer.choices[0].parts if isinstance(part, Text)) == text


def test_plain_text_is_not_held_back() -> None:
    """Each delta arrives at once, but for a blank or a beginning that may belong to a call."""
    parser = StreamParser()
    said = [
        "".join(event.text for event in parser.feed(line + b"\n") if isinstance(event, PartDelta))
        for line in wire(["Hello", " there", ", a <", "b"], hints("auto")).splitlines()
    ]

    assert said[2:6] == ["Hello", " there", ", a", " <b"]


def test_arguments_of_a_named_call_are_streamed() -> None:
    events = read(wire(['{"city"', ':"Oslo"}'], hints("named", ["get_time"])))

    assert [event.text for event in events if isinstance(event, PartDelta)] == ['{"city"', ':"Oslo"}']


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_equal_bytes_give_equal_events_wherever_they_are_cut(size: int) -> None:
    stream = wire(["Grüße ", HERMES, " 😀"], hints("auto"))

    assert read(stream, size) == read(stream)


def test_start_finish_and_usage() -> None:
    events = read(wire(["Hi"], hints()))

    assert events[0] == Start("chatcmpl-ab-12", "tiny", 7)
    assert events[-2] == Finish("stop")
    report = events[-1]
    assert isinstance(report, UsageReport)
    assert (report.usage.input_tokens, report.usage.output_tokens, report.usage.cached_input_tokens) == (9, 4, 5)
    assert report.usage.raw == USAGE


def test_logprobs_come_with_the_text() -> None:
    entry = {"token": "Hi", "bytes": None, "logprob": -0.5, "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}
    chunk = {**HEAD, "choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [entry]}}]}
    end = {**HEAD, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]}

    answer = collect(read(json.dumps(chunk).encode() + b"\n" + json.dumps(end).encode()))

    assert answer.choices[0].logprobs == (TokenLogprob("Hi", -0.5, None, (TokenLogprob("Hi", -0.5),)),)


# --- what goes wrong ---------------------------------------------------------------------------------

ERROR = {"error": {"kind": "context_length", "message": "the prompt has 9 tokens", "status": 400, "code": "c"}}


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (b"", "invalid_response"),
        (wire(["Hi"], hints())[:-190], "invalid_response"),
        (b"{not json\n", "invalid_response"),
        (b"[]\n", "invalid_response"),
        (json.dumps(ERROR).encode() + b"\n", "context_length"),
        (wire(["Hi"], hints()).rsplit(b"\n", 3)[0] + b"\n" + json.dumps(ERROR).encode(), "context_length"),
    ],
    ids=["empty", "cut", "no JSON", "no object", "error first", "error later"],
)
def test_a_stream_that_fails_ends_in_one_failure(stream: bytes, kind: str) -> None:
    events = read(stream)

    assert isinstance(events[0], Start)
    assert [event.kind for event in events if isinstance(event, Failure)] == [kind]
    assert isinstance(events[-1], Failure)


def test_what_stands_after_the_end_is_no_failure() -> None:
    assert not any(isinstance(event, Failure) for event in read(wire(["Hi"], hints()) + b"garbage"))


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": None}]}])
def test_what_is_no_answer_is_said(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        parse_response(body)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, json.dumps(ERROR).encode(), "context_length", "the prompt has 9 tokens"),
        (500, b'{"error": "plain"}', "server", "plain"),
        (422, b"<html>", "invalid_request", "<html>"),
        (500, b"", "server", "the local model answered with status 500"),
        (500, b'{"error": {"kind": "odd", "message": "m"}}', "server", "m"),
    ],
)
def test_errors_become_failures(status: int, body: bytes, kind: str, message: str) -> None:
    failure = parse_error(status, body, {})

    assert (failure.kind, failure.message, failure.status) == (kind, message, status)


def test_an_error_with_status_200_has_the_status_it_names() -> None:
    """WIRE 126."""
    found = error_in(ERROR)

    assert found is not None
    assert (found.status, found.code) == (400, "c")
    assert error_in({"choices": []}) is None
    assert replace(found, raw=None) == Failure("context_length", "the prompt has 9 tokens", 400, "c")
