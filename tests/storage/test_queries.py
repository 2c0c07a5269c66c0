"""Queries are kept for their tenant, end once, and their results go before their ids do."""

from __future__ import annotations

import pytest

from storage.db import Database
from storage.queries import REMEMBERED_S, TTL_S, Queries
from translators.codec import dumps

TOLD = b'{"model":"m"}'


@pytest.fixture
def queries(db: Database, clock) -> Queries:
    return Queries(db, now=clock)


async def _ended(queries: Queries, name: str, told: bytes = b'{"result":1}') -> None:
    await queries.add("t1", name, "running", TOLD)
    await queries.end("t1", name, "completed", told)


async def test_a_query_goes_from_queued_over_running_to_its_end(queries: Queries, clock) -> None:
    await queries.add("t1", "q1", "queued", TOLD)
    seen = [await queries.get("t1", "q1")]
    clock.advance(1)
    await queries.begin("t1", "q1")
    seen.append(await queries.get("t1", "q1"))
    clock.advance(1)
    await queries.end("t1", "q1", "completed", b'{"result":1}')
    seen.append(await queries.get("t1", "q1"))

    assert [each.status for each in seen if each] == ["queued", "running", "completed"]
    last = seen[-1]
    assert last is not None
    assert last.told == b'{"result":1}'
    assert (last.started_us, last.ended_us) == (last.created_us + 1_000_000, last.created_us + 2_000_000)


@pytest.mark.parametrize("late", ["completed", "failed", "cancelled"])
async def test_the_first_end_counts(queries: Queries, late) -> None:
    await queries.add("t1", "q1", "queued", TOLD)
    await queries.end("t1", "q1", "cancelled", b'{"first":1}')

    assert not await queries.begin("t1", "q1")
    assert not await queries.end("t1", "q1", late, b'{"second":1}')
    found = await queries.get("t1", "q1")
    assert found is not None
    assert (found.status, found.told) == ("cancelled", b'{"first":1}')


async def test_a_query_of_another_tenant_is_unknown(queries: Queries) -> None:
    await _ended(queries, "q1")

    assert await queries.get("t2", "q1") is None
    assert not await queries.end("t2", "q1", "cancelled", b"{}")


async def test_a_result_expires_before_its_id_is_forgotten(queries: Queries, clock) -> None:
    """Known, then known to be gone, then unknown; whether or not `prune` has come by."""
    await _ended(queries, "q1")
    found = []
    for wait_s in (TTL_S - 1, 1, REMEMBERED_S - 1, 1):
        clock.advance(wait_s)
        stored = await queries.get("t1", "q1")
        found.append(None if stored is None else (stored.expired, stored.told is None))

    assert found == [(False, False), (True, True), (True, True), None]


async def test_pruning_takes_results_first_and_rows_later(queries: Queries, clock) -> None:
    await _ended(queries, "q1", dumps({"result": "x" * 1000}))
    before = await queries.stats()
    clock.advance(TTL_S)
    await queries.prune(clock())
    between = await queries.stats()
    clock.advance(REMEMBERED_S)
    await queries.prune(clock())

    assert before["entries"] == between["entries"] == 1
    assert before["size_bytes"] - between["size_bytes"] > 1000
    assert await queries.stats() == {"entries": 0, "size_bytes": 0}


async def test_a_query_that_runs_is_never_pruned(queries: Queries, clock) -> None:
    await queries.add("t1", "q1", "queued", TOLD)
    clock.advance(TTL_S + REMEMBERED_S + 1)
    await queries.prune(clock())

    found = await queries.get("t1", "q1")
    assert found is not None
    assert (found.status, found.expired) == ("queued", False)


async def test_what_a_dead_process_left_is_failed_at_the_next_start(queries: Queries) -> None:
    await queries.add("t1", "waits", "queued", TOLD)
    await queries.add("t1", "runs", "running", TOLD)
    await _ended(queries, "done")

    assert await queries.recover(b'{"error":"interrupted"}') == 2
    states = {name: await queries.get("t1", name) for name in ("waits", "runs", "done")}
    assert {name: each.status for name, each in states.items() if each} == {
        "waits": "failed",
        "runs": "failed",
        "done": "completed",
    }
    assert states["runs"] is not None
    assert states["runs"].told == b'{"error":"interrupted"}'


async def test_a_full_table_loses_its_oldest_results_and_no_query_that_runs(db: Database, clock) -> None:
    queries = Queries(db, max_bytes=4000, now=clock)
    await queries.add("t1", "runs", "running", TOLD)
    for number in range(6):
        clock.advance(1)
        await _ended(queries, f"q{number}", b"x" * 1000)

    left = [name for name in ("runs", *(f"q{number}" for number in range(6))) if await queries.get("t1", name)]
    assert left == ["runs", "q4", "q5"]
    assert (await queries.stats())["size_bytes"] <= 4000
