"""Writes are grouped, durable and independent of each other; reads see whole snapshots; nothing is unbounded."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from storage.db import Database
from storage.errors import Conflict, Full, ReadOnly, StorageError, Unavailable
from storage.migrations import Migration
from storage.writer import WAL_BYTES

STEPS = (Migration(1, "test", ("CREATE TABLE t (x INTEGER PRIMARY KEY, y TEXT)",)),)


def _insert(x: int | None, y: str = ""):
    return lambda connection: connection.execute("INSERT INTO t VALUES (?, ?)", (x, y)).lastrowid


async def _numbers(db: Database) -> list[int]:
    rows = await db.read(lambda connection: connection.execute("SELECT x FROM t ORDER BY x").fetchall())
    return [row["x"] for row in rows]


@pytest.fixture
async def db(tmp_path: Path):
    async with Database(tmp_path / "t.db", steps=STEPS) as database:
        yield database


async def test_a_write_returns_the_operations_value_after_the_commit(db: Database) -> None:
    value = await db.write(_insert(7))

    assert value == 7
    with closing(sqlite3.connect(db.path)) as other, other:
        assert other.execute("SELECT x FROM t").fetchall() == [(7,)]
    other.close()


async def test_one_bad_write_among_many_hurts_nobody_else(db: Database) -> None:
    def wrong(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (1000, '')")
        raise ZeroDivisionError

    operations = [_insert(n) for n in range(20)]
    operations[5:5] = [_insert(3), wrong, lambda connection: next(iter(()))]
    results = await asyncio.gather(*(db.write(each) for each in operations), return_exceptions=True)

    bad = {type(result) for result in results if isinstance(result, Exception)}
    assert bad == {Conflict, ZeroDivisionError, RuntimeError}
    assert await _numbers(db) == list(range(20))
    assert db.status == "ok"


async def test_writes_that_wait_together_share_a_transaction(db: Database) -> None:
    gate = threading.Event()
    transactions: list[int] = []

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t DEFAULT VALUES")
        transactions.append(connection.execute("SELECT count(*) FROM t").fetchone()[0])

    first = asyncio.create_task(db.write(lambda connection: gate.wait(5)))
    rest = [asyncio.create_task(db.write(operation)) for _ in range(64)]
    done: list[int] = []
    rest[0].add_done_callback(lambda _: done.append(sum(task.done() for task in rest)))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *rest)

    assert transactions == list(range(1, 65))
    assert done == [64], "all of a group are released in one turn of the event loop"


async def test_a_cancelled_caller_does_not_undo_its_write(db: Database) -> None:
    gate = threading.Event()
    first = asyncio.create_task(db.write(lambda connection: gate.wait(5)))
    gone = asyncio.create_task(db.write(_insert(1)))
    await asyncio.sleep(0)
    gone.cancel()
    gate.set()
    await first
    await db.write(_insert(2))

    assert gone.cancelled()
    assert await _numbers(db) == [1, 2]


async def test_a_post_tells_its_outcome_once_and_never_raises(db: Database) -> None:
    heard: list[tuple[int | None, StorageError | None]] = []
    all_heard = asyncio.Event()

    def done(value: int | None, error: StorageError | None) -> None:
        heard.append((value, error))
        if len(heard) == 2:
            all_heard.set()

    db.post(_insert(1), done)
    db.post(_insert(1), done)
    async with asyncio.timeout(5):
        await all_heard.wait()

    assert heard[0] == (1, None)
    assert isinstance(heard[1][1], Conflict)


async def test_closing_writes_what_was_posted(tmp_path: Path) -> None:
    async with Database(tmp_path / "t.db", steps=STEPS) as db:
        for number in range(100):
            db.post(_insert(number))
    async with Database(tmp_path / "t.db", steps=STEPS) as db:
        assert await _numbers(db) == list(range(100))


async def test_too_many_waiting_writes_are_refused_not_kept(tmp_path: Path) -> None:
    gate = threading.Event()
    refused: list[StorageError | None] = []
    async with Database(tmp_path / "t.db", steps=STEPS, waiting=3) as db:
        waiting = [asyncio.create_task(db.write(lambda connection: gate.wait(5))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="3 writes are waiting already"):
            await db.write(_insert(1))
        db.post(_insert(1), lambda _, error: refused.append(error))
        gate.set()
        await asyncio.gather(*waiting)

    assert isinstance(refused[0], Unavailable)


async def test_after_closing_nothing_hangs(tmp_path: Path) -> None:
    db = Database(tmp_path / "t.db", steps=STEPS)
    await db.open()
    await db.close()
    await db.close()

    with pytest.raises(Unavailable):
        await db.write(_insert(1))
    with pytest.raises(Unavailable):
        await db.read(lambda connection: None)
    assert db.status == "closed"


async def test_a_read_is_one_snapshot(db: Database) -> None:
    await db.write(_insert(1))
    seen, go_on = threading.Event(), threading.Event()

    def look_twice(connection: sqlite3.Connection) -> list[int]:
        count = "SELECT count(*) FROM t"
        first = connection.execute(count).fetchone()[0]
        seen.set()
        go_on.wait(5)
        return [first, connection.execute(count).fetchone()[0]]

    reading = asyncio.create_task(db.read(look_twice))
    await asyncio.to_thread(seen.wait, 5)
    await db.write(_insert(2))
    go_on.set()

    assert await reading == [1, 1]
    assert await _numbers(db) == [1, 2]


async def test_readers_cannot_write(db: Database) -> None:
    with pytest.raises(ReadOnly):
        await db.read(_insert(1))


async def test_a_full_database_fails_at_once_and_works_again_when_there_is_room(db: Database) -> None:
    (pages,) = await db.write(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    await db.write(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    results = await asyncio.gather(
        *(db.write(_insert(n, "x" * 100_000)) for n in range(8)), db.write(_insert(99)), return_exceptions=True
    )

    assert [type(result) for result in results[:-1]] == [Full] * 8
    assert results[-1] == 99, "what still fits is written"
    with pytest.raises(Full, match=r"t\.db: the disk is full"):
        await db.write(_insert(1, "x" * 100_000))
    assert db.status == "full"

    await db.write(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchall())
    assert await db.write(_insert(1, "x" * 100_000)) == 1
    assert db.status == "ok"


async def test_a_database_that_turns_read_only_is_said_to_be(db: Database) -> None:
    await db.write(lambda connection: connection.execute("PRAGMA query_only = ON").fetchall())
    with pytest.raises(ReadOnly):
        await db.write(_insert(1))
    assert db.status == "read_only"
    assert await _numbers(db) == []


async def test_the_log_is_moved_into_the_file_under_load(db: Database) -> None:
    log = db.path.with_name(db.path.name + "-wal")
    largest = 0
    for _ in range(100):
        await db.write(_insert(None, "x" * 200_000))
        largest = max(largest, log.stat().st_size)

    assert largest < 1.5 * WAL_BYTES
    assert db.path.stat().st_size > WAL_BYTES


async def test_only_the_writer_checkpoints_and_the_last_close_leaves_no_log(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with Database(path, steps=STEPS) as db:
        await db.write(_insert(1))
        settings = [
            await db.write(lambda c: c.execute("PRAGMA wal_autocheckpoint").fetchone()[0]),
            await db.read(lambda c: c.execute("PRAGMA wal_autocheckpoint").fetchone()[0]),
        ]

    assert settings == [0, 0]
    assert not path.with_name("t.db-wal").exists()


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    async with Database(tmp_path / "new" / "t.db", steps=STEPS) as db:
        await db.write(_insert(1))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in db.path.parent.iterdir()}
        folder = stat.S_IMODE(db.path.parent.stat().st_mode)

    assert set(modes.values()) == {0o600}, modes
    assert folder == 0o700


async def test_without_a_path_everything_works_and_nothing_stays() -> None:
    async with Database(None, steps=STEPS) as db:
        await db.write(_insert(1))
        rows = await _numbers(db)
        folder = db.path.parent
        size = db.size_bytes

    assert (rows, size > 0, folder.exists()) == ([1], True, False)


async def test_lag_is_the_age_of_the_oldest_write_at_work(tmp_path: Path) -> None:
    ticks = [100.0]
    gate, entered = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        entered.set()
        gate.wait(5)

    async with Database(tmp_path / "t.db", steps=STEPS, monotonic=lambda: ticks[0]) as db:
        writing = asyncio.create_task(db.write(slow))
        await asyncio.to_thread(entered.wait, 5)
        ticks[0] += 2
        stuck_ms, pending = db.lag_ms, db.pending
        gate.set()
        await writing

        assert (stuck_ms, pending, db.pending) == (2000, 1, 0)


async def test_a_group_may_hold_more_than_the_queue_takes_at_once(db: Database) -> None:
    await asyncio.gather(*(db.write(_insert(n)) for n in range(2000)))

    assert len(await _numbers(db)) == 2000


async def test_an_empty_file_is_not_filled_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "modelport.db"
    path.touch()

    async with Database(path):
        assert f"{path}: the file is empty; a new database is made in it" in caplog.text
