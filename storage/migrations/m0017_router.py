"""What the policy `auto` decided, until its outcome is known, and what routes have learnt from outcomes."""

from __future__ import annotations

from storage.migrations.step import Migration

_CHOICES = """
CREATE TABLE router_choices (
    exchange TEXT PRIMARY KEY,
    route TEXT NOT NULL,
    expert TEXT NOT NULL,
    target TEXT NOT NULL,
    penalty REAL NOT NULL,
    at_us INTEGER NOT NULL
)"""

_STATES = """
CREATE TABLE router_states (
    route TEXT PRIMARY KEY,
    state BLOB NOT NULL,
    updated_us INTEGER NOT NULL
) WITHOUT ROWID"""

MIGRATION = Migration(17, "router", (_CHOICES, "CREATE INDEX router_choices_at ON router_choices (at_us)", _STATES))
