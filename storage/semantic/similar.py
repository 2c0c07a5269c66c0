"""How alike two questions look: the cosine of hashed words, neighbours and letter groups; or of two vectors.

Lexical likeness says little about meaning ("before" and "after" differ in a few letters); it ranks, `guard` decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import mul
from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from storage.semantic.reading import Reading


BUCKETS: Final = 1 << 18
_WORD, _PAIR, _LETTERS = 2.0, 0.5, 0.5
_GROUP: Final = 3


def features(reading: Reading) -> Mapping[int, float]:
    """A sparse vector of length 1: bucket -> weight. The kind of question counts like a word."""
    weights: dict[int, float] = {}

    def add(feature: str, weight: float) -> None:
        bucket = crc32(feature.encode()) % BUCKETS
        weights[bucket] = weights.get(bucket, 0.0) + weight

    for word in reading.words:
        add(f"w {word}", _WORD)
        padded = f"^{word}$"
        groups = max(1, len(padded) - _GROUP + 1)
        for start in range(groups):
            add(f"l {padded[start : start + _GROUP]}", _LETTERS / math.sqrt(groups))
    for one, other in zip(reading.words, reading.words[1:], strict=False):
        add(f"p {one} {other}", _PAIR)
    for word in reading.kind:
        add(f"k {word}", _PAIR)
    length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
    return {bucket: weight / length for bucket, weight in weights.items()}


def likeness(one: Reading, other: Reading) -> float:
    """0 (nothing in common) to 1."""
    if one.words == other.words and one.kind == other.kind:
        return 1.0
    left, right = features(one), features(other)
    if len(right) < len(left):
        left, right = right, left
    return min(1.0, sum(weight * right.get(bucket, 0.0) for bucket, weight in left.items()))


def normalised(vector: Sequence[float]) -> list[float]:
    """*vector* at length 1; all zeros stay."""
    length = math.sqrt(sum(map(mul, vector, vector))) or 1.0
    return [value / length for value in vector]


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two vectors that are `normalised`; 0 if they are of different lengths."""
    return sum(map(mul, one, other)) if len(one) == len(other) else 0.0


def signs(vector: Sequence[float]) -> int:
    """One bit for the sign of each value: vectors that point the same way share most of them."""
    return int("".join("1" if value > 0 else "0" for value in vector) or "0", 2)
