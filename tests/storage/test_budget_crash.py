"""A killed process takes no budget with it: nothing stays reserved, and what is spent is what the rows say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

from storage.budgets import Budget, Budgets, Standing
from storage.db import Database
from storage.ledger import Ledger
from storage.rollups import Rollups
from storage.verify import Verifier

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("child.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
LIMIT = 40_000
BUDGETS = (
    Budget("all", "global", LIMIT, window="total"),
    Budget("hour", "team", 2 * LIMIT, "t", window="hour", rolling=True),
    Budget("soft", "route", 1, "r", window="total", hard=False),
)


def _kill_under_load(path: Path, prefix: str, lines: int) -> list[str]:
    command = [sys.executable, str(CHILD), "budgeted", str(path), prefix]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(lines)]
            process.send_signal(signal.SIGKILL)
            said += process.stdout.readlines()
        finally:
            process.kill()
    return [line.split()[0] for line in said if line.endswith("\n")]


async def test_after_a_kill_nothing_is_reserved_and_spent_is_what_the_rows_say(tmp_path: Path) -> None:
    """Killed with room left, and killed while most are refused."""
    path = tmp_path / "modelport.db"
    async with Database(path) as db:
        for budget in BUDGETS:
            await Budgets(db).put(budget)
    rng = Random(7)
    words: set[str] = set()
    interrupted = 0
    for round_number, most in enumerate((60, 300, 1500)):
        words.update(_kill_under_load(path, f"r{round_number}", rng.randrange(most // 2, most)))
        async with Database(path) as db:
            interrupted += await Ledger(db).recover(lambda _provider, _model, tokens: tokens)
            standings = {standing.budget.id: standing for standing in await Budgets(db).standings()}
            report = await Verifier(db, Rollups(db)).run()
            (cost,) = await db.read(lambda c: c.execute("SELECT sum(cost_nanousd) FROM exchanges").fetchone())

        assert report.differences == []
        assert _numbers(standings["all"]) == (cost, 0)
        assert _numbers(standings["soft"]) == (cost, 0)
        assert _numbers(standings["hour"]) == (cost, 0)
        assert cost <= LIMIT
    assert words == {"settled", "refused"}
    assert interrupted


def _numbers(standing: Standing) -> tuple[int, int]:
    return standing.spent_nanousd, standing.reserved_nanousd
