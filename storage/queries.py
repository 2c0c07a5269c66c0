"""Queries and what came of them, for those who ask for it later.

    queued --> running --> completed | failed | cancelled
       `--------------------------------^--------^

The first end counts: a query that has ended never changes again. A row belongs to one tenant, and another tenant's id
is as unknown as one that never was. When a result is too old it goes and the row stays for a while, so that it can be
said that there was one. The table is bounded in bytes: when it is full, the oldest results go first.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from storage.db import Database
from storage.packed import pack, unpack
from storage.pruning import BATCH, prune

QueryStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
ENDED: Final = frozenset({"completed", "failed", "cancelled"})

TTL_S: Final = 24 * 3600.0
"""How long a result is kept unless the query says otherwise."""
LONGEST_TTL_S: Final = 30 * 24 * 3600.0
REMEMBERED_S: Final = 7 * 24 * 3600.0
"""How long it is known afterwards that there was one."""
MAX_BYTES: Final = 256 * 1024 * 1024
"""What all rows may take on disk."""
ROW_BYTES: Final = 256
"""What a row takes beside its text, about."""
_ASIDE_BYTES: Final = 64 * 1024
"""More than this is compressed in a thread of its own."""


@dataclass(frozen=True, slots=True)
class StoredQuery:
    """One query. Times are microseconds since 1970; *told* is the JSON of what there is to tell, None when it is gone.

    *expired*: its result was there, and was too old at the moment of reading.
    """

    tenant: str
    id: str
    status: QueryStatus
    created_us: int
    expires_us: int
    started_us: int | None = None
    ended_us: int | None = None
    told: bytes | None = None
    expired: bool = False


class Queries:
    """The queries in *db*, at most *max_bytes* of them. *now* is Unix seconds."""

    def __init__(self, db: Database, *, max_bytes: int = MAX_BYTES, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self.max_bytes = max_bytes
        """May be changed at any time; it is kept to from the next end of a query on."""
        self._now = now

    async def add(self, tenant: str, query_id: str, status: QueryStatus, told: bytes, ttl_s: float = TTL_S) -> None:
        """Remember a new query; on disk when this returns.

        Raises:
            StorageError: it cannot be written.
        """
        now_us = self._now_us()
        expires_us = now_us + int(ttl_s * 1_000_000)
        row = {
            "tenant": tenant,
            "id": query_id,
            "status": status,
            "created_us": now_us,
            "started_us": now_us if status == "running" else None,
            "expires_us": expires_us,
            "forget_us": expires_us + int(REMEMBERED_S * 1_000_000),
            "told": pack(told),
        }
        await self._db.write(partial(_add, row))

    async def begin(self, tenant: str, query_id: str) -> bool:
        """Let a query that waits be running; False when it does not wait any more (it was cancelled)."""
        wanted = (self._now_us(), tenant, query_id)
        return await self._db.write(lambda connection: connection.execute(_BEGIN, wanted).rowcount > 0)

    async def end(
        self, tenant: str, query_id: str, status: QueryStatus, told: bytes, ended_us: int | None = None
    ) -> bool:
        """Let a query that has not ended have ended, at *ended_us* (now); False when it had.

        Its result is kept for as long as was said when it was added, counted from then.

        Raises:
            StorageError: it cannot be written.
        """
        blob = await asyncio.to_thread(pack, told) if len(told) > _ASIDE_BYTES else pack(told)
        now_us = self._now_us() if ended_us is None else ended_us
        row = {"tenant": tenant, "id": query_id, "status": status, "now_us": now_us, "told": blob}
        return await self._db.write(partial(_end, row, self.max_bytes))

    async def get(self, tenant: str, query_id: str) -> StoredQuery | None:
        """The query *query_id* of *tenant*; None when there is none, or when it is forgotten."""
        row = await self._db.read(lambda connection: connection.execute(_FIND, (tenant, query_id)).fetchone())
        return None if row is None else _stored(row, self._now_us())

    async def recover(self, told: bytes, mark: str = "") -> int:
        """Let every query that a dead process left unended be `failed` with *told*; how many. Once, at the start.

        *mark*: only those whose ids end with it.
        """
        wanted = {"now_us": self._now_us(), "told": pack(told), "mark": mark}
        return await self._db.write(lambda connection: connection.execute(_FAIL_OPEN, wanted).rowcount)

    async def prune(self, now: float) -> int:
        """Remove results that are too old at *now* (Unix seconds), and rows that nobody needs to know of any more.

        How many of both.
        """
        return await prune(self._db, _DROP_RESULTS, now) + await prune(self._db, _FORGET, now)

    async def stats(self) -> dict[str, int]:
        """How many queries are stored and what they take on disk."""
        row = await self._db.read(lambda connection: connection.execute(_TOTALS).fetchone())
        return {"entries": row["entries"], "size_bytes": row["size_bytes"]}

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


# --- operations --------------------------------------------------------------------------------------

_TOTALS: Final = "SELECT entries, size_bytes FROM queries_totals"
_ADD: Final = f"""
INSERT INTO queries (tenant, id, status, created_us, started_us, expires_us, forget_us, size, told)
VALUES (:tenant, :id, :status, :created_us, :started_us, :expires_us, :forget_us,
    {ROW_BYTES:d} + length(:told), :told)"""  # noqa: S608 -- a number
_BEGIN: Final = (
    "UPDATE queries SET status = 'running', started_us = ? WHERE tenant = ? AND id = ? AND status = 'queued'"
)
_END: Final = """
UPDATE queries SET status = :status, ended_us = :now_us, size = size - length(told) + length(:told), told = :told,
    expires_us = expires_us - created_us + :now_us, forget_us = forget_us - created_us + :now_us
