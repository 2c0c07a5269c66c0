"""Removing what is too old without keeping other writes waiting."""

from __future__ import annotations

from typing import Final

from storage.db import Database

BATCH: Final = 64
"""Rows that one write removes at most."""


async def prune(db: Database, statement: str, now: float) -> int:
    """Run *statement*, a DELETE of rows with `expires_us <= ?` and a limit, until it finds no more; rows removed.

    Each batch is a write of its own. *now* is Unix seconds.

    Raises:
        StorageError: it cannot be written; what was removed stays so.
    """
    wanted = (int(now * 1_000_000), BATCH)
    removed = 0
    while True:
        found = await db.write(lambda connection: connection.execute(statement, wanted).rowcount)
        removed += found
        if found < BATCH:
            return removed
