"""What the ledger says: sums for `GET /costs`, rows for `GET /api/v1/exchanges`, newest attempts for health.

An exchange belongs, with all its attempts, to the moment at which it was opened. The groups add up to the total, except
with `tag`, where an exchange stands in the group of each of its tags and still counts once in the total.
What is summed up is said in `storage.sums`; where sums are kept ready, in `storage.rollups`.
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from storage.db import Database
from storage.errors import BadCursor
from storage.ledger import Status
from storage.money import usd
from storage.rollups import parts_of
from storage.sums import EVERYONE, GROUPINGS, WHOSE, Grouping, Sum, Whose
from translators.codec import loads

MAX_ROWS: Final = 1000
"""Exchanges on one page."""
EXPORT_PAGE: Final = 200
"""Exchanges that an export holds in memory."""

_FOREVER_US: Final = 2**62
_PLACES: Final = {grouping: place for place, grouping in enumerate(GROUPINGS)}
_UNITS: Final[dict[str, tuple[int, str]]] = {
    "day": (86_400_000_000, "%Y-%m-%d"),
    "hour": (3_600_000_000, "%Y-%m-%dT%H:00:00Z"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """*names* holds one value for each grouping asked for, in that order; None where a row has none."""

    names: Mapping[str, str | None]
    sum: Sum


@dataclass(frozen=True, slots=True)
class Sums:
    """The answer to `costs`, groups in the order of their names."""

    group_by: tuple[Grouping, ...]
    total: Sum
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """An ended attempt, as far as health wants to know. *ended_at* is Unix seconds."""

    provider: str
    model: str
    key_index: int | None
    ended_at: float
    status: Status
    http_status: int | None
    error_kind: str | None
    error: str | None
    latency_ms: float | None
    first_event_ms: float | None


class Accounts:
    """Reads the ledger in *db*, with all that was booked before; a disk that takes nothing holds nobody up."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def costs(
        self,
        since: float | None = None,
        until: float | None = None,
        group_by: Sequence[Grouping] = (),
        whose: Whose = EVERYONE,
    ) -> Sums:
        """The sums over the exchanges opened at or after *since* and before *until* (Unix seconds, None: no bound)."""
        span = _since_us(since), _until_us(until)
        return await self._db.read(partial(_costs, span, tuple(group_by), whose), fresh=True)

    async def exchanges(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        key: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
        whose: Whose = EVERYONE,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of rows, newest first, and the cursor of the next page (None: this was the last).

        Rows that are added meanwhile neither shift nor repeat what a cursor gives.

        Raises:
            BadCursor: *cursor* was not handed out by this method.
        """
        before_us, before_row = _read_cursor(cursor) if cursor else (_until_us(until), 0)
        wanted = {
            "since": _since_us(since),
            "before": before_us,
            "before_row": before_row,
            "key": key,
            "status": status,
            "limit": min(max(limit, 1), MAX_ROWS) + 1,
            **whose.wanted(),
        }
        rows = await self._db.read(lambda connection: connection.execute(_PAGE, wanted).fetchall(), fresh=True)
        more = len(rows) == wanted["limit"]
        shown = rows[:-1] if more else rows
        last = shown[-1] if more else None
        return [_exchange(row) for row in shown], _write_cursor(last["opened_us"], last["row"]) if last else None

    async def exchange(self, exchange_id: str, whose: Whose = EVERYONE) -> dict[str, Any] | None:
        """One row; its `attempts` is here the list of them. None when there is no such exchange."""
        return await self._db.read(partial(_one, {"id": exchange_id, **whose.wanted()}), fresh=True)

    async def whole(
        self,
        since: float | None = None,
        until: float | None = None,
        whose: Whose = EVERYONE,
        *,
        limit: int = EXPORT_PAGE,
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Every exchange of a span with its attempts, oldest first, in pages of *limit*: for an export of any size.

        Each page is a snapshot of its own: nothing is held up while it is sent.
        """
        after = (_since_us(since), -1)
        while True:
            wanted = {
                "after": after[0],
                "after_row": after[1],
                "until": _until_us(until),
                "limit": limit,
                **whose.wanted(),
            }
            last, page = await self._db.read(partial(_whole_page, wanted), fresh=True)
            if page:
                yield page
            if last is None:
                return
            after = last

    async def newest_attempts(self, limit_per_provider: int = 100) -> list[PastAttempt]:
        """The last attempts of every provider, oldest first, so that they can be told to health as they happened."""
        found = await self._db.read(partial(_newest, limit_per_provider))
        return sorted(found, key=lambda attempt: attempt.ended_at)


# --- sums --------------------------------------------------------------------------------------------


def _costs(span: tuple[int, int], group_by: tuple[Grouping, ...], whose: Whose, connection: sqlite3.Connection) -> Sums:
    groups = _groups(parts_of(connection, *span, group_by, whose), group_by)
    parts = groups if "tag" not in group_by else _groups(parts_of(connection, *span, (), whose), ())
    total = Sum()
    for part in parts.values():
        total.add(part)
    ordered = sorted(groups, key=lambda names: [(name is None, name or "") for name in names])
    named = tuple(Group(dict(zip(group_by, names, strict=True)), groups[names]) for names in ordered)
    return Sums(group_by, total, named if group_by else ())


def _groups(parts: Iterable[sqlite3.Row], group_by: tuple[Grouping, ...]) -> dict[tuple[str | None, ...], Sum]:
    found: dict[tuple[str | int | None, ...], Sum] = {}
    for part in parts:
        values = tuple(part)
        names = tuple(values[_PLACES[grouping]] for grouping in group_by)
        found.setdefault(names, Sum()).add(Sum(*values[len(GROUPINGS) :]))
    return {
        tuple(_name(grouping, value) for grouping, value in zip(group_by, values, strict=True)): group
        for values, group in found.items()
    }


def _name(grouping: Grouping, value: str | int | None) -> str | None:
    if isinstance(value, int) and grouping in _UNITS:
        length_us, form = _UNITS[grouping]
        return datetime.fromtimestamp(value * length_us // 1_000_000, UTC).strftime(form)
    return None if value is None else str(value)


# --- rows --------------------------------------------------------------------------------------------

_PAGE = (
    """
SELECT * FROM exchanges AS e
WHERE opened_us >= :since AND (opened_us, row) < (:before, :before_row)
    AND (:key IS NULL OR key_id = :key) AND (:status IS NULL OR status = :status)"""
    + WHOSE
    + """
ORDER BY opened_us DESC, row DESC LIMIT :limit"""
)

_ONE = (
    """
SELECT * FROM exchanges AS e
WHERE id = :id"""
    + WHOSE
)

_WHOLE = (
    """
SELECT * FROM exchanges AS e
WHERE (opened_us, row) > (:after, :after_row) AND opened_us < :until"""
    + WHOSE
    + """
ORDER BY opened_us, row LIMIT :limit"""
)

# The names of the providers are found by leaping from one to the next in the index, not by reading all attempts.
_PROVIDERS = """
WITH RECURSIVE known (name) AS (
    SELECT min(provider) FROM attempts
    UNION ALL
    SELECT (SELECT min(provider) FROM attempts WHERE provider > known.name) FROM known WHERE known.name IS NOT NULL
)
SELECT name FROM known WHERE name IS NOT NULL"""

_NEWEST = """
SELECT provider, model, key_index, ended_us / 1e6, status, http_status, error_kind, error, latency_ms, first_event_ms
FROM attempts WHERE provider = ? AND status <> 'open' ORDER BY started_us DESC LIMIT ?"""


def _one(wanted: Mapping[str, str | None], connection: sqlite3.Connection) -> dict[str, Any] | None:
    row = connection.execute(_ONE, wanted).fetchone()
    if row is None:
        return None
    attempts = connection.execute("SELECT * FROM attempts WHERE exchange = ? ORDER BY number", (row["row"],))
    return _exchange(row) | {"attempts": [_attempt(each) for each in attempts]}


def _whole_page(
    wanted: Mapping[str, Any], connection: sqlite3.Connection
) -> tuple[tuple[int, int] | None, list[dict[str, Any]]]:
    """Some exchanges with their attempts, and where the next page begins (None: nowhere)."""
    rows = connection.execute(_WHOLE, wanted).fetchall()
    page = []
    for row in rows:
        attempts = connection.execute("SELECT * FROM attempts WHERE exchange = ? ORDER BY number", (row["row"],))
        place = {"team": row["team"], "organisation": row["organisation"]}
        page.append(_exchange(row) | place | {"attempts": [_attempt(each) for each in attempts]})
    last = (rows[-1]["opened_us"], rows[-1]["row"]) if len(rows) == wanted["limit"] else None
    return last, page


def _newest(limit: int, connection: sqlite3.Connection) -> list[PastAttempt]:
    providers = [row[0] for row in connection.execute(_PROVIDERS)]
    return [PastAttempt(*row) for name in providers for row in connection.execute(_NEWEST, (name, limit))]


def _exchange(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "opened_at": _iso(row["opened_us"]),
        "settled_at": _iso(row["settled_us"]),
        "status": row["status"],
        "key_id": row["key_id"],
        "tags": loads(row["tags"]),
        "dialect": row["dialect"],
        "route": row["route"],
        "target": row["target"],
        "stream": bool(row["stream"]),
        "attempts": row["attempts"],
        "cache": row["cache"],
        **_tokens(row),
        "cost_usd": _usd(row["cost_nanousd"]),
        "saved_usd": usd(row["saved_nanousd"]),
        "estimated": bool(row["estimated"]),
        "latency_ms": row["latency_ms"],
        "first_event_ms": row["first_event_ms"],
        "losses": loads(row["losses"]),
        "error": row["error"],
        "client_request_id": row["client_request_id"],
    }


def _attempt(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "number": row["number"],
        "provider": row["provider"],
        "model": row["model"],
        "key_index": row["key_index"],
        "started_at": _iso(row["started_us"]),
        "ended_at": _iso(row["ended_us"]),
        "status": row["status"],
        "http_status": row["http_status"],
        "error_kind": row["error_kind"],
        "error": row["error"],
        **_tokens(row),
        "cost_usd": _usd(row["cost_nanousd"]),
        "price_source": row["price_source"],
        "price_version": row["price_version"],
        "raw_usage": None if row["raw_usage"] is None else loads(row["raw_usage"]),
        "estimated": bool(row["estimated"]),
        "latency_ms": row["latency_ms"],
        "first_event_ms": row["first_event_ms"],
    }


def _tokens(row: sqlite3.Row) -> dict[str, int]:
    return {
        "input_tokens": row["input_tokens"],
        "cached_input_tokens": row["cached_input_tokens"],
        "cache_write_tokens": row["cache_write_tokens"],
        "output_tokens": row["output_tokens"],
        "reasoning_tokens": row["reasoning_tokens"],
    }


def _usd(nanousd: int | None) -> str | None:
    return None if nanousd is None else usd(nanousd)


def _iso(at_us: int | None) -> str | None:
    """ISO 8601, UTC, to the millisecond: `2026-11-21T02:10:34.120Z`."""
    if at_us is None:
        return None
    return datetime.fromtimestamp(at_us // 1000 / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _since_us(at: float | None) -> int:
    return 0 if at is None else int(at * 1_000_000)


def _until_us(at: float | None) -> int:
    return _FOREVER_US if at is None else int(at * 1_000_000)


def _write_cursor(opened_us: int, row: int) -> str:
    return base64.urlsafe_b64encode(b"%d.%d" % (opened_us, row)).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int, int]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        opened_us, row = text.split(b".")
        return int(opened_us), int(row)
    except (ValueError, binascii.Error) as error:
        raise BadCursor(f"cursor: {cursor[:40]!r} is not one that this server handed out; leave it out") from error
