"""Budgets: limits on what may be spent, held by reservation.

    open an attempt --> reserve its worst case, in the same transaction --> settle: what it cost instead
                    \\-> OverBudget: nothing was written, nothing is sent

A budget has a kind (`global`, `organisation`, `team`, `key`, `tag`, `provider`, `route`), the subject it is about, and
a window. An exchange is charged to the window in which it was opened. Nothing is let in that would take
`spent + reserved` of a hard budget past its limit: a reservation is the most that an attempt can cost as far as
anybody can tell, and all are made one after another by the one thread that writes.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, get_args

from storage.ahead import ADD, leaves_us, lies_ahead, look_ahead
from storage.audit import Entry
from storage.db import Database
from storage.errors import StorageError
from storage.money import usd
from storage.windows import LENGTH_US, Window, bucket_us, ends_us, first_bucket_us
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
    price. *alerts*: percentages of the limit. *assumed_output_tokens*: what is reserved for an answer without a bound;
    None: what is usual.
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
    assumed_output_tokens: int | None = None

    @property
    def title(self) -> str:
        """What people call it: `budget "search" (team search, 10.000000000 USD a day)`."""
        about = "everything" if self.kind == "global" else f"{self.kind} {self.subject}"
        span = {"total": "in all", "hour": "an hour", "day": "a day", "month": "a month"}[self.window]
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
        held_up: bool = False,
    ) -> None:
        self.budget = budget
        self.spent_nanousd = spent_nanousd
        self.reserved_nanousd = reserved_nanousd
        self.needed_nanousd = needed_nanousd
        """The most that the attempt may cost; None when its model has no known price."""
        self.reopens_us = reopens_us
        """When the budget has room again, in microseconds since 1970; None: not by itself."""
        self.held_up = held_up
        """Whether there would be room but for what running requests have reserved and may not need."""
        super().__init__(self._told())

    def _told(self) -> str:
        stand = f"spent {usd(self.spent_nanousd)}, reserved {usd(self.reserved_nanousd)}"
        if self.needed_nanousd is None:
            return (
                f"{self.budget.title}: the model has no known price, and the budget refuses what it cannot count"
                f" ({stand} USD); set a price for the model, or unpriced = allow for the budget"
            )
        how = "has no room for now" if self.held_up else "is used up"
        return f"{self.budget.title} {how}: {stand}, and this request may cost {usd(self.needed_nanousd)} USD"

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
        """How much of the limit is spent, in percent. What is only reserved may never be spent."""
        if not self.budget.limit_nanousd:
            return 100.0
        return 100 * self.spent_nanousd / self.budget.limit_nanousd

    @property
    def reached(self) -> tuple[int, ...]:
        """The thresholds of its alerts that what was spent has reached."""
        if not self.spent_nanousd:
            return ()
        spent, limit = 100 * self.spent_nanousd, self.budget.limit_nanousd
        return tuple(percent for percent in self.budget.alerts if spent >= limit * percent)

    @property
    def status(self) -> Literal["ok", "alert", "used_up"]:
        """`alert`: a threshold is reached; `used_up`: nothing is left, whether or not that refuses anything."""
        if self.spent_nanousd >= self.budget.limit_nanousd:
            return "used_up"
        return "alert" if self.reached else "ok"


class Budgets:
    """The budgets in *db*, and how they stand."""

    def __init__(self, db: Database, *, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    async def all(self) -> list[Budget]:
        """Every budget, oldest first."""
        rows = await self._db.read(lambda connection: connection.execute(_ALL).fetchall())
        return [_budget(row) for row in rows]

    async def put(self, budget: Budget, entry: Entry | None = None) -> None:
        """Add *budget*, or change the one with its id; what is spent stays, and counts in the windows as they are now.

        *entry* of the audit log is written with it.
        """
        await self._db.write(partial(_put, budget, entry, self._now_us()))

    async def remove(self, budget_id: str, entry: Entry | None = None) -> bool:
        """Remove a budget and what it has counted; whether it was there."""
        return await self._db.write(partial(_remove, budget_id, entry))

    async def replace_configured(self, budgets: Sequence[Budget]) -> None:
        """Let the budgets of the configuration be exactly *budgets*; those made by the API stay."""
        await self._db.write(partial(_replace_configured, budgets, self._now_us()))

    async def standings(self) -> list[Standing]:
        """How every budget stands now, oldest first."""
        return await self._db.read(partial(_standings, _STANDINGS, (), self._now_us()))

    async def alerting(self, also: Iterable[str] = ()) -> list[Standing]:
        """How those stand that have reached a threshold of theirs, and those with an id in *also*."""
        return await self._db.read(partial(_standings, _ALERTING, (dumps_text(list(also)),), self._now_us()))

    async def forget_old(self) -> int:
        """Remove what windows of long ago have held, where the exchanges themselves were pruned; how many rows."""
        return await self._db.write(partial(_forget_old, self._now_us()))

    def raise_open(self, provider: str, model: str, times: float) -> None:
        """Let the running attempts at *model* reserve so many *times* as much. Never waits, never raises."""
        self._db.post(partial(_raise_open, provider, model, times, self._now_us()))

    async def look_ahead(self, *, stepped: bool) -> int:
        """Look after what rolling budgets hold in time to come; how many buckets those are. See `storage.ahead`.

        *stepped*: the clock may have been put ahead since the last time.
        """
        at_us = self._now_us()
        if not await self._db.read(partial(lies_ahead, at_us)):
            return 0
        return await self._db.write(partial(look_ahead, at_us, stepped))

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


# --- reserving and settling: in the writer thread, inside the ledger's transaction ----------------------

_USED = """
SELECT ifnull(sum(spent_nanousd), 0), ifnull(sum(reserved_nanousd), 0)
FROM budget_spending WHERE budget = ? AND bucket_us BETWEEN ? AND ?"""

_TERMS = "SELECT limit_nanousd, window, rolling, hard, unpriced FROM budgets WHERE id = ?"

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


def holds_for(
    connection: sqlite3.Connection, ask: Ask, exchange: int | None, *, enforce: bool = True
) -> list[Hold] | OverBudget:
    """What has to be reserved for *ask*, or the budget that forbids it. Nothing is written.

    *exchange*: the row of an exchange that is open already, None for one that is about to be opened.
    Without *enforce* nothing is forbidden: the attempt was made long ago.
    """
    holds: list[Hold] = []
    for known in ask.budgets:
        budget = _as_stored(connection, known)
        own = ask.provider if budget.kind == "provider" else None
        needed = ask.worst_nanousd or 0
        bucket = bucket_us(budget.window, ask.opened_us, rolling=budget.rolling)
        held = 0
        if exchange is not None:
            needed += connection.execute(_HELD_BY_ATTEMPTS, (exchange, own)).fetchone()[0]
            found = connection.execute(
                "SELECT nanousd, bucket_us FROM charges WHERE exchange = ? AND budget = ?", (exchange, budget.id)
            ).fetchone()
            held, bucket = found or (0, bucket)
        more = needed - held
        if enforce and budget.hard and (over := _over(connection, budget, ask, more)):
            return over
        holds.append(Hold(budget, bucket, own, needed, more))
    return holds


def _as_stored(connection: sqlite3.Connection, budget: Budget) -> Budget:
    """*budget* as it is by now: a request knows the budgets of the moment at which it came."""
    found = connection.execute(_TERMS, (budget.id,)).fetchone()
    if found is None or found == (budget.limit_nanousd, budget.window, budget.rolling, budget.hard, budget.unpriced):
        return budget
    limit, window, rolling, hard, unpriced = found
    return replace(
        budget, limit_nanousd=limit, window=window, rolling=bool(rolling), hard=bool(hard), unpriced=unpriced
    )


def _over(connection: sqlite3.Connection, budget: Budget, ask: Ask, more: int) -> OverBudget | None:
    since = first_bucket_us(budget.window, ask.opened_us, rolling=budget.rolling)
    # Later buckets of a rolling window count, too: together with the one that is charged they will make a window.
    until = _FOREVER_US if budget.rolling else since
    spent, reserved = connection.execute(_USED, (budget.id, since, until)).fetchone()
    limit = budget.limit_nanousd
    if ask.worst_nanousd is None:
        # It cannot be counted: where that is allowed, it is so as long as anything is left.
        if budget.unpriced == "allow" and spent < limit:
            return None
    elif more <= 0 or spent + reserved + more <= limit:
        return None
    return OverBudget(
        budget,
        spent_nanousd=spent,
        reserved_nanousd=reserved,
        needed_nanousd=0 if budget.unpriced == "allow" and ask.worst_nanousd is None else ask.worst_nanousd,
        reopens_us=_reopens_us(connection, budget, ask.opened_us, spent + reserved + more - limit),
        held_up=ask.worst_nanousd is not None and spent + more <= limit,
    )


def _reopens_us(connection: sqlite3.Connection, budget: Budget, at_us: int, excess_nanousd: int) -> int | None:
    """When enough of what is used at *at_us* has left the window for *excess_nanousd* more."""
    since_us = first_bucket_us(budget.window, at_us, rolling=budget.rolling)
    if not budget.rolling or budget.window == "total":
        return ends_us(budget.window, since_us, rolling=False)
    rows = connection.execute(
        "SELECT bucket_us, ahead_since_us, spent_nanousd + reserved_nanousd FROM budget_spending"
        " WHERE budget = ? AND bucket_us >= ?",
        (budget.id, since_us),
    ).fetchall()
    # What lies ahead and was not looked at yet will be.
    seen = ((bucket, at_us if ahead is None and bucket > at_us else ahead, used) for bucket, ahead, used in rows)
    leaving, reopens_us = 0, None
    for ends, used in sorted((leaves_us(budget.window, bucket, ahead), used) for bucket, ahead, used in seen):
        leaving, reopens_us = leaving + used, ends
        if leaving >= excess_nanousd:
            break
    return reopens_us


def reserve(connection: sqlite3.Connection, exchange: int, holds: Iterable[Hold]) -> None:
    """Write *holds* down for the exchange of that row."""
    for hold in holds:
        connection.execute(_RESERVE, (hold.budget.id, hold.bucket_us, hold.more))
        connection.execute(_CHARGE, (exchange, hold.budget.id, hold.bucket_us, hold.provider, hold.nanousd))


_OPEN_OF = """
SELECT exchange, number, provider, reserved_nanousd FROM attempts
WHERE provider = ? AND started_us > ? AND status = 'open' AND model = ? AND reserved_nanousd > 0"""

_UNSETTLED = """
SELECT budget, bucket_us FROM charges WHERE exchange = ? AND NOT settled AND (provider IS NULL OR provider = ?)"""


def _raise_open(provider: str, model: str, times: float, at_us: int, connection: sqlite3.Connection) -> None:
    since_us = at_us - LENGTH_US["hour"]
    rows = connection.execute(_OPEN_OF, (provider, since_us, model)).fetchall()
    for exchange, number, asked, reserved in rows:
        more = math.ceil(reserved * times) - reserved
        connection.execute(
            "UPDATE attempts SET reserved_nanousd = reserved_nanousd + ? WHERE exchange = ? AND number = ?",
            (more, exchange, number),
        )
        for budget, bucket in connection.execute(_UNSETTLED, (exchange, asked)).fetchall():
            connection.execute(_RESERVE, (budget, bucket, more))
            connection.execute(
                "UPDATE charges SET nanousd = nanousd + ? WHERE exchange = ? AND budget = ?", (more, exchange, budget)
            )


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
                     assumed_output_tokens, created_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, subject = excluded.subject,
    limit_nanousd = excluded.limit_nanousd, window = excluded.window, rolling = excluded.rolling, hard = excluded.hard,
    unpriced = excluded.unpriced, alerts = excluded.alerts, origin = excluded.origin,
    assumed_output_tokens = excluded.assumed_output_tokens"""


