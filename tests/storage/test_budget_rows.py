"""What stands in the rows of budgets: each of their terms, which window counts, and what a refusal tells of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage.audit import Entry
from storage.budgets import Budget, Budgets, OverBudget, recharge
from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
DAY = Budget("b1", "global", 1_000, window="day")
ODD = Budget("odd", "team", 7, "t", "named", "hour", True, False, "allow", (50,), "config", 33)
"""Nothing of it is as it is by itself."""


async def reserve(ledger: Ledger, name: str, worst: int | None, budget: Budget) -> None:
    attempt = OpenAttempt(name, 1, "p", "m", worst_nanousd=worst, budgets=(budget,))
    await ledger.open(OpenExchange(name, "openai_chat", input_estimate=10), attempt)


async def spend(ledger: Ledger, name: str, cost: int, budget: Budget) -> None:
    await reserve(ledger, name, cost, budget)
    await ledger.settle(SettledExchange(name, "ok"), SettledAttempt(name, 1, "ok", cost))


async def numbers(budgets: Budgets) -> tuple[int, int, int]:
    (standing,) = await budgets.standings()
    return standing.spent_nanousd, standing.reserved_nanousd, standing.unpriced_attempts


async def refusal(ledger: Ledger, name: str, worst: int | None, budget: Budget) -> OverBudget:
    with pytest.raises(OverBudget) as told:
        await reserve(ledger, name, worst, budget)
    return told.value


@pytest.mark.parametrize("budget", [DAY, ODD], ids=["plain", "odd"])
async def test_a_budget_comes_back_as_it_was_put(budgets: Budgets, budget: Budget) -> None:
    await budgets.put(replace(ODD, id=budget.id, kind=budget.kind, subject=budget.subject))
    await budgets.put(budget)

    assert await budgets.all() == [budget]


async def test_a_change_stands_in_the_audit_log(budgets: Budgets, db: Database) -> None:
    await budgets.put(DAY, Entry(1, "me", "budget.put", "b1", None, "7"))

    rows = await db.read(lambda c: [tuple(row) for row in c.execute("SELECT actor, action, subject FROM audit")])
    assert rows == [("me", "budget.put", "b1")]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (OverBudget(DAY, spent_nanousd=1, reserved_nanousd=2, needed_nanousd=3, reopens_us=None), "is used up"),
        (
            OverBudget(DAY, spent_nanousd=1, reserved_nanousd=2, needed_nanousd=3, reopens_us=None, held_up=True),
            "has no room for now",
        ),
    ],
    ids=["used_up", "held_up"],
)
def test_a_refusal_in_words(told: OverBudget, words: str) -> None:
    assert str(told) == (
        f'budget "b1" (everything, 0.000001000 USD a day) {words}: spent 0.000000001, reserved 0.000000002,'
        " and this request may cost 0.000000003 USD"
    )


# --- which window counts -----------------------------------------------------------------------------


async def test_a_rolling_hour_does_not_begin_with_the_clocks(ledger: Ledger, budgets: Budgets, clock) -> None:
    rolling = replace(DAY, window="hour", rolling=True)
    await budgets.put(rolling)
    clock.advance(50 * MINUTE_S)
    await spend(ledger, "x1", 1_000, rolling)
    clock.advance(20 * MINUTE_S)

    assert (await refusal(ledger, "x2", 1, rolling)).spent_nanousd == 1_000


async def test_a_day_does_not_count_what_is_booked_for_another(ledger: Ledger, budgets: Budgets, clock) -> None:
    """A clock that was put back finds the day as it left it."""
    await budgets.put(DAY)
    clock.advance(DAY_S)
    await spend(ledger, "x1", 1_000, DAY)
    clock.advance(-DAY_S)
    await reserve(ledger, "x2", 1_000, DAY)

    assert await numbers(budgets) == (0, 1_000, 0)


@pytest.mark.parametrize("rolling", [False, True])
async def test_a_total_never_opens_again_and_is_never_forgotten(
    ledger: Ledger, budgets: Budgets, db: Database, clock, rolling: bool
) -> None:
    total = replace(DAY, window="total", rolling=rolling)
    await budgets.put(total)
    await spend(ledger, "x1", 1_000, total)
    clock.advance(400 * DAY_S)
    await db.write(lambda c: c.execute("UPDATE rollup_state SET pruned_us = ?", (int(clock() * 1e6),)))
    await budgets.forget_old()

    assert (await refusal(ledger, "x2", 1, total)).reopens_us is None
    assert await numbers(budgets) == (1_000, 0, 0)


@pytest.mark.parametrize(
    ("rolling", "since_s", "reopens_s"),
    [(False, 0, HOUR_S), (True, -50 * MINUTE_S, 20 * MINUTE_S + HOUR_S + MINUTE_S)],
    ids=["calendar", "rolling"],
)
async def test_a_standing_tells_its_window(
    ledger: Ledger, budgets: Budgets, clock, rolling: bool, since_s: int, reopens_s: int
) -> None:
    """Seen at ten past, in seconds from the hour; the first of it was spent fifty minutes before, at twenty past."""
    hour = replace(DAY, window="hour", rolling=rolling)
    began = clock()
    await budgets.put(hour)
    clock.advance(20 * MINUTE_S - HOUR_S)
    await spend(ledger, "x1", 10, hour)
    clock.advance(50 * MINUTE_S)

    (standing,) = await budgets.standings()

    times = [(at or 0) / 1e6 - began for at in (standing.since_us, standing.reopens_us)]
    assert times == [since_s, reopens_s - HOUR_S if rolling else reopens_s]
    assert standing.spent_nanousd == (10 if rolling else 0)


async def test_an_empty_rolling_window_opens_when_what_is_spent_now_has_left(budgets: Budgets, clock) -> None:
    await budgets.put(replace(DAY, window="hour", rolling=True))

    (standing,) = await budgets.standings()

    assert [(at or 0) / 1e6 - clock() for at in (standing.since_us, standing.reopens_us)] == [-HOUR_S, MINUTE_S]


# --- what is asked for -------------------------------------------------------------------------------


async def test_what_has_no_price_reserves_nothing_where_that_is_allowed(ledger: Ledger, budgets: Budgets) -> None:
    allowing = replace(DAY, unpriced="allow")
    await budgets.put(allowing)
    await reserve(ledger, "x1", None, allowing)
    before = await numbers(budgets)
    await spend(ledger, "x2", 1_000, allowing)

    told = await refusal(ledger, "x3", None, allowing)

    assert before == (0, 0, 0)
    assert (told.needed_nanousd, told.held_up) == (0, False)


async def test_who_needs_no_more_than_it_holds_is_not_refused(ledger: Ledger, budgets: Budgets) -> None:
    """The limit was lowered while it ran; the next target costs as much as the one before."""
    await budgets.put(DAY)
    await reserve(ledger, "x1", 600, DAY)
    await budgets.put(replace(DAY, limit_nanousd=100))
    further = OpenAttempt("x1", 2, "q", "m", worst_nanousd=600, budgets=(DAY,))

    await ledger.open_attempt(further, SettledAttempt("x1", 1, "failed", 0))

    assert await numbers(budgets) == (0, 600, 0)


@pytest.mark.parametrize(("needed", "held_up"), [(600, True), (601, False)])
async def test_only_reservations_stand_in_the_way_of_what_would_just_fit(
    ledger: Ledger, budgets: Budgets, needed: int, held_up: bool
) -> None:
    await budgets.put(DAY)
    await spend(ledger, "x1", 400, DAY)
    await reserve(ledger, "x2", 1, DAY)

    assert (await refusal(ledger, "x3", needed, DAY)).held_up == held_up


async def test_a_rolling_window_opens_when_reservations_have_left_too(ledger: Ledger, budgets: Budgets, clock) -> None:
    rolling = replace(DAY, window="hour", rolling=True)
    await budgets.put(rolling)
    opens_s = []
    for name in ("x1", "x2"):
        await spend(ledger, f"{name}-spent", 100, rolling)
        await reserve(ledger, name, 400, rolling)
        opens_s.append(clock() + HOUR_S + MINUTE_S)
        clock.advance(10 * MINUTE_S)

    reopens = [(await refusal(ledger, "x3", needed, rolling)).reopens_us for needed in (500, 501)]

    assert [(at or 0) / 1e6 for at in reopens] == opens_s


TERMS: dict[str, tuple[dict[str, Any], int | None, bool]] = {
    "hard": ({"hard": False}, 2_000, True),
    "limit": ({"limit_nanousd": 2_000}, 2_000, True),
    "unpriced": ({"unpriced": "allow"}, None, True),
    "nothing": ({}, 2_000, False),
}


@pytest.mark.parametrize(("changed", "worst", "let_in"), TERMS.values(), ids=TERMS)
async def test_a_request_meets_a_budget_as_it_is_by_now(
    ledger: Ledger, budgets: Budgets, changed: dict[str, Any], worst: int | None, let_in: bool
) -> None:
    await budgets.put(replace(DAY, **changed))

    if let_in:
        await reserve(ledger, "x1", worst, DAY)
    else:
        await refusal(ledger, "x1", worst, DAY)

    assert await numbers(budgets) == (0, (worst or 0) if let_in else 0, 0)


async def test_a_longer_window_holds_for_who_knew_a_shorter_one(ledger: Ledger, budgets: Budgets, clock) -> None:
    total = replace(DAY, window="total")
    await budgets.put(total)
    await spend(ledger, "x1", 1_000, total)
    clock.advance(2 * DAY_S)

    assert (await refusal(ledger, "x2", 1, DAY)).spent_nanousd == 1_000


async def test_a_softer_window_is_kept_soft(ledger: Ledger, budgets: Budgets, clock) -> None:
    """Its window is another by now, and what it refuses as well."""
    changed = replace(DAY, window="hour", rolling=True, hard=False, unpriced="allow")
    await budgets.put(changed)
    clock.advance(50 * MINUTE_S)
    await spend(ledger, "x1", 5_000, DAY)
    clock.advance(20 * MINUTE_S)

    assert await numbers(budgets) == (5_000, 0, 0)


# --- changes afterwards ------------------------------------------------------------------------------


async def test_other_costs_take_the_place_of_those_before(ledger: Ledger, budgets: Budgets, db: Database) -> None:
    await budgets.put(DAY)
    await spend(ledger, "x1", 100, DAY)
    await reserve(ledger, "x2", 30, DAY)

    def cheaper(connection: Any) -> None:
        (row,) = connection.execute("SELECT row FROM exchanges WHERE id = 'x1'").fetchone()
        connection.execute("UPDATE attempts SET cost_nanousd = 70 WHERE exchange = ?", (row,))
        recharge(connection, row)

    await db.write(cheaper)

    assert await numbers(budgets) == (70, 30, 0)


@pytest.mark.parametrize("window", ["hour", "total"])
@pytest.mark.parametrize("pruned", [1, 50])
async def test_another_window_keeps_what_pruned_exchanges_have_spent(
    ledger: Ledger, budgets: Budgets, db: Database, clock, window: Any, pruned: int
) -> None:
    """Of the bucket of a month 100 are charges that can still be told apart; the rest has no exchange any more."""
    month = replace(DAY, window="month", limit_nanousd=10_000)
    await budgets.put(month)
    for name, cost in (("x1", 40), ("x2", 60), ("gone", pruned)):
        await spend(ledger, name, cost, month)
    await db.write(
        lambda c: c.execute("DELETE FROM charges WHERE exchange = (SELECT row FROM exchanges WHERE id = 'gone')")
    )
    await budgets.put(replace(month, window=window))
    rows = await db.read(
        lambda c: [tuple(row) for row in c.execute("SELECT * FROM budget_spending ORDER BY bucket_us")]
    )

    assert sum(row[2] for row in rows) == 100 + pruned
    assert {(row[3], row[4]) for row in rows} == {(0, 0)}
    if window == "hour":  # it counts with the hour that the month began with
        assert [row[2] for row in rows] == [pruned, 100]
        assert await numbers(budgets) == (100, 0, 0)
    else:
        assert await numbers(budgets) == (100 + pruned, 0, 0)


async def test_a_changed_rolling_window_counts_by_the_hour_that_passed(ledger: Ledger, budgets: Budgets, clock) -> None:
    await budgets.put(DAY)
    clock.advance(50 * MINUTE_S)
    await spend(ledger, "x1", 100, DAY)
    clock.advance(20 * MINUTE_S)
    await budgets.put(replace(DAY, window="hour", rolling=True))

    assert await numbers(budgets) == (100, 0, 0)
