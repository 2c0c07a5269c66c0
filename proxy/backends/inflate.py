"""Bodies that come compressed although `identity` was asked for: unpacked in small steps, as far as is sane."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

STEP_BYTES: Final = 64 * 1024
MOST_RATIO: Final = 100
"""Text does not compress better than this; what does is a bomb."""
ALLOWANCE_BYTES: Final = 1024 * 1024
"""Up to here the ratio is not looked at: a short answer may be all blanks."""
ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})


class BadEncoding(ValueError):
    """The body cannot be unpacked; the message says why."""


class Bomb(BadEncoding):
    """The body unpacks to far too much."""


class Inflater:
    """Unpacks one body, to at most *ratio* times its size."""

    def __init__(self, encoding: str, ratio: int = MOST_RATIO) -> None:
        if encoding not in ENCODINGS:
            raise BadEncoding(f"the answer comes in the encoding {encoding[:40]!r}, which was not asked for")
        self._unpack = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, as its head says
        self._ratio = ratio
        self._packed = 0
        self._unpacked = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What *piece* unpacks to.

        Raises:
            BadEncoding: it is damaged; Bomb: it unpacks to too much.
        """
        self._packed += len(piece)
        rest = piece
        while rest:
            try:
                step = self._unpack.decompress(rest, STEP_BYTES)
            except zlib.error as error:
                raise BadEncoding(f"the compressed answer is damaged: {error}") from error
            rest = self._unpack.unconsumed_tail
            self._unpacked += len(step)
            if self._unpacked > ALLOWANCE_BYTES + self._ratio * self._packed:
                raise Bomb(f"the compressed answer unpacks to more than {self._ratio} times its size")
            if step:
                yield step
            elif self._unpack.eof:
                return
