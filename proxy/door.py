"""The door: how many requests are answered at a time, and who waits until one of them has ended.

enter ──room──▶ in ──left──▶ the next in line
  └─none─▶ waits (a while, in a bounded line; keys take turns) ──▶ in, or 503 with Retry-After
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Literal

from proxy.config.model import BoundSettings
from proxy.errors import Refused, too_busy
from routing.queueing import FairQueue, Ticket

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
            raise self._crowd()
        self.left(inside)  # the line may have waited for nobody
        try:
            async with asyncio.timeout(bounds.waiting_s):
                await turn
        except TimeoutError as error:
            raise self._late() from error
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

    def turned_away(self, tenant: str) -> Refused | None:
        """What one more request of *tenant* is told that cannot even wait; None where it can."""
        self._line.size = self.bounds.waiting
        return None if self._line.takes(tenant) else self._crowd()

    def line_up(self, tenant: str, inside: int, told: Callable[[Refused | None], None]) -> Turn:
        """As `enter`, for who is called: *told* hears, later and once, None when it may go in, or why it may not.

        It is one that is not `turned_away`.
        """
        turn = Turn(self._line, Ticket(tenant, lambda: turn.come(self._crowd)), told)
        turn.wait(self.bounds.waiting_s, self._late)
        self.left(inside)
        return turn

    def _late(self) -> Refused:
        return self._refusal("too_late", f"no place became free within {self.bounds.waiting_s:g} s")

    def _crowd(self) -> Refused:
        return self._refusal("full", f"{self.bounds.in_flight} requests are being answered and {self.waiting} wait")

    def _refusal(self, reason: Reason, why: str) -> Refused:
        self.refused[reason] += 1
        return too_busy(why)

    def no_connection(self) -> Refused:
        """What is answered on a connection that is one too many, and closes it."""
        error = self._refusal("connections", "all connections that there may be are open")
        error.headers["connection"] = "close"
        return error


class Turn:
    """A place in line, of who is called when it is its turn."""

    __slots__ = ("_line", "_loop", "_ticket", "_timer", "_told", "since")

    def __init__(self, line: FairQueue, ticket: Ticket, told: Callable[[Refused | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._line = line
        self._ticket = ticket
        self._told: Callable[[Refused | None], None] | None = told
        self._timer: asyncio.TimerHandle | None = None
        self.since = time.perf_counter()
        """When it began to wait."""

    def wait(self, most_s: float, why: Callable[[], Refused]) -> None:
        """Be in line, for *most_s* at most; then *why* says what is told."""
        self._line.join(self._ticket)
        self._timer = self._loop.call_later(most_s, self._give_up, why)

    def come(self, pushed_out: Callable[[], Refused]) -> None:
        """It is its turn, or it had to make room, of which *pushed_out* tells."""
        self._stop()
        self._loop.call_soon(self._tell, pushed_out() if self._ticket.pushed_out else None)

    def leave(self) -> None:
        """Wait no more, and hear nothing."""
        self._told = None
        self._stop()
        self._line.leave(self._ticket)

    def _give_up(self, why: Callable[[], Refused]) -> None:
        self._line.leave(self._ticket)
        self._tell(why())

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self, refusal: Refused | None) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(refusal)
