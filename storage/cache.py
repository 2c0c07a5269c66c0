"""The exact cache: the same request gets the same answer, within one tenant, until it is too old.

fresh --ttl_s--> stale --stale_s--> gone      A stale answer may be given while a new one is asked for.

A dictionary in memory (least recently used) stands before the table. The table is bounded in bytes: what is gone
goes first, then what was not used for the longest time. Which answers may be stored (whole, no error, no refusal) is
for the caller to say.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from storage.db import Database
from storage.errors import StorageError
from storage.pruning import prune
from translators.codec import canonical, loads

MEMORY_BYTES: Final = 32 * 1024 * 1024
QUEUE_BYTES: Final = 32 * 1024 * 1024
"""Answers on their way to the disk; beyond it an answer is not stored."""

KNOWN_KEYS: Final = 50_000
"""Up to so many keys are known by heart, so that most misses need no query."""

LARGEST_SHARE: Final = 8
"""One entry may take an eighth of the cache at most."""

ROW_BYTES: Final = 256
"""What an entry takes beside its value, about."""

_TOUCHED: Final = 1024
_EVICT: Final = 64

NOT_IN_KEY: Final = frozenset({"stream", "stream_options", "modelport", "prompt_cache_key", "prompt_cache_retention"})
"""Fields that change how an answer travels, or the vendor's own caching, but not the answer.

`user` and its like stay in the key: they keep the end users of one virtual key apart.
"""


def cache_key(tenant: str, target_or_route: str, request: Mapping[str, Any]) -> bytes:
    """SHA-256 over *tenant*, *target_or_route* and the canonical *request*, each led by its length."""
    digest = hashlib.sha256()
    counted = {name: value for name, value in request.items() if name not in NOT_IN_KEY}
    for part in (tenant.encode(), target_or_route.encode(), canonical(counted)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored *value*, made *age_s* ago."""

    value: bytes
    age_s: float
    stale: bool


