"""What the fingerprints of stored keys are made with, sealed: it outlives the key that seals."""

from __future__ import annotations

from storage.migrations.step import Migration

_PEPPER = """
CREATE TABLE secret_pepper (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    sealed BLOB NOT NULL
)"""

MIGRATION = Migration(23, "pepper", (_PEPPER,))
