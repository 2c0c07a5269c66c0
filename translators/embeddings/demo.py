"""Embeddings of the built-in provider: a simulation. They carry no meaning; only equal texts are near each other."""

from __future__ import annotations

from array import array
from hashlib import shake_256
from math import sqrt

DEMO_DIMENSIONS = 1536


def demo_vector(text: str, dimensions: int = DEMO_DIMENSIONS) -> list[float]:
    """A vector of length 1 that depends on *text* alone; exact in 32 bits, so that both forms of an answer agree."""
    digest = shake_256(text.encode("utf-8", "replace")).digest(4 * dimensions)
    numbers = [int.from_bytes(digest[at : at + 4], "little", signed=True) / 2**31 for at in range(0, len(digest), 4)]
    length = sqrt(sum(number * number for number in numbers)) or 1.0
    return array("f", [number / length for number in numbers]).tolist()
