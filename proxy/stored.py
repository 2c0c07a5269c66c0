"""An answer as the cache keeps it: where it came from, what it cost and lost, and the answer itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from translators.codec import dumps, loads, loads_object
from translators.dialects import SPOKEN
from translators.errors import BadAnswer
from translators.frozen import freeze, thaw
from translators.losses import Loss
from translators.neutral import Refusal, Response, ToolCall

VERSION: Final = 3
"""Of the layout below; another version's entry is a miss."""


@dataclass(frozen=True, slots=True)
class Stored:
    """*target* is the `provider/model` that answered; *cost_nanousd* what it took, None if that is unknown.

    *payload* is the answer as the client of a relayed one got it, in *dialect*, so that a hit in that dialect gives
    the same bytes once more.
    """

    target: str
    cost_nanousd: int | None
    response: Response
    losses: tuple[Loss, ...] = ()
    dialect: str = "openai_chat"
    payload: bytes | None = None

    def pack(self) -> bytes:
        """One line of facts, then the payload or the frozen response."""
        losses = [[loss.field, loss.action, loss.reason] for loss in self.losses]
        head = dumps([VERSION, self.target, self.cost_nanousd, losses, self.dialect, self.payload is not None])
        return head + b"\n" + (self.payload or freeze(self.response))


Land = Callable[[Stored], None]
"""Hands a finished answer to the cache and to whoever waits for the same one."""


def unpack(packed: bytes) -> Stored | None:
    """What `pack` wrote; None for another version's or damaged bytes."""
    head, _, rest = packed.partition(b"\n")
    try:
        version, *facts = loads(head)
        if version != VERSION:
            return None
        target, cost_nanousd, lost, dialect, relayed = facts
        losses = tuple(Loss(*each) for each in lost)
        if relayed:
            response = SPOKEN[dialect].parse_response(loads_object(rest))
            return Stored(target, cost_nanousd, response, losses, dialect, rest)
        return Stored(target, cost_nanousd, thaw(rest), losses, dialect)
    except (ValueError, TypeError, KeyError, BadAnswer):
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
