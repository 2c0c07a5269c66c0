"""A cost that is computed anew: a new version, with the old one kept; sums and budgets follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.accounts import Accounts
from storage.audit import AuditLog
from storage.budgets import Budget, Budgets
from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from storage.repricing import NewCost, Repricing, Span
from storage.rollups import Rollups

DAY = Budget("b1", "global", 10_000, window="day", unpriced="allow")
MINE = Budget("b2", "provider", 10_000, "p", window="total", unpriced="allow")


@pytest.fixture
def repricing(db: Database, clock) -> Repricing:
    return Repricing(db, now=clock)


async def _book(
    ledger: Ledger, name: str, cost: int | None, *budgets: Budget, model: str = "m", source: str | None = None
) -> None:
    await ledger.open(
        OpenExchange(name, "openai_chat"), OpenAttempt(name, 1, "p", model, worst_nanousd=None, budgets=budgets)
    )
    settled = SettledAttempt(
        name, 1, "ok", cost, input_tokens=7, output_tokens=2, price_source=source, raw_usage={"prompt_tokens": 7}
    )
    await ledger.settle(SettledExchange(name, "ok"), settled)


async def test_unpriced_models_are_listed_with_their_tokens(ledger: Ledger, repricing: Repricing, clock) -> None:
    await _book(ledger, "old", None)
    clock.advance(100)
    for name, cost, model in (("a", None, "m"), ("b", None, "m"), ("c", None, "n"), ("d", 5, "m")):
        await _book(ledger, name, cost, model=model)

    found = await repricing.unpriced(Span(clock() - 50))

    assert [(each.provider, each.model, each.attempts, each.input_tokens, each.output_tokens) for each in found] == [
        ("p", "m", 2, 14, 4),
        ("p", "n", 1, 7, 2),
    ]
    assert [each.attempts for each in await repricing.unpriced(Span(until=clock() - 50))] == [1]
    assert [each.model for each in await repricing.unpriced(Span(model="n*"))] == ["n"]


async def test_a_new_cost_is_a_new_version_and_everything_follows(
    db: Database, ledger: Ledger, repricing: Repricing, clock
) -> None:
    budgets, accounts, rollups = Budgets(db, now=clock), Accounts(db), Rollups(db)
    await budgets.put(DAY)
    await budgets.put(MINE)
    await _book(ledger, "x", None, DAY, MINE)
    clock.advance(3600)
    await rollups.catch_up()
    unknown = (await accounts.costs()).total
    (row,) = await repricing.page(Span())
    clock.advance(60)

    booked = await repricing.apply([NewCost(row, 300, "config", "config #1")])

    standings = {each.budget.id: each for each in await budgets.standings()}
    exchange = await accounts.exchange("x")
    (change,) = await repricing.history("x")
    total = (await accounts.costs()).total
    assert exchange
    assert booked == 1
    assert (unknown.unpriced_attempts, unknown.cost_nanousd) == (1, 0)
    assert (total.unpriced_attempts, total.cost_nanousd) == (0, 300)
    assert exchange["cost_usd"] == "0.000000300"
    assert exchange["attempts"][0]["price_version"] == "config #1"
    assert exchange["attempts"][0]["raw_usage"] == {"prompt_tokens": 7}
    assert (change["change"], change["old_nanousd"], change["new_nanousd"], change["new_source"]) == (
        1, None, 300, "config",
    )  # fmt: skip
    assert change["at_us"] == int(clock() * 1_000_000)
    for budget in ("b1", "b2"):
        assert (standings[budget].spent_nanousd, standings[budget].unpriced_attempts) == (300, 0)
    assert await repricing.page(Span()) == []


async def test_history_keeps_every_version(ledger: Ledger, repricing: Repricing) -> None:
    await _book(ledger, "x", 100, source="config")
    for cost in (200, 50):
        (row,) = await repricing.page(Span(whole=True))
        await repricing.apply([NewCost(row, cost, "config", f"v{cost}")])

    changes = await repricing.history("x")

    assert [(each["change"], each["old_nanousd"], each["new_nanousd"]) for each in changes] == [
        (1, 100, 200),
        (2, 200, 50),
    ]


async def test_what_was_changed_meanwhile_is_left_alone(ledger: Ledger, repricing: Repricing, db: Database) -> None:
    await _book(ledger, "x", None)
    (row,) = await repricing.page(Span())
    assert await repricing.apply([NewCost(row, 300, "config", "v1")]) == 1

    assert await repricing.apply([NewCost(row, 400, "config", "v2")]) == 0
    assert len(await repricing.history("x")) == 1


async def test_only_what_was_billed_and_has_ended_is_priced_again(ledger: Ledger, repricing: Repricing) -> None:
    """An attempt that was not billed costs 0 without a price; an open one has no cost yet."""
    await _book(ledger, "unbilled", 0)
    await _book(ledger, "priced", 9, source="config")
    await _book(ledger, "unknown", None)
    await ledger.open(OpenExchange("open", "openai_chat"), OpenAttempt("open", 1, "p", "m"))

    assert [row["exchange_id"] for row in await repricing.page(Span())] == ["unknown"]
    assert {row["exchange_id"] for row in await repricing.page(Span(whole=True))} == {"priced", "unknown"}


async def test_pages_follow_one_another_without_a_gap(ledger: Ledger, repricing: Repricing) -> None:
    """All begin in the same microsecond."""
    for number in range(230):
        await _book(ledger, f"x{number}", None)

    seen: list[str] = []
    last = None
    while page := await repricing.page(Span(), last):
        seen.extend(row["exchange_id"] for row in page)
        last = page[-1]

    assert seen == [f"x{number}" for number in range(230)]


async def test_an_exchange_stays_unknown_while_another_of_its_attempts_is(
    ledger: Ledger, repricing: Repricing, db: Database
) -> None:
    await ledger.open(OpenExchange("x", "openai_chat"), OpenAttempt("x", 1, "p", "m"))
    await ledger.open_attempt(OpenAttempt("x", 2, "p", "n"), SettledAttempt("x", 1, "failed", None))
    await ledger.settle(SettledExchange("x", "ok"), SettledAttempt("x", 2, "ok", None))
    first, second = await repricing.page(Span())

    await repricing.apply([NewCost(first, 10, "config", "v")])
    halfway = await Accounts(db).exchange("x")
    await repricing.apply([NewCost(second, 20, "config", "v")])
    whole = await Accounts(db).exchange("x")

    assert halfway
    assert whole
    assert (halfway["cost_usd"], whole["cost_usd"]) == (None, "0.000000030")


async def test_an_entry_of_the_audit_log_is_written_with_it(ledger: Ledger, repricing: Repricing, db: Database) -> None:
    audit = AuditLog(db)
    await _book(ledger, "x", None)
    (row,) = await repricing.page(Span())
    await repricing.apply([NewCost(row, 1, "config", "v")], audit.entry("me", "prices.repriced", "p/m"))
    await repricing.apply([NewCost(row, 2, "config", "v")], audit.entry("me", "prices.repriced", "p/m"))

    verdict = await audit.verify()
    assert (verdict.entries, verdict.broken_at) == (1, None)


async def test_prices_that_were_used_are_kept_once(repricing: Repricing, db: Database) -> None:
    repricing.keep_price("config #1", "config", {"input": ["1"]})
    repricing.keep_price("config #1", "config", {"input": ["2"]})
    await db.write(lambda connection: connection.execute("SELECT 1"))

    assert await repricing.kept_price("config #1") == ("config", {"input": ["1"]})
    assert await repricing.kept_price("config #2") is None


async def test_history_goes_with_its_exchange(ledger: Ledger, repricing: Repricing, db: Database) -> None:
    await _book(ledger, "x", None)
    (row,) = await repricing.page(Span())
    await repricing.apply([NewCost(row, 1, "config", "v")])
    await db.write(lambda connection: connection.execute("DELETE FROM exchanges WHERE id = 'x'"))

    assert await db.read(lambda connection: connection.execute("SELECT count(*) FROM attempt_costs").fetchone()[0]) == 0


async def test_a_budget_that_was_not_charged_stays(ledger: Ledger, repricing: Repricing, db: Database, clock) -> None:
    budgets = Budgets(db, now=clock)
    other = replace(DAY, id="b9")
    await budgets.put(other)
    await _book(ledger, "x", None)
    (row,) = await repricing.page(Span())
    await repricing.apply([NewCost(row, 300, "config", "v")])

    (standing,) = await budgets.standings()
    assert (standing.spent_nanousd, standing.unpriced_attempts) == (0, 0)
