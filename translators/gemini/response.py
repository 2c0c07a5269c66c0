"""A whole answer of generateContent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from translators.assemble import collect
from translators.errors import BadAnswer
from translators.gemini.chunks import ChunkReader
from translators.neutral import Event, Response


def new_response_id() -> str:
    """An id for an answer that has none."""
    return f"gemini_{uuid4().hex}"


def parse_response(body: Mapping[str, Any] | list[Any], new_id: Callable[[], str] = new_response_id) -> Response:
    """The answer; a list is what streamGenerateContent sends without `alt=sse`.

    An answer with nothing that can be shown (MALFORMED_FUNCTION_CALL and the like) has a `failure`.

    Raises:
        BadAnswer: *body* has no candidates and no feedback, or is an error.
    """
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
