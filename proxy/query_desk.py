"""The queries that are being made now: who waits, who runs, and how many there may be.

A query that nobody holds a connection for waits for its turn: first come, first served, but for those whose tenant
has as many running as it may.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from storage.queries import Queries

if TYPE_CHECKING:
    from proxy.queries import Run


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many asynchronous queries there may be, and how long one may take."""

    unended: int = 1024
    unended_of_tenant: int = 128
    running: int = 32
    running_of_tenant: int = 8
    longest_s: float = 3600.0
    """From its arrival to its end, whatever the query says."""


BOUNDS: Final = Bounds()


class QueryDesk:
    """The queries at work, by tenant and id. *store* keeps them and those that have ended."""

    def __init__(self, store: Queries, bounds: Bounds = BOUNDS) -> None:
        self.store = store
        self.bounds = bounds
        self._runs: dict[tuple[str, str], Run] = {}
        self._unended: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._waiting: deque[tuple[str, int, asyncio.Future[None]]] = deque()

    def find(self, tenant: str, query_id: str) -> Run | None:
        """The query of that id, while it is at work."""
        return self._runs.get((tenant, query_id))

    def add(self, run: Run) -> None:
        """Let *run* be found until `remove`."""
        self._runs[run.tenant, run.id] = run

    def remove(self, run: Run) -> None:
        """It has ended."""
        self._runs.pop((run.tenant, run.id), None)

    # --- those that nobody waits for

    def has_room(self, tenant: str) -> bool:
        """Whether one more asynchronous query of *tenant* may be taken in."""
        mine, all_of_them = self._unended[tenant], self._unended.total()
        return mine < self.bounds.unended_of_tenant and all_of_them < self.bounds.unended

    def take_in(self, tenant: str) -> None:
        """Count an asynchronous query of *tenant*, until `let_go`."""
        self._unended[tenant] += 1

    def let_go(self, tenant: str) -> None:
        """One that was counted has ended."""
        self._unended[tenant] -= 1
        if not self._unended[tenant]:
            del self._unended[tenant]

    @asynccontextmanager
    async def turn(self, tenant: str, most: int | None = None) -> AsyncIterator[None]:
        """Wait until *tenant* may have one more running; *most* is a bound of its own, below the common one."""
        limit = min(self.bounds.running_of_tenant, most or self.bounds.running_of_tenant)
        if not self._waiting and self._may_run(tenant, limit):
            self._running[tenant] += 1
        else:
            called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((tenant, limit, called))
            self._call()
            try:
                await called
            except asyncio.CancelledError:
                if called.done() and not called.cancelled():
                    self._leave(tenant)
                raise
        try:
            yield
        finally:
            self._leave(tenant)

    def _may_run(self, tenant: str, limit: int) -> bool:
        return self._running[tenant] < limit and self._running.total() < self.bounds.running

    def _leave(self, tenant: str) -> None:
        self._running[tenant] -= 1
        if not self._running[tenant]:
            del self._running[tenant]
        self._call()

    def _call(self) -> None:
        """Call everybody who may run now, in the order in which they came."""
        left: deque[tuple[str, int, asyncio.Future[None]]] = deque()
        for tenant, limit, called in self._waiting:
            if called.done():
                continue
            if self._may_run(tenant, limit):
                self._running[tenant] += 1
                called.set_result(None)
            else:
                left.append((tenant, limit, called))
        self._waiting = left
