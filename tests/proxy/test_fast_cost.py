"""What a plain request on the fast lane costs, in calls of our own functions: a count, which no machine changes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import LANE, QUICK, completion, provider, question, streams
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


MOST_CALLS_OF_A_HIT = 54
"""Three more than there are (2026-11-22); ten of them are told or handed over once for all hits of a turn."""
AFTER_COMMITS = ("Job.deliver", "Ledger._were_answered", "Ledger._make_up", "Slate.wipe")
"""What is done once for each job that was written: the clock says how many those are in the time of the test."""


@pytest.mark.skipif(bool(LANE), reason="the suite runs without the lane")
async def test_a_hit_takes_few_calls(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json(completion()))
    server = await serve(QUICK, provider("one", upstream))
    body = json.dumps(question(model="one/m", temperature=0)).encode()
    ridden = await known(server, body=body)
    calls: Counter[str] = Counter()
    async with line(server) as client:
        await client.ask(request(body))
        with counting(calls):
            for _ in range(REQUESTS):
                await client.ask(request(body))

    assert server.services.shapes.ridden == ridden + REQUESTS + 1
    assert len(upstream.asked("m")) == 1
    own = {name: count for name, count in calls.most_common() if not name.endswith(AFTER_COMMITS)}
    each = {name: count / REQUESTS for name, count in own.items() if count >= REQUESTS / 2}
    assert sum(each.values()) <= MOST_CALLS_OF_A_HIT, "\n".join(f"{n:5.1f} {name}" for name, n in each.items())


MOST_CALLS_OF_A_TURN = {"/v1/chat/completions": 216, "/v1/messages": 266}
"""Some more than there are (2026-11-22) in a turn of an agent with one call and its result."""
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURNS = {
    "/v1/chat/completions": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ],
    "/v1/messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1a2b3c4d", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1a2b3c4d", "content": "rain"}]},
    ],
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hi"}],
}


@pytest.mark.skipif(bool(LANE), reason="the suite runs without the lane")
@pytest.mark.parametrize("path", TURNS)
async def test_a_turn_with_tools_takes_few_calls(serve: Serve, upstream: Upstream, path: str) -> None:
    dialect = "anthropic" if path == "/v1/messages" else "openai_chat"
    usage = {"stop_reason": "end_turn", "usage": {"input_tokens": 9, "output_tokens": 5}}
    upstream.script("m", Answer.json({**MESSAGE, **usage} if dialect == "anthropic" else completion()))
    server = await serve(QUICK, provider("one", upstream, dialect))
    body = json.dumps(question(model="one/m", max_tokens=9, messages=TURNS[path])).encode()
    calls: Counter[str] = Counter()
    async with line(server) as client:
        for _ in range(5):
            await client.ask(request(body, path=path))
            await server.services.drain()
        ridden = server.services.shapes.ridden
        with counting(calls):
            for _ in range(REQUESTS):
                await client.ask(request(body, path=path))

    assert server.services.shapes.ridden == ridden + REQUESTS
    each = {name: count / REQUESTS for name, count in calls.most_common() if count >= REQUESTS / 2}
    most = MOST_CALLS_OF_A_TURN[path]
    assert sum(each.values()) <= most, f"{sum(each.values())}\n" + "\n".join(
        f"{n:5.1f} {name}" for name, n in each.items()
    )


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
