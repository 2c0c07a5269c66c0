"""Turns are given in the order of arrival, but for those whose tenant has as many running as it may."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.config.model import QuerySettings
from proxy.query_desk import QueryDesk
from storage.db import Database
from storage.queries import Queries


class Runner:
    """Takes turns at a desk, and notes who has one."""

    def __init__(self, desk: QueryDesk) -> None:
        self.desk = desk
        self.began: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, tenant: str, most: int | None = None) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._run(name, tenant, most))
        await self.settle()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await self.settle()

    async def leave(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _run(self, name: str, tenant: str, most: int | None) -> None:
        async with self.desk.turn(tenant, most):
            self.began.append(name)
            await self._ends[name].wait()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(QueryDesk(Queries(Database(tmp_path / "unused.db")), QuerySettings(running=2, running_per_key=1)))


async def test_who_comes_first_runs_first(runner: Runner) -> None:
    for name in ("a", "b", "c", "d"):
        await runner.come(name, name)
    await runner.end("b")
    await runner.end("a")

    assert runner.began == ["a", "b", "c", "d"]


async def test_a_tenant_with_enough_running_does_not_keep_others_waiting(runner: Runner) -> None:
    await runner.come("a1", "a")
    await runner.come("a2", "a")
    await runner.come("b1", "b")
    before = list(runner.began)
    await runner.end("a1")

    assert before == ["a1", "b1"]
    assert runner.began == ["a1", "b1", "a2"]


async def test_a_keys_own_limit_holds_below_the_common_one(tmp_path: Path) -> None:
    runner = Runner(QueryDesk(Queries(Database(tmp_path / "unused.db")), QuerySettings(running_per_key=5)))
    for name in ("1", "2", "3"):
        await runner.come(name, "a", most=2)

    assert runner.began == ["1", "2"]


async def test_wider_bounds_hold_for_those_who_wait_and_narrower_ones_for_those_who_come(runner: Runner) -> None:
    await runner.come("a1", "a")
    await runner.come("a2", "a")
    runner.desk.bounds = QuerySettings(running=2, running_per_key=2)
    await runner.come("b1", "b")
    widened = list(runner.began)
    runner.desk.bounds = QuerySettings(running=1, running_per_key=1)
    await runner.end("a1")
    narrowed = list(runner.began)
    await runner.end("a2")

    assert widened == ["a1", "a2"]
    assert narrowed == ["a1", "a2"]
    assert runner.began == ["a1", "a2", "b1"]


async def test_who_stops_waiting_leaves_no_trace(runner: Runner) -> None:
    await runner.come("a", "a")
    await runner.come("b", "b")
    await runner.come("c", "c")
    await runner.leave("c")
    await runner.come("d", "d")
    await runner.end("a")
    await runner.end("b")
    await runner.come("e", "e")

    assert runner.began == ["a", "b", "d", "e"]


def test_unended_queries_are_bounded_by_tenant_and_in_all(tmp_path: Path) -> None:
    desk = QueryDesk(Queries(Database(tmp_path / "unused.db")), QuerySettings(unended=3, unended_per_key=2))
    rooms = []
    for tenant in ("a", "a", "b"):
        rooms.append(desk.has_room(tenant))
        desk.take_in(tenant)
    full = [desk.has_room(tenant) for tenant in ("a", "b", "c")]
    desk.let_go("a")

    assert rooms == [True, True, True]
    assert full == [False, False, False]
    assert [desk.has_room(tenant) for tenant in ("a", "b", "c")] == [True, True, True]
