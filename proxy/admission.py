"""The limits of providers and keys (`[providers.X] limits`), as one exchange meets them.

The executor takes a place before each attempt (`enter`), or waits for one when every target is taken (`turn`); the
books `claim` it when the attempt begins. Whatever an attempt asks beside it (further choices, repairs, the rest of an
answer) waits in the queue by itself: another target could not do that for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxy.providers import Limits
from routing.errors import NotSent
from routing.limits import KeyRing, rests_for_s
from routing.queueing import Gate, Place, Rates, Refusal, Ticket, tokens_needed
from routing.targets import Target
from routing.throttle import Limit, NewThrottle, Wait
from translators.neutral import Failure

if TYPE_CHECKING:
    from proxy.budgeting import Load

_UNITS: Final[Mapping[Limit, str]] = {
    "requests_per_minute": "requests a minute",
    "tokens_per_minute": "tokens a minute",
    "concurrent": "requests at the same time",
}
LIMIT_CODE: Final = "provider_limit"
"""The code of an error that our own limits on a provider are the reason of."""
_BEHIND: Final[frozenset[Refusal]] = frozenset({"full", "pushed_out", "too_late"})
"""Who is refused with others before it: it can go when those have gone."""
LOOK_S: Final = 0.02
"""So often it is looked whether another worker has given a place back."""
LEAST_WAIT_S: Final = 0.001
"""A wait that rounding has made nothing of."""


def new_gate(
    limits: Limits, keys: int, old: Gate | None = None, *, name: str = "", throttle: NewThrottle | None = None
) -> Gate:
    """The gate of the provider *name* that *limits* describe; *old* goes on with what it has counted."""
    whole = Rates(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent)
    if old is not None:
        old.configure(whole, limits.per_key, queue=limits.queue, queue_s=limits.queue_s)
        return old
    return Gate(
        whole,
        limits.per_key,
        max(1, keys),
        time.monotonic,
        queue=limits.queue,
        queue_s=limits.queue_s,
        name=name,
        throttle=throttle,
    )


@dataclass(slots=True)
class Admitted:
    """One attempt's place, and the key that it goes with."""

    place: Place
    ring: KeyRing[Any] | None
    model: str

    def told(self, headers: Mapping[str, str]) -> None:
        """The vendor said how much its own limits leave: a key that has nothing left rests until it has."""
        if self.ring is None:
            return
        rest_s = rests_for_s(headers, time.time())
        if rest_s is not None:
            self.ring.used_up(self.place.key_index, rest_s, self.model)


