"""What vendors' lists of models say."""

from __future__ import annotations

from storage.migrations.step import Migration

_CATALOG = """
CREATE TABLE catalog (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    facts TEXT NOT NULL,
    source TEXT NOT NULL,
    fetched_us INTEGER NOT NULL,
    PRIMARY KEY (provider, model)
)"""

MIGRATION = Migration(6, "model catalogue", (_CATALOG,))