WHERE tenant = :tenant AND id = :id AND status IN ('queued', 'running')"""
_FIND: Final = "SELECT * FROM queries WHERE tenant = ? AND id = ?"
_FAIL_OPEN: Final = """
UPDATE queries SET status = 'failed', ended_us = :now_us, size = size - length(told) + length(:told), told = :told
WHERE status IN ('queued', 'running') AND id LIKE '%' || :mark"""
_DROP_RESULTS: Final = """
UPDATE queries SET size = size - length(told), told = NULL WHERE row IN (
    SELECT row FROM queries WHERE told IS NOT NULL AND expires_us <= ? AND ended_us IS NOT NULL
    ORDER BY expires_us LIMIT ?)"""
_FORGET: Final = """
DELETE FROM queries WHERE row IN (
    SELECT row FROM queries WHERE forget_us <= ? AND ended_us IS NOT NULL ORDER BY forget_us LIMIT ?)"""
_DELETE_OLDEST: Final = """
DELETE FROM queries WHERE row IN (
    SELECT row FROM queries WHERE ended_us IS NOT NULL AND NOT (tenant = :tenant AND id = :id)
    ORDER BY ended_us, row LIMIT :count)"""


def _add(row: dict[str, Any], connection: sqlite3.Connection) -> None:
    connection.execute(_ADD, row)


def _end(row: dict[str, Any], max_bytes: int, connection: sqlite3.Connection) -> bool:
    """Close it, then make room."""
    if not connection.execute(_END, row).rowcount:
        return False
    entries, size_bytes = connection.execute(_TOTALS).fetchone()
    while size_bytes > max_bytes:
        average = max(1, size_bytes // entries)
        count = min(BATCH, max(1, (size_bytes - max_bytes) // average))
        if not connection.execute(_DELETE_OLDEST, {**row, "count": count}).rowcount:
            break  # nothing but queries that have not ended, and this one
        entries, size_bytes = connection.execute(_TOTALS).fetchone()
    return True


def _stored(row: sqlite3.Row, now_us: int) -> StoredQuery | None:
    if row["ended_us"] is not None and row["forget_us"] <= now_us:
        return None
    expired = row["ended_us"] is not None and (row["told"] is None or row["expires_us"] <= now_us)
    return StoredQuery(
        tenant=row["tenant"],
        id=row["id"],
        status=row["status"],
        created_us=row["created_us"],
        expires_us=row["expires_us"],
        started_us=row["started_us"],
        ended_us=row["ended_us"],
        told=None if expired else unpack(row["told"]),
        expired=expired,
    )
