"""Prices that costs were computed with, and costs that were computed anew."""

from __future__ import annotations

from storage.migrations.step import Migration

_PRICES = """
CREATE TABLE prices (
    version TEXT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    rates TEXT NOT NULL,
    kept_us INTEGER NOT NULL
) WITHOUT ROWID"""

# The newest stands in `attempts`; here is every change of it, the first with what was booked.
_ATTEMPT_COSTS = """
CREATE TABLE attempt_costs (
    exchange INTEGER NOT NULL,
    number INTEGER NOT NULL,
    change INTEGER NOT NULL,
    old_nanousd INTEGER,
    old_source TEXT,
    old_version TEXT,
    new_nanousd INTEGER,
    new_source TEXT,
    new_version TEXT,
    at_us INTEGER NOT NULL,
    PRIMARY KEY (exchange, number, change),
    FOREIGN KEY (exchange, number) REFERENCES attempts (exchange, number) ON DELETE CASCADE
) WITHOUT ROWID"""

MIGRATION = Migration(
    9,
    "repricing",
    (
        _PRICES,
        _ATTEMPT_COSTS,
        "CREATE INDEX attempts_unpriced ON attempts (started_us) WHERE cost_nanousd IS NULL AND status <> 'open'",
    ),
)
