"""Rides of streams: what a provider says piece by piece goes to the client where it comes in.

    begin ──▶ heard ──first content──▶ passing ──end, plain──▶ booked ──▶ arrived
                │                         │
                └── anything else ────────┴──▶ a task, as on the careful way

Before the first content all is held back, and put back for the careful way where something is not as it should be: it
finds the answer as it came. After it the careful way goes on with the same `Live`: with an error, a client that reads
slowly, an answer that is not plain. Times are kept by the provider's connection (`transport.reply`): who has said
nothing for most of the time that is allowed is left to the careful way, whose clocks then tell.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from proxy.asked import EVENT_STREAM
from proxy.asking import Committed
from proxy.backends.backend import BackendError
from proxy.delivery import LATE, STREAM_HEADERS, Rest, booked, counted, replayed
from proxy.errors import for_client
from proxy.exchange import rate_limit_headers, receipt
from proxy.fast.ride import Client, Ride, Started, row_of
from proxy.fast.ways import vendor_lines
from proxy.fast.written import Written, closing, open_ending, opened
from proxy.live import Live, Pieces
from proxy.logs import REQUEST_ID
from proxy.transport.errors import TotalTimeout
from proxy.wire import is_content
from translators.complaints import in_clients_words
from translators.moulds import Moulded
from translators.neutral import Failure
from translators.vaulted import is_forgotten

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.fast.shapes import Found
    from proxy.fast.ways import Bill, Way
    from proxy.services import Services
    from proxy.setup import Key
    from storage.errors import LedgerUnavailable

log = logging.getLogger("modelport")

PATIENCE: Final = 0.8
"""Of the time that the first content may take, before the careful way waits for the rest of it."""
_BEGINNINGS: Final = (b"data:", b"event:", b":", b"id:", b"retry:")


class StreamRide(Ride):
    """One request for a stream."""

    __slots__ = ("_bill", "_first_ms", "_frames", "_last", "_live", "_look_at", "_pieces", "_received")

    def __init__(self, services: Services, way: Way, found: Found, key: Key | None, who: Client) -> None:
        super().__init__(services, way, found, key, who)
        self._live: Live | None = None
        self._first_ms: float | None = None
        """After how long the first content came, when it has: then the client reads already."""
        self._pieces: list[bytes] = []
        """What has come before the first content, and *_frames* what of it the client will be sent."""
        self._frames: list[bytes] = []
        self._received = 0
        self._bill: Bill | None = None
        self._last = b""
        """Of a stream that is being booked: its last frames before the closing ones."""
        self._look_at = time.monotonic() + PATIENCE * way.deadlines.head_s

    @override
    def leave(self) -> None:
        sent = self._sent
        if self._task is not None or self._first_ms is None or sent is None or sent.reply.listener is None:
            super().leave()
            return
        self._sent = sent.reply.listener = sent.reply.sink = None
        self.services.spawn(self._left(sent))
        self._arrived(None)

    @override
    def _heard(self) -> None:
        sent = self._sent
        if sent is None:
            return
        REQUEST_ID.set(self.id)
        reply = sent.reply
        if not reply.status and reply.error is None:
            return
        try:
            goes_on = self._reads(sent) and reply.give(self._passed) and not reply.is_over
            if self._first_ms is None:
                goes_on = goes_on and time.monotonic() < self._look_at
            elif not goes_on and reply.is_over and reply.error is None and self._ended(sent):
                return
        except BackendError as error:
            goes_on = False
            if self._first_ms is not None and self._live is not None:
                self._live.broke(error)
        except ConnectionError:  # the client has left: `leave` is about to be called
            return
        except Exception:
            log.exception("a stream on the fast lane")
            if self._sent is None:
                return
            goes_on = False
        if not goes_on:
            self._hand_over(sent)

    def _reads(self, sent: Started) -> bool:
        """Whether the answer is a stream that can be read here."""
        reply = sent.reply
        if self._live is None and reply.status == 200 and vendor_lines(reply.headers) is not None:
            self._live = self._new_live()
            reply.look_due = asyncio.get_running_loop().time() + max(0.0, self._look_at - time.monotonic())
        return self._live is not None

    def _hand_over(self, sent: Started) -> None:
        """Let the careful way go on."""
        reply = sent.reply
        reply.listener = reply.sink = None
        if self._first_ms is None and self._pieces:
            reply.put_back(b"".join(self._pieces))
            self._live = None
        self._task = asyncio.get_running_loop().create_task(self._go_on(sent))

    # --- piece by piece

    def _passed(self, piece: bytes) -> bool:
        """Pass *piece* on; whether the next one can be at once."""
        live = self._live
        if live is None:
            return False
        sunk = self._sent.reply.sunk if self._sent is not None else 0
        if self._received + sunk + len(piece) > self._way.backend.max_bytes:
            return self._leave_to_careful(piece)
        self._received += len(piece)
        if self._first_ms is not None:
            frames = live.read(piece).frames
            return (self._out.push(frames) if frames else True) and not live.ended
        return self._held_back(live, piece)

    def _held_back(self, live: Live, piece: bytes) -> bool:
        """Read *piece*, which may hold the first content."""
        if not self._pieces and not piece.startswith(_BEGINNINGS):
            return self._leave_to_careful(piece)
        self._pieces.append(piece)
        step = live.read(piece)
        self._frames.append(step.frames)
        if live.ended:
            return False
        if any(map(is_content, step.events)):
            return self._begin_answer(b"".join(self._frames))
        return True

    def _leave_to_careful(self, piece: bytes) -> bool:
        if self._sent is not None:
            self._sent.reply.put_back(piece)
        return False

    def _begin_answer(self, frames: bytes) -> bool:
        """There is content: from here on no other target takes over."""
        sent = self._sent
        lines = vendor_lines(sent.reply.headers) if sent else None
        if sent is None or lines is None:
            return False
        self._first_ms = self._elapsed_ms()
        self._pieces, self._frames = [], []
        sent.reply.look_due = float("inf")
        sent.reply.sink = self._live.sink(self._out) if self._live is not None else None
        self._worked()
        self._told_limits(lines)
        way = self._way
        told = self._metered.lines()
        head = b"".join((way.front, lines, b"x-request-id: ", self.id.encode(), way.middle, told, open_ending()))
        return self._out.push(frames, head)

    # --- its end

    def _ended(self, sent: Started) -> bool:
        """Book a plain answer that has come to its end; False where it is none."""
        live, first_ms = self._live, self._first_ms
        if live is None or first_ms is None or live.ended:
            return False
        frames = live.read(b"").frames
        response = live.collector.response()
        counts = self.shape.speech.streamed(response) if live.failure is None else None
        bill = self._way.bill(counts) if counts is not None else None
        latency_ms = self._elapsed_ms()
        if counts is None or bill is None or not self.services.endings.are_ordinary(latency_ms, first_ms):
            if frames:
                self._out.push(frames)
            return False
        if not is_forgotten(response):
            self._remember(response)
        sent.reply.listener = None
        self._last, self._bill = frames, bill
        self._book(sent.note, row_of(sent.note, counts, bill, latency_ms, first_ms))
        return True

    @override
    def _booked(self, error: LedgerUnavailable | None) -> None:
        live, bill, frames = self._live, self._bill, self._last
        self._end()
        if live is None or bill is None:
            raise AssertionError("only what was read is booked")
        if error is None:
            frames += live.close(receipt(bill.nanousd, attempts=1), None)
        else:
            live.fail(Failure("overloaded", str(error), 503, "ledger_unavailable"))
            frames += live.last_words()
        self._arrived(Written(200, closing(frames)))

    # --- what is not plain

    async def _left(self, sent: Started) -> None:
        """Close the books of a stream whose client has left."""
        services = self.services
        exchange = self._taken_over(sent)
        services.retry_budget.passed(1)
        self._metered.close(free=False)
        committed = await self._committed(exchange, sent)
        await committed.close()
        await services.settle_partial(exchange, committed, "aborted", None)

    @override
    async def _committed(self, exchange: Exchange, sent: Started) -> Committed:
        first_ms, live, shape = self._first_ms, self._live, self.shape
        if first_ms is None or live is None:
            return await super()._committed(exchange, sent)
        attempt = await exchange.adopt(*self._asked_of, self._started)
        attempt.sent = attempt.streams = True
        attempt.first_event_ms = exchange.first_event_ms = round(first_ms, 3)
        prepared = replace(shape.prepared, body=shape.sent.of(self.found.pieces))
        total_s = prepared.spec.timeouts.total_s - attempt.elapsed_ms() / 1000
        deadline = min(exchange.deadline, time.monotonic() + total_s)
        committed = Committed(exchange, [attempt], prepared, live=live, deadline=deadline)
        reply = sent.reply
        if isinstance(reply.error, TotalTimeout):
            live.fail(LATE)
        answer = await committed.enter(
            self._way.backend.answered(self._way.call(self._key), reply, self._received + reply.sunk)
        )
        attempt.http_status = answer.status
        attempt.heard(answer.headers, answer.connect_s)
        committed.headers = exchange.vendor_headers = rate_limit_headers(answer.headers, shape.setup.redactor.clean)
        exchange.target = prepared.target
        live.reads(Pieces(answer))
        return committed

    @override
    async def _delivered(self, exchange: Exchange, committed: Committed) -> Written:
        live = committed.live
        if live is None:
            return await self._in_one_piece(exchange, committed)
        if self._first_ms is None:
            self._first_ms = exchange.first_event_ms or 0.0
            self._out.push(live.held, self._head_of({**committed.headers, **exchange.headers(final=False)}))
            live.held = b""
        rest = Rest(self.services, self.shape.identity.tenant, self._asked(self.request), exchange)
        return Written(200, closing(await rest.of_live(committed, live, self._out)))

    async def _in_one_piece(self, exchange: Exchange, committed: Committed) -> Written:
        """A whole answer of a server that does not stream, as a stream."""
        response = committed.response
        if response is None:
            raise AssertionError("a committed answer is live or whole")
        request, asked = self.request, self._asked(self.request)
        await booked(self.services, exchange, committed, response, tenant=self.shape.identity.tenant, request=request)
        frames = replayed(asked, counted(committed, response), exchange.receipt())
        head = self._head_of({**committed.headers, **exchange.headers(final=True)})
        return Written(200, head + closing(frames))

    def _head_of(self, headers: Mapping[str, str]) -> bytes:
        told = {"content-type": EVENT_STREAM, **STREAM_HEADERS, **self._metered.headers(), **headers}
        return opened(told)

    @override
    def _worked(self) -> None:
        target, index = self._asked_of
        self.services.breakers.of(target).began()  # its end is what it is judged by
        self.shape.setup.rings[target.provider].worked(index or 0, target.model)

    @override
    def _told(self, failure: Failure) -> Written:
        if self._first_ms is None:
            return super()._told(failure)
        self._out.cut()
        return Written(200, b"")

    def _new_live(self) -> Live:
        shape = self.shape
        prepared, redactor = shape.prepared, shape.setup.redactor

        def clean(failure: Failure) -> Failure:
            told = in_clients_words(failure, self.request, prepared.rules.dialect)
            return for_client(told, prepared.spec.name, redactor)

        relay = self._client.StreamRelay(prepared.rules, self._asked(shape.request).reply_to())
        return Live(None, Moulded(relay), clean, idle_s=prepared.spec.timeouts.idle_s)
