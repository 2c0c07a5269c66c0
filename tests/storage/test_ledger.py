"""An exchange is open from before its first attempt until it is settled, once; then it never changes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from storage.accounts import Accounts
from storage.budgets import Budget, Budgets
from storage.db import Database
from storage.errors import LedgerUnavailable
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from translators.losses import Loss

EXCHANGE = OpenExchange(
    "x1", "openai_chat", route="careful", key_id="k1", tags={"team": "search"}, stream=True, cache="miss",
    client_request_id="mine", input_estimate=50,
)  # fmt: skip
FIRST = OpenAttempt("x1", 1, "anthropic", "claude", key_index=0)
SECOND = OpenAttempt("x1", 2, "openai", "gpt/large")
FIRST_FAILED = SettledAttempt("x1", 1, "failed", 0, http_status=529, error_kind="overloaded", error="busy")
SECOND_OK = SettledAttempt(
    "x1", 2, "ok", 1_500, http_status=200, input_tokens=40, cached_input_tokens=8, cache_write_tokens=2,
    output_tokens=9, reasoning_tokens=3, price_source="table", price_version="2026-11-01",
    raw_usage={"prompt_tokens": 40}, latency_ms=812.26, first_event_ms=300,
)  # fmt: skip
DONE = SettledExchange(
    "x1", "ok", latency_ms=900.04, first_event_ms=310, losses=(Loss("top_k", "dropped", "no such field"),)
)


async def _row(db: Database, exchange_id: str = "x1") -> dict:
    row = await Accounts(db).exchange(exchange_id)
    assert row is not None
    return row


async def _open_rows(db: Database) -> list[int]:
    """How many exchanges and how many attempts are open."""
    exchanges = "SELECT count(*) FROM exchanges WHERE settled_us IS NULL"
    attempts = "SELECT count(*) FROM attempts WHERE ended_us IS NULL"
    return await db.read(lambda c: [c.execute(query).fetchone()[0] for query in (exchanges, attempts)])


async def test_the_row_is_there_before_the_attempt_leaves(ledger: Ledger, db: Database) -> None:
    await ledger.open(EXCHANGE, FIRST)
    row = await _row(db)

    assert (row["status"], row["settled_at"], row["target"], row["cost_usd"]) == (
        "open",
        None,
        "anthropic/claude",
        None,
    )
    assert [(a["number"], a["status"], a["provider"]) for a in row["attempts"]] == [(1, "open", "anthropic")]


async def test_a_failover_keeps_both_attempts_and_adds_them_up(ledger: Ledger, db: Database, clock) -> None:
    await ledger.open(EXCHANGE, FIRST)
    clock.advance(0.1)
    await ledger.open_attempt(SECOND, closing=FIRST_FAILED)
    clock.advance(0.9)
    settled = await ledger.settle(DONE, SECOND_OK)
    row = await _row(db)
    first, second = row.pop("attempts")

    assert settled
    assert row == {
        "id": "x1", "opened_at": "2026-11-21T02:00:00.000Z", "settled_at": "2026-11-21T02:00:01.000Z", "status": "ok",
        "key_id": "k1", "tags": {"team": "search"}, "dialect": "openai_chat", "route": "careful",
        "target": "openai/gpt/large", "stream": True, "cache": "miss", "input_tokens": 40, "cached_input_tokens": 8,
        "cache_write_tokens": 2, "output_tokens": 9, "reasoning_tokens": 3, "cost_usd": "0.000001500",
        "saved_usd": "0.000000000", "estimated": False, "latency_ms": 900.0, "first_event_ms": 310.0,
        "losses": [{"field": "top_k", "action": "dropped", "reason": "no such field"}], "error": None,
        "client_request_id": "mine",
    }  # fmt: skip
    assert (first["status"], first["http_status"], first["error_kind"], first["cost_usd"]) == (
        "failed",
        529,
        "overloaded",
        "0.000000000",
    )
    assert (second["raw_usage"], second["price_version"], second["latency_ms"]) == (
        {"prompt_tokens": 40},
        "2026-11-01",
        812.3,
    )


async def test_a_settled_row_never_changes(ledger: Ledger, db: Database) -> None:
    await ledger.open(EXCHANGE, FIRST)
    await ledger.settle(DONE, replace(SECOND_OK, number=1))
    before = await _row(db)
    answers = await asyncio.gather(
        ledger.settle(replace(DONE, status="failed"), replace(FIRST_FAILED, cost_nanousd=10**9)),
        ledger.settle(DONE, replace(SECOND_OK, number=1)),
    )

    assert answers == [False, False]
    assert ledger.ignored == 2
    assert await _row(db) == before


async def test_of_many_settlements_at_once_one_counts(ledger: Ledger, db: Database) -> None:
    await ledger.open(EXCHANGE, FIRST)
    attempt = replace(SECOND_OK, number=1)
    answers = await asyncio.gather(*(ledger.settle(DONE, replace(attempt, cost_nanousd=n)) for n in range(50)))

    assert sorted(answers) == [False] * 49 + [True]
    assert (await _row(db))["cost_usd"] == f"0.{answers.index(True):09d}"


@pytest.mark.parametrize(
    ("first_cost", "second_cost", "cost"),
    [(0, 5, "0.000000005"), (3, 5, "0.000000008"), (None, 5, None), (0, None, None)],
)
async def test_a_cost_is_unknown_as_soon_as_a_part_of_it_is(
    ledger: Ledger, db: Database, first_cost: int | None, second_cost: int | None, cost: str | None
) -> None:
    await ledger.open(EXCHANGE, FIRST)
    await ledger.open_attempt(SECOND, closing=replace(FIRST_FAILED, cost_nanousd=first_cost))
    await ledger.settle(DONE, replace(SECOND_OK, cost_nanousd=second_cost))

    assert (await _row(db))["cost_usd"] == cost


async def test_an_attempt_that_the_caller_forgot_is_closed_with_its_exchange(ledger: Ledger, db: Database) -> None:
    await ledger.open(EXCHANGE, FIRST)
    await ledger.open_attempt(SECOND)
    await ledger.settle(DONE, SECOND_OK)
    row = await _row(db)

    assert [(a["status"], a["estimated"], a["input_tokens"]) for a in row["attempts"]] == [
        ("interrupted", True, 50),
        ("ok", False, 40),
    ]
    assert (row["cost_usd"], row["estimated"], row["input_tokens"]) == (None, True, 90)
    assert await _open_rows(db) == [0, 0]


async def test_racing_attempts_are_closed_one_by_one(ledger: Ledger, db: Database) -> None:
    await ledger.open(EXCHANGE, FIRST)
    await ledger.open_attempt(SECOND)
    await ledger.settle_attempt(replace(FIRST_FAILED, status="aborted", cost_nanousd=7))
    await ledger.settle(DONE, SECOND_OK)
    row = await _row(db)

    assert ([a["status"] for a in row["attempts"]], row["cost_usd"]) == (["aborted", "ok"], "0.000001507")


async def test_a_cache_hit_is_one_row_that_costs_nothing(ledger: Ledger, db: Database) -> None:
    hit = SettledExchange(
        "x1", "ok", target="openai/gpt", saved_nanousd=77, latency_ms=2.0, input_tokens=4, output_tokens=6
    )
    await ledger.record(replace(EXCHANGE, cache="hit"), hit)
    row = await _row(db)

    assert (row["status"], row["attempts"], row["cost_usd"], row["saved_usd"]) == (
        "ok",
        [],
        "0.000000000",
        "0.000000077",
    )
    assert (row["input_tokens"], row["output_tokens"], row["cache"]) == (4, 6, "hit")
    assert (row["opened_at"], row["settled_at"]) == ("2026-11-21T01:59:59.998Z", "2026-11-21T02:00:00.000Z")


async def test_what_a_dead_process_left_is_closed_once_with_an_estimate(ledger: Ledger, db: Database, clock) -> None:
    asked: list[tuple[str, str, int]] = []

    def estimate(provider: str, model: str, tokens: int) -> int | None:
        asked.append((provider, model, tokens))
        return tokens * 3

    await ledger.open(EXCHANGE, FIRST)
    await ledger.open_attempt(SECOND, closing=FIRST_FAILED)
    await ledger.open(replace(EXCHANGE, id="x2"), replace(FIRST, exchange_id="x2"))
    await ledger.settle(replace(DONE, id="x2"), replace(SECOND_OK, exchange_id="x2", number=1))
    await ledger.open(replace(EXCHANGE, id="x3"))
    untouched = await _row(db, "x2")
    closed = [await ledger.recover(estimate), await ledger.recover(estimate)]
    row = await _row(db)

    assert closed == [2, 0]
    assert asked == [("openai", "gpt/large", 50)]
    assert (row["status"], row["cost_usd"], row["estimated"], row["input_tokens"]) == (
        "interrupted", "0.000000150", True, 50,
    )  # fmt: skip
    assert [a["status"] for a in row["attempts"]] == ["failed", "interrupted"]
    assert (await _row(db, "x3"))["cost_usd"] == "0.000000000", "nothing had left for a provider"
    assert await _row(db, "x2") == untouched
    assert await _open_rows(db) == [0, 0]


async def test_recovery_without_a_price_leaves_the_cost_unknown(ledger: Ledger, db: Database) -> None:
    await ledger.open(EXCHANGE, FIRST)
    await ledger.recover(lambda *_: None)

    assert (await _row(db))["cost_usd"] is None


async def test_absurd_counts_are_cut(ledger: Ledger, db: Database) -> None:
    await ledger.open(replace(EXCHANGE, input_estimate=-5), FIRST)
    await ledger.settle(DONE, replace(SECOND_OK, number=1, input_tokens=-3, output_tokens=10**30))
    row = await _row(db)

    assert (row["input_tokens"], row["output_tokens"]) == (0, 10**12)


async def _hold_the_writer(db: Database) -> tuple[threading.Event, asyncio.Task[bool]]:
    gate, entered = threading.Event(), threading.Event()

    def hold(_: object) -> bool:
        entered.set()
        return gate.wait(5)

    holding = asyncio.create_task(db.write(hold))
    await asyncio.to_thread(entered.wait, 5)
    return gate, holding


async def test_a_caller_that_leaves_while_opening_owes_nothing(ledger: Ledger, db: Database) -> None:
    gate, holding = await _hold_the_writer(db)
    opening = asyncio.create_task(ledger.open(EXCHANGE, FIRST))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.sleep(0)
    gate.set()
    await holding
    await db.write(lambda _: None)
    row = await _row(db)

    assert opening.cancelled()
    assert (row["status"], row["cost_usd"], [a["status"] for a in row["attempts"]]) == (
        "aborted", "0.000000000", ["aborted"],
    )  # fmt: skip


async def test_a_disk_that_does_not_answer_fails_the_request_within_the_deadline(db: Database, clock) -> None:
    ledger = Ledger(db, now=clock, deadline_s=0.01)
    gate, holding = await _hold_the_writer(db)
    with pytest.raises(LedgerUnavailable, match=r"no commit within 0\.01 s"):
        await ledger.open(EXCHANGE, FIRST)
    gate.set()
    await holding
    await db.write(lambda _: None)

    assert (await _row(db))["status"] == "aborted"


async def _fill(db: Database) -> None:
    (pages,) = await db.write(lambda c: c.execute("PRAGMA page_count").fetchone())
    await db.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall())


LARGE = replace(EXCHANGE, tags={"t": "x" * 100_000})


async def test_strict_fails_the_request_when_the_disk_is_full(ledger: Ledger, db: Database) -> None:
    await _fill(db)
    with pytest.raises(LedgerUnavailable, match=r"the ledger cannot be written: .*the disk is full"):
        await ledger.open(LARGE, FIRST)

    assert ledger.lost == 0
    assert await Accounts(db).exchange("x1") is None


async def test_relaxed_lets_the_request_through_and_counts_it(db: Database, clock) -> None:
    ledger = Ledger(db, mode="relaxed", now=clock)
    await _fill(db)
    await ledger.open(LARGE, FIRST)
    await ledger.settle(DONE, SECOND_OK)
    await ledger.open(replace(EXCHANGE, id="x2"), replace(FIRST, exchange_id="x2"))
    await db.write(lambda _: None)

    assert ledger.lost == 2, "the opening and the settling of x1"
    assert (await _row(db, "x2"))["status"] == "open"


async def test_relaxed_books_the_same_rows(db: Database, clock) -> None:
    ledger = Ledger(db, mode="relaxed", now=clock)
    await ledger.open(EXCHANGE, FIRST)
    await ledger.open_attempt(SECOND, closing=FIRST_FAILED)
    first = await ledger.settle(DONE, SECOND_OK)
    await ledger.settle(DONE, SECOND_OK)
    await db.write(lambda _: None)
    row = await _row(db)

    assert (first, row["status"], len(row["attempts"]), row["cost_usd"]) == (True, "ok", 2, "0.000001500")
    assert (ledger.lost, ledger.ignored) == (0, 1)


async def test_open_rows_are_the_requests_in_flight(ledger: Ledger, db: Database) -> None:
    """I1 at every step of a random interleaving, with a settlement for each exchange."""
    names = [f"r{n}" for n in range(40)]
    for name in names:
        await ledger.open(replace(EXCHANGE, id=name), replace(FIRST, exchange_id=name))
    left = len(names)
    for name in names[::2] + names[1::2]:
        await ledger.settle(replace(DONE, id=name), replace(SECOND_OK, exchange_id=name, number=1))
        left -= 1
        if left % 10 == 0:
            assert await _open_rows(db) == [left, left]


async def test_an_attempt_for_a_settled_exchange_is_refused(ledger: Ledger) -> None:
    await ledger.open(EXCHANGE, FIRST)
    await ledger.settle(DONE, replace(SECOND_OK, number=1))

    with pytest.raises(LedgerUnavailable, match="x1 is not open"):
        await ledger.open_attempt(SECOND)


async def test_what_one_row_may_hold_is_bounded(ledger: Ledger, db: Database) -> None:
    await ledger.open(EXCHANGE, FIRST)
    losses = tuple(Loss(f"f{n}", "dropped", "r") for n in range(1000))
    attempt = replace(SECOND_OK, number=1, error="\ud800" + "x" * 10_000, raw_usage={"x": "y" * 100_000})
    await ledger.settle(replace(DONE, losses=losses, error="z" * 10_000), attempt)
    row = await _row(db)

    assert (len(row["losses"]), row["losses"][-1]["reason"]) == (257, "744 more are not kept")
    assert (len(row["error"]), row["attempts"][0]["error"][:2], row["attempts"][0]["raw_usage"]) == (2000, "?x", None)


async def test_wherever_a_booking_is_cut_short_it_happens_whole_or_not_at_all(ledger: Ledger, db: Database) -> None:
    """SQLite is interrupted at its n-th step, for every n that a booking has."""
    steps = [0]

    def interrupt_at_zero() -> bool:
        steps[0] -= 1
        return steps[0] == 0

    async def booked(booking: Callable[[], Awaitable[object]], step: int) -> bool:
        steps[0] = step
        try:
            await booking()
        except LedgerUnavailable:
            return False
        return True

    await db.write(lambda connection: connection.set_progress_handler(interrupt_at_zero, 1))
    interrupted = 0
    for n in range(1, 200):
        exchange, first = replace(EXCHANGE, id=f"r{n}"), replace(FIRST, exchange_id=f"r{n}")
        done, ok = replace(DONE, id=f"r{n}"), replace(SECOND_OK, exchange_id=f"r{n}", number=1)
        opened = await booked(lambda e=exchange, a=first: ledger.open(e, a), n)
        row = await Accounts(db).exchange(exchange.id)
        assert opened == (row is not None)
        if not opened:
            interrupted += 1
            continue
        settled = await booked(lambda d=done, a=ok: ledger.settle(d, a), n)
        row = await _row(db, exchange.id)
        assert (row["status"], row["attempts"][0]["status"]) == (("ok", "ok") if settled else ("open", "open"))
        interrupted += not settled
        assert settled or await ledger.settle(done, ok)

    assert interrupted > 50
    assert await _open_rows(db) == [0, 0]


@pytest.mark.parametrize("mode", ["strict", "relaxed"])
async def test_a_settlement_that_the_disk_refused_is_made_after_the_next_write(db: Database, mode: str) -> None:
    """What it has cost is booked, and nothing stays reserved; the answer was withheld, where that is strict."""
    budget = Budget("all", "global", 10**12, window="total")
    await Budgets(db).put(budget)
    ledger = Ledger(db, mode=mode)
    await ledger.open(EXCHANGE, replace(FIRST, worst_nanousd=50, budgets=(budget,)))
    await _fill(db)
    large = SettledAttempt("x1", 1, "ok", 7, raw_usage={"much": "x" * 60_000})
    try:
        await ledger.settle(DONE, large)
    except LedgerUnavailable:
        assert mode == "strict"
    await db.write(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchall())
    open_still, lost = (await _row(db))["status"], ledger.lost
    await ledger.record(replace(EXCHANGE, id="x2"), replace(DONE, id="x2"))
    await db.write(lambda _: None)
    await db.write(lambda _: None)
    row, standing = await _row(db), (await Budgets(db).standings())[0]

    assert (open_still, lost) == ("open", int(mode == "relaxed"))
    assert (row["status"], row["cost_usd"]) == ("failed" if mode == "strict" else "ok", "0.000000007")
    assert (standing.spent_nanousd, standing.reserved_nanousd, ledger.lost) == (7, 0, 0)
