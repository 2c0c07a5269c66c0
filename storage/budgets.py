"""Budgets: limits on what may be spent, held by reservation.

    open an attempt --> reserve its worst case, in the same transaction --> settle: what it cost instead
                    \\-> OverBudget: nothing was written, nothing is sent

A budget has a kind (`global`, `organisation`, `team`, `key`, `tag`, `provider`, `route`), the subject it is about, and
a window. An exchange is charged to the window in which it was opened. `spent + reserved` of a hard budget never
passes its limit: every reservation is the most that an attempt can cost, and all are made one after another by the one
thread that writes.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, get_args

from storage.db import Database
from storage.errors import StorageError
from storage.money import usd
from storage.windows import Window, bucket_us, ends_us, first_bucket_us
from translators.codec import dumps_text, loads

Kind = Literal["global", "organisation", "team", "key", "tag", "provider", "route"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
WINDOWS: Final[tuple[Window, ...]] = get_args(Window)
Unpriced = Literal["refuse", "allow"]
Origin = Literal["config", "api", "key"]
_FOREVER_US: Final = 2**62


@dataclass(frozen=True, slots=True)
class Budget:
    """*subject* is the id or name of what the budget is about (`name=value` for a tag), empty for `global`.

    A soft budget (*hard* False) only gives alerts. *unpriced*: what becomes of a request for a model without a known
    price. *alerts*: percentages of the limit.
    """

    id: str
    kind: Kind
    limit_nanousd: int
    subject: str = ""
    name: str = ""
    window: Window = "month"
    rolling: bool = False
    hard: bool = True
    unpriced: Unpriced = "refuse"
    alerts: tuple[int, ...] = (80, 100)
    origin: Origin = "api"

    @property
    def title(self) -> str:
        """What people call it: `budget "search" (team search, 10.000000000 USD a day)`."""
        about = "everything" if self.kind == "global" else f"{self.kind} {self.subject}"
        span = "in all" if self.window == "total" else f"a {self.window}"
        return f'budget "{self.name or self.id}" ({about}, {usd(self.limit_nanousd)} USD {span})'


class OverBudget(StorageError):
    """A hard budget does not allow an attempt. Nothing was written."""

    word = "ok"

    def __init__(
        self,
        budget: Budget,
        *,
        spent_nanousd: int,
        reserved_nanousd: int,
        needed_nanousd: int | None,
        reopens_us: int | None,
    ) -> None:
        self.budget = budget
        self.spent_nanousd = spent_nanousd
        self.reserved_nanousd = reserved_nanousd
        self.needed_nanousd = needed_nanousd
        """The most that the attempt may cost; None when its model has no known price."""
        self.reopens_us = reopens_us
        """When the budget has room again, in microseconds since 1970; None: not by itself."""
        super().__init__(self._told())

    def _told(self) -> str:
        stand = f"spent {usd(self.spent_nanousd)}, reserved {usd(self.reserved_nanousd)}"
        if self.needed_nanousd is None:
            return (
                f"{self.budget.title}: the model has no known price, and the budget refuses what it cannot count"
                f" ({stand} USD); set a price for the model, or unpriced = allow for the budget"
            )
        return f"{self.budget.title} is used up: {stand}, and this request may cost {usd(self.needed_nanousd)} USD"

    @property
    def never_fits(self) -> bool:
        """Whether the request alone is more than the limit, so that waiting does not help."""
        return self.needed_nanousd is None or self.needed_nanousd > self.budget.limit_nanousd


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands in its present window."""

    budget: Budget
    spent_nanousd: int
    reserved_nanousd: int
    unpriced_attempts: int
    since_us: int
    reopens_us: int | None
    """When the window ends; of a rolling one, when the first spending of it leaves."""

    @property
    def percent(self) -> float:
        """How much of the limit is spent or reserved, in percent."""
        used = self.spent_nanousd + self.reserved_nanousd
        return 100 * used / self.budget.limit_nanousd if self.budget.limit_nanousd else 100.0


