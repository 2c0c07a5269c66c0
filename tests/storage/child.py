"""A process of its own for tests that kill it, starve it or lock it out: `child.py MODE PATH [ARGUMENT]`."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path

from storage.budgets import Budget, Budgets, OverBudget
from storage.cache import Cache
from storage.db import Database
from storage.errors import LedgerUnavailable, StorageError
from storage.journal import Journal
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange


async def _exchange(ledger: Ledger, name: str, cost: int, tags: dict[str, str] | None = None) -> None:
    opened = OpenExchange(name, "openai_chat", tags=tags or {}, input_estimate=10)
    await ledger.open(opened, OpenAttempt(name, 1, "p", "m"))
    print("left", name, flush=True)
    await ledger.settle(SettledExchange(name, "ok"), SettledAttempt(name, 1, "ok", cost, input_tokens=3))
    print("settled", name, cost, flush=True)


async def load(path: Path, prefix: str) -> None:
    """Book for ever, with a cache that is written meanwhile; say what was acknowledged."""

    async def client(number: int) -> None:
        count = 0
        while True:
            count += 1
            await _exchange(ledger, f"{prefix}-{number}-{count}", number * 1000 + count)
            cache.put(f"{number}-{count}".encode(), b"x" * 5000, tenant="t")

    async with Database(path) as db:
        ledger = Ledger(db)
        cache = Cache(db, max_bytes=500_000, ttl_s=60)
        await asyncio.gather(*(client(number) for number in range(16)))


async def budgeted(path: Path, prefix: str) -> None:
    """Book for ever against every budget that is stored, some with a second attempt, many at once."""

    async def client(number: int) -> None:
        count = 0
        while True:
            count += 1
            name, worst = f"{prefix}-{number}-{count}", 100 + number
            attempt = OpenAttempt(name, 1, "p", "m", worst_nanousd=worst, budgets=budgets)
            last = 0
            try:
                await ledger.open(OpenExchange(name, "openai_chat", input_estimate=10), attempt)
                last = 1
                await asyncio.sleep(number / 4000)  # as providers do: no kill meets all at rest
                if count % 3 == 0:
                    failed = SettledAttempt(name, 1, "failed", worst // 3)
                    await ledger.open_attempt(replace(attempt, number=2, provider="q"), failed)
                    last = 2
                await ledger.settle(SettledExchange(name, "ok"), SettledAttempt(name, last, "ok", count % worst))
                print("settled", name, flush=True)
            except OverBudget:
                if last:
                    await ledger.settle(SettledExchange(name, "failed"))
                print("refused", name, flush=True)

    async with Database(path) as db:
        ledger = Ledger(db)
        budgets = tuple(await Budgets(db).all())
        await asyncio.gather(*(client(number) for number in range(16)))


async def spill(path: Path, journal_path: str) -> None:
    """Book for ever into a database that refuses it, against a budget; say what the journal has."""
    journal = Journal(Path(journal_path))
    async with Database(path) as db:
        await journal.open()
        ledger = Ledger(db, mode="relaxed", journal=journal)
        budget = Budget("all", "global", 10**12, window="total")
        await Budgets(db).put(budget)
        await db.write(lambda connection: connection.execute("PRAGMA query_only = ON").fetchall())
        count = 0
        while True:
            count += 1
            name = f"s{count}"
            attempt = OpenAttempt(name, 1, "p", "m", worst_nanousd=5000, budgets=(budget,))
            await ledger.open(OpenExchange(name, "openai_chat", input_estimate=10), attempt)
            await ledger.settle(SettledExchange(name, "ok"), SettledAttempt(name, 1, "ok", count, input_tokens=3))
            while journal.waiting < 2 * count:
                await asyncio.sleep(0)
            await journal.lines()
            print(name, count, flush=True)


async def hold(path: Path, _: str) -> None:
    """Keep the database until standard input ends."""
    async with Database(path):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def start(path: Path, _: str) -> None:
    """Open and close; say how it went."""
    async with Database(path):
        print("open", flush=True)


async def start_without_rights(path: Path, _: str) -> None:
    """`start`, as nobody."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    await start(path, "")


async def starve(path: Path, limit: str) -> None:
    """Book under a limit of the file size until it fails, then again without the limit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    async with Database(path) as db:
        ledger = Ledger(db)
        tags = {"t": "x" * 20_000}
        try:
            for count in range(10_000):
                await _exchange(ledger, f"before-{count}", 1, tags)
        except LedgerUnavailable as error:
            print("refused", type(error.__cause__).__name__, db.status, flush=True)
        large = {"t": "x" * 400_000}  # more than what the one before may have left
        refused = await asyncio.gather(
            *(ledger.open(OpenExchange(f"no-{n}", "d", tags=large)) for n in range(20)), return_exceptions=True
        )
        print("refused", sum(isinstance(each, LedgerUnavailable) for each in refused), flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await _exchange(ledger, "after", 1, tags)
        print("status", db.status, flush=True)


MODES = {
    "load": load,
    "budgeted": budgeted,
    "hold": hold,
    "start": start,
    "start_without_rights": start_without_rights,
    "starve": starve,
    "spill": spill,
}

if __name__ == "__main__":
    mode, path, *rest = sys.argv[1:]
    try:
        asyncio.run(MODES[mode](Path(path), *(rest or [""])))
    except StorageError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(1)
