"""Rolling budgets and a clock that went ahead and back: what was spent stands in time to come.

    seen ahead --> counts for one window from then on --> put where it was seen, which is past by then
         \\-> the clock was put there (it had only gone back): it counts in its own place, as ever

Counting it is what the limit asks for, as it was spent before now; counting it until the clock has come there and a
window longer would shut a budget for as long as the clock was wrong.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from storage.windows import GRAIN_US, LENGTH_US, Window, bucket_us, ends_us

SLACK_US: Final = 60_000_000
"""A bucket may begin so much later than now: clocks are set by seconds, and rows wait to be written."""

_FIND = """
SELECT s.budget, s.bucket_us, s.ahead_since_us, s.spent_nanousd, s.reserved_nanousd, s.unpriced_attempts
FROM budgets AS b JOIN budget_spending AS s ON s.budget = b.id
WHERE b.rolling AND b.window = :window AND s.bucket_us >= :since
    AND (s.bucket_us > :horizon OR s.ahead_since_us NOT NULL)"""
_MARK = "UPDATE budget_spending SET ahead_since_us = ? WHERE budget = ? AND bucket_us = ?"
ADD = """
INSERT INTO budget_spending (budget, bucket_us, spent_nanousd, reserved_nanousd, unpriced_attempts)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (budget, bucket_us) DO UPDATE SET spent_nanousd = spent_nanousd + excluded.spent_nanousd,
    reserved_nanousd = reserved_nanousd + excluded.reserved_nanousd,
    unpriced_attempts = unpriced_attempts + excluded.unpriced_attempts"""


def lies_ahead(at_us: int, connection: sqlite3.Connection) -> bool:
    """Whether there is anything for `look_ahead` to do."""
    return any(_found(at_us, window, connection) for window in LENGTH_US)


def look_ahead(at_us: int, stepped: bool, connection: sqlite3.Connection) -> int:
    """Mark what rolling budgets have in time to come, and put in the past what was so for a window; how many are left.

    *stepped*: the clock may have been put ahead meanwhile. A bucket that it reached in this way is an ordinary one.
    """
    left = 0
    for window in LENGTH_US:
        for budget, bucket, seen, *used in _found(at_us, window, connection):
            first_seen = at_us if seen is None else min(seen, at_us)
            if stepped and bucket <= at_us + SLACK_US:
                connection.execute(_MARK, (None, budget, bucket))
            elif at_us < leaves_us(window, bucket, first_seen):
                connection.execute(_MARK, (first_seen, budget, bucket))
                left += 1
            else:
                _move(connection, budget, bucket, bucket_us(window, first_seen, rolling=True), used)
    return left


def leaves_us(window: Window, bucket: int, ahead_since_us: int | None) -> int:
    """When what is in *bucket* of a rolling window no longer counts, if it lies ahead since then."""
    place = bucket if ahead_since_us is None else bucket_us(window, ahead_since_us, rolling=True)
    return ends_us(window, place, rolling=True) or 0


def _found(
    at_us: int, window: Window, connection: sqlite3.Connection
) -> list[tuple[str, int, int | None, int, int, int]]:
    since_us = at_us - LENGTH_US[window] - GRAIN_US[window]
    wanted = {"window": window, "since": since_us, "horizon": at_us + SLACK_US}
    return [tuple(row) for row in connection.execute(_FIND, wanted).fetchall()]


def _move(connection: sqlite3.Connection, budget: str, bucket: int, to: int, used: list[int]) -> None:
    """Put what *bucket* holds into another one, and let what is charged to it follow."""
    connection.execute("DELETE FROM budget_spending WHERE budget = ? AND bucket_us = ?", (budget, bucket))
    connection.execute(ADD, (budget, to, *used))
    connection.execute("UPDATE charges SET bucket_us = ? WHERE budget = ? AND bucket_us = ?", (to, budget, bucket))
