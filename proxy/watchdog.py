"""The watchdog: one look a second at all connections, instead of timers for each request.

    waiting ──first byte──▶ (its head comes) ──whole──▶ body ──whole──▶ answer ──▶ waiting ...
      silent, idle            slow_head                  slow_body                    any of them: unread

aiohttp itself closes what is idle between two requests. What is found here is found up to SWEEP_S late, which also
holds for the moment from which it is counted. A body counts while somebody wants it: what the reader has not taken is
not the client's doing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from proxy.config.model import BoundSettings

SWEEP_S: Final = 1.0

Stage = Literal["waiting", "body", "answer"]
"""For a request or the rest of its head; for the rest of a body; for us, or for the client to take what it is sent."""

Lateness = Literal["silent", "slow_head", "slow_body", "unread"]
"""It never asked; its head, or its body, does not come; it takes nothing of what waits for it."""


class Sight(NamedTuple):
    """What can be seen of a connection at one moment."""

    stage: Stage
    requests: int
    """How many it has begun."""
    received: int
    """Bytes that have come."""
    unsent: int
    """Bytes that wait until the client takes them."""
    wanted: bool = True
    """Whether a body is being read; if not, it may come as it likes."""
    whole: bool = True
    """Whether nothing can be done before the body is whole."""


@dataclass(slots=True)
class Pulse:
    """What was seen of one connection before, and since when. Times are monotonic, in seconds."""

    since: float
    """When its stage began."""
    stage: Stage = "waiting"
    requests: int = 0
    received: int = 0
    """When its stage began."""
    beat_at: float = 0.0
    beat_received: int = 0
    unsent: int = 0
    unsent_since: float = 0.0

    def late(self, sight: Sight, now: float, bounds: BoundSettings) -> Lateness | None:
        """What it is late with, if it is."""
        if self._unread(sight.unsent, now) > bounds.write_s:
            return "unread"
        if (sight.stage, sight.requests) != (self.stage, self.requests):
            self.stage, self.requests, self.received, self.since = sight.stage, sight.requests, sight.received, now
            self.beat_at, self.beat_received = now, sight.received
        match sight.stage:
            case "waiting":
                return self._head_late(sight, now, bounds)
            case "body":
                return self._body_late(sight, now, bounds)
            case "answer":
                return None

    def _unread(self, unsent: int, now: float) -> float:
        """How long the client has taken nothing; 0 where nothing waits for it."""
        if not unsent or unsent < self.unsent or not self.unsent:
            self.unsent_since = now
        self.unsent = unsent
        return now - self.unsent_since

    def _head_late(self, sight: Sight, now: float, bounds: BoundSettings) -> Lateness | None:
        if sight.requests and sight.received == self.received:
            self.since = now  # Idle: its next request has not begun.
            return None
        if now - self.since <= bounds.header_s:
            return None
        return "slow_head" if sight.received else "silent"

    def _body_late(self, sight: Sight, now: float, bounds: BoundSettings) -> Lateness | None:
        if sight.whole and now - self.since > bounds.body_s:
            return "slow_body"
        span_s = now - self.beat_at
        if sight.wanted and span_s < bounds.body_grace_s:
            return None
        came, self.beat_at, self.beat_received = sight.received - self.beat_received, now, sight.received
        return "slow_body" if sight.wanted and came < bounds.body_bytes_per_s * span_s else None


class Watched(Protocol):
    """One connection."""

    pulse: Pulse

    def sight(self) -> Sight:
        """What can be seen of it now."""

    def called_off(self, late: Lateness, bounds: BoundSettings) -> None:
        """It is late: say so if that can be said, and close it."""


class Watchdog:
    """Sweeps over what *connections* gives, as long as there is any."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connections: Callable[[], Sequence[Watched]],
        bounds: Callable[[], BoundSettings],
    ) -> None:
        self._loop = loop
        self._connections = connections
        self._bounds = bounds
        self._next: asyncio.TimerHandle | None = None
        self.found: Counter[Lateness] = Counter()
        """Connections that were closed, since the start."""

    def wake(self) -> None:
        """There is a connection."""
        if self._next is None:
            self._next = self._loop.call_later(SWEEP_S, self._sweep)

    def rest(self) -> None:
        """Sweep no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _sweep(self) -> None:
        self._next = None
        if self.sweep(self._loop.time()):
            self.wake()

    def sweep(self, now: float) -> int:
        """Call off all that are late; how many connections there are."""
        bounds, connections = self._bounds(), self._connections()
        for each in connections:
            late = each.pulse.late(each.sight(), now, bounds)
            if late is not None:
                self.found[late] += 1
                each.called_off(late, bounds)
        return len(connections)
