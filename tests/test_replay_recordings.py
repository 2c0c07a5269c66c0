"""The judge of the recordings sees every kind of difference: it can fail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.replay_recordings import Case, Expected, Got, _read_stream, _read_whole, compare, expected_of

HEADERS = dict.fromkeys(("x-request-id", "x-modelport-target", "x-modelport-attempts", "x-modelport-cache"), "1")
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
    text += ': modelport {"cost_usd":null,"attempts":1,"losses":[]}\n\n' if receipt else ""
    return text + ("data: [DONE]\n\n" if done else "")


def case(**response: Any) -> Case:
    """A recorded stream of OpenRouter's, cut finely."""
    request = {"body": {"messages": [], "stream": True}}
    recording = {"api": "chat_completions", "provider": "openrouter", "stream": True, "request": request}
    return Case({**recording, "response": {"status": 200, **response}}, 7, "openrouter", "m")


def judged(text: str) -> list[str]:
    """What is wrong with *text* as the answer to the recording of GOOD."""
    got = Got(200, HEADERS)
    _read_stream(got, text.encode(), True)
    asked = case(sse=stream(GOOD))
    return compare(asked, expected_of(asked.recording), got)


def changed(at: int, **changes: Any) -> list[dict[str, Any]]:
    """GOOD with another chunk at one place."""
    return [{**value, **changes} if index == at else value for index, value in enumerate(GOOD)]


def test_the_same_is_right() -> None:
    assert judged(stream(GOOD)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (stream(GOOD, done=False), "last frame"),
        (stream(GOOD, receipt=False), "no receipt"),
        (stream(GOOD[1:]), "without its role"),
        (stream([*GOOD[:2], *GOOD[3:]]), "text differs"),
        (stream([GOOD[0], *GOOD[2:]]), "reasoning differs"),
        (stream([*GOOD[:3], *GOOD[4:]]), "calls []"),
        (stream([*GOOD[:4], GOOD[3], *GOOD[4:]]), "calls [('ff'"),
        (stream([*GOOD[:5], GOOD[4], GOOD[5]]), "finish reasons"),
        (stream([*GOOD[:4], GOOD[5]]), "finish reasons"),
        (stream(GOOD[:5]), "usage prompt_tokens None"),
        (stream(changed(2, id="y")), "id of the chunks"),
        (stream(changed(2, created="now")), "not a ChatCompletionChunk: created"),
        (stream(changed(4, choices=[{"index": 0, "delta": {}, "finish_reason": "eos"}])), "finish_reason"),
        (stream(changed(4, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])), "finish ['stop']"),
        (stream(changed(5, usage={**USAGE, "prompt_tokens": 6})), "usage prompt_tokens 6"),
        (stream([*GOOD[:2], {"error": {"message": "no"}}]), "status 200"),
    ],
)
def test_each_difference_is_seen(text: str, said: str) -> None:
    assert said in " | ".join(judged(text))


@pytest.mark.parametrize(
    ("upstream", "status", "right"),
    [(401, 502, True), (401, 401, False), (404, 404, True), (404, 502, False), (500, 503, True), (500, 400, False)],
)
def test_statuses(upstream: int, status: int, right: bool) -> None:
    """A refused key and a vendor's trouble are ours; a wrong request is the client's."""
    asked = case(status=upstream, body={"error": {"message": "gone"}})
    error = {"error": {"message": "gone", "type": "t", "param": None, "code": None}}
    got = Got(status, {**HEADERS, "x-should-retry": "false"}, error=error)

    assert (compare(asked, expected_of(asked.recording), got) == []) is right


def test_whole_answers_need_their_message() -> None:
    got = Got(200, HEADERS)
    _read_whole(got, {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []})

    assert compare(case(body={}), Expected(choices={}), got) == []
    with pytest.raises(KeyError):
        _read_whole(got, {"choices": [{"index": 0}]})
