"""What `auto` decided and has learnt: choices whose outcome may still be told, and the beliefs of each route.

A choice says which expert was followed and whom that meant, and nothing of what was asked. It is taken when its
outcome is learnt, so that no outcome counts twice.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from storage.db import Database
from storage.errors import StorageError
from storage.pruning import prune
from translators.codec import JsonError, dumps, loads

log = logging.getLogger(__name__)

KEPT_S: Final = 30 * 86_400.0
"""For how long the outcome of a choice may be told."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision. *penalty* is what the target's cost takes from the reward."""

    exchange: str
    route: str
    expert: str
    target: str
    penalty: float


class RouterStore:
    """The tables in *db*."""

    def __init__(self, db: Database, *, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    def note(self, choice: Choice) -> None:
        """Keep *choice*. Never waits; what cannot be written is logged and lost."""
        row = (choice.exchange, choice.route, choice.expert, choice.target, choice.penalty, self._now_us())
        self._db.post(lambda connection: connection.execute(_NOTE, row).rowcount, _lost)

    async def take(self, exchange: str) -> Choice | None:
        """The choice of *exchange*, which is gone afterwards; None where there is none any more."""
        return await self._db.write(partial(_take, exchange))

    async def states(self) -> dict[str, Mapping[str, Any]]:
        """The beliefs of every route; what cannot be read is left out."""
        rows = await self._db.read(lambda connection: connection.execute(_STATES).fetchall())
        found: dict[str, Mapping[str, Any]] = {}
        for row in rows:
            try:
                state = loads(row["state"])
            except JsonError:
                continue
            if isinstance(state, dict):
                found[row["route"]] = state
        return found

    def put_state(self, route: str, state: Mapping[str, Any]) -> None:
        """Keep the beliefs of *route*. Never waits; what cannot be written is logged."""
        row = (route, dumps(state), self._now_us())
        self._db.post(lambda connection: connection.execute(_PUT_STATE, row).rowcount, _lost)

    async def prune(self, now: float) -> int:
        """Remove choices whose outcome nobody told in time; how many those were. *now* is Unix seconds."""
        return await prune(self._db, _EXPIRED, now - KEPT_S)

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


_NOTE = """
INSERT OR REPLACE INTO router_choices (exchange, route, expert, target, penalty, at_us) VALUES (?, ?, ?, ?, ?, ?)"""
_TAKE = "DELETE FROM router_choices WHERE exchange = ? RETURNING exchange, route, expert, target, penalty"
_STATES = "SELECT route, state FROM router_states"
_PUT_STATE = """
INSERT INTO router_states (route, state, updated_us) VALUES (?, ?, ?)
ON CONFLICT (route) DO UPDATE SET state = excluded.state, updated_us = excluded.updated_us"""
_EXPIRED = "DELETE FROM router_choices WHERE rowid IN (SELECT rowid FROM router_choices WHERE at_us <= ? LIMIT ?)"


def _take(exchange: str, connection: sqlite3.Connection) -> Choice | None:
    row = connection.execute(_TAKE, (exchange,)).fetchone()
    return None if row is None else Choice(*row)


def _lost(_done: object, error: StorageError | None) -> None:
    if error is not None:
        log.warning("what the router decided or learnt could not be written: %s", error)
