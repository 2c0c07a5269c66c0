"""What the ledger says: sums for `GET /costs`, rows for `GET /api/v1/exchanges`, newest attempts for health.

An exchange belongs, with all its attempts, to the moment at which it was opened.
Tokens, costs and `attempts` are those of the attempts: what was bought, from whom. `exchanges`, `errors` (failed or
interrupted), `cache_hits` and `saved` are those of the exchanges. Grouped by provider or model, an attempt counts
where it was sent, and its exchange where it ended (its final target). The groups add up to the total, except with
`tag`, where an exchange stands in the group of each of its tags and still counts once in the total.
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal, get_args

from storage.db import Database
from storage.errors import BadCursor
from storage.ledger import Status
from storage.money import usd
from translators.codec import loads

Grouping = Literal["provider", "model", "route", "key", "tag", "day", "hour"]
GROUPINGS: Final[tuple[Grouping, ...]] = get_args(Grouping)

MAX_ROWS: Final = 1000
"""Exchanges on one page."""

_FOREVER_US: Final = 2**62
_UNITS: Final[dict[str, tuple[int, str]]] = {
    "day": (86_400_000_000, "%Y-%m-%d"),
    "hour": (3_600_000_000, "%Y-%m-%dT%H:00:00Z"),
}


@dataclass(slots=True)
class Sum:
    """The numbers of one group. Money in nano-dollars; cost = exact + estimated."""

    exchanges: int = 0
    attempts: int = 0
    errors: int = 0
    cache_hits: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanousd: int = 0
    exact_nanousd: int = 0
    estimated_nanousd: int = 0
    unpriced_attempts: int = 0
    saved_nanousd: int = 0

    def add(self, other: Sum) -> None:
        """Count *other* in."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


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
    """Reads the ledger in *db*; never waits for a write."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def costs(
        self, since: float | None = None, until: float | None = None, group_by: Sequence[Grouping] = ()
    ) -> Sums:
        """The sums over the exchanges opened at or after *since* and before *until* (Unix seconds, None: no bound)."""
        return await self._db.read(partial(_costs, _since_us(since), _until_us(until), tuple(group_by)))

    async def exchanges(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        key: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
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
        }
        rows = await self._db.read(lambda connection: connection.execute(_PAGE, wanted).fetchall())
        more = len(rows) == wanted["limit"]
        shown = rows[:-1] if more else rows
        last = shown[-1] if more else None
        return [_exchange(row) for row in shown], _write_cursor(last["opened_us"], last["row"]) if last else None

    async def exchange(self, exchange_id: str) -> dict[str, Any] | None:
        """One row; its `attempts` is here the list of them. None when there is no such exchange."""
        return await self._db.read(partial(_one, exchange_id))

    async def newest_attempts(self, limit_per_provider: int = 100) -> list[PastAttempt]:
        """The last attempts of every provider, oldest first, so that they can be told to health as they happened."""
        found = await self._db.read(partial(_newest, limit_per_provider))
        return sorted(found, key=lambda attempt: attempt.ended_at)


# --- sums --------------------------------------------------------------------------------------------

# One statement for every grouping: a grouping that is not asked for is a constant, and constants make one group.
# The provider of a target is what stands before its first slash.
_SUM_EXCHANGES = """
SELECT CASE WHEN :provider THEN CASE WHEN instr(e.target, '/') THEN substr(e.target, 1, instr(e.target, '/') - 1)
                                     ELSE e.target END END AS provider,
       CASE WHEN :model AND instr(e.target, '/') THEN substr(e.target, instr(e.target, '/') + 1) END AS model,
       CASE WHEN :route THEN e.route END AS route,
       CASE WHEN :key THEN e.key_id END AS "key",
       CASE WHEN t.key IS NOT NULL THEN t.key || '=' || t.value END AS tag,
       CASE WHEN :day THEN e.opened_us / 86400000000 END AS day,
       CASE WHEN :hour THEN e.opened_us / 3600000000 END AS hour,
       count(*) AS exchanges,
       sum(e.status IN ('failed', 'interrupted')) AS errors,
       sum(e.cache = 'hit') AS cache_hits,
       sum(e.saved_nanousd) AS saved_nanousd
