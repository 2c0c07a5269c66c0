"""Sums of the ledger by the minute, the hour and the day, so that a sum over millions of exchanges is one over few.

    an exchange is settled --> folded once: added to the sums of its minute, hour and day --> read by `parts_of`

Exchanges are folded in the order of their rows, not of their times: a clock that jumps changes nothing. Those that
are still open when their turn comes are put down in `rollup_pending` and folded when they are settled. Whoever sums
takes whole buckets from the sums and everything else (the edges of a span, what is pending or newer than the last
fold, what is being made anew) from the rows: the result is the same as that of counting all rows.

Sums by the minute are kept for `MINUTES_KEPT_US`; at an older edge rows are counted by the hour.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import add
from typing import Any, Final, TypeVar

from storage.db import Database
from storage.sums import NUMBERS, WHOSE, Grouping, Whose, in_groups, parameters, to_fold
from translators.codec import dumps_text

_K = TypeVar("_K")

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
LENGTHS: Final = (DAY_US, HOUR_US, MINUTE_US)

MINUTES_KEPT_US: Final = 3 * DAY_US

FOLD: Final = 50
"""Exchanges that one write folds: 3 to 5 ms in which other writes wait."""

REST_S: Final = 0.005
"""Between two such writes, while there is much to catch up with."""

MANY: Final = 100_000
"""With more exchanges than these not folded yet, a span is looked up by time and not by row."""


DROP: Final = 2000
"""Old sums that one write removes."""


@dataclass(frozen=True, slots=True)
class State:
    """The row of `rollup_state`; see there."""

    folded_row: int
    minutes_us: int
    pruned_us: int
    sums_us: int
    gap_us: int
    gap_end_us: int
    gap_next_us: int
    gap_next_row: int

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> State:
        """As it is now."""
        return cls(*connection.execute(_STATE).fetchone())

    @property
    def has_gap(self) -> bool:
        """Whether sums are being made anew."""
        return self.gap_us < self.gap_end_us


class Rollups:
    """Keeps the sums in *db* up with the rows."""

    def __init__(self, db: Database, *, now: Callable[[], float] = time.time, batch: int = FOLD) -> None:
        self._db = db
        self._now = now
        self._batch = batch

    async def catch_up(self) -> int:
        """Fold all that is settled; how many exchanges that were. Other writes come in between.

        Raises:
            StorageError: it cannot be written; what was folded stays so.
        """
        if not await self._db.read(_behind):
            return 0
        await self._repeat(partial(_fill_gap, self._batch))
        await self._forget_minutes()
        # What is pending is looked at once: it may stay open for long.
        folded = await self._db.write(partial(_fold_pending, self._batch))
        return folded + await self._repeat(partial(_fold_new, self._batch))

    async def prune(self, before_us: int, *, keep_sums: bool) -> int:
        """From now on let the sums before *before_us* (a day's start) stand for rows, or be gone, too.

        The moment before which rows may be removed.

        Raises:
            StorageError: it cannot be written.
        """
        await self.catch_up()
        before_us = await self._db.write(partial(_set_pruned, before_us, keep_sums))
        if not keep_sums:
            await self._repeat(partial(_drop, 0, before_us, LENGTHS))
        return before_us

    async def _forget_minutes(self) -> None:
        oldest_us = int(self._now() * 1_000_000) - MINUTES_KEPT_US
        oldest_us -= oldest_us % HOUR_US
        if await self._db.write(partial(_forget_minutes, oldest_us)):
            await self._repeat(partial(_drop, 0, oldest_us, (MINUTE_US,)))

    async def _repeat(self, step: Callable[[sqlite3.Connection], int]) -> int:
        """Write *step* until it finds nothing to do; what it did, in all."""
        done = 0
        while found := await self._db.write(step):
            done += found
            if found >= self._batch:
                await asyncio.sleep(REST_S)
        return done


Differing = tuple[str, str, int, int]
"""Where, what, as it should be, as it is kept."""


def rebuild(connection: sqlite3.Connection, from_us: int, to_us: int) -> None:
    """Inside somebody's write: exchanges opened at or after *from_us* and before *to_us* have changed.

    Until `Rollups.catch_up` has made their sums anew, rows are counted in their place. Sums whose rows are pruned stay
    as they are.
    """
    state = State.of(connection)
    start, end = from_us - from_us % DAY_US, _up(to_us, DAY_US)
    if state.has_gap:
        start, end = min(start, state.gap_us), max(end, state.gap_end_us)
    start = max(start, state.pruned_us)
    if start < end:
        connection.execute(_SET_GAP, (start, end, _UNCLEAN, 0))


def parts_of(
    connection: sqlite3.Connection, since_us: int, until_us: int, group_by: tuple[Grouping, ...], whose: Whose
) -> Iterator[sqlite3.Row]:
    """The sums from *since_us* to *until_us*, in parts: rows with the columns of `GROUPINGS` and `NUMBERS`.

    A group may come in several parts. Where rows were pruned, a bucket counts whole if it begins within the span.
    """
    state = State.of(connection)
    wanted = parameters(group_by, whose)
    lengths = LENGTHS[1:] if "hour" in group_by else LENGTHS
    for piece in _pieces(since_us, until_us, lengths, state):
        span = {"since": piece.start_us, "until": piece.end_us}
        if piece.length_us is None:
            for statement in _SETTLED_ROWS:
                yield from connection.execute(statement, wanted | span | {"folded": state.folded_row})
        else:
            where = {"length": piece.length_us, "tagged": "tag" in group_by}
            yield from connection.execute(_BUCKETS, wanted | span | where)
    yield from _parts_of_unfolded(connection, wanted | {"since": since_us, "until": until_us}, state)


def parts_of_rows(
    connection: sqlite3.Connection, since_us: int, until_us: int, group_by: tuple[Grouping, ...], whose: Whose
) -> Iterator[sqlite3.Row]:
    """The same, counted row by row: what the sums have to agree with."""
    wanted = parameters(group_by, whose) | {"since": since_us, "until": until_us}
    for statement in _ALL_ROWS:
        yield from connection.execute(statement, wanted)


def compare_hour(hour_us: int, connection: sqlite3.Connection) -> list[Differing]:
    """Where the sums of the hour that begins at *hour_us*, and of its minutes, are not those of its rows."""
    state = State.of(connection)
    span = {"since": hour_us, "until": hour_us + HOUR_US, "folded": state.folded_row}
    if _is_made_anew(state, span):
        return []
    counted = _summed((tuple(row) for each in _ROWS for row in connection.execute(each, span)), state)
    shorter = {key: numbers for key, numbers in counted.items() if key[1] < DAY_US}
    return _differing(shorter, _kept(connection, span, (HOUR_US, MINUTE_US), state))


def compare_day(day_us: int, connection: sqlite3.Connection) -> list[Differing]:
    """Where the sums of the day that begins at *day_us* are not those of its hours."""
    state = State.of(connection)
    span = {"since": day_us, "until": day_us + DAY_US}
    if _is_made_anew(state, span):
        return []
    counted: dict[_Key, list[int]] = {}
    for (tagged, _, _, names), numbers in _kept(connection, span, (HOUR_US,), state).items():
        _count(counted, (tagged, DAY_US, day_us, names), numbers)
    return _differing(counted, _kept(connection, span, (DAY_US,), state))


def _is_made_anew(state: State, span: dict[str, int]) -> bool:
    return state.gap_us < span["until"] and span["since"] < state.gap_end_us


def _kept(
    connection: sqlite3.Connection, span: dict[str, int], lengths: Iterable[int], state: State
) -> dict[_Key, list[int]]:
    """The sums of buckets of *lengths* that begin within *span*."""
    found: dict[_Key, list[int]] = {}
    for length in lengths:
        rows = map(tuple, connection.execute(_KEPT, span | {"length": length}))
        found |= {
            (*row[:3], tuple(row[3:10])): list(row[10:])
            for row in rows
            if length != MINUTE_US or row[2] >= state.minutes_us
        }
    return found


def _differing(counted: dict[_Key, list[int]], kept: dict[_Key, list[int]]) -> list[Differing]:
    found: list[Differing] = []
    for key in sorted(counted.keys() | kept.keys(), key=str):
        nothing = [0] * len(NUMBERS)
        expected, actual = counted.get(key, nothing), kept.get(key, nothing)
        where = f"{key[2]} for {key[1] // 1_000_000} s {dumps_text([key[0], *key[3]])}"
        found += [
            (where, name, by_rows, by_sums)
            for name, by_rows, by_sums in zip(NUMBERS, expected, actual, strict=True)
            if by_rows != by_sums
        ]
    return found


# --- reading -----------------------------------------------------------------------------------------

_STATE = """
SELECT folded_row, minutes_us, pruned_us, sums_us, gap_us, gap_end_us, gap_next_us, gap_next_row FROM rollup_state"""

# A plus before a column keeps SQLite from looking for the rows by that column.
_PENDING = "(SELECT row FROM rollup_pending)"
_ALL_ROWS = in_groups("e.opened_us >= :since AND e.opened_us < :until")
_SETTLED_ROWS = in_groups(
    f"e.opened_us >= :since AND e.opened_us < :until AND +e.row <= :folded AND +e.row NOT IN {_PENDING}"
)
_PENDING_ROWS = in_groups(f"e.row IN {_PENDING} AND +e.opened_us >= :since AND +e.opened_us < :until")
_FEW_NEW_ROWS = in_groups("e.row > :folded AND +e.opened_us >= :since AND +e.opened_us < :until")
_MANY_NEW_ROWS = in_groups("+e.row > :folded AND e.opened_us >= :since AND e.opened_us < :until")

_NUMBERS = ", ".join(NUMBERS)
_SUMMED = ", ".join(f"sum({name}) AS {name}" for name in NUMBERS)

_BUCKETS = f"""
SELECT CASE WHEN :provider THEN e.provider END AS provider,
       CASE WHEN :model THEN e.model END AS model,
       CASE WHEN :route THEN e.route END AS route,
       CASE WHEN :key THEN e.key_id END AS "key",
       CASE WHEN :team THEN e.team END AS team,
       CASE WHEN :organisation THEN e.organisation END AS organisation,
       CASE WHEN t.key IS NOT NULL THEN t.key || '=' || t.value END AS tag,
       s.day, s.hour, {_SUMMED}
FROM (
    SELECT names, CASE WHEN :day THEN bucket_us / 86400000000 END AS day,
           CASE WHEN :hour THEN bucket_us / 3600000000 END AS hour, {_SUMMED}
    FROM rollups
    WHERE tagged = :tagged AND length_us = :length AND bucket_us >= :since AND bucket_us < :until
    GROUP BY 1, 2, 3
) AS s JOIN rollup_names AS e ON e.id = s.names
    LEFT JOIN json_each(CASE WHEN :tag THEN e.tags ELSE '{{}}' END) AS t
WHERE true {WHOSE}
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"""  # noqa: S608 - column names, from a dataclass


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a span: whole buckets of *length_us*, or rows (None)."""

    length_us: int | None
    start_us: int
    end_us: int


def _pieces(since_us: int, until_us: int, lengths: Sequence[int], state: State) -> Iterator[_Piece]:
    """What the span is put together from, but for exchanges that are not folded."""
    since_us = max(since_us, state.sums_us)
    pruned_end = min(until_us, state.pruned_us)
    if since_us < pruned_end:
        coarse = [length for length in lengths if length >= HOUR_US]
        yield from _cover(_up(since_us, HOUR_US), _up(pruned_end, HOUR_US), coarse, state.minutes_us)
    start = max(since_us, state.pruned_us)
    if state.has_gap:
        gap_start, gap_end = max(start, state.gap_us), min(until_us, state.gap_end_us)
        if gap_start < gap_end:
            yield from _cover(start, gap_start, lengths, state.minutes_us)
            yield _Piece(None, gap_start, gap_end)
            start = gap_end
    yield from _cover(start, until_us, lengths, state.minutes_us)


def _cover(start_us: int, end_us: int, lengths: Sequence[int], minutes_us: int) -> Iterator[_Piece]:
    """The largest buckets that fit, smaller ones at both ends, rows where none fit."""
    if start_us >= end_us:
        return
    if not lengths or (lengths[0] == MINUTE_US and start_us < minutes_us):
        yield _Piece(None, start_us, end_us)
        return
    length, *smaller = lengths
    first, last = _up(start_us, length), end_us - end_us % length
    if first >= last:
        yield from _cover(start_us, end_us, smaller, minutes_us)
        return
    yield from _cover(start_us, first, smaller, minutes_us)
    yield _Piece(length, first, last)
    yield from _cover(last, end_us, smaller, minutes_us)


def _up(at_us: int, length_us: int) -> int:
    return at_us + -at_us % length_us


def _parts_of_unfolded(connection: sqlite3.Connection, wanted: dict[str, Any], state: State) -> Iterator[sqlite3.Row]:
    (newest,) = connection.execute("SELECT ifnull(max(row), 0) FROM exchanges").fetchone()
    new_rows = _FEW_NEW_ROWS if newest - state.folded_row < MANY else _MANY_NEW_ROWS
    for statement in (*_PENDING_ROWS, *new_rows):
        yield from connection.execute(statement, wanted | {"folded": state.folded_row})


# --- folding: in the writer thread, inside a transaction -----------------------------------------------

_FOLD_NEW = to_fold("e.row > :after AND e.row <= :upto AND e.status <> 'open'")
_FOLD_ONE = to_fold("e.row = :row")
_FOLD_GAP = to_fold(
    "(e.opened_us, e.row) > (:next_us, :next_row) AND (e.opened_us, e.row) <= (:last_us, :last_row)"
    f" AND +e.row <= :folded AND +e.row NOT IN {_PENDING}"
)

_NEXT_IN_GAP = f"""
SELECT opened_us, row FROM exchanges
WHERE (opened_us, row) > (:next_us, :next_row) AND opened_us < :end AND +row <= :folded AND +row NOT IN {_PENDING}
ORDER BY opened_us, row LIMIT :limit"""  # noqa: S608 - a constant

_ROWS = to_fold(f"e.opened_us >= :since AND e.opened_us < :until AND +e.row <= :folded AND +e.row NOT IN {_PENDING}")
_KEPT = f"""
SELECT r.tagged, r.length_us, r.bucket_us, n.provider, n.model, n.route, n.key_id, n.team, n.organisation, n.tags,
    {_NUMBERS}
FROM (SELECT 0 AS tagged UNION ALL SELECT 1) AS kinds CROSS JOIN rollups AS r ON r.tagged = kinds.tagged
    AND r.length_us = :length AND r.bucket_us >= :since AND r.bucket_us < :until
    JOIN rollup_names AS n ON n.id = r.names"""  # noqa: S608 - column names, from a dataclass

_SET_GAP = "UPDATE rollup_state SET gap_us = ?, gap_end_us = ?, gap_next_us = ?, gap_next_row = ?"
_UNCLEAN: Final = -1

_ADD_NAMES = """
INSERT INTO rollup_names (identity, provider, model, route, key_id, team, organisation, tags)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""

_ADD = f"""
INSERT INTO rollups (tagged, length_us, bucket_us, names, {_NUMBERS})
VALUES (?, ?, ?, ?, {", ".join("?" for _ in NUMBERS)})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in NUMBERS)}"""  # noqa: S608

_DROP = """
DELETE FROM rollups WHERE (tagged, length_us, bucket_us, names) IN (
    SELECT tagged, length_us, bucket_us, names FROM rollups
    WHERE tagged = ? AND length_us = ? AND bucket_us >= ? AND bucket_us < ? LIMIT ?)"""

_NO_TAGS = "{}"
_Key = tuple[int, int, int, tuple[Any, ...]]
"""Of a sum: whether by tags, the length and the start of its bucket, its names."""


def _behind(connection: sqlite3.Connection) -> bool:
    """Whether anything waits to be folded."""
    state = State.of(connection)
    (newest,) = connection.execute("SELECT ifnull(max(row), 0) FROM exchanges").fetchone()
    if newest > state.folded_row or state.has_gap:
        return True
    return connection.execute("SELECT 1 FROM rollup_pending LIMIT 1").fetchone() is not None


def _fold_new(limit: int, connection: sqlite3.Connection) -> int:
    """Fold the next rows; how many were looked at."""
    state = State.of(connection)
    if state.has_gap:
        return 0
    rows = connection.execute(
        "SELECT row, status FROM exchanges WHERE row > ? ORDER BY row LIMIT ?", (state.folded_row, limit)
    ).fetchall()
    if not rows:
        return 0
    span = {"after": state.folded_row, "upto": rows[-1][0]}
    _add(connection, (found for each in _FOLD_NEW for found in connection.execute(each, span)), state)
    pending = [(row,) for row, status in rows if status == "open"]
    connection.executemany("INSERT INTO rollup_pending VALUES (?)", pending)
    connection.execute("UPDATE rollup_state SET folded_row = ?", (rows[-1][0],))
    return len(rows)


def _fold_pending(limit: int, connection: sqlite3.Connection) -> int:
    """Fold what was open and is settled now."""
    state = State.of(connection)
    if state.has_gap:
        return 0
    rows = connection.execute(
        "SELECT p.row FROM rollup_pending AS p JOIN exchanges AS e ON e.row = p.row WHERE e.status <> 'open' LIMIT ?",
        (limit,),
    ).fetchall()
    for (row,) in rows:
        _add(connection, (found for each in _FOLD_ONE for found in connection.execute(each, {"row": row})), state)
        connection.execute("DELETE FROM rollup_pending WHERE row = ?", (row,))
    return len(rows)


def _fill_gap(limit: int, connection: sqlite3.Connection) -> int:
    """Make a part of the gap anew; how many sums were removed or rows were folded. Nothing else is folded before."""
    state = State.of(connection)
    if not state.has_gap:
        return 0
    start, end = state.gap_us, state.gap_end_us
    if state.gap_next_us == _UNCLEAN:
        removed = _drop(start, end, LENGTHS, connection)
        connection.execute(_SET_GAP, (start, end, _UNCLEAN if removed else start, 0))
        return max(removed, 1)
    span = {"next_us": state.gap_next_us, "next_row": state.gap_next_row, "folded": state.folded_row}
    rows = connection.execute(_NEXT_IN_GAP, {**span, "end": end, "limit": limit}).fetchall()
    if not rows:
        connection.execute(_SET_GAP, (0, 0, 0, 0))
        return 0
    last_us, last_row = rows[-1]
    span |= {"last_us": last_us, "last_row": last_row}
    _add(connection, (found for each in _FOLD_GAP for found in connection.execute(each, span)), state)
    connection.execute(_SET_GAP, (start, end, last_us, last_row))
    return len(rows)


def _add(connection: sqlite3.Connection, found: Iterable[tuple[Any, ...]], state: State) -> None:
    """Put rows of `to_fold` into the sums."""
    numbers_of = _summed(found, state)
    ids = _ids(connection, {key[3] for key in numbers_of})
    rows = [(*key[:3], ids[key[3]], *numbers) for key, numbers in numbers_of.items()]
    connection.executemany(_ADD, rows)


def _summed(found: Iterable[tuple[Any, ...]], state: State) -> dict[_Key, list[int]]:
    """The sums that rows of `to_fold` make: each of a bucket out of the smaller ones, with and without tags."""
    by_minute: dict[tuple[int, tuple[Any, ...]], list[int]] = {}
    for minute, *rest in found:
        _count(by_minute, (minute * MINUTE_US, tuple(rest[:7])), rest[7:])
    without_tags: dict[tuple[int, tuple[Any, ...]], list[int]] = {}
    for (at_us, names), numbers in by_minute.items():
        _count(without_tags, (at_us, (*names[:6], _NO_TAGS)), numbers)
    sums: dict[_Key, list[int]] = {}
    for tagged, smaller in enumerate((without_tags, by_minute)):
        buckets = {key: numbers for key, numbers in smaller.items() if key[0] >= state.sums_us}
        for length in reversed(LENGTHS):
            larger: dict[tuple[int, tuple[Any, ...]], list[int]] = {}
            for (at_us, names), numbers in buckets.items():
                _count(larger, (at_us - at_us % length, names), numbers)
            buckets = larger
            first = state.minutes_us if length == MINUTE_US else 0
            sums.update({(tagged, length, *key): numbers for key, numbers in larger.items() if key[0] >= first})
    return sums


def _count(sums: dict[_K, list[int]], key: _K, numbers: list[int]) -> None:
    before = sums.get(key)
    sums[key] = numbers if before is None else list(map(add, before, numbers))


def _ids(connection: sqlite3.Connection, wanted: Iterable[tuple[Any, ...]]) -> dict[tuple[Any, ...], int]:
    """The ids of names in `rollup_names`; what is missing is added."""
    found: dict[tuple[Any, ...], int] = {}
    for names in wanted:
        identity = dumps_text(list(names))
        row = connection.execute("SELECT id FROM rollup_names WHERE identity = ?", (identity,)).fetchone()
        found[names] = row[0] if row else connection.execute(_ADD_NAMES, (identity, *names)).lastrowid or 0
    return found


def _drop(start_us: int, end_us: int, lengths: Sequence[int], connection: sqlite3.Connection) -> int:
    """Remove some of the sums of a span; how many."""
    removed = 0
    for tagged in (0, 1):
        for length in lengths:
            if removed < DROP:
                values = (tagged, length, start_us, end_us, DROP - removed)
                removed += connection.execute(_DROP, values).rowcount
    return removed


def _forget_minutes(oldest_us: int, connection: sqlite3.Connection) -> bool:
    """Let there be no sums by the minute before *oldest_us*; whether there might be some to remove."""
    changed = connection.execute(
        "UPDATE rollup_state SET minutes_us = ? WHERE minutes_us < ?", (oldest_us, oldest_us)
    ).rowcount
    return changed == 1


def _set_pruned(before_us: int, keep_sums: bool, connection: sqlite3.Connection) -> int:
    state = State.of(connection)
    before_us = max(before_us - before_us % DAY_US, state.pruned_us)
    if state.has_gap:
        return state.pruned_us
    sums_us = state.sums_us if keep_sums else before_us
    connection.execute("UPDATE rollup_state SET pruned_us = ?, sums_us = ?", (before_us, max(sums_us, state.sums_us)))
    return before_us
