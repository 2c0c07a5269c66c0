"""The limits of `routing.throttle`, counted in memory that several workers have in common.

A `Table` gives every name a slot: a window of a minute in steps of STEP_S, and how many requests of each worker run.
What was granted counts until the end of its step is a minute old: at most STEP_S longer than alone, and never shorter.
Every look and change is made under the slot's lock, so that a limit holds exactly whoever asks. A slot in which nothing
counts any more may be given to another name; where all of them are in use, two names count as one.

    names   SLOTS cells       the hash of the name that a slot belongs to, 0: of none
    slots   CELLS cells each  newest step | requests | tokens | running, by worker | requests and tokens, by step
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Final, Protocol

from typing_extensions import override

from routing.throttle import RUNNING_WAIT_S, WINDOW_S, Counted, Granted, Limit, Room, Throttle, Wait

MOST_WORKERS: Final = 64
SLOTS: Final = 4096
STEP_S: Final = 0.1
STEPS: Final = round(WINDOW_S / STEP_S) + 1
"""Of a window; what happened in the first of them is not a minute old yet."""

_NEWEST, _REQUESTS, _TOKENS, _RUNNING = 0, 1, 2, 3
_STEPS: Final = _RUNNING + MOST_WORKERS
CELLS: Final = _STEPS + 2 * STEPS
TABLE_BYTES: Final = 8 * (SLOTS + SLOTS * CELLS)
"""What a table takes; the system gives a slot its memory when it is used first."""


class Guard(Protocol):
    """A lock for each place, between processes. The process that holds one and dies lets go of it."""

    def hold(self, place: int) -> None:
        """Wait for the lock, and take it."""

    def leave(self, place: int) -> None:
        """Give it back."""


@dataclass(slots=True, eq=False)
class Step(Counted):
    """Tokens that are counted in the step *number*."""

    number: int = 0


class Table:
    """The slots in *memory*, for the worker of that number. *now* is a clock that all workers share, in seconds."""

    def __init__(self, memory: memoryview, worker: int, guard: Guard, now: Callable[[], float]) -> None:
        self.cells = memory.cast("Q")
        self.worker = worker
        self.guard = guard
        self.now = now

    def throttle(self, name: str) -> SharedThrottle:
        """What is counted under *name*, without limits yet."""
        mark = int.from_bytes(blake2b(name.encode(errors="replace"), digest_size=8).digest(), "little") or 1
        return SharedThrottle(self, mark)

    def find(self, mark: int) -> int:
        """The slot of *mark*: its own, else a new one."""
        first = mark % SLOTS
        self.guard.hold(SLOTS)
        try:
            free: int | None = None
            for place in chain(range(first, SLOTS), range(first)):
                owner = self.cells[place]
                if owner == mark:
                    return place
                if owner == 0:
                    free = place
                    break
            if free is None:
                free = next((place for place in range(SLOTS) if self._is_idle(place)), None)
            if free is None:
                return first
            self.cells[free] = mark
            return free
        finally:
            self.guard.leave(SLOTS)

    def reclaim(self, worker: int) -> None:
        """*worker* is dead: nothing of it runs, and what it was about to write down is made whole."""
        for place in range(SLOTS):
            if self.cells[place]:
                self.guard.hold(place)
                begin = SLOTS + place * CELLS
                self.cells[begin + _RUNNING + worker] = 0
                steps = self.cells[begin + _STEPS : begin + CELLS].tolist()
                self.cells[begin + _REQUESTS], self.cells[begin + _TOKENS] = sum(steps[::2]), sum(steps[1::2])
                self.guard.leave(place)

    def _is_idle(self, place: int) -> bool:
        """Whether nothing counts in a slot any more."""
        begin = SLOTS + place * CELLS
        newest = self.cells[begin + _NEWEST]
        return int(self.now() / STEP_S) - newest > STEPS and not any(self.cells[begin + _RUNNING : begin + _STEPS])


class SharedGranted(Granted):
    """One request that may go on, here; its limits are everybody's."""

    __slots__ = ("_shared",)

    def __init__(self, owner: SharedThrottle, request: Counted) -> None:
        super().__init__(owner, request)
        self._shared = owner

    @override
    def release(self) -> None:
        if self._running:
            self._running = False
            self._shared.ended()


