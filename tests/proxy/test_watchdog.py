"""The watchdog: what is late, how late it may be, and what its client is told."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from proxy.config.model import BoundSettings
from proxy.server import Connection, Server
from proxy.watchdog import Lateness, Pulse, Sight, Stage
from tests.proxy.conftest import Serve
from tests.proxy.serving import LANE, Served, chunk, provider, question, says
from tests.replay import Answer, Upstream

BOUNDS = BoundSettings()
CAREFUL = "[server]\nfast_lane = false\n"
WAYS = pytest.mark.parametrize(
    "way", [CAREFUL] if LANE else ["", CAREFUL], ids=["careful"] if LANE else ["lane", "careful"]
)
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


def sight(stage: Stage = "waiting", requests: int = 0, received: int = 0, unsent: int = 0, **more: bool) -> Sight:
    return Sight(stage, requests, received, unsent, **more)


HEARD: dict[str, tuple[list[tuple[float, Sight]], Lateness | None]] = {
    "says nothing, just in time": ([(10.0, sight())], None),
    "says nothing": ([(9.0, sight()), (10.1, sight())], "silent"),
    "head in pieces, just in time": ([(9.0, sight(received=5)), (10.0, sight(received=6))], None),
    "head in pieces": ([(9.0, sight(received=5)), (10.1, sight(received=6))], "slow_head"),
    "idle for long": ([(1.0, sight(requests=1, received=9)), (1000.0, sight(requests=1, received=9))], None),
    "the next head, just in time": (
        [
            (1.0, sight(requests=1, received=9)),
            (99.0, sight(requests=1, received=9)),
            (100.0, sight(requests=1, received=10)),
            (109.0, sight(requests=1, received=19)),
        ],
        None,
    ),
    "the next head": (
        [
            (1.0, sight(requests=1, received=9)),
            (99.0, sight(requests=1, received=9)),
            (100.0, sight(requests=1, received=10)),
            (109.1, sight(requests=1, received=19)),
        ],
        "slow_head",
    ),
    "a body at the least rate": ([(0, sight("body", 1, 0)), (5.0, sight("body", 1, 5120))], None),
    "a body below the rate, at first": ([(0, sight("body", 1, 0)), (4.9, sight("body", 1, 0))], None),
    "a body below the rate": ([(0, sight("body", 1, 0)), (5.0, sight("body", 1, 5119))], "slow_body"),
    "a body that stalls after a good beginning": (
        [(0, sight("body", 1, 0)), (5.0, sight("body", 1, 900_000)), (10.0, sight("body", 1, 900_100))],
        "slow_body",
    ),
    "a body that nobody reads": (
        [(0, sight("body", 1, 0)), (20.0, sight("body", 1, 0, wanted=False)), (24.0, sight("body", 1, 0))],
        None,
    ),
    "a body that has to be whole, just in time": (
        [(at, sight("body", 1, int(at * 2048))) for at in (0.0, 6.0, 12.0, 18.0, 24.0, 30.0)],
        None,
    ),
    "a body that has to be whole": (
        [(at, sight("body", 1, int(at * 2048))) for at in (0.0, 6.0, 12.0, 18.0, 24.0, 30.1)],
        "slow_body",
    ),
    "an upload that goes on": (
        [(at, sight("body", 1, int(at * 2048), whole=False)) for at in (0.0, 6.0, 12.0, 18.0, 24.0, 30.1)],
        None,
    ),
    "an answer that takes its time": ([(0, sight("answer", 1)), (3600.0, sight("answer", 1))], None),
    "an answer that waits, just in time": (
        [(0, sight("answer", 1, unsent=9)), (60.0, sight("answer", 1, unsent=9))],
        None,
    ),
    "an answer that nobody reads": (
        [(0, sight("answer", 1, unsent=9)), (60.1, sight("answer", 1, unsent=9))],
        "unread",
    ),
    "one that grows and is not read": (
        [
            (0, sight("answer", 1, unsent=9)),
            (30.0, sight("answer", 1, unsent=19)),
            (60.1, sight("answer", 1, unsent=29)),
        ],
        "unread",
    ),
    "one that is read slowly": (
        [
            (0, sight("answer", 1, unsent=99)),
            (60.0, sight("answer", 1, unsent=98)),
            (120.0, sight("answer", 1, unsent=98)),
        ],
        None,
    ),
    "one after the other, each read late": (
        [(at, sight("answer", 1, unsent=unsent)) for at, unsent in ((0, 9), (59, 0), (60, 9), (118, 9))],
        None,
    ),
}


@pytest.mark.parametrize("case", HEARD)
def test_what_is_late(case: str) -> None:
    sights, expected = HEARD[case]
    pulse = Pulse(0.0)

    found = [pulse.late(each, at, BOUNDS) for at, each in sights]

    assert found == [None] * (len(sights) - 1) + [expected]


# --- over sockets ----------------------------------------------------------------------------------


def edge(server: Served) -> Server:
    found = server.services.server
    assert found is not None
    return found


def now() -> float:
    return asyncio.get_running_loop().time()


def status_of(answer: bytes) -> int:
    """0 where there is none."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


