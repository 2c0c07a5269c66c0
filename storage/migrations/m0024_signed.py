"""Up to which second the requests that a key has signed may have been accepted."""

from __future__ import annotations

from storage.migrations.step import Migration

MIGRATION = Migration(24, "signed", ("ALTER TABLE keys ADD COLUMN signed_until_s INTEGER",))