@dataclass(frozen=True, slots=True)
class Purge:
    """What is to be forgotten: all that has each of these; None: whatever it has. A *tag* is `name=value`."""

    tenant: str | None = None
    route: str | None = None
    model: str | None = None
    tag: str | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is named."""
        return self == Purge()


@dataclass(frozen=True, slots=True)
class Share:
    """What is stored of one route and model."""

    route: str
    model: str
    entries: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    tenant: str
    route: str | None
    model: str | None
    tags: frozenset[str]
    value: bytes
    created_us: int
    fresh_us: int
    expires_us: int

    def is_in(self, purge: Purge) -> bool:
        return (
            purge.tenant in (None, self.tenant)
            and purge.route in (None, self.route)
            and purge.model in (None, self.model)
            and (purge.tag is None or purge.tag in self.tags)
        )


class Cache:
    """Answers in *db*, at most *max_bytes* of them, each for *ttl_s*. `open` first."""

    def __init__(
        self,
        db: Database,
        *,
        max_bytes: int,
        ttl_s: float,
        memory_bytes: int = MEMORY_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._max_bytes = max_bytes
        self._ttl_us = int(ttl_s * 1_000_000)
        self._memory_limit = memory_bytes
        self._now = now
        self._memory: OrderedDict[bytes, _Entry] = OrderedDict()
        self._memory_bytes = 0
        self._known: set[bytes] | None = None
        self._touched: dict[bytes, int] = {}
        self._queued_bytes = 0
        self._purges = 0
        self._entries = 0
        self._size_bytes = 0
        self.told: Callable[[bytes, int, int], None] | None = None
        """Hears of each answer that is stored: its key, and the entries and bytes that there are then."""
        self.hits = 0
        self.misses = 0
        self.dropped = 0
        """Answers that were not stored because the disk did not keep up or refused."""

    async def open(self) -> None:
        """Learn what is stored.

        Raises:
            StorageError: it cannot be read.
        """
        self._entries, self._size_bytes, keys = await self._db.read(_load)
        self._known = keys

    async def renew(self) -> None:
        """Forget what is known by heart, and learn again what is stored: another process has removed some of it.

        Raises:
            StorageError: it cannot be read.
        """
        self._purges += 1
        self._memory.clear()
        self._memory_bytes = 0
        await self.open()

    def heard(self, key: bytes, entries: int, size_bytes: int) -> None:
        """Another process has stored something under *key*; the table holds so much then."""
        self._entries, self._size_bytes = entries, size_bytes
        self._forget(key)  # it is a newer answer
        self._know(key)

    async def get(self, key: bytes) -> bytes | None:
        """The answer stored under *key*, if it is fresh. A table that cannot be read is a miss."""
        kept = await self.find(key, stale=False)
        return kept.value if kept else None

    async def find(self, key: bytes, *, stale: bool = True, again: bool = False) -> Kept | None:
        """What is stored under *key*; with *stale* also when it has expired, but is not gone yet.

        *again*: a request whose first look was a miss looks at another place, which makes a hit of that miss.
        """
        entry = self._recall(key)
        if entry is None and (self._known is None or key in self._known):
            entry = await self._look_up(key)
        at_us = self._now_us()
        if entry is None or at_us >= (entry.expires_us if stale else entry.fresh_us):
            self.misses += not again
            return None
        self.misses -= again
        self.hits += 1
        self._touch(key)
        return Kept(entry.value, max(0, at_us - entry.created_us) / 1_000_000, at_us >= entry.fresh_us)

    def age_s(self, key: bytes, value: bytes) -> float | None:
        """How old *value* is, which was found under *key*; None where it is not there in memory any more, or not fresh.

        That looks at nothing else: whatever removes or replaces an answer puts an end to it.
        """
        entry = self._memory.get(key)
        at_us = self._now_us()
        if entry is None or entry.value is not value or at_us >= entry.fresh_us:
            return None
        return max(0, at_us - entry.created_us) / 1_000_000

    def given_again(self, key: bytes, times: int) -> None:
        """What is stored under *key* was given so many *times* just now, to those who did not have to `find` it."""
        self.hits += times
        self._touch(key)
        if key in self._memory:
            self._memory.move_to_end(key)

    def put(
        self,
        key: bytes,
        value: bytes,
        *,
        tenant: str,
        route: str | None = None,
        model: str | None = None,
        cost_nanousd: int | None = None,
        ttl_s: float | None = None,
        stale_s: float = 0,
        tags: Iterable[str] = (),
    ) -> None:
        """Store *value*; on disk a little later. What is too large, or finds the queue full, is not stored."""
        size = len(value) + ROW_BYTES
        if size > self._max_bytes // LARGEST_SHARE or self._queued_bytes + size > QUEUE_BYTES:
            self.dropped += 1
            return
        at_us = self._now_us()
        fresh_us = at_us + (self._ttl_us if ttl_s is None else int(ttl_s * 1_000_000))
        expires_us = fresh_us + int(stale_s * 1_000_000)
        named = frozenset(tags)
        self._remember(key, _Entry(tenant, route, model, named, value, at_us, fresh_us, expires_us))
        self._know(key)
        touched, self._touched = self._touched, {}
        row = (key, tenant, route, model, cost_nanousd, size, at_us, expires_us, at_us, value, fresh_us)
        self._queued_bytes += size
        store = partial(_store, row, named, touched, max_bytes=self._max_bytes, at_us=at_us)
        self._db.post(store, partial(self._stored, key, size))

    async def clear(self, tenant: str | None = None) -> int:
        """Forget everything, or all of *tenant*; how many entries that were on disk.

        Raises:
            StorageError: it cannot be written.
        """
        return await self.purge(Purge(tenant))

    async def purge(self, purge: Purge) -> int:
        """Forget what *purge* names; how many entries that were on disk.

        Raises:
            StorageError: it cannot be written.
        """
        self._purges += 1
        for key in [key for key, entry in self._memory.items() if entry.is_in(purge)]:
            self._forget(key)
        removed, self._entries, self._size_bytes = await self._db.write(partial(_clear, purge))
        self._purges += 1
        if purge.everything and self._known is not None:
            self._known = set(self._memory)
        return removed

    async def prune(self) -> int:
        """Remove what is gone by now; how many entries that were.

        Raises:
            StorageError: it cannot be written; what was removed stays so.
        """
        removed = await prune(self._db, _DELETE_EXPIRED, self._now())
        if removed:
            self._entries, self._size_bytes = await self._db.read(_totals)
        return removed

    async def shares(self) -> list[Share]:
        """What is stored, by route and model, the largest first.

        Raises:
            StorageError: it cannot be read.
        """
        return await self._db.read(_shares)

    def stats(self) -> dict[str, int | float]:
        """Entries and bytes on disk; hits and misses since the start. Asks nobody."""
        asked = self.hits + self.misses
        return {
            "entries": self._entries,
            "hits": self.hits,
            "misses": self.misses,
            "hit_rate": round(self.hits / asked, 3) if asked else 0.0,
            "size_bytes": self._size_bytes,
        }

    async def _look_up(self, key: bytes) -> _Entry | None:
        purges = self._purges
        try:
            found = await self._db.read(partial(_find, key), alone=True)
        except StorageError:
            return None
        if found is None or found.expires_us <= self._now_us():
            return None
        if purges == self._purges:  # what was read beside a purge may be what it removed
            self._remember(key, found)
        return found

    def _know(self, key: bytes) -> None:
        if self._known is not None:
            self._known.add(key)
            if len(self._known) > KNOWN_KEYS:
                self._known = None

    def _recall(self, key: bytes) -> _Entry | None:
        entry = self._memory.get(key)
        if entry is None:
            return None
        if entry.expires_us <= self._now_us():
            self._forget(key)
            return None
        self._memory.move_to_end(key)
        return entry

    def _remember(self, key: bytes, entry: _Entry) -> None:
        self._forget(key)
        if len(entry.value) > self._memory_limit // LARGEST_SHARE:
            return
        self._memory[key] = entry
        self._memory_bytes += len(entry.value) + ROW_BYTES
        while self._memory_bytes > self._memory_limit:
            self._forget(next(iter(self._memory)))

    def _forget(self, key: bytes) -> None:
        entry = self._memory.pop(key, None)
        if entry is not None:
            self._memory_bytes -= len(entry.value) + ROW_BYTES

    def _touch(self, key: bytes) -> None:
        """Uses are written with the next answer, or when many have come together."""
        self._touched[key] = self._now_us()
        if len(self._touched) >= _TOUCHED:
            touched, self._touched = self._touched, {}
            self._db.post(partial(_mark_used, touched))

    def _stored(self, key: bytes, size: int, totals: tuple[int, int] | None, error: StorageError | None) -> None:
        self._queued_bytes -= size
        if error is not None or totals is None:
            self.dropped += 1
        else:
            self._entries, self._size_bytes = totals
            if self.told is not None:
                self.told(key, *totals)

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


# --- operations --------------------------------------------------------------------------------------

_FIND = """
SELECT tenant, route, model, (SELECT json_group_array(tag) FROM cache_tags WHERE key = cache.key), value,
    created_us, ifnull(fresh_us, expires_us), expires_us
