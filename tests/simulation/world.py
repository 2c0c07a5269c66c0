"""Vendors, callers and time, made up: an hour of traffic through the real executor, breakers, limits and queues.

Time is a number. The event loop jumps to the next moment at which anything happens, so that an hour takes seconds and
comes out the same for the same seed.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from proxy.admission import Admission
from proxy.budgeting import Load
from routing.breaker import SERVERS_FAULTS, Breakers
from routing.errors import AttemptFailed, ChainExhausted, NotSent
from routing.executor import Attempt, run
from routing.health import Health
from routing.latency import Latencies
from routing.limits import KeyRing
from routing.outliers import Outliers
from routing.policies import POLICIES, Caller, View
from routing.pricing import Price, PriceBook
from routing.queueing import Gate, Rates
from routing.rate_card import RateCard
from routing.retry import Patience, RetryBudget
from routing.targets import Target
from translators.neutral import ErrorKind, Failure, Message, Request, Text

HOUR_S = 3600.0


class _Jumps(selectors.SelectSelector):
    """Waits for nothing: time goes on at once to where something is due."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and nothing is due"
            self.at += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is made up."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.at


def simulate(work: Callable[[Callable[[], float]], Coroutine[Any, Any, None]]) -> None:
    """Run *work*, which is given the clock."""
    loop = JumpingLoop()
    try:
        loop.run_until_complete(work(loop.time))
    finally:
        loop.close()


@dataclass(frozen=True)
class Trouble:
    """What a vendor suffers from for a while. *errors* is the share of requests that fail, *slower* a factor."""

    begins: float
    ends: float
    kind: ErrorKind = "server"
    errors: float = 1.0
    slower: float = 1.0
    hangs_s: float = 0.05


@dataclass
class Vendor:
    """A provider: how long it takes (a lognormal median with a tail), what it allows, when it is ill."""

    name: str
    median_s: float
    spread: float = 0.5
    troubles: Sequence[Trouble] = ()
    per_minute: int | None = None
    """What the vendor itself allows; more is answered with 429 and a Retry-After."""
    limits: Rates = field(default_factory=Rates)
    """What we allow."""
    per_key: Rates = field(default_factory=Rates)
    keys: int = 1
    price: str = "1"
    calls: list[tuple[float, int]] = field(default_factory=list)
    """When it was asked, and with which key."""
    answered: list[float] = field(default_factory=list)
    tokens: list[tuple[float, int]] = field(default_factory=list)
    running: Counter[int | None] = field(default_factory=Counter)
    most: Counter[int | None] = field(default_factory=Counter)
    """The most that ran at a time: in all (None), and with each key."""
    _recent: deque[float] = field(default_factory=deque)

    async def answer(self, rng: Random, now: Callable[[], float], key: int, tokens: int) -> None:
        """Take a request. Raises AttemptFailed."""
        at = now()
        self.calls.append((at, key))
        self.tokens.append((at, tokens))
        with self._counted(key):
            while self._recent and at - self._recent[0] >= 60:
                self._recent.popleft()
            if self.per_minute is not None and len(self._recent) >= self.per_minute:
                wait_s = self._recent[0] + 60 - at
                raise AttemptFailed(Failure("rate_limit", "slow down", 429, retry_after_s=wait_s))
            self._recent.append(at)
            trouble = next((each for each in self.troubles if each.begins <= at < each.ends), None)
            if trouble is not None and rng.random() < trouble.errors:
                await asyncio.sleep(trouble.hangs_s)
                raise AttemptFailed(Failure(trouble.kind, "ill", 504 if trouble.kind == "timeout" else 500))
            slower = trouble.slower if trouble is not None else 1.0
            tail = 8.0 if rng.random() < 0.01 else 1.0
            await asyncio.sleep(self.median_s * math.exp(rng.gauss(0, self.spread)) * tail * slower)
        self.answered.append(now())

    @contextmanager
    def _counted(self, key: int) -> Iterator[None]:
        for scope in (None, key):
            self.running[scope] += 1
            self.most[scope] = max(self.most[scope], self.running[scope])
        try:
            yield
        finally:
            for scope in (None, key):
                self.running[scope] -= 1


@dataclass(frozen=True)
class Wave:
    """Requests of one tenant: so many a second from *begins* to *ends*."""

    tenant: str
    per_s: float
    begins: float = 0.0
    ends: float = HOUR_S
    tokens: int = 500


@dataclass(frozen=True)
class Done:
    """One request's end. *error*: the kind of the failure that its client was told, None for an answer."""

    tenant: str
    at: float
    took_s: float
    attempts: int
    error: str | None = None
    retry_after_s: float | None = None


