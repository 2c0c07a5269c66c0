"""Room on the disk that is kept for the day when there is none: removing rows takes some, too.

    held --too little is left--> released, so that what is too old can be removed --enough again--> held

SQLite in WAL mode cannot even DELETE on a full disk.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

BALLAST_BYTES: Final = 4 * 1024 * 1024
SCARCE_BYTES: Final = 1024 * 1024
"""With less than this the disk is as good as full: a starting database takes some 100 KB by itself."""
AMPLE_BYTES: Final = 4 * BALLAST_BYTES
"""Without this much beside it, nothing is held back."""


def free_bytes(folder: Path) -> int:
    """What the disk under *folder* has left for us. Raises OSError."""
    return shutil.disk_usage(folder).free


class Ballast:
    """The file at *path*. Its methods wait for the disk; none of them raises. *free* stands in for the system."""

    def __init__(
        self, path: Path, size_bytes: int = BALLAST_BYTES, *, free: Callable[[Path], int] = free_bytes
    ) -> None:
        self.path = path
        self._size_bytes = size_bytes
        self._free = free

    @property
    def held_bytes(self) -> int:
        """How much is held now."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def adjust(self, *, is_full: bool = False) -> bool:
        """Hold the room, or release it, by what the disk has left; True when it was released just now.

        *is_full*: the database was refused a write for want of room, whatever the system says.
        """
        try:
            free = self._free(self.path.parent)
        except OSError:
            return False
        if self.held_bytes:
            return (is_full or free < SCARCE_BYTES) and self._release()
        if free >= AMPLE_BYTES and not is_full:
            self._hold()
        return False

    def make_way(self) -> None:
        """Before the database is opened, which takes some room: release what is held, if there is little else."""
        if self.held_bytes:
            self.adjust()

    def close(self) -> None:
        """Give the room back: nobody needs it while nothing is written."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _release(self) -> bool:
        try:
            self.path.unlink()
        except OSError as error:
            logger.warning("%s: it cannot be removed to make room: %s", self.path, error.strerror)
            return False
        logger.warning(
            "the disk of %s is full: %d MB that were kept beside it are free for removing what is too old",
            self.path.parent,
            self._size_bytes >> 20,
        )
        return True

    def _hold(self) -> None:
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file, 0, self._size_bytes)
                else:
                    os.write(file, bytes(self._size_bytes))
            finally:
                os.close(file)
        except OSError:  # a quota, say: then there is none
            with suppress(OSError):
                self.path.unlink()
