"""The lane itself: a connection that answers known requests where their bytes arrive.

One request at a time. What comes while the lane is at work waits; what the lane does not take goes on to aiohttp. The
two never share a request: aiohttp gets whole ones as long as the lane can frame them, and from the first one that it
cannot, everything (`_careful`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from aiohttp.http import SERVER_SOFTWARE
from typing_extensions import override

from proxy.admission import Admission
from proxy.asked import Asked
from proxy.asking import Asker, Begun, Committed
from proxy.budgeting import Load
from proxy.controls import Controls
from proxy.delivery import WHOLE_HEADERS, booked, counted
from proxy.envelopes import failure_headers
from proxy.errors import Refused, for_client
from proxy.exchange import Exchange
from proxy.fast.heads import BEGINNING, END, PATH, Frame, Heads, admitted, frame
from proxy.fast.shapes import Found, Opened, Opening, Shape, close_opened
from proxy.identity import Identity
from proxy.metering import Metered
from proxy.server import MAX_HEADER_BYTES, Connection, Server, new_id
from proxy.services import Services
from proxy.setup import Key
from routing.errors import AttemptFailed, NotSent
from routing.targets import Target
from storage.errors import LedgerUnavailable
from storage.ledger import Status
from translators.codec import dumps, loads_object
from translators.neutral import Failure, Request
from translators.openai_chat import client
from translators.tokens import estimate_request, family, rough, rough_request
from translators.vaulted import only_words

log = logging.getLogger("modelport")

HELD_BYTES: Final = 256 * 1024 + MAX_HEADER_BYTES
"""A request that is longer goes to aiohttp as it comes."""
PATIENCE_S: Final = 1.0
"""How long the rest of a request is waited for here; then aiohttp, which has its own clocks, goes on with it."""
NO_CONTROLS: Final = Controls()


class Lane:
    """What all connections of a server share."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.heads = Heads()
        self.shapes = services.shapes

    def __call__(self, manager: Server, loop: asyncio.AbstractEventLoop, **how: Any) -> Connection:
        """One more connection."""
        return LaneConnection(self, manager, loop, **how)


