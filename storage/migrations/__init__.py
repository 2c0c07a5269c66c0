"""The schema, as numbered steps that only go forward: one module for each.

`PRAGMA user_version` holds the number of the last step; the table `migrations` says when each was taken.
A step that has been released is never edited: a change is a new step.

Times are integer microseconds since 1970 (UTC), money is integer nano-dollars (NULL: unknown), objects are JSON text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from storage.errors import TooNew
from storage.migrations import (
    m0001_ledger,
    m0002_cache,
    m0003_responses,
    m0004_vault,
    m0005_learned,
    m0006_catalog,
    m0007_budgets,
    m0008_keys,
    m0009_repricing,
    m0010_rollups,
    m0011_credentials,
    m0012_audit,
    m0013_queries,
    m0014_requestlog,
    m0015_routes,
    m0016_history,
    m0017_router,
    m0018_semantic,
    m0019_cache,
    m0020_alerts,
    m0021_saved_tokens,
    m0022_vendor_objects,
    m0023_pepper,
    m0024_signed,
    m0025_audit_end,
    m0026_ahead,
)
from storage.migrations.step import Migration

__all__ = ["MIGRATIONS", "Migration", "migrate"]

MIGRATIONS: Final = (
    m0001_ledger.MIGRATION,
    m0002_cache.MIGRATION,
    m0003_responses.MIGRATION,
    m0004_vault.MIGRATION,
    m0005_learned.MIGRATION,
    m0006_catalog.MIGRATION,
    m0007_budgets.MIGRATION,
    m0008_keys.MIGRATION,
    m0009_repricing.MIGRATION,
    m0010_rollups.MIGRATION,
    m0011_credentials.MIGRATION,
    m0012_audit.MIGRATION,
    m0013_queries.MIGRATION,
    m0014_requestlog.MIGRATION,
    m0015_routes.MIGRATION,
    m0016_history.MIGRATION,
    m0017_router.MIGRATION,
    m0018_semantic.MIGRATION,
    m0019_cache.MIGRATION,
    m0020_alerts.MIGRATION,
    m0021_saved_tokens.MIGRATION,
    m0022_vendor_objects.MIGRATION,
    m0023_pepper.MIGRATION,
    m0024_signed.MIGRATION,
    m0025_audit_end.MIGRATION,
    m0026_ahead.MIGRATION,
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
