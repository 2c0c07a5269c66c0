"""The reasoning vault: what vendors sign or encrypt and plain clients drop, kept for the next turn.

An entry is found again by a key that its writer made (a digest: of a tool call's id, a text, a signature); the vault
knows nothing of its meaning. Entries belong to one tenant each.

`put` never waits: entries stand in memory at once and on disk a little later. `get_many` asks the memory first and
the disk once for all that is left. `get_at_once` never waits: once `look_through` has read which keys there are,
memory can say of most keys that nothing is kept, and what it holds.
The table is bounded in bytes: the expired go first, then the oldest.
What cannot be written or read is as if it had never been kept: an answer is worth more than its reasoning.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from storage.db import Database
from storage.errors import StorageError
from storage.packed import pack, unpack
from storage.pruning import BATCH, prune
from storage.sieve import Sieve

logger = logging.getLogger(__name__)

TTL_S: Final = 7 * 24 * 3600.0
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_VALUE_BYTES: Final = 1024 * 1024
"""A longer value is not kept: no vendor's reasoning of one turn comes near it."""

FRONT_ENTRIES: Final = 4096
FRONT_BYTES: Final = 16 * 1024 * 1024
"""What is held in memory: entries that were kept or asked for last."""

QUEUE_BYTES: Final = 32 * 1024 * 1024
"""Entries on their way to the disk; beyond it an entry is not kept."""

LOOKED_AT: Final = 5000
"""Keys that `look_through` reads in one go, between which others get their turn."""

ROW_BYTES: Final = 256
"""What an entry takes beside its value, about."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One entry. *origin* is the `provider/model` that made *value*, *dialect* the one it was said in.

    *created* and *expires* are Unix seconds; `put` fills in what is None.
    """

    tenant: str
    key: bytes
    origin: str
    dialect: str
    value: bytes
    created: float | None = None
    expires: float | None = None


