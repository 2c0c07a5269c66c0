"""Ids of tool calls that came without one.

A client may write none, as Gemini's may and OpenAI's older `function_call` does. Those depend on nothing but the
conversation, so that they are the same when it comes back. They say nothing of who made the call: the same call in
another conversation may have the same one, and the model's own id of it was another.

A server may give none. Those are random: the next answer of the same conversation must not have them again, for
vendors refuse a history in which two calls have one id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from translators.codec import dumps

_MADE: Final = "call_of_"


def made_id(number: int, name: str, arguments: str) -> str:
    """An id for the call of *name* with *arguments* that comes after *number* others."""
    return f"{_MADE}turn_{hashlib.sha256(dumps([number, name, arguments])).hexdigest()[:24]}"


def is_made(call_id: str) -> bool:
    """Whether *call_id* was made for a client who wrote none."""
    return call_id.startswith(_MADE)


def new_call_id() -> str:
    """An id for a call whose server gave it none; no other call has it."""
    return f"call_{uuid4().hex[:24]}"


class CallIds:
    """The ids of the calls of one answer whose server gave none, the same for all who read that answer."""

    def __init__(self, new_id: Callable[[], str] = new_call_id) -> None:
        self._new_id = new_id
        self._ids: dict[tuple[int, int], str] = {}

    def of(self, choice: int, ordinal: int) -> str:
        """The id of call *ordinal* of *choice*."""
        if (choice, ordinal) not in self._ids:
            self._ids[choice, ordinal] = self._new_id()
        return self._ids[choice, ordinal]
