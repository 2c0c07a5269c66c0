"""Whichever call of the store fails or is late: nobody hangs, nothing is charged twice, and nothing stays reserved.

A scenario of some exchanges against a budget is played once for each of its calls of SQLite (some 200), which fails,
in the way that full, broken or busy disks do, or takes longer than the ledger waits.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from storage.bookings import Answered, form_of
from storage.budgets import Budget, Budgets, OverBudget
from storage.db import Database
from storage.errors import LedgerUnavailable
from storage.journal import Journal
from storage.ledger import Ledger, Note, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from storage.slate import Slate
from storage.spilled import NotedForm
from tests.faulty import Faulty, broken, busy, full

CALLS = 200
ALL = Budget("all", "global", 10**12, window="total")
WORST, FIRST, SECOND = 1000, 300, 70
"""What an attempt may cost, and what first and second attempts do."""
NOTED = NotedForm(form_of(OpenExchange("", "d"), OpenAttempt("", 1, "p", "m")))
PATIENCE_S = 0.01


@dataclass
class Play:
    """One ledger, and what its callers were told: by exchange, whether it was opened, tried again and settled."""

    ledger: Ledger
    long: bool
    told: dict[str, str] = field(default_factory=dict)
    count: int = 0

    async def scenario(self) -> None:
        """One after the other, then several at once."""
        if self.long:
            for again in (False, True, True, False):
                await self.exchange(again=again)
        await asyncio.gather(*(self.exchange(again=again) for again in (True, False, True, False, True)))

    async def exchange(self, *, again: bool) -> None:
        self.count += 1
        name, said, number = f"x{self.count}", "", 1
        if not again and (note := self.ledger.note(NOTED, name, 10)) is not None:
            self.told[name] = await self._noted(note)
            return
        attempt = OpenAttempt(name, 1, "p", "m", worst_nanousd=WORST, budgets=(ALL,))
        try:
            await self.ledger.open(OpenExchange(name, "d", input_estimate=10), attempt)
            said = "opened"
            if again:
                second = OpenAttempt(name, 2, "q", "m", worst_nanousd=WORST, budgets=(ALL,))
                await self.ledger.open_attempt(second, SettledAttempt(name, 1, "failed", FIRST))
                said, number = "again", 2
            cost = SECOND if number == 2 else FIRST
            await self.ledger.settle(SettledExchange(name, "ok"), SettledAttempt(name, number, "ok", cost))
            said += " settled"
        except LedgerUnavailable as error:
            if said == "opened" and again:
                said = await self._give_up(name)
            elif said and isinstance(error.__cause__, TimeoutError):
                said += " late"  # it may be booked yet
        except OverBudget as over:
            raise AssertionError("there is room for all of them") from over
        self.told[name] = said

    async def _noted(self, note: Note) -> str:
        """One that was opened on the slate, and is answered."""
        told: asyncio.Future[LedgerUnavailable | None] = asyncio.get_running_loop().create_future()
        at_us = note.opened_us + 1000
        answered = Answered(
            NOTED.form, note.id, note.opened_us, at_us, 10, 200, 1, 0, 0, 1, 0, FIRST, None, None, b"{}", 1, 1
        )
        self.ledger.answered(note, answered, told.set_result)
        error = await told
        if error is None:
            return "opened settled"
        return "opened late" if "no commit within" in str(error) else "opened"

    async def _give_up(self, name: str) -> str:
        """As the proxy does when a further attempt cannot be booked: what was made is."""
        try:
            await self.ledger.settle(SettledExchange(name, "failed"), SettledAttempt(name, 1, "failed", FIRST))
        except LedgerUnavailable:
            return "given up, unsettled"
        return "given up"


@asynccontextmanager
async def _playing(folder: Path, mode: str, deadline_s: float) -> AsyncIterator[tuple[Play, Database, Faulty]]:
    journal = Journal(folder / "journal", max_bytes=1_000_000) if mode == "relaxed" else None
    async with Database(folder / "modelport.db") as db:
        await Budgets(db).put(ALL)
        assert db._writer is not None
        faulty = Faulty(db._writer._connection)
        db._writer._connection = faulty  # type: ignore[assignment]  # it stands in for it
        if journal is not None:
            await journal.open()
        slate = Slate(None)
        slate.open()
        ledger = Ledger(db, mode=mode, journal=journal, slate=slate, deadline_s=deadline_s)  # type: ignore[arg-type]
        yield Play(ledger, long=deadline_s > PATIENCE_S and mode == "strict"), db, faulty
        await ledger.close()
        slate.close()
        if journal is not None:
            await journal.close()


async def _at_rest(play: Play, db: Database) -> None:
    """Writes work again: what was late is booked with the next one that succeeds."""
    for _ in range(200):
        name = f"rest{play.count}"
        play.count += 1
        try:
            await play.ledger.record(OpenExchange(name, "d"), SettledExchange(name, "ok"))
        except LedgerUnavailable:  # it was still busy with the fault
            continue
        while db.pending:
            await asyncio.sleep(0)
        await play.ledger.catch_up()
        if not play.ledger._late and not db.pending:
            return
    raise AssertionError("never at rest")


_ROWS = """
SELECT e.id, e.status, e.cost_nanousd, count(a.number), ifnull(sum(a.cost_nanousd), 0)
FROM exchanges AS e LEFT JOIN attempts AS a ON a.exchange = e.row WHERE e.id GLOB 'x*' GROUP BY e.row"""
_MONEY = "SELECT ifnull(sum(spent_nanousd), 0), ifnull(sum(reserved_nanousd), 0) FROM budget_spending"
_COSTS = "SELECT ifnull(sum(cost_nanousd), 0) FROM attempts"
_NOT_CHARGED = """
SELECT ifnull(sum(cost_nanousd), 0) FROM attempts WHERE exchange NOT IN (SELECT exchange FROM charges)"""
"""What was noted belongs to no budget."""
_ALLOWED = {
    "": {None, ("aborted", 0)},
    "opened settled": {("ok", FIRST)},
    "again settled": {("ok", FIRST + SECOND)},
    "opened": {("failed", FIRST)},
    "again": {("failed", FIRST + SECOND)},
    "given up": {("failed", FIRST)},
    "given up, unsettled": {("failed", FIRST)},
    "opened late": {("ok", FIRST), ("failed", FIRST)},
    "again late": {("ok", FIRST + SECOND), ("failed", FIRST + SECOND)},
}
"""What its caller was told, and how the books may put it: status and cost, None for not at all."""


def _wrong(play: Play, connection: sqlite3.Connection) -> list[str]:
    """What does not hold."""
    rows = {row[0]: row[1:] for row in connection.execute(_ROWS)}
    problems: list[str] = []
    for name, said in play.told.items():
        row = rows.get(name)
        found = None if row is None else (row[0], row[1] or 0)
        if found not in _ALLOWED[said]:
            problems.append(f"{name}: told {said!r}, booked {found}")
        if row is not None and (row[1] or 0) != row[3]:
            problems.append(f"{name}: costs {row[1]}, its attempts {row[3]}")
    (spent, reserved), (costs,) = connection.execute(_MONEY).fetchone(), connection.execute(_COSTS).fetchone()
    (free,) = connection.execute(_NOT_CHARGED).fetchone()
    if reserved or spent != costs - free:
        problems.append(f"the budget: {reserved} stay reserved, {spent} spent, the rows cost {costs}")
    return problems


@pytest.mark.parametrize(
    ("mode", "faults"),
    [
        pytest.param("strict", (full, broken), id="strict, refused"),
        pytest.param("strict", (None,), id="strict, late"),
        pytest.param("relaxed", (busy, full), id="relaxed, refused"),
    ],
)
async def test_whichever_call_goes_wrong_the_books_are_right(
    tmp_path: Path, mode: str, faults: tuple[Callable[[], sqlite3.Error] | None, ...]
) -> None:
    deadline_s = PATIENCE_S if faults == (None,) else 20.0
    async with _playing(tmp_path, mode, deadline_s) as (play, db, faulty):
        faulty.arm(0, None)
        await play.scenario()
        assert faulty.calls > 40, "there is something to fail at"
        calls = CALLS if play.long else faulty.calls
        for number in range(1, calls + 1):
            play.told.clear()
            faulty.arm(number, faults[number % len(faults)])
            async with asyncio.timeout(60):
                await play.scenario()
                faulty.arm(0, None)
                await _at_rest(play, db)
            problems = await db.read(lambda connection: _wrong(play, connection))
            assert problems == [], f"call {number}"
        assert play.ledger.lost == 0
        still_open = await play.ledger.recover(lambda *_: 0)

    assert still_open == 0