def put_budget(budget: Budget, at_us: int, connection: sqlite3.Connection) -> None:
    """Add or change a budget, inside somebody's transaction.

    With another window, what it has counted is put into the buckets of that one; about another subject, it begins anew.
    """
    found = connection.execute("SELECT * FROM budgets WHERE id = ?", (budget.id,))
    columns, row = [column[0] for column in found.description], found.fetchone()
    before = _budget(dict(zip(columns, row, strict=True))) if row else None
    if before is not None and (before.kind, before.subject) != (budget.kind, budget.subject):
        remove_budget(budget.id, connection)
    elif before is not None and (before.window, before.rolling) != (budget.window, budget.rolling):
        _change_window(budget, at_us, connection)
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
            dumps_text(sorted(budget.alerts)),
            budget.origin,
            budget.assumed_output_tokens,
            at_us,
        ),
    )


def remove_budget(budget_id: str, connection: sqlite3.Connection) -> bool:
    """Remove a budget, inside somebody's transaction; whether it was there. Alerts that are due are still sent."""
    found = connection.execute("DELETE FROM budgets WHERE id = ?", (budget_id,)).rowcount == 1
    connection.execute("DELETE FROM budget_spending WHERE budget = ?", (budget_id,))
    connection.execute("DELETE FROM charges WHERE budget = ?", (budget_id,))
    connection.execute("DELETE FROM budget_alerts WHERE budget = ? AND due_us IS NULL", (budget_id,))
    return found


