"""Answers that came whole in one read, under an ordinary head: framed at one glance, without a parser.

Most whole answers are of this kind. Whatever is not plainly so (another status, chunks, a folded or odd line, two
lengths, a connection that closes, more or less than was announced) is None here, and llhttp reads it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

Header = tuple[bytes, bytes]

START: Final = b"HTTP/1.1 200 OK\r\n"
MOST_BYTES: Final = 4096
"""Of a head."""
MOST_LINES: Final = 64
REMEMBERED: Final = 2048
"""Lines of heads, of which most come again and again."""

_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
_FRAMES: Final = frozenset({b"connection", b"content-length", b"proxy-connection", b"transfer-encoding", b"upgrade"})


class _Line(NamedTuple):
    """A line of a head. *size* is not None in its Content-Length; a line that is not *plain* is for a parser."""

    header: Header
    size: int | None
    plain: bool


_NOT_PLAIN: Final = _Line((b"", b""), None, False)
_lines: dict[bytes, _Line] = {}


def framed(data: bytes) -> tuple[list[Header], bytes] | None:
    """Headers and body of an answer with status 200, which is all of *data*; None where it is anything else."""
    end = data.find(b"\r\n\r\n", 0, MOST_BYTES)
    if end < len(START) or not data.startswith(START):
        return None
    headers: list[Header] = []
    size: int | None = None
    for each in data[len(START) : end].split(b"\r\n"):
        line = _lines.get(each) or _read(each)
        if line.plain:
            headers.append(line.header)
        elif line.size is None or size is not None:
            return None
        else:
            size = line.size
            headers.append(line.header)
    if size is None or end + 4 + size != len(data) or len(headers) > MOST_LINES:
        return None
    return headers, data[end + 4 :]


def _read(line: bytes) -> _Line:
    found = _LINE.fullmatch(line)
    read = _NOT_PLAIN
    if found is not None:
        name, value = found[1].lower(), found[2] or b""
        header = (found[1], value)
        if name not in _FRAMES or (name, value.lower()) == (b"connection", b"keep-alive"):
            read = _Line(header, None, True)
        elif name == b"content-length" and value.isdigit() and len(value) < 10:
            read = _Line(header, int(value), False)
    if len(_lines) >= REMEMBERED:
        _lines.clear()
    _lines[line] = read
    return read
