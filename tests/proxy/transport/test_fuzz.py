"""Whatever a server sends, in whatever pieces: an answer or a declared error, never a hang, never anything else.

The bytes are handed to the connection as asyncio would, without sockets; the server closes at the end.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.transport import Deadlines, Reply, TransportError
from proxy.transport.connection import Connection, Place
from tests.proxy.transport.test_equivalence import ALL

CLOCKS = Deadlines()
LIMIT = 1 << 20
READ = 64 * 1024


class Wire:
    """The parts of an asyncio transport that a connection uses."""

    def __init__(self) -> None:
        self.closed = self.paused = False

    def get_extra_info(self, _name: str) -> Any:
        return self

    def fileno(self) -> int:
        return 0

    def write(self, _sent: bytes) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    close = abort

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False


class Owner:
    """What a connection tells of itself."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(READ))
        self.told: list[str] = []

    def freed(self, _connection: Connection) -> None:
        self.told.append("freed")

    def lost(self, _connection: Connection) -> None:
        self.told.append("lost")

    def gone(self, _connection: Connection) -> None:
        self.told.append("gone")


Heard = tuple[int, list[tuple[bytes, bytes]], bytes] | str


def heard(method: str, pieces: list[bytes], cut: bool = False) -> tuple[Heard, bool]:
    """What comes of *pieces*, and whether the connection was given back; its end is orderly unless *cut*."""

    async def run() -> tuple[Heard, bool]:
        owner, wire = Owner(), Wire()
        connection = Connection(owner, Place())
        connection.connection_made(wire)  # type: ignore[arg-type]  # all of it that is used
        reply = Reply(connection, method, CLOCKS, owner.loop, 0.0)
        connection.ask(reply, b"GET / HTTP/1.1\r\n", b"")
        reading = owner.loop.create_task(read(reply))
        for piece in (part[at : at + READ] for part in pieces for at in range(0, len(part), READ)):
            if wire.closed:
                break
            while wire.paused:
                await asyncio.sleep(0)
            owner.buffer[: len(piece)] = piece
            connection.buffer_updated(len(piece))
            await asyncio.sleep(0)
        again = "freed" in owner.told and not wire.closed
        wire.closed = True
        connection.connection_lost(ConnectionResetError() if cut else None)
        return await asyncio.wait_for(reading, 5), again

    async def read(reply: Reply) -> Heard:
        try:
            await reply.head()
            return reply.status, reply.headers, await reply.read(LIMIT)
        except TransportError as error:
            return type(error).__name__

    return asyncio.run(run())


LINES = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n",
            b"HTTP/1.0 204 x\r\n",
            b"Content-Length: 3\r\n",
            b"Content-Length: 0\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"Connection: keep-alive, Upgrade\r\nUpgrade: x\r\n",
            b"X-A: 1\r\n",
            b" folded\r\n",
            b"\r\n",
            b"\n",
            b"3\r\nabc\r\n",
            b"0\r\n",
            b"abc",
            b"\0",
            b":",
        ]
    )
    | st.binary(max_size=8),
    max_size=16,
)
"""What is almost HTTP."""
ANYTHING = st.binary(max_size=200) | LINES.map(b"".join)


@st.composite
def pieces_of(draw: Callable[..., Any], whole: st.SearchStrategy[bytes]) -> list[bytes]:
    sent = draw(whole)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(sent))), max_size=8)) | {0, len(sent)})
    return [sent[start:end] for start, end in itertools.pairwise(cuts) if start < end]


@settings(max_examples=300)
@given(
    pieces_of(st.binary(max_size=200) | LINES.map(b"".join)), st.sampled_from(["GET", "POST", "HEAD"]), st.booleans()
)
def test_any_bytes_give_an_answer_or_a_declared_error(pieces: list[bytes], method: str, cut: bool) -> None:
    told, _ = heard(method, pieces, cut)

    assert isinstance(told, str) or 200 <= told[0] <= 999


@settings(max_examples=200)
@given(st.sampled_from(sorted(ALL)), st.data())
def test_what_an_answer_says_does_not_depend_on_where_it_is_cut(name: str, drawn: st.DataObject) -> None:
    shape = ALL[name]
    pieces = drawn.draw(pieces_of(st.just(shape.sent)))

    whole, again_whole = heard(shape.method, [shape.sent] if shape.sent else [])
    cut, again_cut = heard(shape.method, pieces)

    assert cut == whole
    assert not again_cut or again_whole or b"nonsense" in shape.sent or shape.sent.count(b"HTTP/1.1 200") > 1


@settings(max_examples=100)
@given(st.binary(max_size=3000), st.lists(st.integers(1, 64), min_size=1), st.data())
def test_a_chunked_body_comes_as_it_was(body: bytes, sizes: list[int], drawn: st.DataObject) -> None:
    sent, at, number = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 0
    while at < len(body):
        part = body[at : at + sizes[number % len(sizes)]]
        sent += b"%x\r\n%b\r\n" % (len(part), part)
        at, number = at + len(part), number + 1
    told, again = heard("POST", drawn.draw(pieces_of(st.just(sent + b"0\r\n\r\n"))))

    assert (told, again) == ((200, [(b"Transfer-Encoding", b"chunked")], body), True)
