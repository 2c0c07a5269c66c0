"""Rides: requests on their way through the lane.

    begin ── noted on the ledger's slate, sent on an idle connection ──▶ heard ── plain ──▶ booked ──▶ arrived
                                                                           │
                                                    anything else ─────────┴──▶ a task, as on the careful way

A plain answer takes no task, no timer and no object but the ride: all happens where the bytes come in. What is not
plain (an error, unknown fields, a packed body, a long one, a hang-up) is taken over by the exchange, attempt and asker
of the careful way, which find in the books what they would have written themselves.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.admission import Admission
from proxy.asked import Asked
from proxy.asking import Asker, Begun, Committed
from proxy.budgeting import Load
from proxy.controls import Controls
from proxy.delivery import WHOLE_HEADERS, booked, counted
from proxy.errors import Refused, for_client
from proxy.exchange import Exchange
from proxy.fast.shapes import Found, Opened
from proxy.fast.ways import Way, leaves_nothing, vendor_lines
from proxy.fast.written import Written, answer, ending, told
from proxy.logs import REQUEST_ID
from proxy.metering import UNMETERED, Metered
from proxy.outlet import Outlet
from proxy.room import ANSWERS, Shares
from proxy.server import new_id
from proxy.services import Services
from proxy.setup import Key
from proxy.transport import Reply, TransportError
from proxy.transport.connection import Connection
from routing.errors import AttemptFailed, NotSent
from routing.targets import Target
from storage.bookings import Answered
from storage.errors import LedgerUnavailable
from storage.ledger import Note, Status
from storage.money import usd
from translators.codec import loads_object
from translators.neutral import Failure, Request
from translators.tokens import estimate_request, family, rough
from translators.vaulted import is_forgotten

if TYPE_CHECKING:
    from proxy.fast.plain import Counts
    from proxy.fast.ways import Bill, Lead
    from translators.dialect import ClientDialect
    from translators.neutral import Response

log = logging.getLogger("modelport")

NO_CONTROLS: Final = Controls()
BROKEN: Final = "an internal error of the proxy; its log has the details"

Outcome = Written | Opened | None
"""A whole answer; else the exchange with which the careful way goes on, None: with one of its own."""


class Client(NamedTuple):
    """Who asks: *arrived* is told, once, what came of a request; what comes before that, a stream gives to *out*.

    *since* is when it began to wait to be let in, by `time.perf_counter`; None where it did not.
    """

    arrived: Callable[[Outcome], None]
    out: Outlet
    since: float | None = None


class Started(NamedTuple):
    """A request that is on its way: what it was given for that."""

    note: Note
    reply: Reply


class Ride:
    """One request, of *who*, on its way to the *key* of its target."""

    __slots__ = (
        "_arrived",
        "_data",
        "_key",
        "_metered",
        "_out",
        "_queued_s",
        "_request",
        "_sent",
        "_started",
        "_task",
        "_way",
        "found",
        "id",
        "services",
        "shape",
    )

    def __init__(self, services: Services, way: Way, found: Found, key: Key | None, who: Client) -> None:
        self.services = services
        self.shape = way.shape
        self.found = found
        self.id = new_id()
        self._way = way
        self._key = key
        self._out = who.out
        self._arrived = who.arrived
        now = time.perf_counter()
        self._started = now if who.since is None else who.since
        self._queued_s = now - self._started
        self._metered = UNMETERED
        self._data = b""
        """The whole answer, as the client gets it."""
        self._request: Request | None = None
        self._sent: Started | None = None
        self._task: asyncio.Task[None] | None = None

    # --- on its way

    def begin(self) -> bool:
        """Note it and send it. False: that cannot be done at once, and nothing was."""
        services, shape, way = self.services, self.shape, self._way
        key = self._key
        lead = way.leads.get(key.index if key is not None else None) or way.lead(key)
        if lead is None:
            return False
        meters = services.keyring.meters(shape.identity)
        if meters:
            try:
                self._metered = Metered(meters)
                self._metered.reserve(self.load)
            except Refused:  # of which the careful way tells
                return False
        transport, _, origin, _ = lead.direct
        connection = transport.idle(origin)
        if connection is None:
            self._task = asyncio.get_running_loop().create_task(self._send_later(lead))
            return True
        if self._send(lead, connection):
            return True
        self._metered.cancel()
        return False

    def _send(self, lead: Lead, connection: Connection) -> bool:
        """Note it, and send it on *connection*. False: nothing was."""
        services, shape = self.services, self.shape
        transport, method, _, head = lead.direct
        note = services.ledger.note(lead.noted, self.id, rough(self.found.size))
        if note is None:
            transport.freed(connection)
            return False
        outgoing = method, head, shape.sent.of(self.found.pieces)
        reply = transport.ask(connection, outgoing, self._way.deadlines, self._heard)
        if reply is None:
            services.ledger.forget(note)
            return False
        self._sent = Started(note, reply)
        return True

    async def _send_later(self, lead: Lead) -> None:
        """Send it as soon as there is a connection; else the careful way sees to it."""
        transport, _, origin, _ = lead.direct
        is_sent = False
        try:
            is_sent = self._send(lead, await transport.connection(origin, self._way.deadlines))
        except TransportError as error:
            log.debug("%s: %s", origin.host, error)
        finally:
            self._task = None
            if not is_sent:
                self._metered.cancel()
                self._arrived(None)

    def leave(self) -> None:
        """The client has gone."""
        if self._task is not None:
            self._task.cancel()
        elif self._sent is not None and self._sent.reply.listener is not None:
            sent, self._sent = self._sent, None
            sent.reply.listener = None
            sent.reply.close()
            self.services.spawn(self._abandoned(sent))
            self._arrived(None)

    def _heard(self) -> None:
        """There is news of the answer."""
        sent = self._sent
        if sent is None:
            return
        REQUEST_ID.set(self.id)  # what calls is the provider's connection, whoever opened that
        reply = sent.reply
        payload = reply.whole
        if payload is None and reply.error is None and not reply.stands_still:
            return
        reply.listener = None
        try:
            if payload is not None and reply.status == 200 and self._take(sent, payload):
                return
        except Exception:
            log.exception("an answer on the fast lane")
            if self._sent is None:  # it has arrived; what failed came after it
                return
        self._task = asyncio.get_running_loop().create_task(self._go_on(sent))

    def _take(self, sent: Started, payload: bytes) -> bool:
        """Book a plain answer; False where it is none, and nothing was done."""
        way, shape = self._way, self.shape
        lines = vendor_lines(sent.reply.headers)
        counts = shape.speech.plain(payload, shape.prepared.rules) if lines is not None else None
        bill = way.bill(counts) if counts is not None else None
        if lines is None or counts is None or bill is None:
            return False
        latency_ms = self._elapsed_ms()
        if not self.services.endings.are_ordinary(latency_ms):
            return False
        if counts.thinks and shape.setup.loaded.settings.memory.reasoning:
            self._remember(shape.prepared.dialect.parse_response(loads_object(payload)))
        self._told_limits(lines)
        self._data = b"%b%b%b" % (self._head(lines, bill), ending(len(payload)), payload)
        self._book(sent.note, row_of(sent.note, counts, bill, latency_ms, latency_ms))
        return True

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000

    def _remember(self, response: Response) -> None:
        """Keep the reasoning of an answer for the turn that comes after it."""
        shape = self.shape
        self.services.remember(shape.identity.tenant, self.request, response, shape.prepared)

    def _told_limits(self, lines: bytes) -> None:
        """Its key may have nothing left, as the answer's *lines* tell."""
        if (rest_s := leaves_nothing(lines, time.time())) is not None:
            target, index = self._asked_of
            self.shape.setup.rings[target.provider].used_up(index or 0, rest_s, target.model)

    def _book(self, note: Note, answered: Answered) -> None:
        """Let metrics, health, limits and books know of an answer; `_booked` hears when they do."""
        services, key = self.services, self._key
        services.gathered.add(self._way, key.index if key is not None else 0, answered)
        if self._metered is not UNMETERED:
            self._metered.took(answered.input_tokens + answered.output_tokens)
        services.ledger.answered(note, answered, self._booked)

    def _head(self, lines: bytes, bill: Bill) -> bytes:
        """All of the answer's head but its last lines."""
        way = self._way
        text = f"x-request-id: {self.id}".encode()
        head = b"%b%b%b%b%b\r\n" % (way.front, lines, text, way.middle, usd(bill.nanousd).encode())
        if self._metered is UNMETERED:
            return head
        return head + self._metered.lines()

    def _booked(self, error: LedgerUnavailable | None) -> None:
        """The books have its answer, or cannot have it."""
        self._end()
        if error is None:
            self._arrived(Written(200, self._data))
        else:
            self._arrived(self._told(Failure("overloaded", str(error), 503, "ledger_unavailable", retry_after_s=1)))

    def _end(self) -> None:
        self._sent = None
        if self._metered is not UNMETERED:
            self._metered.close(free=False)

    # --- what is not plain

    async def _go_on(self, sent: Started) -> None:
        """Deliver the answer, or what came in its place, as the careful way does."""
        services = self.services
        services.retry_budget.enter()
        exchange = self._taken_over(sent)
        committed: Committed | None = None
        outcome: Outcome = None
        gone = False
        held = Shares(services.answers)
        ANSWERS.set(held)
        try:
            committed = await self._committed(exchange, sent)
            outcome = await self._delivered(exchange, committed)
            if outcome.rest:
                outcome, held = outcome._replace(held=held), Shares(services.answers)
        except NotSent as fault:
            outcome = self._told(fault.failure)
        except AttemptFailed as failed:
            begun = Begun(exchange.attempts[-1], failed.failure)
            outcome = Opened(exchange, self._metered, self._started, begun)
        except LedgerUnavailable as error:
            outcome = self._told(Failure("overloaded", str(error), 503, "ledger_unavailable", retry_after_s=1))
        except ConnectionError:  # the client has left in mid-answer
            gone, outcome = True, Written(200, b"")
        except Exception:
            log.exception("a handler failed")
            outcome = self._told(Failure("server", BROKEN, 500, "internal_error"))
        finally:
            is_over = not isinstance(outcome, Opened)
            services.retry_budget.leave(counted=is_over)
            if is_over:
                self._metered.close(free=False)
                if not exchange.settled:
                    gone = gone or isinstance(sys.exception(), asyncio.CancelledError)
                    status: Status = "aborted" if gone else "failed"
                    services.spawn(services.settle_partial(exchange, committed, status, None))
            self._sent = None
            held.release()
            self._arrived(outcome)

    async def _committed(self, exchange: Exchange, sent: Started) -> Committed:
        """The answer to what was sent, as the careful way has it. Raises as `Asker.take`."""
        attempt = await exchange.adopt(*self._asked_of, self._started)
        answer = self._way.backend.answered(self._way.call(self._key), sent.reply)
        prepared = replace(self.shape.prepared, body=self.shape.sent.of(self.found.pieces))
        committed = await self._asker(exchange).take(attempt, answer, prepared, exchange.deadline)
        self._worked()
        return committed

    async def _abandoned(self, sent: Started) -> None:
        """Close the books of what nobody waits for."""
        services = self.services
        exchange = self._taken_over(sent)
        services.retry_budget.passed(1)
        self._metered.close(free=False)
        attempt = await exchange.adopt(*self._asked_of, self._started)
        attempt.sent = True
        await services.settle_partial(exchange, None, "aborted", None)

    @property
    def _asked_of(self) -> tuple[Target, int | None]:
        """Who was asked, and with which key."""
        return self.shape.prepared.target, self._key.index if self._key else None

    def _taken_over(self, sent: Started) -> Exchange:
        """The exchange of the careful way that the books have open."""
        self.services.ledger.written(sent.note)
        return self._exchange()

    def _worked(self) -> None:
        """Its target and key gave an answer."""
        target, setup = self.shape.prepared.target, self.shape.setup
        self.services.breakers.of(target).succeeded()
        setup.rings[target.provider].worked(self._key.index if self._key else 0, target.model)

    def _told(self, failure: Failure) -> Written:
        """*failure* in the place of an answer."""
        return told(self._client, failure, self.id)

    async def _delivered(self, exchange: Exchange, committed: Committed) -> Written:
        """The answer, when the books are closed."""
        response = committed.response
        if response is None:
            raise AssertionError("what is asked for in one piece comes in one piece")
        request = self.shape.request if is_forgotten(response) else self.request
        tenant = self.shape.identity.tenant
        await booked(self.services, exchange, committed, response, tenant=tenant, request=request)
        headers = {**WHOLE_HEADERS, **committed.headers, **exchange.headers(final=True), **self._metered.headers()}
        body = committed.payload or self._asked(self.request).whole(counted(committed, response))
        return answer(200, headers, body)

    def _exchange(self) -> Exchange:
        services, shape = self.services, self.shape
        setup, identity = shape.setup, shape.identity
        deadline = time.monotonic() + shape.allowed_s - (time.perf_counter() - self._started)
        exchange = Exchange(
            services.ledger,
            id=self.id,
            started=self._started,
            identity=identity,
            dialect=shape.request.dialect,
            stream=shape.request.stream,
            count=lambda model: estimate_request(self.request, family(model)).tokens,
            controls=NO_CONTROLS,
            route=shape.route.name,
            cache="bypass",
            client_request_id=None,
            input_estimate=rough(self.found.size),
            deadline=deadline,
            clean=setup.redactor.clean,
            seen=self._metered.watch(services.seen),
            admission=Admission(setup.gates, setup.rings, identity.key_id or "", self.load, deadline),
        )
        exchange.on_ended = services.endings.ended
        exchange.queued_s = self._queued_s
        return exchange

    def _asked(self, request: Request) -> Asked:
        # The client's bytes are in the prepared request already, and no answer is made from them.
        return Asked(
            self._client, b"", self.shape.options, request, NO_CONTROLS, int(time.time()), self.id.removeprefix("req_")
        )

    @property
    def _client(self) -> ClientDialect:
        return self.shape.manner.dialect.client

    def _asker(self, exchange: Exchange) -> Asker:
        setup = self.shape.setup
        return Asker(
            self._asked(self.shape.request),
            exchange,
            setup.backends,
            continuations=0,
            report_losses=True,
            unfences=False,
            price=self.services.price,
            clean=lambda where, failure: for_client(failure, where, setup.redactor),
            clean_text=setup.redactor.clean,
        )

    @property
    def request(self) -> Request:
        """The request in the neutral form, which is hardly ever looked at."""
        if self._request is None:
            read, client = self.found.read, self.shape.manner.dialect.client
            self._request = (
                read.request if read else client.parse_request(loads_object(self.shape.asked.of(self.found.pieces)))
            )
        return self._request

    @property
    def load(self) -> Load:
        """What it may take."""
        found, shaped = self.found, self.shape.request
        return Load(lambda: found.tokens, shaped.max_output_tokens, shaped.n or 1)


def row_of(note: Note, counts: Counts, bill: Bill, latency_ms: float, first_event_ms: float) -> Answered:
    """What the books are told of an answer."""
    return Answered(
        note.form,
        note.id,
        note.opened_us,
        note.opened_us + int(latency_ms * 1000),
        note.input_estimate,
        200,
        counts.input_tokens,
        counts.cached_input_tokens,
        counts.written_tokens,
        counts.output_tokens,
        counts.reasoning_tokens,
        bill.nanousd,
        bill.source,
        bill.version,
        counts.raw,
        latency_ms,
        first_event_ms,
    )
