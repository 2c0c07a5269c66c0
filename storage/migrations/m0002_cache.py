"""Answers kept for equal requests."""

from __future__ import annotations

from storage.migrations.step import Migration

_CACHE = """
CREATE TABLE cache (
    key BLOB NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    route TEXT,
    model TEXT,
    cost_nanousd INTEGER,
    size INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    used_us INTEGER NOT NULL,
    value BLOB NOT NULL
)"""

MIGRATION = Migration(
    2,
    "exact cache",
    (
        _CACHE,
        "CREATE INDEX cache_used ON cache (used_us)",
        "CREATE INDEX cache_expires ON cache (expires_us)",
        # One row, kept by triggers: the size bound is checked on every store and must not need a scan.
        "CREATE TABLE cache_totals (entries INTEGER NOT NULL, size_bytes INTEGER NOT NULL)",
        "INSERT INTO cache_totals VALUES (0, 0)",
        "CREATE TRIGGER cache_added AFTER INSERT ON cache BEGIN"
        " UPDATE cache_totals SET entries = entries + 1, size_bytes = size_bytes + new.size; END",
        "CREATE TRIGGER cache_removed AFTER DELETE ON cache BEGIN"
        " UPDATE cache_totals SET entries = entries - 1, size_bytes = size_bytes - old.size; END",
    ),
)
