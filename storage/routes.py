"""Policies that were chosen for routes at run time: they stand over the configuration's until they are taken back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from storage.audit import Entry
from storage.db import Database


@dataclass(frozen=True, slots=True)
class RouteChoice:
    """Who chose which policy for a route. *actor* is a key's id, *at* Unix seconds."""

    name: str
    policy: str
    actor: str
    at: float


class RouteChoices:
    """The choices in *db*; each goes into the audit log with its change."""

    def __init__(self, db: Database, *, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    async def all(self) -> dict[str, RouteChoice]:
        """Every choice, by route."""
        rows = await self._db.read(lambda connection: connection.execute(_ALL).fetchall())
        return {row["name"]: _choice(row) for row in rows}

    async def choose(self, name: str, policy: str, actor: str, entry: Entry) -> RouteChoice:
        """Keep *policy* for the route *name*, on disk when this returns."""
        row = (name, policy, actor, int(self._now() * 1_000_000))
        await self._db.write(partial(_choose, row, entry))
        return RouteChoice(name, policy, actor, row[3] / 1_000_000)

    async def forget(self, name: str, entry: Entry) -> bool:
        """Take back what was chosen for the route *name*; False when nothing was."""
        return await self._db.write(partial(_forget, name, entry))


_ALL = "SELECT name, policy, actor, at_us FROM route_choices ORDER BY name"
_CHOOSE = """
INSERT INTO route_choices (name, policy, actor, at_us) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET policy = excluded.policy, actor = excluded.actor, at_us = excluded.at_us"""


def _choice(row: sqlite3.Row) -> RouteChoice:
    return RouteChoice(row["name"], row["policy"], row["actor"], row["at_us"] / 1_000_000)


def _choose(row: tuple[str, str, str, int], entry: Entry, connection: sqlite3.Connection) -> None:
    connection.execute(_CHOOSE, row)
    entry.append(connection)


def _forget(name: str, entry: Entry, connection: sqlite3.Connection) -> bool:
    if not connection.execute("DELETE FROM route_choices WHERE name = ?", (name,)).rowcount:
        return False
    entry.append(connection)
    return True
