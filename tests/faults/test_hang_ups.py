"""A client that leaves: the provider hears of it, the books say `aborted`, nothing stays open."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from routing.targets import Target
from tests.faults.table import PRICE
from tests.proxy.conftest import Serve
from tests.proxy.serving import LANE, OPENING, Served, chunk, provider, question
from tests.replay import Answer, Upstream, cassette

CHAT: Final = "/v1/chat/completions"
WITHIN_S: Final = 20.0
"""For what must come to pass, however busy the machine is."""


async def until(fact: Callable[[], bool]) -> None:
    """Wait for what nobody tells."""
    async with asyncio.timeout(WITHIN_S):
        while not fact():
            await asyncio.sleep(0.01)


def sockets() -> int:
    """How many this process has open, those of the upstream included."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found


@asynccontextmanager
async def client(server: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()


def asking(path: str = CHAT, **body: Any) -> bytes:
    """A request as bytes."""
    raw = json.dumps(question(**body)).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n"
    )
    return head.encode() + b"\r\n" + raw


@contextmanager
def nobody_answers() -> Iterator[int]:
    """A port whose connections are never made: its queue is full."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield int(full.getsockname()[1])


async def left(server: Served, fds: int) -> list[dict[str, Any]]:
    """The rows, when nothing is under way any more and nothing has stayed open."""
    await until(lambda: not server.services.in_flight)
    rows = await server.rows()
    await until(lambda: sockets() <= fds)
    return rows


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client leaves: while *answer* is as far as it comes, after having read *read*."""

    answer: Callable[[str], Answer]
    stream: bool
    read: bytes = b""
    lane: bool = False


