"""Conversations of nothing but words, which most are: read by types, in C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol


class Said(Protocol):
    """One message: who speaks, and one text."""

    @property
    def role(self) -> str:
        """Who."""

    @property
    def content(self) -> str:
        """The text."""


_EMPTY: Final = len('{"role":"","content":""}')


def says_twice(inner: bytes, messages: Sequence[Said]) -> bool:
    """Whether a member stands twice in one of plain *messages*, which are *inner*: nobody knows who reads which.

    Of the least length there is no room for more. Else: a message has eight quotes of its own, and more of them are in
    its text, or in a member that was read over.
    """
    least = len(messages) + 1
    for message in messages:
        least += _EMPTY + len(message.role) + len(message.content)
    if least == len(inner):
        return False
    quotes = inner.count(b'"') - 8 * len(messages)
    if not quotes:
        return False
    return b"\\u0022" in inner or quotes != sum([message.content.count('"') for message in messages])
