"""Providers that were added or changed while the process ran: sections `[providers.NAME]`, as JSON texts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from storage.db import Database


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One section. *settings* is JSON text; times are microseconds since 1970."""

    name: str
    settings: str
    created_us: int
    changed_us: int


class ProviderRows:
    """The sections in *db*. *now* is Unix seconds."""

    def __init__(self, db: Database, *, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    async def all(self) -> list[ProviderRow]:
        """Every section, in the order in which they were added."""
        rows = await self._db.read(lambda connection: connection.execute(_ALL).fetchall())
        return [ProviderRow(row["name"], row["settings"], row["created_us"], row["changed_us"]) for row in rows]

    async def put(self, name: str, settings: str, noted: Callable[[sqlite3.Connection], object]) -> None:
        """Let *settings* be the section of *name*; *noted* is done in the same transaction.

        Raises:
            StorageError: it cannot be written; nothing changed.
        """
        await self._db.write(partial(_put, (name, settings, int(self._now() * 1_000_000)), noted))

    async def remove(self, name: str, noted: Callable[[sqlite3.Connection], object]) -> None:
        """Forget the section of *name*; *noted* is done in the same transaction. Raises as `put` does."""
        await self._db.write(partial(_remove, name, noted))


_ALL: Final = "SELECT name, settings, created_us, changed_us FROM provider_rows ORDER BY created_us, name"
_PUT: Final = """
INSERT INTO provider_rows (name, settings, created_us, changed_us) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, changed_us = excluded.changed_us"""


def _put(
    row: tuple[str, str, int], noted: Callable[[sqlite3.Connection], object], connection: sqlite3.Connection
) -> None:
    connection.execute(_PUT, (*row, row[2]))
    noted(connection)


def _remove(name: str, noted: Callable[[sqlite3.Connection], object], connection: sqlite3.Connection) -> None:
    if connection.execute("DELETE FROM provider_rows WHERE name = ?", (name,)).rowcount:
        noted(connection)
