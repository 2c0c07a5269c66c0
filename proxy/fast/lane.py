"""The lane itself: a connection that answers known requests where their bytes arrive.

One request at a time. What comes while the lane is at work waits; what the lane does not take goes on to aiohttp. The
two never share a request: aiohttp gets whole ones as long as the lane can frame them, and from the first one that it
cannot, everything (`_careful`).
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any, Final

from typing_extensions import override

from proxy.answer import PIECE_BYTES
from proxy.door import Turn
from proxy.errors import Refused
from proxy.fast.dialects import Dialect
from proxy.fast.heads import END, Block, Frame, Heads, admitted, block, may_begin, others
from proxy.fast.hits import Found as Hit
from proxy.fast.hits import Giving, Hits
from proxy.fast.ride import Client, Outcome, Ride
from proxy.fast.shapes import Found, Opened, Opening, close_opened, goes_first
from proxy.fast.streams import StreamRide
from proxy.fast.suits import suits
from proxy.fast.ways import Way, way_of
from proxy.fast.written import Written, told_often
from proxy.identity import Identity
from proxy.outlet import Outlet
from proxy.owning import sees_all
from proxy.room import Shares
from proxy.server import MAX_HEADER_BYTES, Connection, Server, new_id
from proxy.services import Services
from proxy.setup import Key

HELD_BYTES: Final = 256 * 1024 + MAX_HEADER_BYTES
"""A request that is longer goes to aiohttp as it comes."""
KEPT_BYTES: Final = 4096
"""A longer header block is not kept for the next request of its connection."""
PATIENCE_S: Final = 1.0
"""How long the rest of a request is waited for here; then aiohttp, which has its own clocks, goes on with it."""


class Lane:
    """What all connections of a server share."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.heads = Heads()
        self.shapes = services.shapes
        self.hits = Hits()

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
        self._block: Block | None = None
        """The header block of its last request."""
        self._asked = b""
        """The bytes of the request at work."""
        self._path = ""
        """The path of the last request that was looked at."""
        self._halted = False
        """Whether it reads nothing before the request at work is over."""
        self._gone = False
        self._rest: asyncio.TimerHandle | None = None
        self._outlet = Outlet(self, self._drain_helper, chunked=True)

    # --- bytes in

    @override
    def data_received(self, data: bytes) -> None:
        if self._careful or not data:  # aiohttp itself calls this with nothing, to go on with what it has
            super().data_received(data)
            return
        self._held = self._held + data if self._held else data
        if self._work is None:
            self._look()
        elif len(self._held) > HELD_BYTES and not self._halted and self.transport is not None:
            self._halted = True
            self.transport.pause_reading()

    def _look(self) -> None:
        """Decide about what has come. While aiohttp has a request that it has not answered, it gets everything."""
        held = self._held
        found = self._block.frame(held) if self._block is not None else None
        if found is None and may_begin(held):
            if END not in held and len(held) <= MAX_HEADER_BYTES:
                self._wait()
                return
            first = block(held)
            found = first.frame(held) if first is not None else None
            self._block = first if first is not None and len(first.head) <= KEPT_BYTES else None
        elif found is None:
            found = others(held)
        if found is None or found.end > HELD_BYTES or self._messages or self._request_in_progress:
            self._give_everything()
        elif self._waiter is None or self._waiter.done():
            # It has just written an answer, and is about to wait for the next request.
            self._loop.call_soon(self._look_again)
        elif found.end > len(held):
            self._wait()
        else:
            self._held = held[found.end :]
            data = held[: found.end] if self._held else held
            if found.head:
                self._take(found, data)
            else:
                self._waited()
                self._give(data)

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

    def _take(self, found: Frame, data: bytes, since: float | None = None) -> None:
        """Answer one whole request here, or give it to aiohttp. *since*: when it began to wait, if it did."""
        if self._rest is not None:
            self._waited()
        lane, services = self._lane, self._lane.services
        visitor = None if self.last or services.draining else lane.heads.visitor(services, found.head)
        if visitor is None:
            self._give(data)
            return
        self._path = visitor.manner.dialect.path
        try:
            identity = admitted(services, visitor)
        except Refused:
            self._give(data)
            return
        if since is None and services.full:
            if self._held:
                self._give(data)
            else:
                self._line_up(identity, visitor.manner.dialect, found, data)
            return
        body = data[found.body :]
        if lane.hits.ready and not self._held and (hit := lane.hits.find(services, identity, found.head, body)):
            self._give_again(hit, found.head, data, since)
            return
        known = lane.shapes.find(services, identity, visitor.manner, body)
        ridden = _ridden(services, known, body) if known else None
        if known is None or ridden is None:
            self._give(data, Opening(hits=lane.hits, head=found.head, since=since))
            return
        way, key = ridden
        asks = StreamRide if known.shape.request.stream else Ride
        ride = asks(services, way, known, key, Client(self._arrived, self._outlet, since))
        self._work, self._asked = ride, data
        if not ride.begin():
            self._work, self._asked = None, b""
            self._give(data, Opening(since=since))
            return
        self.requests += 1
        services.in_flight += 1

    def _line_up(self, identity: Identity, dialect: Dialect, found: Frame, data: bytes) -> None:
        """There are too many requests: let this one wait for its turn, or refuse it."""
        services = self._lane.services
        if refusal := services.door.turned_away(identity.tenant):
            self._turn_away(refusal, dialect)
            return
        services.in_flight += 1
        self._asked = data
        at_turn = partial(self._at_turn, found, dialect)
        self._work = services.door.line_up(identity.tenant, services.in_flight, at_turn)

    def _at_turn(self, found: Frame, dialect: Dialect, refusal: Refused | None) -> None:
        """It is the turn of a request that has waited, unless there is a *refusal*."""
        turn, data = self._work, self._asked
        self._work, self._asked = None, b""
        self._lane.services.in_flight -= 1  # it counts again where it goes on
        if refusal is not None:
            self._turn_away(refusal, dialect)
        elif isinstance(turn, Turn):
            self._take(found, data, turn.since)

    def _turn_away(self, refusal: Refused, dialect: Dialect) -> None:
        self.requests += 1
        self._path = dialect.path
        self._write(told_often(dialect, refusal.failure, new_id()))

    def _give_again(self, hit: Hit, head: bytes, data: bytes, since: float | None) -> None:
        """Answer a request that is a hit of the cache, mostly at once; or give it to aiohttp. *since*: see `_take`."""
        hits, services = self._lane.hits, self._lane.services
        giving = Giving(services, hits, hit.ready, self._arrived)
        answer = giving.begin(hit.age_s, since)
        if answer is None:
            self._give(data, Opening(hits=hits, head=head, since=since))
            return
        self.requests += 1
        if answer:
            if since is not None and services.door.waiting:
                services.door.left(services.in_flight)  # it does not take the place that it has waited for
            self._write(Written(200, answer))
        else:
            self._work, self._asked = giving, data
            services.in_flight += 1

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

    def _arrived(self, outcome: Outcome) -> None:
        """What came of the request at work."""
        services = self._lane.services
        services.leave()
        data, self._asked, self._work = self._asked, b"", None
        transport = self.transport
        if self._gone or transport is None:
            if isinstance(outcome, Opened):
                close_opened(services, outcome)
            elif isinstance(outcome, Written) and outcome.held is not None:
                outcome.held.release()
            return
        if self._halted:
            self._read_on()
        if not isinstance(outcome, Written):
            self._give(data, Opening(outcome))
            return
        self._write(outcome)

    def _write(self, outcome: Written) -> None:
        """Write a whole answer, and go on."""
        services, transport = self._lane.services, self.transport
        if transport is None:
            return
        services.answered[self._path, outcome.status] += 1
        services.shapes.ridden += 1
        transport.write(outcome.data)
        if self._paused or outcome.rest:
            self._work = self._loop.create_task(self._drained(outcome.rest, outcome.held))
        else:
            self._next()

    async def _drained(self, rest: bytes, held: Shares | None) -> None:
        """Go on when the client has taken enough of its answer, of which *rest* is to be written."""
        try:
            with contextlib.suppress(ConnectionError):
                await self._drain_helper()
                for start in range(0, len(rest), PIECE_BYTES):
                    if self.transport is None:
                        break
                    self.transport.write(memoryview(rest)[start : start + PIECE_BYTES])
                    await self._drain_helper()
        finally:
            if held is not None:
                held.release()
        self._work = None
        self._next()

    def _next(self) -> None:
        """Be ready for the next request."""
        transport = self.transport
        if transport is None:
            return
        if self._lane.services.draining:
            transport.close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._halted:
            self._read_on()
        if self._held:
            self._look()

    def _read_on(self) -> None:
        """Read again what comes, which was halted."""
        self._halted = False
        if self.transport is not None:
            self.transport.resume_reading()

    # --- the connection's life

    def _forget(self) -> None:
        """Close what was opened for a request that aiohttp has not begun with."""
        foreword, self.foreword = self.foreword, None
        if isinstance(foreword, Opening) and foreword.opened:
            close_opened(self._lane.services, foreword.opened)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._gone = True
        self._waited()
        self._forget()
        if isinstance(self._work, Ride):
            self._work.leave()
        elif isinstance(self._work, Turn):
            self._work.leave()
            self._lane.services.leave()
        super().connection_lost(exc)

    @override
    def _process_keepalive(self) -> None:
        if self._work is not None:
            # Not idle: aiohttp does not know of what the lane does.
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()


def _ridden(services: Services, found: Found, raw: bytes) -> tuple[Way, Key | None] | None:
    """The way and the key of a request, *raw*, to who is asked now, if that is well and can surely take it."""
    closely = found.read is not None
    for shape in (found.shape, *found.shape.stand_ins):
        target, setup = shape.prepared.target, shape.setup
        if not services.breakers.of(target).well or not goes_first(services, setup, shape.route, target):
            continue
        if not shape.has_room(found):
            return None
        if (closely or (shape.remembers and found.has_turns)) and not suits(services, shape, found, raw):
            return None
        if shape is not found.shape and not shape.holds(services, shape.identity):
            return None
        ring = setup.rings[target.provider]
        if (index := ring.take(target.model)) is None:
            continue
        if shape.way is None and (shape.names_things and not sees_all(services, shape.identity)):
            return None
        way = shape.way = shape.way or way_of(services, shape)
        return None if way is None else (way, ring.keys[index])
    return None
