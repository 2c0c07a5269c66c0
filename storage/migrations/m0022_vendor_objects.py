"""What clients have made at vendors: files, batches, conversations, and whose they are."""

from __future__ import annotations

from storage.migrations.step import Migration

# The first owner of an id stays it: a vendor gives no id twice.
_OBJECTS = """
CREATE TABLE vendor_objects (
    provider TEXT NOT NULL,
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    PRIMARY KEY (provider, id)
) WITHOUT ROWID"""

MIGRATION = Migration(
    22,
    "vendor objects",
    (
        _OBJECTS,
        "CREATE INDEX vendor_objects_id ON vendor_objects (id)",
        "CREATE INDEX vendor_objects_created ON vendor_objects (created_us)",
    ),
)
