"""The thread that writes: group commit and checkpoints.

Jobs wait in one queue. The thread takes all that wait, runs them in one transaction, commits, and then releases
their callers with a single wake-up of the event loop. A group in which one job fails is undone and run again job
by job, each in its own transaction, so that nobody pays for a stranger's mistake: an operation may therefore run
twice and must have no effect but on the connection.

Checkpoints belong to this thread alone, and where several workers have the file each takes its turn for all that it
writes: SQLite before 3.51.3 can damage a file that two connections write or checkpoint at once (sqlite.org/wal.html,
"WAL-reset bug").
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from storage.errors import Conflict, StorageError, Unavailable, from_sqlite

T = TypeVar("T")

logger = logging.getLogger(__name__)

GROUP: Final = 512
"""Jobs in one transaction; what one turn of the loop hands over stays together."""

GATHER_S: Final = 0.02
"""How long jobs that nobody awaits may wait for company."""

IDLE_S: Final = 0.25
"""Quiet time after which what was written is moved from the log into the database."""

WAL_BYTES: Final = 8 * 1024 * 1024
"""The log's growth that forces a checkpoint under load: some 400 exchanges, then 10 to 15 ms in which writes wait."""

_LOOK_EVERY: Final = 16


@dataclass(frozen=True, slots=True)
class Joint(Generic[T]):
    """An operation on *items* that takes more of them where jobs come together: *all* of them, in their order."""

    all: Callable[[Sequence[T], sqlite3.Connection], None]
    items: Sequence[T]

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Do it for these items alone."""
        self.all(self.items, connection)


class Job(Generic[T]):
    """One operation, on its way to the writer and back. *future* waits for it; *done* hears of it."""

    __slots__ = ("_done", "_future", "_result", "awaited", "error", "operation", "queued_at")

    def __init__(
        self,
        operation: Callable[[sqlite3.Connection], T],
        queued_at: float,
        future: asyncio.Future[T] | None = None,
        done: Callable[[T | None, StorageError | None], None] | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        self.operation = operation
        self._future = future
        self._done = done
        self._result: T | None = None
        self.queued_at = queued_at
        self.awaited = at_once or future is not None
        """Whether somebody waits for the commit."""
        self.error: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Do it, inside a transaction."""
        self._result = self.operation(connection)

    def deliver(self) -> None:
        """Release whoever waits. On the event loop."""
        future, error = self._future, self.error
        if future is not None:
            if future.done():  # nobody waits any more
                return
            if error is None:
                future.set_result(self._result)  # type: ignore[arg-type]  # T may itself be optional
            else:
                future.set_exception(error)
            return
        if error is not None and not isinstance(error, StorageError):
            logger.error("a write that nobody awaits failed", exc_info=error)
            error = Unavailable(f"{type(error).__name__} in a write")
        if self._done is not None:
            self._done(self._result, error)


