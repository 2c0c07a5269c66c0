"""One step of the schema."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Migration:
    """All of its *statements*, in one transaction."""

    number: int
    name: str
    statements: tuple[str, ...]


# One row with the number and size of the rows of $, kept by triggers: a size bound is checked on every store and must
# not need a scan.
_TOTALS = (
    "CREATE TABLE $_totals (entries INTEGER NOT NULL, size_bytes INTEGER NOT NULL)",
    "INSERT INTO $_totals VALUES (0, 0)",
    "CREATE TRIGGER $_added AFTER INSERT ON $ BEGIN"
    " UPDATE $_totals SET entries = entries + 1, size_bytes = size_bytes + new.size; END",
    "CREATE TRIGGER $_resized AFTER UPDATE OF size ON $ BEGIN"
    " UPDATE $_totals SET size_bytes = size_bytes + new.size - old.size; END",
    "CREATE TRIGGER $_removed AFTER DELETE ON $ BEGIN"
    " UPDATE $_totals SET entries = entries - 1, size_bytes = size_bytes - old.size; END",
)


def totals(table: str) -> tuple[str, ...]:
    """The statements that keep count of the rows of *table* and of their column `size`."""
    return tuple(statement.replace("$", table) for statement in _TOTALS)