async def until(fact: Callable[[], bool]) -> None:
    """Wait until *fact* holds, which bytes on their way or a task bring about."""
    async with asyncio.timeout(20):
        while not fact():
            await asyncio.sleep(0.001)


class Client:
    """A connection, and the server's end of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: Connection) -> None:
        self.reader, self.writer, self.end = reader, writer, end

    async def sends(self, data: bytes) -> None:
        """Send *data*, and wait until it has arrived."""
        before = self.end.sight().received
        self.writer.write(data)
        await until(lambda: self.end.sight().received > before)

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), 20)

    async def answer(self) -> bytes:
        """The next whole answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head + await self.reader.readexactly(int(length.partition(b":")[2]))


@asynccontextmanager
async def connected(server: Served) -> AsyncIterator[Client]:
    known = set(edge(server)._open)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        await until(lambda: len(edge(server)._open) > len(known))
        (end,) = edge(server)._open - known
        await until(lambda: end.sight().stage == "waiting")
        yield Client(reader, writer, end)
    finally:
        writer.close()


@WAYS
@pytest.mark.parametrize(("sent", "status"), [(b"", 0), (LIVE, 408), (b"G", 408)], ids=["nothing", "head", "letter"])
async def test_a_connection_that_never_asks_is_closed(serve: Serve, way: str, sent: bytes, status: int) -> None:
    """It would hold a descriptor for as long as it likes. A head that has begun is answered."""
    server = await serve(way)
    async with connected(server) as client:
        if sent:
            await client.sends(sent)
        watchdog, began = edge(server).watchdog, client.end.pulse.since

        watchdog.sweep(began + 9.9)
        open_still = not client.reader.at_eof() and edge(server).open_connections == 1
        watchdog.sweep(began + 10.1)
        came = await client.rest()

    assert open_still
    assert status_of(came) == status
    if came:
        head, _, body = came.partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        error = json.loads(body)["error"]
        assert error["code"] == "slow_head"
        assert "header_s" in error["message"]
    assert sum(watchdog.found.values()) == 1


@WAYS
async def test_between_two_requests_a_head_has_as_long(serve: Serve, way: str) -> None:
    """An idle connection is kept longer; the first byte of a head ends the idling."""
    server = await serve(way)
    async with connected(server) as client:
        client.writer.write(LIVE + b"\r\n")
        first = await client.answer()
        await until(lambda: client.end.sight().stage == "waiting")
        watchdog, start = edge(server).watchdog, now()

        watchdog.sweep(start)
        watchdog.sweep(start + 70)
        await client.sends(b"GET /heal")
        watchdog.sweep(start + 71)
        await client.sends(b"th/live")
        watchdog.sweep(start + 79)
        kept = edge(server).open_connections
        watchdog.sweep(start + 81.1)
        came = await client.rest()

    assert status_of(first) == 200
    assert kept == 1
    assert status_of(came) == 408


ENVELOPES = {
    "/v1/chat/completions": ("code", "slow_body"),
    "/v1/messages": ("type", "timeout_error"),
    "/v1beta/models/demo:generateContent": ("status", "DEADLINE_EXCEEDED"),
    "/api/v1/keys": ("code", "slow_body"),
    "/v1/files": ("code", "slow_body"),
}


@pytest.mark.parametrize("path", ENVELOPES)
async def test_a_slow_body_is_answered_and_closed(serve: Serve, upstream: Upstream, path: str) -> None:
    name, value = ENVELOPES[path]
    server = await serve(CAREFUL, provider("one", upstream), '[auth]\nmaster_key = "mp-master-0123456789"')
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer mp-master-0123456789\r\n"
        "x-modelport-provider: one\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n"
    )
    async with connected(server) as client:
        await client.sends(head.encode() + b"{" + b" " * 10)
        await until(lambda: client.end.sight().stage == "body")
        watchdog, start = edge(server).watchdog, now()

        watchdog.sweep(start)
        await client.sends(b" " * 4 + b"x")
        watchdog.sweep(start + 4.9)
        at_work = client.end.sight().stage
        watchdog.sweep(start + 5.1)
        watchdog.sweep(start + 11)
        came = await client.rest()

    head_, _, body = came.partition(b"\r\n\r\n")
    assert at_work == "body"
    assert status_of(came) == 408
    assert b"connection: close" in head_.lower()
    assert json.loads(body)["error"][name] == value
    assert watchdog.found == {"slow_body": 1}
    assert server.services.in_flight == 0


