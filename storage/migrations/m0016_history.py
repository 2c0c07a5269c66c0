"""What routes have learnt of their targets, what was said in each consensus, and what callers found out later."""

from __future__ import annotations

from storage.migrations.step import Migration, totals

_STATES = """
CREATE TABLE consensus_states (
    route TEXT PRIMARY KEY,
    state BLOB NOT NULL,
    updated_us INTEGER NOT NULL
) WITHOUT ROWID"""

_MINUTES = """
CREATE TABLE consensus_minutes (
    exchange TEXT PRIMARY KEY,
    route TEXT NOT NULL,
    minutes BLOB NOT NULL,
    size INTEGER NOT NULL,
    kept_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL
)"""

_FEEDBACK = """
CREATE TABLE feedback (
    row INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    kind TEXT NOT NULL,
    key_id TEXT,
    said TEXT NOT NULL,
    at_us INTEGER NOT NULL
)"""

MIGRATION = Migration(
    16,
    "history of consensus and feedback",
    (
        _STATES,
        _MINUTES,
        "CREATE INDEX consensus_minutes_expires ON consensus_minutes (expires_us)",
        *totals("consensus_minutes"),
        _FEEDBACK,
        "CREATE INDEX feedback_exchange ON feedback (exchange)",
        "CREATE INDEX feedback_kind ON feedback (kind, at_us)",
    ),
)