class World:
    """One route over *vendors*, ordered by *policy*."""

    def __init__(
        self, vendors: Sequence[Vendor], policy: str, seed: int, now: Callable[[], float], allowed_s: float = 60.0
    ) -> None:
        self.vendors = {vendor.name: vendor for vendor in vendors}
        self.targets = [Target(vendor.name, "m") for vendor in vendors]
        self.policy = policy
        self.now = now
        self.allowed_s = allowed_s
        self.rng = Random(seed)
        self.told: list[tuple[float, str, str]] = []
        self.breakers = Breakers(now, told=lambda name, _, after, __: self.told.append((now(), name, after)))
        self.rings = {each.name: KeyRing(range(each.keys), now) for each in vendors}
        self.gates = {each.name: Gate(each.limits, each.per_key, each.keys, now, queue=200) for each in vendors}
        self.budget = RetryBudget(now)
        self.outliers = Outliers(now)
        self.latencies = Latencies(now)
        self.health = Health()
        prices = {(each.name, "m"): Price.of({"input": each.price, "output": each.price}) for each in vendors}
        self.book = PriceBook(prices, shipped=False)
        self.card = RateCard(self.book, now)
        self.done: list[Done] = []

    async def play(self, waves: Sequence[Wave]) -> None:
        """All requests of *waves*, to the end of the last."""
        moments = sorted((at, index) for index, wave in enumerate(waves) for at in _moments(self.rng, wave))
        async with asyncio.TaskGroup() as tasks:
            for at, index in moments:
                await asyncio.sleep(at - self.now())
                tasks.create_task(self._request(waves[index]))

    async def _request(self, wave: Wave) -> None:
        began, attempts = self.now(), 0
        deadline = began + self.allowed_s
        request = Request("openai_chat", "m", (Message("user", (Text("x"),)),), max_output_tokens=wave.tokens // 2)
        load = Load(lambda: wave.tokens // 2, wave.tokens // 2)
        doors = Admission(self.gates, self.rings, wave.tenant, load, deadline, self.now)

        async def attempt(target: Target, key: int | None, _deadline: float) -> None:
            nonlocal attempts
            admitted = await doors.claim(target, key)
            attempts += 1
            started, failure = self.now(), None
            try:
                await self.vendors[target.provider].answer(self.rng, self.now, key or 0, wave.tokens)
            except AttemptFailed as failed:
                failure = failed.failure
                raise
            finally:
                admitted.place.settle(wave.tokens if failure is None else 0)
                admitted.place.free()
                self._learn(target, failure, (self.now() - started) * 1000)

        error: AttemptFailed | ChainExhausted | None = None
        try:
            await self._walk(request, wave.tenant, attempt, doors)
        except (ChainExhausted, NotSent) as failed:
            error = failed
        failure = error.failure if error else None
        self.done.append(
            Done(
                wave.tenant,
                self.now(),
                self.now() - began,
                attempts,
                failure.kind if failure else None,
                failure.retry_after_s if failure else None,
            )
        )

    async def _walk(self, request: Request, tenant: str, attempt: Attempt[None], doors: Admission) -> None:
        """Let the executor make attempts until one of them answers."""
        await run(
            self.outliers.order(self._order(request, tenant), strained=self.budget.strained),
            attempt,
            breakers=self.breakers,
            key_rings=self.rings,
            deadline=doors.deadline,
            now=self.now,
            sleep=asyncio.sleep,
            rng=self.rng,
            budget=self.budget,
            patience=Patience(longest_wait_s=8, backoff_s=0.25),
            doors=doors,
        )

    def _order(self, request: Request, tenant: str) -> list[Target]:
        view = View(
            self.rng,
            self.now,
            self.breakers,
            self.rings,
            self.health,
            self.book,
            self.latencies,
            self.card,
            caller=Caller(tenant, str(self.rng.randrange(50))),
        )
        return POLICIES[self.policy](request, self.targets, view)

    def _learn(self, target: Target, failure: Failure | None, took_ms: float) -> None:
        if failure is None:
            self.latencies.answered(target.provider, "m", latency_ms=took_ms, first_event_ms=took_ms)
        else:
            self.latencies.failed(target.provider, "m", waited_ms=took_ms if failure.kind == "timeout" else None)
        if failure is None or failure.kind in SERVERS_FAULTS:
            failed = failure is not None
            self.outliers.seen(target.provider, "m", failed=failed, first_event_ms=None if failed else took_ms)


def _moments(rng: Random, wave: Wave) -> Iterator[float]:
    at = wave.begins
    while (at := at + rng.expovariate(wave.per_s)) < wave.ends:
        yield at


def most_within(moments: Sequence[tuple[float, int]], window_s: float = 60.0) -> int:
    """The largest sum of amounts in any window of *window_s*; *moments* are (when, how much) in order."""
    times = [at for at, _ in moments]
    sums = [0]
    for _, amount in moments:
        sums.append(sums[-1] + amount)
    return max(
        (sums[index + 1] - sums[bisect_right(times, at - window_s + 1e-6)] for index, at in enumerate(times)), default=0
    )
