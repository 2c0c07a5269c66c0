"""What a plain request on the fast lane costs, in calls of our own functions: a count, which no machine changes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import LANE, QUICK, completion, provider, streams
from tests.proxy.test_fast_lane import known, line, request
from tests.replay import Answer, Upstream

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(f"{ROOT / package}/" for package in ("proxy", "routing", "storage", "translators"))
REQUESTS = 40
MOST_CALLS = 146
"""Three more than there are (2026-11-22). To raise it is a choice, for what is worth that to every request."""


@contextmanager
def counting(calls: Counter[str]) -> Iterator[None]:
    """Count the calls of our functions in this thread, by file and name."""

    names: dict[CodeType, str | None] = {}

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code not in names:
            path = code.co_filename
            names[code] = f"{Path(path).relative_to(ROOT)}:{code.co_qualname}" if path.startswith(OURS) else None
        if (name := names[code]) is not None:
            calls[name] += 1

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


@pytest.mark.skipif(bool(LANE), reason="the suite runs without the lane")
async def test_a_plain_request_takes_few_calls(serve: Serve, upstream: Upstream) -> None:
    limits = {"x-ratelimit-remaining-requests": "99", "x-ratelimit-remaining-tokens": "9999"}
    upstream.script("m", Answer.json(completion(), headers=limits))
    server = await serve(QUICK, provider("one", upstream))
    ridden = await known(server)
    calls: Counter[str] = Counter()
    async with line(server) as client:
        await client.ask(request())
        with counting(calls):
            for _ in range(REQUESTS):
                await client.ask(request())

    assert server.services.shapes.ridden == ridden + REQUESTS + 1
    each = {name: count / REQUESTS for name, count in calls.most_common() if count >= REQUESTS / 2}
    assert sum(each.values()) <= MOST_CALLS, "\n".join(f"{count:5.1f} {name}" for name, count in each.items())


EVENTS = 60
MOST_CALLS_OF_AN_EVENT = 6
"""One more than there are (2026-11-22): three of the connection, two that look at it and write it."""


@pytest.mark.parametrize("lane", ["true", "false"])
async def test_an_event_of_a_stream_takes_few_calls(serve: Serve, upstream: Upstream, lane: str) -> None:
    """On both ways: what is counted is what more of the events costs, each of which is read by itself."""
    words = [f" word {number}" for number in range(EVENTS)]
    upstream.script("m", streams(*words, delay_between_s=0.003))
    server = await serve(QUICK, provider("one", upstream), f"[server]\nfast_lane = {lane}\n")
    for _ in range(2):
        await server.ask(model="one/m", stream=True)
    calls: Counter[str] = Counter()
    with counting(calls):
        reply = await server.ask(model="one/m", stream=True)

    assert reply.text == "".join(words)
    reads = calls["proxy/transport/connection.py:Connection.buffer_updated"]
    each = {name: count / reads for name, count in calls.most_common() if count >= EVENTS / 2}
    assert reads > EVENTS / 2
    assert sum(each.values()) <= MOST_CALLS_OF_AN_EVENT, "\n".join(f"{n:5.1f} {name}" for name, n in each.items())
