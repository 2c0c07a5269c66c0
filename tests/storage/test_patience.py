"""One timer for many waits: each ends when it should, and nothing is kept of those that have ended."""

from __future__ import annotations

import asyncio

import pytest

from storage.patience import Patience


async def test_what_comes_in_time_is_given() -> None:
    loop, patience = asyncio.get_running_loop(), Patience(10)
    futures = [loop.create_future() for _ in range(3)]
    waiting = [asyncio.ensure_future(patience.wait(future)) for future in futures]
    await asyncio.sleep(0)
    for number, future in enumerate(futures):
        future.set_result(number)

    assert await asyncio.gather(*waiting) == [0, 1, 2]


async def test_each_wait_has_its_own_end() -> None:
    loop, patience = asyncio.get_running_loop(), Patience(0.05)
    first, second = loop.create_future(), loop.create_future()
    begun = loop.time()
    one = asyncio.ensure_future(patience.wait(first))
    await asyncio.sleep(0.03)
    other = asyncio.ensure_future(patience.wait(second))
    ended = []
    for task in (one, other):
        with pytest.raises(TimeoutError):
            await task
        ended.append(loop.time() - begun)

    assert ended[0] >= 0.05
    assert ended[1] >= 0.08


async def test_who_gives_up_ends_nobody_else() -> None:
    loop, patience = asyncio.get_running_loop(), Patience(10)
    first, second = loop.create_future(), loop.create_future()
    one, other = (asyncio.ensure_future(patience.wait(future)) for future in (first, second))
    await asyncio.sleep(0)
    one.cancel()
    second.set_result("here")

    assert await other == "here"
    assert first.cancelled()


async def test_nothing_is_kept_of_what_has_ended() -> None:
    loop, patience = asyncio.get_running_loop(), Patience(10)
    for _ in range(1000):
        future = loop.create_future()
        waiting = asyncio.ensure_future(patience.wait(future))
        await asyncio.sleep(0)
        future.set_result(None)
        await waiting

    assert len(patience._waits) == 1
