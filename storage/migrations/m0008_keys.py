"""Virtual keys, and the organisations and teams that they belong to."""

from __future__ import annotations

from storage.migrations.step import Migration

_ORGANISATIONS = """
CREATE TABLE organisations (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,
    created_us INTEGER NOT NULL
) WITHOUT ROWID"""

_TEAMS = """
CREATE TABLE teams (
    id TEXT NOT NULL PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    UNIQUE (organisation, name)
) WITHOUT ROWID"""

_KEYS = """
CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    shown TEXT NOT NULL,
    organisation TEXT REFERENCES organisations (id),
    team TEXT REFERENCES teams (id),
    maker TEXT NOT NULL,
    roles TEXT NOT NULL,
    settings TEXT NOT NULL,
    signing BLOB,
    created_us INTEGER NOT NULL,
    expires_us INTEGER,
    revoked_us INTEGER,
    used_us INTEGER
) WITHOUT ROWID"""

# Several for a key while it is being rotated. `until_us`: the moment from which a replaced one is no longer valid.
_DIGESTS = """
CREATE TABLE key_digests (
    digest BLOB NOT NULL PRIMARY KEY,
    key TEXT NOT NULL REFERENCES keys (id),
    until_us INTEGER
) WITHOUT ROWID"""

MIGRATION = Migration(
    8,
    "keys",
    (
        _ORGANISATIONS,
        _TEAMS,
        _KEYS,
        _DIGESTS,
        "CREATE INDEX key_digests_of ON key_digests (key)",
        "CREATE TABLE key_salt (salt BLOB NOT NULL)",
        "INSERT INTO key_salt VALUES (randomblob(32))",
    ),
)
