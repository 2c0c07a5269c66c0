"""What the ledger costs: time of the event loop, throughput, and sums over millions of rows.

    python benchmarks/ledger.py loop                        event-loop time of one exchange, strict
    python benchmarks/ledger.py throughput [SECONDS]        requests a second with the strict, the relaxed and no ledger
    python benchmarks/ledger.py waits                       how long writes wait while old exchanges are summed up
    python benchmarks/ledger.py sums [ROWS] [DAYS]          `/costs` over so many exchanges, and making their sums

`make bench-ledger` runs all four. `sums` writes a file of some 450 bytes for each exchange into a temporary folder.
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from proxy.app import App, new_server, opened
from proxy.config import load
from proxy.event_loop import loop_factory
from storage.accounts import Accounts
from storage.bookings import Answered, form_of
from storage.budgets import Budget, Budgets
from storage.db import Database
from storage.errors import LedgerUnavailable
from storage.ledger import Ledger, Note, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from storage.rollups import FOLD, Rollups
from storage.spilled import NotedForm
from storage.sums import Grouping

NOW_S: Final = 1_795_226_400.0
DAY_S: Final = 86_400
FAST: Final = 5000
"""Exchanges that are folded at once where nobody waits."""
AT_ONCE: Final = 64
CONFIG: Final = '[storage]\npath = "modelport.db"\nledger = "{mode}"\n[cache]\nmode = "off"\n'

UPSTREAM: Final = """
[providers.bench]
dialect = "openai_chat"
base_url = "{url}"
models = ["gpt-4o-mini"]
price = {{ input = "0.15", output = "0.6" }}
"""


class NoLedger(Ledger):
    """Books nothing: what the requests take without a ledger."""

    async def open(self, exchange: OpenExchange, attempt: OpenAttempt | None = None) -> None: ...

    async def open_attempt(self, attempt: OpenAttempt, closing: SettledAttempt | None = None) -> None: ...

    async def settle_attempt(self, attempt: SettledAttempt) -> None: ...

    async def settle(self, exchange: SettledExchange, *attempts: SettledAttempt) -> bool:
        return True

    async def record(self, opened: OpenExchange, settled: SettledExchange) -> None: ...

    def note(self, form: NotedForm, exchange_id: str, input_estimate: int) -> Note | None:
        return Note(exchange_id, 0.0, form=form.form, opened_us=0, input_estimate=input_estimate)

    def open_beside(self, exchange: OpenExchange, attempt: OpenAttempt) -> Note | None:
        return Note(exchange.id, 0.0, form=form_of(exchange, attempt), opened_us=0, input_estimate=0)

    async def settle_noted(self, note: Note, exchange: SettledExchange, *attempts: SettledAttempt) -> bool:
        return True

    def answered(self, note: Note, answered: Answered, told: Callable[[LedgerUnavailable | None], None]) -> None:
        told(None)

    def written(self, note: Note) -> None: ...

    def forget(self, note: Note) -> None: ...


# --- the event loop --------------------------------------------------------------------------------------


async def loop_time() -> None:
    """CPU time of the thread of the event loop, for opening and settling one exchange."""
    for name, budgets in (("no budget", ()), ("one budget", (Budget("all", "global", 10**15),))):
        with tempfile.TemporaryDirectory() as folder:
            async with Database(Path(folder) / "modelport.db") as db:
                for budget in budgets:
                    await Budgets(db).put(budget)
                ledger = Ledger(db)
                rounds = [await _loop_round(ledger, f"r{number}", budgets) for number in range(7)]
        print(
            f"{name}: {min(rounds):.1f} us of the event loop for each exchange"
            f" (least of {len(rounds)} rounds of 4,000, {AT_ONCE} at a time; median {statistics.median(rounds):.1f})",
            flush=True,
        )


async def _loop_round(ledger: Ledger, prefix: str, budgets: tuple[Budget, ...], count: int = 4000) -> float:
    gc.collect()
    names = iter([f"{prefix}-{number}" for number in range(count)])

    async def client() -> None:
        for name in names:
            attempt = OpenAttempt(name, 1, "openai", "gpt-5", 0, 1000, budgets)
            await ledger.open(OpenExchange(name, "openai_chat", route="fast", tags={"team": "a"}), attempt)
            usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
            paid = SettledAttempt(
                name, 1, "ok", 1234, 200, input_tokens=100, output_tokens=50, price_source="genai-prices",
                price_version="1", raw_usage=usage, latency_ms=12.3,
            )  # fmt: skip
            await ledger.settle(SettledExchange(name, "ok", "openai/gpt-5", latency_ms=12.5), paid)

    began = time.thread_time()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return (time.thread_time() - began) / count * 1e6


# --- throughput ------------------------------------------------------------------------------------------


async def throughput(seconds: float) -> None:
    """Requests a second through the port, whole answers of demo/echo; the modes take turns."""
    modes = ("none", "strict", "relaxed")
    rates: dict[str, list[float]] = {mode: [] for mode in modes}
    used: dict[str, list[float]] = {mode: [] for mode in modes}
    with tempfile.TemporaryDirectory() as folder:
        for round_number in range(5):
            for mode in modes:
                here = Path(folder) / f"{mode}{round_number}"
                here.mkdir()
                rate, loop_us = await _rate(here, mode, seconds)
                rates[mode].append(rate)
                used[mode].append(loop_us)
    most = {mode: max(found) for mode, found in rates.items()}
    least = {mode: min(found) for mode, found in used.items()}
    for mode in modes:
        print(
            f"{mode}: {most[mode]:.0f} requests/s ({100 * (1 - most[mode] / most['none']):.1f} % lost; best of 5 rounds"
            f" of {seconds:g} s, {AT_ONCE} connections, median {statistics.median(rates[mode]):.0f}),"
            f" {least[mode]:.0f} us of the event loop each ({100 * (1 - least['none'] / least[mode]):.1f} % for the"
            f" ledger; least of 5, median {statistics.median(used[mode]):.0f})",
            flush=True,
        )


async def _rate(folder: Path, mode: str, seconds: float) -> tuple[float, float]:
    command = [sys.executable, __file__, "serve", str(folder), mode]
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert server.stdout is not None
    assert server.stdin is not None
    url = (await server.stdout.readline()).decode().strip()
    body = b'{"model":"demo/echo","messages":[{"role":"user","content":"Hello there, how are you today?"}]}'
    headers = {"content-type": "application/json"}
    count = 0

    async def client(session: aiohttp.ClientSession, until: float) -> None:
        nonlocal count
        while time.perf_counter() < until:
            async with session.post(f"{url}/v1/chat/completions", data=body, headers=headers) as answer:
                await answer.read()
                assert answer.status == 200
            count += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session, time.perf_counter() + 0.7) for _ in range(AT_ONCE)))
        before, count, began = _loop_s(server.pid), 0, time.perf_counter()
        await asyncio.gather(*(client(session, began + seconds) for _ in range(AT_ONCE)))
        took, loop_s = time.perf_counter() - began, _loop_s(server.pid) - before
    server.stdin.close()
    await asyncio.wait_for(server.wait(), 20)
    return count / took, loop_s / count * 1e6


def _loop_s(pid: int) -> float:
    """CPU time of the thread of the event loop: what limits a server that has a core for it."""
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def serve(folder: Path, mode: str, upstream: str | None = None) -> None:
    """The server of `throughput`, until standard input ends; with the provider `bench` at *upstream*."""
    path = folder / "modelport.toml"
    provider = UPSTREAM.format(url=upstream) if upstream else ""
    path.write_text(CONFIG.format(mode="relaxed" if mode == "relaxed" else "strict") + provider)
    loaded = load(path, environ={"HOME": str(folder)}, folder=folder)
    async with opened(loaded) as services:
        if mode == "none":
            services.ledger = NoLedger(services.db)
        server = new_server(App(services), services)
        listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, backlog=1024)
        print(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        listener.close()
        await server.shutdown(1.0)


# --- sums over many rows -----------------------------------------------------------------------------------

_NUMBERS = "WITH RECURSIVE n (i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)"

# 4 providers of 5 models each, 3 routes, 20 keys of 4 teams, 6 sets of tags; some fail over, some are hits.
_EXCHANGES = f"""
{_NUMBERS}
INSERT INTO exchanges (row, id, opened_us, settled_us, status, key_id, team, organisation, tags, dialect, route, target,
    stream, attempts, cache, input_tokens, output_tokens, cost_nanousd, saved_nanousd, estimated, latency_ms,
    first_event_ms, losses, client_request_id, input_estimate)
