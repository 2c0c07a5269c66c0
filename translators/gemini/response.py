"""A whole answer of generateContent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

from translators.assemble import collect
from translators.errors import BadAnswer
from translators.gemini.chunks import ChunkReader, start_of, usage_in
from translators.gemini.finish import finish_reason
from translators.neutral import Choice, Event, Response, Text

_PLAIN_ENDS: Final = frozenset({"STOP", "MAX_TOKENS"})
_PLAIN_ANSWER: Final = frozenset(
    {"candidates", "usageMetadata", "modelVersion", "responseId", "createTime", "modelStatus"}
)
_PLAIN_CANDIDATE: Final = frozenset({"content", "finishReason", "index"})
_PLAIN_CONTENT: Final = frozenset({"parts", "role"})


def new_response_id() -> str:
    """An id for an answer that has none."""
    return f"gemini_{uuid4().hex}"


def parse_response(body: Mapping[str, Any] | list[Any], new_id: Callable[[], str] = new_response_id) -> Response:
    """The answer; a list is what streamGenerateContent sends without `alt=sse`.

    An answer with nothing that can be shown (MALFORMED_FUNCTION_CALL and the like) has a `failure`.

    Raises:
        BadAnswer: *body* has no candidates and no feedback, or is an error.
    """
    if isinstance(body, dict) and (plain := _plain_answer(body, new_id)) is not None:
        return plain
    chunks = body if isinstance(body, list) else [body]
    if not any(
        isinstance(chunk, dict) and (chunk.get("candidates") or chunk.get("promptFeedback")) for chunk in chunks
    ):
        raise BadAnswer("Gemini's answer has neither candidates nor promptFeedback")
    reader = ChunkReader(new_id)
    events: list[Event] = []
    for chunk in chunks:
        events.extend(reader.chunk(chunk))
    events.extend(reader.end(whole=True))
    return collect(events)


def _plain_answer(body: Mapping[str, Any], new_id: Callable[[], str]) -> Response | None:
    """An answer of one text and nothing else, as most are; None of any other."""
    candidates = body.get("candidates")
    candidate = candidates[0] if isinstance(candidates, list) and len(candidates) == 1 else None
    if not isinstance(candidate, dict) or not _PLAIN_CANDIDATE.issuperset(candidate):
        return None
    content, ended, index = candidate.get("content"), candidate.get("finishReason"), candidate.get("index", 0)
    parts = content.get("parts") if isinstance(content, dict) and _PLAIN_CONTENT.issuperset(content) else None
    part = parts[0] if isinstance(parts, list) and len(parts) == 1 else None
    text = part.get("text") if isinstance(part, dict) and len(part) == 1 else None
    if not isinstance(text, str) or not text or not _PLAIN_ANSWER.issuperset(body):
        return None
    if not isinstance(ended, str) or ended not in _PLAIN_ENDS or type(index) is not int:
        return None
    begin = start_of(body, new_id)
    choice = Choice(
        (Text(text),), finish_reason(ended, called=False), index, native={"gemini": {"finishReason": ended}}
    )
    return Response(begin.id, begin.model, begin.created, (choice,), usage_in(body), native=begin.native)
