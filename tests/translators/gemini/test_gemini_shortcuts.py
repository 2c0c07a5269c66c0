"""Common shapes are read on a short way, which gives what the long one does. A field of `null` sends them there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.assemble import collect
from translators.dialect import Rules
from translators.errors import BadRequest
from translators.gemini import StreamParser, parse_response, render_request
from translators.gemini.client import parse_request
from translators.neutral import Message, Request, Text, ToolCall, ToolResult

NAMES = st.sampled_from(["f", "g", "weather"])
IDS = st.none() | st.sampled_from(["a1", "b2"])
ARGS = st.dictionaries(st.sampled_from("ab"), st.integers(0, 3) | st.text("xy", max_size=2), max_size=2)
TEXTS = st.builds(lambda text: {"text": text}, st.text("ab ", max_size=3))
TOLD = ARGS | st.builds(lambda text: {"output": text}, st.text("{ab", max_size=3)) | st.just({"error": "no"})


def _with_id(value: dict[str, Any], call_id: str | None) -> dict[str, Any]:
    return value if call_id is None else {"id": call_id, **value}


CALLS = st.builds(lambda i, name, args: {"functionCall": _with_id({"name": name, "args": args}, i)}, IDS, NAMES, ARGS)
RESULTS = st.builds(
    lambda i, name, told: {"functionResponse": _with_id({"name": name, "response": told}, i)}, IDS, NAMES, TOLD
)
CONTENTS = st.lists(
    st.builds(
        lambda role, parts: {"role": role, "parts": parts},
        st.sampled_from(["user", "model"]),
        st.lists(TEXTS | CALLS | RESULTS, max_size=4),
    ),
    min_size=1,
    max_size=5,
)
DECLARATIONS = st.lists(
    st.builds(
        lambda name, text: {"name": name, "description": text, "parametersJsonSchema": {"type": "object"}},
        NAMES,
        st.text("ab", max_size=2),
    ),
    max_size=3,
)


def _long(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "parts": [{**part, "later": None} for part in content["parts"]], "later": None}


@given(CONTENTS, DECLARATIONS, TEXTS)
def test_a_request_reads_the_same_on_both_ways(contents: list[Any], functions: list[Any], system: Any) -> None:
    instruction = {"parts": [system]}
    short = {
        "systemInstruction": instruction,
        "contents": contents,
        "tools": [{"functionDeclarations": functions}],
    }
    long = {
        "systemInstruction": _long(instruction),
        "contents": [_long(content) for content in contents],
        "tools": [{"functionDeclarations": [{**each, "behavior": None} for each in functions]}],
    }

    found, expected = (parse_request(body, "m", stream=False) for body in (short, long))
    assert found == expected
    assert _places(found) == _places(expected)


def _places(request: Request) -> list[str]:
    inner = [part for message in request.messages for part in message.parts]
    results = [part for result in inner if isinstance(result, ToolResult) for part in result.parts]
    return [part.place for part in (*request.messages, *inner, *results, *request.tools)]


@pytest.mark.parametrize(
    "content",
    [
        {"role": "user", "parts": [{"functionCall": {"name": 1, "args": {}}}]},
        {"role": "user", "parts": [{"functionCall": {"name": "f", "args": []}}]},
        {"role": "user", "parts": [{"functionCall": {"name": "f", "id": 1, "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": "text"}}]},
        {"role": "user", "parts": [{"text": 1}]},
        {"role": "user", "parts": [None]},
        {"role": "user", "parts": "hi"},
        {"role": "someone", "parts": [{"text": "hi"}]},
        {"role": {}, "parts": [{"text": "hi"}]},
        {"role": "user", "parts": [{}]},
    ],
)
def test_what_is_wrong_is_named_the_same_on_both_ways(content: dict[str, Any]) -> None:
    told = []
    for each in (content, {**content, "later": None}):
        with pytest.raises(BadRequest, match=r"contents\[0\]") as wrong:
            parse_request({"contents": [each]}, "m", stream=False)
        told.append(str(wrong.value))

    assert told[0] == told[1]


USAGE = {"promptTokenCount": 4, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "totalTokenCount": 7}


@pytest.mark.parametrize("finish", ["STOP", "MAX_TOKENS", "SAFETY", "NEW_ONE"])
@pytest.mark.parametrize("text", ["Hello", ""])
@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"usageMetadata": USAGE, "modelVersion": "m-1", "createTime": "2026-11-21T00:00:00Z", "modelStatus": {"a": 1}},
    ],
)
def test_an_answer_reads_the_same_on_both_ways(beside: dict[str, Any], text: str, finish: str) -> None:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": finish, "index": 1}
    answers = [
        parse_response({"candidates": [each], "responseId": "r-1", **beside})
        for each in (candidate, {**candidate, "safetyRatings": None})
    ]

    assert answers[0] == answers[1]


def test_an_answer_without_an_id_gets_one_on_the_short_way() -> None:
    body = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}

    assert parse_response(body, lambda: "made").id == "made"


@given(st.lists(TEXTS | st.just({"text": "t", "thought": True}) | st.just({"text": "", "thoughtSignature": "s"})))
def test_a_stream_reads_the_same_on_both_ways(parts: list[dict[str, Any]]) -> None:
    def events(*, long: bool) -> list[Any]:
        parser = StreamParser(Rules(dialect="gemini"), lambda: "r-1")
        found = []
        for part in parts:
            told = {**part, "partMetadata": None} if long else part
            chunk = {"candidates": [{"content": {"parts": [told], "role": "model"}, "index": 0}]}
            found.extend(parser.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n"))
        return [*found, *parser.feed(b'data: {"candidates":[{"finishReason":"STOP"}]}\n\n'), *parser.close()]

    assert events(long=False) == events(long=True)


@given(st.lists(st.text("ab ", min_size=1, max_size=3), min_size=1, max_size=3))
def test_texts_are_rendered_the_same_on_both_ways(texts: list[str]) -> None:
    """A text with an empty note for Gemini says no more than one without."""
    bodies = []
    for native in ({}, {"gemini": {}}):
        said = tuple(Text(text, native=native) for text in texts)
        call = Message("assistant", (ToolCall("c1", "f", "{}"),))
        result = Message("tool", (ToolResult("c1", said),))
        request = Request("openai_chat", "m", (Message("user", said), call, result))
        bodies.append(render_request(request, Rules(dialect="gemini", thinking="level")))

    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    "candidate",
    [
        None,
        {},
        {"content": None, "finishReason": "STOP"},
        {"content": {"parts": None}, "finishReason": "STOP"},
        {"content": {"parts": [None]}, "finishReason": "STOP"},
        {"content": {"parts": [{"text": None}]}, "finishReason": "STOP"},
        {"content": {"parts": [{"text": "a"}]}, "finishReason": ["STOP"]},
        {"content": {"parts": [{"text": "a"}]}, "finishReason": 1, "index": "0"},
        {"content": {"parts": [{"text": "a"}]}},
    ],
)
def test_an_odd_answer_takes_the_long_way(candidate: Any) -> None:
    """A stream knows no short one."""
    body = {"candidates": [candidate], "responseId": "r-1"}
    parser = StreamParser(Rules(dialect="gemini"), lambda: "r-1")
    streamed = collect([*parser.feed(b"data: " + json.dumps(body).encode() + b"\n\n"), *parser.close()])

    if streamed.failure is None:
        assert parse_response(body) == streamed
