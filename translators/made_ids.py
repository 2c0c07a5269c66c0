"""Ids of tool calls whose client writes none, as Gemini's may and OpenAI's older `function_call` does.

They depend on nothing but the conversation, so that they are the same when it comes back. They say nothing of who made
the call: the same call in another conversation may have the same one, and the model's own id of it was another.
"""

from __future__ import annotations

import hashlib
from typing import Final

from translators.codec import dumps

_MADE: Final = "call_of_"


def made_id(number: int, name: str, arguments: str) -> str:
    """An id for the call of *name* with *arguments* that comes after *number* others."""
    return f"{_MADE}turn_{hashlib.sha256(dumps([number, name, arguments])).hexdigest()[:24]}"


def is_made(call_id: str) -> bool:
    """Whether *call_id* was made for a client who wrote none."""
    return call_id.startswith(_MADE)
