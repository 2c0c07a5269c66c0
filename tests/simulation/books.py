"""A world whose requests are booked: the real exchange, budgets and ledger, on a disk that is made up.

The disk takes its time, refuses now and then, hangs for longer than the ledger waits, and dies with its process. SQLite
itself watches over what must never happen, in triggers: a settled row that changes, a budget beyond its limit.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Final

from proxy.admission import Admission
from proxy.budgeting import BudgetBook, Load, Spending
from proxy.controls import Controls
from proxy.exchange import Exchange
from proxy.identity import Identity
from routing.errors import AttemptFailed, ChainExhausted, NotSent
from routing.targets import Target
from storage.budgets import Budget, put_budget
from storage.errors import Full, LedgerUnavailable, StorageError
from storage.ledger import Ledger, OpenExchange, SettledExchange, Status
from storage.migrations import migrate
from tests.simulation.world import Done, Vendor, Wave, World
from translators.neutral import Message, Request, Text, Usage

LIMIT_NANOUSD: Final = 3_000_000
ALL: Final = Budget("all", "global", LIMIT_NANOUSD, window="total")
PATIENCE_S: Final = 2.0
"""How long the ledger waits for the disk."""
NOON: Final = 1_795_262_400.0
"""Unix seconds at the beginning."""

_FILLED: Final = ("charges", "budget_spending", "attempts", "exchanges")
_WATCH: Final = (
    "CREATE TRIGGER settled_exchange BEFORE UPDATE ON exchanges WHEN old.status <> 'open'"
    " BEGIN SELECT raise(ABORT, 'a settled exchange changes'); END",
    "CREATE TRIGGER settled_attempt BEFORE UPDATE ON attempts WHEN old.status <> 'open'"
    " BEGIN SELECT raise(ABORT, 'a settled attempt changes'); END",
    "CREATE TRIGGER overspent AFTER UPDATE ON budget_spending"
    f" WHEN new.reserved_nanousd < 0 OR new.spent_nanousd + new.reserved_nanousd > {LIMIT_NANOUSD}"
    " BEGIN SELECT raise(ABORT, 'the budget is overspent'); END",
)


@lru_cache(maxsize=1)
def _connection() -> sqlite3.Connection:
    """The one database of all worlds, which come one after the other: making it takes longer than a world."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, Path("simulated"), 0)
    put_budget(ALL, 0, connection)
    for trigger in _WATCH:
        connection.execute(trigger)
    return connection


def close() -> None:
    """After the last world."""
    _connection().close()
    _connection.cache_clear()


