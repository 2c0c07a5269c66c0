"""Trying the targets of a chain until one of them answers.

Targets come in the order that the policy gave. A target whose breaker is open, or whose keys all rest, is passed
over. When that leaves nothing at all, one is tried in spite of it (a breaker must not turn the last target off);
only a wait that the vendors themselves asked for is kept, and then the request fails at once with the time to wait.
Moving on to another target or key costs no pause. Only the last target is asked a second time, after one.
A target that our own limits keep closed for the moment is passed over, too; it is waited for, in its queue, only when
no other one answers.
A target that the request cannot be put to is as good as not there: what ends the chain is what the others do, and the
request is at fault only where it fits none of them.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, Generic, Protocol, TypeVar

from routing.breaker import Breaker, Breakers
from routing.errors import AttemptFailed, ChainExhausted, NotSent, Unfit
from routing.limits import KeyRing
from routing.retry import Patience, RetryBudget, action_for
from routing.targets import Target
from translators.neutral import ErrorKind, Failure

T = TypeVar("T")

Attempt = Callable[[Target, Any, float], Awaitable[T]]
"""Called with target, key and deadline. Returns an answer that is committed to, or raises AttemptFailed."""


def every(_answer: object) -> bool:
    """All answers are whole."""
    return True


MOST_TELLING: Final[tuple[ErrorKind, ...]] = (
    "overloaded",
    "server",
    "timeout",
    "connection",
    "invalid_response",
    "rate_limit",
    "billing",
    "permission",
    "authentication",
)
"""Which failure of a mixed chain is reported: what may pass by itself before what somebody has to mend."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt. *started* and *ended* are on the executor's clock; *failure* is None for the one that answered."""

    target: Target
    key_index: int
    failure: Failure | None
    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A target that was passed over. *free_in_s*: when it can be tried again, as far as one can tell."""

    target: Target
    reason: str
    free_in_s: float
    kind: ErrorKind


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """The answer, and every attempt up to and including the one that gave it."""

    value: T
    attempts: tuple[Attempted, ...]


class Doors(Protocol):
    """Our own limits on what targets are asked, as one request meets them."""

    def enter(self, target: Target, key_index: int) -> NotSent | None:
        """Take a place for an attempt, without waiting; why not, where there is none."""

    async def turn(self, steps: Sequence[tuple[Target, int]], deadline: float) -> tuple[Target, int]:
        """Wait for a place at one of *steps*. Raises NotSent when that takes too long."""

    def leave(self, target: Target, key_index: int) -> None:
        """The attempt is over; a place that it did not use is given back."""


Step = tuple[Target, int, Breaker]
"""What to try next: a target, the position of a key, and the breaker that let it pass."""


async def run(
    chain: Sequence[Target],
    attempt: Attempt[T],
    *,
    breakers: Breakers,
    key_rings: Mapping[str, KeyRing[Any]],
    deadline: float,
    now: Callable[[], float],
    sleep: Callable[[float], Awaitable[object]],
    rng: Random,
    budget: RetryBudget,
    patience: Patience | None = None,
    fallback_on: Collection[ErrorKind] = (),
    prefer: Mapping[Target, int] | None = None,
    doors: Doors | None = None,
    whole: Callable[[T], bool] = every,
    again: bool = False,
    begun: bool = False,
) -> Outcome[T]:
    """Try *chain* until one attempt returns.

    *deadline* is a moment of *now* and holds for all attempts together; each attempt is given it and keeps to it.
    *prefer* are positions of keys that go first at their targets, because what is asked lies in their caches.
    *doors* are our own limits; without them there are none.
    *whole* tells of an answer that nothing more comes of it; how the others end, their breakers are told by the caller.
    With *again* they are asked because another one has failed the same request: that is no request of its own, and the
    first of them, too, must be well or is a retry. *begun*: the first attempt has been made already, so that what came
    of it is heard however late it is.
    Cancellation goes straight through and speaks neither for nor against the target.

    Raises:
        ChainExhausted: no target answered.
        NotSent: nothing was asked, because a rule of ours forbids every target; Unfit: the request fits none of them.
    """
    walk = Walk(
        chain,
        attempt,
        breakers,
        key_rings,
        deadline,
        now,
        sleep,
        rng,
        budget,
        patience or Patience(),
        fallback_on,
        prefer or {},
        doors,
        whole,
        again,
        begun,
    )
    with nullcontext() if again else budget.request():
        return await walk.to_an_answer()


@dataclass(slots=True)
class Walk(Generic[T]):
    """One request's way along its chain. *place* is where it stands, *tried* the keys that each target has used."""

    chain: Sequence[Target]
    attempt: Attempt[T]
    breakers: Breakers
    key_rings: Mapping[str, KeyRing[Any]]
    deadline: float
    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    rng: Random
    budget: RetryBudget
    patience: Patience
    fallback_on: Collection[ErrorKind]
    prefer: Mapping[Target, int]
    doors: Doors | None = None
    whole: Callable[[T], bool] = every
    again: bool = False
    begun: bool = False
    place: int = 0
    tried: dict[int, set[int]] = field(default_factory=dict)
    attempts: list[Attempted] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    forbidden: list[NotSent] = field(default_factory=list)
    unfit: dict[Target, Unfit] = field(default_factory=dict)
    closed: list[tuple[Target, int]] = field(default_factory=list)
    """Targets and keys that our own limits kept closed when they were come to."""

    async def to_an_answer(self) -> Outcome[T]:
        """The first answer. Raises ChainExhausted."""
        step = self._next() or await self._turn() or self._last_resort()
        while step is not None and (self.now() < self.deadline or (self.begun and not self.attempts)):
            if self._goes_on:
                self.budget.went_on(well=step[2].well)
            result = await self._try(step)
            if isinstance(result, Outcome):
                return result
            if isinstance(result, NotSent):
                self.place += 1
                step = self._next() or await self._turn() or (None if self.attempts else self._last_resort())
                continue
            action = action_for(result, self.fallback_on)
            if action == "stop":
                raise ChainExhausted(result, self.attempts, self.skipped)
            if action != "next_key":
                self.place += 1
            step = self._next() or await self._turn()
        return await self._repeat()

    async def _try(self, step: Step) -> Outcome[T] | Failure | NotSent:
        """One attempt, with its news passed on to breaker and keys."""
        target, index, breaker = step
        ring = self.key_rings[target.provider]
        started = self.now()
        try:
            value = await self.attempt(target, ring.keys[index], self.deadline)
        except NotSent as forbidden:
            breaker.released()
            if isinstance(forbidden, Unfit):
                self.unfit[target] = forbidden
                if forbidden.answered is None:
                    self._skip(target, forbidden.failure)
                else:
                    self.attempts.append(Attempted(target, index, forbidden.answered, started, self.now()))
            else:
                self._note(target, forbidden)
            return forbidden
        except AttemptFailed as failed:
            failure = ring.refused(index, failed.failure, target.model)
            self.attempts.append(Attempted(target, index, failure, started, self.now()))
            breaker.judge(failure)
            return failure
        except BaseException:
            breaker.released()
            raise
        finally:
            if self.doors is not None:
                self.doors.leave(target, index)
        self.attempts.append(Attempted(target, index, None, started, self.now()))
        if self.whole(value):
            breaker.succeeded()
        else:
            breaker.began()
        ring.worked(index, target.model)
        return Outcome(value, tuple(self.attempts))

    async def _repeat(self) -> Outcome[T]:
        """After the last target: ask the one with the shortest wait again, if time, breaker and budget allow."""
        for repeat in range(self.patience.repeats):
            waiting = self._shortest_wait(repeat)
            if waiting is None or len(self.attempts) >= self._most_attempts():
                break
            wait_s, step = waiting
            if self.now() + wait_s >= self.deadline or not self.budget.repeat():
                break
            await self.sleep(wait_s)
            if self._shut(step[0], step[1]):
                break
            result = await self._try(step)
            if isinstance(result, Outcome):
                return result
            if isinstance(result, NotSent):
                break
            if action_for(result, self.fallback_on) == "stop":
                raise ChainExhausted(result, self.attempts, self.skipped)
        if self.forbidden and not self.attempts:
            raise min(reversed(self.forbidden), key=_wait_s)
        if self.unfit and self.unfit.keys() >= set(self.chain):
            raise next(iter(self.unfit.values()))
        raise ChainExhausted(reported(self.attempts, self.skipped), self.attempts, self.skipped)

    def _next(self) -> Step | None:
        """The next target and key in order, its breaker's leave taken; None at the end of the chain."""
        while self.place < len(self.chain) and len(self.attempts) < self._most_attempts():
            target = self.chain[self.place]
            breaker = self.breakers.of(target)
            tried = self.tried.setdefault(self.place, set())
            if breaker.ready and self._may_go_on(breaker):
                index = self._open_key(target, tried)
                if index is not None and breaker.allows():
                    return target, index, breaker
            if not tried:
                self.skipped.append(self._passed_over(target, breaker))
            self.place += 1
        return None

    def _open_key(self, target: Target, tried: set[int]) -> int | None:
        """The next key of *target*, now *tried*, that neither rests nor is closed by our own limits."""
        ring, preferred = self.key_rings[target.provider], self.prefer.get(target)
        while (index := ring.take(target.model, tried, preferred)) is not None:
            tried.add(index)
            if not self._shut(target, index):
                return index
            self.closed.append((target, index))
        return None

    def _shut(self, target: Target, index: int) -> bool:
        """Whether our own limits close it; where they do not, there is a place now."""
        refused = self.doors.enter(target, index) if self.doors is not None else None
        if refused is None:
            return False
        self._note(target, refused)
        return True

    def _note(self, target: Target, forbidden: NotSent) -> None:
        self.forbidden.append(forbidden)
        self._skip(target, forbidden.failure)

    def _skip(self, target: Target, failure: Failure) -> None:
        self.skipped = [left for left in self.skipped if left.target is not target]
        self.skipped.append(Skipped(target, failure.message, failure.retry_after_s or 0.0, failure.kind))

    async def _turn(self) -> Step | None:
        """A place at one of the targets that were closed, as soon as there is one; None when that takes too long."""
        closed = [(target, index) for target, index in self.closed if self.breakers.of(target).ready]
        self.closed = []
        if not closed or self.doors is None or len(self.attempts) >= self._most_attempts():
            return None
        try:
            target, index = await self.doors.turn(closed, self.deadline)
        except NotSent as late:
            self._note(closed[0][0], late)
            return None
        breaker = self.breakers.of(target)
        if not breaker.allows():
            self.doors.leave(target, index)
            return None
        self.skipped = [left for left in self.skipped if left.target is not target]
        return target, index, breaker

    @property
    def _goes_on(self) -> bool:
        """Whether another one has failed, so that the next one is asked instead."""
        return self.again or bool(self.attempts)

    def _may_go_on(self, breaker: Breaker) -> bool:
        """Whether it may be asked after another one has failed: it is well, or the budget of retries allows it."""
        return not self._goes_on or breaker.well or self.budget.allows()

    def _last_resort(self) -> Step | None:
        """Nothing is usable: a target whose breaker would take a probe, else the first one; None if all must wait."""
        found: list[tuple[bool, int, int]] = []
        for place, target in enumerate(self.chain):
            if target in self.unfit:
                continue
            ring = self.key_rings[target.provider]
            index = ring.take(target.model)
            if index is None:
                index = ring.take_resting(target.model)
            if index is not None:
                found.append((not self.breakers.of(target).ready, place, index))
        if not found or self.forbidden or self.again:
            return None
        _, place, index = min(found)
        target = self.chain[place]
        if self._shut(target, index):
            return None
        breaker = self.breakers.of(target)
        breaker.allows()
        self.skipped = [left for left in self.skipped if left.target is not target]
        return target, index, breaker

    def _shortest_wait(self, repeat: int) -> tuple[float, Step] | None:
        """The wait and the step to repeat, out of the latest attempt at each target whose breaker is closed."""
        latest = {made.target: made for made in self.attempts}
        waits: list[tuple[float, Step]] = []
        for target, made in latest.items():
            breaker = self.breakers.of(target)
            if made.failure is None or breaker.state != "closed":
                continue
            wait_s = self.patience.wait_s(made.failure, repeat, self.rng)
            if wait_s is not None:
                waits.append((wait_s, (target, made.key_index, breaker)))
        return min(waits, key=lambda waiting: waiting[0], default=None)

    def _passed_over(self, target: Target, breaker: Breaker) -> Skipped:
        ring = self.key_rings[target.provider]
        free_in_s = ring.free_in_s(target.model)
        if free_in_s > 0:
            rests = [rest for index in range(ring.total) if (rest := ring.rest(index, target.model)) is not None]
            kind = min(rests, key=lambda rest: rest.until).kind
            return Skipped(target, f"every key rests after {kind}, the first for {free_in_s:.0f} s", free_in_s, kind)
        if breaker.ready:
            return Skipped(target, "it fails, too, and so many requests are being retried", 0.0, "overloaded")
        return Skipped(target, f"its breaker is open for {breaker.cooldown_s:.0f} s", breaker.cooldown_s, "overloaded")

    def _most_attempts(self) -> int:
        """Unless it was set, a refused key costs no attempt: nobody worked on it, and another key may be good."""
        if self.patience.max_attempts is not None:
            return self.patience.max_attempts
        refused = sum(1 for made in self.attempts if made.failure and action_for(made.failure) == "next_key")
        return self.patience.attempts(len(self.chain)) + refused


def _wait_s(forbidden: NotSent) -> float:
    wait_s = forbidden.failure.retry_after_s
    return math.inf if wait_s is None else wait_s


def reported(attempts: Sequence[Attempted], skipped: Sequence[Skipped]) -> Failure:
    """The failure that tells the client most.

    Only rate limits: 429 with the shortest wait. Else the kind that comes first in MOST_TELLING, its latest failure.
    """
    failures = [made.failure for made in attempts if made.failure is not None]
    waits = [left.free_in_s for left in skipped if left.kind == "rate_limit"]
    if not failures:
        if waits:
            waiting = "every key waits for its vendor's rate limit to pass"
            return Failure("rate_limit", waiting, 429, retry_after_s=min(waits))
        return Failure("timeout", "the deadline passed before an attempt could be made", 504)
    if all(failure.kind == "rate_limit" for failure in failures):
        waits += [failure.retry_after_s for failure in failures if failure.retry_after_s is not None]
        return replace(failures[-1], retry_after_s=min(waits, default=None))
    ranks = {kind: rank for rank, kind in enumerate(MOST_TELLING)}
    return min(reversed(failures), key=lambda failure: ranks.get(failure.kind, len(ranks)))
