"""The schema, as numbered steps that only go forward.

`PRAGMA user_version` holds the number of the last step; the table `migrations` says when each was taken.
A step that has been released is never edited: a change is a new step.

Times are integer microseconds since 1970 (UTC), money is integer nano-dollars (NULL: unknown), objects are JSON text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.errors import TooNew


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: all of its *statements*, in one transaction."""

    number: int
    name: str
    statements: tuple[str, ...]


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

_CATALOG = """
CREATE TABLE catalog (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    facts TEXT NOT NULL,
    source TEXT NOT NULL,
    fetched_us INTEGER NOT NULL,
    PRIMARY KEY (provider, model)
)"""


# One row with the number and size of the rows of $, kept by triggers: a size bound is checked on every store and must
# not need a scan.
_TOTALS = (
    "CREATE TABLE $_totals (entries INTEGER NOT NULL, size_bytes INTEGER NOT NULL)",
    "INSERT INTO $_totals VALUES (0, 0)",
    "CREATE TRIGGER $_added AFTER INSERT ON $ BEGIN"
    " UPDATE $_totals SET entries = entries + 1, size_bytes = size_bytes + new.size; END",
    "CREATE TRIGGER $_resized AFTER UPDATE OF size ON $ BEGIN"
    " UPDATE $_totals SET size_bytes = size_bytes + new.size - old.size; END",
    "CREATE TRIGGER $_removed AFTER DELETE ON $ BEGIN"
    " UPDATE $_totals SET entries = entries - 1, size_bytes = size_bytes - old.size; END",
)

MIGRATIONS: Final = (
    Migration(
        1,
        "ledger",
        (
            _EXCHANGES,
            "CREATE INDEX exchanges_opened ON exchanges (opened_us)",
            "CREATE INDEX exchanges_open ON exchanges (status) WHERE status = 'open'",
            _ATTEMPTS,
            "CREATE INDEX attempts_newest ON attempts (provider, started_us)",
        ),
    ),
    Migration(
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
    ),
    Migration(
        3,
        "responses",
        (
            _RESPONSES,
            "CREATE INDEX responses_created ON responses (created_us)",
            "CREATE INDEX responses_expires ON responses (expires_us)",
            "CREATE INDEX responses_open ON responses (status) WHERE status IN ('queued', 'in_progress')",
            *(statement.replace("$", "responses") for statement in _TOTALS),
        ),
    ),
    Migration(
        4,
        "reasoning vault",
        (
            _VAULT,
            "CREATE INDEX vault_created ON vault (created_us)",
            "CREATE INDEX vault_expires ON vault (expires_us)",
            *(statement.replace("$", "vault") for statement in _TOTALS),
        ),
    ),
    Migration(5, "learned rules", (_LEARNED_RULES,)),
    Migration(6, "model catalogue", (_CATALOG,)),
)


def migrate(connection: sqlite3.Connection, path: Path, at_us: int, steps: Sequence[Migration] = MIGRATIONS) -> int:
    """Take every step that *connection* has not taken yet; the number of steps taken.

    Raises:
        TooNew: the database has steps that this code does not know.
        sqlite3.Error: a step failed; the steps before it stand, of itself nothing.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    newest = max(step.number for step in steps)
    if version > newest:
        raise TooNew(
            f"{path}: its schema is version {version}, this modelport knows up to {newest};"
            " use the modelport that wrote it, or another file"
        )
    missing = [step for step in sorted(steps, key=lambda step: step.number) if step.number > version]
    for step in missing:
        _take(connection, step, at_us)
    return len(missing)


def _take(connection: sqlite3.Connection, step: Migration, at_us: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations"
            " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, at INTEGER NOT NULL)"
        )
        for statement in step.statements:
            connection.execute(statement)
        connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (step.number, step.name, at_us))
        connection.execute(f"PRAGMA user_version = {step.number:d}")  # a pragma takes no parameters
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
