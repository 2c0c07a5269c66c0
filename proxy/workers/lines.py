"""What the workers and their keeper say to each other: one JSON object a line, over a pair of sockets.

A line may have `to` (a worker's number, KEEPER; without it, all others), and gets `from`. `topic` and `said` are what
is said. `ask` is the number of a question: the keeper answers it with `reached`, the workers that it went to, and each
of them with `answer`, the same number, and its `said`.
"""

from __future__ import annotations

from typing import Any, Final

from translators.codec import dumps, loads_object

KEEPER: Final = -1

Line = dict[str, Any]


class Lines:
    """Puts together what comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Line]:
        """The lines that are whole with *data*."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [loads_object(each) for each in whole]


def framed(line: Line) -> bytes:
    """*line* as bytes."""
    return dumps(line) + b"\n"
