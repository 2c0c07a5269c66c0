"""A power cut takes what the disk was not forced to keep: the file is sound, and what is lost is the last moments.

The model (sqlite.org/wal.html, `synchronous=NORMAL`): of the log any end may be missing or be rubbish, from a byte or a
sector on; of a checkpoint any of its pages may have reached the database, while the log, which was forced to the disk
before, is whole.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange

CUTS = 170
"""Of each kind: some 500 together."""
EXCHANGES = 25
PAGE = 2048
SECTOR = 512


@dataclass
class Files:
    """Database and log while *names* were being booked, and the database after the checkpoint."""

    names: list[str]
    before: bytes
    log: bytes
    after: bytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut")


@pytest.fixture(scope="module")
def files(folder: Path) -> Files:
    return asyncio.run(_written(folder))


async def _written(folder: Path) -> Files:
    path = folder / "booked.db"
    async with Database(path) as db:
        await _book(Ledger(db), "first")
    before = path.read_bytes()
    names = [f"x{number}" for number in range(EXCHANGES)]
    async with Database(path) as db:
        for name in names:
            await _book(Ledger(db), name)
        log = path.with_name("booked.db-wal").read_bytes()
        assert path.read_bytes() == before, "nothing was moved yet"
    return Files(["first", *names], before, log, path.read_bytes())


async def _book(ledger: Ledger, name: str) -> None:
    await ledger.open(OpenExchange(name, "d", tags={"t": "x" * 300}), OpenAttempt(name, 1, "p", "m"))
    await ledger.settle(SettledExchange(name, "ok"), SettledAttempt(name, 1, "ok", 7))


@contextmanager
def _found(folder: Path, database: bytes, log: bytes) -> Iterator[list[str]]:
    """The settled exchanges that the next start finds in a file that is sound."""
    path = folder / "cut.db"
    path.write_bytes(database)
    path.with_name("cut.db-wal").write_bytes(log)
    path.with_name("cut.db-shm").unlink(missing_ok=True)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        yield [name for (name,) in connection.execute("SELECT id FROM exchanges WHERE status = 'ok' ORDER BY row")]


def test_a_log_that_ends_anywhere_loses_only_its_end(folder: Path, files: Files) -> None:
    rng = Random(1)
    kept = []
    for cut in sorted(rng.randrange(len(files.log) + 1) for _ in range(CUTS)):
        with _found(folder, files.before, files.log[:cut]) as names:
            assert names == files.names[: len(names)], cut
            kept.append(len(names))

    assert kept == sorted(kept), "the longer the log, the more is kept"
    assert (kept[0], kept[-1]) <= (1, len(files.names))
    assert len(set(kept)) > EXCHANGES / 2


def test_sectors_of_the_log_that_never_reached_the_disk_end_it(folder: Path, files: Files) -> None:
    rng = Random(2)
    for number in range(CUTS):
        at = rng.randrange(len(files.log) // SECTOR) * SECTOR
        lost = bytes(SECTOR) if number % 2 else rng.randbytes(SECTOR)
        with _found(folder, files.before, files.log[:at] + lost + files.log[at + SECTOR :]) as names:
            assert names == files.names[: len(names)], at


def test_a_checkpoint_that_was_cut_short_loses_nothing(folder: Path, files: Files) -> None:
    rng = Random(3)
    pages = len(files.after) // PAGE
    for _ in range(CUTS):
        mixed = bytearray(files.before.ljust(len(files.after), b"\0")[: len(files.after)])
        for page in rng.sample(range(pages), rng.randrange(pages + 1)):
            mixed[page * PAGE : (page + 1) * PAGE] = files.after[page * PAGE : (page + 1) * PAGE]
        with _found(folder, bytes(mixed), files.log) as names:
            assert names == files.names
