"""Locks between processes, one for each byte of a file. The system drops those of a process that dies."""

from __future__ import annotations

import fcntl


class FileGuard:
    """The locks of *file*, a descriptor that several processes have. For one thread."""

    def __init__(self, file: int) -> None:
        self._file = file

    def hold(self, place: int) -> None:
        """Wait for the lock, and take it."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, place)

    def leave(self, place: int) -> None:
        """Give it back."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
