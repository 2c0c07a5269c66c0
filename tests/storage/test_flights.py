"""Identical concurrent requests share one call."""

from __future__ import annotations

import asyncio

import pytest

from storage.flights import SingleFlight

KEY = b"key"


class Upstream:
    """Counts its calls; each answers (or fails) when told."""

    def __init__(self) -> None:
        self.calls: list[asyncio.Future[str]] = []

    def ask(self) -> asyncio.Future[str]:
        self.calls.append(asyncio.get_running_loop().create_future())
        return self.calls[-1]


async def _request(flights: SingleFlight[str], upstream: Upstream, key: bytes = KEY) -> str:
    async with flights.join(key) as flight:
        if flight.answer is not None:
            return flight.answer
        answer = await upstream.ask()
        flight.land(answer)
        return answer


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def flights() -> SingleFlight[str]:
    return SingleFlight()


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


async def test_followers_get_the_leaders_answer(flights: SingleFlight[str], upstream: Upstream) -> None:
    tasks = [asyncio.create_task(_request(flights, upstream)) for _ in range(10)]
    await _settle()
    upstream.calls[0].set_result("answer")

    assert await asyncio.gather(*tasks) == ["answer"] * 10
    assert (len(upstream.calls), len(flights)) == (1, 0)


async def test_different_keys_do_not_wait_for_each_other(flights: SingleFlight[str], upstream: Upstream) -> None:
    tasks = [asyncio.create_task(_request(flights, upstream, key)) for key in (b"a", b"b")]
    await _settle()
    for number, call in enumerate(upstream.calls):
        call.set_result(str(number))

    assert await asyncio.gather(*tasks) == ["0", "1"]


async def test_a_cancelled_leader_hands_over_to_one_follower(flights: SingleFlight[str], upstream: Upstream) -> None:
    tasks = [asyncio.create_task(_request(flights, upstream)) for _ in range(5)]
    for number in range(3):
        await _settle()
        tasks[number].cancel()
    await _settle()

    assert len(upstream.calls) == 4
    upstream.calls[3].set_result("answer")
    assert await asyncio.gather(*tasks[3:]) == ["answer"] * 2
    assert len(flights) == 0


async def test_a_cancelled_follower_leaves_the_others_alone(flights: SingleFlight[str], upstream: Upstream) -> None:
    tasks = [asyncio.create_task(_request(flights, upstream)) for _ in range(3)]
    await _settle()
    tasks[1].cancel()
    await _settle()
    upstream.calls[0].set_result("answer")

    assert await asyncio.gather(tasks[0], tasks[2]) == ["answer"] * 2


async def test_after_two_failed_leaders_the_rest_go_alone(flights: SingleFlight[str], upstream: Upstream) -> None:
    tasks = [asyncio.create_task(_request(flights, upstream)) for _ in range(6)]
    calls_seen = []
    for number in range(2):
        await _settle()
        calls_seen.append(len(upstream.calls))
        upstream.calls[number].set_exception(ConnectionError("down"))
    await _settle()
    calls_seen.append(len(upstream.calls))
    for call in upstream.calls[2:]:
        call.set_result("late")
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert calls_seen == [1, 2, 6]
    assert [str(result) for result in results] == ["down", "down", *["late"] * 4]
    assert len(flights) == 0


async def test_an_answer_that_is_not_to_be_shared_is_not(flights: SingleFlight[str], upstream: Upstream) -> None:
    async def refused() -> str:
        async with flights.join(KEY) as flight:
            return "mine" if flight.answer is None else flight.answer

    leader = asyncio.create_task(refused())
    follower = asyncio.create_task(_request(flights, upstream))
    await _settle()
    upstream.calls[0].set_result("own")

    assert (await leader, await follower) == ("mine", "own")


async def test_followers_need_not_wait_for_the_leaders_client(flights: SingleFlight[str], upstream: Upstream) -> None:
    lands, client_reads = asyncio.Event(), asyncio.Event()

    async def slow_leader() -> None:
        async with flights.join(KEY) as flight:
            await lands.wait()
            flight.land("answer")
            await client_reads.wait()

    leader = asyncio.create_task(slow_leader())
    await _settle()
    follower = asyncio.create_task(_request(flights, upstream))
    await _settle()
    lands.set()
    answer = await asyncio.wait_for(follower, 5)

    assert (answer, leader.done(), upstream.calls) == ("answer", False, [])
    client_reads.set()
    await leader