def _put(budget: Budget, entry: Entry | None, at_us: int, connection: sqlite3.Connection) -> None:
    put_budget(budget, at_us, connection)
    if entry is not None:
        entry.append(connection)


def _remove(budget_id: str, entry: Entry | None, connection: sqlite3.Connection) -> bool:
    found = remove_budget(budget_id, connection)
    if found and entry is not None:
        entry.append(connection)
    return found


def _replace_configured(budgets: Sequence[Budget], at_us: int, connection: sqlite3.Connection) -> None:
    kept = {budget.id for budget in budgets}
    rows = connection.execute("SELECT id FROM budgets WHERE origin = 'config'").fetchall()
    for (budget_id,) in rows:
        if budget_id not in kept:
            remove_budget(budget_id, connection)
    for budget in budgets:
        put_budget(budget, at_us, connection)


# --- another window ------------------------------------------------------------------------------------

_CHARGED = """
SELECT c.exchange, c.bucket_us, c.nanousd, c.settled, e.opened_us,
    (SELECT count(*) FROM attempts AS a WHERE a.exchange = c.exchange AND c.settled AND a.cost_nanousd IS NULL
        AND (c.provider IS NULL OR a.provider = c.provider))
FROM charges AS c JOIN exchanges AS e ON e.row = c.exchange WHERE c.budget = ?"""


