"""Exchanges and their attempts."""

from __future__ import annotations

from storage.migrations.step import Migration

_EXCHANGES = """
CREATE TABLE exchanges (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    opened_us INTEGER NOT NULL,
    settled_us INTEGER,
    status TEXT NOT NULL CHECK (status IN ('open', 'ok', 'failed', 'aborted', 'interrupted')),
    key_id TEXT,
    tags TEXT NOT NULL,
    dialect TEXT NOT NULL,
    route TEXT,
    target TEXT,
    stream INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    cache TEXT NOT NULL CHECK (cache IN ('hit', 'miss', 'bypass')),
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cached_input_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cost_nanousd INTEGER,
    saved_nanousd INTEGER NOT NULL DEFAULT 0,
    estimated INTEGER NOT NULL DEFAULT 0,
    latency_ms REAL,
    first_event_ms REAL,
    losses TEXT NOT NULL DEFAULT '[]',
    error TEXT,
    client_request_id TEXT,
    input_estimate INTEGER NOT NULL,
    CHECK ((status = 'open') = (settled_us IS NULL))
)"""

_ATTEMPTS = """
CREATE TABLE attempts (
    exchange INTEGER NOT NULL REFERENCES exchanges (row) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number > 0),
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    key_index INTEGER,
    started_us INTEGER NOT NULL,
    ended_us INTEGER,
    status TEXT NOT NULL CHECK (status IN ('open', 'ok', 'failed', 'aborted', 'interrupted')),
    http_status INTEGER,
    error_kind TEXT,
    error TEXT,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cached_input_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cost_nanousd INTEGER,
    price_source TEXT,
    price_version TEXT,
    raw_usage TEXT,
    estimated INTEGER NOT NULL DEFAULT 0,
    latency_ms REAL,
    first_event_ms REAL,
    PRIMARY KEY (exchange, number),
    CHECK ((status = 'open') = (ended_us IS NULL))
)"""

MIGRATION = Migration(
    1,
    "ledger",
    (
        _EXCHANGES,
        "CREATE INDEX exchanges_opened ON exchanges (opened_us)",
        "CREATE INDEX exchanges_open ON exchanges (status) WHERE status = 'open'",
        _ATTEMPTS,
        "CREATE INDEX attempts_newest ON attempts (provider, started_us)",
    ),
)
