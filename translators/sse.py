"""Server-sent events: bytes cut anywhere in, events out; events in, frames out.

Source: WHATWG HTML, section 9.2 (event streams). Line ends may be LF, CRLF or CR, comments begin with a colon,
data lines of one event are joined by LF.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from translators.neutral import TOO_MUCH, Failure

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""An event larger than this is refused. Pictures come inside one event, so the bound is wide."""


class SseError(ValueError):
    """The stream is not one that can be read on: an event is too large."""

    @property
    def failure(self) -> Failure:
        """The same, as an event."""
        return Failure("invalid_response", str(self), 502, TOO_MUCH)


class SseEvent(NamedTuple):
    """One dispatched event. *event* is empty when the stream did not name it; *raw* is its bytes as they came.

    A block of comments alone (a keep-alive) is an event too, with empty *data*: readers of data skip it,
    a relay passes its *raw* on.
    """

    event: str
    data: bytes
    raw: bytes


_BOM: Final = b"\xef\xbb\xbf"
_BLANK_LINE: Final = re.compile(rb"\n\r?\n|\r\r")
"""A line end and another: LF or CRLF and the second line's, or CR twice. It ends an event."""
_LINE_FEEDS: Final = re.compile(rb"\n+")
_BLANK_EVENTS: Final = {raw: SseEvent("", b"", raw) for raw in (b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\r")}
_LONG: Final = 4096


class SseDecoder:
    """Turns pieces of any size into events. Equal bytes give equal events, wherever they were cut.

    Every byte is looked at and copied a bounded number of times, however large an event is and however it was cut.
    """

    __slots__ = ("_rest", "_scanned", "_started")

    def __init__(self) -> None:
        self._rest: bytes | bytearray = b""
        """What belongs to no event yet; from _LONG bytes on in a form that grows in place."""
        self._scanned = 0
        self._started = False

    def feed(self, piece: bytes) -> list[SseEvent]:
        """The events that *piece* completes.

        Raises:
            SseError: an event grows beyond MAX_EVENT_BYTES.
        """
        rest = self._rest
        if isinstance(rest, bytearray):
            rest += piece
            scan = self._scanned
            bare = rest.find(b"\n", scan) < 0 and rest.find(b"\r", scan) < 0
            if bare or _BLANK_LINE.search(rest, scan) is None:
                self._wait()
                return []
            return self._cut(bytes(rest), scan)
        buffer = rest + piece if rest else piece
        if not self._started:
            if len(buffer) < 3 and _BOM.startswith(buffer):
                self._rest = buffer
                return []
            buffer = buffer.removeprefix(_BOM)
            self._started = True
        return self._cut(buffer, self._scanned)

    def close(self) -> list[SseEvent]:
        """What was left when the stream ended without its last blank line (several servers do so)."""
        rest, self._rest, self._scanned = bytes(self._rest), b"", 0
        return [_parse(rest)] if rest.strip() else []

    @property
    def pending(self) -> bytes:
        """Bytes that belong to no event yet."""
        return bytes(self._rest)

    def _cut(self, buffer: bytes, scan: int) -> list[SseEvent]:
        """The events in *buffer*, whose first *scan* bytes hold no blank line; what follows them is kept."""
        events: list[SseEvent] = []
        start = 0
        if buffer.find(b"\r", scan) < 0:
            while (at := buffer.find(b"\n\n", scan)) >= 0:
                scan = at + 2
                if at > start:
                    events.append(_parse(buffer[start:scan]))
                else:
                    # Blank lines alone: a flood of them must cost no more than its bytes.
                    run = _LINE_FEEDS.match(buffer, start)
                    pairs = (run.end() - start) // 2 if run else 1
                    events.extend([_BLANK_EVENTS[b"\n\n"]] * pairs)
                    scan = start + 2 * pairs
                start = scan
        else:
            for blank_line in _BLANK_LINE.finditer(buffer, scan):
                end = blank_line.end()
                raw = buffer[start:end]
                events.append(_parse(raw) if len(raw) > 4 else _BLANK_EVENTS.get(raw) or _parse(raw))
                start = end
        rest = buffer[start:]
        self._rest = rest if len(rest) < _LONG else bytearray(rest)
        self._wait()
        return events

    def _wait(self) -> None:
        if len(self._rest) > MAX_EVENT_BYTES:
            raise SseError(f"an event of more than {MAX_EVENT_BYTES} bytes")
        # The last two bytes may be the beginning of a blank line.
        self._scanned = max(0, len(self._rest) - 2)


def _parse(raw: bytes) -> SseEvent:
    # One data line, perhaps named, and nothing else: nearly every event of every vendor.
    start, name_end = 0, raw.find(b"\n")
    if raw.startswith(b"event: ") and b"\r" not in raw:
        start = name_end + 1
    if raw.startswith(b"data: ", start):
        if raw.find(b"\n", start) == len(raw) - 2 and b"\r" not in raw:
            return SseEvent(
                raw[7:name_end].strip().decode("utf-8", "replace") if start else "", raw[start + 6 : -2], raw
            )
        if raw.find(b"\r") == len(raw) - 4 and raw.endswith(b"\r\n\r\n") and name_end == len(raw) - 3:
            return SseEvent("", raw[6:-4], raw)
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
