"""Removing old exchanges from the ledger, with or without the sums over them."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from storage.db import Database
from storage.rollups import DAY_US, Rollups
from storage.windows import first_bucket_us

BATCH: Final = 100
"""Exchanges that one write removes, with all that belongs to them: 2 to 5 ms in which other writes wait."""
REST_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many exchanges were removed, and the moment (Unix seconds, a day's start in UTC) before which."""

    exchanges: int
    before: float


class Retention:
    """Removes rows from *db*; the sums are kept by *rollups*."""

    def __init__(self, db: Database, rollups: Rollups, *, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._rollups = rollups
        self._now = now

    async def prune(self, before: float, *, keep_sums: bool = True) -> Pruned:
        """Remove the settled exchanges opened before the day of *before* (Unix seconds), oldest first.

        *keep_sums* False: they are gone from every sum, too. What is open stays, and so does what budgets have spent.

        Raises:
            StorageError: it cannot be written; what was removed stays so.
        """
        before_us = int(before * 1_000_000)
        before_us = await self._rollups.prune(before_us - before_us % DAY_US, keep_sums=keep_sums)
        removed = 0
        while found := await self._db.write(partial(_remove, before_us)):
            removed += found
            await asyncio.sleep(REST_S)
        return Pruned(removed, before_us / 1_000_000)

    async def objection(self, before: float) -> str | None:
        """Why a person should say twice that what was opened before *before* (Unix seconds) goes; None: nothing is odd.

        It is odd when *before* is to come, when no exchange would be left, or when a budget's present window counts
        some of them.
        """
        now_us, before_us = int(self._now() * 1_000_000), int(before * 1_000_000)
        if before_us > now_us:
            return "that time is in the future: every exchange is older"
        return await self._db.read(partial(_objection, now_us, before_us - before_us % DAY_US), fresh=True)

    async def keep_days(self, days: int) -> Pruned:
        """Remove what is older than *days* days; the sums stay."""
        return await self.prune(self._now() - days * 86_400)


# Only what is in the sums. The newest row stays in any case: its number must not be given to another one.
_REMOVE = """
DELETE FROM exchanges WHERE row IN (
    SELECT row FROM exchanges
    WHERE opened_us < ? AND status <> 'open' AND +row <= (SELECT folded_row FROM rollup_state)
        AND +row NOT IN (SELECT row FROM rollup_pending) AND +row < (SELECT max(row) FROM exchanges)
    ORDER BY opened_us LIMIT ?)"""


_ANY = "SELECT EXISTS (SELECT 1 FROM exchanges WHERE opened_us >= ? AND opened_us < ?)"
_BUDGETS = "SELECT name, window, rolling FROM budgets WHERE window <> 'total' ORDER BY name"


def _objection(now_us: int, before_us: int, connection: sqlite3.Connection) -> str | None:
    def some(since_us: int, until_us: int) -> bool:
        return bool(connection.execute(_ANY, (since_us, until_us)).fetchone()[0])

    if not some(0, before_us):
        return None
    if not some(before_us, now_us + DAY_US):
        return "no exchange would be left: all are older"
    counted = [
        name
        for name, window, rolling in connection.execute(_BUDGETS)
        if some(first_bucket_us(window, now_us, rolling=bool(rolling)), before_us)
    ]
    return f"the present window of the budget {counted[0]} counts some of these exchanges" if counted else None


def _remove(before_us: int, connection: sqlite3.Connection) -> int:
    return connection.execute(_REMOVE, (before_us, BATCH)).rowcount
