"""The slate: records that outlive the process, and ordinary exchanges that are booked by way of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.bookings import Answered, Given, OpenAttempt, OpenExchange, SettledExchange, form_of, given_form
from storage.db import Database
from storage.errors import LedgerUnavailable, StorageError
from storage.journal import Journal
from storage.ledger import NOTED_S, Ledger, Note
from storage.slate import PLACE_BYTES, Slate
from storage.spilled import GivenLines, NotedForm, answered_line, decode
from translators.losses import Loss

FORM = form_of(
    OpenExchange("", "openai_chat", route="r", key_id="k", team="t", organisation="o", tags={"a": "50% é"}),
    OpenAttempt("", 1, "openai", "gpt", key_index=1),
)
NOTED = NotedForm(FORM)
GIVEN = GivenLines(
    given_form(
        replace(FORM.opened, cache="hit", input_estimate=7),
        SettledExchange(
            "", "ok", target="openai/gpt", cache="hit", saved_nanousd=70, losses=(Loss("n", "dropped", "50% é"),),
            input_tokens=10, cached_input_tokens=4, output_tokens=5, reasoning_tokens=2,
        ),
    )
)  # fmt: skip


def answered(note: Note, **how: Any) -> Answered:
    return Answered(
        form=FORM,
        id=note.id,
        opened_us=note.opened_us,
        settled_us=note.opened_us + 5_000,
        input_estimate=note.input_estimate,
        http_status=200,
        input_tokens=10,
        cached_input_tokens=4,
        cache_write_tokens=0,
        output_tokens=5,
        reasoning_tokens=2,
        cost_nanousd=70,
        price_source="config",
        price_version="config #1",
        raw_usage=b'{"prompt_tokens":10}',
        latency_ms=5.04,
        first_event_ms=4.0,
    )._replace(**how)


def hit(name: str) -> Given:
    return Given(GIVEN.form, name, 1_795_226_400_000_000, 2.0625, 1.0625)


class World:
    """A ledger with a slate on a file."""

    def __init__(self, folder: Path, places: int = 4) -> None:
        self.path = folder / "ledger.db"
        self.places = places
        self.slate = Slate(folder / "ledger.db-slate", places=places)
        self.db = Database(self.path)
        self.ledger = Ledger(self.db, slate=self.slate)

    async def rows(self) -> list[dict[str, Any]]:
        def read(connection: Any) -> list[dict[str, Any]]:
            found = connection.execute("SELECT * FROM exchanges ORDER BY row").fetchall()
            attempts = connection.execute("SELECT * FROM attempts ORDER BY exchange, number").fetchall()
            return [
                {**dict(row), "attempts": [dict(each) for each in attempts if each["exchange"] == row["row"]]}
                for row in found
            ]

        return await self.db.read(read, fresh=True)

    def on_slate(self) -> dict[str, list[str]]:
        """What stands there: the kinds of bookings by exchange."""
        found: dict[str, list[str]] = {}
        for line in Slate(self.slate.path, places=self.places).open():
            booking = decode(line)
            found.setdefault(booking.exchange_id, []).append(booking.what)
        return {name: sorted(kinds) for name, kinds in found.items()}

    async def answer(self, note: Note, **how: Any) -> LedgerUnavailable | None:
        told: asyncio.Future[LedgerUnavailable | None] = asyncio.get_running_loop().create_future()
        self.ledger.answered(note, answered(note, **how), told.set_result)
        return await asyncio.wait_for(told, 10)

    async def give(self, name: str) -> LedgerUnavailable | None:
        told: asyncio.Future[LedgerUnavailable | None] = asyncio.get_running_loop().create_future()
        record = hit(name)
        booked = self.ledger.given(record, GIVEN.line(record), told.set_result)
        assert booked is not None
        return None if booked else await asyncio.wait_for(told, 10)

    def note(self, name: str) -> Note:
        note = self.ledger.note(NOTED, name, 7)
        assert note is not None
        return note


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    async with made.db:
        await made.ledger.recover(lambda *_: 1)
        yield made
        await made.ledger.close()


def test_records_outlive_their_process(tmp_path: Path) -> None:
    first = Slate(tmp_path / "s", places=3)
    assert first.open() == []
    assert first.put(b"one") is not None
    gone = first.put(b"two")
    assert gone is not None
    first.put(b"three")
    first.wipe(gone)

    second = Slate(tmp_path / "s", places=3)

    assert sorted(second.open()) == [b"one", b"three"]
    assert second.put(b"four") is None, "what is left is not written over"
    second.clear()
    assert second.put(b"four") is not None
    assert Slate(tmp_path / "s", places=3).open() == [b"four"]


def test_a_slate_takes_what_has_room(tmp_path: Path) -> None:
    slate = Slate(tmp_path / "s", places=1)
    slate.open()

    assert slate.put(b"x" * (PLACE_BYTES - 7)) is None
    place = slate.put(b"x" * (PLACE_BYTES - 8))
    assert place is not None
    assert slate.put(b"y") is None
    slate.wipe(place)
    assert slate.put(b"y") == place


def test_a_record_that_was_not_written_whole_is_none(tmp_path: Path) -> None:
    slate = Slate(tmp_path / "s", places=2)
    slate.open()
    slate.put(b"whole")
    slate.put(b"torn apart")
    content = (tmp_path / "s").read_bytes()
    (tmp_path / "s").write_bytes(content.replace(b"torn apart", b"torn a\0\0\0\0"))

    assert Slate(tmp_path / "s", places=2).open() == [b"whole"]


def test_a_slate_with_nothing_on_it_leaves_no_file(tmp_path: Path) -> None:
    slate = Slate(tmp_path / "s")
    slate.open()
    place = slate.put(b"x")
    assert place is not None
    slate.wipe(place)
    slate.close()

    assert not (tmp_path / "s").exists()


def test_no_file_no_place(tmp_path: Path) -> None:
    slate = Slate(tmp_path / "missing" / "s")

    assert slate.open() == []
    assert slate.put(b"x") is None
    slate.close()


def test_a_line_says_what_the_booking_says() -> None:
    booking = decode(NOTED.line("req_1", 123, 7))

    assert (booking.what, booking.exchange_id, booking.at_us) == ("open", "req_1", 123)
    assert booking.opened == OpenExchange(
        "req_1", "openai_chat", route="r", key_id="k", team="t", organisation="o", tags={"a": "50% é"}, input_estimate=7
    )
    assert booking.leaving == OpenAttempt("req_1", 1, "openai", "gpt", key_index=1)


async def test_an_answer_is_booked_whole(world: World) -> None:
    note = world.note("x1")
    assert await world.rows() == []

    assert await world.answer(note) is None

    (row,) = await world.rows()
    assert row | {"attempts": 0} == row | {
        "id": "x1", "status": "ok", "key_id": "k", "team": "t", "organisation": "o", "tags": '{"a":"50% é"}',
        "route": "r", "target": "openai/gpt", "stream": 0, "attempts": 0, "cache": "bypass", "input_tokens": 10,
        "cached_input_tokens": 4, "output_tokens": 5, "reasoning_tokens": 2, "cost_nanousd": 70, "latency_ms": 5.0,
        "first_event_ms": 4.0, "losses": "[]", "error": None, "estimated": 0, "input_estimate": 7,
        "saved_nanousd": 0, "opened_us": note.opened_us, "settled_us": note.opened_us + 5000,
    }  # fmt: skip
    (attempt,) = row["attempts"]
    assert attempt == attempt | {
        "number": 1, "provider": "openai", "model": "gpt", "key_index": 1, "status": "ok", "http_status": 200,
        "input_tokens": 10, "cost_nanousd": 70, "price_version": "config #1", "raw_usage": '{"prompt_tokens":10}',
    }  # fmt: skip
    assert (note.place, note.settled_place) == (None, None)


async def test_what_is_booked_together_is_what_is_booked_one_by_one(world: World) -> None:
    """Through the slate or as open and settle: the same rows."""
    notes = [world.note(f"x{number}") for number in range(4)]
    await asyncio.gather(*(world.answer(note) for note in notes))
    booking = answered(notes[0]).booking()
    assert booking.opened is not None
    assert booking.leaving is not None
    assert booking.settled is not None
    await world.ledger.open(replace(booking.opened, id="y"), replace(booking.leaving, exchange_id="y"))
    await world.ledger.settle(replace(booking.settled, id="y"), replace(booking.ended[0], exchange_id="y"))

    *together, alone = await world.rows()
    varying = {"row", "id", "opened_us", "settled_us", "attempts"}
    timed = {"exchange", "started_us", "ended_us"}
    for row in together:
        assert without(row, varying) == without(alone, varying)
        assert without(row["attempts"][0], timed) == without(alone["attempts"][0], timed)
    assert [row["id"] for row in together] == ["x0", "x1", "x2", "x3"]


def without(row: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


async def test_more_than_one_statement_takes(tmp_path: Path) -> None:
    made = World(tmp_path)
    made.slate = Slate(None, places=200)
    async with made.db:
        made.ledger = Ledger(made.db, slate=made.slate)
        await made.ledger.recover(lambda *_: 1)
        await asyncio.gather(*(made.answer(made.note(f"x{number}")) for number in range(151)))

        rows = await made.rows()
        assert sorted(row["id"] for row in rows) == sorted(f"x{number}" for number in range(151))
        assert {len(row["attempts"]) for row in rows} == {1}


async def test_what_takes_its_time_becomes_an_open_row(world: World) -> None:
    note = world.note("x1")

    async with asyncio.timeout(20 * NOTED_S + 10):
        while note.place is not None:
            await asyncio.sleep(0.01)

    (row,) = await world.rows()
    assert (row["status"], row["attempts"][0]["status"]) == ("open", "open")
    assert await world.answer(note) is None
    (row,) = await world.rows()
    assert (row["status"], row["cost_nanousd"], row["attempts"][0]["status"]) == ("ok", 70, "ok")


async def test_what_was_under_way_when_the_process_died_is_interrupted(tmp_path: Path) -> None:
    dead = World(tmp_path)
    async with dead.db:
        await dead.ledger.recover(lambda *_: 1)
        await dead.answer(dead.note("done"))
        line = NOTED.line("under-way", 123, 7)
        dead.slate.put(line)
        dead.slate.put(NOTED.line("done", 5, 7))  # it was booked, and not wiped any more
    again = World(tmp_path)
    async with again.db:
        assert await again.ledger.recover(lambda *_: 33) == 1

        rows = {row["id"]: row for row in await again.rows()}
        assert (rows["under-way"]["status"], rows["under-way"]["cost_nanousd"]) == ("interrupted", 33)
        assert rows["under-way"]["attempts"][0]["status"] == "interrupted"
        assert (rows["done"]["status"], len(rows)) == ("ok", 2)
        assert again.ledger.note(NOTED, "next", 1) is not None


async def test_without_room_on_the_slate_nothing_is_noted(world: World) -> None:
    notes = [world.note(f"x{number}") for number in range(4)]

    assert world.ledger.note(NOTED, "x4", 1) is None
    await world.answer(notes[0])
    assert world.ledger.note(NOTED, "x4", 1) is not None


async def test_what_the_database_does_not_take_stays_on_the_slate(world: World) -> None:
    """Its answer may go out: it is booked when writing works again, or at the next start."""
    note = world.note("x1")
    await world.db.write(lambda connection: connection.execute("ALTER TABLE attempts RENAME TO hidden"))

    assert await world.answer(note) is None
    await world.db.write(lambda _: None)
    assert world.on_slate() == {"x1": ["open", "settle"]}
    assert world.ledger.note(NOTED, "x2", 1) is None, "nobody else is asked before writing works again"

    await world.db.write(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO attempts"))
    await world.ledger.open(replace(FORM.opened, id="x2"), replace(FORM.leaving, exchange_id="x2"))
    await world.db.write(lambda _: None)
    rows = {row["id"]: row for row in await world.rows()}
    assert (rows["x1"]["status"], rows["x1"]["cost_nanousd"], rows["x2"]["status"]) == ("ok", 70, "open")
    assert world.on_slate() == {}


async def test_an_answer_that_has_no_room_on_the_slate_waits_for_the_commit(world: World) -> None:
    """And is withheld where there is none; then it is booked later, as what it came to."""
    notes = [world.note(f"x{number}") for number in range(4)]
    assert await world.answer(notes[0]) is None
    assert {row["id"] for row in await world.rows()} == {"x0"}
    full = [world.note("x4"), *notes[1:]]
    await world.db.write(lambda connection: connection.execute("ALTER TABLE attempts RENAME TO hidden"))

    told = await world.answer(full[0])

    assert isinstance(told, LedgerUnavailable)
    assert full[0].place is not None
    await world.db.write(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO attempts"))
    assert await world.answer(full[1]) is None
    await world.ledger.open(replace(FORM.opened, id="y"), replace(FORM.leaving, exchange_id="y"))
    await world.db.write(lambda _: None)
    rows = {row["id"]: (row["status"], row["cost_nanousd"]) for row in await world.rows()}
    assert rows == {"x0": ("ok", 70), "x1": ("ok", 70), "x4": ("failed", 70), "y": ("open", None)}
    assert full[0].place is None


async def test_an_answer_that_stood_on_the_slate_alone_is_booked_at_the_next_start(tmp_path: Path) -> None:
    """As what it was: it has been sent."""
    dead = World(tmp_path)
    async with dead.db:
        await dead.ledger.recover(lambda *_: 1)
        note = dead.note("sent")
        dead.slate.put(answered_line(answered(note, price_version='a "b"', raw_usage='{"text":"é %s"}'.encode())))
    again = World(tmp_path)
    async with again.db:
        assert await again.ledger.recover(lambda *_: 33) == 0

        (row,) = await again.rows()
        assert (row["status"], row["cost_nanousd"], row["settled_us"]) == ("ok", 70, note.opened_us + 5000)
        (attempt,) = row["attempts"]
        assert (attempt["status"], attempt["price_version"]) == ("ok", 'a "b"')
        assert attempt["raw_usage"] == '{"text":"é %s"}'


async def test_the_line_of_an_answer_says_what_its_booking_says(world: World) -> None:
    made = answered(world.note("x1"))
    said, booking = decode(answered_line(made)), made.booking()

    assert (said.what, said.exchange_id, said.at_us) == ("settle", "x1", made.settled_us)
    assert (said.ended, said.settled) == (booking.ended, booking.settled)


async def test_what_another_version_wrote_is_kept_and_the_rest_is_booked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead = World(tmp_path)
    async with dead.db:
        await dead.ledger.recover(lambda *_: 1)
        line = NOTED.line("known", 123, 7)
        dead.slate.put(line)
        dead.slate.put(line.replace(b'"what":"open"', b'"what":"opex"'))
        dead.slate.put(line.replace(b'"dialect"', b'"dialogue"'))
    again = World(tmp_path)
    async with again.db:
        assert await again.ledger.recover(lambda *_: 33) == 1
        assert [row["id"] for row in await again.rows()] == ["known"]
        await again.ledger.close()

    assert "2 bookings on the slate are of another version" in caplog.text
    assert len(Slate(tmp_path / "ledger.db-slate.unread", places=4).open()) == 3


async def test_the_slate_is_gone_before_the_database_is_let_go(tmp_path: Path) -> None:
    """The next process makes one of its own; removed later, that would be a file without a name."""
    made = World(tmp_path)
    async with made.db:
        await made.ledger.recover(lambda *_: 1)
        assert await made.answer(made.note("x1")) is None
        open_note = made.note("x2")

        await made.ledger.close()

        assert not (tmp_path / "ledger.db-slate").exists()
        assert open_note.place is None
        assert {row["id"]: row["status"] for row in await made.rows()} == {"x1": "ok", "x2": "open"}
        assert made.ledger.note(NOTED, "x3", 1) is None


async def test_a_relaxed_ledger_notes_as_long_as_the_disk_takes_it(tmp_path: Path) -> None:
    """What it does not take goes from the slate into the journal, where all that comes after it goes, too."""
    made = World(tmp_path, 16)
    journal = Journal(tmp_path / "ledger.db-spill")
    await journal.open()
    async with made.db:
        made.ledger = Ledger(made.db, mode="relaxed", slate=made.slate, journal=journal)
        await made.ledger.recover(lambda *_: 1)
        assert await made.answer(made.note("x0")) is None
        await made.db.write(lambda connection: connection.execute("ALTER TABLE attempts RENAME TO hidden"))
        assert await made.answer(made.note("x1")) is None
        await made.db.write(lambda _: None)

        assert journal.waiting == 2, "its opening and its settling"
        await journal.lines()
        await asyncio.sleep(0)
        assert made.on_slate() == {}
        assert made.ledger.note(NOTED, "x2", 1) is None
        await made.db.write(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO attempts"))
        await made.ledger.catch_up()

        assert {row["id"]: row["status"] for row in await made.rows()} == {"x0": "ok", "x1": "ok"}
        assert made.ledger.lost == 0
        assert made.ledger.note(NOTED, "x2", 1) is not None
        await made.ledger.close()
    await journal.close()


async def test_what_goes_into_the_journal_stays_on_the_slate_until_it_is_there(tmp_path: Path) -> None:
    """A process that is killed in between loses nothing."""
    made = World(tmp_path, 16)
    journal, asked = Journal(tmp_path / "ledger.db-spill"), list[Callable[[StorageError | None], None]]()
    await journal.open()
    journal.append = lambda _, told: asked.append(told)  # type: ignore[method-assign]  # a disk that takes its time
    async with made.db:
        made.ledger = Ledger(made.db, mode="relaxed", slate=made.slate, journal=journal)
        await made.ledger.recover(lambda *_: 1)
        await made.db.write(lambda connection: connection.execute("ALTER TABLE attempts RENAME TO hidden"))
        assert await made.answer(made.note("x1")) is None
        await made.db.write(lambda _: None)

        assert made.on_slate() == {"x1": ["open", "settle"]}
        opening, settling = asked
        opening(None)
        assert made.on_slate() == {"x1": ["open", "settle"]}
        settling(None)
        assert made.on_slate() == {}
    await journal.close()


async def test_a_relaxed_ledger_waits_for_nobody(tmp_path: Path) -> None:
    """Where the slate has no room the answer goes out all the same; what cannot be written goes into the journal."""
    made = World(tmp_path, 1)
    journal = Journal(tmp_path / "ledger.db-spill")
    await journal.open()
    async with made.db:
        made.ledger = Ledger(made.db, mode="relaxed", slate=made.slate, journal=journal)
        await made.ledger.recover(lambda *_: 1)
        await made.db.write(lambda connection: connection.execute("ALTER TABLE attempts RENAME TO hidden"))
        note = made.note("x1")
        told: list[object] = []
        made.ledger.answered(note, answered(note), told.append)
        assert told == [None]
        await made.db.write(lambda _: None)
        await made.db.write(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO attempts"))
        await made.ledger.catch_up()

        assert {row["id"]: row["status"] for row in await made.rows()} == {"x1": "ok"}
        assert note.place is None
        await made.ledger.close()
    await journal.close()


@pytest.mark.parametrize(
    ("is_killed", "length", "missing"),
    [(True, None, 4096), (True, 100, 3996), (True, 4096, None), (False, None, None)],
    ids=["removed", "cut short", "whole", "a clean stop"],
)
async def test_what_is_missing_of_a_dead_process_slate_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_killed: bool, length: int | None, missing: int | None
) -> None:
    world = World(tmp_path)
    (tmp_path / "ledger.db").touch()
    if is_killed:
        (tmp_path / "ledger.db.pid").write_text("1 elsewhere\n", "utf-8")  # which a clean stop removes
    if length is not None:
        (tmp_path / "ledger.db-slate").write_bytes(bytes(length))

    async with world.db:
        await world.ledger.recover(lambda *_: 1)
        await world.ledger.close()

    told = [record.getMessage() for record in caplog.records if "slate" in record.getMessage()]
    assert [f"{missing} bytes are missing" in each for each in told] == ([True] if missing else [])


# --- what asks nobody --------------------------------------------------------------------------------


def test_the_line_of_a_record_says_what_its_booking_says() -> None:
    said, booking = decode(GIVEN.line(hit("x1"))), hit("x1").booking()

    assert (said.what, said.exchange_id, said.at_us) == ("record", "x1", hit("x1").settled_us)
    assert said.opened == booking.opened
    assert said.settled == replace(booking.settled or SettledExchange("", "ok"), latency_ms=2.062, first_event_ms=1.062)


async def test_what_is_given_is_one_row(world: World) -> None:
    """On the slate at once, as a row a moment later; the same as by way of `record`."""
    record = hit("x1")
    assert world.ledger.given(record, GIVEN.line(record), print)
    assert world.on_slate() == {"x1": ["record"]}
    booking = hit("x2").booking()
    assert booking.opened is not None
    assert booking.settled is not None
    await world.ledger.record(booking.opened, booking.settled)
    await world.db.write(lambda _: None)

    first, second = await world.rows()
    assert first | {"attempts": 0} == first | {
        "id": "x1", "status": "ok", "key_id": "k", "team": "t", "organisation": "o", "tags": '{"a":"50% é"}',
        "dialect": "openai_chat", "route": "r", "target": "openai/gpt", "stream": 0, "attempts": 0, "cache": "hit",
        "input_tokens": 10, "cached_input_tokens": 4, "cache_write_tokens": 0, "output_tokens": 5,
        "reasoning_tokens": 2, "cost_nanousd": 0, "saved_nanousd": 70, "latency_ms": 2.1, "first_event_ms": 1.1,
        "losses": '[{"field":"n","action":"dropped","reason":"50% é"}]', "error": None, "estimated": 0,
        "input_estimate": 7, "client_request_id": None,
        "opened_us": record.settled_us - 2062, "settled_us": record.settled_us,
    }  # fmt: skip
    varying = {"row", "id", "opened_us", "settled_us"}
    assert without(first, varying) == without(second, varying)
    assert world.on_slate() == {}


async def test_what_is_given_is_written_beside_what_was_asked(world: World) -> None:
    notes = [world.note(f"asked{number}") for number in range(2)]
    waiting = [world.answer(notes[0]), world.give("hit0"), world.answer(notes[1]), world.give("hit1")]

    assert await asyncio.gather(*waiting) == [None] * 4
    rows = {row["id"]: (row["status"], row["cache"], len(row["attempts"])) for row in await world.rows()}
    asked, given = ("ok", "bypass", 1), ("ok", "hit", 0)
    assert rows == {"asked0": asked, "hit0": given, "asked1": asked, "hit1": given}


@pytest.mark.parametrize("is_row", [False, True], ids=["on the slate alone", "in the database, too"])
async def test_what_was_given_when_the_process_died_is_one_row(tmp_path: Path, is_row: bool) -> None:
    dead = World(tmp_path)
    async with dead.db:
        await dead.ledger.recover(lambda *_: 1)
        if is_row:
            await dead.give("x1")
            await dead.db.write(lambda _: None)
        dead.slate.put(GIVEN.line(hit("x1")))
    again = World(tmp_path)
    async with again.db:
        assert await again.ledger.recover(lambda *_: 33) == 0

        (row,) = await again.rows()
        assert (row["id"], row["status"], row["saved_nanousd"], row["settled_us"]) == (
            "x1",
            "ok",
            70,
            hit("").settled_us,
        )


async def test_what_is_given_stays_on_the_slate_until_the_database_takes_it(world: World) -> None:
    await world.db.write(lambda connection: connection.execute("ALTER TABLE exchanges RENAME TO hidden"))
    assert [await world.give("x1"), await world.give("x2")] == [None, None]
    await world.db.write(lambda _: None)

    assert world.on_slate() == {"x1": ["record"], "x2": ["record"]}
    assert world.ledger.given(hit("x3"), GIVEN.line(hit("x3")), print) is None, "not before writing works again"
    await world.db.write(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO exchanges"))
    await world.ledger.open(replace(FORM.opened, id="y"))
    await world.db.write(lambda _: None)
    assert {row["id"]: row["status"] for row in await world.rows()} == {"x1": "ok", "x2": "ok", "y": "open"}
    assert world.on_slate() == {}


async def test_what_has_no_room_on_the_slate_waits_for_the_commit(world: World) -> None:
    """And is withheld where there is none: nothing was spent, so nothing is booked."""
    for number in range(4):
        world.note(f"x{number}")
    assert await world.give("taken") is None
    await world.db.write(lambda connection: connection.execute("ALTER TABLE exchanges RENAME TO hidden"))

    told = await world.give("withheld")

    assert isinstance(told, LedgerUnavailable)
    await world.db.write(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO exchanges"))
    assert [row["id"] for row in await world.rows()] == ["taken"]


async def test_a_disk_that_does_not_answer_withholds_what_has_no_room(tmp_path: Path) -> None:
    made, go_on = World(tmp_path), threading.Event()
    made.ledger = Ledger(made.db, slate=Slate(None, places=0), deadline_s=0.01)
    async with made.db:
        await made.ledger.recover(lambda *_: 1)
        made.db.post(lambda _: go_on.wait(30))

        told = await made.give("late")

        go_on.set()
        assert isinstance(told, LedgerUnavailable)
        assert "no commit within 0.01 s" in str(told)
        await made.ledger.close()


async def test_a_relaxed_ledger_puts_into_the_journal_what_the_database_does_not_take(tmp_path: Path) -> None:
    made = World(tmp_path)
    journal = Journal(tmp_path / "ledger.db-spill")
    await journal.open()
    async with made.db:
        made.ledger = Ledger(made.db, mode="relaxed", slate=made.slate, journal=journal)
        await made.ledger.recover(lambda *_: 1)
        await made.db.write(lambda connection: connection.execute("ALTER TABLE exchanges RENAME TO hidden"))
        assert await made.give("x1") is None
        await made.db.write(lambda _: None)
        await journal.lines()
        await asyncio.sleep(0)

        assert (journal.waiting, made.on_slate()) == (1, {})
        await made.db.write(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO exchanges"))
        await made.ledger.catch_up()
        assert {row["id"]: row["status"] for row in await made.rows()} == {"x1": "ok"}
        await made.ledger.close()
    await journal.close()
