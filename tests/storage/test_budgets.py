"""What a budget allows: spent + reserved of a hard one never passes its limit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from storage.budgets import Budget, Budgets, OverBudget, Standing
from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange

HOUR_S = 3600
DAY = Budget("b1", "global", 1_000, window="day")


@pytest.fixture
def ledger(db: Database, clock) -> Ledger:
    return Ledger(db, now=clock)


@pytest.fixture
def budgets(db: Database, clock) -> Budgets:
    return Budgets(db, now=clock)


async def _open(ledger: Ledger, name: str, worst: int | None, *budgets: Budget, provider: str = "p") -> None:
    await ledger.open(
        OpenExchange(name, "openai_chat", input_estimate=10),
        OpenAttempt(name, 1, provider, "m", worst_nanousd=worst, budgets=budgets),
    )


async def _settle(ledger: Ledger, name: str, cost: int | None, number: int = 1) -> None:
    await ledger.settle(SettledExchange(name, "ok"), SettledAttempt(name, number, "ok", cost))


async def _standing(budgets: Budgets, name: str = "b1") -> Standing:
    return next(standing for standing in await budgets.standings() if standing.budget.id == name)


async def _numbers(budgets: Budgets, name: str = "b1") -> tuple[int, int, int]:
    standing = await _standing(budgets, name)
    return standing.spent_nanousd, standing.reserved_nanousd, standing.unpriced_attempts


async def test_what_is_reserved_becomes_what_was_spent(ledger: Ledger, budgets: Budgets) -> None:
    await budgets.put(DAY)
    await _open(ledger, "x1", 400, DAY)
    before = await _numbers(budgets)
    await _settle(ledger, "x1", 150)

    assert (before, await _numbers(budgets)) == ((0, 400, 0), (150, 0, 0))


async def test_of_many_at_once_as_many_get_in_as_the_limit_holds(ledger: Ledger, budgets: Budgets) -> None:
    await budgets.put(DAY)
    outcomes = await asyncio.gather(*(_open(ledger, f"x{n}", 30, DAY) for n in range(200)), return_exceptions=True)
    let_in = [outcome for outcome in outcomes if outcome is None]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, OverBudget)]

    assert (len(let_in), len(refusals)) == (33, 167)
    assert await _numbers(budgets) == (0, 990, 0)
    told = refusals[0]
    assert (told.budget, told.spent_nanousd, told.reserved_nanousd, told.needed_nanousd) == (DAY, 0, 990, 30)
    assert "reserved 0.000000990" in str(told)


async def test_a_refused_request_leaves_no_row(ledger: Ledger, budgets: Budgets, db: Database) -> None:
    with pytest.raises(OverBudget):
        await _open(ledger, "x1", 1_001, DAY)

    assert await db.read(
        lambda c: [c.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("exchanges", "attempts", "charges")]
    ) == [0, 0, 0]


async def test_the_next_window_opens_it_again(ledger: Ledger, budgets: Budgets, clock) -> None:
    """The clock of the tests begins at two o'clock."""
    await budgets.put(DAY)
    await _open(ledger, "x1", 1_000, DAY)
    await _settle(ledger, "x1", 1_000)
    with pytest.raises(OverBudget) as refusal:
        await _open(ledger, "x2", 1, DAY)
    clock.advance(22 * HOUR_S)
    await _open(ledger, "x3", 1_000, DAY)

    assert refusal.value.reopens_us == int(clock() * 1_000_000)
    assert await _numbers(budgets) == (0, 1_000, 0)


async def test_a_rolling_window_forgets_bit_by_bit(ledger: Ledger, budgets: Budgets, clock) -> None:
    rolling = replace(DAY, window="hour", rolling=True)
    await budgets.put(rolling)
    for name in ("x1", "x2"):
        await _open(ledger, name, 500, rolling)
        await _settle(ledger, name, 500)
        clock.advance(600)
    with pytest.raises(OverBudget) as refusal:
        await _open(ledger, "x3", 500, rolling)
    reopens_in_s = (refusal.value.reopens_us or 0) / 1_000_000 - clock()
    clock.advance(reopens_in_s + 1)
    await _open(ledger, "x4", 500, rolling)

    assert HOUR_S - 1200 <= reopens_in_s <= HOUR_S - 1200 + 60
    assert await _numbers(budgets) == (500, 500, 0)


async def test_a_total_budget_never_opens_again(ledger: Ledger, budgets: Budgets, clock) -> None:
    total = replace(DAY, window="total")
    await _open(ledger, "x1", 1_000, total)
    await _settle(ledger, "x1", 1_000)
    clock.advance(400 * 24 * HOUR_S)

    with pytest.raises(OverBudget) as refusal:
        await _open(ledger, "x2", 1, total)
    assert refusal.value.reopens_us is None


