"""Checking the ledger against itself: whatever is written twice has to agree, and every cost has to follow from usage.

integrity     the file is sound (PRAGMA integrity_check), no row points to nowhere
exchange      tokens and cost of a settled exchange are the sums over its attempts
cost          the cost of an attempt, computed anew from the vendor's usage and the price that it names
charge        what an exchange is charged to a budget is what its attempts have cost
budget        what a budget has spent and reserved is what its charges add up to
rollup        the sums that are kept are those of the rows
audit         the chain of the audit log holds

Everything is read, in portions of which each is one snapshot; the server goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from storage.db import Database
from storage.rollups import DAY_US, Rollups, compare_day
from translators.codec import loads

T = TypeVar("T")

Recompute = Callable[[Mapping[str, Any]], int | None]
"""The cost of a row of `attempts` in nano-dollars, computed anew; None: its price cannot be had any more."""
Audit = Callable[[], Awaitable[str | None]]
"""What is wrong with the audit log; None: nothing."""

KEPT: Final = 1000
"""Differences that are told one by one; all are counted."""
PORTION: Final = 2000
"""Exchanges that are looked at in one read."""
REST_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class Difference:
    """*where* two records of *what* do not agree; *kind* is one of those above."""

    kind: str
    where: str
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.kind} {self.where}: {self.what} is {self.found}, should be {self.expected}"


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found."""

    exchanges: int = 0
    attempts: int = 0
    recomputed: int = 0
    """Attempts whose cost was computed anew."""
    not_recomputed: int = 0
    """Attempts with a cost that could not be: without the vendor's usage, or at a price that is not known any more."""
    charges: int = 0
    days: int = 0
    count: int = 0
    """Differences in all."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing differs."""
        return self.count == 0

    def tell(self, found: Iterable[Difference]) -> None:
        """Note differences."""
        for each in found:
            self.count += 1
            if len(self.differences) < KEPT:
                self.differences.append(each)


class Verifier:
    """Checks the ledger in *db*. Without *recompute* costs are not computed anew, without *audit* no log is checked."""

    def __init__(
        self, db: Database, rollups: Rollups, *, recompute: Recompute | None = None, audit: Audit | None = None
    ) -> None:
        self._db = db
        self._rollups = rollups
        self._recompute = recompute
        self._audit = audit

    async def run(self) -> Report:
        """Check everything.

        Raises:
            StorageError: it cannot be read.
        """
        report = Report()
        report.tell(await self._db.read(_integrity))
        await self._rows(report)
        report.tell(await self._db.read(_budgets))
        await self._days(report)
        wrong = await self._audit() if self._audit else None
        if wrong is not None:
            report.tell([Difference("audit", "log", "the chain", "unbroken", wrong)])
        return report

    async def _rows(self, report: Report) -> None:
        after, newest = 0, await self._db.read(_newest)
        while after < newest:
            portion = await self._db.read(partial(_portion, after, self._recompute))
            after = portion.last or newest
            report.exchanges += portion.exchanges
            report.attempts += portion.attempts
            report.recomputed += portion.recomputed
            report.not_recomputed += portion.not_recomputed
            report.charges += portion.charges
            report.tell(portion.differences)
            await asyncio.sleep(REST_S)

    async def _days(self, report: Report) -> None:
        await self._rollups.catch_up()
        day = await self._db.read(partial(_next_day, 0))
        while day is not None:
            report.tell(await self._db.read(partial(_rollups, day)))
            report.days += 1
            day = await self._db.read(partial(_next_day, day + DAY_US))
            await asyncio.sleep(REST_S)


def kept_prices(connection: sqlite3.Connection) -> list[tuple[str, str, dict[str, Any]]]:
    """Version, source and rates of every price that was kept: for a `Recompute`."""
    rows = connection.execute("SELECT version, source, rates FROM prices")
    return [(version, source, loads(rates)) for version, source, rates in rows]


