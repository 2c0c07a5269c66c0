"""The database: one SQLite file, one writer thread, a few readers. The only module that opens SQLite.

    async with Database(Path("modelport.db")) as db:
        await db.write(lambda connection: connection.execute("INSERT ..."))   # returns after the commit
        db.post(lambda connection: connection.execute("INSERT ..."))          # returns at once
        rows = await db.read(lambda connection: connection.execute("SELECT ...").fetchall())

`write` promises that the commit survives the death of the process (a power cut may take the last moments:
`synchronous=NORMAL`). A write whose caller is cancelled still happens, in the order in which it was handed over.
All three are called on the event loop that opened the database. Nothing waits without a bound.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from storage.errors import Corrupt, Locked, ReadOnly, StorageError, Unavailable, from_os, from_sqlite
from storage.holding import LOCK_WAIT_S, Joined, beside, lock_path, sign, taken
from storage.migrations import MIGRATIONS, Migration, migrate
from storage.writer import Job, Writer

T = TypeVar("T")

logger = logging.getLogger(__name__)

SQLITE_VERSION: Final = sqlite3.sqlite_version
SOUND_SINCE: Final = (3, 51, 3)
"""Before, two connections that write or checkpoint one WAL at once can damage it (sqlite.org/wal.html, "WAL-reset")."""


BUSY_MS: Final = 1000
"""How long a statement waits for a foreign program (the sqlite3 shell, a backup) to let go."""

READERS: Final = 2
WAITING: Final = 10_000
"""Writes, and likewise reads, that may wait; one more is refused."""

FRESH_S: Final = 0.5
"""How long a reader waits for what was written before."""

CHECK_BYTES: Final = 16 * 1024 * 1024
"""Files up to this size are examined at every start (about 1 ms per MB)."""

_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_MS:d}",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA mmap_size = 0",  # an I/O error would be a signal that ends the process
)


def sqlite_warning(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str | None:
    """What an operator should know of this SQLite; None: nothing."""
    if version >= SOUND_SINCE:
        return None
    found, wanted = (".".join(map(str, each)) for each in (version, SOUND_SINCE))
    return (
        f"SQLite {found} can damage a database that two programs write at once (mended in {wanted}):"
        " modelport itself never does, so let no other program write to this file"
    )


class Database:
    """The file at *path*; None is a throw-away database that lives until `close`.

    *shared*: several workers have it, and take turns to write. It was examined and is up to date then, unless this is
    the *first* one that opens it.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        steps: Sequence[Migration] = MIGRATIONS,
        check_bytes: int = CHECK_BYTES,
        waiting: int = WAITING,
        shared: bool = False,
        first: bool = True,
    ) -> None:
        self._scratch = None if path else tempfile.TemporaryDirectory(prefix="modelport-", ignore_cleanup_errors=True)
        self.path = path.absolute() if path else Path(self._scratch.name if self._scratch else "") / "modelport.db"
        self._now = now
        self._monotonic = monotonic
        self._steps = steps
        self._check_bytes = check_bytes if first else 0
        self._waiting = waiting
        self._shared = shared
        self._joined: Joined | None = None
        self.others_write: Callable[[], Awaitable[object]] | None = None
        """Has other workers write what was handed over to them; None: there are none."""
        self.was_left = False
        """Whether whoever had it before did not close it."""
        self._lock: sqlite3.Connection | None = None
        self._writer: Writer | None = None
        self._readers: _Readers | None = None

    async def open(self) -> None:
        """Take the file for this process, bring its schema up to date, start the threads.

        Raises:
            Locked: another process has it (said within two seconds).
            TooNew, Corrupt, ReadOnly, Full, Unavailable: the one-line reason; of a damaged file a copy was kept.
        """
        connection = await asyncio.to_thread(self._open)
        self._readers = _Readers(self.path, self._waiting)
        self._writer = Writer(
            connection,
            self.path,
            asyncio.get_running_loop(),
            limit=self._waiting,
            monotonic=self._monotonic,
            turn=self._joined,
        )
        self._writer.start()

    async def close(self) -> None:
        """Finish the reads and writes that wait, then give the file back. Closing twice is harmless."""
        readers, self._readers = self._readers, None
        if readers is not None:
            await asyncio.to_thread(readers.close)  # first: the last connection to close is the one that checkpoints
        if self._writer is not None:
            await self._writer.stop()
        self._release()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """What *operation* returns, once its changes are committed.

        It runs in the writer thread inside a transaction that others share, perhaps twice (see `storage.writer`).

        Raises:
            StorageError: SQLite's refusal, mapped; anything else that *operation* raises comes as it is.
        """
        return await self.begin(operation)

    def begin(self, operation: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """The same for those who wait in their own way. Raises StorageError if too many writes are waiting."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._working().submit(Job(operation, self._monotonic(), future))
        return future

    def post(
        self,
        operation: Callable[[sqlite3.Connection], T],
        done: Callable[[T | None, StorageError | None], None] | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        """Have *operation* done soon (20 ms, or *at_once*), without waiting. Never raises.

        *done* hears of result or error, once.
        """
        try:
            self._working().submit(Job(operation, self._monotonic(), done=done, at_once=at_once))
        except StorageError as error:
            if done is not None:
                done(None, error)

    async def read(
        self, operation: Callable[[sqlite3.Connection], T], *, fresh: bool = False, alone: bool = False
    ) -> T:
        """What *operation* finds, in one consistent snapshot. Rows are `sqlite3.Row`.

        *alone*: it is one statement, all of whose rows are fetched, and so needs no transaction for that.

        *fresh*: with all that was handed over to be written before, here and in other workers, unless the disk does
        not take it in FRESH_S.

        Raises:
            StorageError: SQLite's refusal, mapped, or too many reads are waiting.
        """
        if self._readers is None:
            raise Unavailable(f"{self.path}: the database is closed")
        if fresh and (self.pending or self.others_write is not None):
            with suppress(StorageError, TimeoutError):
                async with asyncio.timeout(FRESH_S):
                    await self._catch_up()
        return await self._readers.run(operation, alone=alone)

    async def _catch_up(self) -> None:
        if self.others_write is not None:
            await self.others_write()
        if self.pending:
            await self.write(_nothing)

    @property
    def failure(self) -> StorageError | None:
        """Why the last write failed, None while writes work."""
        return self._writer.failure if self._writer else None

    @property
    def status(self) -> str:
        """One word for /health: ok, full, read_only, corrupt, locked, unavailable."""
        if self._readers is None:
            return "closed"
        return self.failure.word if self.failure else "ok"

    @property
    def lag_ms(self) -> float:
        """How far the disk is behind: the age of the oldest write at work, or what the last one took."""
        return self._writer.lag_s * 1000 if self._writer else 0.0

    @property
    def pending(self) -> int:
        """Writes that wait for their commit."""
        return self._writer.pending if self._writer else 0

    @property
    def size_bytes(self) -> int:
        """The file with its log, from the file system (no query)."""
        total = 0
        for suffix in ("", "-wal"):
            try:
                total += beside(self.path, suffix).stat().st_size
            except OSError:
                continue
        return total

    def _working(self) -> Writer:
        if self._writer is None:
            raise Unavailable(f"{self.path}: the database is not open")
        return self._writer

    def _open(self) -> sqlite3.Connection:
        try:
            _prepare_folder(self.path)
            self.was_left = not self._shared and beside(self.path, ".pid").exists()
            if self._shared:
                self._joined = Joined(self.path)
            else:
                self._lock = _take_lock(self.path)
            if self.path.exists() and not self.path.stat().st_size:
                logger.warning("%s: the file is empty; a new database is made in it", self.path)
            self.path.touch(mode=0o600)
            with self._joined or nullcontext():
                return self._open_writer()
        except OSError as error:
            self._release()
            raise from_os(error, self.path) from error
        except sqlite3.Error as error:
            self._release()
            raise from_sqlite(error, self.path) from error
        except BaseException:
            self._release()
            raise

    def _open_writer(self) -> sqlite3.Connection:
        connection = _connect(f"{self.path.as_uri()}?mode=rw")
        try:
            _set_up(connection, self.path, self._check_bytes)
            migrate(connection, self.path, int(self._now() * 1_000_000), self._steps)
        except (sqlite3.Error, Corrupt) as error:
            mapped = from_sqlite(error, self.path) if isinstance(error, sqlite3.Error) else error
            if isinstance(mapped, Corrupt):
                mapped = self._damaged(str(error))
            connection.close()  # after the copy: closing may move the log into the file
            raise mapped from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _damaged(self, reason: str) -> Corrupt:
        """The file stays as it is and is never replaced in silence; one copy is put beside it."""
        kept = _keep_copy(self.path, self._now())
        return Corrupt(
            f"{self.path}: the database is damaged ({reason}); {kept};"
            " restore a backup, or move the file away to start with an empty one"
        )

    def _release(self) -> None:
        if self._lock is not None:
            with suppress(OSError):
                beside(self.path, ".pid").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None
        if self._joined is not None:
            self._joined.close()
        if self._scratch is not None:
            self._scratch.cleanup()


@dataclass(frozen=True, slots=True)
class Examined:
    """What a look at a database file has found."""

    version: int
    """Of its schema."""
    newest: int
    """The schema that this code writes."""
    wal_bytes: int
    """What of it is in the log still."""
    damage: str | None
    """None: none was found."""
    whole: bool
    """Whether all of it was looked at; a large file takes too long."""
    newest_at: float | None
    """When its last exchange began, in Unix seconds; None: there is none."""


def examine(path: Path, most_bytes: int) -> Examined:
    """Look at the file at *path* without changing it, also while a server has it; at all of it up to *most_bytes*.

    Raises:
        StorageError: it cannot be read, or is no database.
    """
    wal, size = beside(path, "-wal"), path.stat().st_size
    whole = size <= most_bytes
    try:
        with closing(_connect(f"{path.as_uri()}?mode=ro")) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if whole else "ok"
            row = connection.execute("SELECT opened_us FROM exchanges ORDER BY row DESC LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    return Examined(
        version,
        max(step.number for step in MIGRATIONS),
        wal.stat().st_size if wal.exists() else 0,
        None if found == "ok" else " ".join(str(found).split()),
        whole,
        row[0] / 1_000_000 if row else None,
    )


def _nothing(_: sqlite3.Connection) -> None:
    """To be written behind all else."""


class _Read(NamedTuple):
    """One read on its way. *alone*: it is one statement, which needs no transaction."""

    operation: Callable[[sqlite3.Connection], Any]
    alone: bool
    found: asyncio.Future[Any]


class _Readers:
    """A few threads, each with its own read-only connection; the next one begins when all others are at work."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._running = 0
        self._reads: queue.SimpleQueue[_Read | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, operation: Callable[[sqlite3.Connection], T], *, alone: bool) -> T:
        if self._running >= self._limit:
            raise Unavailable(f"{self._path}: {self._running} reads are waiting already")
        found: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._running += 1
        try:
            self._reads.put(_Read(operation, alone, found))
            if len(self._threads) < min(self._running, READERS):
                self._begin()
            return await found
        finally:
            self._running -= 1

    def _begin(self) -> None:
        name = f"modelport-reader_{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        for _ in self._threads:
            self._reads.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while (read := self._reads.get()) is not None:
            operation, alone, found = read
            if found.cancelled():
                continue
            try:
                connection = connection or self._connected()
                deliver = partial(found.set_result, self._read(connection, operation, alone=alone))
            except BaseException as error:  # noqa: BLE001  it belongs to the caller, who waits for it
                deliver = partial(found.set_exception, self._told(error))
            try:
                found.get_loop().call_soon_threadsafe(_deliver, found, deliver)
            except RuntimeError:  # the loop was closed under us: nobody is left to tell
                logger.debug("%s: the event loop is gone", self._path)
        if connection is not None:
            connection.close()

    @staticmethod
    def _read(connection: sqlite3.Connection, operation: Callable[[sqlite3.Connection], T], *, alone: bool) -> T:
        if alone:
            return operation(connection)
        connection.execute("BEGIN")
        try:
            return operation(connection)
        finally:
            connection.execute("ROLLBACK")

    def _told(self, error: BaseException) -> BaseException:
        """*error* as the caller shall see it."""
        if not isinstance(error, sqlite3.Error) or isinstance(error, sqlite3.ProgrammingError):
            # A future cannot carry StopIteration.
            return RuntimeError("a read raised StopIteration") if isinstance(error, StopIteration) else error
        mapped = from_sqlite(error, self._path)
        mapped.__cause__ = error
        return mapped

    def _connected(self) -> sqlite3.Connection:
        connection = _connect(f"{self._path.as_uri()}?mode=ro")
        for pragma in (*_PRAGMAS, "PRAGMA query_only = ON"):
            connection.execute(pragma)
        connection.row_factory = sqlite3.Row
        return connection


def _deliver(found: asyncio.Future[Any], deliver: Callable[[], None]) -> None:
    if not found.done():  # else nobody waits any more
        deliver()


def _connect(uri: str, timeout_s: float = BUSY_MS / 1000) -> sqlite3.Connection:
    # Opened in one thread, used in another, never in two at once.
    return sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False)


