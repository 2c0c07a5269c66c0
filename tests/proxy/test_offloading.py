"""Large bodies are read in threads, so that nobody else waits for them; ordinary ones are not, so that they do not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import provider
from tests.proxy.test_destinations import ENDPOINTS, JSON, vendor
from tests.replay import Upstream

LARGE = 300 * 1024


class Threads(ThreadPoolExecutor):
    """Where `asyncio.to_thread` sends work; notes how many bytes it was given at most."""

    def __init__(self) -> None:
        super().__init__(4)
        self.largest = 0

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self.largest = max([self.largest, *(len(each) for each in given(work, *arguments) if isinstance(each, bytes))])
        return super().submit(work, *arguments, **named)


def given(*things: Any) -> Iterator[Any]:
    """*things*, and what was bound to them by `partial`."""
    for each in things:
        yield each
        yield from given(*getattr(each, "args", ()))


@pytest.mark.parametrize("size", [0, LARGE], ids=["ordinary", "large"])
@pytest.mark.parametrize("endpoint", [name for name in ENDPOINTS if name != "query"])
async def test_large_bodies_are_read_in_threads(serve: Serve, upstream: Upstream, endpoint: str, size: int) -> None:
    path, body = ENDPOINTS[endpoint]
    upstream.script("m", vendor)
    server = await serve(provider("one", upstream), provider("claude", upstream, "anthropic"))
    threads = Threads()
    asyncio.get_running_loop().set_default_executor(threads)
    raw = json.dumps({**body, "metadata": {"note": "x" * size}}).encode()

    reply = await server.request("POST", path, raw, JSON)

    assert reply.status in {200, 404}, reply.body  # the vendor here has nothing to pass on to
    assert (threads.largest >= size) if size else (threads.largest == 0)
