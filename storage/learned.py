"""What vendors' refusals taught: which change makes a request acceptable, and the vendor's words that said so.

A change is a JSON object in the terms of `Rules` (`{"refuses": ["temperature"]}`); equal changes are one row.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from storage.db import Database
from storage.errors import StorageError
from translators.codec import canonical, loads_object

MAX_RULES: Final = 10_000
"""Beyond it those that were learned longest ago go."""

MAX_EVIDENCE: Final = 2000


@dataclass(frozen=True, slots=True)
class Learned:
    """One lesson. *evidence* is the vendor's message, cleaned of secrets, and *http_status* what it came with.

    *learned_at* (Unix seconds) is when it was last taught, *uses* how often it was applied since it first was.
    """

    provider: str
    model: str
    dialect: str
    change: Mapping[str, Any]
    evidence: str
    http_status: int
    learned_at: float
    uses: int = 0


class LearnedRules:
    """The lessons in *db*."""

    def __init__(self, db: Database, *, max_rules: int = MAX_RULES, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._max_rules = max_rules
        self._now = now

    async def all(self) -> list[Learned]:
        """Every lesson, oldest first."""
        rows = await self._db.read(lambda connection: connection.execute(_ALL).fetchall())
        return [_learned(row) for row in rows]

    async def learn(
        self, provider: str, model: str, dialect: str, change: Mapping[str, Any], *, evidence: str, http_status: int
    ) -> Learned:
        """Keep a lesson, on disk when this returns; one that was known gets the new evidence and keeps its uses.

        Raises:
            StorageError: it cannot be written.
        """
        learned_us = int(self._now() * 1_000_000)
        shown = evidence[:MAX_EVIDENCE]
        row = {
            "provider": provider,
            "model": model,
            "dialect": dialect,
            "change": canonical(dict(change)).decode(),
            "evidence": shown,
            "http_status": http_status,
            "learned_us": learned_us,
        }
        uses = await self._db.write(partial(_learn, row, self._max_rules))
        return Learned(provider, model, dialect, change, shown, http_status, learned_us / 1_000_000, uses)

    def used(self, rule: Learned, done: Callable[[int | None, StorageError | None], None] | None = None) -> None:
        """Count that *rule* was applied. Never waits, never raises; *done* hears how often it has been."""
        key = (rule.provider, rule.model, rule.dialect, canonical(dict(rule.change)).decode())
        self._db.post(partial(_count_use, key), done)

    async def forget(self, provider: str, model: str | None = None) -> int:
        """Unlearn what *provider* taught, or what its *model* did; how many lessons that were."""
        return await self._db.write(partial(_forget, provider, model))

    async def forget_older(self, moment: float) -> int:
        """Unlearn what was last taught before *moment* (Unix seconds); how many lessons that were."""
        return await self._db.write(partial(_forget_older, int(moment * 1_000_000)))


# --- operations --------------------------------------------------------------------------------------

_ALL = """
SELECT provider, model, dialect, change, evidence, http_status, learned_us, uses FROM learned_rules
ORDER BY learned_us, provider, model, dialect, change"""
_LEARN = """
INSERT INTO learned_rules (provider, model, dialect, change, evidence, http_status, learned_us)
VALUES (:provider, :model, :dialect, :change, :evidence, :http_status, :learned_us)
ON CONFLICT (provider, model, dialect, change) DO UPDATE SET
    evidence = excluded.evidence, http_status = excluded.http_status, learned_us = excluded.learned_us"""
_DELETE_OLDEST = """
DELETE FROM learned_rules WHERE rowid IN (
    SELECT rowid FROM learned_rules ORDER BY learned_us DESC, rowid DESC LIMIT -1 OFFSET ?)"""
_COUNT_USE = """
UPDATE learned_rules SET uses = uses + 1 WHERE provider = ? AND model = ? AND dialect = ? AND change = ?"""
_USES = "SELECT uses FROM learned_rules WHERE provider = ? AND model = ? AND dialect = ? AND change = ?"


def _learned(row: sqlite3.Row) -> Learned:
    return Learned(
        provider=row["provider"],
        model=row["model"],
        dialect=row["dialect"],
        change=loads_object(row["change"]),
        evidence=row["evidence"],
        http_status=row["http_status"],
        learned_at=row["learned_us"] / 1_000_000,
        uses=row["uses"],
    )


def _learn(row: Mapping[str, Any], max_rules: int, connection: sqlite3.Connection) -> int:
    connection.execute(_LEARN, row)
    connection.execute(_DELETE_OLDEST, (max_rules,))
    return _uses((row["provider"], row["model"], row["dialect"], row["change"]), connection) or 0


def _count_use(key: tuple[str, ...], connection: sqlite3.Connection) -> int | None:
    connection.execute(_COUNT_USE, key)
    return _uses(key, connection)


def _uses(key: tuple[str, ...], connection: sqlite3.Connection) -> int | None:
    found = connection.execute(_USES, key).fetchone()
    return None if found is None else int(found[0])


def _forget(provider: str, model: str | None, connection: sqlite3.Connection) -> int:
    wanted = {"provider": provider, "model": model}
    return connection.execute(
        "DELETE FROM learned_rules WHERE provider = :provider AND (:model IS NULL OR model = :model)", wanted
    ).rowcount


def _forget_older(moment_us: int, connection: sqlite3.Connection) -> int:
    return connection.execute("DELETE FROM learned_rules WHERE learned_us < ?", (moment_us,)).rowcount