class Disk:
    """Stands in for `storage.db.Database`: jobs are done one after the other, each after a moment.

    *refuses* is the share of jobs that it does not take for want of room, *hangs* that of those that take longer than
    anybody waits.
    """

    def __init__(self, rng: Random, *, refuses: float, hangs: float) -> None:
        self.connection = _connection()
        for table in _FILLED:
            self.connection.execute(f"DELETE FROM {table}")
        self.failure: StorageError | None = None
        self.pending = 0
        self.broken: list[str] = []
        """What the triggers have found."""
        self.dead = False
        self._rng = rng
        self._refuses = refuses
        self._hangs = hangs
        self._free_at = 0.0

    def after_a_kill(self) -> Disk:
        """What another process finds: nothing of what was under way."""
        found = Disk.__new__(Disk)
        found.__dict__.update(self.__dict__, dead=False, pending=0)
        found.heal()
        return found

    def heal(self) -> None:
        """From now on everything is taken."""
        self._refuses = self._hangs = 0.0

    async def write(self, operation: Callable[[sqlite3.Connection], Any]) -> Any:
        return await self.begin(operation)

    def begin(self, operation: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(value: Any, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        self.post(operation, done)
        return future

    def post(
        self, operation: Callable[[sqlite3.Connection], Any], done: Callable[..., None] | None = None, **_: Any
    ) -> None:
        if self.dead:
            return
        loop = asyncio.get_running_loop()
        takes_s = 2 * PATIENCE_S if self._rng.random() < self._hangs else self._rng.expovariate(500)
        self._free_at = max(loop.time(), self._free_at) + takes_s + 1e-6
        self.pending += 1
        loop.call_at(self._free_at, self._do, operation, done)

    def _do(self, operation: Callable[[sqlite3.Connection], Any], done: Callable[..., None] | None) -> None:
        if self.dead:
            return
        self.pending -= 1
        value, error = None, None
        self.connection.execute("BEGIN")
        try:
            if self._rng.random() < self._refuses:
                raise Full("simulated: no room")
            value = operation(self.connection)
            self.connection.execute("COMMIT")
        except (StorageError, sqlite3.Error) as refused:
            self.connection.execute("ROLLBACK")
            if isinstance(refused, sqlite3.Error):
                self.broken.append(str(refused))
                refused = Full(f"simulated: {refused}")
            error = refused
        if done is not None:
            done(value, error)


class BookedWorld(World):
    """A world with books, in which clients leave and the process may be killed. *problems*: what did not hold."""

    def __init__(self, vendors: Sequence[Vendor], policy: str, seed: int, now: Callable[[], float], disk: Disk) -> None:
        super().__init__(vendors, policy, seed, now, allowed_s=20.0)
        self.disk = disk
        self.ledger = Ledger(disk, now=lambda: NOON + now(), deadline_s=PATIENCE_S)  # type: ignore[arg-type]
        self.problems: list[str] = []
        self.running: set[str] = set()
        self.whole: dict[str, int] = {}
        """What was delivered whole, and what it cost."""
        self.tasks: set[asyncio.Task[None]] = set()
        """What settles when nobody waits for it."""
        self.asked: Counter[str] = Counter()
        """Calls that a vendor has got, by exchange."""
        self.spendings = BudgetBook([ALL])

    async def _request(self, wave: Wave) -> None:
        began = self.now()
        tokens = 2 * self.rng.randint(5, wave.tokens)
        load = Load(lambda: tokens // 2, tokens // 2)
        doors = Admission(self.gates, self.rings, wave.tenant, load, began + self.allowed_s, self.now)
        exchange = self._exchange(len(self.running) + len(self.done), wave.tenant, load, doors)
        self.running.add(exchange.id)
        leaves_s = self.rng.expovariate(2) if self.rng.random() < 0.15 else None
        error: str | None = None
        try:
            async with asyncio.timeout(leaves_s):
                await self._answered(exchange, wave.tenant, tokens, doors)
        except TimeoutError:
            error = "left"
        except LedgerUnavailable:
            error = "ledger"
        except (ChainExhausted, NotSent) as failed:
            error = failed.failure.kind
        self.running.discard(exchange.id)
        self.done.append(Done(wave.tenant, self.now(), self.now() - began, len(exchange.attempts), error))

    async def _answered(self, exchange: Exchange, tenant: str, tokens: int, doors: Admission) -> None:
        """Ask, and settle before anything is told: as `proxy.pipeline` and `proxy.delivery` do."""
        request = Request("openai_chat", "m", (Message("user", (Text("x"),)),), max_output_tokens=tokens // 2)

        async def attempt(target: Target, key: int | None, _deadline: float) -> None:
            await self._attempt(exchange, target, key, tokens)

        try:
            await self._walk(request, tenant, attempt, doors)
        except (ChainExhausted, NotSent) as failed:
            if exchange.attempts:
                await exchange.settle("failed", failed.failure)
            raise
        finally:
            if exchange.attempts and not exchange.settled and sys.exception() is not None:
                gone = isinstance(sys.exception(), asyncio.CancelledError)
                if gone:
                    exchange.given_up()
                self._settle_later(exchange, "aborted" if gone else "failed")
        await exchange.settle("ok")
        self.whole[exchange.id] = exchange.cost_nanousd or 0

    def _settle_later(self, exchange: Exchange, status: Status) -> None:
        """Nobody waits for it."""

        async def settle() -> None:
            with suppress(LedgerUnavailable):
                await exchange.settle(status)

        task = asyncio.create_task(settle())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _attempt(self, exchange: Exchange, target: Target, key: int | None, tokens: int) -> None:
        attempt = await exchange.begin(target, key)
        attempt.sent = True
        self._call(exchange.id)
        began, failure = self.now(), None
        used = Usage(input_tokens=tokens // 2, output_tokens=self.rng.randint(0, tokens // 2))
        attempt.usage = used
        cost = self.book.cost(target.provider, "m", used, datetime.now(UTC))
        assert cost is not None
        attempt.cost_nanousd = cost.nanousd
        try:
            await self.vendors[target.provider].answer(self.rng, self.now, key or 0, tokens)
        except AttemptFailed as failed:
            failure = failed.failure
            exchange.failed(attempt, failure)
            raise
        finally:
            attempt.left()
            self._learn(target, failure, (self.now() - began) * 1000)

    def _call(self, exchange_id: str) -> None:
        """A vendor gets a call: its attempt, and every one before it, is in the books."""
        self.asked[exchange_id] += 1
        statement = "SELECT count(*) FROM attempts AS a JOIN exchanges AS e ON e.row = a.exchange WHERE e.id = ?"
        (booked,) = self.disk.connection.execute(statement, (exchange_id,)).fetchone()
        if booked < self.asked[exchange_id]:
            self.problems.append(f"{exchange_id}: {self.asked[exchange_id]} calls, {booked} attempts booked")

    def _exchange(self, number: int, tenant: str, load: Load, doors: Admission) -> Exchange:
        return Exchange(
            self.ledger,
            id=f"x{number}",
            started=0.0,
            identity=Identity(tenant),
            dialect="openai_chat",
            stream=False,
            count=lambda _: 0,
            controls=Controls(),
            route="r",
            cache="bypass",
            client_request_id=None,
            input_estimate=load.input_tokens(),
            deadline=doors.deadline,
            clean=str,
            seen=lambda *_: None,
            spending=Spending(self.spendings, (ALL,), load, self.book, lambda _: None),
            admission=doors,
        )

    async def come_to_rest(self) -> None:
        """The disk is well again: with the next booking everything is made up for."""
        self.disk.heal()
        while self.tasks:
            await asyncio.wait(self.tasks)
        while self.disk.pending:
            await asyncio.sleep(PATIENCE_S)
        await self.ledger.record(OpenExchange("last", "d"), SettledExchange("last", "ok"))
        while self.disk.pending:
            await asyncio.sleep(PATIENCE_S)

    async def killed(self, playing: asyncio.Task[None]) -> None:
        """The process is killed with all that it was doing, and another one takes the books over."""
        self.disk.dead = True
        playing.cancel()
        await asyncio.wait({playing, *self.tasks})
        for task in self.tasks:
            task.cancel()
        self.running.clear()
        self.disk = self.disk.after_a_kill()
        self.ledger = Ledger(self.disk, now=lambda: NOON + self.now())  # type: ignore[arg-type]  # the same methods
        await self.ledger.recover(lambda *_: 0)

    # --- what must hold

    def look(self) -> None:
        """Between two moments: what is open is waited for, and the budget is what its charges add up to."""
        connection = self.disk.connection
        if not self.disk.pending:
            rows = {name for (name,) in connection.execute("SELECT id FROM exchanges WHERE status = 'open'")}
            if strangers := rows - self.running - self.ledger._late.keys():
                self.problems.append(f"{self.now():.3f}: open, and nobody waits for them: {sorted(strangers)}")
        held = connection.execute(
            "SELECT ifnull(sum(CASE WHEN settled THEN nanousd ELSE 0 END), 0),"
            " ifnull(sum(CASE WHEN settled THEN 0 ELSE nanousd END), 0) FROM charges"
        ).fetchone()
        if (booked := _spending(connection)) != held:
            self.problems.append(f"{self.now():.3f}: the budget has spent and reserved {booked}, charges say {held}")

    def balance(self) -> None:
        """At the end: nothing is open or reserved, and what was delivered is booked as it was."""
        self.problems += self.disk.broken
        connection = self.disk.connection
        rows = {
            name: (status, cost)
            for name, status, cost in connection.execute("SELECT id, status, cost_nanousd FROM exchanges")
        }
        statement = (
            "SELECT e.id, ifnull(sum(a.cost_nanousd), 0) FROM attempts AS a JOIN exchanges AS e ON e.row = a.exchange"
        )
        costs = dict(connection.execute(f"{statement} GROUP BY e.id").fetchall())
        spent, reserved = _spending(connection)
        for name, cost in self.whole.items():
            if rows.get(name) != ("ok", cost):
                self.problems.append(f"{name}: delivered for {cost}, booked {rows.get(name)}")
        for name, (status, cost) in rows.items():
            if status == "open" or cost != costs.get(name, 0):
                self.problems.append(f"{name}: {status}, costs {cost}, its attempts {costs.get(name, 0)}")
        for name in self.asked.keys() - rows.keys():
            self.problems.append(f"{name}: asked, and in no book")
        if reserved or spent != sum(costs.values()):
            self.problems.append(f"the budget: {reserved} stay reserved, {spent} spent of {sum(costs.values())}")


def _spending(connection: sqlite3.Connection) -> tuple[int, int]:
    spent, reserved = connection.execute(
        "SELECT ifnull(sum(spent_nanousd), 0), ifnull(sum(reserved_nanousd), 0) FROM budget_spending"
    ).fetchone()
    return spent, reserved