@dataclass(slots=True)
class Admission:
    """The doors of one exchange; see `routing.executor.Doors`. *tenant* is whose turn it uses up."""

    gates: Mapping[str, Gate]
    rings: Mapping[str, KeyRing[Any]]
    tenant: str
    load: Load
    deadline: float
    now: Callable[[], float] = time.monotonic
    waited_s: float = 0.0
    """How long it has stood in queues, one after the other or side by side."""
    _taken: dict[tuple[Target, int], list[Place]] = field(default_factory=dict)
    _prompt: int | None = None

    def enter(self, target: Target, key_index: int) -> NotSent | None:
        """A place for an attempt, if there is one now."""
        gate = self.gates.get(target.provider)
        if gate is None or not gate.limited:
            return None
        found = gate.take((key_index,), self._need)
        if isinstance(found, Wait):
            return _not_sent(target.provider, gate, found)
        self._keep(target, found)
        return None

    async def turn(self, steps: Sequence[tuple[Target, int]], deadline: float) -> tuple[Target, int]:
        """Wait where it takes the least time.

        Raises:
            NotSent: the queue is full, or the turn would come too late; with the time to wait.
        """
        keys: dict[Target, list[int]] = {}
        for target, index in steps:
            keys.setdefault(target, []).append(index)
        waits: list[tuple[float, Target, Wait]] = []
        for target, indices in keys.items():
            found = self.gates[target.provider].take(indices, self._need)
            if isinstance(found, Place):
                self._keep(target, found)
                return target, found.key_index
            waits.append((float("inf") if found.wait_s is None else found.wait_s, target, found))
        _, target, wait = min(waits, key=lambda each: each[0])
        place = await self._queued(target, keys[target], wait, deadline)
        self._keep(target, place)
        return target, place.key_index

    def leave(self, target: Target, key_index: int) -> None:
        """A place that was taken and not claimed is free again."""
        for place in self._taken.pop((target, key_index), ()):
            place.cancel()

    async def claim(self, target: Target, key_index: int | None) -> Admitted:
        """The place of an attempt that begins.

        Raises:
            NotSent: none was taken for it, and there is none in time.
        """
        index, ring = key_index or 0, self.rings.get(target.provider)
        gate = self.gates.get(target.provider)
        if gate is None or not gate.limited:
            return Admitted(Place(gate or _OPEN, index, ()), ring, target.model)
        taken = self._taken.get((target, index))
        if taken:
            return Admitted(taken.pop(), ring, target.model)
        found = gate.take((index,), self._need)
        if isinstance(found, Wait):
            found = await self._queued(target, (index,), found, self.deadline)
        return Admitted(found, ring, target.model)

    async def _queued(self, target: Target, keys: Collection[int], wait: Wait, deadline: float) -> Place:
        gate, began = self.gates[target.provider], self.now()
        until = min(deadline, began + gate.queue_s)

        def refused(why: Refusal, more: str = "") -> NotSent:
            gate.turns.refused[why] += 1
            again = wait
            if wait.limit == "tokens_per_minute" and why in _BEHIND:
                again = Wait(wait.limit, gate.tokens_free_in_s(ticket.tokens, ticket))
            return _not_sent(target.provider, gate, again, more)

        woken, bound = asyncio.Event(), gate.bound("tokens_per_minute")
        ticket = Ticket(self.tenant, woken.set, tokens=self._need(bound) if bound is not None else 0)
        if wait.wait_s is None:
            raise refused("too_large")
        # Behind others it may be sooner than that: most take fewer tokens than they have set aside.
        guessed = wait.limit == "concurrent" or (wait.limit == "tokens_per_minute" and gate.queue.head is not None)
        if not guessed and began + wait.wait_s > until:
            raise refused("too_long")
        if not gate.queue.join(ticket):
            raise refused("full", f", and {gate.queue.size} requests wait for that already")
        try:
            while (left_s := until - self.now()) > 0:
                if ticket.pushed_out:
                    raise refused("pushed_out", ", and many others of this key wait for that")
                woken.clear()
                pause_s = left_s
                if gate.queue.head is ticket:
                    found = gate.take(keys, self._need, ticket)
                    if isinstance(found, Place):
                        gate.served(ticket, self.now() - began)
                        return found
                    wait = found
                    if found.limit != "concurrent" and found.wait_s is not None:
                        pause_s = min(left_s, max(LEAST_WAIT_S, found.wait_s))
                    if gate.shared:
                        pause_s = min(pause_s, LOOK_S)
                try:
                    async with asyncio.timeout(pause_s):
                        await woken.wait()
                except TimeoutError:
                    continue
        except asyncio.CancelledError:
            gate.turns.left += 1
            raise
        finally:
            self.waited_s += self.now() - began
            gate.leave(ticket)
        raise refused("too_late", ", and its turn did not come in time")

    def _keep(self, target: Target, place: Place) -> None:
        self._taken.setdefault((target, place.key_index), []).append(place)

    def _need(self, limit: int) -> int:
        if self.load.free:
            return 0
        if self._prompt is None:
            self._prompt = self.load.input_tokens()
        return tokens_needed(self._prompt, self.load.output_tokens or 0)(limit)


_OPEN: Final = Gate(Rates(), Rates(), 1, time.monotonic)


def _not_sent(provider: str, gate: Gate, wait: Wait, more: str = "") -> NotSent:
    """What a client is told when no target is left: 429 for what a minute holds, 503 for what runs at a time."""
    said = f"{provider} is asked at most {gate.bound(wait.limit)} {_UNITS[wait.limit]}{more}"
    if wait.limit == "concurrent":
        return NotSent(Failure("overloaded", said, 503, code=LIMIT_CODE, retry_after_s=wait.wait_s))
    again = "; the request is larger than that" if wait.wait_s is None else ""
    return NotSent(Failure("rate_limit", said + again, 429, code=LIMIT_CODE, retry_after_s=wait.wait_s))
