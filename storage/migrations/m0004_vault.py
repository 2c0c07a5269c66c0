"""Reasoning that clients drop."""

from __future__ import annotations

from storage.migrations.step import Migration, totals

_VAULT = """
CREATE TABLE vault (
    row INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    key BLOB NOT NULL,
    origin TEXT NOT NULL,
    dialect TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    size INTEGER NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (tenant, key)
)"""

MIGRATION = Migration(
    4,
    "reasoning vault",
    (
        _VAULT,
        "CREATE INDEX vault_created ON vault (created_us)",
        "CREATE INDEX vault_expires ON vault (expires_us)",
        *totals("vault"),
    ),
)
