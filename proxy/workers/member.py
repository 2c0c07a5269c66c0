"""What a worker gets from its keeper."""

from __future__ import annotations

import mmap
import socket
from dataclasses import dataclass
from typing import Final

MARK_DIGITS: Final = 2


@dataclass(frozen=True, slots=True)
class Member:
    """One of *count* workers; the one with *number* 0 does what only one may do."""

    number: int
    count: int
    port: int
    """Where all of them listen."""
    line: socket.socket
    """To the keeper."""
    memory: mmap.mmap
    """What all of them count in (`routing.shared`), and behind it the signatures that were used (`marks`)."""
    locks: int
    """The file whose bytes are the locks of that."""
    again: bool
    """Whether it takes the place of one that has died, while others work."""
    started: float
    """When the keeper did, on the monotonic clock."""

    @property
    def mark(self) -> str:
        """The last digits of the ids that it gives."""
        return f"{self.number:0{MARK_DIGITS}x}"
