"""Server-sent events: bytes cut anywhere in, events out; events in, frames out.

Source: WHATWG HTML, section 9.2 (event streams). Line ends may be LF, CRLF or CR, comments begin with a colon,
data lines of one event are joined by LF.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""An event larger than this is refused. Pictures come inside one event, so the bound is wide."""


class SseError(ValueError):
    """The stream is not one that can be read on: an event is too large."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One dispatched event. *event* is empty when the stream did not name it; *raw* is its bytes as they came.

    A block of comments alone (a keep-alive) is an event too, with empty *data*: readers of data skip it,
    a relay passes its *raw* on.
    """

    event: str
    data: bytes
    raw: bytes


class SseDecoder:
    """Turns pieces of any size into events. Equal bytes give equal events, wherever they were cut."""

    __slots__ = ("_buffer", "_scanned", "_started")

    def __init__(self) -> None:
        self._buffer = b""
        self._scanned = 0
        self._started = False

    def feed(self, piece: bytes) -> list[SseEvent]:
        """The events that *piece* completes.

        Raises:
            SseError: an event grows beyond MAX_EVENT_BYTES.
        """
        buffer = self._buffer + piece if self._buffer else piece
        if not self._started:
            if len(buffer) < 3 and b"\xef\xbb\xbf".startswith(buffer):
                self._buffer = buffer
                return []
            buffer = buffer.removeprefix(b"\xef\xbb\xbf")
            self._started = True
        events: list[SseEvent] = []
        start = 0
        scan = self._scanned
        while (end := _event_end(buffer, scan)) > 0:
            events.append(_parse(buffer[start:end]))
            start = scan = end
        self._buffer = buffer[start:]
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise SseError(f"an event of more than {MAX_EVENT_BYTES} bytes")
        # The last three bytes may be the beginning of an event's end.
        self._scanned = max(0, len(self._buffer) - 3)
        return events

    def close(self) -> list[SseEvent]:
        """What was left when the stream ended without its last blank line (several servers do so)."""
        rest, self._buffer, self._scanned = self._buffer, b"", 0
        return [_parse(rest)] if rest.strip() else []

    @property
    def pending(self) -> bytes:
        """Bytes that belong to no event yet."""
        return self._buffer


def _event_end(buffer: bytes, scan: int) -> int:
    """The offset after the first blank line at or after *scan*; 0 when there is none yet."""
    plain = buffer.find(b"\n\n", scan)
    if buffer.find(b"\r", scan, plain if plain >= 0 else len(buffer)) < 0:
        return plain + 2 if plain >= 0 else 0
    ends = [
        at + len(mark) for mark in (b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\r") if (at := buffer.find(mark, scan)) >= 0
    ]
    return min(ends, default=0)


def _parse(raw: bytes) -> SseEvent:
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        # One data line and nothing else: nearly every event of a chat stream.
        return SseEvent("", raw[6:-2], raw)
    name = ""
    data: list[bytes] = []
    for line in raw.splitlines():
        if line.startswith(b"data:"):
            data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode("utf-8", "replace")
        elif line == b"data":
            data.append(b"")
    return SseEvent(name, data[0] if len(data) == 1 else b"\n".join(data), raw)


def frame(data: bytes, event: str = "") -> bytes:
    """One event as bytes. *data* must not contain a line end (JSON never does)."""
    if event:
        return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"


def comment(text: bytes) -> bytes:
    """A comment line, which every reader ignores."""
    return b": " + text + b"\n\n"
