"""A stream of a backend: read up to the first content before anybody sees it, then passed on frame by frame."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Final

from proxy.backends.backend import Answer, BackendError
from proxy.wire import is_content
from routing.errors import AttemptFailed
from translators.assemble import Collector
from translators.codec import JsonError
from translators.dialect import Relayed, StreamRelay
from translators.errors import BadAnswer
from translators.neutral import Failure, Usage
from translators.sse import SseError

BLANKS: Final = 64 * 1024
"""So many blanks before an answer are waited out; keep-alives take a few."""


HEARTBEATS: Final = frozenset(
    {b"event: ping", b'data: {"type": "ping"}', b'data: {"type":"ping"}', b"data:", b"data: "}
)
"""Lines of a stream that say nothing, besides blank ones and comments. (Anthropic pings about every 15 s)"""


def of_an_answer(failure: Failure) -> Failure:
    """*failure* of a call whose answer had begun: its server was reached, what it said cannot be read to its end."""
    return replace(failure, kind="invalid_response") if failure.kind == "connection" else failure


def is_heartbeat(frames: bytes) -> bool:
    """Whether *frames* say nothing; events of a vendor's own that nobody here knows say something."""
    return all(not line or line.startswith(b":") or line in HEARTBEATS for line in frames.splitlines())


class Pieces:
    """The body of an answer, one piece after the other; the first can be looked at beforehand."""

    def __init__(self, answer: Answer) -> None:
        self._rest = aiter(answer.pieces())
        self._peeked: bytes | None = None

    async def next(self) -> bytes:
        """The next piece; empty at the end."""
        if self._peeked is not None:
            piece, self._peeked = self._peeked, None
            return piece
        return await anext(self._rest, b"")

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
        pieces: list[bytes] = []
        while piece := await self.next():
            pieces.append(piece)
        return b"".join(pieces)


class Live:
    """A stream: `commit` reads up to the first content, `frames` gives the rest."""

    def __init__(
        self,
        pieces: Pieces,
        wire: StreamRelay,
        clean: Callable[[Failure], Failure],
        *,
        idle_s: float = math.inf,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """*idle_s*: so long it may say nothing. A heartbeat says nothing."""
        self._idle_s = idle_s
        self._now = now
        self._said_at = now()
        self._pieces = pieces
        self._wire = wire
        self._clean = clean
        self._ended = False
        self.collector = Collector()
        self.held = b""
        self.failure: Failure | None = None
        self._ours: Failure | None = None
        self.more: Callable[[], Awaitable[Relayed | None]] | None = None
        """Asked when the stream has ended: what comes next, after which it may `go_on`; None when nothing does."""
        self.rescue: Callable[[Failure], Awaitable[Relayed | None]] | None = None
        """The same, asked when the stream has broken off, with the reason."""

    async def commit(self, wait_s: float) -> None:
        """Read until the first content event.

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
            failure = Failure("timeout", f"no content within {wait_s:g} s", 504)
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

    async def frames(self) -> AsyncIterator[bytes]:
        """The rest, as frames for the client. A failure ends them, and `close` or `fail` says so."""
        while True:
            try:
                step = await (self._after_end() if self._ended else self._step())
            except BackendError as error:
                self.failure, self._ended = of_an_answer(error.failure), True
                continue
            if step is None:
                return
            if step.frames:
                yield step.frames

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
                self.collector.add(event)
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
        try:
            piece = await self._pieces.next()
            self._ended = not piece
            step = self._wire.feed(piece) if piece else self._wire.end()
        except (SseError, JsonError, BadAnswer) as error:
            raise BackendError(Failure("invalid_response", str(error), 502)) from error
        for event in step.events:
            if isinstance(event, Failure):
                self.failure, self._ended = event, True
                if self.rescue is not None:
                    continue  # it may be gone on with
            self.collector.add(event)
        if step.events or not is_heartbeat(step.frames):
            self._said_at = self._now()
        elif not self._ended and self._now() - self._said_at > self._idle_s:
            silent = f"nothing but heartbeats came for {self._idle_s:g} s in mid-answer"
            raise BackendError(Failure("timeout", silent, 504))
        return step
