"""Where the audit log ends, kept beside it: entries that are cut off at its end are missed, and their numbers not given
again."""

from __future__ import annotations

from storage.migrations.step import Migration

_END = """
CREATE TABLE audit_end (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL
)"""

_IN_ORDER = """
CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
WHEN new.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM audit_end)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"""

_MOVES = """
CREATE TRIGGER audit_end_moves AFTER INSERT ON audit
BEGIN REPLACE INTO audit_end VALUES (1, new.seq, new.hash); END"""

MIGRATION = Migration(
    25,
    "audit_end",
    (
        _END,
        "INSERT INTO audit_end SELECT 1, seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
        "DROP TRIGGER IF EXISTS audit_in_order",
        _IN_ORDER,
        _MOVES,
    ),
)
