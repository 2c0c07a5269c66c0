"""Our own transport and aiohttp's client say the same of every answer, wherever it is cut.

Each row is what a server sends for one request and what it does then. What both make of it must be equal: status,
headers and body, or the kind of failure. Rows of DIFFERENT are the exceptions, with what ours says.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from proxy.backends.backend import BackendError, Timeouts
from proxy.backends.callers import Caller, caller_for, new_session
from tests.proxy.transport.raw import End, Said, Server

CLOCKS = Timeouts(idle_s=0.5)
HASTY_S = 0.2
"""How long an answer's head is waited for where none comes."""
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = b"x" * 300
LENGTH = b"Content-Length: 2\r\n"


@dataclass(frozen=True)
class Shape:
    """What is sent; *again*: whether our transport uses the connection for the next request."""

    sent: bytes
    end: End = "keep"
    again: bool = False
    method: str = "POST"


def whole(head: bytes, body: bytes = b"{}") -> bytes:
    return OK + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


SHAPES: dict[str, Shape] = {
    # --- plain
    "with a length": Shape(whole(b""), again=True),
    "an empty body": Shape(whole(b"", b""), again=True),
    "many headers": Shape(whole(b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(90))), again=True),
    "a header twice": Shape(whole(b"X-A: 1\r\nX-A: 2\r\n"), again=True),
    "an empty header": Shape(whole(b"X-Empty:\r\nX-B: 1\r\n"), again=True),
    "blanks around a value": Shape(whole(b"X-A: \t 1 2 \t \r\n"), again=True),
    "no blank before a value": Shape(whole(b"X-A:1\r\n"), again=True),
    "UTF-8 in a header": Shape(whole("X-A: Grüße\r\n".encode()), again=True),
    "Latin-1 in a header": Shape(whole(b"X-A: Gr\xfc\xdfe\r\n"), again=True),
    "a folded header": Shape(whole(b"X-A: 1\r\n  2\r\n"), again=True),
    "lines that end in LF": Shape(b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", again=True),
    "no reason": Shape(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", again=True),
    "an empty reason": Shape(b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}", again=True),
    "a long reason": Shape(b"HTTP/1.1 200 " + LONG + b"\r\nContent-Length: 2\r\n\r\n{}", again=True),
    "an error": Shape(b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nno!", again=True),
    "a strange status": Shape(b"HTTP/1.1 799 What\r\nContent-Length: 2\r\n\r\n{}", again=True),
    "compressed, left as it is": Shape(whole(b"Content-Encoding: gzip\r\n", b"\x1f\x8bnot really"), again=True),
    "a cookie": Shape(whole(b"Set-Cookie: a=b; Path=/\r\n"), again=True),
    # --- chunks
    "one chunk": Shape(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", again=True),
    "several chunks": Shape(CHUNKED + b'1\r\n{\r\n3\r\n"a"\r\n1\r\n}\r\n0\r\n\r\n', again=True),
    "chunks in capitals and zeros": Shape(CHUNKED + b"0A\r\n0123456789\r\n00\r\n\r\n", again=True),
    "no chunk but the last": Shape(CHUNKED + b"0\r\n\r\n", again=True),
    "a chunk with an extension": Shape(CHUNKED + b"2;a=b\r\n{}\r\n0;c\r\n\r\n", again=True),
    "a blank after a chunk's size": Shape(CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n", again=True),
    "trailers": Shape(CHUNKED + b"2\r\n{}\r\n0\r\nX-Sum: 7\r\nX-More: 9\r\n\r\n", again=True),
    "CR LF within a chunk": Shape(CHUNKED + b"4\r\n\r\n\r\n\r\n0\r\n\r\n", again=True),
    "chunked in capitals": Shape(OK + b"Transfer-Encoding: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n", again=True),
    "gzip, chunked": Shape(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", again=True),
    # --- without a body
    "204": Shape(b"HTTP/1.1 204 No Content\r\n\r\n", again=True),
    "304": Shape(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", again=True),
    "304 with a length": Shape(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", again=True),
    "to HEAD, with a length": Shape(OK + b"Content-Length: 10\r\n\r\n", again=True, method="HEAD"),
    "to HEAD, chunked": Shape(CHUNKED, again=True, method="HEAD"),
    "to HEAD, without": Shape(OK + b"X-A: 1\r\n\r\n", "close", method="HEAD"),
    # --- until the end of the connection
    "until the end": Shape(OK + b"\r\n{}", "close"),
    "until the end, empty": Shape(OK + b"\r\n", "close"),
    "until the end, HTTP/1.0": Shape(b"HTTP/1.0 200 OK\r\n\r\n{}", "close"),
    "until the end, a coding that is not chunked": Shape(OK + b"Transfer-Encoding: identity\r\n\r\n{}", "close"),
    # --- versions and persistence
    "close": Shape(whole(b"Connection: close\r\n"), "close"),
    "close, but the connection stays": Shape(whole(b"Connection: close\r\n")),
    "HTTP/1.0 with a length": Shape(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "close"),
    "HTTP/1.0 that stays": Shape(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", again=True
    ),
    "closed without a word": Shape(whole(b""), "close"),
    # --- interim answers
    "100 before": Shape(b"HTTP/1.1 100 Continue\r\n\r\n" + whole(b""), again=True),
    "103 with headers before": Shape(
        b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n" + whole(b"X-A: 1\r\n"), again=True
    ),
    "three before": Shape(b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + whole(b""), again=True),
    "100 and no more": Shape(b"HTTP/1.1 100 Continue\r\n\r\n", "close"),
    # --- cut
    "nothing": Shape(b"", "close"),
    "a reset": Shape(b"", "reset"),
    "half a status line": Shape(b"HTTP/1.1 20", "close"),
    "half a head": Shape(OK + b"X-A: 1\r\n", "close"),
    "a head cut by a reset": Shape(OK + b"X-A: 1\r\n", "reset"),
    "less than the length": Shape(OK + b"Content-Length: 10\r\n\r\n{}", "close"),
    "less than the length, reset": Shape(OK + b"Content-Length: 10\r\n\r\n{}", "reset"),
    "none of the length": Shape(OK + b"Content-Length: 10\r\n\r\n", "close"),
    "chunks without the last": Shape(CHUNKED + b"2\r\n{}\r\n", "close"),
    "half a chunk": Shape(CHUNKED + b"a\r\n{}", "close"),
    "a chunk without its end": Shape(CHUNKED + b"2\r\n{}\r\n0\r\n", "close"),
    "trailers without their end": Shape(CHUNKED + b"2\r\n{}\r\n0\r\nX-Sum: 7\r\n", "close"),
    # --- silent
    "silence": Shape(b""),
    "half a head, then silence": Shape(OK + b"X-A"),
    "half a body, then silence": Shape(OK + b"Content-Length: 10\r\n\r\n{}"),
    # --- not HTTP
    "nonsense": Shape(b"NONSENSE\r\n\r\n", "close"),
    "a request": Shape(b"GET / HTTP/1.1\r\n\r\n", "close"),
    "HTTP/3.7": Shape(b"HTTP/3.7 200 OK\r\nContent-Length: 2\r\n\r\n{}", "close"),
    "a status that is no number": Shape(b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\n{}", "close"),
    "a blank before the colon": Shape(whole(b"X-A : 1\r\n"), "close"),
    "no colon": Shape(whole(b"X-A\r\n"), "close"),
    "a header without name": Shape(whole(b": 1\r\n"), "close"),
    "NUL in a value": Shape(whole(b"X-A: a\0b\r\n"), "close"),
    "CR in a value": Shape(whole(b"X-A: a\rb\r\n"), "close"),
    "a length that is no number": Shape(OK + b"Content-Length: two\r\n\r\n{}", "close"),
    "a negative length": Shape(OK + b"Content-Length: -2\r\n\r\n{}", "close"),
    "a length with a sign": Shape(OK + b"Content-Length: +2\r\n\r\n{}", "close"),
    "two lengths": Shape(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "close"),
    "the same length twice": Shape(OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "close"),
    "a list of lengths": Shape(OK + b"Content-Length: 2, 2\r\n\r\n{}", "close"),
    "a huge length": Shape(OK + b"Content-Length: 99999999999999999999999\r\n\r\n{}", "close"),
    "a length and chunks": Shape(
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "close"
    ),
    "chunks and a length": Shape(
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "close"
    ),
    # --- too large a head
    "a long header": Shape(whole(b"X-A: " + b"x" * 9000 + b"\r\n"), "close"),
    "a long name": Shape(whole(b"X" * 9000 + b": 1\r\n"), "close"),
    "a long status line": Shape(b"HTTP/1.1 200 " + b"x" * 9000 + b"\r\nContent-Length: 2\r\n\r\n{}", "close"),
    "129 headers": Shape(whole(b"X-A: 1\r\n" * 129), "close"),
    # --- more than the answer
    "an answer too many": Shape(whole(b"") + whole(b"", b"[]")),
}

DIFFERENT: dict[str, object] = {
    # The body has no other end than the connection's, and that was no orderly one: it may be cut.
    "until the end, cut by a reset": ("connection", 502),
    # aiohttp notices nothing until its clock runs out.
    "a chunk's size that is none": ("connection", 502),
    "a negative chunk": ("connection", 502),
    "a chunk of 0x2": ("connection", 502),
    "a huge chunk": ("connection", 502),
    "a chunk longer than its size": ("connection", 502),
    "a length among the trailers": ("connection", 502),
    # The answer is whole; what follows costs the connection. aiohttp fails if both come in one read.
    "nonsense behind": (200, {"content-length": "2"}, b"{}"),
    "nonsense behind chunks": (200, {"transfer-encoding": "chunked"}, b"{}"),
    "a body behind 204": (204, {"x-a": "1"}, b""),
    "a body to HEAD": (200, {"content-length": "2"}, b""),
    # Nobody asked for another protocol; aiohttp hands the answer on with no body.
    "101": ("connection", 502),
    "101 to nothing": ("connection", 502),
    # aiohttp takes a status below 100 for a final one.
    "status 042": ("connection", 502),
    # aiohttp bounds single lines alone: a megabyte of them gets through.
    "a head of 80 KB": ("connection", 502),
}
SHAPES_THAT_DIFFER: dict[str, Shape] = {
    "until the end, cut by a reset": Shape(OK + b"\r\n{}", "reset"),
    "a chunk's size that is none": Shape(CHUNKED + b"xyz\r\n{}\r\n0\r\n\r\n", "close"),
    "a negative chunk": Shape(CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", "close"),
    "a chunk of 0x2": Shape(CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", "close"),
    "a huge chunk": Shape(CHUNKED + b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n", "close"),
    "a chunk longer than its size": Shape(CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n", "close"),
    "a length among the trailers": Shape(CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n", "close"),
    "nonsense behind": Shape(whole(b"") + b"nonsense"),
    "nonsense behind chunks": Shape(CHUNKED + b"2\r\n{}\r\n0\r\n\r\nnonsense"),
    "a body behind 204": Shape(b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\nnonsense"),
    "a body to HEAD": Shape(whole(b""), method="HEAD"),
    "101": Shape(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "close"),
    "101 to nothing": Shape(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    "status 042": Shape(b"HTTP/1.1 042 What\r\nContent-Length: 2\r\n\r\n{}"),
    "a head of 80 KB": Shape(whole(b"".join(b"X-%d: %b\r\n" % (n, b"x" * 8000) for n in range(10))), "close"),
}

ALL = {**SHAPES, **SHAPES_THAT_DIFFER}

Outcome = tuple[int, dict[str, str], bytes] | tuple[str, int]


@pytest.fixture
async def own() -> AsyncIterator[Caller]:
    async with new_session() as session, caller_for("own", session) as caller:
        yield caller


@pytest.fixture
async def aio() -> AsyncIterator[Caller]:
    async with new_session() as session, caller_for("aiohttp", session) as caller:
        yield caller


async def outcome(caller: Caller, server: Server, method: str, wait_s: float = 20) -> Outcome:
    """What *caller* makes of the answer."""
    url = f"http://127.0.0.1:{server.port}/v1/chat"
    try:
        carried = await caller.ask(method, url, {"accept": "*/*"}, b"{}", clocks=CLOCKS, wait_s=wait_s)
        try:
            body = b"".join([piece async for piece in pieces(carried)])
            return carried.status, dict(carried.headers), body
        finally:
            carried.close()
    except BackendError as error:
        return error.failure.kind, error.failure.status or 0


async def pieces(carried: object) -> AsyncIterator[bytes]:
    while piece := await carried.piece():  # type: ignore[attr-defined]  # a Carried
        yield piece


def cuts(sent: bytes, rng: random.Random) -> list[list[bytes]]:
    """*sent* whole, byte by byte where it is short, and at three random places, several times."""
    found = [[sent]] if sent else [[]]
    if len(sent) <= 400:
        found.append([sent[at : at + 1] for at in range(len(sent))])
    for _ in range(3):
        places = sorted(rng.sample(range(1, len(sent)), min(3, len(sent) - 1))) if len(sent) > 1 else []
        found.append([sent[start:end] for start, end in zip([0, *places], [*places, len(sent)], strict=True)])
    return found


async def check(name: str, shape: Shape, own: Caller, aio: Caller) -> list[list[Outcome]]:
    silent = "silence" in name
    ways = cuts(shape.sent, random.Random(name))[: 1 if silent else None]
    found = []
    for way in ways:
        async with Server(Said([*way], shape.end)) as server:
            wait_s = HASTY_S if silent else 20
            found.append([await outcome(caller, server, shape.method, wait_s) for caller in (own, aio)])
    return found


@pytest.mark.parametrize("name", SHAPES)
async def test_both_say_the_same(name: str, own: Caller, aio: Caller) -> None:
    for ours, theirs in await check(name, SHAPES[name], own, aio):
        assert ours == theirs


@pytest.mark.parametrize("name", SHAPES_THAT_DIFFER)
async def test_where_ours_says_something_else(name: str, own: Caller, aio: Caller) -> None:
    found = await check(name, SHAPES_THAT_DIFFER[name], own, aio)

    assert [ours for ours, _ in found] == [DIFFERENT[name]] * len(found)
    assert any(ours != theirs for ours, theirs in found), "move the row to SHAPES"


@pytest.mark.parametrize("name", [name for name in ALL if "silence" not in name])
async def test_a_connection_is_used_again_where_that_is_safe(name: str, own: Caller) -> None:
    shape = ALL[name]
    for way in cuts(shape.sent, random.Random(name)):
        async with Server(Said([*way], shape.end)) as server:
            first = await outcome(own, server, shape.method)
            if shape.end != "keep":
                await server.over(1)
            second = await outcome(own, server, shape.method)

            assert second == first
            assert server.connections == (1 if shape.again else 2)
