"""Keys of providers, sealed by the caller: what is stored here cannot be used without the key that seals.

A credential's *name* is what `stored:NAME` in the configuration refers to. Every change takes an entry of the audit
log, which is written in the same transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from storage.audit import Entry
from storage.db import Database
from storage.errors import Conflict


@dataclass(frozen=True, slots=True)
class Credential:
    """One key of *provider*. *sealed* is the key as it is stored.

    *base_url* and *dialect* say where and how a provider is reached that the configuration does not know.
    """

    name: str
    provider: str
    sealed: bytes
    weight: int = 1
    base_url: str | None = None
    dialect: str | None = None
    enabled: bool = True
    created_us: int = 0
    rotated_us: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What Argon2id is told to do for a passphrase; RFC 9106 section 4, the second recommended option."""

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed values. *name* is the column whose value belongs to the seal, *purpose* what it is for."""

    table: str
    column: str
    name: str
    purpose: str


SEALED: Final = (
    SealedColumn("credentials", "sealed", "name", "credential"),
    SealedColumn("keys", "signing", "id", "signing"),
)
"""Every place of the database where something sealed stands, but for the pepper. A new one has a row here, or it is
lost in a rotation."""

Reseal = Callable[[str, str, bytes], bytes]
"""(purpose, name, sealed) -> sealed anew. Raises when it cannot be opened."""


class Credentials:
    """The credentials in *db*. *now* is Unix seconds."""

    def __init__(self, db: Database, *, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    async def all(self) -> list[Credential]:
        """Every credential, in the order in which they were added."""
        rows = await self._db.read(lambda connection: connection.execute(_ALL).fetchall())
        return [_credential(row) for row in rows]

    async def add(self, credential: Credential, entry: Entry) -> Credential:
        """Store *credential*; with the time at which that was.

        Raises:
            Conflict: there is one of that name.
            StorageError: it cannot be written.
        """
        created_us = int(self._now() * 1_000_000)
        await self._db.write(partial(_add, credential, created_us, entry))
        return Credential(
            credential.name,
            credential.provider,
            credential.sealed,
            credential.weight,
            credential.base_url,
            credential.dialect,
            credential.enabled,
            created_us,
        )

    async def change(self, name: str, weight: int, entry: Entry, *, enabled: bool) -> bool:
        """Give the credential *name* another *weight*, and switch it on or off; False: it is gone."""
        values = (weight, enabled, name)
        return await self._db.write(partial(_change, _CHANGE, values, entry))

    async def rotate(self, name: str, sealed: bytes, entry: Entry) -> bool:
        """Replace the key of *name*; False: it is gone."""
        values = (sealed, int(self._now() * 1_000_000), name)
        return await self._db.write(partial(_change, _ROTATE, values, entry))

    async def remove(self, name: str, entry: Entry) -> bool:
        """Remove *name*; False: it is gone already."""
        return await self._db.write(partial(_change, _REMOVE, (name,), entry))

    # --- what seals them

    async def salt(self, fresh: bytes, work: Work) -> tuple[bytes, Work]:
        """The salt of passphrases and the work that goes with it; *fresh* and *work* are kept if there is none yet.

        Raises:
            StorageError: there is none, and it cannot be written.
        """
        row = await self._db.read(lambda connection: connection.execute(_SALT).fetchone())
        if row is None:
            row = await self._db.write(partial(_keep_salt, fresh, work))
        return bytes(row[0]), Work(row[1], row[2], row[3])

    async def sealed(self) -> list[tuple[SealedColumn, str, bytes]]:
        """Everything that is stored sealed: its place, its name, its bytes."""
        return await self._db.read(_everything_sealed)

    async def pepper(self) -> bytes | None:
        """What fingerprints are made with, sealed; None when there is none yet."""
        row = await self._db.read(lambda connection: connection.execute(_PEPPER).fetchone())
        return None if row is None else bytes(row[0])

    async def keep_pepper(self, sealed: bytes) -> None:
        """Let *sealed* be the pepper from now on. Raises StorageError when it cannot be written."""
        await self._db.write(lambda connection: connection.execute(_KEEP_PEPPER, (sealed,)))

    async def reseal(self, change: Reseal, entry: Entry, pepper: bytes | None = None) -> int:
        """Put what *change* makes of it in the place of every sealed value; how many. All of them, or none.

        *pepper*, where there is one, is the pepper sealed anew.

        Raises:
            StorageError: it cannot be written. What *change* raises comes as it is. In both cases nothing changed.
        """
        return await self._db.write(partial(_reseal, change, entry, pepper))


_COLUMNS: Final = "name, provider, sealed, weight, base_url, dialect, enabled, created_us, rotated_us"
_ALL: Final = f"SELECT {_COLUMNS} FROM credentials ORDER BY created_us, name"  # noqa: S608 -- the names of its columns
_ADD: Final = f"INSERT INTO credentials ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)"  # noqa: S608 -- the same
_CHANGE: Final = "UPDATE credentials SET weight = ?, enabled = ? WHERE name = ?"
_ROTATE: Final = "UPDATE credentials SET sealed = ?, rotated_us = ? WHERE name = ?"
_REMOVE: Final = "DELETE FROM credentials WHERE name = ?"
_PEPPER: Final = "SELECT sealed FROM secret_pepper"
_KEEP_PEPPER: Final = "INSERT OR REPLACE INTO secret_pepper VALUES (1, ?)"
_SALT: Final = "SELECT salt, memory_kib, iterations, lanes FROM secret_salt"


def _credential(row: sqlite3.Row) -> Credential:
    return Credential(
        row["name"],
        row["provider"],
        bytes(row["sealed"]),
        row["weight"],
        row["base_url"],
        row["dialect"],
        bool(row["enabled"]),
        row["created_us"],
        row["rotated_us"],
    )


def _add(credential: Credential, created_us: int, entry: Entry, connection: sqlite3.Connection) -> None:
    taken = connection.execute("SELECT 1 FROM credentials WHERE name = ?", (credential.name,)).fetchone()
    if taken:
        raise Conflict(f"there is a stored key called {credential.name} already")
    where = (credential.base_url, credential.dialect, credential.enabled, created_us)
    connection.execute(_ADD, (credential.name, credential.provider, credential.sealed, credential.weight, *where))
    entry.append(connection)


def _change(statement: str, values: Sequence[object], entry: Entry, connection: sqlite3.Connection) -> bool:
    if connection.execute(statement, tuple(values)).rowcount == 0:
        return False
    entry.append(connection)
    return True


def _keep_salt(fresh: bytes, work: Work, connection: sqlite3.Connection) -> tuple[bytes, int, int, int]:
    values = (fresh, work.memory_kib, work.iterations, work.lanes)
    connection.execute("INSERT OR IGNORE INTO secret_salt VALUES (1, ?, ?, ?, ?)", values)
    row: tuple[bytes, int, int, int] = connection.execute(_SALT).fetchone()
    return row


def _everything_sealed(connection: sqlite3.Connection) -> list[tuple[SealedColumn, str, bytes]]:
    found: list[tuple[SealedColumn, str, bytes]] = []
    for place in SEALED:
        wanted = f"SELECT {place.name}, {place.column} FROM {place.table} WHERE {place.column} IS NOT NULL"  # noqa: S608 -- names of SEALED, above
        found.extend((place, name, bytes(sealed)) for name, sealed in connection.execute(wanted).fetchall())
    return found


def _reseal(change: Reseal, entry: Entry, pepper: bytes | None, connection: sqlite3.Connection) -> int:
    if pepper is not None:
        connection.execute(_KEEP_PEPPER, (pepper,))
    everything = _everything_sealed(connection)
    for place, name, sealed in everything:
        statement = f"UPDATE {place.table} SET {place.column} = ? WHERE {place.name} = ?"  # noqa: S608 -- names of SEALED, above
        connection.execute(statement, (change(place.purpose, name, sealed), name))
    entry.append(connection)
    return len(everything)
