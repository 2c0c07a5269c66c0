"""A connection to SQLite of which one call goes wrong: as full, broken or busy disks make it, or late."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final

LATE_S: Final = 0.02


def full() -> sqlite3.Error:
    return _refusal(sqlite3.SQLITE_FULL, "database or disk is full")


def broken() -> sqlite3.Error:
    return _refusal(sqlite3.SQLITE_IOERR, "disk I/O error")


def busy() -> sqlite3.Error:
    return _refusal(sqlite3.SQLITE_BUSY, "database is locked")


def _refusal(code: int, text: str) -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


class Faulty:
    """The writer's connection, of which one call goes wrong: the *at*-th from when it was armed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._fault: Callable[[], sqlite3.Error] | None = None
        self._at = 0
        self.calls = 0

    def arm(self, at: int, fault: Callable[[], sqlite3.Error] | None) -> None:
        """*fault* None: it is only late."""
        self.calls, self._at, self._fault = 0, at, fault

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._count(arguments[0])
        return self._connection.execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        self._count(arguments[0])
        return self._connection.executemany(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def _count(self, statement: str) -> None:
        self.calls += 1
        if self.calls != self._at:
            return
        if self._fault is None:
            time.sleep(LATE_S)
        elif statement == "ROLLBACK":
            self._connection.execute("ROLLBACK")  # SQLite itself has rolled back: the error says that there is nothing
            raise _refusal(sqlite3.SQLITE_ERROR, "cannot rollback - no transaction is active")
        else:
            raise self._fault()
