"""Whatever kills the process: what was acknowledged is there, what had left is accounted for, the file is sound."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from storage.accounts import Accounts
from storage.db import Database
from storage.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("child.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def _child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(CHILD), *arguments],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _kill_under_load(path: Path, prefix: str, lines: int) -> list[list[str]]:
    """Everything that the child had acknowledged before it was killed after about *lines* lines."""
    with _child("load", str(path), prefix) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    return [line.split() for line in said if line.endswith("\n")]


async def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "modelport.db"
    rng = Random(11)
    booked: dict[str, int] = {}
    for round_number in range(4):
        said = _kill_under_load(path, f"r{round_number}", rng.randrange(1, 1500))
        left = {name for word, name, *_ in said if word == "left"}
        settled = {name: int(cost[0]) for word, name, *cost in said if word == "settled"}
        integrity, rows, open_rows = _inspect(path)

        assert integrity == "ok"
        assert settled.items() <= rows.items(), "what was acknowledged is there"
        assert booked.items() <= rows.items(), "no settled row changes"
        assert left <= rows.keys() | open_rows, "what had left has a row"

        async with Database(path) as db:
            ledger = Ledger(db)
            closed = [await ledger.recover(lambda provider, model, tokens: tokens * 100) for _ in range(2)]
            total = (await Accounts(db).costs()).total
            cache_totals, cache_counted = await db.read(_cache_sizes)
        booked = rows | dict.fromkeys(open_rows, 1000)

        assert closed == [len(open_rows), 0]
        assert (total.exchanges, total.attempts, total.cost_nanousd) == (len(booked), len(booked), sum(booked.values()))
        assert cache_totals == cache_counted


def _inspect(path: Path) -> tuple[str, dict[str, int], set[str]]:
    """Integrity, costs of the closed rows, names of the open ones: read by a stranger."""
    connection = sqlite3.connect(path)
    (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
    rows = dict(connection.execute("SELECT id, cost_nanousd FROM exchanges WHERE status <> 'open'"))
    open_rows = {name for (name,) in connection.execute("SELECT id FROM exchanges WHERE status = 'open'")}
    connection.close()
    return integrity, rows, open_rows


def _cache_sizes(connection: sqlite3.Connection) -> tuple[tuple[int, ...], tuple[int, ...]]:
    totals = connection.execute("SELECT entries, size_bytes FROM cache_totals").fetchone()
    return tuple(totals), tuple(connection.execute("SELECT count(*), ifnull(sum(size), 0) FROM cache").fetchone())


def _run(*arguments: str, **options: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(CHILD), *arguments],
        env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=30, check=False, **options,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_second_process_is_refused_in_one_line_until_the_first_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "modelport.db"
    with _child("hold", str(path)) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        refused = _run("start", str(path))
        first.send_signal(signal.SIGKILL)
        first.wait()
        afterwards = _run("start", str(path))

    holder = f"another modelport process (pid {first.pid})"
    reason = f"Locked: {path}: {holder} has this database open; stop it or use another file\n"
    assert refused == (1, reason)
    assert afterwards == (0, "open\n")


async def test_a_disk_without_room_refuses_everybody_at_once_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "modelport.db"
    code, said = _run("starve", str(path), str(2_000_000))
    lines = [line.split() for line in said.splitlines()]
    settled = {line[1] for line in lines if line[0] == "settled"}

    assert (code, lines[-1]) == (0, ["status", "ok"]), said
    assert next(line[1] for line in lines if line[0] == "refused") in ("Unavailable", "Full"), said
    assert ["refused", "20"] in lines, said
    assert "after" in settled
    async with Database(path) as db:
        rows = await db.read(lambda c: {row[0] for row in c.execute("SELECT id FROM exchanges WHERE status = 'ok'")})
        integrity = await db.read(lambda c: c.execute("PRAGMA integrity_check").fetchone()[0])
    assert (rows, integrity) == (settled, "ok")
