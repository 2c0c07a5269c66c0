"""Minutes, states and feedback in the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.db import Database
from storage.history import MAX_FEEDBACK, ConsensusHistory
from translators.codec import dumps


class Clock:
    """A wall clock that stands still."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "modelport.db") as opened:
        yield opened


async def test_minutes_come_back_as_they_were_kept(db: Database) -> None:
    history = ConsensusHistory(db)
    minutes = {"value": {"city": "Bonn", "mayor": None}, "votes": [1, 2.5, "ü"]}
    history.keep("req_1", "town", minutes, 60)

    await db.write(lambda _connection: None)
    assert await history.minutes("req_1") == minutes
    assert await history.minutes("req_2") is None


async def test_minutes_whose_time_is_over_are_not_shown_and_go(db: Database) -> None:
    clock = Clock()
    history = ConsensusHistory(db, now=clock)
    history.keep("req_1", "town", {"at": 1}, 60)
    history.keep("req_2", "town", {"at": 2}, 600)
    await db.write(lambda _connection: None)
    clock.at += 61

    assert await history.minutes("req_1") is None
    assert await history.prune(clock.at) == 1
    assert await history.minutes("req_2") == {"at": 2}


async def test_minutes_with_no_time_are_not_kept(db: Database) -> None:
    history = ConsensusHistory(db)
    history.keep("req_1", "town", {"at": 1}, 0)
    await db.write(lambda _connection: None)

    assert await history.minutes("req_1") is None


async def test_the_oldest_minutes_make_room(db: Database) -> None:
    history = ConsensusHistory(db, max_bytes=2000)
    for at in range(200):
        history.keep(f"req_{at}", "town", {"at": at}, 60)
    await db.write(lambda _connection: None)

    assert await history.minutes("req_0") is None
    assert await history.minutes("req_199") == {"at": 199}


async def test_a_state_is_replaced_as_a_whole(db: Database) -> None:
    history = ConsensusHistory(db)
    history.put_state("town", dumps({"form": 1, "ballots": [1]}))
    history.put_state("town", dumps({"form": 1, "ballots": [1, 2]}))
    await db.write(lambda _connection: None)

    assert await history.state("town") == {"form": 1, "ballots": [1, 2]}
    assert await history.forget("town")
    assert await history.state("town") is None
    assert not await history.forget("town")


async def test_a_state_that_cannot_be_read_is_none(db: Database) -> None:
    history = ConsensusHistory(db)
    await db.write(
        lambda connection: connection.execute("INSERT INTO consensus_states VALUES ('town', ?, 0)", (b"broken",))
    )

    assert await history.state("town") is None


async def test_feedback_is_kept_in_order_and_bounded(db: Database) -> None:
    clock = Clock()
    history = ConsensusHistory(db, now=clock)
    for at in range(MAX_FEEDBACK + 3):
        clock.at += 1
        await history.add_feedback("req_1", "consensus", {"score": at}, "key_1")
    await history.add_feedback("req_2", "outcome", {"correct": True})
    found = await history.feedback("req_1")

    assert [each.said["score"] for each in found] == list(range(3, MAX_FEEDBACK + 3))
    assert (found[0].kind, found[0].key_id) == ("consensus", "key_1")
    assert [each.exchange_id for each in await history.newest_feedback("outcome")] == ["req_2"]
    assert await history.newest_feedback("outcome", since=clock.at + 1) == []
