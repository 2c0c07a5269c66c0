"""A clock that stands still and a database of its own for each test, with a ledger and budgets in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.budgets import Budgets
from storage.db import Database
from storage.ledger import Ledger


class Clock:
    """Unix seconds; moves when told."""

    def __init__(self, at: float = 1_795_226_400.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def db(tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    async with Database(tmp_path / "store" / "modelport.db", now=clock) as database:
        yield database


@pytest.fixture
def ledger(db: Database, clock: Clock) -> Ledger:
    return Ledger(db, now=clock)


@pytest.fixture
def budgets(db: Database, clock: Clock) -> Budgets:
    return Budgets(db, now=clock)
