"""What routes learn from their own exchanges: kept in memory while it is used, written down as it changes.

Learning happens beside the requests: what was observed waits until enough is new, then everything is fitted in a
thread, and the next request merges by that. What has not been written down when the process dies is lost, but not a
caller's verdict, which is in the table of feedback and learnt again when the next one on that exchange comes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from routing.consensus import Answer, History, Label, Learned, Options, fitted
from storage.errors import StorageError
from storage.history import ConsensusHistory
from translators.codec import dumps

ROUTES: Final = 128
"""Histories that are kept in memory; those that were used longest ago go, and come back from the database."""


class Lessons:
    """The histories of all routes. *spawn* runs work beside the requests."""

    def __init__(self, store: ConsensusHistory, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._store = store
        self._spawn = spawn
        self._routes: OrderedDict[str, History] = OrderedDict()
        self._at_work: set[str] = set()

    async def learned(self, route: str) -> Learned:
        """What *route* merges by now."""
        return (await self._history(route)).learned

    def observe(self, route: str, exchange_id: str, answers: Sequence[Answer], options: Options) -> None:
        """Learn from an exchange about which nothing is known but the answers; soon, and without waiting."""
        self._spawn(self.learn(route, exchange_id, answers, Label(), options))

    async def learn(
        self, route: str, exchange_id: str, answers: Sequence[Answer], label: Label, options: Options
    ) -> None:
        """Learn from an exchange, with what a caller found out about it."""
        history = await self._history(route)
        history.learn(answers, label, options, exchange_id)
        if history.is_due and route not in self._at_work:
            self._at_work.add(route)
            self._spawn(self._refit(route, history))
        elif label != Label() and route not in self._at_work:
            await self._write_down(route, history)

    async def _refit(self, route: str, history: History) -> None:
        try:
            history.take(await asyncio.to_thread(fitted, history.ballots))
            await self._write_down(route, history)
        finally:
            self._at_work.discard(route)

    async def _write_down(self, route: str, history: History) -> None:
        learned, ballots = history.learned, history.ballots

        def packed() -> bytes:
            return dumps(History(learned, ballots).to_json())

        self._store.put_state(route, await asyncio.to_thread(packed))

    async def _history(self, route: str) -> History:
        history = self._routes.get(route)
        if history is None:
            try:
                stored = await self._store.state(route)
            except StorageError:
                stored = None
            history = self._routes.setdefault(route, History.from_json(stored) if stored else History())
        self._routes.move_to_end(route)
        while len(self._routes) > ROUTES:
            self._routes.popitem(last=False)
        return history
