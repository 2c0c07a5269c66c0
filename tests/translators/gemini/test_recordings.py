"""Every recorded Gemini answer comes out of the parser with the words, calls, finish and usage that were sent."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from translators.assemble import collect, replay
from translators.gemini import StreamParser, error_in, parse_error, parse_response
from translators.neutral import Failure, Response, Start, Text, Thinking, ToolCall

SHARED = Path(os.environ.get("MODELPORT_SHARED") or Path(__file__).resolve().parents[4] / "shared")
FOLDERS = ("gemini", "vertex")
COUNTS = ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
NO_ANSWER = "gemini-generate-content-json-prism-2f7e05"
"""Catalogued as an answer, but it is a cachedContents object."""


def _recordings(form: str) -> list[Any]:
    paths = [
        path for name in FOLDERS for path in sorted((SHARED / "recordings" / name).glob(f"*-generate-content-{form}"))
    ]
    return [pytest.param(path, id=path.stem) for path in paths] or [
        pytest.param(None, marks=pytest.mark.skip("no recordings here"))
    ]


@cache
def _load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())["response"])


def _chunks(answer: dict[str, Any]) -> list[dict[str, Any]]:
    if "sse" in answer:
        return [json.loads(line[5:]) for line in answer["sse"].splitlines() if line.startswith("data:")]
    return answer["body"] if isinstance(answer["body"], list) else [answer["body"]]


def _raw_parts(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        part
        for chunk in _chunks(answer)
        for candidate in chunk.get("candidates") or ()
        for part in (candidate.get("content") or {}).get("parts") or ()
    ]


def _facts(answer: dict[str, Any]) -> dict[str, Any]:
    """What was sent, read straight from the recording."""
    parts = _raw_parts(answer)
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    finish = [c.get("finishReason") for chunk in _chunks(answer) for c in chunk.get("candidates") or ()]
    last = next((reason for reason in reversed(finish) if reason), "STOP")
    usage: dict[str, Any] = {}
    for chunk in _chunks(answer):
        usage |= chunk.get("usageMetadata") or {}
    # Some recorders took the total out.
    total = usage.get("totalTokenCount") or sum(usage.get(name) or 0 for name in COUNTS)
    return {
        "text": "".join(part["text"] for part in parts if "text" in part and not part.get("thought")),
        "thinking": "".join(part["text"] for part in parts if "text" in part and part.get("thought")),
        "calls": [(call["name"], call.get("args") or {}) for call in calls],
        "signatures": [part["thoughtSignature"] for part in parts if "thoughtSignature" in part],
        "finish": "tool_calls" if calls and last in ("STOP", 1) else {"MAX_TOKENS": "length"}.get(last, "stop"),
        "total": total if usage else None,
    }


def _found(response: Response) -> dict[str, Any]:
    parts = [part for choice in response.choices for part in choice.parts]
    calls = [part for part in parts if isinstance(part, ToolCall)]
    natives = [getattr(part, "native", {}).get("gemini", {}) for part in parts]
    usage = response.usage
    return {
        "text": "".join(part.text for part in parts if isinstance(part, Text)),
        "thinking": "".join(part.text for part in parts if isinstance(part, Thinking)),
        "calls": [(call.name, json.loads(call.arguments)) for call in calls],
        "signatures": [native["thoughtSignature"] for native in natives if "thoughtSignature" in native],
        "finish": response.choices[0].finish_reason,
        "total": usage.input_tokens + usage.output_tokens if usage else None,
    }


def _stream(path: Path, step: int) -> Response:
    answer = _load(path)
    sent = answer["sse"].encode() if "sse" in answer else json.dumps(answer["body"], indent=1).encode()
    parser = StreamParser(new_id=lambda: "made-up")
    events = [event for at in range(0, len(sent), step) for event in parser.feed(sent[at : at + step])]
    events.extend(parser.close())
    assert [type(event) for event in events].count(Start) == 1
    assert isinstance(events[0], Start)
    return collect(events)


STREAMS = [*_recordings("sse-*.json"), *(p for p in _recordings("json-*.json") if "stream" in str(p.id))]
WHOLE = [param for param in _recordings("json-*.json") if "stream" not in str(param.id) and param.id != NO_ANSWER]
ERRORS = _recordings("err*.json")


@pytest.mark.parametrize("path", STREAMS)
def test_a_recorded_stream_keeps_all_that_was_sent(path: Path) -> None:
    response = _stream(path, 1 << 30)

    if not _raw_parts(_load(path)):
        assert response.failure is not None
        assert response.failure.kind == "invalid_response"
    else:
        assert response.failure is None
        assert _found(response) == _facts(_load(path))


@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("path", STREAMS)
def test_the_cut_of_a_recorded_stream_does_not_matter(path: Path, step: int) -> None:
    assert _stream(path, step) == _stream(path, 1 << 30)


@pytest.mark.parametrize("path", WHOLE)
def test_a_recorded_answer_keeps_all_that_was_sent(path: Path) -> None:
    body = _load(path)["body"]
    response = parse_response(body)

    if "MALFORMED" in json.dumps(body):
        assert response.failure == error_in(body)
        assert response.failure is not None
    else:
        assert error_in(body) is None
        assert _found(response) == _facts(_load(path))
    assert collect(replay(response)) == response


@pytest.mark.parametrize("path", WHOLE)
def test_ids_of_calls_are_unique_and_the_same_each_time(path: Path) -> None:
    first, again = (parse_response(_load(path)["body"], lambda: "x") for _ in range(2))
    ids = [part.id for choice in first.choices for part in choice.parts if isinstance(part, ToolCall)]

    assert first == again
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("path", ERRORS)
def test_a_recorded_error_has_its_kind(path: Path) -> None:
    answer = _load(path)
    failure = parse_error(answer["status"], json.dumps(answer["body"]).encode(), answer.get("headers") or {})
    message = answer["body"]["error"]["message"]
    kind = {404: "not_found", 429: "rate_limit"}.get(answer["status"], "authentication")

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.message) == (kind, message)
    assert failure.status == (401 if kind == "authentication" else answer["status"])
