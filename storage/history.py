"""What routes have learnt of their targets, the minutes of each consensus, and feedback.

The state of a route and the minutes of an exchange are JSON, packed; whoever reads them knows their form. Minutes hold
what models have said and are kept for a time; a state holds no such words.
"""

from __future__ import annotations

import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from storage.db import Database
from storage.errors import StorageError
from storage.pruning import prune
from translators.codec import JsonError, dumps, dumps_text, loads

log = logging.getLogger(__name__)

MAX_FEEDBACK: Final = 16
"""Verdicts that are kept of one exchange; beyond it the oldest go."""
MAX_MINUTES_BYTES: Final = 256 * 1024 * 1024
"""Beyond it those that were kept first go."""
CUT: Final = 64
"""Minutes that one write removes at most, where there is no room."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a caller found out about an exchange. *said* is its own words, as the kind has them; *at* is Unix time."""

    exchange_id: str
    kind: str
    said: Mapping[str, Any]
    at: float
    key_id: str | None = None


class ConsensusHistory:
    """The tables in *db*."""

    def __init__(
        self, db: Database, *, max_bytes: int = MAX_MINUTES_BYTES, now: Callable[[], float] = time.time
    ) -> None:
        self._db = db
        self._max_bytes = max_bytes
        self._now = now

    # --- minutes

    def keep(self, exchange_id: str, route: str, minutes: Mapping[str, Any], lifetime_s: float) -> None:
        """Keep the minutes of an exchange for so long. Never waits; what cannot be written is logged and lost."""
        if lifetime_s <= 0:
            return
        packed = zlib.compress(dumps(minutes), 1)
        now_us = self._now_us()
        row = (exchange_id, route, packed, len(packed), now_us, now_us + int(lifetime_s * 1_000_000))
        self._db.post(partial(_keep, row, self._max_bytes), partial(_lost, f"the votes of {exchange_id}"))

    async def minutes(self, exchange_id: str) -> dict[str, Any] | None:
        """The minutes of an exchange; None where there are none, or none any more."""
        wanted = (exchange_id, self._now_us())
        row = await self._db.read(lambda connection: connection.execute(_MINUTES, wanted).fetchone())
        return None if row is None else _unpacked(row[0])

    async def prune(self, now: float) -> int:
        """Remove the minutes whose time is over; how many those were. *now* is Unix seconds."""
        return await prune(self._db, _EXPIRED, now)

    # --- states

    async def state(self, route: str) -> dict[str, Any] | None:
        """What *route* has learnt; None: nothing."""
        row = await self._db.read(lambda connection: connection.execute(_STATE, (route,)).fetchone())
        return None if row is None else _unpacked(row[0])

    def put_state(self, route: str, state: bytes) -> None:
        """Keep what *route* has learnt, JSON as bytes. Never waits; what cannot be written is logged."""
        row = (route, zlib.compress(state, 1), self._now_us())
        self._db.post(
            lambda connection: connection.execute(_PUT_STATE, row).rowcount, partial(_lost, f"what {route} has learnt")
        )

    async def forget(self, route: str) -> bool:
        """Forget what *route* has learnt; False when there was nothing."""
        return await self._db.write(lambda connection: connection.execute(_FORGET, (route,)).rowcount) > 0

    # --- feedback

    async def add_feedback(
        self, exchange_id: str, kind: str, said: Mapping[str, Any], key_id: str | None = None
    ) -> None:
        """Keep a verdict; on disk when this returns.

        Raises:
            StorageError: it cannot be written.
        """
        row = (exchange_id, kind, key_id, dumps_text(dict(said)), self._now_us())
        await self._db.write(partial(_add_feedback, row))

    async def feedback(self, exchange_id: str) -> list[Feedback]:
        """The verdicts on an exchange, oldest first."""
        rows = await self._db.read(lambda connection: connection.execute(_OF_EXCHANGE, (exchange_id,)).fetchall())
        return [_feedback(row) for row in rows]

    async def newest_feedback(self, kind: str, since: float = 0.0, limit: int = 1000) -> list[Feedback]:
        """The newest verdicts of *kind* after *since* (Unix seconds), oldest first."""
        wanted = (kind, int(since * 1_000_000), limit)
        rows = await self._db.read(lambda connection: connection.execute(_OF_KIND, wanted).fetchall())
        return [_feedback(row) for row in reversed(rows)]

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


# --- operations --------------------------------------------------------------------------------------

_KEEP = """
INSERT INTO consensus_minutes (exchange, route, minutes, size, kept_us, expires_us) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (exchange) DO UPDATE SET minutes = excluded.minutes, size = excluded.size, expires_us = excluded.expires_us
"""
_MINUTES = "SELECT minutes FROM consensus_minutes WHERE exchange = ? AND expires_us > ?"
_SIZE = "SELECT size_bytes, entries FROM consensus_minutes_totals"
_OLDEST = "DELETE FROM consensus_minutes WHERE rowid IN (SELECT rowid FROM consensus_minutes ORDER BY rowid LIMIT ?)"
_EXPIRED = """
DELETE FROM consensus_minutes WHERE rowid IN (SELECT rowid FROM consensus_minutes WHERE expires_us <= ? LIMIT ?)"""
_STATE = "SELECT state FROM consensus_states WHERE route = ?"
_PUT_STATE = """
INSERT INTO consensus_states (route, state, updated_us) VALUES (?, ?, ?)
ON CONFLICT (route) DO UPDATE SET state = excluded.state, updated_us = excluded.updated_us"""
_FORGET = "DELETE FROM consensus_states WHERE route = ?"
_ADD_FEEDBACK = "INSERT INTO feedback (exchange, kind, key_id, said, at_us) VALUES (?, ?, ?, ?, ?)"
_TOO_MUCH = """
DELETE FROM feedback WHERE exchange = ?1 AND row NOT IN (
    SELECT row FROM feedback WHERE exchange = ?1 ORDER BY row DESC LIMIT ?2)"""
_OF_EXCHANGE = "SELECT * FROM feedback WHERE exchange = ? ORDER BY row"
_OF_KIND = "SELECT * FROM feedback WHERE kind = ? AND at_us > ? ORDER BY at_us DESC, row DESC LIMIT ?"


def _keep(row: tuple[Any, ...], max_bytes: int, connection: sqlite3.Connection) -> int:
    kept = connection.execute(_KEEP, row).rowcount
    size, count = connection.execute(_SIZE).fetchone()
    if size > max_bytes and count > 1:
        connection.execute(_OLDEST, (min(CUT, count - 1),))
    return kept


def _add_feedback(row: tuple[Any, ...], connection: sqlite3.Connection) -> None:
    connection.execute(_ADD_FEEDBACK, row)
    connection.execute(_TOO_MUCH, (row[0], MAX_FEEDBACK))


def _feedback(row: sqlite3.Row) -> Feedback:
    return Feedback(row["exchange"], row["kind"], loads(row["said"]), row["at_us"] / 1_000_000, row["key_id"])


def _unpacked(packed: bytes) -> dict[str, Any] | None:
    """The JSON in *packed*; None where it cannot be read, which is as good as nothing."""
    try:
        found = loads(zlib.decompress(packed))
    except (zlib.error, JsonError):
        return None
    return found if isinstance(found, dict) else None


def _lost(what: str, _done: object, error: StorageError | None) -> None:
    if error is not None:
        log.warning("%s could not be written: %s", what, error)
