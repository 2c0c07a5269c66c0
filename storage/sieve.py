"""A sieve: what may have been put into it, in a few bits each (Bloom, CACM 13, 7). Its no is certain."""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

SIZE: Final = 2**24
"""Bits: 2 MB, of which a page takes memory when something is in it. 500,000 keys fill 11 % of them; then one no in
6,000 is missed."""
_FOUR: Final = struct.Struct("<4I").unpack


class Sieve:
    """Keys, of any bytes."""

    def __init__(self) -> None:
        self._bits = bytearray(SIZE // 8)
        self.is_empty = True

    def add(self, key: bytes) -> None:
        """Put *key* in."""
        bits = self._bits
        self.is_empty = False
        for place in _places(key):
            bits[(place % SIZE) >> 3] |= 1 << (place & 7)

    def may_hold(self, key: bytes) -> bool:
        """Whether *key* may be in it."""
        bits = self._bits
        return all(bits[(place % SIZE) >> 3] >> (place & 7) & 1 for place in _places(key))


def _places(key: bytes) -> tuple[int, ...]:
    return _FOUR(blake2b(key, digest_size=16).digest())