FROM exchanges AS e LEFT JOIN json_each(CASE WHEN :tag THEN e.tags ELSE '{}' END) AS t
WHERE e.opened_us >= :since AND e.opened_us < :until
GROUP BY 1, 2, 3, 4, 5, 6, 7"""

_SUM_ATTEMPTS = """
SELECT CASE WHEN :provider THEN a.provider END AS provider,
       CASE WHEN :model THEN a.model END AS model,
       CASE WHEN :route THEN e.route END AS route,
       CASE WHEN :key THEN e.key_id END AS "key",
       CASE WHEN t.key IS NOT NULL THEN t.key || '=' || t.value END AS tag,
       CASE WHEN :day THEN e.opened_us / 86400000000 END AS day,
       CASE WHEN :hour THEN e.opened_us / 3600000000 END AS hour,
       count(*) AS attempts,
       sum(a.input_tokens) AS input_tokens,
       sum(a.cached_input_tokens) AS cached_input_tokens,
       sum(a.cache_write_tokens) AS cache_write_tokens,
       sum(a.output_tokens) AS output_tokens,
       sum(a.reasoning_tokens) AS reasoning_tokens,
       ifnull(sum(a.cost_nanousd), 0) AS cost_nanousd,
       ifnull(sum(CASE WHEN NOT a.estimated THEN a.cost_nanousd END), 0) AS exact_nanousd,
       ifnull(sum(CASE WHEN a.estimated THEN a.cost_nanousd END), 0) AS estimated_nanousd,
       sum(a.status <> 'open' AND a.cost_nanousd IS NULL) AS unpriced_attempts
FROM exchanges AS e JOIN attempts AS a ON a.exchange = e.row
    LEFT JOIN json_each(CASE WHEN :tag THEN e.tags ELSE '{}' END) AS t
WHERE e.opened_us >= :since AND e.opened_us < :until
GROUP BY 1, 2, 3, 4, 5, 6, 7"""


def _costs(since_us: int, until_us: int, group_by: tuple[Grouping, ...], connection: sqlite3.Connection) -> Sums:
    groups = _groups(since_us, until_us, group_by, connection)
    parts = groups if "tag" not in group_by else _groups(since_us, until_us, (), connection)
    total = Sum()
    for part in parts.values():
        total.add(part)
    ordered = sorted(groups, key=lambda names: [(name is None, name or "") for name in names])
    named = tuple(Group(dict(zip(group_by, names, strict=True)), groups[names]) for names in ordered)
    return Sums(group_by, total, named if group_by else ())


def _groups(
    since_us: int, until_us: int, group_by: tuple[Grouping, ...], connection: sqlite3.Connection
) -> dict[tuple[str | None, ...], Sum]:
    wanted: dict[str, int] = {name: name in group_by for name in GROUPINGS}
    wanted |= {"since": since_us, "until": until_us}
    groups: dict[tuple[str | None, ...], Sum] = {}
    for statement in (_SUM_EXCHANGES, _SUM_ATTEMPTS):
        for row in connection.execute(statement, wanted):
            names = tuple(_name(grouping, row[grouping]) for grouping in group_by)
            numbers = {column: row[column] for column in row.keys() if column not in GROUPINGS}  # noqa: SIM118 - a Row
            groups.setdefault(names, Sum()).add(Sum(**numbers))
    return groups


def _name(grouping: Grouping, value: str | int | None) -> str | None:
    if isinstance(value, int) and grouping in _UNITS:
        length_us, form = _UNITS[grouping]
        return datetime.fromtimestamp(value * length_us // 1_000_000, UTC).strftime(form)
    return None if value is None else str(value)


# --- rows --------------------------------------------------------------------------------------------

_PAGE = """
SELECT * FROM exchanges
WHERE opened_us >= :since AND (opened_us, row) < (:before, :before_row)
    AND (:key IS NULL OR key_id = :key) AND (:status IS NULL OR status = :status)
ORDER BY opened_us DESC, row DESC LIMIT :limit"""

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


def _one(exchange_id: str, connection: sqlite3.Connection) -> dict[str, Any] | None:
    row = connection.execute("SELECT * FROM exchanges WHERE id = ?", (exchange_id,)).fetchone()
    if row is None:
        return None
    attempts = connection.execute("SELECT * FROM attempts WHERE exchange = ? ORDER BY number", (row["row"],))
    return _exchange(row) | {"attempts": [_attempt(each) for each in attempts]}


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