async def test_a_body_of_blanks_is_a_body(serve: Serve) -> None:
    server = await serve(CAREFUL)
    async with connected(server) as client:
        await client.sends(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n{")
        await until(lambda: client.end.sight().stage == "body")
        watchdog, start = edge(server).watchdog, now()

        watchdog.sweep(start)
        await client.sends(b" " * 6000)
        watchdog.sweep(start + 5.1)
        client.writer.write(b" " * 2998 + b"}")

        answer = await client.answer()

    assert (status_of(answer), watchdog.found) == (400, {})
    assert b"missing_required_parameter" in answer


async def test_an_upload_that_stalls_does_not_reach_the_provider_whole(serve: Serve, upstream: Upstream) -> None:
    """It goes on as it comes, so that only its pace is watched; when that fails the provider sees a hang-up."""
    upstream.script("m", says())
    server = await serve(CAREFUL, provider("one", upstream))
    head = (
        "POST /v1/audio/translations?model=one/m HTTP/1.1\r\nHost: localhost\r\nx-modelport-provider: one\r\n"
        "Content-Type: application/octet-stream\r\nContent-Length: 9000\r\n\r\n"
    )
    async with connected(server) as client:
        await client.sends(head.encode() + b"x" * 2000)
        await until(lambda: client.end.sight().stage == "body")
        watchdog, start = edge(server).watchdog, now()

        watchdog.sweep(start)
        watchdog.sweep(start + 5.1)
        came = await client.rest()

    assert status_of(came) == 408, came
    assert upstream.asked("m") == []


@WAYS
async def test_a_client_that_reads_nothing_is_cut_off_and_booked(serve: Serve, upstream: Upstream, way: str) -> None:
    words = "".join(chunk({"content": "x" * 16_000}) for _ in range(200))
    upstream.script("m", Answer.sse(words, split="events", hold_at=len(words) - 9))
    server = await serve(way, provider("one", upstream))
    body = json.dumps(question(model="one/m", stream=True)).encode()
    async with connected(server) as client:
        wire = client.end.transport
        assert wire is not None
        wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a reading transport
        ask = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        client.writer.write(ask + body)
        await until(lambda: client.end.writing_paused)
        watchdog, start = edge(server).watchdog, now()
        unsent = client.end.sight().unsent

        watchdog.sweep(start)
        watchdog.sweep(start + 60)
        kept = edge(server).open_connections
        late = itertools.count(start + 121, 61)  # the system may have taken a little more meanwhile
        await until(lambda: watchdog.sweep(next(late)) == 0 and server.services.in_flight == 0)
        (row,) = await server.rows()
        await until(upstream.asked("m")[0].left.is_set)

    assert kept == 1
    assert 0 < unsent < 256 * 1024  # no more is read from the provider than fits
    assert watchdog.found == {"unread": 1}
    assert (row["status"], row["output_tokens"] > 0) == ("aborted", True)


async def test_a_whole_answer_that_nobody_takes_does_not_hold_its_connection(serve: Serve, upstream: Upstream) -> None:
    """It was booked before it left; the connection is idle for aiohttp, which would wait for it for ever."""
    upstream.script("m", says("x" * 4_000_000))
    server = await serve(provider("one", upstream))
    body = json.dumps(question(model="one/m")).encode()
    async with connected(server) as client:
        wire = client.end.transport
        assert wire is not None
        wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a reading transport
        ask = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        client.writer.write(ask + body)
        await until(lambda: client.end.writing_paused)
        watchdog, start = edge(server).watchdog, now()

        late = itertools.count(start, 61)
        await until(lambda: watchdog.sweep(next(late)) == 0)
        (row,) = await server.rows()

    assert watchdog.found == {"unread": 1}
    assert row["status"] == "ok"


async def test_it_runs_by_itself(serve: Serve) -> None:
    """Nobody has to call it: a dribbling head is answered, and what asks is not touched."""
    server = await serve("[limits]\nheader_s = 0.5")
    async with connected(server) as client:
        await client.sends(b"GET /health/live HTTP/1.1\r\n")

        came = await client.rest()
        other = await server.get("/health/live")

    assert status_of(came) == 408
    assert other.status == 200


async def test_it_rests_when_nobody_is_connected(serve: Serve) -> None:
    server = await serve()
    watchdog = edge(server).watchdog
    async with connected(server):
        seen = watchdog.sweep(now())

    await until(lambda: edge(server).open_connections == 0)

    assert (seen, watchdog.sweep(now())) == (1, 0)
