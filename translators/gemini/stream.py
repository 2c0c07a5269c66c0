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
from translators.sse import MAX_EVENT_BYTES, SseDecoder, SseError

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


class StreamParser:
    """Bytes of Gemini's stream to events."""

    def __init__(self, rules: Rules = Rules(), new_id: Callable[[], str] = new_response_id) -> None:  # noqa: B008  frozen
        self.rules = rules
        self._reader = ChunkReader(new_id)
        self._head = b""
        self._sse: SseDecoder | None = None
        self._array: JsonArrayDecoder | None = None

    def feed(self, piece: bytes) -> list[Event]:
        """The events that *piece* completes."""
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
        try:
            documents = self._documents(piece)
        except SseError as error:
            return self._failed(str(error))
        return self._read(documents)

    def close(self) -> list[Event]:
        """The events that the end of the stream implies."""
        events: list[Event] = []
        if self._sse is not None:
            events = self._read([event.data for event in self._sse.close()])
        elif self._array is not None and self._array.inside:
            events = self._failed("Gemini's stream was cut")
        return [*events, *self._reader.end(whole=False)]

    def _documents(self, piece: bytes) -> list[bytes]:
        if self._array is not None:
            return self._array.feed(piece)
        return [event.data for event in self._sse.feed(piece)] if self._sse is not None else []

    def _read(self, documents: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for document in documents:
            text = document.strip()
            if not text or text == b"[DONE]":
                continue
            try:
                value: Any = loads(text)
            except JsonError as error:
                return [*events, *self._failed(f"Gemini's stream holds a line that is {error}")]
            for chunk in value if isinstance(value, list) else [value]:
                events.extend(self._reader.chunk(chunk))
        return events

    def _failed(self, message: str) -> list[Event]:
        return [] if self._reader.failed else self._reader.fail(Failure("invalid_response", message, 502))
