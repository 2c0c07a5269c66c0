"""Queries of `/api/v1/llm/query`, and providers that were added while the process ran."""

from __future__ import annotations

from storage.migrations.step import Migration, totals

# A row outlives its result for a while, so that its id is known to be of something that is gone.
_QUERIES = """
CREATE TABLE queries (
    row INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    created_us INTEGER NOT NULL,
    started_us INTEGER,
    ended_us INTEGER,
    expires_us INTEGER NOT NULL,
    forget_us INTEGER NOT NULL,
    size INTEGER NOT NULL,
    told BLOB,
    UNIQUE (tenant, id)
)"""

# `settings` is the JSON of a section [providers.NAME].
_PROVIDERS = """
CREATE TABLE provider_rows (
    name TEXT NOT NULL PRIMARY KEY,
    settings TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    changed_us INTEGER NOT NULL
) WITHOUT ROWID"""

MIGRATION = Migration(
    13,
    "queries",
    (
        _QUERIES,
        "CREATE INDEX queries_ended ON queries (ended_us)",
        "CREATE INDEX queries_expires ON queries (expires_us) WHERE told IS NOT NULL",
        "CREATE INDEX queries_forget ON queries (forget_us)",
        "CREATE INDEX queries_open ON queries (status) WHERE status IN ('queued', 'running')",
        *totals("queries"),
        _PROVIDERS,
    ),
)
