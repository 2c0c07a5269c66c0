"""The request log: what was asked and answered, each message once."""

from __future__ import annotations

from storage.migrations.step import Migration, totals

# `asked` and `answered` are documents: compressed JSON that names parts by their place in `log_parts`.
# AUTOINCREMENT: a number is never given twice, so that whoever follows the log misses nothing and sees nothing twice.
_ENTRIES = """
CREATE TABLE log_entries (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    at_us INTEGER NOT NULL,
    key_id TEXT,
    team TEXT,
    organisation TEXT,
    dialect TEXT NOT NULL,
    route TEXT NOT NULL,
    target TEXT,
    status TEXT NOT NULL,
    stream INTEGER NOT NULL,
    cache TEXT NOT NULL,
    latency_ms REAL NOT NULL,
    cost_nanousd INTEGER,
    error TEXT,
    question TEXT NOT NULL,
    answer TEXT NOT NULL,
    asked BLOB NOT NULL,
    answered BLOB,
    size INTEGER NOT NULL
)"""

_BLOBS = """
CREATE TABLE log_blobs (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE,
    data BLOB NOT NULL,
    size INTEGER NOT NULL
)"""

_PARTS = """
CREATE TABLE log_parts (
    entry INTEGER NOT NULL,
    place INTEGER NOT NULL,
    blob INTEGER NOT NULL,
    PRIMARY KEY (entry, place)
) WITHOUT ROWID"""

MIGRATION = Migration(
    14,
    "requestlog",
    (
        _ENTRIES,
        "CREATE INDEX log_entries_at ON log_entries (at_us)",
        "CREATE INDEX log_entries_key ON log_entries (key_id, at_us)",
        *totals("log_entries"),
        _BLOBS,
        *totals("log_blobs"),
        _PARTS,
        "CREATE INDEX log_parts_blob ON log_parts (blob)",
        "CREATE VIRTUAL TABLE log_text USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2')",
    ),
)
