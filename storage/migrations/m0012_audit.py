"""The audit log: entries that are added and never changed, each holding the hash of the one before."""

from __future__ import annotations

from storage.migrations.step import Migration

_AUDIT = """
CREATE TABLE audit (
    seq INTEGER NOT NULL PRIMARY KEY,
    at_us INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before TEXT,
    after TEXT,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL
)"""

_REFUSAL = "SELECT RAISE(ABORT, 'the audit log is append-only')"

# INSERT OR REPLACE removes a row without asking the trigger of DELETE.
_IN_ORDER = """
CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
WHEN new.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM audit)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"""

MIGRATION = Migration(
    12,
    "audit",
    (
        _AUDIT,
        "CREATE INDEX audit_subject ON audit (subject, seq)",
        "CREATE INDEX audit_at ON audit (at_us)",
        f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN {_REFUSAL}; END",
        f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN {_REFUSAL}; END",
        _IN_ORDER,
    ),
)
