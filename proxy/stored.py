"""An answer as the cache keeps it: where it came from, what it cost, and the neutral form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from translators.codec import dumps, loads
from translators.frozen import freeze, thaw
from translators.neutral import Refusal, Response, ToolCall

VERSION = 1
"""Of the layout below; another version's entry is a miss."""


@dataclass(frozen=True, slots=True)
class Stored:
    """*target* is the `provider/model` that answered; *cost_nanousd* what it took, None if that is unknown."""

    target: str
    cost_nanousd: int | None
    response: Response

    def pack(self) -> bytes:
        """One line of facts, then the frozen response."""
        return dumps([VERSION, self.target, self.cost_nanousd]) + b"\n" + freeze(self.response)


Land = Callable[[Stored], None]
"""Hands a finished answer to the cache and to whoever waits for the same one."""


def unpack(packed: bytes) -> Stored | None:
    """What `pack` wrote; None for another version's or damaged bytes."""
    head, _, frozen = packed.partition(b"\n")
    try:
        version, target, cost_nanousd = loads(head)
        if version != VERSION:
            return None
        return Stored(target, cost_nanousd, thaw(frozen))
    except (ValueError, TypeError):
        return None


def storable(response: Response) -> bool:
    """Whether *response* may be kept: whole, ended by itself, no refusal, no call that waits for its result."""
    return (
        response.failure is None
        and bool(response.choices)
        and all(
            choice.finish_reason == "stop"
            and choice.parts
            and not any(isinstance(part, Refusal | ToolCall) for part in choice.parts)
            for choice in response.choices
        )
    )
