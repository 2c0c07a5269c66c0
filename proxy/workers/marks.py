"""Signatures that were used, in memory that all workers have in common: each is good for one of them, once.

cell 0            the last second for which somebody may have accepted a signature before these workers were started
two cells each    the beginning of a digest, and until when it is remembered, in Unix seconds
"""

from __future__ import annotations

from typing import Final

from routing.shared import Guard

PLACES: Final = 65_536
MARKS_BYTES: Final = 8 * (1 + 2 * PLACES)
PROBES: Final = 256
"""Places that one may stand in."""
PLACE_OF_LOCK: Final = 1 << 20


class Marks:
    """The signatures in *memory*."""

    def __init__(self, memory: memoryview, guard: Guard) -> None:
        self._cells = memory.cast("Q")
        self._guard = guard

    @property
    def before_s(self) -> int:
        """Up to which second signatures may have been accepted before these workers were there."""
        return self._cells[0]

    @before_s.setter
    def before_s(self, second: int) -> None:
        self._cells[0] = second

    def claim(self, digest: bytes, until_s: int, now_s: int) -> bool | None:
        """Whether nobody has used *digest* yet; it is remembered *until_s* then. None: there is no room for it."""
        mark = int.from_bytes(digest[:8], "little") or 1
        first, free = mark % PLACES, None
        self._guard.hold(PLACE_OF_LOCK)
        try:
            for probe in range(PROBES):
                at = 1 + 2 * ((first + probe) % PLACES)
                is_kept = self._cells[at + 1] > now_s
                if is_kept and self._cells[at] == mark:
                    return False
                if not is_kept and free is None:
                    free = at
            if free is None:
                return None
            self._cells[free + 1], self._cells[free] = until_s, mark
            return True
        finally:
            self._guard.leave(PLACE_OF_LOCK)
