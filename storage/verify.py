"""Checking the ledger against itself: whatever is written twice has to agree, and every cost has to follow from usage.

integrity     the file is sound (PRAGMA integrity_check), no row points to nowhere
exchange      tokens and cost of a settled exchange are the sums over its attempts
cost          the cost of an attempt, computed anew from the vendor's usage and the price that it names
charge        what an exchange is charged to a budget is what its attempts have cost
budget        what a budget has spent and reserved is what its charges add up to
rollup        the sums that are kept are those of the rows
audit         the chain of the audit log holds

Everything is read, in portions of which each is one snapshot: some exchanges, an hour of sums, one table of the file.
The server goes on meanwhile, and what it writes can be moved out of the log between two of them.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Final, TypeVar

from storage.db import Database
from storage.rollups import DAY_US, HOUR_US, Differing, Rollups, compare_day, compare_hour
from translators.codec import dumps_text, loads

T = TypeVar("T")

Recompute = Callable[[Mapping[str, Any]], int | None]
"""The cost of a row of `attempts` in nano-dollars, computed anew; None: its price cannot be had any more."""
Audit = Callable[[], Awaitable[str | None]]
"""What is wrong with the audit log; None: nothing."""

KEPT: Final = 1000
"""Differences that are told one by one; all are counted."""
PORTION: Final = 2000
"""Exchanges that are looked at in one read."""
WHOLE_BYTES: Final = 64 * 1024 * 1024
"""A larger file is examined table by table."""
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
class Looked:
    """At how much."""

    exchanges: int = 0
    attempts: int = 0
    recomputed: int = 0
    """Attempts whose cost was computed anew."""
    not_recomputed: int = 0
    """Attempts with a cost that could not be: without the vendor's usage, or at a price that is not known any more."""
    charges: int = 0

    def add(self, other: Looked) -> None:
        """Count *other* in."""
        for each in fields(Looked):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True)
class Report(Looked):
    """What was looked at, and what was found."""

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
        self,
        db: Database,
        rollups: Rollups,
        *,
        recompute: Recompute | None = None,
        audit: Audit | None = None,
        portion: int = PORTION,
        whole_bytes: int = WHOLE_BYTES,
    ) -> None:
        self._db = db
        self._rollups = rollups
        self._recompute = recompute
        self._audit = audit
        self._portion = portion
        self._whole_bytes = whole_bytes

    async def run(self) -> Report:
        """Check everything.

        Raises:
            StorageError: it cannot be read.
        """
        report = Report()
        await self._file(report)
        charged = await self._rows(report)
        await self._budgets(report, charged)
        await self._days(report)
        wrong = await self._audit() if self._audit else None
        if wrong is not None:
            report.tell([Difference("audit", "log", "the chain", "unbroken", wrong)])
        return report

    async def _file(self, report: Report) -> None:
        tables: list[str | None] = [None]
        if self._db.size_bytes > self._whole_bytes:
            tables = list(await self._db.read(_tables))
        for table in tables:
            report.tell(await self._db.read(partial(_integrity, table)))
            await asyncio.sleep(REST_S)

    async def _rows(self, report: Report) -> _Charged:
        after, newest = 0, await self._db.read(_newest, fresh=True)
        charged = _Charged()
        while after < newest:
            portion = await self._db.read(partial(_look_at, after, self._portion, self._recompute))
            after = portion.last or newest
            report.add(portion)
            report.tell(portion.differences)
            charged.add(portion.charged, after)
            await asyncio.sleep(REST_S)
        return charged

    async def _budgets(self, report: Report, charged: _Charged) -> None:
        if await self._db.read(partial(_differ, charged)):
            # Costs may have been changed between two portions: what counts is one snapshot of all.
            report.tell(await self._db.read(_budgets))

    async def _days(self, report: Report) -> None:
        await self._rollups.catch_up()
        day = await self._db.read(partial(_next_day, 0))
        while day is not None:
            for hour in range(day, day + DAY_US, HOUR_US):
                report.tell(map(_rollup, await self._db.read(partial(compare_hour, hour))))
            report.tell(map(_rollup, await self._db.read(partial(compare_day, day))))
            report.days += 1
            await asyncio.sleep(REST_S)
            day = await self._db.read(partial(_next_day, day + DAY_US))


