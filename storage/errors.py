"""Errors of this package.

StorageError
├── Locked              another process has the database: refuse to start
├── TooNew              the database was written by a newer modelport: refuse to start
├── Corrupt             the file is damaged: refuse to start, keep a copy
├── ReadOnly            the file, its folder or its file system cannot be written
├── Full                no room is left on the disk
├── Unavailable         any other trouble: an I/O error, too much waiting, closed
├── Conflict            a row with this id exists already, or breaks another rule of the table: a bug or a replay
├── BadCursor           a page's cursor is not one that was handed out: the client's mistake
├── UnknownResponse     a stored response that another one continues is not there: the client's mistake
├── TooLarge            a row or a conversation is beyond its bound: nothing was stored or read
└── LedgerUnavailable   an exchange could not be booked (`strict`): answer 503 `ledger_unavailable`
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Final


class StorageError(Exception):
    """Anything that the store cannot do; the message is one line that names file and reason."""

    word = "error"
    """What /health says of the store while this lasts."""


class Locked(StorageError):
    """Another process has the database."""

    word = "locked"


class TooNew(StorageError):
    """The database's schema is newer than this code."""

    word = "too_new"


class Corrupt(StorageError):
    """The file is damaged or is no SQLite database."""

    word = "corrupt"


class ReadOnly(StorageError):
    """The file, its folder or its file system cannot be written."""

    word = "read_only"


class Full(StorageError):
    """No room is left on the disk."""

    word = "full"


class Unavailable(StorageError):
    """Any other trouble; trying again later may help."""

    word = "unavailable"


class Conflict(StorageError):
    """The rows themselves refuse the change; the store is well."""

    word = "ok"


class BadCursor(StorageError):
    """A page's cursor is not one that was handed out."""

    word = "ok"


class UnknownResponse(StorageError):
    """*response_id* is not stored for this tenant: it never was, was deleted, or is too old."""

    word = "ok"

    def __init__(self, response_id: str, message: str) -> None:
        super().__init__(message)
        self.response_id = response_id


class TooLarge(StorageError):
    """A row or a conversation is beyond its bound."""

    word = "ok"


class LedgerUnavailable(StorageError):
    """An exchange could not be booked; its cause is the StorageError behind it."""

    word = "unavailable"


# Primary result codes (sqlite.org/rescode.html). An IOERR_WRITE is also what a file-size limit gives.
_BY_SQLITE_CODE: Final[dict[int, tuple[type[StorageError], str]]] = {
    sqlite3.SQLITE_BUSY: (Locked, "another process is writing to it"),
    sqlite3.SQLITE_LOCKED: (Locked, "another connection holds a table of it"),
    sqlite3.SQLITE_CORRUPT: (Corrupt, "the file is damaged"),
    sqlite3.SQLITE_NOTADB: (Corrupt, "the file is not an SQLite database"),
    sqlite3.SQLITE_READONLY: (ReadOnly, "it cannot be written"),
    sqlite3.SQLITE_PERM: (ReadOnly, "permission is denied"),
    sqlite3.SQLITE_FULL: (Full, "the disk is full"),
    sqlite3.SQLITE_IOERR: (Unavailable, "the disk reports an I/O error"),
    sqlite3.SQLITE_CANTOPEN: (Unavailable, "it cannot be opened"),
    sqlite3.SQLITE_CONSTRAINT: (Conflict, "a rule of the table forbids it"),
}

_BY_ERRNO: Final[dict[int, type[StorageError]]] = {
    errno.EACCES: ReadOnly,
    errno.EPERM: ReadOnly,
    errno.EROFS: ReadOnly,
    errno.ENOSPC: Full,
    errno.EDQUOT: Full,
}


def from_sqlite(error: sqlite3.Error, path: Path) -> StorageError:
    """What *error*, raised while working on *path*, means for the caller."""
    code = getattr(error, "sqlite_errorcode", None)
    kind, reason = _BY_SQLITE_CODE.get((code or 0) & 0xFF, (Unavailable, "SQLite refuses"))
    return kind(f"{path}: {reason} ({error})")


def from_os(error: OSError, path: Path) -> StorageError:
    """What *error*, raised while reaching for *path*, means for the caller."""
    kind = _BY_ERRNO.get(error.errno or 0, Unavailable)
    return kind(f"{path}: {error.strerror or error}")
