"""Alerts of budgets: each once in a window, kept until it is delivered.

    raised --nobody is to be told--> done
       `--due--> sent --accepted--> delivered
                  `--refused--> due again, later and later --too late--> given up

What is due stays due when the process dies, and is sent by the next one: whoever is told may be told twice, and knows
an alert by its id. A rolling window has no beginning: there, once in the length of one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from storage.budgets import Budget
from storage.db import Database
from storage.windows import LENGTH_US, bucket_us
from translators.codec import dumps_text, loads

Event = Literal["threshold", "refused"]

MOST_DUE: Final = 10_000
"""Alerts that wait to be sent; when there are more, the oldest are given up."""
KEPT_US: Final = 400 * 86_400_000_000
"""How long an alert is remembered."""


@dataclass(frozen=True, slots=True)
class News:
    """Something of a budget to be told: a threshold of *percent* reached, or (0) the first refusal of a window."""

    budget: Budget
    event: Event
    percent: int
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Alert:
    """A raised alert. Times are Unix seconds."""

    id: int
    budget: str
    event: Event
    percent: int
    at: float
    report: Mapping[str, Any]
    tries: int


class Alerts:
    """The alerts in *db*."""

    def __init__(self, db: Database, *, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    async def new(self, news: Iterable[News]) -> list[News]:
        """Those of *news* that were not raised yet in their window. Nothing is written."""
        at_us = self._now_us()
        wanted = list(news)
        if not wanted:
            return []
        return await self._db.read(lambda connection: [each for each in wanted if not _raised(connection, each, at_us)])

    async def raise_(self, news: Sequence[News], *, due: bool) -> list[Alert]:
        """Raise those of *news* that were not raised yet in their window. *due*: somebody is to be told."""
        if not news:
            return []
        return await self._db.write(partial(_raise, news, due, self._now_us()))

    async def due(self, most: int = 20) -> list[Alert]:
        """What is to be sent now, oldest first."""
        values = (self._now_us(), most)
        rows = await self._db.read(lambda connection: connection.execute(_DUE, values).fetchall())
        return [_alert(row) for row in rows]

    async def next_due(self) -> float | None:
        """When something is to be sent next, in Unix seconds; None: nothing is."""
        statement = "SELECT min(due_us) FROM budget_alerts WHERE due_us IS NOT NULL"
        (at_us,) = await self._db.read(lambda connection: connection.execute(statement).fetchone())
        return None if at_us is None else at_us / 1_000_000

    async def delivered(self, alert_id: int) -> None:
        """It was accepted."""
        values = (self._now_us(), alert_id)
        statement = (
            "UPDATE budget_alerts SET due_us = NULL, delivered_us = ?, error = NULL, tries = tries + 1 WHERE id = ?"
        )
        await self._db.write(lambda connection: connection.execute(statement, values).rowcount)

    async def failed(self, alert_id: int, error: str, again: float | None) -> None:
        """It was not accepted; to be sent *again* at that time, None: given up."""
        values = (None if again is None else int(again * 1_000_000), error[:500], alert_id)
        statement = "UPDATE budget_alerts SET due_us = ?, error = ?, tries = tries + 1 WHERE id = ?"
        await self._db.write(lambda connection: connection.execute(statement, values).rowcount)

    async def recent(self, limit: int = 100, budget: str | None = None) -> list[dict[str, Any]]:
        """The newest alerts as rows, newest first."""
        values = (budget, limit)
        rows = await self._db.read(lambda connection: connection.execute(_RECENT, values).fetchall())
        return [dict(row) for row in rows]

    async def forget_old(self) -> int:
        """Remove what was raised long ago; how many that were."""
        before_us = self._now_us() - KEPT_US
        statement = "DELETE FROM budget_alerts WHERE due_us IS NULL AND at_us < ?"
        return await self._db.write(lambda connection: connection.execute(statement, (before_us,)).rowcount)

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


_LAST = """
SELECT max(window_us) FROM budget_alerts WHERE budget = ? AND event = ? AND percent = ? AND limit_nanousd = ?"""

_INSERT = """
INSERT INTO budget_alerts (budget, window_us, event, percent, limit_nanousd, at_us, report, due_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""

_DUE = "SELECT * FROM budget_alerts WHERE due_us <= ? ORDER BY due_us, id LIMIT ?"

_RECENT = "SELECT * FROM budget_alerts WHERE (?1 IS NULL OR budget = ?1) ORDER BY id DESC LIMIT ?2"

_GIVE_UP = """
UPDATE budget_alerts SET due_us = NULL, error = 'given up: too many others were waiting'
WHERE due_us IS NOT NULL AND id <= (
    SELECT id FROM budget_alerts WHERE due_us IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET ?)"""


def _raised(connection: sqlite3.Connection, news: News, at_us: int) -> bool:
    budget = news.budget
    values = (budget.id, news.event, news.percent, budget.limit_nanousd)
    (last_us,) = connection.execute(_LAST, values).fetchone()
    if last_us is None:
        return False
    if budget.rolling and budget.window != "total":
        return bool(last_us > at_us - LENGTH_US[budget.window])
    return bool(last_us >= bucket_us(budget.window, at_us, rolling=False))


def _raise(news: Sequence[News], due: bool, at_us: int, connection: sqlite3.Connection) -> list[Alert]:
    found = []
    for each in news:
        budget = each.budget
        if _raised(connection, each, at_us):
            continue
        rolling = budget.rolling and budget.window != "total"
        window_us = at_us if rolling else bucket_us(budget.window, at_us, rolling=False)
        row = (budget.id, window_us, each.event, each.percent, budget.limit_nanousd, at_us, dumps_text(each.report))
        alert_id = connection.execute(_INSERT, (*row, at_us if due else None)).lastrowid or 0
        found.append(Alert(alert_id, budget.id, each.event, each.percent, at_us / 1_000_000, each.report, 0))
    connection.execute(_GIVE_UP, (MOST_DUE,))
    return found


def _alert(row: Any) -> Alert:
    return Alert(
        row["id"],
        row["budget"],
        row["event"],
        row["percent"],
        row["at_us"] / 1_000_000,
        loads(row["report"]),
        row["tries"],
    )
