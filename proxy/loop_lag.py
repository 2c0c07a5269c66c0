"""How late the event loop is: a timer that looks at the clock when it is its turn.

While something keeps the loop, no request moves. What is late by STILL_S or more is said in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

log = logging.getLogger("modelport")

EVERY_S: Final = 0.5
STILL_S: Final = 1.0
MINUTE_S: Final = 60.0


class LoopLag:
    """Lateness in seconds: how often it was measured, the sum, and the worst of the last one to two minutes."""

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self.said_at = float("-inf")
        """When the log was told last."""
        self._worst_s = self._before_s = 0.0
        self._minute = 0

    @property
    def worst_s(self) -> float:
        """The worst of this minute and the one before."""
        return max(self._worst_s, self._before_s)

    def late(self, by_s: float, now: float) -> None:
        """A timer came *by_s* late, at *now*, a monotonic time."""
        self.count += 1
        self.total_s += by_s
        minute = int(now / MINUTE_S)
        if minute != self._minute:
            self._before_s = self._worst_s if minute == self._minute + 1 else 0.0
            self._worst_s, self._minute = 0.0, minute
        self._worst_s = max(self._worst_s, by_s)
        if by_s >= STILL_S and now - self.said_at >= MINUTE_S:
            self.said_at = now
            log.warning("the event loop stood still for %.1f s: all requests have waited for something", by_s)


@asynccontextmanager
async def measuring(lag: LoopLag) -> AsyncIterator[None]:
    """*lag* is measured."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def look(due: float) -> None:
        nonlocal timer
        now = loop.time()
        lag.late(max(0.0, now - due), now)
        timer = loop.call_later(EVERY_S, look, now + EVERY_S)

    timer = loop.call_later(EVERY_S, look, loop.time() + EVERY_S)
    try:
        yield
    finally:
        timer.cancel()
