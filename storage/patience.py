"""One bound for many waits, without a timer for each: they all may take equally long, so the oldest ends first."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TypeVar

T = TypeVar("T")


class Patience:
    """Waits for futures of the running loop, *limit_s* seconds for each."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._waits: deque[tuple[float, asyncio.Future[object]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, future: asyncio.Future[T]) -> T:
        """What *future* gives.

        Raises:
            TimeoutError: nothing, in time.
        """
        loop, waits = future.get_loop(), self._waits
        while waits and waits[0][1].done():
            waits.popleft()
        waits.append((loop.time() + self._limit_s, future))  # type: ignore[arg-type]  # only its end is touched
        if self._timer is None:
            self._timer = loop.call_later(self._limit_s, self._look)
        return await future

    def _look(self) -> None:
        """End the waits that are over, and come again for the oldest of the others."""
        self._timer = None
        while self._waits:
            until, future = self._waits[0]
            if not future.done():
                loop = future.get_loop()
                if until > loop.time():
                    self._timer = loop.call_at(until, self._look)
                    return
                future.set_exception(TimeoutError())
            self._waits.popleft()
