"""What vendors' refusals taught."""

from __future__ import annotations

from storage.migrations.step import Migration

_LEARNED_RULES = """
CREATE TABLE learned_rules (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    dialect TEXT NOT NULL,
    change TEXT NOT NULL,
    evidence TEXT NOT NULL,
    http_status INTEGER NOT NULL,
    learned_us INTEGER NOT NULL,
    uses INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (provider, model, dialect, change)
)"""

MIGRATION = Migration(5, "learned rules", (_LEARNED_RULES,))
