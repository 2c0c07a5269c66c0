"""What becomes of bookings whose caller has gone, and of those that were to be booked together with a bad one."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from storage.accounts import Accounts
from storage.db import Database
from storage.errors import LedgerUnavailable
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from tests.storage.test_slate import World, world  # noqa: F401  a fixture

EXCHANGE = OpenExchange("x1", "openai_chat", input_estimate=50)
FIRST = OpenAttempt("x1", 1, "p", "m")
SECOND = OpenAttempt("x1", 2, "q", "m")
WHY = "gone before it was sent"


async def row_of(db: Database) -> dict[str, Any]:
    row = await Accounts(db).exchange("x1")
    assert row is not None
    return row


async def cancelled_while(db: Database, booking: Any) -> None:
    """Begin with *booking* while the writer is busy, and give it up."""
    gate, held = threading.Event(), threading.Event()

    def hold(_connection: Any) -> None:
        held.set()
        gate.wait(20)

    holding = asyncio.create_task(db.write(hold))
    await asyncio.to_thread(held.wait, 20)
    task = asyncio.create_task(booking)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    gate.set()
    await holding
    await db.write(lambda _: None)
    assert task.cancelled()


async def test_an_exchange_that_was_given_up_while_it_was_opened_says_why(ledger: Ledger, db: Database) -> None:
    await cancelled_while(db, ledger.open(EXCHANGE, FIRST))

    row = await row_of(db)
    assert (row["status"], row["error"], row["cost_usd"]) == ("aborted", WHY, "0.000000000")
    assert [(each["status"], each["error"]) for each in row["attempts"]] == [("aborted", WHY)]


async def test_an_exchange_without_an_attempt_is_given_up_as_well(ledger: Ledger, db: Database) -> None:
    await cancelled_while(db, ledger.open(EXCHANGE))

    row = await row_of(db)
    assert (row["status"], row["error"], row["attempts"]) == ("aborted", WHY, [])


async def test_an_attempt_that_was_given_up_while_it_was_opened_leaves_its_exchange_open(
    ledger: Ledger, db: Database
) -> None:
    """The one before it is closed all the same, and another one may follow."""
    await ledger.open(EXCHANGE, FIRST)
    await cancelled_while(db, ledger.open_attempt(SECOND, SettledAttempt("x1", 1, "failed", 7)))
    given_up = await row_of(db)
    await ledger.open_attempt(replace(SECOND, number=3))
    await ledger.settle(SettledExchange("x1", "ok"), SettledAttempt("x1", 3, "ok", 5))

    assert given_up["status"] == "open"
    assert [(each["status"], each["cost_usd"], each["error"]) for each in given_up["attempts"]] == [
        ("failed", "0.000000007", None),
        ("aborted", "0.000000000", WHY),
    ]
    row = await row_of(db)
    assert (row["status"], row["cost_usd"], len(row["attempts"])) == ("ok", "0.000000012", 3)


@pytest.mark.parametrize(("status", "booked"), [("ok", "failed"), ("aborted", "aborted"), ("failed", "failed")])
async def test_what_could_not_be_booked_in_time_is_booked_as_what_its_client_got(
    ledger: Ledger, db: Database, status: Any, booked: str
) -> None:
    """An answer was withheld, of which its row says why; what had failed before says what it said."""
    await ledger.open(EXCHANGE, FIRST)
    await db.write(lambda connection: connection.execute("ALTER TABLE attempts RENAME TO hidden"))
    with pytest.raises(LedgerUnavailable):
        await ledger.settle(SettledExchange("x1", status, error="own words"), SettledAttempt("x1", 1, "ok", 5))
    await db.write(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO attempts"))
    await ledger.open(replace(EXCHANGE, id="x2"), replace(FIRST, exchange_id="x2"))
    await db.write(lambda _: None)

    row = await row_of(db)
    assert (row["status"], row["cost_usd"]) == (booked, "0.000000005")
    if status == "ok":
        assert row["error"].startswith("the ledger cannot be written: ")
    else:
        assert row["error"] == "own words"


async def test_what_was_noted_and_never_sent_is_forgotten(world: World) -> None:  # noqa: F811  the fixture
    notes = [world.note(f"x{number}") for number in range(world.places)]
    before = set(world.on_slate())
    for note in (notes[0], notes[1], notes[1]):
        world.ledger.forget(note)

    assert before == {"x0", "x1", "x2", "x3"}
    assert set(world.on_slate()) == {"x2", "x3"}
    assert world.note("x4").place is not None
    await world.db.write(lambda _: None)
    assert await world.rows() == []


async def test_of_answers_that_are_booked_together_a_bad_one_spoils_no_other(world: World) -> None:  # noqa: F811
    """One has the name of a row that is there already: it cannot be a row of its own."""
    await world.ledger.open(OpenExchange("x1", "gemini"), OpenAttempt("x1", 1, "other", "m"))
    notes = [world.note(f"x{number}") for number in range(3)]

    await asyncio.gather(*(world.answer(note) for note in notes))
    await world.db.write(lambda _: None)
    await world.db.write(lambda _: None)

    rows = {row["id"]: (row["dialect"], row["status"], row["cost_nanousd"]) for row in await world.rows()}
    assert {name: rows[name] for name in ("x0", "x2")} == dict.fromkeys(("x0", "x2"), ("openai_chat", "ok", 70))
    assert rows["x1"][0] == "gemini"
    assert not {"x0", "x2"} & set(world.on_slate())
