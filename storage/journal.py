"""A file of lines beside the database, for what the database could not take.

    append --> lines with checksums, forced to the disk --> lines --> cleared, when all of them are done elsewhere

Appending, reading and clearing happen in the journal's own thread, one after the other; nobody waits for an append.
The room for `MAX_BYTES` is reserved at the start: a disk that is full later still takes the lines.
Each line is the CRC-32 of what follows in eight hexadecimal digits, a space, and one JSON object. Reading ends at the
first line that is not whole: a process that was killed while it wrote leaves one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from storage.errors import StorageError, Unavailable, from_os

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 16 * 1024 * 1024
"""Some 10,000 exchanges."""

Told = Callable[[StorageError | None], None]
_MARK: Final = 9
"""Bytes before what a line says."""


class Journal:
    """The file at *path*, of at most *max_bytes*. `open` first. To be used on one event loop."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self.waiting = 0
        """Lines that are in it, or on their way."""
        self.size_bytes = 0
        self.failure: StorageError | None = None
        """Why the last line could not be added; None: it was."""
        self._max_bytes = max_bytes
        self._file: int | None = None
        self._end = 0
        self._queue: list[tuple[bytes, Told]] = []
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="modelport-journal")

    @property
    def is_open(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    async def open(self, *, reserve: bool = True) -> None:
        """Find what an earlier process left, and *reserve* the room that it may take. A disk that refuses is told of.

        Without *reserve* a file that is not there is not made.
        """
        if not reserve and not self.path.exists():
            return
        try:
            lines = await self._run(self._open, reserve)
        except StorageError as error:
            self.failure = error
            logger.error("what the ledger cannot book will be lost: %s", error)
            return
        self.waiting, self.size_bytes = len(lines), self._end

    def append(self, line: bytes, told: Told) -> None:
        """Add *line* soon; *told* hears, once, whether that worked, and at once when there is no room."""
        framed = b"%08x %b\n" % (zlib.crc32(line), line)
        if self._file is None:
            told(self.failure or Unavailable(f"{self.path}: the journal is closed"))
            return
        if self.size_bytes + len(framed) > self._max_bytes:
            self.failure = Unavailable(f"{self.path}: it holds {self.size_bytes} bytes already, and may hold no more")
            told(self.failure)
            return
        self.waiting += 1
        self.size_bytes += len(framed)
        with self._guard:
            self._queue.append((framed, told))
            is_first = len(self._queue) == 1
        if is_first:
            self._pool.submit(self._drain, asyncio.get_running_loop())

    async def lines(self) -> list[bytes]:
        """All of them, in the order in which they were added.

        Raises:
            StorageError: it cannot be read.
        """
        return await self._run(self._lines) if self._file is not None else []

    async def clear(self, count: int) -> bool:
        """Remove all lines, if they are still the *count* that were read; whether they were.

        Raises:
            StorageError: it cannot be written.
        """
        if self.waiting != count:
            return False
        self.waiting = self.size_bytes = 0
        await self._run(self._clear)
        return True

    async def close(self) -> None:
        """Finish what is under way. A file without lines is removed."""
        await asyncio.to_thread(self._pool.shutdown)
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
            if not self._end:
                self.path.unlink(missing_ok=True)

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.wrap_future(self._pool.submit(work, *arguments))
        except OSError as error:
            raise from_os(error, self.path) from error

    # --- in the journal's thread

    def _open(self, reserve: bool) -> list[bytes]:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        content = os.pread(file, os.fstat(file).st_size, 0)
        lines, end = _sound(content)
        torn = len(content[end:].rstrip(b"\0"))
        if torn:
            logger.warning("%s: its last line was not written whole; %d bytes are left out", self.path, torn)
            _write(file, bytes(torn), end)
        if reserve and hasattr(os, "posix_fallocate"):
            with suppress(OSError):  # no room now, or a file system that cannot: it grows as far as it may
                os.posix_fallocate(file, 0, self._max_bytes)
        self._file, self._end = file, end
        return lines

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._guard:
            batch, self._queue = self._queue, []
        text = b"".join(line for line, _ in batch)
        error: StorageError | None = None
        try:
            _write(self._opened, text, self._end)
            self._end += len(text)
        except OSError as refused:
            error = from_os(refused, self.path)
            with suppress(OSError):  # what was written of it must not be read
                _write(self._opened, bytes(len(text)), self._end)
        with suppress(RuntimeError):  # the loop was closed under us: nobody is left to tell
            loop.call_soon_threadsafe(self._drained, batch, error)

    def _lines(self) -> list[bytes]:
        return _sound(os.pread(self._opened, self._end, 0))[0]

    def _clear(self) -> None:
        end, self._end = self._end, 0
        _write(self._opened, bytes(end), 0)

    @property
    def _opened(self) -> int:
        if self._file is None:
            raise OSError("the journal is closed")
        return self._file

    # --- on the loop

    def _drained(self, batch: list[tuple[bytes, Told]], error: StorageError | None) -> None:
        self.failure = error
        if error is not None:
            logger.error("what the ledger cannot book is lost: %s", error)
            self.waiting -= len(batch)
            self.size_bytes -= sum(len(line) for line, _ in batch)
        for _, told in batch:
            told(error)


def _sound(content: bytes) -> tuple[list[bytes], int]:
    """The lines that are whole, and where they end."""
    lines: list[bytes] = []
    end = 0
    while (stop := content.find(b"\n", end)) > 0:
        line = content[end:stop]
        if line[: _MARK - 1] != b"%08x" % zlib.crc32(line[_MARK:]):
            break
        lines.append(line[_MARK:])
        end = stop + 1
    return lines, end


def _write(file: int, content: bytes, at: int) -> None:
    """All of it, forced to the disk."""
    left = memoryview(content)
    while left:
        written = os.pwrite(file, left, at)
        left, at = left[written:], at + written
    os.fsync(file)
