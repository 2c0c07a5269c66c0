"""Sums of the ledger's settled exchanges, and how far they have come."""

from __future__ import annotations

from storage.migrations.step import Migration

# `identity` is the JSON of the others: NULL equals NULL in it.
_NAMES = """
CREATE TABLE rollup_names (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE,
    provider TEXT,
    model TEXT,
    route TEXT,
    key_id TEXT,
    team TEXT,
    organisation TEXT,
    tags TEXT NOT NULL
)"""

# Every exchange is in here twice: without its tags (tagged = 0), so that tags of many values slow nothing but what
# asks for them, and with them.
_ROLLUPS = """
CREATE TABLE rollups (
    tagged INTEGER NOT NULL,
    length_us INTEGER NOT NULL,
    bucket_us INTEGER NOT NULL,
    names INTEGER NOT NULL,
    exchanges INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    cache_hits INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_nanousd INTEGER NOT NULL,
    exact_nanousd INTEGER NOT NULL,
    estimated_nanousd INTEGER NOT NULL,
    unpriced_attempts INTEGER NOT NULL,
    saved_nanousd INTEGER NOT NULL,
    PRIMARY KEY (tagged, length_us, bucket_us, names)
) WITHOUT ROWID"""

# One row. `folded_row`: exchanges up to this row are in the sums, but for those in rollup_pending (they were open).
# From `minutes_us` on there are sums by the minute; before `pruned_us` rows may be gone, before `sums_us` sums, too.
# The sums from `gap_us` to `gap_end_us` are being made anew; those of rows up to (`gap_next_us`, `gap_next_row`) are
# (-1: the old ones are still there).
_STATE = """
CREATE TABLE rollup_state (
    folded_row INTEGER NOT NULL DEFAULT 0,
    minutes_us INTEGER NOT NULL DEFAULT 0,
    pruned_us INTEGER NOT NULL DEFAULT 0,
    sums_us INTEGER NOT NULL DEFAULT 0,
    gap_us INTEGER NOT NULL DEFAULT 0,
    gap_end_us INTEGER NOT NULL DEFAULT 0,
    gap_next_us INTEGER NOT NULL DEFAULT 0,
    gap_next_row INTEGER NOT NULL DEFAULT 0
)"""

MIGRATION = Migration(
    10,
    "rollups",
    (
        _NAMES,
        _ROLLUPS,
        _STATE,
        "INSERT INTO rollup_state DEFAULT VALUES",
        "CREATE TABLE rollup_pending (row INTEGER PRIMARY KEY)",
    ),
)
