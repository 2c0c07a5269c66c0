"""Choices wait for their outcome once; beliefs are kept by route."""

from __future__ import annotations

from pathlib import Path

from storage.db import Database
from storage.router import KEPT_S, Choice, RouterStore

CHOICE = Choice("x1", "careful", "a/m", "a/m", 0.25)


async def test_a_choice_is_taken_once(db: Database, clock) -> None:
    store = RouterStore(db, now=clock)
    store.note(CHOICE)

    assert [await store.take("x1"), await store.take("x1"), await store.take("x2")] == [CHOICE, None, None]


async def test_a_choice_whose_outcome_nobody_told_goes_in_time(db: Database, clock) -> None:
    store = RouterStore(db, now=clock)
    store.note(CHOICE)
    assert await store.prune(clock() + KEPT_S - 1) == 0

    assert await store.prune(clock() + KEPT_S + 1) == 1
    assert await store.take("x1") is None


async def test_beliefs_survive_a_restart(tmp_path: Path, clock) -> None:
    async with Database(tmp_path / "r.db", now=clock) as db:
        store = RouterStore(db, now=clock)
        store.put_state("careful", {"a/m": [1.0, 2.0]})
        store.put_state("careful", {"a/m": [3.0, 2.0]})

    async with Database(tmp_path / "r.db", now=clock) as db:
        assert await RouterStore(db, now=clock).states() == {"careful": {"a/m": [3.0, 2.0]}}
