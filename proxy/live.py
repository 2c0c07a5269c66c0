"""A stream of a backend: read up to the first content before anybody sees it, then passed on frame by frame."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from proxy.backends.backend import MAX_ANSWER_BYTES, Answer, BackendError
from proxy.backends.http import HttpAnswer, has_room
from proxy.outlet import Outlet
from proxy.room import Gathering, for_an_answer
from proxy.wire import is_content
from routing.errors import AttemptFailed
from translators.assemble import Collector
from translators.codec import JsonError
from translators.dialect import Relayed, Wire
from translators.errors import BadAnswer
from translators.neutral import Event, Failure, Usage
from translators.sse import SseError

BLANKS: Final = 64 * 1024
"""So many blanks before an answer are waited out; keep-alives take a few."""


HEARTBEATS: Final = frozenset(
    {b"event: ping", b'data: {"type": "ping"}', b'data: {"type":"ping"}', b"data:", b"data: "}
)
"""Lines of a stream that say nothing, besides blank ones and comments. (Anthropic pings about every 15 s)"""
_LONGEST: Final = max(map(len, HEARTBEATS))


def of_an_answer(failure: Failure) -> Failure:
    """*failure* of a call whose answer had begun: its server was reached, what it said cannot be read to its end."""
    return replace(failure, kind="invalid_response") if failure.kind == "connection" else failure


def is_heartbeat(frames: bytes) -> bool:
    """Whether *frames* say nothing; events of a vendor's own that nobody here knows say something."""
    if frames.find(b"\n") > _LONGEST and not frames.startswith(b":") and frames.find(b"\r", 0, _LONGEST) < 0:
        return False
    return all(not line or line.startswith(b":") or line in HEARTBEATS for line in frames.splitlines())


