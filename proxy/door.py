"""The door: how many requests are answered at a time, and who waits until one of them has ended.

enter ──room──▶ in ──left──▶ the next in line
  └─none─▶ waits (a while, in a bounded line; keys take turns) ──▶ in, or 503 with Retry-After
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final, Literal

from proxy.config.model import BoundSettings
from proxy.errors import Refused, refused
from routing.queueing import FairQueue, Ticket

RETRY_S: Final = 1.0
"""When a client that was turned away may come again."""

Reason = Literal["full", "too_late", "connections"]


class Door:
    """Its owner counts who is *inside*: all requests that have come and not ended, those in line included."""

    def __init__(self, bounds: BoundSettings | None = None) -> None:
        self.bounds = bounds or BoundSettings()
        self.refused: Counter[Reason] = Counter()
        """Requests that were not let in, since the start."""
        self._line = FairQueue(self.bounds.waiting)

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return self._line.count

    def full(self, inside: int) -> bool:
        """Whether one more would have to wait."""
        return inside - self._line.count >= self.bounds.in_flight

    def crowded(self, inside: int) -> bool:
        """Whether the one that came last has to `enter`."""
        return inside > self.bounds.in_flight or bool(self._line)

    async def enter(self, tenant: str, inside: int) -> float:
        """Wait for a place for a request of *tenant*, which counts as inside already; the seconds that it took.

        Raises:
            Refused: 503; there is none, and none in time.
        """
        bounds, began = self.bounds, time.monotonic()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket = Ticket(tenant, lambda: None if turn.done() else turn.set_result(None))
        self._line.size = bounds.waiting
        if not self._line.join(ticket):
            raise self._refusal("full", f"{bounds.in_flight} requests are being answered and {self.waiting} wait")
        self.left(inside)  # the line may have waited for nobody
        try:
            async with asyncio.timeout(bounds.waiting_s):
                await turn
        except TimeoutError as error:
            raise self._refusal("too_late", f"no place became free within {bounds.waiting_s:g} s") from error
        finally:
            self._line.leave(ticket)
        if ticket.pushed_out:
            raise self._refusal("full", f"{bounds.in_flight} requests are being answered and others wait")
        return time.monotonic() - began

    def left(self, inside: int) -> None:
        """Somebody has left: let in whose turn it is."""
        while self._line.count and not self.full(inside) and (ticket := self._line.head) is not None:
            self._line.served(ticket)
            ticket.wake()

    def _refusal(self, reason: Reason, why: str) -> Refused:
        self.refused[reason] += 1
        return refused(503, f"too busy: {why}", kind="overloaded", code="too_busy", retry_after_s=RETRY_S)

    def no_connection(self) -> Refused:
        """What is answered on a connection that is one too many, and closes it."""
        error = self._refusal("connections", "all connections that there may be are open")
        error.headers["connection"] = "close"
        return error
