"""Old rows go, and the sums over them stay, if they shall."""

from __future__ import annotations

from typing import Any

import pytest

from storage.accounts import Accounts
from storage.budgets import Budget, Budgets
from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from storage.retention import Retention
from storage.rollups import Rollups
from storage.verify import Verifier

DAY_S = 86_400
BUDGET = Budget("all", "global", 10**12, window="total")


async def _days(db: Database, clock: Any, days: int) -> Ledger:
    """One exchange of 5 nano-dollars every two hours, the last one two hours ago."""
    ledger = Ledger(db, now=clock)
    await Budgets(db, now=clock).put(BUDGET)
    for n in range(days * 12):
        name = f"x{n}"
        budgets = (BUDGET,)
        opened = OpenExchange(name, "d", tags={"n": str(n % 3)})
        await ledger.open(opened, OpenAttempt(name, 1, "p", "m", worst_nanousd=9, budgets=budgets))
        await ledger.settle(SettledExchange(name, "ok"), SettledAttempt(name, 1, "ok", 5, input_tokens=n))
        clock.advance(7200)
    return ledger


def _retention(db: Database, clock: Any) -> Retention:
    return Retention(db, Rollups(db, now=clock), now=clock)


@pytest.mark.parametrize("keep_sums", [True, False])
async def test_pruned_rows_are_gone_and_sums_stay_or_go(db: Database, clock: Any, keep_sums: bool) -> None:
    await _days(db, clock, 10)
    accounts = Accounts(db)
    before = await accounts.costs(group_by=("day", "tag"))
    pruned = await _retention(db, clock).prune(clock() - 5 * DAY_S, keep_sums=keep_sums)
    after = await accounts.costs(group_by=("day", "tag"))
    left = await db.read(lambda c: c.execute("SELECT count(*), min(opened_us) / 1e6 FROM exchanges").fetchone())
    attempts = await db.read(lambda c: c.execute("SELECT count(*) FROM attempts").fetchone()[0])

    assert pruned.before % DAY_S == 0
    assert clock() - 6 * DAY_S < pruned.before <= clock() - 5 * DAY_S
    assert (left[0] + pruned.exchanges, attempts) == (120, left[0])
    assert left[1] >= pruned.before
    assert after.total.cost_nanousd == 5 * (120 if keep_sums else left[0])
    if keep_sums:
        assert after == before
    assert (await Budgets(db, now=clock).standings())[0].spent_nanousd == 600, "what is spent stays spent"
    report = await Verifier(db, Rollups(db, now=clock)).run()
    assert report.differences == []


async def test_sums_of_pruned_rows_are_to_the_hour(db: Database, clock: Any) -> None:
    await _days(db, clock, 10)
    await _retention(db, clock).prune(clock())
    accounts = Accounts(db)
    start = clock() - clock() % DAY_S - 4 * DAY_S

    assert [(await accounts.costs(start + a, start + b)).total.exchanges for a, b in [(0, DAY_S), (0, 3600)]] == [12, 1]


async def test_what_is_open_stays_and_the_newest_number_is_not_given_twice(db: Database, clock: Any) -> None:
    ledger = await _days(db, clock, 3)
    await ledger.open(OpenExchange("slow", "d"), OpenAttempt("slow", 1, "p", "m"))
    last = OpenExchange("last", "d")
    await ledger.record(last, SettledExchange("last", "ok"))
    clock.advance(10 * DAY_S)
    pruned = await _retention(db, clock).prune(clock())
    rows = await db.read(lambda c: [row[0] for row in c.execute("SELECT id FROM exchanges ORDER BY row")])
    await ledger.settle(SettledExchange("slow", "ok"), SettledAttempt("slow", 1, "ok", 7))
    await ledger.record(OpenExchange("new", "d"), SettledExchange("new", "ok"))
    await Rollups(db, now=clock).catch_up()

    assert (pruned.exchanges, rows) == (36, ["slow", "last"])
    assert (await Accounts(db).costs()).total.exchanges == 39
    assert (await Accounts(db).costs()).total.cost_nanousd == 36 * 5 + 7
    assert (await _retention(db, clock).prune(clock())).exchanges == 2
    assert (await Accounts(db).costs()).total.exchanges == 39


async def test_pruning_twice_and_by_days(db: Database, clock: Any) -> None:
    await _days(db, clock, 10)
    retention = _retention(db, clock)

    assert (await retention.keep_days(8)).exchanges > 0
    assert (await retention.keep_days(8)).exchanges == 0
    assert (await retention.keep_days(2)).exchanges > 0
    assert (await Accounts(db).costs()).total.exchanges == 120


async def test_an_export_holds_every_row_once_with_its_attempts(db: Database, clock: Any) -> None:
    await _days(db, clock, 40)
    pages = [page async for page in Accounts(db).whole(clock() - 30 * DAY_S)]

    assert [row["id"] for page in pages for row in page] == [f"x{n}" for n in range(120, 480)]
    assert max(map(len, pages)) <= 200
    assert all([each["cost_usd"] for each in row["attempts"]] == ["0.000000005"] for page in pages for row in page)
