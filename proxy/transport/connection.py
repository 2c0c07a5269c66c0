"""One HTTP/1.1 connection to a server, and the answers that come on it, one at a time.

    idle ──ask──▶ asked ──head──▶ answering ──whole──▶ idle, or closed
      └─────────────┴── bytes nobody asked for, an error, a clock, `drop` ──▶ closed

llhttp (httptools) reads the bytes. What it is not asked to do is done here: bounds on the head, the end of bodies
without a length, answers to HEAD, the question whether the connection may be used again. It may not when the server
says so, when more came than the answer, or when the answer was whole before the request was.

Bytes are read into one buffer that all connections of a loop share, which is safe because a selector loop reads and
tells in one go. Each read gives at most one piece of a body. A reader who does not take them stops the reading.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterable, Coroutine
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

import httptools
from typing_extensions import override

from proxy.transport.errors import BadAnswer, Disconnected, TimedOut, TransportError, WriteTimeout
from proxy.transport.framing import framed
from proxy.transport.reply import HEAD_BYTES, Reply, checked

READ_BYTES: Final = 64 * 1024
WRITE_BYTES: Final = 256 * 1024
"""A longer body is written in parts of this size, as the server takes them, while its answer may begin."""
WITHOUT_LENGTH: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "DELETE"})
"""Methods whose missing body is not worth a Content-Length (RFC 9110, 8.6)."""


@dataclass(eq=False, slots=True)
class Place:
    """The connections to one origin; *taken* counts those being made, too."""

    idle: list[Connection] = field(default_factory=list)
    taken: int = 0


class Owner(Protocol):
    """Who has the connections."""

    loop: asyncio.AbstractEventLoop
    buffer: memoryview

    def freed(self, connection: Connection) -> None:
        """*connection* has given a whole answer and can be asked again."""

    def lost(self, connection: Connection) -> None:
        """*connection* cannot be asked any more; told once or more often."""

    def gone(self, connection: Connection) -> None:
        """*connection* is closed."""


class Connection(asyncio.BufferedProtocol):
    """The protocol of one connection; `ask` and `fail` are for its owner, the rest for asyncio and httptools."""

    def __init__(self, owner: Owner, place: Place) -> None:
        self.owner = owner
        self.place = place
        self.counted = False
        """Whether it takes a place of its owner."""
        self.reply: Reply | None = None
        self.answers = 0
        """How many were whole: 0 means that this connection is new."""
        self.heard = False
        """Whether any byte came since it was asked."""
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._poll: select.poll | None = None
        self._sending: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._unsent = 0
        self._unsent_since = 0.0
        self._paused = False
        self._body: list[bytes] = []
        self._begin()

    def _begin(self) -> None:
        self.heard = False
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._dry_bytes = 0
        self._objection = ""
        self._interim = self._whole = self._surplus = self._again = False

    # --- for its owner

    @property
    def usable(self) -> bool:
        """Whether it can be asked: open, and silent as far as the system knows, which is ahead of the loop."""
        transport, poll = self._transport, self._poll
        return transport is not None and not transport.is_closing() and poll is not None and not poll.poll(0)

    @property
    def closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._transport is None or self._transport.is_closing()

    def ask(self, reply: Reply, head: bytes, body: bytes | AsyncIterable[bytes]) -> None:
        """Send a request. *head* is request line and headers, each with its CRLF, without framing."""
        transport = cast("asyncio.Transport", self._transport)
        self.reply = reply
        if not isinstance(body, bytes):
            transport.write(head + b"transfer-encoding: chunked\r\n\r\n")
            self._send(self._chunks(body))
        elif not body and reply.method in WITHOUT_LENGTH:
            transport.write(head + b"\r\n")
        elif len(body) <= WRITE_BYTES:
            transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        else:
            transport.write(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
            self._send(self._parts(body))

    def fail(self, error: TransportError) -> None:
        """Cut the connection; its answer ends with *error*."""
        reply, self.reply = self.reply, None
        self.drop()
        if reply is not None:
            reply.end(error)

    def drop(self) -> None:
        """Cut the connection at once."""
        self._stop_sending()
        self.owner.lost(self)
        if self._transport is not None:
            self._transport.abort()

    def resume(self) -> None:
        """Read on: the reader took what there was."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def overdue(self, now: float) -> TimedOut | None:
        """The clock of its answer that has run out, if one has."""
        reply = self.reply
        if reply is None:
            return None
        if self._writable is not None and self._transport is not None and not reply.status:
            left = self._transport.get_write_buffer_size()
            if left != self._unsent:
                self._unsent, self._unsent_since = left, now
            elif now - self._unsent_since >= reply.clocks.write_s:
                return WriteTimeout(reply.clocks.write_s)
        return reply.overdue(now)

    # --- long bodies

    def _send(self, work: Coroutine[None, None, None]) -> None:
        self._sending = self.owner.loop.create_task(work)
        self._sending.add_done_callback(self._sent)

    async def _parts(self, body: bytes) -> None:
        for start in range(0, len(body), WRITE_BYTES):
            await self._write(body[start : start + WRITE_BYTES])

    async def _chunks(self, body: AsyncIterable[bytes]) -> None:
        async for piece in body:
            if piece:
                await self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await self._write(b"0\r\n\r\n")

    async def _write(self, part: bytes) -> None:
        if self._transport is not None:
            self._transport.write(part)
        if self._writable is not None:
            await self._writable

    def _sent(self, task: asyncio.Task[None]) -> None:
        wanted = task is self._sending
        if wanted:
            self._sending = None
        if not task.cancelled() and (error := task.exception()) is not None and wanted:
            broken = Disconnected(f"the request's body broke off ({type(error).__name__})")
            broken.__cause__ = error
            self.fail(broken)

    def _stop_sending(self) -> None:
        task, self._sending = self._sending, None
        if task is not None:
            task.cancel()

    # --- for asyncio

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._parser = self._new_parser()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_sending()
        self.resume_writing()
        # The parser holds methods of this object.
        self._transport = self._parser = self._poll = None
        self.owner.lost(self)
        self.owner.gone(self)
        reply, self.reply = self.reply, None
        if reply is None:
            return
        if not reply.status:
            reply.end(Disconnected("the connection ended before its answer"))
        elif exc is None and reply.ends_with_connection:
            reply.end()
        else:
            reply.end(Disconnected("the connection ended in mid-answer"))

    @override
    def pause_writing(self) -> None:
        self._writable = self.owner.loop.create_future()
        self._unsent, self._unsent_since = 0, self.owner.loop.time()

    @override
    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self.owner.buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        reply, parser = self.reply, self._parser
        if reply is None or parser is None:
            self.drop()
            return
        if not self.heard and nbytes < READ_BYTES and reply.method != "HEAD":
            found = framed(bytes(self.owner.buffer[:nbytes]))
            if found is not None:
                self.heard = self._again = self._whole = True
                self._let_go(reply)
                reply.came(*found)
                return
        self.heard = True
        try:
            parser.feed_data(self.owner.buffer[:nbytes])
        except httptools.HttpParserError as error:
            self._surplus = True
            ours = error.__context__
            self._objection = str(ours if isinstance(ours, BadAnswer) else error)
        body, full = self._body, False
        if body:
            piece = body[0] if len(body) == 1 else b"".join(body)
            body.clear()
            self._dry_bytes = 0
            if reply.sink is None or not reply.sink(piece):
                full = reply.feed(piece)
            else:
                reply.sunk += len(piece)
                if not self._whole and not self._objection:
                    return
        else:
            self._dry_bytes += nbytes
        if self._whole:
            self._finish(reply)
        elif self._objection:
            self.fail(BadAnswer(f"what came is not an HTTP/1.1 answer: {self._objection}"))
        elif self._dry_bytes > HEAD_BYTES:
            self.fail(BadAnswer(f"more than {HEAD_BYTES} bytes came without any of the body"))
        else:
            if full and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
            if reply.status:
                reply.wake()

    def _finish(self, reply: Reply) -> None:
        """The answer is whole."""
        self._let_go(reply)
        reply.end()

    def _let_go(self, reply: Reply) -> None:
        """Be idle, or closed, behind a whole answer."""
        transport = self._transport
        self.reply = None
        self.answers += 1
        unsent = self._sending is not None or (transport is not None and transport.get_write_buffer_size() > 0)
        if self._again and not (self._surplus or unsent or transport is None or transport.is_closing()):
            if reply.method == "HEAD":
                self._parser = self._new_parser()  # the old one waits for the body that the head speaks of
            self._begin()
            self.owner.freed(self)
        elif unsent or transport is None:
            self.drop()
        else:
            self.owner.lost(self)
            transport.close()

    # --- for httptools

    def _new_parser(self) -> httptools.HttpResponseParser:
        parser = httptools.HttpResponseParser(self)
        # What aiohttp takes, too: lines that end in LF alone, folded headers, blanks after the size of a chunk.
        parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        return parser

    def on_message_begin(self) -> None:
        """Behind a whole answer another one: whose, nobody knows."""
        self._surplus = self._whole

    def on_status(self, reason: bytes) -> None:
        """A part of the reason phrase, which comes in several where it was cut."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; behind the body a trailer, which is thrown away."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: of an interim answer, or of the one that is waited for."""
        reply, parser = self.reply, self._parser
        if self._whole or reply is None or parser is None:
            return
        status = parser.get_status_code()
        if status < 200:
            if status == 101 or status < 100:
                raise BadAnswer(f"status {status}, which was not asked for")
            self._interim = True
            self._reason, self._headers = b"", []
            return
        reply.status, reply.reason, reply.headers = status, self._reason, checked(self._reason, self._headers)
        self._headers = []
        self._again = parser.should_keep_alive()
        self._whole = reply.method == "HEAD"
        if status >= 400 and self._sending is not None:
            self._again = False  # The server wants no more of the request (RFC 9112, 9.5).
            self._stop_sending()

    def on_body(self, part: bytes) -> None:
        """Bytes of the body."""
        if self._whole:
            self._surplus = True
        else:
            self._body.append(part)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was an interim one."""
        if self._interim:
            self._interim = False
        else:
            self._whole = True
