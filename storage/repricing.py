"""Costs computed anew, after a price was learnt: as a new version, with the old one kept.

    unpriced    what has no known cost          apply     a new cost for attempts; sums, budgets and roll-ups follow
    page        attempts to be priced again     history   every cost that an attempt has had

What the prices were is kept, too: `keep_price` as they are used, `kept_price` by their version.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from storage.audit import Entry
from storage.budgets import recharge
from storage.db import Database
from storage.rollups import rebuild
from translators.codec import dumps_text, loads

PAGE: Final = 100
"""Attempts that are read, and written, at once."""
_FOREVER_US: Final = 2**62


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A model with attempts whose cost is unknown. Times in Unix seconds."""

    provider: str
    model: str
    attempts: int
    input_tokens: int
    output_tokens: int
    first_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class Span:
    """Which attempts: begun at or after *since* and before *until* (Unix seconds). *whole*: priced ones, too."""

    since: float = 0
    until: float | None = None
    provider: str | None = None
    model: str | None = None
    """A name or a glob."""
    whole: bool = False

    def parameters(self) -> dict[str, Any]:
        """For the statements."""
        return {
            "since": int(self.since * 1_000_000),
            "until": _FOREVER_US if self.until is None else int(self.until * 1_000_000),
            "provider": self.provider,
            "model": self.model,
            "whole": self.whole,
        }


@dataclass(frozen=True, slots=True)
class NewCost:
    """The cost of an attempt by *row* (as `page` gave it), and the price behind it."""

    row: Mapping[str, Any]
    nanousd: int
    source: str
    version: str


