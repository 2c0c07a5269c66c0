"""Keys of providers, sealed; and the salt from which a passphrase becomes the key that seals them."""

from __future__ import annotations

from storage.migrations.step import Migration

# One row at most: the salt, and the work that Argon2id was told to do when it was made.
_SALT = """
CREATE TABLE secret_salt (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    salt BLOB NOT NULL,
    memory_kib INTEGER NOT NULL,
    iterations INTEGER NOT NULL,
    lanes INTEGER NOT NULL
)"""

_CREDENTIALS = """
CREATE TABLE credentials (
    name TEXT NOT NULL PRIMARY KEY,
    provider TEXT NOT NULL,
    sealed BLOB NOT NULL,
    weight INTEGER NOT NULL CHECK (weight >= 1),
    base_url TEXT,
    dialect TEXT,
    enabled INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    rotated_us INTEGER
) WITHOUT ROWID"""

MIGRATION = Migration(11, "credentials", (_SALT, _CREDENTIALS))
