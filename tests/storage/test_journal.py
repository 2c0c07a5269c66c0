"""What the database does not take waits in the journal, over a kill too, and is booked once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from storage.accounts import Accounts
from storage.bookings import Booking, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange, perform
from storage.budgets import Budget, Budgets
from storage.db import Database
from storage.errors import Conflict, StorageError
from storage.journal import Journal
from storage.ledger import Ledger
from storage.spilled import decode, encode
from tests.storage.test_crash import CHILD, ENVIRONMENT
from translators.losses import Loss

BUDGET = Budget("all", "global", 10**12, window="total", alerts=(50, 100))
BOOKING = Booking(
    "settle", "x", 17,
    opened=OpenExchange("x", "gemini", tags={"a": "ü\ud800"}, input_estimate=3),
    leaving=OpenAttempt("x", 1, "p", "m", key_index=2, worst_nanousd=9, budgets=(BUDGET,)),
    ended=(SettledAttempt("x", 1, "ok", None, error="\udc80", raw_usage={"total": 10**30, "deep": [{"n": 1.5}]}),),
    settled=SettledExchange("x", "ok", losses=(Loss("top_k", "dropped", "no such field"),)),
)  # fmt: skip


@asynccontextmanager
async def _opened(path: Path, **options: Any) -> AsyncIterator[Journal]:
    journal = Journal(path, **options)
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


async def _append(journal: Journal, *lines: bytes) -> list[str]:
    """What each was told, empty where it worked."""
    told: list[str] = []
    for line in lines:
        journal.append(line, lambda error: told.append(str(error or "")))
    await journal.lines()
    return told


def _leave(path: Path, content: bytes) -> None:
    """The file as a process that died has left it."""
    path.write_bytes(content)


async def test_lines_outlive_the_process_until_they_are_cleared(tmp_path: Path) -> None:
    path = tmp_path / "spill"
    async with _opened(path) as journal:
        told = await _append(journal, b"one", b"two")
    async with _opened(path) as journal:
        left = journal.waiting, await journal.lines()
        early, cleared = await journal.clear(1), await journal.clear(2)
        await _append(journal, b"three")
        after = await journal.lines()
        await journal.clear(1)

    assert told == ["", ""]
    assert left == (2, [b"one", b"two"])
    assert (early, cleared, after) == (False, True, [b"three"])
    assert not path.exists(), "nothing waits, nothing stays"


@pytest.mark.parametrize("cut", [1, 9, 12, 14])
async def test_a_line_that_was_not_written_whole_is_left_out(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "spill"
    async with _opened(path) as journal:
        await _append(journal, b"first", b"second")
        whole = path.read_bytes().rstrip(b"\0")
        _leave(path, whole[:-cut] + bytes(50))
    async with _opened(path) as journal:
        found = await journal.lines()
        await _append(journal, b"3")
        after = await journal.lines()

    assert (found, after) == ([b"first"], [b"first", b"3"])


async def test_what_was_cleared_or_left_out_never_comes_back(tmp_path: Path) -> None:
    """A line that is written later ends just where an older one begins."""
    path, left = tmp_path / "spill", tmp_path / "left"
    async with _opened(path) as journal:
        await _append(journal, b"one", b"two")
        torn = path.read_bytes().replace(b"one", b"o-e")
        await journal.clear(2)
        await _append(journal, b"six")
        _leave(left, path.read_bytes())
    async with _opened(left) as journal:
        after_clearing = await journal.lines()
    _leave(left, torn)
    async with _opened(left) as journal:
        await _append(journal, b"six")
        _leave(path, left.read_bytes())
    async with _opened(path) as journal:
        after_leaving_out = await journal.lines()

    assert (after_clearing, after_leaving_out) == ([b"six"], [b"six"])


async def test_a_changed_line_ends_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "spill"
    async with _opened(path) as journal:
        await _append(journal, b"first", b"second", b"third")
        _leave(path, path.read_bytes().replace(b"second", b"sec0nd"))
    async with _opened(path) as journal:
        assert await journal.lines() == [b"first"]


async def test_it_takes_no_more_than_its_bound_and_says_so(tmp_path: Path) -> None:
    async with _opened(tmp_path / "spill", max_bytes=64) as journal:
        told = await _append(journal, b"x" * 40, b"y" * 40, b"z")
        lines = await journal.lines()

    assert [bool(each) for each in told] == [True, False, False]
    assert "may hold no more" in told[0]
    assert lines == [b"x" * 40, b"z"]


async def test_room_is_reserved_before_the_disk_is_full(tmp_path: Path) -> None:
    async with _opened(tmp_path / "spill", max_bytes=1 << 20):
        assert (tmp_path / "spill").stat().st_blocks * 512 >= 1 << 20


async def test_a_file_that_cannot_be_opened_takes_nothing_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "spill").mkdir()
    async with _opened(tmp_path / "spill") as journal:
        told = await _append(journal, b"x")

    assert "spill" in told[0]
    assert (journal.waiting, journal.is_open) == (0, False)


def test_a_booking_comes_back_as_it_was() -> None:
    assert decode(encode(BOOKING)) == BOOKING._replace(is_late=True)


@pytest.mark.parametrize("line", [b"{}", b'{"what":"open","exchange_id":"x","at_us":1}', b"[]", b"nonsense"])
def test_a_line_of_another_version_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"this version does not know|Expecting value"):
        decode(line)


# --- with the ledger ---------------------------------------------------------------------------------------


@pytest.fixture
async def relaxed(db: Database, clock: Callable[[], float]) -> AsyncIterator[Ledger]:
    async with _opened(db.path.with_name("spill")) as journal:
        ledger = Ledger(db, mode="relaxed", journal=journal, now=clock)
        yield ledger
        await ledger.close()


async def _protect(db: Database) -> None:
    await db.write(lambda connection: connection.execute("PRAGMA query_only = ON").fetchall())


def _free(db: Database) -> None:
    assert db._writer is not None  # no transaction can begin in which it could be said
    db._writer._connection.execute("PRAGMA query_only = OFF")


async def _decided(db: Database) -> None:
    """What was handed over before is written or refused, and whoever handed it over has been told."""
    with suppress(StorageError):
        await db.write(lambda _: None)


async def _caught_up(ledger: Ledger, db: Database) -> None:
    """The disk takes what is written, and a booking shows it."""
    _free(db)
    await ledger.record(replace(OPENED, id="last"), SettledExchange("last", "ok"))
    await _decided(db)
    await ledger.close()


OPENED = OpenExchange("x1", "openai_chat", route="r", tags={"team": "a"}, input_estimate=50)
FIRST = OpenAttempt("x1", 1, "a", "m")
SECOND = OpenAttempt("x1", 2, "b", "m")
FAILED = SettledAttempt("x1", 1, "failed", 0, http_status=529, error_kind="overloaded", error="busy")
OK = SettledAttempt("x1", 2, "ok", 1500, input_tokens=40, output_tokens=9, raw_usage={"prompt_tokens": 40})
DONE = SettledExchange("x1", "ok", latency_ms=900.0, losses=(Loss("top_k", "dropped", "no such field"),))

STEPS: list[Callable[[Ledger], Any]] = [
    lambda ledger: ledger.open(OPENED, FIRST),
    lambda ledger: ledger.open_attempt(SECOND, closing=FAILED),
    lambda ledger: ledger.settle(DONE, OK),
    lambda ledger: ledger.record(replace(OPENED, id="hit", cache="hit"), SettledExchange("hit", "ok", saved_nanousd=7)),
]


async def _rows(db: Database) -> list[Any]:
    return [await Accounts(db).exchange(name) for name in ("x1", "hit")]


@pytest.fixture
async def untroubled(tmp_path: Path, clock: Callable[[], float]) -> list[Any]:
    """The rows as they are where nothing goes wrong."""
    async with Database(tmp_path / "untroubled.db", now=clock) as db:
        ledger = Ledger(db, mode="relaxed", now=clock)
        for step in STEPS:
            await step(ledger)
        await _decided(db)
        return await _rows(db)


@pytest.mark.parametrize("first", range(len(STEPS)))
@pytest.mark.parametrize("last", range(len(STEPS)))
async def test_whatever_part_of_a_life_the_disk_refuses_is_booked_when_it_is_back(
    relaxed: Ledger, db: Database, untroubled: list[Any], first: int, last: int
) -> None:
    """The disk is in trouble from one step to another; the steps after it go to a disk that works again."""
    if last < first:
        return
    for number, step in enumerate(STEPS):
        if number == first:
            await _protect(db)
        await step(relaxed)
        if number == last:
            await _decided(db)
            _free(db)
    await _caught_up(relaxed, db)

    assert await _rows(db) == untroubled
    assert (relaxed.lost, relaxed.ignored) == (0, 0)
    assert relaxed.journal is not None
    assert relaxed.journal.waiting == 0


async def test_a_settlement_does_not_overtake_an_attempt_that_is_not_booked_yet(db: Database) -> None:
    """Where the attempt was refused and the settlement is not, because the disk came back between the two."""
    await Ledger(db).open(OPENED, FIRST)
    settlement = Booking("settle", "x1", 0, ended=(OK,), settled=DONE, in_order=True)
    with pytest.raises(Conflict, match="attempt 2 of exchange x1 is not booked yet"):
        await db.write(partial(perform, settlement))
    row = await Accounts(db).exchange("x1")

    assert row is not None
    assert [row["status"], *(attempt["status"] for attempt in row["attempts"])] == ["open", "open"]


async def test_an_exchange_is_not_closed_before_what_the_journal_has_of_it(relaxed: Ledger, db: Database) -> None:
    await relaxed.open(OPENED, FIRST)
    await _protect(db)
    await relaxed.open_attempt(SECOND, closing=FAILED)
    await _decided(db)
    _free(db)
    await relaxed.settle(DONE)
    await _caught_up(relaxed, db)
    row = await Accounts(db).exchange("x1")

    assert row is not None
    assert [attempt["status"] for attempt in row["attempts"]] == ["failed", "interrupted"]


async def test_a_budget_that_could_not_be_asked_counts_what_was_spent_meanwhile(relaxed: Ledger, db: Database) -> None:
    budget = replace(BUDGET, limit_nanousd=10)
    await Budgets(db).put(budget)
    await _protect(db)
    for name in ("x1", "x2"):
        opened, leaving = replace(OPENED, id=name), replace(FIRST, exchange_id=name, worst_nanousd=9, budgets=(budget,))
        await relaxed.open(opened, leaving)
        await relaxed.settle(replace(DONE, id=name), replace(OK, exchange_id=name, number=1, cost_nanousd=8))
    await _decided(db)
    await _caught_up(relaxed, db)
    (standing,) = await Budgets(db).standings()

    assert (standing.spent_nanousd, standing.reserved_nanousd, relaxed.lost) == (16, 0, 0)


async def test_what_the_journal_has_no_room_for_is_counted_as_lost(db: Database, clock: Callable[[], float]) -> None:
    async with _opened(db.path.with_name("spill"), max_bytes=800) as journal:
        ledger = Ledger(db, mode="relaxed", journal=journal, now=clock)
        await _protect(db)
        for step in STEPS[:3]:
            await step(ledger)
        await _decided(db)
        assert journal.waiting + ledger.lost == 3
        assert ledger.lost > 0


async def test_what_a_killed_process_had_in_the_journal_is_booked_at_the_next_start_and_never_twice(
    tmp_path: Path,
) -> None:
    """The child's disk refuses everything; it is killed while it books. The journal comes back once more afterwards."""
    path, spill = tmp_path / "modelport.db", tmp_path / "spill"
    with subprocess.Popen(
        [sys.executable, str(CHILD), "spill", str(path), str(spill)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        said = [child.stdout.readline().split() for _ in range(60)]
        child.send_signal(signal.SIGKILL)
        said += [line.split() for line in child.stdout.readlines() if line.endswith("\n")]
    left = spill.read_bytes()
    written = {name: int(cost) for name, cost in said}
    for _ in range(2):
        async with Database(path) as db, _opened(spill) as journal:
            ledger = Ledger(db, journal=journal)
            await ledger.recover(lambda provider, model, tokens: tokens * 100)
            rows = (await Accounts(db).exchanges(limit=1000))[0]
            total = (await Accounts(db).costs()).total
            (standing,) = await Budgets(db).standings()
            assert journal.waiting == 0
        booked = {row["id"]: row for row in rows}
        costs = {name: int(booked[name]["cost_usd"].replace(".", "")) for name in written}
        statuses = {row["status"] for row in rows}

        assert costs == written
        assert statuses <= {"ok", "interrupted"}
        assert (total.attempts, ledger.lost) == (len(rows), 0)
        assert (standing.spent_nanousd, standing.reserved_nanousd) == (total.cost_nanousd, 0)
        spill.write_bytes(left)
