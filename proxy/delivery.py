"""Bytes to the client: whole or streamed, from a backend or from the cache; settled before the last byte leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web
from aiohttp.http_writer import StreamWriter

from proxy.answer import WholeAnswer
from proxy.asked import Asked
from proxy.asking import Committed
from proxy.conforming import fewer, judged, must_be_checked, not_fitting, unshown
from proxy.exchange import Exchange
from proxy.live import Live
from proxy.outlet import Outlet, ToWriter
from proxy.server import Incoming
from proxy.services import Services
from proxy.stored import Land, Stored, storable
from proxy.whole import summed
from routing.breaker import CLIENTS_DEADLINE
from storage.errors import LedgerUnavailable
from translators.assemble import replay
from translators.dialects import SPOKEN
from translators.neutral import Failure, Request, Response, Usage

STREAM_HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}
LATE: Final = Failure("timeout", "the answer did not end in time", 504, "upstream_timeout")
"""Its deadline has passed."""
WHOLE_HEADERS: Final[Mapping[str, str]] = {"content-type": "application/json", "x-content-type-options": "nosniff"}


async def booked(
    services: Services, exchange: Exchange, committed: Committed, response: Response, *, tenant: str, request: Request
) -> None:
    """Account for *response* to a *request*, keep its reasoning for the next turn of *tenant*, and close the books.

    Raises:
        LedgerUnavailable: they could not be closed.
    """
    await services.account(exchange, committed, response)
    services.remember(tenant, request, response, committed.prepared)
    exchange.answer, exchange.on_ended = response, services.endings.ended
    await exchange.settle("ok")


@dataclass(slots=True)
class Rest:
    """What is left to do when an answer to *tenant* has come, or begun to come. *keep* is as in `Delivery`."""

    services: Services
    tenant: str
    asked: Asked
    exchange: Exchange
    keep: Land | None = None

    async def settle(self, committed: Committed, response: Response) -> None:
        """Book *response*, and keep it where it may be.

        Raises:
            LedgerUnavailable: it could not be booked.
        """
        request = self.asked.request
        await booked(self.services, self.exchange, committed, response, tenant=self.tenant, request=request)
        if self.keep and self.exchange.target and storable(response):
            exchange, dialect = self.exchange, request.dialect
            payload = committed.payload if dialect in SPOKEN else None
            here = unshown(self.asked, response)  # what the next client is not shown, its own dialect says
            losses = tuple(loss for loss in exchange.losses if loss not in here)
            self.keep(Stored(self.exchange.target.name, exchange.cost_nanousd, response, losses, dialect, payload))

    async def of_live(self, committed: Committed, live: Live, out: Outlet) -> bytes:
        """Pass the rest of *live* on to *out*, and settle; the frames that are left to be sent."""
        exchange = self.exchange
        await self._relay(live, out, committed.deadline)
        await committed.close()
        if live.failure is not None:
            # Booked before it is told: a client closes as soon as it has read the error.
            await self.services.settle_partial(exchange, committed, "interrupted", live.failure)
            return live.last_words()
        response = live.collector.response()
        self._say_what_does_not_fit(committed, response)
        try:
            await self.settle(committed, response)
        except LedgerUnavailable as error:
            live.fail(Failure("overloaded", str(error), 503, "ledger_unavailable"))
            return live.last_words()
        frames = live.close(exchange.receipt(), _usage(committed))
        if memory := self.asked.memory:
            frames = await memory.kept_frames(frames, exchange.target, by_vendor=committed.prepared.verbatim)
        return frames

    def _say_what_does_not_fit(self, committed: Committed, response: Response) -> None:
        """A stream has gone out as it was; whether it has the form that was asked for stands in its receipt."""
        request, settings = self.asked.request, self.services.setup.loaded.settings.structured
        self.exchange.losses = (*self.exchange.losses, *fewer(request, response))
        if not committed.prepared.verbatim:
            self.exchange.losses = (*self.exchange.losses, *unshown(self.asked, response))
        if not settings.validate_answers or not must_be_checked(request, committed.prepared):
            return
        verdict = judged(response, request)
        if verdict.losses or verdict.wrong:
            wrong = verdict.wrong or ("the JSON stands in other text",)
            self.exchange.losses = (*self.exchange.losses, not_fitting(request, wrong))

    @staticmethod
    async def _relay(live: Live, out: Outlet, deadline: float) -> None:
        """Everything up to the closing frames, or a failure's."""
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                if live.held:
                    await out.write(live.held)
                await live.relay(out)
        except TimeoutError:
            if out.waits:  # for the client, not for the target
                live.fail(Failure("timeout", "the answer was not read in time", 504, CLIENTS_DEADLINE))
            else:
                live.fail(LATE)