class SharedThrottle(Throttle):
    """The limits of one key or one provider, of which each worker has such a one over the same slot."""

    shared = True

    def __init__(self, table: Table, mark: int) -> None:
        super().__init__(None, None, None, table.now)
        self._table = table
        self._cells = table.cells
        self._guard = table.guard
        self._mark = mark
        self._slot = mark % SLOTS
        """Where it is likely to be; that is looked at each time."""

    # --- what Throttle does, under the lock

    @override
    def take(self, tokens: int = 0) -> Granted | Wait:
        begin, step = self._hold()
        try:
            cells, limit = self._cells, self.requests_per_minute
            running = self._running(begin)
            if self.concurrent is not None and running >= self.concurrent:
                return Wait("concurrent", RUNNING_WAIT_S if self.concurrent else None)
            if limit is not None and cells[begin + _REQUESTS] >= limit:
                excess = cells[begin + _REQUESTS] - limit + 1
                return Wait("requests_per_minute", self._gone_in_s(begin, step, excess, 0) if limit else None)
            most = self.tokens_per_minute
            if tokens and most is not None and cells[begin + _TOKENS] + tokens > most:
                return Wait("tokens_per_minute", self._room_in_s(begin, step, tokens, most))
            granted = SharedGranted(self, Step(0.0, 1, limit is not None, step))
            if tokens and most is not None:
                granted.held.append(self._counted(begin, step, tokens))
            if limit is not None:
                self._add(begin, step, 0, 1)
            cells[begin + _RUNNING + self._table.worker] += 1
            return granted
        finally:
            self._leave()

    @override
    def reserve(self, granted: Granted, tokens: int) -> Wait | None:
        limit = self.tokens_per_minute
        if limit is None:
            return None
        begin, step = self._hold()
        try:
            if self._cells[begin + _TOKENS] + tokens > limit:
                return Wait("tokens_per_minute", self._room_in_s(begin, step, tokens, limit))
            granted.held.append(self._counted(begin, step, tokens))
            return None
        finally:
            self._leave()

    @override
    def tokens_free_in_s(self, tokens: int, before: int = 0) -> float | None:
        limit = self.tokens_per_minute
        if limit is None:
            return 0.0
        if tokens > limit:
            return None
        minutes, rest = divmod(max(0, before + tokens - 1), limit)
        begin, step = self._hold()
        try:
            full = self._cells[begin + _TOKENS] + rest + 1 > limit
            wait_s = self._room_in_s(begin, step, rest + 1, limit) if full else 0.0
        finally:
            self._leave()
        return None if wait_s is None else minutes * WINDOW_S + wait_s

    @override
    def settle(self, granted: Granted, tokens: int) -> None:
        more = tokens - sum(counted.amount for counted in granted.held)
        if not more:
            return
        begin, step = self._hold()
        try:
            if more > 0:
                if self.tokens_per_minute is not None:
                    granted.held.append(self._counted(begin, step, more))
                return
            for counted in reversed(granted.held):
                less = min(counted.amount, -more)
                counted.amount -= less
                more += less
                if isinstance(counted, Step) and step - counted.number < STEPS:
                    self._add(begin, counted.number, 1, -less)
        finally:
            self._leave()

    @override
    def forget(self, request: Counted) -> None:
        if not isinstance(request, Step) or not request.inside:
            return
        request.inside = False
        begin, step = self._hold()
        if step - request.number < STEPS:
            self._add(begin, request.number, 0, -1)
        self._leave()

    @override
    def room(self) -> dict[Limit, Room]:
        begin, step = self._hold()
        cells = self._cells
        requests, tokens, running = cells[begin + _REQUESTS], cells[begin + _TOKENS], self._running(begin)
        resets = [
            self._gone_in_s(begin, step, used, kind) if used else 0.0 for kind, used in enumerate((requests, tokens))
        ]
        self._leave()
        found: dict[Limit, Room] = {}
        if (limit := self.requests_per_minute) is not None:
            found["requests_per_minute"] = Room(limit, max(0, limit - requests), resets[0])
        if (limit := self.tokens_per_minute) is not None:
            found["tokens_per_minute"] = Room(limit, max(0, limit - tokens), resets[1])
        if self.concurrent is not None:
            found["concurrent"] = Room(self.concurrent, max(0, self.concurrent - running), 0.0)
        return found

    def ended(self) -> None:
        """One request of this worker no longer runs."""
        begin, _ = self._hold()
        place = begin + _RUNNING + self._table.worker
        self._cells[place] = max(0, self._cells[place] - 1)
        self._leave()

    # --- in the slot

    def _hold(self) -> tuple[int, int]:
        """Lock the slot and forget what is too old: its first cell, and the number of the present step."""
        self._guard.hold(self._slot)
        if self._cells[self._slot] != self._mark:  # nothing counted here for a while, and another name has it now
            self._guard.leave(self._slot)
            self._slot = self._table.find(self._mark)
            self._guard.hold(self._slot)
        begin, step = SLOTS + self._slot * CELLS, int(self._now() / STEP_S)
        newest = self._cells[begin + _NEWEST]
        if step > newest:
            for number in range(max(newest + 1, step - STEPS + 1), step + 1):
                self._empty(begin, number)
            self._cells[begin + _NEWEST] = step
        return begin, max(step, newest)

    def _leave(self) -> None:
        self._guard.leave(self._slot)

    def _running(self, begin: int) -> int:
        return sum(self._cells[begin + _RUNNING : begin + _STEPS])

    def _empty(self, begin: int, number: int) -> None:
        """Let nothing count in the cells of a step, which stand for one that is too old."""
        for kind in (0, 1):
            place = begin + _STEPS + 2 * (number % STEPS) + kind
            if old := self._cells[place]:
                self._cells[place] = 0
                total = begin + _REQUESTS + kind
                self._cells[total] = max(0, self._cells[total] - old)

    def _add(self, begin: int, number: int, kind: int, amount: int) -> None:
        """Count *amount* more requests (kind 0) or tokens (kind 1) in a step, or so many fewer."""
        place, total = begin + _STEPS + 2 * (number % STEPS) + kind, begin + _REQUESTS + kind
        self._cells[place] = max(0, self._cells[place] + amount)
        self._cells[total] = max(0, self._cells[total] + amount)

    def _counted(self, begin: int, step: int, tokens: int) -> Step:
        self._add(begin, step, 1, tokens)
        return Step(0.0, tokens, True, step)

    def _room_in_s(self, begin: int, step: int, tokens: int, limit: int) -> float | None:
        """When enough has left the window for *tokens*; None: it never fits."""
        if tokens > limit:
            return None
        return self._gone_in_s(begin, step, self._cells[begin + _TOKENS] + tokens - limit, 1)

    def _gone_in_s(self, begin: int, step: int, excess: int, kind: int) -> float:
        """When *excess* of a kind has left the window."""
        for number in range(step - STEPS + 1, step + 1):
            excess -= self._cells[begin + _STEPS + 2 * (number % STEPS) + kind]
            if excess <= 0:
                return max(0.0, (number + STEPS) * STEP_S - self._now())
        return WINDOW_S