def _prepare_folder(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.access(path.parent, os.W_OK):
        raise ReadOnly(f"{path.parent}: the folder of the database cannot be written")
    if path.exists() and not os.access(path, os.W_OK):
        raise ReadOnly(f"{path}: the database cannot be written")


def _take_lock(path: Path) -> sqlite3.Connection:
    """An exclusive lock on `<path>.lock`, which the system drops when the process dies, however it dies.

    The lock file is itself an empty SQLite database: that is the one file lock that works alike everywhere.
    """
    file = lock_path(path)
    file.touch(mode=0o600)
    lock = _connect(f"{file.as_uri()}?mode=rw", LOCK_WAIT_S)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        mapped = from_sqlite(error, file)
        if isinstance(mapped, Locked):
            mapped = taken(path)
        raise mapped from error
    sign(path)
    return lock


def _set_up(connection: sqlite3.Connection, path: Path, check_bytes: int) -> None:
    """WAL and the other settings; a small file is examined.

    Raises:
        Corrupt: the examination found something.
    """
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    # A booking touches about ten pages, a few bytes in each: small pages halve what the log takes.
    connection.execute("PRAGMA page_size = 2048")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA journal_size_limit = 0")
    if 0 < path.stat().st_size <= check_bytes:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise Corrupt(" ".join(str(found).split()))


def _keep_copy(path: Path, now_s: float) -> str:
    """Copy file and log to `<path>.damaged-<time>`, once per state of the file; says in words what was done."""
    mark = f"{path.name}.damaged-"
    earlier = sorted(file for file in path.parent.iterdir() if file.name.startswith(mark) and file.name.endswith("Z"))
    if earlier and earlier[-1].stat().st_mtime == path.stat().st_mtime:
        return f"a copy is {earlier[-1].name}"
    stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    kept = beside(path, f".damaged-{stamp}")
    try:
        for suffix in ("-wal", ""):
            file = beside(path, suffix)
            if file.exists() and file.stat().st_size:
                shutil.copy2(file, beside(kept, suffix))
    except OSError as error:
        return f"it could not be copied ({error.strerror})"
    return f"a copy is {kept.name}"
