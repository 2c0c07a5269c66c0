"""The questions of one scope in memory: found by what they say, or by where their vectors point.

A signature leads straight to the few questions that use the same words. Vectors are compared by the signs of their
values first (10,000 in about two milliseconds); only the nearest few are worth reading from the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

NEAREST: Final = 16
"""So many neighbours by sign are compared exactly."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored question. *bits* has the signs of its vector's *length* values; a length of 0 is no vector."""

    key: bytes
    question: str
    signature: bytes
    expires_us: int
    bits: int = 0
    length: int = 0


class Shelf:
    """The newest *limit* questions of a scope."""

    def __init__(self, entries: Iterable[Entry], limit: int) -> None:
        self._limit = limit
        self._entries: dict[bytes, Entry] = {}
        self._by_signature: dict[bytes, list[bytes]] = {}
        self._bits: dict[int, dict[bytes, int]] = {}
        for entry in entries:
            self.put(entry)

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> None:
        """Add *entry*, or replace the one with its key. The oldest goes when there are too many."""
        self.take_out(entry.key)
        self._entries[entry.key] = entry
        self._by_signature.setdefault(entry.signature, []).append(entry.key)
        if entry.length:
            self._bits.setdefault(entry.length, {})[entry.key] = entry.bits
        if len(self._entries) > self._limit:
            self.take_out(next(iter(self._entries)))

    def take_out(self, key: bytes) -> None:
        """Forget the question with *key*, if it is here."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        keys = self._by_signature[entry.signature]
        keys.remove(key)
        if not keys:
            del self._by_signature[entry.signature]
        if entry.length:
            del self._bits[entry.length][key]

    def saying(self, signature: bytes, at_us: int) -> Iterator[Entry]:
        """The questions of the same words, newest first."""
        for key in reversed(self._by_signature.get(signature, ())):
            entry = self._entries[key]
            if entry.expires_us > at_us:
                yield entry

    def towards(self, bits: int, length: int, threshold: float, at_us: int) -> list[Entry]:
        """The questions whose vectors have most signs in common with *bits*, if their cosine may reach *threshold*."""
        stored = self._bits.get(length, {})
        most = length * furthest_share(threshold, length)
        near = [(apart, key) for key, other in stored.items() if (apart := (other ^ bits).bit_count()) <= most]
        entries = (self._entries[key] for _, key in sorted(near))
        return list(islice((entry for entry in entries if entry.expires_us > at_us), NEAREST))


def furthest_share(threshold: float, length: int) -> float:
    """How many of *length* signs may differ, as a share, for a cosine of *threshold*.

    Of two vectors at an angle of a, a share of a / pi has different signs, give or take (Charikar, 2002). Half as much
    again and three standard deviations at most leave out nothing that is near, but most of what is not.
    """
    angle = math.acos(max(-1.0, min(1.0, threshold)))
    return 1.5 * angle / math.pi + 3 / math.sqrt(max(1, length))