def _half(dialect: str, form: str) -> Answer:
    whole = cassette(f"{dialect}/{form}")
    return cassette(f"{dialect}/{form}", hold_at=len(whole.body) // 2, split="events")


PLACES: Final[dict[str, Place]] = {
    "before the head, whole": Place(lambda _: Answer(hang=True), stream=False),
    "before the head, stream": Place(lambda _: Answer(hang=True), stream=True),
    "before the first event": Place(lambda _: Answer.sse("", end="hang"), stream=True),
    "in mid-stream": Place(lambda dialect: _half(dialect, "text_stream"), stream=True, read=b"Paris"),
    "in a whole answer": Place(lambda dialect: _half(dialect, "text"), stream=False),
    "in a whole answer, on the fast lane": Place(lambda dialect: _half(dialect, "text"), stream=False, lane=True),
    "before the head, on the fast lane": Place(lambda _: Answer(hang=True), stream=False, lane=True),
}


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
@pytest.mark.parametrize("name", PLACES)
async def test_the_provider_hears_of_it(serve: Serve, upstream: Upstream, name: str, dialect: str) -> None:
    place = PLACES[name]
    if place.lane and (dialect != "openai_chat" or LANE):
        pytest.skip("the lane takes what is relayed, where there is one")
    warm = 2 if place.lane else 0
    upstream.script("m", *[cassette(f"{dialect}/text")] * warm, place.answer(dialect))
    server = await serve(provider("one", upstream, dialect, more=PRICE))
    request = asking(model="one/m", stream=place.stream, max_tokens=9)
    fds = sockets()
    async with client(server) as (reader, writer):
        for _ in range(warm):
            writer.write(request)
            await reader.readuntil(b"fp_hand")
            await reader.readuntil(b"}")
        writer.write(request)
        asked = await asyncio.to_thread(upstream.wait_asked, "m", warm + 1, WITHIN_S)
        assert await asyncio.to_thread(asked.answered.wait, WITHIN_S)
        if place.read:
            await reader.readuntil(place.read)

    heard = await asyncio.to_thread(asked.wait_left, WITHIN_S)
    rows = await left(server, fds)
    assert heard
    assert [row["status"] for row in rows] == ["ok"] * warm + ["aborted"]
    assert (rows[-1]["estimated"], rows[-1]["input_tokens"] > 0) == (True, True)
    assert (rows[-1]["output_tokens"] > 0) == bool(place.read)
    assert Decimal(rows[-1]["cost_usd"]) > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_while_the_provider_is_being_connected_to(serve: Serve, stream: bool) -> None:
    with nobody_answers() as port:
        server = await serve(provider("one", f"http://127.0.0.1:{port}/v1"))
        fds = sockets()
        async with client(server) as (_, writer):
            writer.write(asking(model="one/m", stream=stream))
            await until(lambda: sockets() > fds + 2)  # the client's, the server's, and the one to the provider
        (row,) = await left(server, fds)

    assert row["status"] == "aborted"


async def test_in_the_queue_of_a_provider(serve: Serve, upstream: Upstream) -> None:
    """It is never asked, and the place in the queue is free again."""
    whole = cassette("openai_chat/text")
    upstream.script("m", cassette("openai_chat/text", hold_at=9), whole)
    server = await serve(provider("one", upstream, more="limits = { concurrent = 1, queue = 1 }"))
    first = asyncio.create_task(server.ask(model="one/m"))
    asked = await asyncio.to_thread(upstream.wait_asked, "m", 1, WITHIN_S)
    fds = sockets()
    async with client(server) as (_, writer):
        writer.write(asking(model="one/m"))
        await until(lambda: server.services.in_flight == 2)
        await until(lambda: sum(len(gate.queue) for gate in server.services.setup.gates.values()) == 1)
    await until(lambda: server.services.in_flight == 1)
    await until(lambda: sockets() <= fds)
    third = asyncio.create_task(server.ask(model="one/m"))
    await until(lambda: server.services.in_flight == 2)
    asked.release()

    assert [(await each).status for each in (first, third)] == [200, 200]
    assert [row["status"] for row in await server.rows()] == ["ok", "ok"]
    assert len(upstream.asked("m")) == 2


@pytest.mark.parametrize("size", [300, 300_000])
async def test_in_the_middle_of_a_body(serve: Serve, upstream: Upstream, size: int) -> None:
    """Nobody is asked, and nothing is booked."""
    server = await serve(provider("one", upstream))
    fds = sockets()
    async with client(server) as (_, writer):
        writer.write(asking(model="one/m", user="x" * size)[: -size // 2])
        await writer.drain()
        await until(lambda: sockets() > fds + 1)
    rows = await left(server, fds)

    assert (rows, upstream.requests) == ([], [])


async def test_in_the_middle_of_an_upload_that_is_passed_on(serve: Serve, upstream: Upstream) -> None:
    server = await serve(provider("one", upstream))
    fds = sockets()
    head = b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nx-modelport-provider: one\r\nContent-Length: 9000000\r\n\r\n"
    async with client(server) as (_, writer):
        writer.write(head + b"x" * 100_000)
        await until(lambda: upstream.connections == 1)
    rows = await left(server, fds)

    assert [row["status"] for row in rows] == ["aborted"]
    assert [len(asked.body) < 9_000_000 for asked in upstream.requests] in ([], [True])


async def test_a_client_that_does_not_read_says_nothing_of_the_provider(serve: Serve, upstream: Upstream) -> None:
    """Its time is over while it is waited for: the attempt is `aborted`, and the breaker counts nothing."""
    upstream.script("m", Answer.sse(OPENING + chunk({"content": "x" * 30_000}) * 400))
    clocks = "timeouts = { connect_s = 5, first_event_s = 20, idle_s = 20, total_s = 1 }"
    server = await serve(provider("one", upstream, more=f"{PRICE}\n{clocks}"))
    async with client(server) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # the reader itself would take 64 KB
        writer.write(asking(model="one/m", stream=True))
        rows = []
        async with asyncio.timeout(WITHIN_S):
            while not rows or rows[0]["status"] == "open":
                rows = await server.rows()
                await asyncio.sleep(0.01)
    (made,) = (await server.row(rows[0]["id"]))["attempts"]

    assert (made["status"], made["estimated"]) == ("aborted", True)
    assert server.services.breakers.of(Target("one", "m")).failures == 0
