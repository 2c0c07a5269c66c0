"""The queries that are being made now: who waits, who runs, and how many there may be.

A query that nobody holds a connection for waits for its turn: first come, first served, but for those whose tenant
has as many running as it may.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from proxy.config.model import QuerySettings
from storage.queries import Queries

if TYPE_CHECKING:
    from proxy.queries import Run


class QueryDesk:
    """The queries at work, by tenant and id. *store* keeps them and those that have ended."""

    def __init__(self, store: Queries, bounds: QuerySettings | None = None) -> None:
        self.store = store
        self._runs: dict[tuple[str, str], Run] = {}
        self._unended: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._waiting: deque[tuple[str, int | None, asyncio.Future[None]]] = deque()
        self.bounds = bounds or QuerySettings()

    @property
    def bounds(self) -> QuerySettings:
        """How many there may be, and for how long. May be changed: those that are in stay."""
        return self._bounds

    @bounds.setter
    def bounds(self, bounds: QuerySettings) -> None:
        self._bounds = bounds
        self.store.max_bytes = int(bounds.max_mb * 2**20)
        self._call()

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
        return mine < self.bounds.unended_per_key and all_of_them < self.bounds.unended

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
        if not self._waiting and self._may_run(tenant, most):
            self._running[tenant] += 1
        else:
            called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((tenant, most, called))
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

    def _may_run(self, tenant: str, most: int | None) -> bool:
        limit = min(self.bounds.running_per_key, most or self.bounds.running_per_key)
        return self._running[tenant] < limit and self._running.total() < self.bounds.running

    def _leave(self, tenant: str) -> None:
        self._running[tenant] -= 1
        if not self._running[tenant]:
            del self._running[tenant]
        self._call()

    def _call(self) -> None:
        """Call everybody who may run now, in the order in which they came."""
        left: deque[tuple[str, int | None, asyncio.Future[None]]] = deque()
        for tenant, most, called in self._waiting:
            if called.done():
                continue
            if self._may_run(tenant, most):
                self._running[tenant] += 1
                called.set_result(None)
            else:
                left.append((tenant, most, called))
        self._waiting = left
