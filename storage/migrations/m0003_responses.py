"""What `/v1/responses` keeps."""

from __future__ import annotations

from storage.migrations.step import Migration, totals

_RESPONSES = """
CREATE TABLE responses (
    row INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    status TEXT NOT NULL
        CHECK (status IN ('queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled')),
    model TEXT NOT NULL,
    provider TEXT,
    vendor_stored INTEGER NOT NULL,
    previous_id TEXT,
    size INTEGER NOT NULL,
    input BLOB NOT NULL,
    output BLOB NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (tenant, id)
)"""

MIGRATION = Migration(
    3,
    "responses",
    (
        _RESPONSES,
        "CREATE INDEX responses_created ON responses (created_us)",
        "CREATE INDEX responses_expires ON responses (expires_us)",
        "CREATE INDEX responses_open ON responses (status) WHERE status IN ('queued', 'in_progress')",
        *totals("responses"),
    ),
)
