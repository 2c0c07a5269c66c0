"""Whose the things are that a vendor keeps: files, batches, conversations, by provider and the vendor's own id.

The first tenant that is written down stays the owner. About `MAX_OBJECTS` are known; beyond that the oldest go, and
then count as nobody's.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from storage.db import Database
from translators.codec import dumps_text

MAX_OBJECTS: Final = 1_000_000


class VendorObjects:
    """The owners in *db*."""

    def __init__(self, db: Database, *, max_objects: int = MAX_OBJECTS, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._max_objects = max_objects
        self._now = now

    async def claim(self, provider: str, tenant: str, ids: Iterable[str]) -> None:
        """Write down that *ids* at *provider* are *tenant*'s, those that are nobody's; on disk when this returns.

        Raises:
            StorageError: it cannot be written.
        """
        at_us = int(self._now() * 1_000_000)
        rows = [(provider, each, tenant, at_us) for each in dict.fromkeys(ids)]
        if rows:
            await self._db.write(partial(_claim, rows))

    async def owners(self, ids: Iterable[str], provider: str | None = None) -> Mapping[str, frozenset[str]]:
        """The tenants of each of *ids* that is known, at *provider* or anywhere.

        Raises:
            StorageError: it cannot be read.
        """
        wanted = list(dict.fromkeys(ids))
        return await self._db.read(partial(_owners, wanted, provider)) if wanted else {}

    async def forget(self, provider: str, object_id: str) -> None:
        """What has been deleted. Raises StorageError."""
        await self._db.write(lambda connection: connection.execute(_FORGET, (provider, object_id)).rowcount)

    async def prune(self) -> int:
        """Forget the oldest beyond the bound; how many. Raises StorageError."""
        return await self._db.write(partial(_prune, self._max_objects))


_CLAIM: Final = "INSERT OR IGNORE INTO vendor_objects (provider, id, tenant, created_us) VALUES (?, ?, ?, ?)"
_FORGET: Final = "DELETE FROM vendor_objects WHERE provider = ? AND id = ?"
_OWNERS: Final = """
SELECT id, tenant FROM vendor_objects
WHERE id IN (SELECT value FROM json_each(:ids)) AND (:provider IS NULL OR provider = :provider)"""
_COUNT: Final = "SELECT count(*) FROM vendor_objects"
_OLDEST: Final = """
DELETE FROM vendor_objects WHERE (provider, id) IN
    (SELECT provider, id FROM vendor_objects ORDER BY created_us LIMIT ?)"""


def _claim(rows: list[tuple[str, str, str, int]], connection: sqlite3.Connection) -> None:
    connection.executemany(_CLAIM, rows)


def _owners(ids: list[str], provider: str | None, connection: sqlite3.Connection) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for object_id, tenant in connection.execute(_OWNERS, {"ids": dumps_text(ids), "provider": provider}):
        found.setdefault(object_id, set()).add(tenant)
    return {object_id: frozenset(tenants) for object_id, tenants in found.items()}


def _prune(most: int, connection: sqlite3.Connection) -> int:
    (count,) = connection.execute(_COUNT).fetchone()
    return connection.execute(_OLDEST, (count - most,)).rowcount if count > most else 0
