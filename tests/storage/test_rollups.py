"""Sums kept ready are those that counting the rows gives, whatever happened in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from itertools import combinations
from random import Random
from typing import Any

import pytest

from storage import rollups
from storage.accounts import Accounts
from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from storage.rollups import DAY_US, HOUR_US, MINUTE_US, Rollups, rebuild
from storage.sums import EVERYONE, GROUPINGS, NUMBERS, Whose

GROUPS = [group for size in range(3) for group in combinations(GROUPINGS, size)] + [GROUPINGS]
TARGETS = (("a", "m1"), ("a", "m2"), ("b", "x/y"))
LENGTHS_S = (1, 59, 60, 61, 3600, 5000, 86_400, 100_000, 400_000)


class Traffic:
    """Random exchanges in *db*: some are left open, some are settled much later, and the clock jumps."""

    def __init__(self, db: Database, clock: Any, rng: Random) -> None:
        self.ledger = Ledger(db, now=clock)
        self.clock, self.rng = clock, rng
        self.open: list[tuple[str, int]] = []
        self.count = 0

    async def act(self) -> None:
        rng = self.rng
        self.clock.advance(rng.choice([0.2, 30, 700, 4000, -50, 20_000, -9000]))
        if self.open and rng.random() < 0.5:
            await self.settle(self.open.pop(rng.randrange(len(self.open))))
        elif rng.random() < 0.2:
            name = self.name()
            hit = SettledExchange(
                name, "ok", target="a/m1", saved_nanousd=rng.randrange(99), latency_ms=70_000.0,
                input_tokens=rng.randrange(99), output_tokens=rng.randrange(99),
            )  # fmt: skip
            await self.ledger.record(self.opened(name, "hit"), hit)
        else:
            name = self.name()
            await self.ledger.open(self.opened(name, "miss"), OpenAttempt(name, 1, *rng.choice(TARGETS)))
            number = 1
            if rng.random() < 0.3:
                number = 2
                await self.ledger.open_attempt(OpenAttempt(name, 2, *rng.choice(TARGETS)), self.closing(name, 1))
            self.open.append((name, number))

    async def settle(self, exchange: tuple[str, int]) -> None:
        name, number = exchange
        status = self.rng.choice(["ok", "failed", "aborted", "interrupted"])
        await self.ledger.settle(SettledExchange(name, status), self.closing(name, number))

    def closing(self, name: str, number: int) -> SettledAttempt:
        rng = self.rng
        return SettledAttempt(
            name, number, rng.choice(["ok", "failed"]), rng.choice([None, 0, rng.randrange(10**12)]),
            input_tokens=rng.randrange(100), cached_input_tokens=rng.randrange(9), cache_write_tokens=rng.randrange(9),
            output_tokens=rng.randrange(100), reasoning_tokens=rng.randrange(9), estimated=rng.random() < 0.3,
        )  # fmt: skip

    def opened(self, name: str, cache: Any) -> OpenExchange:
        rng = self.rng
        return OpenExchange(
            name, "openai_chat", route=rng.choice([None, "r"]), key_id=rng.choice(["k1", "k2"]), cache=cache,
            team=rng.choice([None, "t"]), organisation=rng.choice([None, "o"]),
            tags=rng.choice([{}, {"a": "1"}, {"a": "1", "b": "2"}, {"n": str(rng.randrange(50))}]),
        )  # fmt: skip

    def name(self) -> str:
        self.count += 1
        return f"x{self.count}"


def _sums(parts: Iterable[Any]) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(NUMBERS))
    for part in parts:
        values = tuple(part)
        names = values[: len(GROUPINGS)]
        found[names] = [a + b for a, b in zip(found[names], values[len(GROUPINGS) :], strict=True)]
    return dict(found)


async def _differences(db: Database, rng: Random, clock: Any, spans: int = 12) -> list[Any]:
    """Spans and groupings in which the sums are not those of the rows."""

    def look(connection: Any) -> list[Any]:
        wrong = []
        for _ in range(spans):
            since = int((clock() - rng.choice(LENGTHS_S) * rng.random() * 2) * 1_000_000)
            since -= since % rng.choice([1, MINUTE_US, HOUR_US, DAY_US])
            until = rng.choice([2**62, since + int(rng.choice(LENGTHS_S) * 1e6), since, since + MINUTE_US])
            group_by = rng.choice(GROUPS)
            whose = rng.choice([EVERYONE, EVERYONE, Whose(key="k1"), Whose(team="t"), Whose(organisation="o")])
            asked = (connection, since, until, group_by, whose)
            if _sums(rollups.parts_of(*asked)) != _sums(rollups.parts_of_rows(*asked)):
                wrong.append(asked[1:])
        return wrong

    return await db.read(look)


@pytest.mark.parametrize("seed", range(8))
async def test_sums_are_those_of_the_rows_at_every_stage_of_folding(db: Database, clock: Any, seed: int) -> None:
    rng = Random(seed)
    traffic, keeper = Traffic(db, clock, rng), Rollups(db, now=clock, batch=rng.choice([2, 7, 400]))
    steps = [partial(step, 3) for step in (rollups._fold_new, rollups._fold_pending, rollups._fill_gap)]
    for _ in range(25):
        for _ in range(rng.randrange(8)):
            await traffic.act()
        if rng.random() < 0.2:
            await keeper.catch_up()
        if rng.random() < 0.2:
            await db.write(partial(_reprice, int(clock() * 1e6) - rng.randrange(10**12), rng.randrange(10**12)))
        for _ in range(rng.randrange(3)):
            await db.write(rng.choice(steps))

        assert await _differences(db, rng, clock) == []
    await keeper.catch_up()

    assert await _differences(db, rng, clock, 100) == []
    assert await db.read(lambda c: rollups.State.of(c).has_gap) is False


def _reprice(from_us: int, length_us: int, connection: Any) -> None:
    to_us = from_us + length_us
    connection.execute(
        "UPDATE attempts SET cost_nanousd = 7 WHERE cost_nanousd IS NULL AND status <> 'open'"
        " AND exchange IN (SELECT row FROM exchanges WHERE opened_us >= ? AND opened_us < ?)",
        (from_us, to_us),
    )
    rebuild(connection, from_us, to_us)


async def test_after_folding_hardly_a_row_is_read(db: Database, clock: Any) -> None:
    """The rows can be gone, and the sum over whole hours is still there."""
    ledger = Ledger(db, now=clock)
    for n in range(200):
        clock.advance(60)
        await ledger.record(OpenExchange(f"x{n}", "d", tags={"n": str(n)}), SettledExchange(f"x{n}", "ok"))
    clock.advance(3600)
    assert await Rollups(db, now=clock).catch_up() == 200
    await db.write(lambda c: c.execute("DELETE FROM exchanges").rowcount)

    assert (await Accounts(db).costs(group_by=("day",))).total.exchanges == 200


async def test_minutes_are_forgotten_and_spans_stay_exact(db: Database, clock: Any) -> None:
    rng = Random(1)
    traffic, keeper = Traffic(db, clock, rng), Rollups(db, now=clock)
    for _ in range(150):
        await traffic.act()
        await keeper.catch_up()
    clock.advance(5 * 86_400)
    await traffic.act()
    await keeper.catch_up()
    count = "SELECT count(*) FROM rollups WHERE length_us = ? AND bucket_us < ?"
    limit = int(clock() * 1e6) - rollups.MINUTES_KEPT_US - HOUR_US

    assert await db.read(lambda c: c.execute(count, (MINUTE_US, limit)).fetchone()[0]) == 0
    assert await db.read(lambda c: c.execute(count, (HOUR_US, limit)).fetchone()[0]) > 0
    assert await _differences(db, rng, lambda: clock() - 5 * 86_400, 200) == []


async def test_an_exchange_that_stays_open_holds_up_nobody(db: Database, clock: Any) -> None:
    ledger, keeper = Ledger(db, now=clock), Rollups(db, now=clock)
    await ledger.open(OpenExchange("slow", "d"), OpenAttempt("slow", 1, "p", "m"))
    for n in range(20):
        await ledger.record(OpenExchange(f"x{n}", "d"), SettledExchange(f"x{n}", "ok"))
    await keeper.catch_up()
    folded = "SELECT sum(exchanges) FROM rollups WHERE NOT tagged AND length_us = ?"

    assert await db.read(lambda c: c.execute(folded, (DAY_US,)).fetchone()[0]) == 20
    assert (await Accounts(db).costs()).total.exchanges == 21
    await ledger.settle(SettledExchange("slow", "ok"), SettledAttempt("slow", 1, "ok", 5))
    await keeper.catch_up()
    assert await db.read(lambda c: c.execute(folded, (DAY_US,)).fetchone()[0]) == 21
    assert (await Accounts(db).costs()).total.cost_nanousd == 5
