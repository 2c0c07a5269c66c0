"""The tables of the semantic cache.

`semantic`: one row for each question in a scope; *key* is where the exact cache has its answer, *rules* says by which
rules *signature* was made, *vector* is float32 at length 1 and *signs* one bit for each of its values.
`semantic_false`: pairs of questions, as digests in order, that never match. `semantic_served`: the newest hits.
"""

from __future__ import annotations

from storage.migrations.step import Migration

MIGRATION = Migration(
    18,
    "semantic cache",
    (
        """
CREATE TABLE semantic (
    row INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    scope BLOB NOT NULL,
    key BLOB NOT NULL,
    rules INTEGER NOT NULL,
    signature BLOB NOT NULL,
    question TEXT NOT NULL,
    signs BLOB,
    vector BLOB,
    tags TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    hits INTEGER NOT NULL DEFAULT 0,
    false_hits INTEGER NOT NULL DEFAULT 0,
    UNIQUE (scope, key)
)""",
        "CREATE INDEX semantic_expires ON semantic (expires_us)",
        """
CREATE TABLE semantic_false (
    tenant TEXT NOT NULL,
    one BLOB NOT NULL,
    other BLOB NOT NULL,
    reported_us INTEGER NOT NULL,
    PRIMARY KEY (tenant, one, other)
)""",
        """
CREATE TABLE semantic_served (
    row INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    scope BLOB NOT NULL,
    key BLOB NOT NULL,
    one BLOB NOT NULL,
    other BLOB NOT NULL,
    served_us INTEGER NOT NULL
)""",
    ),
)
