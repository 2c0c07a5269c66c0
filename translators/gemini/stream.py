"""The stream of streamGenerateContent: SSE with `alt=sse`, one JSON array without it.

An error before the first chunk may come as a bare JSON object, under whatever content type.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from translators.codec import JsonError, loads
from translators.dialect import Rules
from translators.gemini.chunks import ChunkReader
from translators.gemini.response import new_response_id
from translators.neutral import Event, Failure
from translators.sse import MAX_EVENT_BYTES, SseDecoder, SseError, SseEvent

_MARK: Final = re.compile(rb'["{}\\]')
_BLANK: Final = b" \t\r\n"


class JsonArrayDecoder:
    """Pieces of `[{...},\\r\\n{...}]`, or of a lone `{...}`, to the bytes of each object."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._start = 0
        self._in_string = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The objects that *piece* completes.

        Raises:
            SseError: an object grows beyond MAX_EVENT_BYTES.
        """
        self._buffer += piece
        found: list[bytes] = []
        at = self._scanned
        while (mark := _MARK.search(self._buffer, at)) is not None:
            at = mark.end()
            match mark.group():
                case b"\\":
                    if at == len(self._buffer):
                        # The escaped byte has not come yet.
                        at -= 1
                        break
                    at += 1
                case b'"':
                    self._in_string = not self._in_string
                case b"{" if not self._in_string:
                    if self._depth == 0:
                        self._start = at - 1
                    self._depth += 1
                case b"}" if not self._in_string and self._depth:
                    self._depth -= 1
                    if self._depth == 0:
                        found.append(bytes(self._buffer[self._start : at]))
                        self._start = at
                case _:
                    pass
        else:
            at = max(at, len(self._buffer))
        done = self._start if self._depth else at
        del self._buffer[:done]
        self._scanned, self._start = at - done, 0
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise SseError(f"an object of more than {MAX_EVENT_BYTES} bytes")
        return found

    @property
    def inside(self) -> bool:
        """Whether an object has begun and not ended."""
        return self._depth > 0


class Documents:
    """Pieces of a stream, whichever its form, to the JSON texts in it.

    Each comes as an SSE event; of an array's object *raw* is empty. A block of comments has no data.
    """

    def __init__(self) -> None:
        self._head = b""
        self._sse: SseDecoder | None = None
        self._array: JsonArrayDecoder | None = None

    def feed(self, piece: bytes) -> list[SseEvent]:
        """The documents that *piece* completes.

        Raises:
            SseError: a document grows beyond MAX_EVENT_BYTES.
        """
        if self._sse is None and self._array is None:
            self._head += piece
            first = self._head.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)[:1]
            if not first or (len(self._head) < 3 and b"\xef\xbb\xbf".startswith(self._head)):
                # Blanks before the first byte say nothing, however many there are.
                self._head = self._head.rstrip(_BLANK)
                return []
            if first in b"[{":
                self._array = JsonArrayDecoder()
            else:
                self._sse = SseDecoder()
            piece, self._head = self._head, b""
        if self._sse is not None:
            return self._sse.feed(piece)
        return [SseEvent("", found, b"") for found in self._array.feed(piece)] if self._array is not None else []

    def close(self) -> list[SseEvent]:
        """What was left when the stream ended without its last blank line."""
        return self._sse.close() if self._sse is not None else []

    @property
    def cut(self) -> bool:
        """Whether the stream stopped inside an object of an array."""
        return self._array is not None and self._array.inside


def chunks_of(document: bytes) -> list[Any]:
    """The decoded objects in one document: one, none in blanks and `[DONE]`, several in an array.

    Raises:
        JsonError: it is not JSON.
    """
    text = document.strip()
    if not text or text == b"[DONE]":
        return []
    value = loads(text)
    return value if isinstance(value, list) else [value]


class StreamParser:
    """Bytes of Gemini's stream to events."""

    def __init__(self, rules: Rules = Rules(), new_id: Callable[[], str] = new_response_id) -> None:  # noqa: B008  frozen
        self.rules = rules
        self._reader = ChunkReader(new_id)
        self._documents = Documents()

    def feed(self, piece: bytes) -> list[Event]:
        """The events that *piece* completes."""
        try:
            documents = self._documents.feed(piece)
        except SseError as error:
            return [] if self._reader.failed else self._reader.fail(error.failure)
        return self._read(documents)

    def close(self) -> list[Event]:
        """The events that the end of the stream implies."""
        events = self._read(self._documents.close())
        if self._documents.cut:
            events.extend(self._failed("Gemini's stream was cut"))
        return [*events, *self._reader.end(whole=False)]

    def _read(self, documents: list[SseEvent]) -> list[Event]:
        events: list[Event] = []
        for document in documents:
            try:
                chunks = chunks_of(document.data)
            except JsonError as error:
                return [*events, *self._failed(f"Gemini's stream holds a line that is {error}")]
            for chunk in chunks:
                events.extend(self._reader.chunk(chunk))
        return events

    def _failed(self, message: str) -> list[Event]:
        return [] if self._reader.failed else self._reader.fail(Failure("invalid_response", message, 502))
