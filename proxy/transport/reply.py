"""An answer: its head, then the pieces of its body as they are read from the connection, at most one for each read.

What a connection gives and its reader has not taken yet is held here; the clocks that run are those of whoever waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, Self

from proxy.transport.errors import (
    BadAnswer,
    Disconnected,
    HeadTimeout,
    IdleTimeout,
    TimedOut,
    TooLarge,
    TotalTimeout,
    TransportError,
)

HELD_BYTES: Final = 64 * 1024
"""Of a body that nobody takes: with more than this at hand nothing is read until it is taken."""
HEAD_BYTES: Final = 64 * 1024
"""Of one head; and of all that may come without any of a body: interim heads, trailers, extensions of chunks."""
LINE_BYTES: Final = 8190
HEADERS: Final = 128
BLANKS: Final = (b" ", b"\t")
NEVER: Final = float("inf")


class Deadlines(NamedTuple):
    """The clocks of one request, in seconds; each is at most 0.1 s late, 0.2 s where pieces go into a sink.

    *connect_s*: for a connection. *head_s*: from the call until the answer's head. *idle_s*: how long its reader waits
    for the next piece. *write_s*: how long the server may take nothing of a long body. *total_s*: everything.
    """

    connect_s: float = 5.0
    head_s: float = 60.0
    idle_s: float = 60.0
    write_s: float = 60.0
    total_s: float = NEVER


class Source(Protocol):
    """Where the bytes of an answer come from."""

    def resume(self) -> None:
        """Read on: the reader took what there was."""

    def fail(self, error: TransportError) -> None:
        """Cut the connection; the answer ends with *error*."""


class Reply:
    """An answer whose head has come. Whoever got it reads it to its end or closes it.

    *headers* are as they came, in their order. A read that is cancelled loses nothing.
    """

    __slots__ = (
        "_due",
        "_ended",
        "_error",
        "_held",
        "_loop",
        "_pieces",
        "_source",
        "_sunk_before",
        "_total_due",
        "_waiter",
        "_waits_for",
        "clocks",
        "connect_s",
        "headers",
        "listener",
        "look_due",
        "method",
        "reason",
        "sink",
        "status",
        "sunk",
    )

    def __init__(
        self, source: Source, method: str, clocks: Deadlines, loop: asyncio.AbstractEventLoop, began: float
    ) -> None:
        self.method = method
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self._source: Source | None = source
        self._loop = loop
        self.clocks = clocks
        self.connect_s: float | None = None
        """After how long there was a connection; None: at once."""
        self._due = began + clocks.head_s
        self._total_due = began + clocks.total_s
        self._waits_for: type[TimedOut] = HeadTimeout
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._error: TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.listener: Callable[[], None] | None = None
        """Hears of all news in the place of a reader, who may come later. While it does nothing is awaited."""
        self.sink: Callable[[bytes], bool] | None = None
        """Is given each piece where it is read, before the listener hears of it, and says whether it took it.

        It is there only while nothing is held.
        """
        self.sunk = self._sunk_before = 0
        """How many bytes the sink has taken; and had, when the clocks were looked at."""
        self.look_due = NEVER
        """When the listener is told, once, that nothing is news."""

    # --- for its reader

    @property
    def error(self) -> TransportError | None:
        """Why it ended before its end; None as long as it may not have."""
        return self._error

    @property
    def whole(self) -> bytes | None:
        """The body, if all of it is at hand; it may still be read. None where it is not, or not yet."""
        if not self._ended or self._error is not None or not self.status:
            return None
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes, and nothing is left to be taken."""
        return self._ended and not self._pieces

    @property
    def stands_still(self) -> bool:
        """Whether no more of it comes before somebody takes what is at hand."""
        return self._held > HELD_BYTES

    def header(self, name: bytes) -> bytes | None:
        """The last value of the header *name*, which is given in lower case."""
        return next((value for each, value in reversed(self.headers) if each.lower() == name), None)

    async def piece(self) -> bytes:
        """The next piece of the body, b"" at its end.

        Raises:
            IdleTimeout, TotalTimeout, Disconnected, BadAnswer: there is no more of it. What came before is given first.
        """
        if not self._pieces and not self._ended:
            self._due = self._loop.time() + self.clocks.idle_s
            self._waits_for = IdleTimeout
            try:
                while not self._pieces and not self._ended:
                    await self._news()
            finally:
                self._due = NEVER
        if self._pieces:
            piece = self._pieces.popleft()
            self._held -= len(piece)
            if self._source is not None and not self._pieces:
                self._source.resume()
            return piece
        if self._error is not None:
            raise self._error
        return b""

    async def flow(self, take: Callable[[bytes], bool], sink: Callable[[bytes], bool] | None = None) -> None:
        """Give *take* every piece where it is read, until it says that it wants no more, or there is no more.

        Nobody is woken for a piece. What *take* raises is raised here; why the body ended, `piece` tells.
        *sink* is asked first: what it takes *take* is not given.
        """
        over = self._loop.create_future()
        broke: Exception | None = None

        def heard() -> None:
            nonlocal broke
            try:
                if self.give(take) and not self._ended:
                    return
            except Exception as error:  # noqa: BLE001  it is raised where its reader waits
                broke = error
            self.listener = None
            if not over.done():
                over.set_result(None)

        self.listener, self.sink = heard, sink
        try:
            self.wake()
            await over
        finally:
            self.listener, self.sink, self._sunk_before, self._due = None, None, self.sunk, NEVER
        if broke is not None:
            raise broke

    def give(self, take: Callable[[bytes], bool]) -> bool:
        """Give *take* what is at hand, until it says that it wants no more; whether it wants more."""
        pieces, wanted = self._pieces, True
        while pieces and wanted:
            piece = pieces.popleft()
            self._held -= len(piece)
            wanted = take(piece)
        if self._source is not None and not pieces:
            self._source.resume()
        return wanted

    def put_back(self, piece: bytes) -> None:
        """Let *piece*, which was taken, be taken again before all others."""
        self._pieces.appendleft(piece)
        self._held += len(piece)

    async def read(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            TooLarge: it is longer than *limit* bytes.
            IdleTimeout, TotalTimeout, Disconnected, BadAnswer: it did not come whole.
        """
        pieces: list[bytes] = []
        received = 0
        while piece := await self.piece():
            pieces.append(piece)
            received += len(piece)
            if received > limit:
                self.close()
                raise TooLarge(limit)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self.piece():
            return piece
        raise StopAsyncIteration

    def close(self) -> None:
        """Let go of the answer: unless it came whole already, the server sees a hang-up at once."""
        if self._source is not None:
            self._source.fail(Disconnected("the answer was closed by its reader"))

    # --- for the transport

    async def head(self) -> None:
        """Wait for the head."""
        while not self.status and not self._ended:
            await self._news()
        self._due = NEVER
        if not self.status and self._error is not None:
            raise self._error

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body has no other end (RFC 9112, 6.3)."""
        coding = self.header(b"transfer-encoding")
        if coding is not None:
            return coding.lower().rpartition(b",")[2].strip() != b"chunked"
        return self.header(b"content-length") is None

    def overdue(self, now: float) -> TimedOut | None:
        """The clock that has run out, if one has."""
        if self.sunk != self._sunk_before:
            self._sunk_before, self._due = self.sunk, now + self.clocks.idle_s
        if now >= self.look_due and self.listener is not None:
            self.look_due = NEVER
            self.listener()
        if now >= self._due:
            return self._waits_for(self.clocks.idle_s if self._waits_for is IdleTimeout else self.clocks.head_s)
        return TotalTimeout(self.clocks.total_s) if now >= self._total_due else None

    def came(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """All of it is there at once, with status 200."""
        self.status, self.reason, self.headers = 200, b"OK", headers
        if body:
            self._pieces.append(body)
            self._held = len(body)
        self._ended = True
        self._source = None
        if self.listener is not None:
            self.listener()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def feed(self, piece: bytes) -> bool:
        """Add to the body; whether that is enough for now."""
        self._pieces.append(piece)
        self._held += len(piece)
        return self._held > HELD_BYTES

    def wake(self) -> None:
        """Tell the reader that there is news."""
        if self.listener is not None:
            self._due, self._waits_for = self._loop.time() + self.clocks.idle_s, IdleTimeout
            self.listener()
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self, error: TransportError | None = None) -> None:
        """Nothing more comes: the body is whole, or *error* says why it is not."""
        self._ended = True
        self._error = error
        self._source = None
        self.wake()

    async def _news(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def checked(reason: bytes, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """*headers* without the blanks behind their values, which llhttp leaves there.

    Raises:
        BadAnswer: there are too many, they are too long, or hold a NUL byte, which llhttp does not mind as we ask it.
    """
    names, values = b"".join([name for name, _ in headers]), b"\n".join([value for _, value in headers])
    if len(headers) > HEADERS:
        raise BadAnswer(f"more than {HEADERS} headers")
    if b"\0" in values:
        raise BadAnswer("a header with a NUL byte")
    size = len(reason) + len(names) + len(values)
    if size > LINE_BYTES:
        longest = max(len(reason), *(len(name) + len(value) for name, value in headers))
        if longest > LINE_BYTES or size > HEAD_BYTES:
            raise BadAnswer(f"a line of more than {LINE_BYTES} bytes, or more than {HEAD_BYTES} in all")
    if values.endswith(BLANKS) or b" \n" in values or b"\t\n" in values:
        return [(name, value.rstrip(b" \t")) for name, value in headers]
    return headers