class Repricing:
    """The costs in *db*."""

    def __init__(self, db: Database, *, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    async def unpriced(self, span: Span) -> list[Unpriced]:
        """The models with attempts whose cost is unknown, the most frequent first."""
        rows = await self._db.read(lambda connection: connection.execute(_UNPRICED, span.parameters()).fetchall())
        return [Unpriced(*row) for row in rows]

    async def page(self, span: Span, after: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The next attempts to be priced again, oldest first: their columns, and `opened_us` of the exchange."""
        last = after or {"started_us": -1, "exchange": 0, "number": 0}
        place = {"after_us": last["started_us"], "exchange": last["exchange"], "number": last["number"]}
        wanted = span.parameters() | place
        rows = await self._db.read(lambda connection: connection.execute(_PAGE, wanted).fetchall())
        return [dict(row) for row in rows]

    async def apply(self, costs: Sequence[NewCost], entry: Entry | None = None) -> int:
        """Book *costs* in one transaction, with an entry of the audit log; how many.

        An attempt whose cost was changed since it was read is left alone.
        """
        return await self._db.write(partial(_apply, costs, entry, int(self._now() * 1_000_000)))

    async def history(self, exchange_id: str) -> list[dict[str, Any]]:
        """Every change of a cost of that exchange, oldest first."""
        rows = await self._db.read(lambda connection: connection.execute(_HISTORY, (exchange_id,)).fetchall())
        return [dict(row) for row in rows]

    def keep_price(self, version: str, source: str, rates: Mapping[str, Any]) -> None:
        """Keep a price, so that what was computed with it can be computed again; soon, without waiting."""
        values = (version, source, dumps_text(rates), int(self._now() * 1_000_000))
        self._db.post(lambda connection: connection.execute(_KEEP, values).rowcount == 1)

    async def kept_price(self, version: str) -> tuple[str, dict[str, Any]] | None:
        """Source and rates of the price of that version."""
        return await self._db.read(partial(kept_price, version=version))


def kept_price(connection: sqlite3.Connection, version: str) -> tuple[str, dict[str, Any]] | None:
    """Source and rates of the price of that version, inside somebody's transaction."""
    row = connection.execute("SELECT source, rates FROM prices WHERE version = ?", (version,)).fetchone()
    return None if row is None else (row[0], loads(row[1]))


# --- statements ------------------------------------------------------------------------------------------

_UNPRICED = """
SELECT provider, model, count(*), sum(input_tokens), sum(output_tokens), min(started_us) / 1e6, max(started_us) / 1e6
FROM attempts INDEXED BY attempts_unpriced
WHERE cost_nanousd IS NULL AND status <> 'open' AND started_us >= :since AND started_us < :until
    AND (:provider IS NULL OR provider = :provider) AND (:model IS NULL OR model GLOB :model)
GROUP BY provider, model ORDER BY 3 DESC, 1, 2"""

# What was not billed (a cost of 0 without a price behind it) stays so.
_PAGE = f"""
SELECT a.*, e.opened_us, e.id AS exchange_id FROM attempts AS a JOIN exchanges AS e ON e.row = a.exchange
WHERE a.status <> 'open' AND e.status <> 'open'
    AND (a.cost_nanousd IS NULL OR (:whole AND a.price_source IS NOT NULL))
    AND a.started_us >= :since AND a.started_us < :until
    AND (a.started_us, a.exchange, a.number) > (:after_us, :exchange, :number)
    AND (:provider IS NULL OR a.provider = :provider) AND (:model IS NULL OR a.model GLOB :model)
ORDER BY a.started_us, a.exchange, a.number LIMIT {PAGE}"""  # noqa: S608 -- a number of ours

_CHANGE = """
UPDATE attempts SET cost_nanousd = ?, price_source = ?, price_version = ?
WHERE exchange = ? AND number = ? AND status <> 'open' AND cost_nanousd IS ? AND price_version IS ?"""

_KEEP_OLD = """
INSERT INTO attempt_costs
SELECT ?1, ?2, ifnull(max(change), 0) + 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9
FROM attempt_costs WHERE exchange = ?1 AND number = ?2"""

_SUM_AGAIN = """
UPDATE exchanges SET cost_nanousd = (
    SELECT CASE WHEN count(*) = count(cost_nanousd) THEN sum(cost_nanousd) END
    FROM attempts WHERE exchange = exchanges.row
) WHERE row = ?"""

# A budget counts the attempts of its windows whose cost is unknown; this one is no longer among them.
_NOW_PRICED = """
UPDATE budget_spending SET unpriced_attempts = unpriced_attempts - 1
WHERE unpriced_attempts > 0 AND (budget, bucket_us) IN (
    SELECT budget, bucket_us FROM charges WHERE exchange = ?1 AND settled AND (provider IS NULL OR provider = ?2))"""

_HISTORY = """
SELECT c.* FROM attempt_costs AS c JOIN exchanges AS e ON e.row = c.exchange
WHERE e.id = ? ORDER BY c.at_us, c.number, c.change"""

_KEEP = "INSERT OR IGNORE INTO prices (version, source, rates, kept_us) VALUES (?, ?, ?, ?)"


def _apply(costs: Sequence[NewCost], entry: Entry | None, at_us: int, connection: sqlite3.Connection) -> int:
    changed: dict[int, int] = {}
    count = 0
    for cost in costs:
        row = cost.row
        place, old = (row["exchange"], row["number"]), (row["cost_nanousd"], row["price_source"], row["price_version"])
        new = (cost.nanousd, cost.source, cost.version)
        if connection.execute(_CHANGE, (*new, *place, old[0], old[2])).rowcount != 1:
            continue
        connection.execute(_KEEP_OLD, (*place, *old, *new, at_us))
        if old[0] is None:
            connection.execute(_NOW_PRICED, (row["exchange"], row["provider"]))
        changed[row["exchange"]] = row["opened_us"]
        count += 1
    for exchange in changed:
        connection.execute(_SUM_AGAIN, (exchange,))
        recharge(connection, exchange)
    if changed:
        rebuild(connection, min(changed.values()), max(changed.values()) + 1)
    if entry is not None and count:
        entry.append(connection)
    return count