def kept_prices(connection: sqlite3.Connection) -> list[tuple[str, str, dict[str, Any]]]:
    """Version, source and rates of every price that was kept: for a `Recompute`."""
    rows = connection.execute("SELECT version, source, rates FROM prices")
    return [(version, source, loads(rates)) for version, source, rates in rows]


@dataclass(slots=True)
class _Charged:
    """What exchanges up to the row *upto* are charged to each window of each budget, but for those that are *open*."""

    upto: int = 0
    nanousd: Counter[tuple[str, int]] = field(default_factory=Counter)
    open: set[int] = field(default_factory=set)

    def add(self, other: _Charged, upto: int) -> None:
        """Take in those of the rows up to *upto*."""
        self.upto = upto
        self.nanousd.update(other.nanousd)
        self.open |= other.open


@dataclass(slots=True)
class _Portion(Looked):
    """What was found in some exchanges. *last* 0: there were no more."""

    last: int = 0
    differences: list[Difference] = field(default_factory=list)
    charged: _Charged = field(default_factory=_Charged)


# --- the file ------------------------------------------------------------------------------------------


_TABLES = "SELECT 'sqlite_schema' UNION ALL SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0"


def _tables(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute(_TABLES)]


def _integrity(table: str | None, connection: sqlite3.Connection) -> list[Difference]:
    """What is wrong with *table* and its indexes; None: with the whole file, its list of free pages included."""
    which = "" if table is None else f'("{table}")'  # a pragma takes no parameters
    told = [row[0] for row in connection.execute(f"PRAGMA integrity_check{which}")]
    found = [Difference("integrity", table or "file", "integrity_check", "ok", line) for line in told if line != "ok"]
    for child, row, parent, _ in connection.execute(f"PRAGMA foreign_key_check{which}"):
        found.append(Difference("integrity", f"{child} {row}", f"its row of {parent}", "there", "missing"))
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

_CHARGED = """
SELECT c.exchange, c.budget, c.bucket_us, c.nanousd, c.settled
FROM exchanges AS e CROSS JOIN charges AS c ON c.exchange = e.row WHERE e.row > ? AND e.row <= ?"""


def _look_at(after: int, limit: int, recompute: Recompute | None, connection: sqlite3.Connection) -> _Portion:
    portion = _Portion()
    (last,) = connection.execute(
        "SELECT max(row) FROM (SELECT row FROM exchanges WHERE row > ? ORDER BY row LIMIT ?)", (after, limit)
    ).fetchone()
    if last is None:
        return portion
    portion.last = last
    span = (after, last)
    for row in connection.execute(_EXCHANGES, span):
        _look_at_exchange(tuple(row), portion)
    for row in connection.execute(_CHARGES, span):
        _look_at_charge(tuple(row), portion)
    for exchange, budget, bucket, nanousd, settled in connection.execute(_CHARGED, span):
        if settled:
            portion.charged.nanousd[budget, bucket] += nanousd
        else:
            portion.charged.open.add(exchange)
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


_CHARGED_SINCE = """
SELECT budget, bucket_us, nanousd, settled FROM charges
WHERE exchange > :upto OR exchange IN (SELECT value FROM json_each(:open))"""

_SPENT = """
SELECT budget, bucket_us, spent_nanousd, reserved_nanousd, bucket_us >= (SELECT pruned_us FROM rollup_state)
FROM budget_spending"""


def _differ(charged: _Charged, connection: sqlite3.Connection) -> bool:
    """Whether budgets seem to hold something else than what was *charged* up to some row, and since then."""
    spent, reserved = Counter(charged.nanousd), Counter[tuple[str, int]]()
    since = {"upto": charged.upto, "open": dumps_text(sorted(charged.open))}
    for budget, bucket, nanousd, settled in connection.execute(_CHARGED_SINCE, since):
        (spent if settled else reserved)[budget, bucket] += nanousd
    for budget, bucket, told_spent, told_reserved, is_kept in connection.execute(_SPENT):
        known_spent, known_reserved = spent.pop((budget, bucket), 0), reserved.pop((budget, bucket), 0)
        if told_reserved != known_reserved or (told_spent != known_spent if is_kept else told_spent < known_spent):
            return True
    return any(spent.values()) or any(reserved.values())


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


def _rollup(differing: Differing) -> Difference:
    where, what, expected, found = differing
    return Difference("rollup", where, what, _said(expected), _said(found))


def _said(number: int | None) -> str:
    return "unknown" if number is None else str(number)