@dataclass(slots=True)
class _Portion:
    """What was found in some exchanges. *last* 0: there were no more."""

    last: int = 0
    exchanges: int = 0
    attempts: int = 0
    recomputed: int = 0
    not_recomputed: int = 0
    charges: int = 0
    differences: list[Difference] = field(default_factory=list)


# --- the file ------------------------------------------------------------------------------------------


def _integrity(connection: sqlite3.Connection) -> list[Difference]:
    told = [row[0] for row in connection.execute("PRAGMA integrity_check(100)")]
    found = [Difference("integrity", "file", "integrity_check", "ok", line) for line in told if line != "ok"]
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        found.append(Difference("integrity", f"{table} {row}", f"its row of {parent}", "there", "missing"))
    return found


def _newest(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT ifnull(max(row), 0) FROM exchanges").fetchone()[0])


# --- exchanges, attempts, charges ------------------------------------------------------------------------

_NUMBERS: Final = (
    "attempts", "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "cost_nanousd", "estimated",
)  # fmt: skip

# An exchange without attempts came out of the cache: its tokens are those of the stored answer, and it cost nothing.
_EXCHANGES = """
SELECT e.row, e.id, e.attempts, e.input_tokens, e.cached_input_tokens, e.cache_write_tokens, e.output_tokens,
    e.reasoning_tokens, e.cost_nanousd, e.estimated,
    count(a.number), ifnull(sum(a.input_tokens), e.input_tokens),
    ifnull(sum(a.cached_input_tokens), e.cached_input_tokens),
    ifnull(sum(a.cache_write_tokens), e.cache_write_tokens), ifnull(sum(a.output_tokens), e.output_tokens),
    ifnull(sum(a.reasoning_tokens), e.reasoning_tokens),
    CASE WHEN count(a.number) = count(a.cost_nanousd) THEN ifnull(sum(a.cost_nanousd), 0) END,
    ifnull(max(a.estimated), 0), ifnull(sum(a.status = 'open'), 0)
FROM exchanges AS e LEFT JOIN attempts AS a ON a.exchange = e.row
WHERE e.row > ? AND e.row <= ? AND e.status <> 'open'
GROUP BY e.row"""

_ATTEMPTS = """
SELECT a.*, e.id AS exchange_id, e.dialect FROM exchanges AS e CROSS JOIN attempts AS a ON a.exchange = e.row
WHERE e.row > ? AND e.row <= ? AND a.status <> 'open' AND a.cost_nanousd IS NOT NULL"""

_CHARGES = """
SELECT e.id, c.budget, c.settled, c.nanousd, ifnull(sum(a.cost_nanousd), 0)
FROM exchanges AS e CROSS JOIN charges AS c ON c.exchange = e.row
    LEFT JOIN attempts AS a ON a.exchange = c.exchange AND (c.provider IS NULL OR a.provider = c.provider)
WHERE e.row > ? AND e.row <= ? AND e.status <> 'open'
GROUP BY c.exchange, c.budget"""


def _portion(after: int, recompute: Recompute | None, connection: sqlite3.Connection) -> _Portion:
    portion = _Portion()
    (last,) = connection.execute(
        "SELECT max(row) FROM (SELECT row FROM exchanges WHERE row > ? ORDER BY row LIMIT ?)", (after, PORTION)
    ).fetchone()
    if last is None:
        return portion
    portion.last = last
    span = (after, last)
    for row in connection.execute(_EXCHANGES, span):
        _look_at_exchange(tuple(row), portion)
    for row in connection.execute(_CHARGES, span):
        _look_at_charge(tuple(row), portion)
    if recompute is not None:
        for row in connection.execute(_ATTEMPTS, span):
            _look_at_cost(dict(row), recompute, portion)
    return portion


def _look_at_exchange(row: tuple[Any, ...], portion: _Portion) -> None:
    _, name, *numbers, left_open = row
    written, counted = numbers[: len(_NUMBERS)], numbers[len(_NUMBERS) :]
    portion.exchanges += 1
    portion.attempts += counted[0]
    portion.differences += [
        Difference("exchange", name, what, _said(sum_), _said(own))
        for what, own, sum_ in zip(_NUMBERS, written, counted, strict=True)
        if own != sum_
    ]
    if left_open:
        portion.differences.append(Difference("exchange", name, "attempts that are open", "0", str(left_open)))


def _look_at_charge(row: tuple[Any, ...], portion: _Portion) -> None:
    name, budget, settled, charged, cost = row
    portion.charges += 1
    where = f"{name} {budget}"
    if not settled:
        portion.differences.append(Difference("charge", where, "the charge", "settled", "reserved"))
    elif charged != cost:
        portion.differences.append(Difference("charge", where, "nanousd", str(cost), str(charged)))


def _look_at_cost(row: Mapping[str, Any], recompute: Recompute, portion: _Portion) -> None:
    if not row["price_version"] or (row["raw_usage"] is None and not row["estimated"]):
        portion.not_recomputed += bool(row["cost_nanousd"])
        return
    cost = recompute(row)
    if cost is None:
        portion.not_recomputed += 1
        return
    portion.recomputed += 1
    if cost != row["cost_nanousd"]:
        where = f"{row['exchange_id']} attempt {row['number']}"
        portion.differences.append(Difference("cost", where, "cost_nanousd", str(cost), str(row["cost_nanousd"])))


# --- budgets -------------------------------------------------------------------------------------------

# Where exchanges were pruned, their charges are gone, and what was spent stays: `kept` 0.
_SPENDING = """
WITH charged AS (
    SELECT budget, bucket_us, sum(CASE WHEN settled THEN nanousd ELSE 0 END) AS spent,
        sum(CASE WHEN settled THEN 0 ELSE nanousd END) AS reserved
    FROM charges GROUP BY budget, bucket_us
)
SELECT s.budget, s.bucket_us, s.spent_nanousd, s.reserved_nanousd, ifnull(c.spent, 0), ifnull(c.reserved, 0),
    s.bucket_us >= (SELECT pruned_us FROM rollup_state)
FROM budget_spending AS s LEFT JOIN charged AS c ON c.budget = s.budget AND c.bucket_us = s.bucket_us
UNION ALL
SELECT c.budget, c.bucket_us, 0, 0, c.spent, c.reserved, 1 FROM charged AS c
WHERE NOT EXISTS (SELECT 1 FROM budget_spending AS s WHERE s.budget = c.budget AND s.bucket_us = c.bucket_us)"""


def _budgets(connection: sqlite3.Connection) -> list[Difference]:
    found: list[Difference] = []
    for budget, bucket, spent, reserved, charged, held, kept in connection.execute(_SPENDING):
        where = f"{budget} from {bucket}"
        if spent != charged if kept else spent < charged:
            found.append(Difference("budget", where, "spent_nanousd", str(charged), str(spent)))
        if reserved != held:
            found.append(Difference("budget", where, "reserved_nanousd", str(held), str(reserved)))
    return found


# --- sums that are kept ----------------------------------------------------------------------------------

_NEXT_DAY = """
SELECT min(at) FROM (
    SELECT min(opened_us) AS at FROM exchanges WHERE opened_us >= :day
    UNION ALL
    SELECT min(bucket_us) FROM rollups WHERE tagged = 0 AND length_us = 86400000000 AND bucket_us >= :day
)"""


def _next_day(after_us: int, connection: sqlite3.Connection) -> int | None:
    """The first day from *after_us* on that has rows or sums, and may be compared."""
    (pruned_us,) = connection.execute("SELECT pruned_us FROM rollup_state").fetchone()
    (at_us,) = connection.execute(_NEXT_DAY, {"day": max(after_us, pruned_us)}).fetchone()
    return None if at_us is None else int(at_us - at_us % DAY_US)


def _rollups(day_us: int, connection: sqlite3.Connection) -> list[Difference]:
    return [
        Difference("rollup", where, what, _said(expected), _said(found))
        for where, what, expected, found in compare_day(connection, day_us)
    ]


def _said(number: int | None) -> str:
    return "unknown" if number is None else str(number)
