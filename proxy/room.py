"""Room: how many bytes of long bodies all requests together may hold in memory.

    hold ──there is room, or it has held some for longest──▶ held ──release──▶ given back
      └─none─▶ waits: who holds something first, the oldest before the others; then in the order in which they came

Who has held some for longest always gets what it wants, since those who hold a part and wait for the rest would wait
for each other otherwise. So one body goes beyond the bound at most, and any single one fits.
Who was given room for a whole body and does not send it keeps no more than has come, as soon as others wait.
A body of FREE_BYTES needs no room: requests are bounded in number.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from itertools import count
from typing import Final, Literal, NamedTuple

from proxy.threads import joined

FREE_BYTES: Final = 256 * 1024
ANSWER_WAIT_S: Final = 30.0
"""How long an answer, which somebody pays for, waits for room; its provider is not read meanwhile."""

LOOK_S: Final = 0.1
"""How often somebody who waits looks for others who are slow."""
PACE_S: Final = 30.0
"""In this time a body has to come, bit by bit; one that lags behind that is slow, after GRACE_S."""
GRACE_S: Final = 0.5
LAG_BYTES: Final = 64 * 1024

Kind = Literal["bodies", "answers"]


class NoRoom(Exception):
    """There was none, and none became free in time."""


class Room:
    """Of one kind. Without `allow` there is no bound. *now* is a monotonic clock."""

    def __init__(self, kind: Kind, now: Callable[[], float] = time.monotonic) -> None:
        self.kind = kind
        self.now = now
        self.most_bytes = math.inf
        self.wait_s = ANSWER_WAIT_S
        self.held_bytes = 0
        self.refused = 0
        """How often there was none, since the start."""
        self._shares: dict[Share, None] = {}
        self._line: list[_Waiting] = []
        self._numbers = count()

    def allow(self, most_mb: float, wait_s: float = ANSWER_WAIT_S) -> None:
        """From now on there are *most_mb* MiB, for which one may wait so long."""
        self.most_bytes, self.wait_s = most_mb * 2**20, wait_s
        self.go_on()

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._line)

    def has(self, share: Share, more: int) -> bool:
        """Whether *share* can have *more* bytes at once."""
        return more > 0 and not self._line and self._fits(share, more)

    async def grant(self, share: Share, more: int) -> None:
        """Let *share* hold *more* bytes than it does. Raises NoRoom."""
        if self.has(share, more):
            self._give(share, more)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number = share.number
        waiting = _Waiting(number is None, number or 0, next(self._numbers), share, more, turn)
        self._line.append(waiting)
        self.go_on()
        try:
            async with asyncio.timeout(self.wait_s):
                while not turn.done():
                    if self._line[0] is waiting:
                        self._hurry()
                    await asyncio.wait([turn], timeout=LOOK_S)
        except TimeoutError as error:
            if waiting not in self._line:
                return  # its turn came in the same moment
            self.refused += 1
            full = f"{self.most_bytes / 2**20:g} MiB ([limits] {self.kind}_mb)"
            raise NoRoom(f"long {self.kind} fill {full}, and none ended within {self.wait_s:g} s") from error
        finally:
            if waiting in self._line:
                self._line.remove(waiting)
                self.go_on()

    def give_back(self, share: Share, fewer: int) -> None:
        """*share* holds so many bytes fewer; when it holds none it is out, and waits for nothing."""
        share.held_bytes -= fewer
        self.held_bytes -= fewer
        if not share.held_bytes:
            self._shares.pop(share, None)
            for waiting in [each for each in self._line if each.share is share]:
                self._line.remove(waiting)
                waiting.turn.set_result(None)
        self.go_on()

    def _hurry(self) -> None:
        """Take from those who are slow what they have no use for yet."""
        now = self.now()
        for share in [each for each in self._shares if each.lags(now)]:
            share.keep(share.received)

    def go_on(self) -> None:
        """Let those in line have what there is for them."""
        for waiting in sorted(self._line):
            if not self._fits(waiting.share, waiting.more):
                return
            self._line.remove(waiting)
            if not waiting.turn.done():
                self._give(waiting.share, waiting.more)
                waiting.turn.set_result(None)

    def _fits(self, share: Share, more: int) -> bool:
        is_eldest = next(iter(self._shares), share) is share
        return is_eldest or self.held_bytes + more <= self.most_bytes

    def _give(self, share: Share, more: int) -> None:
        if share.number is None:
            share.number, share.since = next(self._numbers), self.now()
            self._shares[share] = None
        share.held_bytes += more
        self.held_bytes += more


class Share:
    """What one body holds of a *room*. Whoever makes it releases it."""

    __slots__ = ("_is_over", "enough", "held_bytes", "number", "received", "room", "since")

    def __init__(self, room: Room) -> None:
        self.room = room
        self._is_over = False
        self.enough = FREE_BYTES
        """So many bytes it may have without asking."""
        self.held_bytes = 0
        self.number: int | None = None
        """Who has held something for longer has a lower one."""
        self.since = 0.0
        """When that began, on the room's clock."""
        self.received = 0
        """How much of the body has come."""

    def lags(self, now: float) -> bool:
        """Whether it holds more than has come, and that comes slowly."""
        for_s = now - self.since
        return for_s > GRACE_S and self.received + LAG_BYTES < self.held_bytes * min(1.0, for_s / PACE_S)

    async def hold(self, size: int, better: int = 0) -> None:
        """Have room for *size* bytes, or for *better*, which is more, where there is so much at once.

        Raises:
            NoRoom: not in time.
        """
        if size <= self.enough or self._is_over:
            return
        if better < size or not self.room.has(self, better - self.held_bytes):
            better = size
        await self.room.grant(self, better - self.held_bytes)
        self.enough = better

    def keep(self, size: int) -> None:
        """Give back what is not needed for *size* bytes, of at least one."""
        if self.held_bytes > (kept := max(1, size)):
            self.enough = max(FREE_BYTES, kept)
            self.room.give_back(self, self.held_bytes - kept)

    def release(self) -> None:
        """Give all of it back. What comes now is not counted."""
        if not self._is_over:
            self._is_over = True
            self.room.give_back(self, self.held_bytes)


