"""A sound ledger is told sound; each kind of damage is told by its name and place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from random import Random
from typing import Any, TypeVar

import pytest

from storage.accounts import Accounts
from storage.budgets import Budget, Budgets
from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from storage.rollups import Rollups
from storage.verify import Report, Verifier

T = TypeVar("T")

BUDGETS = (Budget("all", "global", 10**12), Budget("p", "provider", 10**12, subject="p", window="hour", rolling=True))


async def _books(db: Database, clock: Any) -> None:
    """Ten exchanges of two attempts, one cache hit, one exchange that is open."""
    ledger = Ledger(db, now=clock)
    for budget in BUDGETS:
        await Budgets(db, now=clock).put(budget)
    for n in range(11):
        name = f"x{n}"
        clock.advance(4000)
        first = OpenAttempt(name, 1, "p", "m", worst_nanousd=1000, budgets=BUDGETS)
        await ledger.open(OpenExchange(name, "openai_chat", tags={"a": "1"}), first)
        failed = SettledAttempt(name, 1, "failed", 0 if n % 2 else None)
        await ledger.open_attempt(OpenAttempt(name, 2, "q", "m", worst_nanousd=1000, budgets=BUDGETS[:1]), failed)
        if n < 10:
            paid = SettledAttempt(
                name, 2, "ok", 3 * n, input_tokens=n, output_tokens=2 * n, price_source="config", price_version="v",
                raw_usage={"prompt_tokens": n, "completion_tokens": 2 * n},
            )  # fmt: skip
            await ledger.settle(SettledExchange(name, "ok"), paid)
    await ledger.record(OpenExchange("hit", "d", cache="hit"), SettledExchange("hit", "ok", input_tokens=9))
    await Rollups(db, now=clock).catch_up()


async def _verified(db: Database, clock: Any, **more: Any) -> Report:
    return await Verifier(db, Rollups(db, now=clock), **more).run()


def _three_for_each(row: Any) -> int:
    return 3 * row["input_tokens"]


async def test_a_sound_ledger_has_no_differences(db: Database, clock: Any) -> None:
    await _books(db, clock)
    report = await _verified(db, clock, recompute=_three_for_each)

    assert (report.differences, report.sound) == ([], True)
    assert (report.exchanges, report.attempts, report.recomputed, report.charges) == (11, 20, 10, 20)
    assert report.days >= 1


SMALL: dict[str, Any] = {"portion": 2, "whole_bytes": 0}
"""Two exchanges at a time, and the file table by table."""


async def test_nothing_is_read_so_long_that_the_log_cannot_be_emptied_in_between(db: Database, clock: Any) -> None:
    await _books(db, clock)
    busy: list[int] = []

    class Watched(Database):
        async def read(self, operation: Callable[[sqlite3.Connection], T], **how: bool) -> T:
            found = await db.read(operation, **how)
            busy.append(await _checkpoint(db))
            return found

    watched = Watched(db.path)
    report = await Verifier(watched, Rollups(db, now=clock), **SMALL).run()
    pages = [busy.append(await _checkpoint(db)) async for _ in Accounts(db).whole(limit=2)]

    assert report.differences == []
    assert (len(busy) > 30, set(busy), len(pages)) == (True, {0}, 6)


async def _checkpoint(db: Database) -> int:
    """Whether a read held it up."""
    with closing(sqlite3.connect(db.path)) as connection:
        return int(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])


async def test_an_empty_ledger_is_sound(db: Database, clock: Any) -> None:
    assert (await _verified(db, clock)).sound


@pytest.mark.parametrize(
    ("damage", "kinds", "told"),
    [
        ("UPDATE exchanges SET cost_nanousd = 1 WHERE id = 'x3'", {"exchange"}, "x3: cost_nanousd is 1, should be 9"),
        ("UPDATE exchanges SET output_tokens = 0 WHERE id = 'x4'", {"exchange"}, "output_tokens is 0, should be 8"),
        ("UPDATE exchanges SET attempts = 1 WHERE id = 'x5'", {"exchange"}, "attempts is 1, should be 2"),
        ("UPDATE exchanges SET cost_nanousd = 0 WHERE id = 'x2'", {"exchange"}, "is 0, should be unknown"),
        (
            "UPDATE attempts SET cost_nanousd = 100 WHERE exchange = 4 AND number = 2",
            {"exchange", "cost", "charge", "rollup"},
            "x3 attempt 2: cost_nanousd is 100, should be 9",
        ),
        ("DELETE FROM attempts WHERE exchange = 4", {"exchange", "charge", "rollup"}, "x3: attempts is 2, should be 0"),
        (
            "UPDATE charges SET nanousd = 8 WHERE exchange = 4 AND budget = 'all'",
            {"charge", "budget"},
            "x3 all: nanousd is 8, should be 9",
        ),
        ("UPDATE charges SET settled = 0 WHERE exchange = 4", {"charge", "budget"}, "the charge is reserved"),
        ("UPDATE budget_spending SET spent_nanousd = 7 WHERE budget = 'all'", {"budget"}, "spent_nanousd is 7"),
        ("UPDATE budget_spending SET reserved_nanousd = 0 WHERE budget = 'all'", {"budget"}, "reserved_nanousd is 0"),
        ("DELETE FROM budget_spending WHERE budget = 'all'", {"budget"}, "spent_nanousd is 0"),
        ("UPDATE rollups SET cost_nanousd = 5 WHERE tagged", {"rollup"}, "cost_nanousd is 5"),
        ("DELETE FROM rollups WHERE length_us = 60000000", {"rollup"}, "attempts is 0, should be"),
        ("DELETE FROM exchanges WHERE id = 'hit'", {"rollup"}, "exchanges is 1, should be 0"),
        ("UPDATE exchanges SET opened_us = 5 WHERE id = 'hit'", {"rollup"}, "exchanges is 1, should be 0"),
    ],
)
@pytest.mark.parametrize("size", [{}, SMALL], ids=["at once", "in portions"])
async def test_damage_is_told(
    db: Database, clock: Any, damage: str, kinds: set[str], told: str, size: dict[str, Any]
) -> None:
    await _books(db, clock)
    await db.write(lambda connection: connection.execute(damage).rowcount)
    report = await _verified(db, clock, recompute=_three_for_each, **size)

    assert {each.kind for each in report.differences} == kinds
    assert any(told in str(each) for each in report.differences), [str(each) for each in report.differences]


async def test_what_cannot_be_computed_anew_is_counted_and_no_difference(db: Database, clock: Any) -> None:
    await _books(db, clock)
    report = await _verified(db, clock, recompute=lambda row: None)

    assert (report.sound, report.recomputed, report.not_recomputed) == (True, 0, 10)


async def test_a_broken_audit_log_is_a_difference(db: Database, clock: Any) -> None:
    async def broken() -> str:
        return "entry 7 was changed"

    report = await _verified(db, clock, audit=broken)

    assert [(each.kind, each.found) for each in report.differences] == [("audit", "entry 7 was changed")]


@pytest.mark.parametrize("size", [{}, SMALL], ids=["at once", "in portions"])
async def test_rows_that_point_to_nowhere_are_found(db: Database, clock: Any, size: dict[str, Any]) -> None:
    await _books(db, clock)
    connection = sqlite3.connect(db.path)
    connection.execute("INSERT INTO attempts (exchange, number, provider, model, started_us, ended_us, status)"
                       " VALUES (999, 1, 'p', 'm', 1, 1, 'ok')")  # fmt: skip
    connection.commit()
    connection.close()

    assert [each.kind for each in (await _verified(db, clock, **size)).differences] == ["integrity"]


@pytest.mark.parametrize("size", [{}, SMALL], ids=["at once", "in portions"])
async def test_an_index_that_does_not_fit_its_table_is_found(db: Database, clock: Any, size: dict[str, Any]) -> None:
    await _books(db, clock)
    with closing(sqlite3.connect(db.path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        changed = "UPDATE sqlite_schema SET sql = replace(sql, '(opened_us)', '(settled_us)') WHERE name = ?"
        connection.execute(changed, ("exchanges_opened",))
        connection.execute("PRAGMA schema_version = 1000")
    report = await _verified(db, clock, **size)

    assert "integrity" in {each.kind for each in report.differences}


@pytest.mark.parametrize("seed", range(4))
async def test_books_are_sound_however_the_clock_jumps(db: Database, clock: Any, seed: int) -> None:
    """By days, forwards and backwards, between opening and settling; budgets with windows of every kind."""
    rng = Random(seed)
    windows = [("hour", False), ("day", True), ("month", False), ("total", False)]
    budgets = tuple(Budget(f"b{n}", "global", 10**15, window=w, rolling=r) for n, (w, r) in enumerate(windows))
    for budget in budgets:
        await Budgets(db, now=clock).put(budget)
    ledger, rollups = Ledger(db, now=clock), Rollups(db, now=clock, batch=5)
    open_: list[str] = []
    for n in range(60):
        clock.advance(rng.choice([1, -1, 90_000, -90_000, 40 * 86_400, -39 * 86_400]))
        name = f"x{n}"
        attempt = OpenAttempt(name, 1, "p", "m", worst_nanousd=rng.randrange(100), budgets=budgets)
        await ledger.open(OpenExchange(name, "d"), attempt)
        open_.append(name)
        while len(open_) > rng.randrange(6):
            clock.advance(rng.choice([0.1, 4000, -4000]))
            done = open_.pop(rng.randrange(len(open_)))
            paid = SettledAttempt(done, 1, "ok", rng.randrange(100))
            await ledger.settle(SettledExchange(done, "ok"), paid)
        if rng.random() < 0.2:
            await rollups.catch_up()
    await ledger.recover(lambda provider, model, tokens: 3)
    report = await _verified(db, clock)
    reserved = await db.read(lambda c: c.execute("SELECT sum(reserved_nanousd) FROM budget_spending").fetchone()[0])

    assert (report.differences, reserved) == ([], 0)
    assert report.exchanges == 60
