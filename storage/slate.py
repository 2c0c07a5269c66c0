"""The slate: what is under way now, in a file that is mapped into memory, so that it outlives the process.

    put --> a place of the file holds the record --> wipe, when the record stands elsewhere

Putting is a copy in memory: no system call, no other thread, nothing to wait for. What a process had written when it
was killed is in the system's cache of the file, and is read at the next start (a power cut may take the last moments,
as it may with the database). Each place holds the length and the CRC-32 of its record, and then the record, so that a
record is there whole or not at all.
"""

from __future__ import annotations

import logging
import mmap
import os
import zlib
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final

from storage.errors import from_os

logger = logging.getLogger(__name__)

PLACES: Final = 4096
PLACE_BYTES: Final = 1024
"""A longer record does not go onto the slate."""

_MARK: Final = Struct("<II")
_EMPTY: Final = bytes(_MARK.size)


class Slate:
    """The file at *path*, None: memory alone. `open` first."""

    def __init__(self, path: Path | None, *, places: int = PLACES) -> None:
        self.path = path
        self._places = places
        self._free: list[int] = []
        self._map: mmap.mmap | None = None
        self.missed_bytes = 0
        """How much of the file was not there when it was opened."""

    def open(self) -> list[bytes]:
        """Map the file; the records that an earlier process left, which stay in it until `clear`.

        A file that cannot be had is told of, and nothing is put then.
        """
        size = self._places * PLACE_BYTES
        try:
            self._map = mmap.mmap(-1, size) if self.path is None else self._mapped(self.path, size)
        except OSError as error:
            logger.warning("open requests go into the database at once: %s", from_os(error, self.path or Path()))
            return []
        left = [record for place in range(self._places) if (record := self._read(self._map, place))]
        if self.path is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)  # what was looked at once need not be resident: the file has it
        if not left:
            self._free = list(range(self._places - 1, -1, -1))
        return left

    def clear(self) -> None:
        """Forget what an earlier process left: it stands elsewhere now."""
        if self._map is not None:
            for place in range(self._places):
                self._map[place * PLACE_BYTES : place * PLACE_BYTES + _MARK.size] = _EMPTY
            self._free = list(range(self._places - 1, -1, -1))

    def keep(self) -> Path | None:
        """Put a copy of the file beside it, for what cannot be read here; where it is."""
        if self._map is None or self.path is None:
            return None
        kept = self.path.with_name(f"{self.path.name}.unread")
        with suppress(OSError):
            kept.write_bytes(self._map[:])
            return kept
        return None

    def put(self, record: bytes) -> int | None:
        """Write *record* down; its place. None: it is too long, or there is no room."""
        size = len(record)
        if not self._free or self._map is None or size > PLACE_BYTES - _MARK.size:
            return None
        place = self._free.pop()
        at = place * PLACE_BYTES
        self._map[at : at + _MARK.size + size] = _MARK.pack(size, zlib.crc32(record)) + record
        return place

    def wipe(self, *places: int | None) -> None:
        """What was put there stands elsewhere now; None was put nowhere."""
        mapped = self._map
        if mapped is None:
            return
        for place in places:
            if place is not None:
                at = place * PLACE_BYTES
                mapped[at : at + _MARK.size] = _EMPTY
                self._free.append(place)

    def close(self) -> None:
        """Let go of the file. One in which nothing stands is removed."""
        mapped, self._map = self._map, None
        if mapped is None:
            return
        is_empty = not any(self._read(mapped, place) for place in range(self._places))
        mapped.close()
        self._free = []
        if self.path is not None and is_empty:
            self.path.unlink(missing_ok=True)

    def _mapped(self, path: Path, size: int) -> mmap.mmap:
        """The file, as long as it has to be: a disk that is full later does not matter to it."""
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self.missed_bytes = max(0, size - os.fstat(file).st_size)
            if self.missed_bytes:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file, 0, size)
                else:
                    os.ftruncate(file, size)
            return mmap.mmap(file, size)
        finally:
            os.close(file)

    def _read(self, mapped: mmap.mmap, place: int) -> bytes | None:
        """The record in *place*; None where there is none, or not a whole one."""
        at = place * PLACE_BYTES
        begin = at + _MARK.size
        size, checksum = _MARK.unpack(mapped[at:begin])
        if not 0 < size <= PLACE_BYTES - _MARK.size:
            return None
        record = mapped[begin : begin + size]
        return record if zlib.crc32(record) == checksum else None
