"""What a budget allows: spent + reserved of a hard one never passes its limit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from storage.audit import Entry
from storage.budgets import WINDOWS, Budget, Budgets, OverBudget, Standing
from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from storage.rollups import Rollups
from storage.verify import Verifier
from storage.windows import GRAIN_US, LENGTH_US, Window, bucket_us, ends_us

HOUR_S = 3600
DAY = Budget("b1", "global", 1_000, window="day")


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


async def test_what_runs_may_be_reserved_for_again(ledger: Ledger, budgets: Budgets, db: Database) -> None:
    """Only what runs at that model, and in all its budgets but those of other providers."""
    own = Budget("p1", "provider", 10_000, subject="p", window="day")
    for budget in (DAY, own):
        await budgets.put(budget)
    await _open(ledger, "x1", 100, DAY, own)
    await _open(ledger, "x2", 101, DAY, own)
    await _open(ledger, "x3", 100, DAY, provider="q")
    await _settle(ledger, "x1", 50)
    budgets.raise_open("p", "m", 1.5)
    await db.write(lambda _: None)
    raised = await _numbers(budgets), await _numbers(budgets, "p1")
    sound = (await Verifier(db, Rollups(db)).run()).differences
    await _settle(ledger, "x2", 152)

    assert raised == ((50, 252, 0), (50, 152, 0))
    assert sound == []
    assert await _numbers(budgets) == (202, 100, 0)


async def _spend(ledger: Ledger, name: str, cost: int, budget: Budget) -> None:
    await _open(ledger, name, cost, budget)
    await _settle(ledger, name, cost)


@pytest.mark.parametrize("window", ["hour", "day", "month"])
@pytest.mark.parametrize("ahead_s", [2 * HOUR_S, 40 * 24 * HOUR_S, 400 * 24 * HOUR_S], ids=["2h", "40d", "400d"])
async def test_a_clock_that_went_ahead_and_back_shuts_a_rolling_budget_for_one_window(
    ledger: Ledger, budgets: Budgets, db: Database, clock, window: Window, ahead_s: int
) -> None:
    """What was spent meanwhile counts for one window from when it is seen, and never a second time."""
    rolling = replace(DAY, window=window, rolling=True)
    await budgets.put(rolling)
    clock.advance(ahead_s)
    await _spend(ledger, "x1", 1_000, rolling)
    clock.advance(-ahead_s)
    with pytest.raises(OverBudget) as unseen:
        await _open(ledger, "x2", 1, rolling)
    left = await budgets.look_ahead(stepped=False)
    at, shown = clock(), await _standing(budgets)
    reopens_s = (shown.reopens_us or 0) / 1_000_000
    clock.advance(reopens_s - at - 1)
    again = await budgets.look_ahead(stepped=False)
    with pytest.raises(OverBudget) as seen:
        await _open(ledger, "x3", 1, rolling)
    clock.advance(2)
    await budgets.look_ahead(stepped=False)
    await _spend(ledger, "x4", 0, rolling)
    await _open(ledger, "x5", 1_000, rolling)
    await _settle(ledger, "x5", 0)
    clock.advance(max(0.0, at + ahead_s - clock()))
    await _open(ledger, "x6", 1_000, rolling)

    length_s, grain_s = LENGTH_US[window] / 1_000_000, GRAIN_US[window] / 1_000_000
    assert length_s <= reopens_s - at <= length_s + grain_s
    assert shown.spent_nanousd == 1_000
    assert left == again == (ahead_s > grain_s)
    assert shown.reopens_us == unseen.value.reopens_us == seen.value.reopens_us
    assert (await Verifier(db, Rollups(db, now=clock)).run()).differences == []


async def test_a_clock_that_was_put_back_and_ahead_again_opens_a_rolling_budget_no_sooner(
    ledger: Ledger, budgets: Budgets, clock
) -> None:
    rolling = replace(DAY, window="hour", rolling=True)
    await budgets.put(rolling)
    await _spend(ledger, "x1", 1_000, rolling)
    clock.advance(-2 * HOUR_S)
    await budgets.look_ahead(stepped=False)
    clock.advance(2 * HOUR_S + 59 * 60)
    await budgets.look_ahead(stepped=True)
    with pytest.raises(OverBudget):
        await _open(ledger, "x3", 1, rolling)
    clock.advance(3 * 60)

    assert await budgets.look_ahead(stepped=False) == 0
    await _open(ledger, "x4", 1_000, rolling)


async def test_what_is_booked_a_moment_later_is_no_clock_that_went_back(
    ledger: Ledger, budgets: Budgets, clock
) -> None:
    rolling = replace(DAY, window="hour", rolling=True)
    await budgets.put(rolling)
    clock.advance(60 - clock() % 60)
    await _spend(ledger, "x1", 600, rolling)
    clock.advance(-5)

    assert await budgets.look_ahead(stepped=True) == 0


async def test_a_changed_window_holds_nothing_in_time_to_come(ledger: Ledger, budgets: Budgets, clock) -> None:
    rolling = replace(DAY, window="hour", rolling=True)
    await budgets.put(rolling)
    clock.advance(40 * 24 * HOUR_S)
    await _spend(ledger, "x1", 700, rolling)
    clock.advance(-40 * 24 * HOUR_S)
    await budgets.put(DAY)

    assert await _numbers(budgets) == (700, 0, 0)


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

    assert await _numbers(budgets) == (900, 0, 0)


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


async def test_a_relaxed_ledger_waits_for_a_budgets_word(db: Database, clock) -> None:
    relaxed = Ledger(db, mode="relaxed", now=clock)
    await _open(relaxed, "x1", 1_000, DAY)

    with pytest.raises(OverBudget):
        await _open(relaxed, "x2", 1, DAY)


async def test_what_cannot_be_counted_is_let_in_only_while_something_is_left(ledger: Ledger, budgets: Budgets) -> None:
    allowing = replace(DAY, unpriced="allow")
    await budgets.put(allowing)
    await _open(ledger, "x1", 1_000, allowing)
    await _settle(ledger, "x1", 1_000)

    with pytest.raises(OverBudget, match="is used up"):
        await _open(ledger, "x2", None, allowing)


async def test_a_refusal_says_whether_only_reservations_stand_in_the_way(ledger: Ledger, budgets: Budgets) -> None:
    await budgets.put(DAY)
    await _open(ledger, "x1", 900, DAY)
    with pytest.raises(OverBudget, match="has no room for now") as waiting:
        await _open(ledger, "x2", 200, DAY)
    await _settle(ledger, "x1", 900)
    with pytest.raises(OverBudget, match="is used up") as used_up:
        await _open(ledger, "x2", 200, DAY)

    assert (waiting.value.held_up, used_up.value.held_up) == (True, False)


@pytest.mark.parametrize(
    ("window", "rolling", "counted"),
    [("day", False, 11), ("hour", False, 10), ("month", True, 111), ("total", False, 111)],
)
async def test_another_window_counts_what_was_spent_in_it(
    ledger: Ledger, budgets: Budgets, clock, window: str, rolling: bool, counted: int
) -> None:
    """100 were spent the day before, 1 two hours ago, 10 now, and 5 are reserved: nothing is lost or counted twice."""
    month = replace(DAY, window="month")
    await budgets.put(month)
    for name, nanousd, then_s in (("x1", 100, 22 * HOUR_S), ("x2", 1, 2 * HOUR_S), ("x3", 10, 0)):
        await _open(ledger, name, nanousd, month)
        await _settle(ledger, name, nanousd)
        clock.advance(then_s)
    await _open(ledger, "x4", 5, month)
    changed = replace(month, window=window, rolling=rolling)
    await budgets.put(changed)
    before = await _numbers(budgets)
    await _settle(ledger, "x4", 4)

    assert (before, await _numbers(budgets)) == ((counted, 5, 0), (counted + 4, 0, 0))


async def test_a_request_that_knows_a_budget_as_it_was_is_counted_by_what_it_is(
    ledger: Ledger, budgets: Budgets, db: Database
) -> None:
    """It came in before the budget was changed, and goes on to another target afterwards."""
    month = replace(DAY, window="month")
    await budgets.put(month)
    await _open(ledger, "x1", 100, month)
    await budgets.put(replace(month, window="hour", rolling=True, limit_nanousd=500))
    with pytest.raises(OverBudget):
        await _open(ledger, "x2", 450, month)
    further = OpenAttempt("x1", 2, "q", "m", worst_nanousd=300, budgets=(month,))
    await ledger.open_attempt(further, SettledAttempt("x1", 1, "failed", 0))
    before = await _numbers(budgets)
    await _settle(ledger, "x1", 7, number=2)
    buckets = await db.read(
        lambda c: c.execute("SELECT spent_nanousd, reserved_nanousd FROM budget_spending").fetchall()
    )

    assert (before, await _numbers(budgets)) == ((0, 300, 0), (7, 0, 0))
    assert [tuple(bucket) for bucket in buckets] == [(7, 0)]


async def test_a_budget_about_something_else_begins_anew(ledger: Ledger, budgets: Budgets) -> None:
    one = Budget("b1", "team", 1_000, "one", window="day")
    await budgets.put(one)
    await _open(ledger, "x1", 10, one)
    await _open(ledger, "x2", 10, one)
    await _settle(ledger, "x1", 10)
    await budgets.put(replace(one, subject="other"))
    await _settle(ledger, "x2", 10)

    assert await _numbers(budgets) == (0, 0, 0)


async def test_a_clock_that_goes_back_shows_the_window_of_its_time(ledger: Ledger, budgets: Budgets, clock) -> None:
    await budgets.put(DAY)
    await _open(ledger, "x1", 700, DAY)
    await _settle(ledger, "x1", 700)
    clock.advance(-24 * HOUR_S)

    assert await _numbers(budgets) == (0, 0, 0)


async def test_windows_of_long_ago_are_forgotten_once_their_exchanges_are_pruned(
    budgets: Budgets, db: Database, clock
) -> None:
    """Of calendar windows this one and the last stay, of rolling ones two lengths; reservations and totals always."""
    terms = [(window, rolling) for window in WINDOWS for rolling in (False, True)]
    for window, rolling in terms:
        name = f"{window} {rolling}"
        await budgets.put(Budget(name, "global", 1_000, window=window, rolling=rolling))
        for ago, reserved in ((0, 0), (1, 0), (2, 0), (3, 0), (4, 9)):
            bucket = int(clock() * 1_000_000) - ago * LENGTH_US.get(window, LENGTH_US["month"])
            bucket = bucket_us(window, bucket, rolling=rolling) + (ago if window == "total" else 0)
            await _spent_long_ago(db, name, bucket, ago, reserved)
    assert await budgets.forget_old() == 0

    await db.write(lambda c: c.execute("UPDATE rollup_state SET pruned_us = ?", (int(clock() * 1_000_000),)).rowcount)
    forgotten = await budgets.forget_old()

    assert {name: await _left(db, name) for name in (f"{window} {rolling}" for window, rolling in terms)} == {
        f"{window} {rolling}": [0, 1, 2, 3, 4] if window == "total" else [0, 1, 2, 4] if rolling else [0, 1, 4]
        for window, rolling in terms
    }
    assert forgotten == 9


async def test_a_window_whose_exchanges_are_not_all_pruned_is_kept(budgets: Budgets, db: Database, clock) -> None:
    await budgets.put(DAY)
    day_us = LENGTH_US["day"]
    today = bucket_us("day", int(clock() * 1_000_000), rolling=False)
    for ago in (4, 5, 6):
        await _spent_long_ago(db, "b1", today - ago * day_us, ago, 0)
    await db.write(lambda c: c.execute("UPDATE rollup_state SET pruned_us = ?", (today - 5 * day_us + 1,)).rowcount)

    assert (await budgets.forget_old(), await _left(db, "b1")) == (1, [4, 5])


async def _spent_long_ago(db: Database, budget: str, bucket: int, spent: int, reserved: int) -> None:
    row = "INSERT INTO budget_spending (budget, bucket_us, spent_nanousd, reserved_nanousd) VALUES (?, ?, ?, ?)"
    await db.write(lambda c: c.execute(row, (budget, bucket, spent, reserved)).rowcount)


async def _left(db: Database, budget: str) -> list[int]:
    """What is spent in each of its buckets."""
    rows = "SELECT spent_nanousd FROM budget_spending WHERE budget = ? ORDER BY spent_nanousd"
    return [spent for (spent,) in await db.read(lambda c: c.execute(rows, (budget,)).fetchall())]


async def test_those_are_alerting_that_have_reached_a_threshold_or_are_asked_for(
    ledger: Ledger, budgets: Budgets
) -> None:
    full, asked, quiet = (replace(DAY, id=name, alerts=(50, 100)) for name in ("full", "asked", "quiet"))
    for budget in (full, asked, quiet):
        await budgets.put(budget)
    await _open(ledger, "x1", 500, full)
    await _settle(ledger, "x1", 500)

    assert [(each.budget, each.spent_nanousd) for each in await budgets.alerting()] == [(full, 500)]
    assert [each.budget.id for each in await budgets.alerting(["asked", "unknown"])] == ["asked", "full"]


async def test_removing_what_is_not_there_leaves_nothing_in_the_audit_log(budgets: Budgets, db: Database) -> None:
    entry = Entry(1, "me", "budget.remove", "b1", None, None)
    logged = [await _audited(db)]
    for _ in range(2):
        await budgets.remove("b1", entry)
        logged.append(await _audited(db))
        await budgets.put(DAY)
    logged.append(await _audited(db))

    assert logged == [0, 0, 1, 1]


async def _audited(db: Database) -> int:
    return int(await db.read(lambda c: c.execute("SELECT count(*) FROM audit").fetchone()[0]))


@pytest.mark.parametrize(("asked", "after"), [(300, 0), (301, 1), (600, 1), (601, 2), (1_000, 2)])
async def test_a_rolling_window_opens_when_enough_of_it_has_left(
    ledger: Ledger, budgets: Budgets, clock, asked: int, after: int
) -> None:
    """Three answers of 300, 300 and 400 fill it; *after* is the last that must have left."""
    rolling = replace(DAY, window="hour", rolling=True)
    await budgets.put(rolling)
    buckets = []
    for number, cost in enumerate((300, 300, 400)):
        await _open(ledger, f"x{number}", cost, rolling)
        await _settle(ledger, f"x{number}", cost)
        buckets.append(bucket_us("hour", int(clock() * 1_000_000), rolling=True))
        clock.advance(600)

    with pytest.raises(OverBudget) as refusal:
        await _open(ledger, "x9", asked, rolling)
    assert refusal.value.reopens_us == ends_us("hour", buckets[after], rolling=True)
