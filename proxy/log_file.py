"""The log in a file of bounded size: what does not fit begins a new one, and the oldest is removed.

    modelport.log --full--> modelport.log.1 --> modelport.log.2 --> (gone)

Several processes may write to one file: each line is one write at its end, and whoever finds it full while another has
begun a new one goes on with that.
"""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without it has no workers that share the file
    fcntl = None  # type: ignore[assignment]  # looked at before it is used


class LogFile:
    """A text stream at *path*, and *files* - 1 full ones behind it, of *max_bytes* each.

    Raises:
        OSError: it cannot be opened; from `write`, a line cannot be written.
    """

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._files = files
        self._file = self._opened()

    def write(self, text: str) -> None:
        """Add *text*, which is whole lines."""
        line = text.encode("utf-8", "backslashreplace")
        held = os.fstat(self._file).st_size
        if held and held + len(line) > self._max_bytes:
            self._begin_new()
        while line:
            line = line[os.write(self._file, line) :]

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Let go of the file. Closing twice is harmless."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _opened(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _begin_new(self) -> None:
        full = self._file
        if fcntl is not None:
            fcntl.flock(full, fcntl.LOCK_EX)  # until it is closed
        if self._is_ours(full):
            for number in range(self._files - 1, 0, -1):
                older = self._numbered(number - 1)
                if older.exists():
                    older.replace(self._numbered(number))
        self._file = self._opened()
        os.close(full)

    def _is_ours(self, file: int) -> bool:
        """Whether *file* still has the name."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(file))
        except FileNotFoundError:
            return False

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path