SELECT i, printf('req_%024x', i), :start_us + i * :step_us, :start_us + i * :step_us + 900000, 'ok',
    'key_' || (i * 7 % 20), 'team_' || (i * 7 % 4), 'org_1', json_object('feature', 'f' || (i % 6)), 'openai_chat',
    'route_' || (i % 3), 'provider_' || (i % 4) || '/model-' || (i % 5), i % 2,
    CASE WHEN i % 10 = 0 THEN 0 WHEN i % 8 = 1 THEN 2 ELSE 1 END, CASE WHEN i % 10 = 0 THEN 'hit' ELSE 'miss' END,
    100 + i % 900, 20 + i % 300, CASE WHEN i % 10 = 0 THEN 0 ELSE 1000 + i % 100000 END,
    CASE WHEN i % 10 = 0 THEN 5000 ELSE 0 END, 0, 812.5, 210.5, '[]', NULL, 120
FROM n"""

_FIRST_ATTEMPTS = f"""
{_NUMBERS}
INSERT INTO attempts (exchange, number, provider, model, key_index, started_us, ended_us, status, http_status,
    input_tokens, output_tokens, cost_nanousd, price_source, price_version, raw_usage, latency_ms, first_event_ms)
SELECT i, 1, 'provider_' || ((i + (i % 8 = 1)) % 4), 'model-' || (i % 5), 0, :start_us + i * :step_us,
    :start_us + i * :step_us + 800000, CASE WHEN i % 8 = 1 THEN 'failed' ELSE 'ok' END, 200,
    CASE WHEN i % 8 = 1 THEN 0 ELSE 100 + i % 900 END, CASE WHEN i % 8 = 1 THEN 0 ELSE 20 + i % 300 END,
    CASE WHEN i % 8 = 1 THEN 0 ELSE 1000 + i % 100000 END, 'genai-prices', '2026.11',
    '{{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}}', 800.5, 200.5