def _change_window(budget: Budget, at_us: int, connection: sqlite3.Connection) -> None:
    """Put what the budget of that id has counted into the buckets that *budget* has, none of them after *at_us*.

    What was charged goes by when its exchange was opened; what remains of exchanges that were pruned, by its bucket.
    """
    statement = "SELECT bucket_us, spent_nanousd FROM budget_spending WHERE budget = ?"
    left: dict[int, int] = dict(connection.execute(statement, (budget.id,)).fetchall())
    charged = connection.execute(_CHARGED, (budget.id,)).fetchall()
    connection.execute("DELETE FROM budget_spending WHERE budget = ?", (budget.id,))
    for exchange, bucket, nanousd, settled, opened_us, unpriced in charged:
        new = bucket_us(budget.window, min(opened_us, at_us), rolling=budget.rolling)
        spent, reserved = (nanousd, 0) if settled else (0, nanousd)
        left[bucket] = left.get(bucket, 0) - spent
        connection.execute(ADD, (budget.id, new, spent, reserved, unpriced))
        connection.execute(
            "UPDATE charges SET bucket_us = ? WHERE exchange = ? AND budget = ?", (new, exchange, budget.id)
        )
    for bucket, spent in left.items():
        if spent > 0:
            new = bucket_us(budget.window, min(bucket, at_us), rolling=budget.rolling)
            connection.execute(ADD, (budget.id, new, spent, 0, 0))


# --- how they stand ------------------------------------------------------------------------------------

_STANDINGS = """
SELECT b.*, ifnull(sum(s.spent_nanousd), 0) AS spent, ifnull(sum(s.reserved_nanousd), 0) AS reserved,
    ifnull(sum(s.unpriced_attempts), 0) AS unpriced_attempts, min(s.bucket_us) AS oldest_us
FROM budgets AS b LEFT JOIN budget_spending AS s ON s.budget = b.id AND s.bucket_us BETWEEN ? AND ?
WHERE b.window = ? AND b.rolling = ?
GROUP BY b.id"""

# The first threshold is the lowest one. Somewhat below it is near enough here: `Standing.reached` is exact.
_ALERTING = f"""{_STANDINGS}
HAVING (spent > 0 AND spent >= b.limit_nanousd * 0.00999 * json_extract(b.alerts, '$[0]'))
    OR b.id IN (SELECT value FROM json_each(?))"""  # noqa: S608 -- the statement above

_FORGET = """
DELETE FROM budget_spending
WHERE bucket_us < ? AND reserved_nanousd = 0 AND budget IN (SELECT id FROM budgets WHERE window = ? AND rolling = ?)"""


def _standings(statement: str, more: tuple[str, ...], at_us: int, connection: sqlite3.Connection) -> list[Standing]:
    found: list[tuple[int, Standing]] = []
    for window in WINDOWS:
        for rolling in (False, True):
            since = first_bucket_us(window, at_us, rolling=rolling)
            until = _FOREVER_US if rolling else since
            rows = connection.execute(statement, (since, until, window, rolling, *more))
            found += [(row["created_us"], _standing(row, since, at_us)) for row in rows]
    return [standing for _, standing in sorted(found, key=lambda each: (each[0], each[1].budget.id))]


def _standing(row: Any, since_us: int, at_us: int) -> Standing:
    budget = _budget(row)
    first = row["oldest_us"] if budget.rolling and row["oldest_us"] is not None else since_us
    reopens_us = ends_us(budget.window, first, rolling=budget.rolling)
    if reopens_us is not None and budget.rolling:
        reopens_us = min(reopens_us, leaves_us(budget.window, at_us, at_us))
    return Standing(budget, row["spent"], row["reserved"], row["unpriced_attempts"], since_us, reopens_us)


def _forget_old(at_us: int, connection: sqlite3.Connection) -> int:
    """Those of windows that have ended twice over, and whose exchanges are all pruned."""
    (pruned_us,) = connection.execute("SELECT ifnull(max(pruned_us), 0) FROM rollup_state").fetchone()
    forgotten = 0
    for window in WINDOWS:
        for rolling in (False, True):
            if window == "total":
                continue
            present = first_bucket_us(window, at_us, rolling=rolling)
            before = first_bucket_us(window, min(pruned_us, present - 1), rolling=rolling)
            forgotten += connection.execute(_FORGET, (before, window, rolling)).rowcount
    return forgotten


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
        assumed_output_tokens=row["assumed_output_tokens"],
    )
