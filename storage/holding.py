"""Who has a database: one process, or a group of workers with their keeper.

    <path>.lock    one process alone    an SQLite transaction, exclusive, on this empty file (`storage.db`)
                   a keeper             SQLite's byte RESERVED, which a transaction asks for before it is exclusive
                   each of its workers  SQLite's bytes SHARED, which keep it from becoming exclusive
    <path>.turn    the worker that writes now

The system drops every one of them when its process dies, however it dies. A keeper that is killed lets nobody else in
before the last of its workers has ended. The bytes are those of SQLite's own locks (sqlite.org/src, os_unix.c), taken
without SQLite: what it knows of its locks does not survive a fork.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from storage.errors import Locked, from_os

try:
    import fcntl
except ImportError:  # a system without fork has no workers either
    fcntl = None  # type: ignore[assignment]  # nothing below is reached there

_PENDING: Final = 0x40000000
_RESERVED: Final = _PENDING + 1
_SHARED: Final = _PENDING + 2
_SHARED_BYTES: Final = 510
_LOOK_S: Final = 0.02
_FORKS: Final = hasattr(os, "fork")
LOCK_WAIT_S: Final = 1.0
"""How long a starting process waits for another one that is just ending."""


class Held:
    """The keeper's claim on the database at *path*.

    Raises:
        Locked: another process has it, and does not let go within *wait_s*.
        StorageError: the file of the lock cannot be had.
    """

    def __init__(self, path: Path, wait_s: float) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise from_os(error, path.parent) from error
        self.was_left = beside(path, ".pid").exists()
        """Whether whoever had it before did not close it."""
        self._file = _opened(lock_path(path))
        whole = _SHARED + _SHARED_BYTES - _PENDING
        if not _claim(lambda: fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, whole, _PENDING), wait_s):
            self.forget()
            raise taken(path)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _PENDING)
        fcntl.lockf(self._file, fcntl.LOCK_UN, _SHARED_BYTES, _SHARED)  # what is left of it is RESERVED
        sign(path)

    def forget(self) -> None:
        """Close the file: in the keeper, which gives the database back, or in a worker, which never had it."""
        os.close(self._file)

    def release(self) -> None:
        """Give the database back."""
        with suppress(OSError):
            beside(self.path, ".pid").unlink(missing_ok=True)
            beside(self.path, ".turn").unlink(missing_ok=True)
        self.forget()


class Joined:
    """A worker's part in the claim of its keeper, and its turns to write.

        with joined:
            ...         # nobody else writes meanwhile

    Raises:
        Locked: the keeper is gone, and another process has the database.
        StorageError: a file cannot be had.
    """

    def __init__(self, path: Path) -> None:
        self._file = _opened(lock_path(path))
        if not _claim(lambda: fcntl.lockf(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB, _SHARED_BYTES, _SHARED), 0):
            os.close(self._file)
            raise Locked(f"{path}: {holder(path)} has this database open")
        self._turn = _opened(beside(path, ".turn"))

    def __enter__(self) -> Self:
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave. Closing twice is harmless."""
        files, self._file, self._turn = (self._file, self._turn), -1, -1
        for file in files:
            if file >= 0:
                os.close(file)


def check_free(path: Path, wait_s: float = LOCK_WAIT_S) -> None:
    """Look whether the database at *path* can be had; for a process that has not opened it, nor its lock.

    Raises:
        Locked: another process has it, and does not let go within *wait_s*.
    """
    if not _FORKS:
        return
    try:
        file = os.open(lock_path(path), os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # nobody had it yet; what else is wrong is said by whoever opens it
        return
    try:
        whole = _SHARED + _SHARED_BYTES - _PENDING
        if not _claim(lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, whole, _PENDING), wait_s):
            raise taken(path)
    finally:
        os.close(file)  # which gives it back


def taken(path: Path) -> Locked:
    """Another process has the database at *path*."""
    return Locked(f"{path}: {holder(path)} has this database open; stop it or use another file")


def lock_path(path: Path) -> Path:
    """The file of the lock of the database at *path*."""
    return beside(path, ".lock")


def sign(path: Path) -> None:
    """Say in `<path>.pid` which process has the lock: it is only read by one that did not get it."""
    signature = beside(path, ".pid")
    with suppress(OSError):  # a disk without room: then nobody is named
        signature.touch(mode=0o600)
        signature.write_text(f"{os.getpid()} {socket.gethostname()}\n", "utf-8")


def holder(path: Path) -> str:
    """The process that has the lock, in words."""
    try:
        pid, _, host = beside(path, ".pid").read_text("utf-8").strip().partition(" ")
    except (OSError, ValueError):
        pid = host = ""
    if not pid.isdecimal():
        return "another modelport process"
    where = "" if host == socket.gethostname() else f" on {host}"
    return f"another modelport process (pid {pid}{where})"


def _claim(lock: Callable[[], None], wait_s: float) -> bool:
    """Whether *lock* could be had within *wait_s*."""
    until = time.monotonic() + wait_s
    while True:
        try:
            lock()
        except OSError:  # EACCES or EAGAIN: somebody has it
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_S)
        else:
            return True


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os(error, path) from error


def beside(path: Path, suffix: str) -> Path:
    """The file whose name is that of *path* with *suffix*."""
    return path.with_name(path.name + suffix)