class Shares:
    """Of the answers that one request reads whole; it may read several at a time."""

    __slots__ = ("_held", "_room")

    def __init__(self, room: Room) -> None:
        self._room: Room | None = room
        self._held: list[Share] = []

    def another(self) -> Share | None:
        """For one more answer; None when all is over."""
        if self._room is None:
            return None
        share = Share(self._room)
        self._held.append(share)
        return share

    def release(self) -> None:
        """Give back what they all hold."""
        self._room = None
        for share in self._held:
            share.release()
        self._held.clear()


ANSWERS: Final[ContextVar[Shares | None]] = ContextVar("modelport_answers", default=None)
"""What the answers to the request at work hold."""


def for_an_answer() -> Share | None:
    """What an answer that is read whole is to hold; None where nobody counts."""
    shares = ANSWERS.get()
    return shares.another() if shares is not None else None


class Gathering:
    """A body that comes in pieces, of *most* bytes or fewer, and what it holds of the *share*."""

    __slots__ = ("_most", "_pieces", "_share", "received")

    def __init__(self, share: Share | None, most: int) -> None:
        self._share = share
        self._most = most
        self._pieces: list[bytes] = []
        self.received = 0

    def add(self, piece: bytes) -> bool:
        """Add a piece; whether nothing more may be read before there is `room`."""
        self._pieces.append(piece)
        self.received += len(piece)
        share = self._share
        if share is None:
            return False
        share.received = self.received
        return self.received > share.enough

    async def room(self, size: int | None = None) -> None:
        """Wait for room for *size* bytes; else for what there is, and for as much again if nobody has to wait for it.

        Raises:
            NoRoom: there is none in time.
        """
        if self._share is not None:
            await self._share.hold(size or self.received, min(2 * self.received, self._most))

    async def whole(self) -> bytes:
        """All of it; there is no more."""
        if self._share is not None:
            self._share.keep(self.received)
        return await joined(self._pieces)


class _Waiting(NamedTuple):
    is_new: bool
    number: int
    came: int
    share: Share
    more: int
    turn: asyncio.Future[None]
