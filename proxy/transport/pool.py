"""The transport: connections to servers, kept and used again, and one sweep that watches all clocks.

    send ── an idle connection? ──yes──────────────────────────────▶ ask, wait for the head
              └─no─ a free place? ──yes── addresses, TCP, TLS ─────────▲
                       └─no─ wait in line for a place or a connection ─┘

Of the idle connections the one that was used last is taken, so that the others grow old and are closed. A request on a
connection that turns out to be closed already is sent again, once, on a new one: always when the system took none of
its bytes, else only when no byte of an answer came and the method may be repeated (RFC 9112, 9.3.1).

No request has a timer of its own. While answers are waited for, a sweep looks at all of them every SWEEP_S; with only
idle connections it sleeps until the oldest is to be closed, and without connections there is none.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Final, NamedTuple, cast

from aiohappyeyeballs import AddrInfoType, start_connection

from proxy.descriptors import is_shortage
from proxy.transport.connection import READ_BYTES, Connection, Place
from proxy.transport.errors import ConnectFailed, ConnectTimeout, Disconnected, HeadTimeout, NoDescriptor
from proxy.transport.reply import Deadlines, Reply

SWEEP_S: Final = 0.1
ADDRESSES_S: Final = 60.0
"""How long the addresses of a name are gone by."""
SECOND_ADDRESS_S: Final = 0.25
"""When the next address is tried beside one that does not answer (RFC 8305)."""
REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
DEFAULT: Final = Deadlines()


class Origin(NamedTuple):
    """A server. *host* is a name or an address; with *tls* its certificate must hold for *host*."""

    host: str
    port: int
    tls: bool


class Counts(NamedTuple):
    """What there is now: connections that stand or are being made, those of them that are idle, requests in line."""

    open: int
    idle: int
    waiting: int


def tls_context() -> ssl.SSLContext:
    """The system's authorities, and HTTP/1.1 alone."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Transport:
    """All connections of one event loop to servers. Whoever makes it closes it.

    *limit* and *per_origin* bound the connections; who finds none free waits in line. *tls* makes the context, in a
    thread, when the first address with TLS is asked; *lookup* stands in for the loop's `getaddrinfo`.
    """

    def __init__(
        self,
        *,
        limit: int = 2048,
        per_origin: int = 2048,
        idle_s: float = 30.0,
        tls: Callable[[], ssl.SSLContext] = tls_context,
        lookup: Callable[..., Awaitable[Any]] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(READ_BYTES))
        self._limit = limit
        self._per_origin = per_origin
        self._idle_s = idle_s
        self._make_tls = tls
        self._lookup = lookup or self.loop.getaddrinfo
        self._tls: asyncio.Task[ssl.SSLContext] | None = None
        self._places: dict[Origin, Place] = {}
        self._taken = 0
        self._line: deque[tuple[Place, asyncio.Future[Connection | None]]] = deque()
        self._open: set[Connection] = set()
        self._lookups: dict[Origin, tuple[float, asyncio.Future[Any]]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] | None = None

    # --- requests

    async def send(
        self,
        method: str,
        origin: Origin,
        head: bytes,
        body: bytes | AsyncIterable[bytes] = b"",
        deadlines: Deadlines = DEFAULT,
    ) -> Reply:
        """Send a request and wait for the head of its answer.

        *head* is the request line and all headers but those that frame the body, each line with its CRLF. A body that
        comes in pieces goes out in chunks. When this is cancelled, the server sees a hang-up.

        Raises:
            TransportError: there is no answer; see `proxy.transport.errors`.
        """
        began = self.loop.time()
        place = self._places.get(origin) or self._places.setdefault(origin, Place())
        connect_s: float | None = None
        connection = self._granted(place) if not self._line else None
        if connection is None:
            connection = await self._new(origin, place, deadlines, began, or_idle=True)
            connect_s = self.loop.time() - began
        while True:
            old = connection.answers > 0
            reply = Reply(connection, method, deadlines, self.loop, began)
            reply.connect_s = connect_s
            connection.ask(reply, head, body)
            if self._sweeping is None or self._sweeping.when() - self.loop.time() > SWEEP_S:
                self._sweep_in(SWEEP_S)
            untouched = connection.closing
            try:
                await reply.head()
            except Disconnected:
                may = untouched or (method in REPEATABLE and not connection.heard)
                if not (old and may and isinstance(body, bytes)):
                    raise
            except BaseException:
                reply.close()
                raise
            else:
                return reply
            connection = await self._new(origin, place, deadlines, began, or_idle=False)
            connect_s = self.loop.time() - began

    def idle(self, origin: Origin) -> Connection | None:
        """An idle connection, for `ask`; None where there is none."""
        place = self._places.get(origin)
        return self._granted(place) if place is not None and not self._line else None

    async def connection(self, origin: Origin, deadlines: Deadlines) -> Connection:
        """A connection, for `ask`, as soon as there is one.

        Raises:
            TransportError: there will be none.
        """
        place = self._places.get(origin) or self._places.setdefault(origin, Place())
        found = self._granted(place) if not self._line else None
        return found or await self._new(origin, place, deadlines, self.loop.time(), or_idle=True)

    def ask(
        self,
        connection: Connection,
        request: tuple[str, bytes, bytes],
        deadlines: Deadlines,
        listener: Callable[[], None],
    ) -> Reply | None:
        """Send a *request* (method, head and body, see `send`) on *connection*; *listener* hears of its answer.

        None: the system took nothing of it. The answer's errors are its own; `Reply.close` is a hang-up.
        """
        method, head, body = request
        now = self.loop.time()
        reply = Reply(connection, method, deadlines, self.loop, now)
        connection.ask(reply, head, body)
        if connection.closing:
            connection.drop()
            return None
        reply.listener = listener
        if self._sweeping is None or self._sweeping.when() - now > SWEEP_S:
            self._sweep_in(SWEEP_S)
        return reply

    async def close(self) -> None:
        """Cut all connections. No request is running."""
        for each in (self._sweeping, self._tls, *(task for _, task in self._lookups.values())):
            if each is not None:
                each.cancel()
        if self._open:
            self._closed = self.loop.create_future()
            for connection in tuple(self._open):
                connection.fail(Disconnected("the transport was closed"))
            await self._closed

    @property
    def counts(self) -> Counts:
        """How many connections there are, and of what kind."""
        return Counts(self._taken, sum(len(place.idle) for place in self._places.values()), len(self._line))

    # --- places

    def _granted(self, place: Place) -> Connection | None:
        """An idle connection that still stands."""
        while place.idle:
            connection = place.idle.pop()
            if connection.usable:
                return connection
            connection.drop()
        return None

    def _room(self, place: Place) -> bool:
        """Take a place for a new connection, if need be that of another origin's oldest idle one."""
        if place.taken >= self._per_origin:
            return False
        if self._taken >= self._limit:
            idle = [other.idle[0] for other in self._places.values() if other.idle]
            if not idle:
                return False
            min(idle, key=lambda connection: connection.idle_since).drop()
        place.taken += 1
        self._taken += 1
        return True

    async def _new(
        self, origin: Origin, place: Place, deadlines: Deadlines, began: float, *, or_idle: bool
    ) -> Connection:
        """A connection, after waiting in line if there must be waited; only a new one unless *or_idle*."""
        while self._line or not self._room(place):
            try:
                async with asyncio.timeout_at(began + deadlines.head_s):
                    connection = await self._in_line(place)
            except TimeoutError as error:
                raise HeadTimeout(deadlines.head_s) from error
            if connection is None:
                break
            if or_idle and connection.usable:
                return connection
            connection.drop()
        left_s = began + deadlines.head_s - self.loop.time()
        try:
            return await self._connected(origin, place, min(deadlines.connect_s, left_s))
        except BaseException as error:
            self._give_up(place)
            if isinstance(error, ConnectTimeout) and left_s < deadlines.connect_s:
                raise HeadTimeout(deadlines.head_s) from error
            raise

    async def _in_line(self, place: Place) -> Connection | None:
        """A connection, or None with a place that was taken for a new one."""
        turn: asyncio.Future[Connection | None] = self.loop.create_future()
        entry = (place, turn)
        self._line.append(entry)
        self._next_in_line()
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.done() or turn.cancelled():
                self._line.remove(entry)
            elif (connection := turn.result()) is not None:
                self.freed(connection)
            else:
                self._give_up(place)
            raise

    def _give_up(self, place: Place) -> None:
        place.taken -= 1
        self._taken -= 1
        self._call_line()

    def _call_line(self) -> None:
        if self._line:
            self.loop.call_soon(self._next_in_line)

    def _next_in_line(self) -> None:
        """Serve those in line, in their order, as far as there is something for them."""
        for entry in tuple(self._line):
            place, turn = entry
            if turn.done():
                continue
            connection = self._granted(place)
            if connection is not None or self._room(place):
                self._line.remove(entry)
                turn.set_result(connection)

    # --- for connections

    def freed(self, connection: Connection) -> None:
        """*connection* has given a whole answer and can be asked again."""
        if not connection.counted:
            return
        connection.idle_since = self.loop.time()
        connection.place.idle.append(connection)
        self._call_line()

    def lost(self, connection: Connection) -> None:
        """*connection* cannot be asked any more."""
        if connection.counted:
            connection.counted = False
            if connection in connection.place.idle:
                connection.place.idle.remove(connection)
            self._give_up(connection.place)

    def gone(self, connection: Connection) -> None:
        """*connection* is closed."""
        self._open.discard(connection)
        if self._closed is not None and not self._open and not self._closed.done():
            self._closed.set_result(None)

    # --- connecting

    async def _connected(self, origin: Origin, place: Place, limit_s: float) -> Connection:
        try:
            async with asyncio.timeout(limit_s) as clock:
                context = await self._tls_context() if origin.tls else None
                addresses = await self._addresses(origin)
                sock = await start_connection(addresses, happy_eyeballs_delay=SECOND_ADDRESS_S)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                name = origin.host if origin.tls else None
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self, place), sock=sock, ssl=context, server_hostname=name
                )
        except (OSError, ValueError) as error:
            self._forget_addresses(origin)
            if isinstance(error, TimeoutError) and clock.expired():
                raise ConnectTimeout(limit_s) from error
            raise (NoDescriptor if is_shortage(error) else ConnectFailed)(_told(error)) from error
        if connection.closing:
            connection.drop()
            raise ConnectFailed("it was closed at once")
        connection.counted = True
        self._open.add(connection)
        return connection

    async def _addresses(self, origin: Origin) -> list[AddrInfoType]:
        """The addresses of an origin's host, asked for once for all who want them at the time."""
        until, task = self._lookups.get(origin, (0.0, None))
        if task is None or (task.done() and self.loop.time() >= until):
            task = asyncio.ensure_future(self._lookup(origin.host, origin.port, type=socket.SOCK_STREAM))
            task.add_done_callback(_seen)
            self._lookups[origin] = (self.loop.time() + ADDRESSES_S, task)
        return cast("list[AddrInfoType]", await asyncio.shield(task))

    def _forget_addresses(self, origin: Origin) -> None:
        """They did not lead anywhere. A question that is still open stays: more of the same would only pile up."""
        if origin in self._lookups and self._lookups[origin][1].done():
            del self._lookups[origin]

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None or (self._tls.done() and self._tls.exception() is not None):
            self._tls = self.loop.create_task(asyncio.to_thread(self._make_tls))
            self._tls.add_done_callback(_seen)
        return await asyncio.shield(self._tls)

    # --- clocks

    def _sweep_in(self, delay_s: float) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._sweeping = self.loop.call_later(delay_s, self._sweep)

    def _sweep(self) -> None:
        """End what is overdue, close what is idle for long, and come again when there may be more of it."""
        now = self.loop.time()
        busy = False
        for connection in tuple(self._open):
            busy = busy or connection.reply is not None
            if late := connection.overdue(now):
                connection.fail(late)
        expired = now - self._idle_s
        for place in self._places.values():
            while place.idle and place.idle[0].idle_since <= expired:
                place.idle[0].drop()
        self._sweeping = None
        if busy or self._line:
            self._sweep_in(SWEEP_S)
            return
        self._places = {origin: place for origin, place in self._places.items() if place.taken}
        oldest = min((place.idle[0].idle_since for place in self._places.values() if place.idle), default=None)
        if oldest is not None:
            self._sweep_in(oldest + self._idle_s - now)


def _seen(task: asyncio.Future[Any]) -> None:
    """Those who waited for *task* may all have left: its error is nobody's then."""
    if not task.cancelled():
        task.exception()


def _told(error: Exception) -> str:
    """What is safe to say of *error*: asyncio's own words name the address, which is nobody's business."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__}"
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    number = getattr(error, "errno", None)
    return os.strerror(number) if number and number > 0 else type(error).__name__