class Writer:
    """Owns the one writing *connection* from `start` until `stop` has been waited for."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        *,
        limit: int,
        monotonic: Callable[[], float],
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self._connection = connection
        self._turn: AbstractContextManager[object] = turn or nullcontext()
        """Held while this writer writes, where others write the same file."""
        self._alone = turn is None
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._loop = loop
        self._limit = limit
        self._monotonic = monotonic
        self._queue: queue.SimpleQueue[list[Job[Any]] | None] = queue.SimpleQueue()
        self._handed: list[Job[Any]] = []
        """What was handed over and the thread has not: waking it costs more than most jobs."""
        self._waking = False
        self._gathering: asyncio.TimerHandle | None = None
        """What wakes the thread for jobs that nobody awaits."""
        self._pending = 0
        self._stopping = False
        self._working_since: float | None = None
        self._last_latency_s = 0.0
        self._dirty = False
        self._commits = 0
        self._wal_mark = WAL_BYTES
        self._stopped: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._work, name="modelport-writer", daemon=True)
        self.failure: StorageError | None = None

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Job[Any]) -> None:
        """Hand *job* over. On the event loop.

        Raises:
            Unavailable: too many are waiting, or the writer has stopped.
        """
        if self._stopping:
            raise Unavailable(f"{self._path}: the database is closed")
        if self._pending >= self._limit:
            raise Unavailable(f"{self._path}: {self._pending} writes are waiting already")
        self._pending += 1
        self._handed.append(job)
        if job.awaited or len(self._handed) >= GROUP:
            if not self._waking:
                self._waking = True
                self._loop.call_soon(self._wake)
        elif self._gathering is None:
            self._gathering = self._loop.call_later(GATHER_S, self._wake)

    def _wake(self) -> None:
        """Give the thread what was handed over."""
        self._waking = False
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._handed:
            handed, self._handed = self._handed, []
            self._queue.put(handed)

    async def stop(self) -> None:
        """Write what waits, checkpoint, close the connection."""
        if not self._stopping:
            self._stopping = True
            self._wake()
            self._queue.put(None)
        await asyncio.shield(self._stopped)
        self._thread.join()

    @property
    def lag_s(self) -> float:
        """How long the oldest write at work has waited, or the last one did."""
        since = self._working_since
        return self._last_latency_s if since is None else self._monotonic() - since

    @property
    def pending(self) -> int:
        """Writes that are not committed yet."""
        return self._pending

    def _work(self) -> None:
        try:
            running = True
            while running:
                batch, running = self._take()
                if batch:
                    self._settle(batch)
                if running and (not batch or self._log_is_long()):
                    self._checkpoint("PASSIVE")
        finally:
            self._finish()

    def _take(self) -> tuple[list[Job[Any]], bool]:
        """All jobs that wait, and whether to go on. None of them: the line has been quiet."""
        queued = self._queue
        batch: list[Job[Any]] = []
        timeout = IDLE_S if self._dirty else None
        hurry = False
        while len(batch) < GROUP:
            if hurry and queued.empty():
                break
            try:
                jobs = queued.get(timeout=timeout)
            except queue.Empty:
                break
            if jobs is None:
                return batch, False
            if not batch:
                self._working_since = jobs[0].queued_at
            batch += jobs
            hurry = hurry or any(job.awaited for job in jobs)
            timeout = max(0.0, batch[0].queued_at + GATHER_S - self._monotonic())
        return batch, True

    def _settle(self, batch: list[Job[Any]]) -> None:
        with self._turn:
            self._commit(batch)
        self._dirty = True
        self._commits += 1
        self._last_latency_s = self._monotonic() - batch[0].queued_at
        self._working_since = None
        self._call(self._deliver, batch)

    def _commit(self, batch: list[Job[Any]]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:  # nobody's mistake: one by one they would wait for the same
            told = self._told(error)
            for job in batch:
                job.error = told
            return
        before = connection.total_changes
        try:
            self._run(batch)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, who wait for it
            self._roll_back()
            if len(batch) > 1:
                for job in batch:
                    self._commit([job])
                return
            batch[0].error = self._told(error)
        else:
            if connection.total_changes != before:  # a full disk takes what changes nothing
                self._recovered()

    def _run(self, batch: list[Job[Any]]) -> None:
        """Do all of *batch*; what can be done together and stands side by side is."""
        connection, at = self._connection, 0
        while at < len(batch):
            first = batch[at].operation
            if not isinstance(first, Joint):
                batch[at].run(connection)
                at += 1
                continue
            items = list(first.items)
            at += 1
            for job in batch[at:]:
                if not isinstance(job.operation, Joint) or job.operation.all is not first.all:
                    break
                items += job.operation.items
                at += 1
            first.all(items, connection)

    def _told(self, error: Exception) -> Exception:
        """*error* as the caller shall see it; trouble with the store itself is remembered for /health."""
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.ProgrammingError):
            mapped = from_sqlite(error, self._path)
            mapped.__cause__ = error
            if not isinstance(mapped, Conflict):
                if self.failure is None:
                    logger.error("%s", mapped)
                self.failure = mapped
            return mapped
        # A future cannot carry StopIteration.
        return RuntimeError("a write raised StopIteration") if isinstance(error, StopIteration) else error

    def _recovered(self) -> None:
        if self.failure is not None:
            logger.warning("%s: writes work again", self._path)
            self.failure = None

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            logger.warning("%s: rolling back: %s", self._path, error)

    def _log_is_long(self) -> bool:
        if self._commits % _LOOK_EVERY:
            return False
        try:
            return self._wal.stat().st_size > self._wal_mark
        except OSError:
            return False

    def _checkpoint(self, kind: str) -> None:
        """Move the log into the database. A reader may hold it back; then a later one does the rest."""
        self._dirty = False
        try:
            with self._turn:
                row = self._connection.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()
            _, log_pages, moved_pages = row
            # A log that was moved whole starts again at zero with the next write (journal_size_limit).
            self._wal_mark = WAL_BYTES if log_pages == moved_pages else self._wal.stat().st_size + WAL_BYTES
        except (sqlite3.Error, OSError) as error:
            logger.warning("%s: checkpoint: %s", self._path, error)

    def _finish(self) -> None:
        self._stopping = True
        late: list[Job[Any]] = []
        while not self._queue.empty():
            late += self._queue.get() or ()
        for job in late:
            job.error = Unavailable(f"{self._path}: the database is closed")
        self._checkpoint("TRUNCATE" if self._alone else "PASSIVE")  # which waits for nobody else's readers
        with self._turn:
            self._connection.close()
        self._call(self._deliver, late)
        self._call(self._set_stopped)

    def _deliver(self, batch: list[Job[Any]]) -> None:
        self._pending -= len(batch)
        for job in batch:
            try:
                job.deliver()
            except Exception:  # one caller's callback must not keep the others waiting
                logger.exception("%s: telling the outcome of a write", self._path)

    def _set_stopped(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop was closed under us: nobody is left to tell
            logger.debug("%s: the event loop is gone", self._path)
