"""Answers that may be given for a while after they have expired, and what they are removed by.

`expires_us` stays the moment at which an entry is removed; `fresh_us` is that after which it is given only while a new
one is asked for (NULL: they are the same). `cache_tags` has one row for each tag of an entry and goes with it.
"""

from __future__ import annotations

from storage.migrations.step import Migration

MIGRATION = Migration(
    19,
    "tags and stale answers of the cache",
    (
        "ALTER TABLE cache ADD COLUMN fresh_us INTEGER",
        """
CREATE TABLE cache_tags (
    tag TEXT NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (tag, key)
) WITHOUT ROWID""",
        "CREATE INDEX cache_tags_key ON cache_tags (key)",
        "CREATE TRIGGER cache_untagged AFTER DELETE ON cache BEGIN DELETE FROM cache_tags WHERE key = old.key; END",
    ),
)