class LaneConnection(Connection):
    """One connection of a client."""

    def __init__(self, lane: Lane, manager: Server, loop: asyncio.AbstractEventLoop, **how: Any) -> None:
        super().__init__(manager, loop, **how)
        self._lane = lane
        self._careful = False
        """Whether aiohttp gets everything from now on."""
        self._held = b""
        """What has come and belongs to nobody yet."""
        self._work: asyncio.Task[None] | None = None
        self._rest: asyncio.TimerHandle | None = None

    # --- bytes in

    @override
    def data_received(self, data: bytes) -> None:
        if self._careful or not data:  # aiohttp itself calls this with nothing, to go on with what it has
            super().data_received(data)
            return
        self._held = self._held + data if self._held else data
        if self._work is None:
            self._look()
        elif len(self._held) > HELD_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def _look(self) -> None:
        """Decide about what has come."""
        held, found = self._held, None
        if held.startswith(BEGINNING) or BEGINNING.startswith(held):
            if END not in held and len(held) <= MAX_HEADER_BYTES:
                self._wait()
                return
            found = frame(held)
        if found is None or found.end > HELD_BYTES or self._aiohttp_works:
            self._give_everything()
        elif self._waiter is None or self._waiter.done():
            # It has just written an answer, and is about to wait for the next request.
            self._loop.call_soon(self._look_again)
        elif found.end > len(held):
            self._wait()
        else:
            self._held = held[found.end :]
            self._take(found, held[: found.end] if self._held else held)

    def _wait(self) -> None:
        if self._rest is None:
            self._rest = self._loop.call_later(PATIENCE_S, self._give_everything)

    def _give_everything(self) -> None:
        """Let aiohttp have what has come, and all that will."""
        self._careful = True
        self._waited()
        held, self._held = self._held, b""
        super().data_received(held)

    def _waited(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _look_again(self) -> None:
        if self._held and self._work is None and not self._careful and self.transport is not None:
            self._look()

    @property
    def _aiohttp_works(self) -> bool:
        """Whether aiohttp has a request that it was given and has not answered."""
        return bool(self._messages) or self._request_in_progress

    def _take(self, found: Frame, data: bytes) -> None:
        """Answer one whole request here, or give it to aiohttp."""
        self._waited()
        lane, services = self._lane, self._lane.services
        visitor = None if services.draining else lane.heads.visitor(services, found.head)
        if visitor is None:
            self._give(data)
            return
        try:
            identity = admitted(services, visitor.headers)
        except Refused:
            self._give(data)
            return
        known = lane.shapes.find(services, identity, data[found.body :])
        ride = _ride(services, known, len(data) - found.body) if known else None
        if ride is None:
            self._give(data, Opening())
            return
        self.asked = True
        services.in_flight += 1
        self._work = self._loop.create_task(self._answer(ride, data))

    def _give(self, data: bytes, foreword: Opening | None = None) -> None:
        """Let aiohttp answer one whole request; *foreword* goes with it."""
        self.foreword = foreword
        if self._close or self._force_close:
            self._forget()  # nobody reads any more
            return
        super().data_received(data)
        if self._held:
            # More than one request at a time is not ordinary.
            self._give_everything()

    # --- one request

    async def _answer(self, ride: Ride, data: bytes) -> None:
        services = self._lane.services
        given = False
        try:
            answer = await ride.answer()
            if isinstance(answer, Written):
                services.answered[PATH, answer.status] += 1
                services.shapes.ridden += 1
                await self._write(answer.data)
            else:
                given = True
        except Exception:
            log.exception("a handler failed")
            self.force_close()
            return
        finally:
            services.in_flight -= 1
            self._work = None
        if given:
            self._give(data, Opening(answer if isinstance(answer, Opened) else None))
        elif self.transport is not None:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            self.transport.resume_reading()
            if self._held:
                self._look()

    async def _write(self, answer: bytes) -> None:
        """Send *answer*, and wait until the client has taken enough of it."""
        transport = self.transport
        if transport is None:
            return
        transport.write(answer)
        if self._paused:
            await self._drain_helper()
        if self._lane.services.draining:
            transport.close()

    # --- the connection's life

    def _forget(self) -> None:
        """Close what was opened for a request that aiohttp has not begun with."""
        foreword, self.foreword = self.foreword, None
        if isinstance(foreword, Opening) and foreword.opened:
            close_opened(self._lane.services, foreword.opened)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._waited()
        self._forget()
        if self._work is not None:
            self._work.cancel()
        super().connection_lost(exc)

    @override
    def _process_keepalive(self) -> None:
        if self._work is not None:
            # Not idle: aiohttp does not know of what the lane does.
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()


class Written(NamedTuple):
    """A whole answer: its status, and all of its bytes."""

    status: int
    data: bytes


@dataclass(slots=True)
class Ride:
    """One request on its way through the lane, to the *key* of its target."""

    services: Services
    shape: Shape
    inner: bytes
    """The conversation, as JSON."""
    key: Key | None
    id: str = field(default_factory=new_id)
    started: float = field(default_factory=time.perf_counter)
    _request: Request | None = None

    @property
    def size(self) -> int:
        """Bytes of its body."""
        return len(self.inner) + len(self.shape.asked.before) + len(self.shape.asked.after)

    @property
    def request(self) -> Request:
        """The request in the neutral form, which is hardly ever looked at."""
        if self._request is None:
            self._request = client.parse_request(loads_object(self.shape.asked.of(self.inner)))
        return self._request

    async def answer(self) -> Written | Opened | None:
        """The whole answer; else the exchange with which the careful way goes on, None: with one of its own.

        An exchange that was opened and is not settled at the end is closed here, as far as its work came.
        """
        services, shape = self.services, self.shape
        metered = _metered(services, shape.identity, self.load)
        if metered is None:
            return None
        exchange = self._exchange(metered)
        services.retry_budget.enter()
        committed: Committed | None = None
        opened: Opened | None = None
        try:
            committed = await self._asker(exchange).ask(
                replace(shape.prepared, body=shape.sent.of(self.inner)), self.key, exchange.deadline
            )
            self._worked()
            return await self._delivered(exchange, committed, metered)
        except AttemptFailed as failed:
            opened = Opened(exchange, metered, self.started, Begun(exchange.attempts[-1], failed.failure))
            return opened
        except (NotSent, LedgerUnavailable) as error:
            if committed is None:  # nothing was asked
                metered.cancel()
                return None
            return self._withheld(error)
        finally:
            services.retry_budget.leave(counted=opened is None)
            if opened is None:
                metered.close(free=False)
                if exchange.attempts and not exchange.settled:
                    gone = isinstance(sys.exception(), asyncio.CancelledError)
                    status: Status = "aborted" if gone else "failed"
                    services.spawn(services.settle_partial(exchange, committed, status, None))

    def _worked(self) -> None:
        """Its target and key gave an answer."""
        target, setup = self.shape.prepared.target, self.shape.setup
        self.services.breakers.of(target).succeeded()
        setup.rings[target.provider].worked(self.key.index if self.key else 0, target.model)

    def _withheld(self, error: Exception) -> Written:
        """What the client is told of an answer that could not be booked."""
        failure = Failure("overloaded", str(error), 503, "ledger_unavailable", retry_after_s=1)
        status, body = client.render_error(failure, self.id)
        return Written(status, written(status, failure_headers(failure, self.id), dumps(body)))

    async def _delivered(self, exchange: Exchange, committed: Committed, metered: Metered) -> Written:
        """The answer, when the books are closed."""
        response = committed.response
        if response is None:
            raise AssertionError("what is asked for in one piece comes in one piece")
        request = self.shape.request if only_words(response) else self.request
        tenant = self.shape.identity.tenant
        await booked(self.services, exchange, committed, response, tenant=tenant, request=request)
        headers = {**WHOLE_HEADERS, **committed.headers, **exchange.headers(final=True), **metered.headers()}
        body = committed.payload or self._asked(self.request).whole(counted(committed, response))
        return Written(200, written(200, headers, body))

    @property
    def load(self) -> Load:
        """What it may take."""
        shaped = self.shape.request
        return Load(lambda: rough_request(self.request).tokens, shaped.max_output_tokens, shaped.n or 1)

    def _exchange(self, metered: Metered) -> Exchange:
        services, shape = self.services, self.shape
        setup, identity = shape.setup, shape.identity
        deadline = time.monotonic() + shape.allowed_s
        return Exchange(
            services.ledger,
            id=self.id,
            started=self.started,
            identity=identity,
            dialect=shape.request.dialect,
            stream=False,
            count=lambda model: estimate_request(self.request, family(model)).tokens,
            controls=NO_CONTROLS,
            route=shape.route.name,
            cache="bypass",
            client_request_id=None,
            input_estimate=rough(self.size),
            deadline=deadline,
            clean=setup.redactor.clean,
            seen=metered.watch(services.seen),
            admission=Admission(setup.gates, setup.rings, identity.key_id or "", self.load, deadline),
        )

    def _asked(self, request: Request) -> Asked:
        # The client's bytes are in the prepared request already, and no answer is made from them.
        return Asked(
            client, b"", self.shape.options, request, NO_CONTROLS, int(time.time()), self.id.removeprefix("req_")
        )

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


def _metered(services: Services, identity: Identity, load: Load) -> Metered | None:
    """What the limits of its key say to it; None when they have no room, of which the careful way tells."""
    try:
        metered = Metered(services.keyring.meters(identity))
        metered.reserve(load)
    except Refused:
        return None
    return metered


def _ride(services: Services, found: Found, size: int) -> Ride | None:
    """A request of *size* bytes on its way, if its target is well now and can surely take it."""
    shape = found.shape
    target = shape.prepared.target
    if size > shape.most_bytes or (shape.remembers and found.has_turns):
        return None
    if not services.breakers.of(target).well or not _goes_first(services, shape, target):
        return None
    ring = shape.setup.rings[target.provider]
    index = ring.take(target.model)
    return None if index is None else Ride(services, shape, found.inner, ring.keys[index])


def _goes_first(services: Services, shape: Shape, target: Target) -> bool:
    """Whether *target* still is the one that is asked first."""
    targets = shape.route.targets
    return len(targets) == 1 or services.steered(targets)[0] == target


def written(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole answer, as aiohttp would write it.

    Raises:
        ValueError: a header would break the line.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header holds a line break")
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    length = f"Content-Length: {len(body)}\r\nDate: {_date(int(time.time()))}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
    return (first + lines + length).encode() + body


_dates: dict[int, str] = {}


def _date(second: int) -> str:
    """The Date header of that second."""
    date = _dates.get(second)
    if date is None:
        _dates.clear()
        date = _dates[second] = formatdate(second, usegmt=True)
    return date
