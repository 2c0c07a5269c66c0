"""The lane itself: a connection that answers known requests where their bytes arrive.

One request at a time. What comes while the lane is at work waits; what the lane does not take goes on to aiohttp. The
two never share a request: aiohttp gets whole ones as long as the lane can frame them, and from the first one that it
cannot, everything (`_careful`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from typing_extensions import override

from proxy.answer import PIECE_BYTES
from proxy.errors import Refused
from proxy.fast.heads import BEGINNING, END, PATH, Block, Frame, Heads, admitted, block
from proxy.fast.ride import Client, Outcome, Ride
from proxy.fast.shapes import Found, Opened, Opening, Shape, close_opened
from proxy.fast.streams import StreamRide
from proxy.fast.ways import Way, way_of
from proxy.fast.written import Written
from proxy.outlet import Outlet
from proxy.server import MAX_HEADER_BYTES, Connection, Server
from proxy.services import Services
from proxy.setup import Key
from routing.targets import Target

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
        if found is None and (held.startswith(BEGINNING) or BEGINNING.startswith(held)):
            if END not in held and len(held) <= MAX_HEADER_BYTES:
                self._wait()
                return
            first = block(held)
            found = first.frame(held) if first is not None else None
            self._block = first if first is not None and len(first.head) <= KEPT_BYTES else None
        if found is None or found.end > HELD_BYTES or self._messages or self._request_in_progress:
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

    def _take(self, found: Frame, data: bytes) -> None:
        """Answer one whole request here, or give it to aiohttp."""
        if self._rest is not None:
            self._waited()
        lane, services = self._lane, self._lane.services
        visitor = None if self.last or services.full else lane.heads.visitor(services, found.head)
        if visitor is None:
            self._give(data)
            return
        try:
            identity = admitted(services, visitor)
        except Refused:
            self._give(data)
            return
        known = lane.shapes.find(services, identity, data[found.body :])
        ridden = _ridden(services, known, len(data) - found.body) if known else None
        if known is None or ridden is None:
            self._give(data, Opening())
            return
        way, key = ridden
        asks = StreamRide if known.shape.request.stream else Ride
        ride = asks(services, way, known, key, Client(self._arrived, self._outlet))
        self._work, self._asked = ride, data
        if not ride.begin():
            self._work, self._asked = None, b""
            self._give(data, Opening())
            return
        self.requests += 1
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
            return
        if self._halted:
            self._read_on()
        if not isinstance(outcome, Written):
            self._give(data, Opening(outcome))
            return
        services.answered[PATH, outcome.status] += 1
        services.shapes.ridden += 1
        transport.write(outcome.data)
        if self._paused or outcome.rest:
            self._work = self._loop.create_task(self._drained(outcome.rest))
        else:
            self._next()

    async def _drained(self, rest: bytes) -> None:
        """Go on when the client has taken enough of its answer, of which *rest* is to be written."""
        with contextlib.suppress(ConnectionError):
            await self._drain_helper()
            for start in range(0, len(rest), PIECE_BYTES):
                if self.transport is None:
                    break
                self.transport.write(memoryview(rest)[start : start + PIECE_BYTES])
                await self._drain_helper()
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
        super().connection_lost(exc)

    @override
    def _process_keepalive(self) -> None:
        if self._work is not None:
            # Not idle: aiohttp does not know of what the lane does.
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()


def _ridden(services: Services, found: Found, size: int) -> tuple[Way, Key | None] | None:
    """The way and the key of a request of *size* bytes, if its target is well now and can surely take it."""
    shape = found.shape
    target = shape.prepared.target
    if size > shape.most_bytes or (shape.remembers and found.has_turns):
        return None
    if not services.breakers.of(target).well or not _goes_first(services, shape, target):
        return None
    way = shape.way = shape.way or way_of(services, shape)
    ring = shape.setup.rings[target.provider]
    index = ring.take(target.model)
    return None if way is None or index is None else (way, ring.keys[index])


def _goes_first(services: Services, shape: Shape, target: Target) -> bool:
    """Whether *target* still is the one that is asked first."""
    targets = shape.route.targets
    return len(targets) == 1 or services.steered(targets)[0] == target
