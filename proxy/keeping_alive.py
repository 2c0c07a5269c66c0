"""The stream of a client that waits for an answer which comes in one piece, kept open by comments.

The head goes out after the first silence, not at once: what fails before that has its true status. What fails after it
is one error event in the client's dialect, and the stream ends without its terminator.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from proxy.asked import EVENT_STREAM, Asked
from proxy.delivery import STREAM_HEADERS
from proxy.exchange import Exchange
from proxy.server import Incoming
from translators.neutral import Failure
from translators.sse import comment

WAITING: Final = comment(b"waiting for several answers")
"""Not `modelport ...`, which is how the receipt begins."""


class Line:
    """`async with` it while the answer is made. *every_s* None, or a stream without comments: nothing is ever sent."""

    def __init__(self, incoming: Incoming, asked: Asked, exchange: Exchange, every_s: float | None) -> None:
        self.stream: web.StreamResponse | None = None
        """What the client is reading already; None: nothing yet."""
        self._incoming = incoming
        self._asked = asked
        self._exchange = exchange
        self._every_s = every_s if asked.request.stream and asked.stream_type == EVENT_STREAM else None
        self._over: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._every_s is not None:
            self._over = asyncio.get_running_loop().create_future()
            self._task = asyncio.ensure_future(self._keep_alive(self._over, self._every_s))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is None or self._over is None:
            return
        self._over.set_result(None)
        if isinstance(error, asyncio.CancelledError):
            self._task.cancel()
        # A head that is being written must be whole before anything follows it.
        await asyncio.gather(self._task, return_exceptions=True)

    async def fail(self, failure: Failure) -> web.StreamResponse:
        """End the stream that has begun with *failure*, which is in the client's words."""
        if self.stream is None:
            raise AssertionError("nothing has begun")
        await self.stream.write_eof(self._asked.renderer().fail(failure))
        return self.stream

    async def _keep_alive(self, over: asyncio.Future[None], every_s: float) -> None:
        while True:
            await asyncio.wait([over], timeout=every_s)
            if over.done():
                return
            if self.stream is None:
                told = {**self._exchange.headers(final=False), **self._incoming.metered.headers()}
                stream = web.StreamResponse(headers={"content-type": self._asked.stream_type, **STREAM_HEADERS, **told})
                await stream.prepare(self._incoming.http)
                self.stream = stream
            await self.stream.write(WAITING)