class Budgets:
    """The budgets in *db*, and how they stand."""

    def __init__(self, db: Database, *, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    async def all(self) -> list[Budget]:
        """Every budget, oldest first."""
        rows = await self._db.read(lambda connection: connection.execute(_ALL).fetchall())
        return [_budget(row) for row in rows]

    async def put(self, budget: Budget) -> None:
        """Add *budget*, or change the one with its id; what is spent stays."""
        await self._db.write(partial(put_budget, budget, int(self._now() * 1_000_000)))

    async def remove(self, budget_id: str) -> bool:
        """Remove a budget; whether it was there."""
        return await self._db.write(partial(remove_budget, budget_id))

    async def replace_configured(self, budgets: Sequence[Budget]) -> None:
        """Let the budgets of the configuration be exactly *budgets*; those made by the API stay."""
        await self._db.write(partial(_replace_configured, budgets, int(self._now() * 1_000_000)))

    async def standings(self) -> list[Standing]:
        """How every budget stands now."""
        at_us = int(self._now() * 1_000_000)
        return await self._db.read(partial(_standings, at_us))

    async def alert(self, budget_id: str, window_us: int, percent: int) -> bool:
        """Note that an alert goes out; False when it did already in this window."""
        at_us = int(self._now() * 1_000_000)
        values = (budget_id, window_us, percent, at_us)
        statement = "INSERT OR IGNORE INTO budget_alerts VALUES (?, ?, ?, ?)"
        return await self._db.write(lambda connection: connection.execute(statement, values).rowcount == 1)


# --- reserving and settling: in the writer thread, inside the ledger's transaction ----------------------

_USED = """
SELECT ifnull(sum(spent_nanousd), 0), ifnull(sum(reserved_nanousd), 0)
FROM budget_spending WHERE budget = ? AND bucket_us BETWEEN ? AND ?"""

_RESERVE = """
INSERT INTO budget_spending (budget, bucket_us, reserved_nanousd) VALUES (?, ?, ?)
ON CONFLICT (budget, bucket_us) DO UPDATE SET reserved_nanousd = reserved_nanousd + excluded.reserved_nanousd"""

_CHARGE = """
INSERT INTO charges (exchange, budget, bucket_us, provider, nanousd) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (exchange, budget) DO UPDATE SET nanousd = excluded.nanousd"""

# What the attempts of an exchange have cost, and what the open ones may cost.
_HELD_BY_ATTEMPTS = """
SELECT ifnull(sum(CASE WHEN status = 'open' THEN reserved_nanousd ELSE cost_nanousd END), 0)
FROM attempts WHERE exchange = ?1 AND (?2 IS NULL OR provider = ?2)"""

_SETTLE_CHARGE = """
SELECT c.budget, c.bucket_us, c.nanousd, ifnull(sum(a.cost_nanousd), 0),
    sum(a.number NOT NULL AND a.cost_nanousd IS NULL)
FROM charges AS c LEFT JOIN attempts AS a ON a.exchange = c.exchange AND (c.provider IS NULL OR a.provider = c.provider)
WHERE c.exchange = ? AND NOT c.settled GROUP BY c.budget"""

_SPEND = """
UPDATE budget_spending SET reserved_nanousd = reserved_nanousd - ?, spent_nanousd = spent_nanousd + ?,
    unpriced_attempts = unpriced_attempts + ?
WHERE budget = ? AND bucket_us = ?"""


@dataclass(frozen=True, slots=True)
class Ask:
    """An attempt at *provider* that may cost *worst_nanousd* (None: unknown), of an exchange opened at *opened_us*."""

    budgets: Sequence[Budget]
    provider: str
    worst_nanousd: int | None
    opened_us: int


@dataclass(frozen=True, slots=True)
class Hold:
    """What is to be reserved with one budget for an exchange: *nanousd* in all, *more* than it holds already."""

    budget: Budget
    bucket_us: int
    provider: str | None
    nanousd: int
    more: int


def holds_for(connection: sqlite3.Connection, ask: Ask, exchange: int | None) -> list[Hold] | OverBudget:
    """What has to be reserved for *ask*, or the budget that forbids it. Nothing is written.

    *exchange*: the row of an exchange that is open already, None for one that is about to be opened.
    """
    holds: list[Hold] = []
    for budget in ask.budgets:
        own = ask.provider if budget.kind == "provider" else None
        needed = ask.worst_nanousd or 0
        bucket = bucket_us(budget.window, ask.opened_us, rolling=budget.rolling)
        held = 0
        if exchange is not None:
            needed += connection.execute(_HELD_BY_ATTEMPTS, (exchange, own)).fetchone()[0]
            found = connection.execute(
                "SELECT nanousd FROM charges WHERE exchange = ? AND budget = ?", (exchange, budget.id)
            ).fetchone()
            held = found[0] if found else 0
        more = needed - held
        if budget.hard and (over := _over(connection, budget, ask, more)):
            return over
        holds.append(Hold(budget, bucket, own, needed, more))
    return holds


def _over(connection: sqlite3.Connection, budget: Budget, ask: Ask, more: int) -> OverBudget | None:
    if ask.worst_nanousd is None and budget.unpriced == "allow":
        return None
    since = first_bucket_us(budget.window, ask.opened_us, rolling=budget.rolling)
    # Later buckets of a rolling window count, too: together with the one that is charged they will make a window.
    until = _FOREVER_US if budget.rolling else since
    spent, reserved = connection.execute(_USED, (budget.id, since, until)).fetchone()
    if ask.worst_nanousd is not None and (more <= 0 or spent + reserved + more <= budget.limit_nanousd):
        return None
    return OverBudget(
        budget,
        spent_nanousd=spent,
        reserved_nanousd=reserved,
        needed_nanousd=ask.worst_nanousd,
        reopens_us=_reopens_us(connection, budget, since, spent + reserved + more - budget.limit_nanousd),
    )


def _reopens_us(connection: sqlite3.Connection, budget: Budget, since_us: int, excess_nanousd: int) -> int | None:
    """When enough of what is used has left the window for *excess_nanousd* more."""
    if not budget.rolling or budget.window == "total":
        return ends_us(budget.window, since_us, rolling=False)
    leaving = 0
    rows = connection.execute(
        "SELECT bucket_us, spent_nanousd + reserved_nanousd FROM budget_spending"
        " WHERE budget = ? AND bucket_us >= ? ORDER BY bucket_us",
        (budget.id, since_us),
    ).fetchall()
    for bucket, used in rows:
        leaving += used
        if leaving >= excess_nanousd:
            return ends_us(budget.window, bucket, rolling=True)
    return ends_us(budget.window, rows[-1][0], rolling=True) if rows else None


def reserve(connection: sqlite3.Connection, exchange: int, holds: Iterable[Hold]) -> None:
    """Write *holds* down for the exchange of that row."""
    for hold in holds:
        connection.execute(_RESERVE, (hold.budget.id, hold.bucket_us, hold.more))
        connection.execute(_CHARGE, (exchange, hold.budget.id, hold.bucket_us, hold.provider, hold.nanousd))


def settle_charges(connection: sqlite3.Connection, exchange: int) -> None:
    """Put what the attempts of *exchange* cost in the place of what was reserved for them."""
    for budget, bucket, held, cost, unpriced in connection.execute(_SETTLE_CHARGE, (exchange,)).fetchall():
        connection.execute(_SPEND, (held, cost, unpriced, budget, bucket))
        connection.execute(
            "UPDATE charges SET nanousd = ?, settled = 1 WHERE exchange = ? AND budget = ?", (cost, exchange, budget)
        )


def recharge(connection: sqlite3.Connection, exchange: int) -> None:
    """After the costs of a settled *exchange* were changed: let its budgets follow."""
    connection.execute("UPDATE charges SET settled = 0 WHERE exchange = ?", (exchange,))
    rows = connection.execute(_SETTLE_CHARGE, (exchange,)).fetchall()
    for budget, bucket, before, cost, _ in rows:
        connection.execute(_SPEND, (0, cost - before, 0, budget, bucket))
        connection.execute(
            "UPDATE charges SET nanousd = ?, settled = 1 WHERE exchange = ? AND budget = ?", (cost, exchange, budget)
        )


# --- the rows ------------------------------------------------------------------------------------------

_ALL = "SELECT * FROM budgets ORDER BY created_us, id"

_PUT = """
INSERT INTO budgets (id, name, kind, subject, limit_nanousd, window, rolling, hard, unpriced, alerts, origin,
                     created_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, subject = excluded.subject,
    limit_nanousd = excluded.limit_nanousd, window = excluded.window, rolling = excluded.rolling, hard = excluded.hard,
    unpriced = excluded.unpriced, alerts = excluded.alerts, origin = excluded.origin"""


def put_budget(budget: Budget, at_us: int, connection: sqlite3.Connection) -> None:
    """Add or change a budget, inside somebody's transaction."""
    connection.execute(
        _PUT,
        (
            budget.id,
            budget.name,
            budget.kind,
            budget.subject,
            budget.limit_nanousd,
            budget.window,
            budget.rolling,
            budget.hard,
            budget.unpriced,
            dumps_text(budget.alerts),
            budget.origin,
            at_us,
        ),
    )


def remove_budget(budget_id: str, connection: sqlite3.Connection) -> bool:
    """Remove a budget, inside somebody's transaction; whether it was there."""
    found = connection.execute("DELETE FROM budgets WHERE id = ?", (budget_id,)).rowcount == 1
    connection.execute("DELETE FROM budget_spending WHERE budget = ?", (budget_id,))
    connection.execute("DELETE FROM charges WHERE budget = ?", (budget_id,))
    connection.execute("DELETE FROM budget_alerts WHERE budget = ?", (budget_id,))
    return found


def _replace_configured(budgets: Sequence[Budget], at_us: int, connection: sqlite3.Connection) -> None:
    kept = {budget.id for budget in budgets}
    rows = connection.execute("SELECT id FROM budgets WHERE origin = 'config'").fetchall()
    for (budget_id,) in rows:
        if budget_id not in kept:
            remove_budget(budget_id, connection)
    for budget in budgets:
        put_budget(budget, at_us, connection)


def _standings(at_us: int, connection: sqlite3.Connection) -> list[Standing]:
    return [_standing(connection, _budget(row), at_us) for row in connection.execute(_ALL).fetchall()]


def _standing(connection: sqlite3.Connection, budget: Budget, at_us: int) -> Standing:
    since = first_bucket_us(budget.window, at_us, rolling=budget.rolling)
    spent, reserved, unpriced, oldest = connection.execute(
        "SELECT ifnull(sum(spent_nanousd), 0), ifnull(sum(reserved_nanousd), 0), ifnull(sum(unpriced_attempts), 0),"
        " min(bucket_us) FROM budget_spending WHERE budget = ? AND bucket_us >= ?",
        (budget.id, since),
    ).fetchone()
    first = oldest if budget.rolling and oldest is not None else since
    return Standing(budget, spent, reserved, unpriced, since, ends_us(budget.window, first, rolling=budget.rolling))


def _budget(row: Any) -> Budget:
    return Budget(
        id=row["id"],
        kind=row["kind"],
        limit_nanousd=row["limit_nanousd"],
        subject=row["subject"],
        name=row["name"],
        window=row["window"],
        rolling=bool(row["rolling"]),
        hard=bool(row["hard"]),
        unpriced=row["unpriced"],
        alerts=tuple(loads(row["alerts"])),
        origin=row["origin"],
    )