async def test_a_failover_reserves_again_only_what_is_missing(ledger: Ledger, budgets: Budgets) -> None:
    await budgets.put(DAY)
    await _open(ledger, "x1", 600, DAY)
    failed = SettledAttempt("x1", 1, "failed", 100)
    await ledger.open_attempt(OpenAttempt("x1", 2, "q", "m", worst_nanousd=700, budgets=(DAY,)), failed)
    before = await _numbers(budgets)
    with pytest.raises(OverBudget):
        await ledger.open_attempt(
            OpenAttempt("x1", 3, "q", "m", worst_nanousd=950, budgets=(DAY,)), SettledAttempt("x1", 2, "failed", 51)
        )
    await ledger.settle(SettledExchange("x1", "failed"))

    assert (before, await _numbers(budgets)) == ((0, 800, 0), (151, 0, 0))


async def test_a_providers_budget_is_charged_with_its_own_attempts(ledger: Ledger, budgets: Budgets) -> None:
    one, other = (Budget(f"b-{name}", "provider", 1_000, name, window="total") for name in ("p", "q"))
    await budgets.put(one)
    await budgets.put(other)
    await _open(ledger, "x1", 600, one)
    await ledger.open_attempt(
        OpenAttempt("x1", 2, "q", "m", worst_nanousd=700, budgets=(other,)), SettledAttempt("x1", 1, "failed", 5)
    )
    await _settle(ledger, "x1", 70, number=2)

    assert [await _numbers(budgets, name) for name in ("b-p", "b-q")] == [(5, 0, 0), (70, 0, 0)]


@pytest.mark.parametrize(("unpriced", "let_in"), [("refuse", False), ("allow", True)])
async def test_a_model_without_a_price_is_refused_or_counted(
    ledger: Ledger, budgets: Budgets, unpriced: str, let_in: bool
) -> None:
    budget = replace(DAY, unpriced=unpriced)
    await budgets.put(budget)
    told = ""
    try:
        await _open(ledger, "x1", None, budget)
        await _settle(ledger, "x1", None)
    except OverBudget as refusal:
        told = str(refusal)

    assert ("no known price" in told) is not let_in
    assert await _numbers(budgets) == (0, 0, int(let_in))


async def test_a_soft_budget_lets_everything_in_and_counts(ledger: Ledger, budgets: Budgets) -> None:
    soft = replace(DAY, hard=False)
    await budgets.put(soft)
    await _open(ledger, "x1", 5_000, soft)
    await _settle(ledger, "x1", 4_000)

    assert (await _standing(budgets)).percent == 400.0


async def test_the_start_gives_back_what_a_dead_process_had_reserved(ledger: Ledger, budgets: Budgets) -> None:
    await budgets.put(DAY)
    await _open(ledger, "x1", 900, DAY)
    await ledger.recover(lambda _provider, _model, tokens: tokens)

    assert await _numbers(budgets) == (10, 0, 0)


async def test_what_is_charged_is_what_the_rows_say(ledger: Ledger, budgets: Budgets, db: Database) -> None:
    """Also for those that end late: an exchange belongs to the window in which it was opened."""
    await budgets.put(DAY)
    for n in range(20):
        await _open(ledger, f"x{n}", 40, DAY)
    for n in range(0, 20, 2):
        await _settle(ledger, f"x{n}", n)
    rows = await db.read(lambda c: c.execute("SELECT sum(cost_nanousd) FROM exchanges").fetchone()[0])

    assert await _numbers(budgets) == (rows, 10 * 40, 0)


async def test_configured_budgets_come_and_go_with_the_configuration(budgets: Budgets) -> None:
    made = replace(DAY, id="made", origin="api")
    await budgets.put(made)
    await budgets.replace_configured([replace(DAY, id=name, origin="config") for name in ("a", "b")])
    await budgets.replace_configured([replace(DAY, id="b", origin="config", limit_nanousd=7)])

    assert {budget.id: budget.limit_nanousd for budget in await budgets.all()} == {"made": 1_000, "b": 7}


async def test_an_alert_goes_out_once_in_a_window(budgets: Budgets) -> None:
    assert [await budgets.alert("b1", 0, 80), await budgets.alert("b1", 0, 80), await budgets.alert("b1", 1, 80)] == [
        True,
        False,
        True,
    ]


async def test_a_relaxed_ledger_waits_for_a_budgets_word(db: Database, clock) -> None:
    relaxed = Ledger(db, mode="relaxed", now=clock)
    await _open(relaxed, "x1", 1_000, DAY)

    with pytest.raises(OverBudget):
        await _open(relaxed, "x2", 1, DAY)
