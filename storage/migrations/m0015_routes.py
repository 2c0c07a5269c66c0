"""Policies that were chosen for routes while the server ran."""

from __future__ import annotations

from storage.migrations.step import Migration

_ROUTE_CHOICES = """
CREATE TABLE route_choices (
    name TEXT NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL,
    actor TEXT NOT NULL,
    at_us INTEGER NOT NULL
) WITHOUT ROWID"""

MIGRATION = Migration(15, "routes", (_ROUTE_CHOICES,))