class Pieces:
    """The body of an answer, one piece after the other; the first can be looked at beforehand."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer if isinstance(answer, HttpAnswer) else None
        self._most_bytes = answer.max_bytes if isinstance(answer, HttpAnswer) else MAX_ANSWER_BYTES
        self._rest = aiter(answer.pieces())
        self._peeked: bytes | None = None

    async def next(self) -> bytes:
        """The next piece; empty at the end."""
        if self._peeked is not None:
            piece, self._peeked = self._peeked, None
            return piece
        return await anext(self._rest, b"")

    async def flow(self, take: Callable[[bytes], bool], sink: Callable[[bytes], bool] | None) -> None:
        """Give *sink*, or else *take*, what comes where it comes, until *take* wants no more.

        Not at all where that cannot be.
        """
        if self._answer is not None and self._peeked is None:
            await self._answer.flow(take, sink)

    async def peek(self) -> bytes:
        """The beginning with something that is no blank in it, if one comes soon; `next` gives it once more."""
        begun = bytearray()
        while len(begun) < BLANKS and (piece := await self.next()):
            begun += piece
            if not piece.isspace():
                break
        self._peeked = bytes(begun)
        return self._peeked

    async def read(self) -> bytes:
        """All that is left."""
        gathering = Gathering(for_an_answer(), self._most_bytes)
        while piece := await self.next():
            if gathering.add(piece):
                await has_room(gathering)
        return await gathering.whole()


class Live:
    """A stream: `commit` reads up to the first content, `relay` passes the rest on."""

    def __init__(
        self,
        pieces: Pieces | None,
        wire: Wire,
        clean: Callable[[Failure], Failure],
        *,
        idle_s: float = math.inf,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """*idle_s*: so long it may say nothing. A heartbeat says nothing.

        Without *pieces* it is given what to `read`.
        """
        self._idle_s = idle_s
        self._now = now
        self._said_at = now()
        self._pieces = pieces
        self._wire = wire
        self._clean = clean
        self._ended = False
        self._collector = Collector()
        self.held = b""
        self.failure: Failure | None = None
        self._ours: Failure | None = None
        self.more: Callable[[], Awaitable[Relayed | None]] | None = None
        """Asked when the stream has ended: what comes next, after which it may `go_on`; None when nothing does."""
        self.rescue: Callable[[Failure], Awaitable[Relayed | None]] | None = None
        """The same, asked when the stream has broken off, with the reason."""

    @property
    def collector(self) -> Collector:
        """What has been said so far."""
        self._collect(self._wire.told())
        return self._collector

    async def commit(self, wait_s: float, waited_s: float = 0.0) -> None:
        """Read until the first content event, for which *waited_s* have passed already.

        Raises:
            AttemptFailed: the stream failed, or nothing came in *wait_s*, before there was any.
        """
        held: list[bytes] = []
        try:
            async with asyncio.timeout(wait_s):
                while not self._ended:
                    step = await self._step()
                    held.append(step.frames)
                    if self.failure:
                        raise AttemptFailed(self.failure)
                    if any(map(is_content, step.events)):
                        break
        except TimeoutError as error:
            failure = Failure("timeout", f"no content within {wait_s + waited_s:.3g} s", 504)
            raise AttemptFailed(failure) from error
        except BackendError as error:
            raise AttemptFailed(error.failure) from error
        self.held = b"".join(held)

    async def go_on(self, pieces: Pieces, wait_s: float) -> None:
        """Read another call's stream up to its first content, which is then `held`; the stream is that one.

        Raises:
            AttemptFailed: there was none, and the stream has ended as it had before.
        """
        self._pieces, self._ended, self._said_at = pieces, False, self._now()
        try:
            await self.commit(wait_s)
        except BaseException:
            self._ended = True
            raise

    async def relay(self, out: Outlet) -> None:
        """Pass the rest on. A failure ends it, and `last_words` say so.

        What needs no decision goes out where it comes in: *out* and this task are not waited for.
        """
        while True:
            try:
                if out.direct and not self._ended:
                    await out.room()
                    await self._source.flow(lambda piece: self._passed(piece, out), self.sink(out))
                    await out.room()
                step = await (self._after_end() if self._ended else self._step())
            except BackendError as error:
                self.broke(error)
                continue
            if step is None:
                return
            if step.frames:
                await out.write(step.frames)

    def sink(self, out: Outlet) -> Callable[[bytes], bool] | None:
        """What passes plain pieces on to *out*, in as few steps as there can be; it says whether it took one."""
        if not out.chunked:
            return None
        connection, passes, now = out.connection, self._wire.passes, self._now

        def sunk(piece: bytes) -> bool:
            transport = connection.transport
            if transport is None or connection.writing_paused or not passes(piece):
                return False
            self._said_at = now()
            transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            return True

        return sunk

    def _passed(self, piece: bytes, out: Outlet) -> bool:
        """Pass *piece* on; whether the next one can be at once."""
        step = self.read(piece)
        is_free = out.push(step.frames) if step.frames else True
        return is_free and not self._ended

    def reads(self, pieces: Pieces) -> None:
        """What comes next is in *pieces*."""
        self._pieces = pieces

    @property
    def ended(self) -> bool:
        """Whether it has come to an end, its own or a failure's."""
        return self._ended

    def broke(self, error: BackendError) -> None:
        """It has ended with *error*."""
        self.failure, self._ended = of_an_answer(error.failure), True

    def fail(self, failure: Failure) -> None:
        """End the stream with *failure*, which is ours and not the vendor's, if it has not failed before."""
        if self.failure is None:
            self.failure = self._ours = failure

    def last_words(self) -> bytes:
        """The one error event of a stream that has failed, in words that are the client's to read."""
        if self.failure is None:
            return b""
        return self._wire.fail(self._ours or self._clean(self.failure))

    def close(self, receipt: bytes, usage: Usage | None) -> bytes:
        """The closing frames; *usage* is ours, told to a client that asked where the vendor told none."""
        return self._wire.close(receipt, usage if self.collector.usage is None else None)

    async def _after_end(self) -> Relayed | None:
        if self.failure is not None:
            return await self._rescued(self.failure)
        if self.more is None:
            return None
        if (step := await self.more()) is not None:
            for event in step.events:
                self._collector.add(event)
        return step

    async def _rescued(self, failure: Failure) -> Relayed | None:
        """What goes on with a stream that *failure* has ended, which is forgotten then."""
        if self.rescue is None or self._ours is not None:
            return None
        self.failure = None
        try:
            step = await self.rescue(failure)
        except BaseException:
            self.failure = failure
            raise
        if step is None:
            self.failure, self._ended = failure, True
        return step

    async def _step(self) -> Relayed:
        return self.read(await self._source.next())

    @property
    def _source(self) -> Pieces:
        if self._pieces is None:
            raise AssertionError("there is nothing to read from")
        return self._pieces

    def read(self, piece: bytes) -> Relayed:
        """What *piece* says, which is the stream's end if it is empty.

        Raises:
            BackendError: it cannot be read, or has said nothing for too long.
        """
        try:
            self._ended = not piece
            step = self._wire.feed(piece) if piece else self._wire.end()
        except (SseError, JsonError, BadAnswer) as error:
            raise BackendError(Failure("invalid_response", str(error), 502)) from error
        if step.events:
            self._collect(step.events)
        if step.events or not is_heartbeat(step.frames):
            self._said_at = self._now()
        elif not self._ended and self._now() - self._said_at > self._idle_s:
            silent = f"nothing but heartbeats came for {self._idle_s:g} s in mid-answer"
            raise BackendError(Failure("timeout", silent, 504))
        return step

    def _collect(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Failure):
                self.failure, self._ended = event, True
                if self.rescue is not None:
                    continue  # it may be gone on with
            self._collector.add(event)