@dataclass(slots=True)
class Delivery:
    """One answer on its way to one client. *keep* is given the answer when it may be kept."""

    services: Services
    incoming: Incoming
    asked: Asked
    exchange: Exchange
    keep: Land | None = None
    begun: web.StreamResponse | None = None
    """What the client is reading already."""

    async def of_committed(self, committed: Committed) -> web.StreamResponse:
        """Send an answer of a backend.

        Raises:
            LedgerUnavailable: it could not be booked, so nothing was sent.
        """
        if committed.live is not None:
            return await self._of_live(committed, committed.live)
        if committed.response is None:
            raise AssertionError("a committed answer is live or whole")
        await committed.close()
        await self._rest.settle(committed, committed.response)
        return await self._send(counted(committed, committed.response), committed.payload, committed.headers)

    async def of_stored(self, stored: Stored) -> web.StreamResponse:
        """Send an answer out of the cache, in the form that this client wants."""
        own = stored.dialect == self.asked.request.dialect
        if self.asked.memory:
            stored = self.asked.memory.renewed(stored, self.asked, own=own)
        return await self._send(stored.response, stored.payload if own else None, {})

    async def _send(self, response: Response, payload: bytes | None, headers: Mapping[str, str]) -> web.StreamResponse:
        """A whole answer, in one write; as a stream if the client asked for one."""
        asked, told = self.asked, {**headers, **self.exchange.headers(final=True)}
        if not asked.request.stream:
            body = payload or asked.whole(response)
            if asked.memory:
                by_vendor = payload is not None and self.exchange.cache != "hit"
                body = await asked.memory.kept(body, self.exchange.target, by_vendor=by_vendor)
            return WholeAnswer(body=body, headers={**WHOLE_HEADERS, **told})
        frames = replayed(asked, response, self.exchange.receipt())
        if asked.memory:
            frames = await asked.memory.kept_frames(frames, self.exchange.target, by_vendor=False)
        stream = self.begun or web.StreamResponse(headers={**self._stream_headers, **told})
        if self.begun is None:
            await stream.prepare(self.incoming.http)
        await stream.write_eof(frames)
        return stream

    @property
    def _stream_headers(self) -> dict[str, str]:
        return {"content-type": self.asked.stream_type, **STREAM_HEADERS, **self.incoming.metered.headers()}

    async def _of_live(self, committed: Committed, live: Live) -> web.StreamResponse:
        exchange = self.exchange
        headers = {**self._stream_headers, **committed.headers, **exchange.headers(final=False)}
        stream = web.StreamResponse(headers=headers)
        await stream.prepare(self.incoming.http)
        http = self.incoming.http
        writer = http.writer
        out: Outlet = ToWriter(writer)
        if isinstance(writer, StreamWriter):
            out = Outlet(http.protocol, writer.drain, chunked=writer.chunked)
        await stream.write_eof(await self._rest.of_live(committed, live, out))
        return stream

    @property
    def _rest(self) -> Rest:
        return Rest(self.services, self.incoming.tenant, self.asked, self.exchange, self.keep)


def replayed(asked: Asked, response: Response, receipt: bytes) -> bytes:
    """A whole *response* as the stream that its client wants."""
    renderer = asked.renderer()
    return renderer.render(list(replay(response))) + renderer.close(receipt)


def counted(committed: Committed, response: Response) -> Response:
    """*response* with the tokens that its books have, where its vendor told none."""
    return response if response.usage is not None else replace(response, usage=_usage(committed))


def _usage(committed: Committed) -> Usage:
    """The tokens of a settled answer: the vendor's counts, and the proxy's own where it told none."""
    usages = [attempt.usage for attempt in committed.attempts if attempt.usage]
    return summed(usages) if len(usages) > 1 else usages[0]