FROM cache WHERE key = ?"""
_PURGE = """
DELETE FROM cache WHERE (:tenant IS NULL OR tenant = :tenant) AND (:route IS NULL OR route = :route)
AND (:model IS NULL OR model = :model)
AND (:tag IS NULL OR key IN (SELECT key FROM cache_tags WHERE tag = :tag))"""
_SHARES = """
SELECT ifnull(route, ''), ifnull(model, ''), count(*), sum(size) AS total FROM cache GROUP BY 1, 2 ORDER BY total DESC
"""
_TOTALS = "SELECT entries, size_bytes FROM cache_totals"
_INSERT = """
INSERT INTO cache (key, tenant, route, model, cost_nanousd, size, created_us, expires_us, used_us, value, fresh_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_DELETE_EXPIRED = """
DELETE FROM cache WHERE rowid IN (SELECT rowid FROM cache WHERE expires_us <= ? ORDER BY expires_us LIMIT ?)"""
_DELETE_UNUSED = "DELETE FROM cache WHERE rowid IN (SELECT rowid FROM cache ORDER BY used_us, rowid LIMIT ?)"


def _totals(connection: sqlite3.Connection) -> tuple[int, int]:
    entries, size_bytes = connection.execute(_TOTALS).fetchone()
    return entries, size_bytes


def _load(connection: sqlite3.Connection) -> tuple[int, int, set[bytes] | None]:
    entries, size_bytes = _totals(connection)
    if entries > KNOWN_KEYS:
        return entries, size_bytes, None
    return entries, size_bytes, {key for (key,) in connection.execute("SELECT key FROM cache")}


def _find(key: bytes, connection: sqlite3.Connection) -> _Entry | None:
    rows = connection.execute(_FIND, (key,)).fetchall()
    if not rows:
        return None
    tenant, route, model, tags, *rest = rows[0]
    return _Entry(tenant, route, model, frozenset(loads(tags)), *rest)


def _shares(connection: sqlite3.Connection) -> list[Share]:
    return [Share(*row) for row in connection.execute(_SHARES)]


def _store(
    row: tuple[Any, ...],
    tags: Iterable[str],
    touched: Mapping[bytes, int],
    connection: sqlite3.Connection,
    *,
    max_bytes: int,
    at_us: int,
) -> tuple[int, int]:
    """Insert or replace, then make room; the new totals."""
    _mark_used(touched, connection)
    connection.execute("DELETE FROM cache WHERE key = ?", row[:1])
    connection.execute(_INSERT, row)
    connection.executemany("INSERT INTO cache_tags (tag, key) VALUES (?, ?)", ((tag, row[0]) for tag in tags))
    connection.execute(_DELETE_EXPIRED, (at_us, _EVICT))
    entries, size_bytes = _totals(connection)
    while size_bytes > max_bytes and entries > 1:
        average = max(1, size_bytes // entries)
        connection.execute(_DELETE_UNUSED, (min(_EVICT, max(1, (size_bytes - max_bytes) // average)),))
        entries, size_bytes = _totals(connection)
    return entries, size_bytes


def _mark_used(touched: Mapping[bytes, int], connection: sqlite3.Connection) -> None:
    connection.executemany("UPDATE cache SET used_us = ? WHERE key = ?", ((at, key) for key, at in touched.items()))


def _clear(purge: Purge, connection: sqlite3.Connection) -> tuple[int, int, int]:
    removed = connection.execute(_PURGE, asdict(purge)).rowcount
    return removed, *_totals(connection)