class Vault:
    """Entries in *db*, at most *max_bytes* of them, each for *ttl_s*."""

    def __init__(
        self,
        db: Database,
        ttl_s: float = TTL_S,
        *,
        max_bytes: int = MAX_BYTES,
        front_entries: int = FRONT_ENTRIES,
        front_bytes: int = FRONT_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._front_entries = front_entries
        self._front_limit = front_bytes
        self._now = now
        self._front: OrderedDict[tuple[str, bytes], Kept] = OrderedDict()
        self._front_bytes = 0
        self._queued_bytes = 0
        self._sieve: Sieve | None = None
        """The keys that were put since the start, and those on disk as far as they were looked through."""
        self._looked = False
        self.dropped = 0
        """Entries that were not kept because they were too long or the disk did not keep up or refused."""

    def put(self, entries: Iterable[Kept]) -> None:
        """Keep *entries*, each in the place of an earlier one with its key. Never waits, never raises for the disk."""
        at = self._now()
        taken: list[Kept] = []
        size = 0
        for entry in entries:
            length = _size(entry)
            if len(entry.value) > MAX_VALUE_BYTES or self._queued_bytes + size + length > QUEUE_BYTES:
                self.dropped += 1
                continue
            created = at if entry.created is None else entry.created
            expires = created + self._ttl_s if entry.expires is None else entry.expires
            dated = replace(entry, created=created, expires=expires)
            taken.append(dated)
            size += length
            self._noted(entry.key)
            self._remember(dated)
        if taken:
            self._queued_bytes += size
            store = partial(_store, tuple(taken), self._max_bytes, int(at * 1_000_000))
            self._db.post(store, partial(self._stored, len(taken), size))

    async def get_many(self, tenant: str, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        """The entries of *tenant* under *keys* that are not too old. A table that cannot be read has none."""
        at = self._now()
        found: dict[bytes, Kept] = {}
        asked: list[bytes] = []
        for key in dict.fromkeys(keys):
            entry = self._recall(tenant, key, at)
            if entry is None:
                asked.append(key)
            else:
                found[key] = entry
        if asked:
            for entry in await self._look_up(tenant, asked, at):
                found[entry.key] = entry
                if (tenant, entry.key) not in self._front:  # a newer one may have come while the disk was asked
                    self._remember(entry)
        return found

    async def look_through(self) -> None:
        """Note which keys are on disk, for `get_at_once`. A table that cannot be read stays unknown."""
        sieve, last = self._sieve or Sieve(), 0
        self._sieve = sieve
        try:
            while rows := await self._db.read(partial(_keys_after, last)):
                for _, key in rows:
                    sieve.add(key)
                last = rows[-1][0]
        except StorageError as error:
            logger.warning("the reasoning vault cannot be looked through: %s", error)
            return
        self._looked = True

    @property
    def looked_through(self) -> bool:
        """Whether `get_at_once` can tell anything."""
        return self._looked

    @property
    def is_empty(self) -> bool:
        """Whether there is certainly nothing in it, and was not since the start; as for `get_at_once`."""
        return self._looked and self._sieve is not None and self._sieve.is_empty

    def get_at_once(self, tenant: str, keys: Sequence[bytes]) -> dict[bytes, Kept] | None:
        """The same as `get_many`; None where only the disk can tell.

        It holds for a process that has the database to itself: what others put is not known here.
        """
        sieve = self._sieve
        if not self._looked or sieve is None:
            return None
        at = self._now()
        found: dict[bytes, Kept] = {}
        for key in dict.fromkeys(keys):
            if not sieve.may_hold(key):
                continue
            entry = self._recall(tenant, key, at)
            if entry is None:
                return None
            found[key] = entry
        return found

    async def prune(self, now: float) -> int:
        """Remove what is too old at *now* (Unix seconds), a few rows at a time so that other writes get in between."""
        for entry in [entry for entry in self._front.values() if _expires(entry) <= now]:
            self._forget(entry.tenant, entry.key)
        return await prune(self._db, _DELETE_EXPIRED, now)

    async def clear(self, tenant: str | None = None) -> int:
        """Forget everything, or all of *tenant*; how many entries that were on disk.

        Raises:
            StorageError: it cannot be written.
        """
        for entry in [entry for entry in self._front.values() if tenant in (None, entry.tenant)]:
            self._forget(entry.tenant, entry.key)
        return await self._db.write(partial(_clear, tenant))

    async def stats(self) -> dict[str, int]:
        """How many entries are on disk and what they take there; how many were not kept."""
        row = await self._db.read(lambda connection: connection.execute(_TOTALS).fetchone())
        return {"entries": row["entries"], "size_bytes": row["size_bytes"], "dropped": self.dropped}

    async def _look_up(self, tenant: str, keys: Sequence[bytes], at: float) -> list[Kept]:
        try:
            return await self._db.read(partial(_find, tenant, tuple(keys), int(at * 1_000_000)))
        except StorageError as error:
            logger.warning("the reasoning vault cannot be read: %s", error)
            return []

    def _noted(self, key: bytes) -> None:
        if self._sieve is None:
            self._sieve = Sieve()
        self._sieve.add(key)

    def _recall(self, tenant: str, key: bytes, at: float) -> Kept | None:
        entry = self._front.get((tenant, key))
        if entry is None:
            return None
        if _expires(entry) <= at:
            self._forget(tenant, key)
            return None
        self._front.move_to_end((tenant, key))
        return entry

    def _remember(self, entry: Kept) -> None:
        self._forget(entry.tenant, entry.key)
        self._front[entry.tenant, entry.key] = entry
        self._front_bytes += _size(entry)
        while self._front_bytes > self._front_limit or len(self._front) > self._front_entries:
            self._forget(*next(iter(self._front)))

    def _forget(self, tenant: str, key: bytes) -> None:
        entry = self._front.pop((tenant, key), None)
        if entry is not None:
            self._front_bytes -= _size(entry)

    def _stored(self, count: int, size: int, _: None, error: StorageError | None) -> None:
        self._queued_bytes -= size
        if error is not None:
            self.dropped += count


def _size(entry: Kept) -> int:
    return len(entry.value) + ROW_BYTES


def _expires(entry: Kept) -> float:
    return 0.0 if entry.expires is None else entry.expires


# --- operations --------------------------------------------------------------------------------------

_TOTALS = "SELECT entries, size_bytes FROM vault_totals"
_FIND = """
SELECT key, origin, dialect, created_us, expires_us, value FROM vault
WHERE tenant = ? AND key = ? AND expires_us > ?"""
_KEYS = "SELECT row, key FROM vault WHERE row > ? ORDER BY row LIMIT ?"
_STORE = """
INSERT INTO vault (tenant, key, origin, dialect, created_us, expires_us, size, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, key) DO UPDATE SET
    origin = excluded.origin, dialect = excluded.dialect, created_us = excluded.created_us,
    expires_us = excluded.expires_us, size = excluded.size, value = excluded.value"""
_DELETE_EXPIRED = """
DELETE FROM vault WHERE row IN (SELECT row FROM vault WHERE expires_us <= ? ORDER BY expires_us LIMIT ?)"""
_DELETE_OLDEST = "DELETE FROM vault WHERE row IN (SELECT row FROM vault ORDER BY created_us, row LIMIT ?)"


def _find(tenant: str, keys: tuple[bytes, ...], at_us: int, connection: sqlite3.Connection) -> list[Kept]:
    found: list[Kept] = []
    for key in keys:
        row = connection.execute(_FIND, (tenant, key, at_us)).fetchone()
        if row is not None:
            times = row["created_us"] / 1_000_000, row["expires_us"] / 1_000_000
            found.append(Kept(tenant, key, row["origin"], row["dialect"], unpack(row["value"]), *times))
    return found


def _keys_after(row: int, connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
    return [(found["row"], found["key"]) for found in connection.execute(_KEYS, (row, LOOKED_AT))]


def _store(entries: tuple[Kept, ...], max_bytes: int, at_us: int, connection: sqlite3.Connection) -> None:
    """Insert or replace, then make room."""
    connection.executemany(_STORE, (_row(entry) for entry in entries))
    connection.execute(_DELETE_EXPIRED, (at_us, BATCH))
    entries_left, size_bytes = connection.execute(_TOTALS).fetchone()
    while size_bytes > max_bytes and entries_left:
        average = max(1, size_bytes // entries_left)
        connection.execute(_DELETE_OLDEST, (min(BATCH, max(1, (size_bytes - max_bytes) // average)),))
        entries_left, size_bytes = connection.execute(_TOTALS).fetchone()


def _row(entry: Kept) -> tuple[Any, ...]:
    blob = pack(entry.value)
    created_us, expires_us = int((entry.created or 0) * 1_000_000), int(_expires(entry) * 1_000_000)
    size = len(blob) + ROW_BYTES
    return entry.tenant, entry.key, entry.origin, entry.dialect, created_us, expires_us, size, blob


def _clear(tenant: str | None, connection: sqlite3.Connection) -> int:
    wanted = {"tenant": tenant}
    return connection.execute("DELETE FROM vault WHERE :tenant IS NULL OR tenant = :tenant", wanted).rowcount
