"""Asks several targets side by side and hears what they say, as far as quorum, deadline and cost cap go.

answered     it has a say               given up     it was not waited for any longer
unreadable   its answer has none        failed       there was no answer
                                        not asked    the cap on cost, a budget or a limit forbids it
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from proxy.asking import Committed
from proxy.chain import unanswered
from proxy.config.model import ConsensusSettings
from proxy.errors import Refused
from proxy.runners.branch import Branch
from proxy.runners.cost_cap import CostCap
from proxy.runners.job import Job, Lane, ask, give_up, none_answered
from proxy.runners.readings import Reading, read
from routing.errors import AttemptFailed, ChainExhausted, NotSent
from routing.executor import Attempted
from routing.targets import Target
from storage.errors import LedgerUnavailable
from translators.errors import BadRequest
from translators.neutral import Failure

Fate: TypeAlias = Literal["answered", "unreadable", "failed", "given up", "not asked"]


@dataclass(frozen=True, slots=True)
class Heard:
    """One target that was to be asked, and what became of it. *why* is empty where it has answered."""

    lane: Lane
    fate: Fate
    why: str = ""
    reading: Reading | None = None
    committed: Committed | None = None

    @property
    def target(self) -> Target:
        """Who it is."""
        return self.lane.target


async def listen(job: Job, targets: Sequence[Target], settings: ConsensusSettings, cap: CostCap) -> list[Heard]:
    """What became of asking *targets*, in their order; perhaps nobody has answered.

    Raises:
        LedgerUnavailable: what is asked cannot be booked.
    """
    lanes = [ask(job, target, Branch(job.exchange, cap.allowing()), whole=True) for target in targets]
    try:
        late = await _wait(job, lanes, settings)
        running = [lane for lane in lanes if not lane.task.done()]
    finally:
        await give_up(job, [lane for lane in lanes if not lane.task.done()])
    return [_heard(job, lane, cut=lane in running, late=late) for lane in lanes]


async def _wait(job: Job, lanes: Sequence[Lane], settings: ConsensusSettings) -> bool:
    """Wait for all, or for the quorum, or up to the deadline; whether that has passed."""
    quorum = settings.quorum or len(lanes)
    until = job.exchange.deadline
    if settings.deadline_s is not None:
        until = min(until, time.monotonic() + settings.deadline_s)
    while running := [lane.task for lane in lanes if not lane.task.done()]:
        left_s = until - time.monotonic()
        if left_s <= 0:
            return True
        await asyncio.wait(running, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        for lane in lanes:
            if isinstance(lane.error, LedgerUnavailable):
                raise lane.error
        if sum(_has_say(job, lane) for lane in lanes) >= quorum:
            return False
    return False


def _has_say(job: Job, lane: Lane) -> bool:
    committed = lane.committed
    return committed is not None and not _reading(job, lane, committed).trouble


def _reading(job: Job, lane: Lane, committed: Committed) -> Reading:
    if committed.response is None:
        raise AssertionError("what is asked for in one piece comes in one piece")
    return read(lane.target, committed.response, job.asked.request)


def _heard(job: Job, lane: Lane, *, cut: bool, late: bool) -> Heard:
    if committed := lane.committed:
        reading = _reading(job, lane, committed)
        fate: Fate = "unreadable" if reading.trouble else "answered"
        return Heard(lane, fate, reading.trouble, reading, committed)
    if cut:
        return Heard(lane, "given up", "the deadline came first" if late else "the quorum was reached without it")
    match lane.error:
        case NotSent() as error:
            return Heard(lane, "not asked", error.failure.message)
        case ChainExhausted() as error:
            return Heard(lane, "failed", error.describe(job.setup.redactor.clean))
        case Refused() | BadRequest() | AttemptFailed() as error:
            return Heard(lane, "failed", str(error))
        case BaseException() as error:
            raise error  # a bug
        case None:
            raise AssertionError("a lane that was given up has ended")


async def nobody(job: Job, heard: Sequence[Heard]) -> Exception:
    """The error of a round in which nobody has answered; the books say so."""
    running = [one.lane for one in heard if one.fate == "given up"]
    ended = [one.lane for one in heard if one.fate != "given up"]
    error: Exception
    if running:
        failure = Failure("timeout", "no answer before the deadline", 504)
        now = time.monotonic()
        made = [Attempted(lane.target, 0, failure, lane.started, now) for lane in running]
        before = [lane.error for lane in ended if isinstance(lane.error, ChainExhausted)]
        attempts = [attempt for one in before for attempt in one.attempts] + made
        error = ChainExhausted(failure, attempts, [left for one in before for left in one.skipped])
    else:
        error = none_answered(ended)
    if isinstance(error, ChainExhausted | NotSent):
        return await unanswered(job.services, job.setup, job.exchange, error)
    return error
