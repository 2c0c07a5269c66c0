"""Whatever happens in whichever order: a budget has spent what the rows say, and reserved what is open."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.budgets import Budget, Budgets, OverBudget
from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from storage.rollups import Rollups
from storage.verify import Verifier

LIMIT = 1_000
BUDGETS = (
    Budget("day", "global", LIMIT, window="day"),
    Budget("hour", "team", LIMIT, "t", window="hour", rolling=True),
    Budget("p", "provider", LIMIT, "p", window="total"),
    Budget("soft", "route", 100, "r", window="month", hard=False),
)
ESTIMATE = 7
"""What an attempt of a dead process is taken to have cost; none may cost less."""

Step = tuple[str, int, int, int]
"""What is done, to which exchange, with which worst case, and what part of it (in percent) it cost at last."""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "open", "again", "settle", "settle", "cancel", "die", "wait", "rewindow"]),
        st.integers(0, 5),
        st.integers(ESTIMATE, 600),
        st.integers(0, 100),
    ),
    max_size=40,
)


class Moving:
    """Unix seconds; moves when told."""

    def __init__(self) -> None:
        self.at = 1_795_226_400.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Play:
    """A ledger that is played with, and what is open in it: by name the number and worst case of the last attempt."""

    db: Database
    clock: Moving
    ledger: Ledger
    budgets: Budgets
    open: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    opened: int = 0
    days: list[Budget] = field(default_factory=lambda: [BUDGETS[0]])
    """The budget `day` as it was and is: a request may know it as it was."""

    async def do(self, step: Step) -> None:
        what, which, worst, part = step
        names = sorted(self.open)
        name = names[which % len(names)] if names else None
        if what == "open":
            await self._open(worst, which)
        elif what == "again" and name:
            await self._again(name, worst, part, which)
        elif what == "settle" and name:
            number, held, _ = self.open.pop(name)
            cost = held * part // 100
            await self.ledger.settle(SettledExchange(name, "ok"), SettledAttempt(name, number, "ok", cost))
        elif what == "cancel":
            await self._cancelled(worst)
        elif what == "die":
            await self.ledger.recover(lambda _provider, _model, _tokens: ESTIMATE)
            self.open.clear()
        elif what == "wait":
            self.clock.at += worst * 30
        elif what == "rewindow":
            day = replace(BUDGETS[0], window=("hour", "day", "month")[which % 3], rolling=bool(which % 2))
            self.days.append(day)
            await self.budgets.put(day)

    def _rooms(self, provider: str, which: int = 0) -> tuple[Budget, ...]:
        return (
            self.days[-1 - which % len(self.days)],
            BUDGETS[1],
            BUDGETS[3],
            *((BUDGETS[2],) if provider == "p" else ()),
        )

    async def _open(self, worst: int, which: int) -> None:
        self.opened += 1
        name, provider = f"x{self.opened}", "p" if which % 2 else "q"
        attempt = OpenAttempt(name, 1, provider, "m", worst_nanousd=worst, budgets=self._rooms(provider, which))
        try:
            await self.ledger.open(OpenExchange(name, "openai_chat"), attempt)
        except OverBudget:
            return
        self.open[name] = (1, worst, provider)

    async def _again(self, name: str, worst: int, part: int, which: int) -> None:
        """The next attempt; the one before cost a part of what it might have."""
        number, held, _ = self.open[name]
        provider = "p" if which % 2 else "q"
        closing = SettledAttempt(name, number, "failed", held * part // 100)
        attempt = OpenAttempt(
            name, number + 1, provider, "m", worst_nanousd=worst, budgets=self._rooms(provider, which)
        )
        try:
            await self.ledger.open_attempt(attempt, closing)
        except OverBudget:
            await self.ledger.settle(SettledExchange(name, "failed"))
            del self.open[name]
            return
        self.open[name] = (number + 1, worst, provider)

    async def _cancelled(self, worst: int) -> None:
        """Its client is gone while the attempt is being booked."""
        self.opened += 1
        name = f"x{self.opened}"
        attempt = OpenAttempt(name, 1, "p", "m", worst_nanousd=worst, budgets=self._rooms("p"))
        task = asyncio.ensure_future(self.ledger.open(OpenExchange(name, "openai_chat"), attempt))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, OverBudget)):
            await task

    async def check(self) -> None:
        """No budget differs from its rows, and none that is hard has let in more than it holds."""
        report = await Verifier(self.db, Rollups(self.db)).run()
        assert report.differences == []
        holds = "SELECT budget, sum(nanousd) FROM charges WHERE NOT settled GROUP BY budget"
        open_holds = await self.db.read(lambda connection: dict(connection.execute(holds).fetchall()))
        for name, reserved in (await self.db.read(_reserved)).items():
            assert reserved == open_holds.get(name, 0), name
        for standing in await self.budgets.standings():
            assert standing.reserved_nanousd >= 0
            if standing.budget.hard and standing.budget.id != "day":
                used = standing.spent_nanousd + standing.reserved_nanousd
                assert used <= LIMIT, standing
        if not self.open:
            assert sum((await self.db.read(_reserved)).values()) == 0


def _reserved(connection: sqlite3.Connection) -> dict[str, int]:
    statement = "SELECT budget, sum(reserved_nanousd) FROM budget_spending GROUP BY budget"
    return dict(connection.execute(statement).fetchall())


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_spent_and_reserved_are_what_the_rows_say_whatever_happens(steps: list[Step]) -> None:
    """The budget `day` changes its window meanwhile, so that what was let in by another window may be more than its
    limit; of the others none ever is."""

    async def run() -> None:
        clock = Moving()
        with tempfile.TemporaryDirectory() as folder:
            async with Database(Path(folder) / "modelport.db", now=clock) as db:
                play = Play(db, clock, Ledger(db, now=clock), Budgets(db, now=clock))
                for budget in BUDGETS:
                    await play.budgets.put(budget)
                for step in steps:
                    await play.do(step)
                await play.check()
                await play.do(("die", 0, 0, 0))
                await play.check()

    asyncio.run(run())
