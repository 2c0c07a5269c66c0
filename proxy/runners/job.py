"""What a runner is given, and how it asks one target among several."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy.asked import Asked
from proxy.asking import Committed
from proxy.attempt import Attempter
from proxy.budgeting import Load
from proxy.chain import first_answer, walked
from proxy.exchange import Books, Exchange
from proxy.runners.branch import Branch
from proxy.services import Services
from proxy.setup import Setup
from routing.errors import ChainExhausted, NotSent
from routing.executor import reported
from routing.targets import Route, Target
from translators.neutral import Usage


class NewAttempter(Protocol):
    """Makes what attempts are made with. *asked* None: the client's question; see `Attempter` for the rest."""

    def __call__(
        self, books: Books, asked: Asked | None = None, *, whole: bool = False, relays: bool = True
    ) -> Attempter:
        """One that books to *books*."""


@dataclass(frozen=True, slots=True)
class Job:
    """One request, and the *targets* that can take it in the order of the route's policy."""

    services: Services
    setup: Setup
    route: Route
    asked: Asked
    exchange: Exchange
    targets: Sequence[Target]
    prefer: Mapping[Target, int]
    """Positions of keys that go first."""
    load: Load
    new_attempter: NewAttempter
    begun: bool = False
    """Whether the fast lane has made the first attempt."""
    together: Sequence[Target] = ()
    """Those of *targets* that the route's policy wants to be asked at once, before the others."""

    @property
    def usable(self) -> list[Target]:
        """The targets whose breaker and keys let them be asked now."""
        breakers, rings = self.services.breakers, self.setup.rings
        return [
            target
            for target in self.services.steered(self.targets)
            if breakers.of(target).ready and rings[target.provider].free_in_s(target.model) == 0
        ]


Runner = Callable[[Job], Awaitable[Committed]]
"""Gives the answer that the client gets. Raises Refused when there is none; the books say so."""


async def first(job: Job) -> Committed:
    """The first answer, the targets being asked one after the other."""
    return await first_answer(
        job.services,
        job.setup,
        job.route,
        job.exchange,
        targets=job.targets,
        attempt=job.new_attempter(job.exchange).attempt,
        prefer=job.prefer,
        begun=job.begun,
    )


@dataclass(slots=True, eq=False)
class Lane:
    """One target that is being asked."""

    target: Target
    branch: Branch
    task: asyncio.Task[Committed]
    started: float = field(default_factory=time.monotonic)

    @property
    def waited_ms(self) -> float:
        """Milliseconds since it was asked."""
        return (time.monotonic() - self.started) * 1000

    @property
    def committed(self) -> Committed | None:
        """Its answer, if there is one."""
        done = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if done else None

    @property
    def error(self) -> BaseException | None:
        """Why there is no answer; None while there may be one."""
        if not self.task.done():
            return None
        return asyncio.CancelledError() if self.task.cancelled() else self.task.exception()


def ask(
    job: Job,
    target: Target,
    branch: Branch,
    *,
    asked: Asked | None = None,
    whole: bool = False,
    relays: bool = True,
    once: bool = True,
) -> Lane:
    """Begin to ask *target*; with *once* a failure is not tried again. Whoever calls sees to the lane's end."""
    attempt = job.new_attempter(branch, asked, whole=whole, relays=relays).attempt

    async def answer() -> Committed:
        committed = await walked(
            job.services,
            job.setup,
            job.route,
            job.exchange.deadline,
            targets=[target],
            attempt=attempt,
            once=once,
            prefer=job.prefer,
            doors=job.exchange.doors,
        )
        if committed.response is not None:
            for made in committed.attempts:
                made.has_ended(None)  # now, and not when the others have
        return committed

    return Lane(target, branch, asyncio.ensure_future(answer()))


async def give_up(job: Job, lanes: Sequence[Lane]) -> None:
    """End *lanes*: whoever is still at work is cancelled at its server, and what it took is booked."""
    for lane in lanes:
        lane.task.cancel()
    await asyncio.gather(*(lane.task for lane in lanes), return_exceptions=True)
    for lane in lanes:
        if committed := lane.committed:
            await committed.close()
            await _used(job, committed)
        for attempt in lane.branch.attempts:
            if not attempt.settled and attempt.ended is None:
                attempt.abandoned = True
                # Counted roughly: the winner must not wait for a tokenizer to count what the losers read.
                attempt.has_ended(Usage(input_tokens=job.load.input_tokens(), estimated=True) if attempt.sent else None)


async def _used(job: Job, committed: Committed) -> None:
    """Note what an answer took that nobody gets: all of a whole one, of a stream what has come."""
    services, exchange = job.services, job.exchange
    if committed.live is not None:
        shares = committed.shares(committed.live.collector.response())
        for attempt, part in zip(committed.attempts, shares, strict=False):
            attempt.usage = await services.partial_usage(exchange, attempt, part)
    elif committed.response is not None:
        for attempt, part in zip(committed.attempts, committed.shares(committed.response), strict=False):
            attempt.has_ended(part.usage or await services.estimated(exchange, attempt, part))


def none_answered(lanes: Sequence[Lane]) -> Exception:
    """The one error of several lanes, all of which have failed.

    What speaks of the request itself goes before what speaks of targets.
    """
    errors = [lane.error for lane in lanes]
    for error in errors:
        if isinstance(error, Exception) and not isinstance(error, ChainExhausted | NotSent):
            return error
    exhausted = [error for error in errors if isinstance(error, ChainExhausted)]
    if exhausted:
        attempts = [made for error in exhausted for made in error.attempts]
        skipped = [left for error in exhausted for left in error.skipped]
        return ChainExhausted(reported(attempts, skipped), attempts, skipped)
    forbidden = [error for error in errors if isinstance(error, NotSent)]
    return forbidden[0] if forbidden else AssertionError("no lane has failed")
