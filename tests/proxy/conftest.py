"""A loopback upstream, servers in the test's event loop, and a log that no test leaves changed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.proxy.serving import Served, serving
from tests.replay import Upstream

Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts a server with the given sections; it stops with the test."""
    async with AsyncExitStack() as stack:

        async def start(*sections: str, environ: dict[str, str] | None = None) -> Served:
            return await stack.enter_async_context(serving(tmp_path, "\n".join(sections), environ))

        yield start


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """For what sets up the process's logging: handlers and level come back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
