"""The schema goes forward, a step at a time, and never back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.accounts import Accounts
from storage.bookings import OpenExchange, SettledExchange
from storage.db import Database
from storage.errors import TooNew
from storage.ledger import Ledger
from storage.migrations import MIGRATIONS, Migration, migrate
from storage.rollups import Rollups
from storage.verify import Verifier

FIRST = Migration(1, "first", ("CREATE TABLE a (x)", "INSERT INTO a VALUES (1)"))
SECOND = Migration(2, "second", ("CREATE TABLE b (y)",))
BROKEN = Migration(3, "broken", ("CREATE TABLE c (z)", "CREATE TABLE c (z)"))
HERE = Path("here.db")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        yield opened


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_numbers_are_unique_and_rise() -> None:
    numbers = [step.number for step in MIGRATIONS]

    assert numbers == list(range(1, len(numbers) + 1))


def test_only_missing_steps_are_taken(connection: sqlite3.Connection) -> None:
    taken = [migrate(connection, HERE, 1, steps) for steps in ([FIRST], [FIRST, SECOND], [FIRST, SECOND])]

    assert taken == [1, 1, 0]
    assert connection.execute("SELECT number, name FROM migrations").fetchall() == [(1, "first"), (2, "second")]
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("SELECT count(*) FROM a").fetchone() == (1,)


def test_a_step_that_fails_leaves_nothing_of_itself(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, HERE, 1, [FIRST, SECOND, BROKEN])

    assert _tables(connection) == {"a", "b", "migrations"}
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_newer_database_is_refused_and_left_alone(connection: sqlite3.Connection) -> None:
    migrate(connection, HERE, 1, [FIRST, SECOND])

    with pytest.raises(TooNew, match=r"here\.db: its schema is version 2, this modelport knows up to 1"):
        migrate(connection, HERE, 1, [FIRST])
    assert _tables(connection) == {"a", "b", "migrations"}


async def test_a_database_of_an_earlier_version_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    async with Database(path, steps=MIGRATIONS[:1]) as db:
        await db.write(lambda c: c.execute("INSERT INTO migrations VALUES (99, 'mark', 0)"))

    async with Database(path) as db:
        found = await db.read(lambda c: c.execute("SELECT number FROM migrations ORDER BY number").fetchall())
    assert [row[0] for row in found] == [*(step.number for step in MIGRATIONS), 99]


async def test_hits_of_before_count_the_tokens_that_they_saved(tmp_path: Path) -> None:
    """Sums that were kept before they knew of such tokens are made anew."""
    path, old = tmp_path / "old.db", MIGRATIONS[:20]
    async with Database(path, steps=old) as db:
        hit = SettledExchange("hit", "ok", input_tokens=5, output_tokens=3)
        await Ledger(db).record(OpenExchange("hit", "d", cache="hit"), hit)
        await db.write(lambda c: c.execute("UPDATE rollup_state SET folded_row = 1"))

    async with Database(path) as db:
        rollups = Rollups(db)
        before = (await Accounts(db).costs()).total
        await rollups.catch_up()
        after = (await Accounts(db).costs()).total
        report = await Verifier(db, rollups).run()

    assert (before.saved_input_tokens, before.saved_output_tokens) == (5, 3)
    assert (before, report.differences) == (after, [])