FROM n WHERE i % 10 <> 0"""

_SECOND_ATTEMPTS = f"""
{_NUMBERS}
INSERT INTO attempts (exchange, number, provider, model, key_index, started_us, ended_us, status, http_status,
    input_tokens, output_tokens, cost_nanousd, price_source, price_version, latency_ms)
SELECT i, 2, 'provider_' || (i % 4), 'model-' || (i % 5), 0, :start_us + i * :step_us + 5,
    :start_us + i * :step_us + 900000, 'ok', 200, 100 + i % 900, 20 + i % 300, 1000 + i % 100000, 'genai-prices',
    '2026.11', 400.5
FROM n WHERE i % 10 <> 0 AND i % 8 = 1"""

ASKED: Final[tuple[tuple[str, float | None, tuple[Grouping, ...]], ...]] = (
    ("since=24h", DAY_S - 1234.5, ("provider", "model")),
    ("since=24h by key", DAY_S - 1234.5, ("key",)),
    ("since=24h by tag", DAY_S - 1234.5, ("tag",)),
    ("since=24h by hour", DAY_S - 1234.5, ("hour",)),
    ("since=24h by team, organisation, route", DAY_S - 1234.5, ("team", "organisation", "route")),
    ("since=7d", 7 * DAY_S - 1234.5, ("provider", "model")),
    ("since=30d by day", 30 * DAY_S, ("day",)),
    ("everything", None, ("provider", "model")),
)


async def waits() -> None:
    """Folding as the server does, from the beginning: how long other writes wait for it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "modelport.db"
        async with Database(path):
            pass
        _generate(path, 50_000, 1)
        async with Database(path, now=lambda: NOW_S) as db:
            await _catch_up(db, FOLD)


