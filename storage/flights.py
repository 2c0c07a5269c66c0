"""Single flight: identical requests that arrive together share one call.

The first caller of a key leads, the others follow and wait. When the leader lands an answer, all have it.
When its own caller goes away (cancelled), a follower takes the lead and the rest follow that one.
When it fails or has no answer to share, the followers try once more in the same way; who has followed two failures
goes alone, so that an outage is not queued up behind itself.

    async with flights.join(key) as flight:
        if flight.answer is not None:
            return flight.answer
        answer = await ask()
        flight.land(answer)

Where other processes may lead, too (`SingleFlight.elsewhere`), whoever is about to lead asks them first, and follows
the one that does. Of two that are about to at the same time the caller of `yields` decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Literal, TypeVar

T = TypeVar("T")

FAILURES_FOLLOWED: Final = 2


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How a flight has ended, and with which answer."""

    ending: Literal["landed", "failed", "cancelled"]
    answer: T | None = None


class SingleFlight(Generic[T]):
    """The flights under way, by key. As many as there are callers at most."""

    def __init__(self) -> None:
        self.leading: dict[bytes, asyncio.Future[Outcome[T]]] = {}
        self.asking: set[bytes] = set()
        """Those of them that are not sure yet that nobody elsewhere leads."""
        self.elsewhere: Callable[[bytes], Awaitable[Outcome[T] | None]] | None = None
        """How the flight of another process ended; None: there is none. None in its place: no other process."""

    def __len__(self) -> int:
        return len(self.leading)

    def join(self, key: bytes) -> Flight[T]:
        """Lead or follow, once entered; entering waits while there is somebody to follow."""
        return Flight(key, self)

    def led(self, key: bytes, *, yields: bool) -> asyncio.Future[Outcome[T]] | None:
        """The flight that is led here; None also for one that is not sure yet, if it *yields*."""
        return None if yields and key in self.asking else self.leading.get(key)


class Flight(Generic[T]):
    """One caller's part. *answer* is the leader's, or None: then this caller is to ask, and to `land` if it can.

    What the leader does after landing (writing to its client) does not hold up the followers.
    """

    def __init__(self, key: bytes, flights: SingleFlight[T]) -> None:
        self._key = key
        self._flights = flights
        self._leading = flights.leading
        self._outcome: asyncio.Future[Outcome[T]] | None = None
        self.answer: T | None = None

    def land(self, answer: T) -> None:
        """Give *answer* to all who follow. Only the first answer counts."""
        self._end(Outcome("landed", answer))

    async def __aenter__(self) -> Flight[T]:
        failures = 0
        while failures < FAILURES_FOLLOWED:
            leader = self._leading.get(self._key)
            if leader is None:
                self._outcome = self._leading[self._key] = asyncio.get_running_loop().create_future()
                if self._flights.elsewhere is not None:
                    await self._follow_elsewhere(self._flights.elsewhere)
                return self
            outcome = await asyncio.shield(leader)
            if outcome.ending == "landed":
                self.answer = outcome.answer
                return self
            failures += outcome.ending == "failed"
        return self

    async def _follow_elsewhere(self, elsewhere: Callable[[bytes], Awaitable[Outcome[T] | None]]) -> None:
        self._flights.asking.add(self._key)
        try:
            found = await elsewhere(self._key)
        except BaseException:
            self._end(Outcome("cancelled"))
            raise
        finally:
            self._flights.asking.discard(self._key)
        if found is not None and found.answer is not None:
            self.answer = found.answer
            self._end(found)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gone = kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit)
        self._end(Outcome("cancelled" if gone else "failed"))

    def _end(self, outcome: Outcome[T]) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(outcome)
            del self._leading[self._key]