async def sums(rows: int, days: float) -> None:
    """Sums over *rows* exchanges of the last *days*: from rows, while folding, and from roll-ups."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "modelport.db"
        async with Database(path) as db:
            pass
        began = time.perf_counter()
        _generate(path, rows, days)
        size = path.stat().st_size / 2**30
        print(f"{rows:,} exchanges over {days:g} days: {size:.1f} GiB, made in {time.perf_counter() - began:.0f} s")
        async with Database(path, now=lambda: NOW_S) as db:
            await _ask(db, "rows alone", ASKED[:1])
            await _catch_up(db, FAST)
            await _ask(db, "with roll-ups", ASKED)
            await _with_new_rows(db)
        await _open_again(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"most memory: {peak:.0f} MB", flush=True)


def _generate(path: Path, rows: int, days: float) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -200000", "foreign_keys = OFF"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    step_us = int(days * DAY_S * 1e6 / rows)
    start_us = int(NOW_S * 1e6) - step_us * rows - 1
    for first in range(1, rows + 1, 500_000):
        span = {"first": first, "last": min(first + 499_999, rows), "start_us": start_us, "step_us": step_us}
        connection.execute("BEGIN")
        for statement in (_EXCHANGES, _FIRST_ATTEMPTS, _SECOND_ATTEMPTS):
            connection.execute(statement, span)
        connection.execute("COMMIT")
    connection.close()


async def _ask(db: Database, title: str, asked: Any) -> None:
    accounts = Accounts(db)
    for name, back_s, group_by in asked:
        times = []
        for _ in range(7 if title != "rows alone" else 2):
            began = time.perf_counter()
            found = await accounts.costs(None if back_s is None else NOW_S - back_s, None, group_by)
            times.append((time.perf_counter() - began) * 1000)
        print(
            f"{title}: {name}: median {statistics.median(times):.1f} ms, longest {max(times):.1f} ms"
            f" ({found.total.exchanges:,} exchanges, {len(found.groups)} groups)",
            flush=True,
        )


async def _catch_up(db: Database, batch: int) -> None:
    """Fold everything, while others write: how long they wait."""
    waited: list[float] = []
    done = asyncio.Event()

    async def others() -> None:
        while not done.is_set():
            began = time.perf_counter()
            await db.write(_nothing)
            waited.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.005)

    task = asyncio.create_task(others())
    began = time.perf_counter()
    folded = await Rollups(db, now=lambda: NOW_S, batch=batch).catch_up()
    took = time.perf_counter() - began
    done.set()
    await task
    waited.sort()
    print(
        f"folding {folded:,} exchanges by {batch}: {took:.0f} s ({folded / took:,.0f} a second); a write waited"
        f" {statistics.median(waited):.1f} ms (median), {waited[int(len(waited) * 0.99)]:.1f} ms (99 %),"
        f" {waited[-1]:.1f} ms (longest)",
        flush=True,
    )
    count = await db.read(lambda c: c.execute("SELECT count(*) FROM rollups").fetchone()[0])
    print(f"{count:,} sums are kept", flush=True)


def _nothing(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE rollup_state SET folded_row = folded_row")


async def _with_new_rows(db: Database) -> None:
    """The same while ten seconds of a busy server are not folded yet."""
    ledger = Ledger(db, mode="relaxed", now=lambda: NOW_S - 0.5)
    for number in range(3000):
        await ledger.record(OpenExchange(f"new{number}", "openai_chat"), SettledExchange(f"new{number}", "ok"))
    await db.write(_nothing)  # after all that were handed over before
    await _ask(db, "3,000 not folded", ASKED[:1])


async def _open_again(path: Path) -> None:
    """What a start does with the file."""
    began = time.perf_counter()
    async with Database(path) as db:
        await Ledger(db).recover(lambda provider, model, tokens: None)
        await Accounts(db).newest_attempts(256)
        print(f"opening, reconciling, rebuilding health: {(time.perf_counter() - began) * 1000:.0f} ms", flush=True)


def main() -> None:
    """See above."""
    what, *rest = [*sys.argv[1:], "all"][:1] + sys.argv[2:]
    modes: dict[str, Callable[[], Any]] = {
        "loop": loop_time,
        "throughput": lambda: throughput(float(rest[0]) if rest else 3),
        "waits": waits,
        "sums": lambda: sums(int(rest[0]) if rest else 10_000_000, float(rest[1]) if len(rest) > 1 else 90),
        "serve": lambda: serve(Path(rest[0]), *rest[1:3]),
    }
    if what != "serve":
        print(
            f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores", flush=True
        )
    for name in [what] if what != "all" else ["loop", "throughput", "waits", "sums"]:
        with asyncio.Runner(loop_factory=loop_factory("auto")) as runner:
            runner.run(modes[name]())


if __name__ == "__main__":
    main()
