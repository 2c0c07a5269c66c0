"""`race`: a second target is asked where the first one is late; the first content wins.

first target --content--> it is the answer
      | late (`routing.hedging`)              fails before content: the next target, as in a failover
      v
second target beside it --whoever gives content first--> the answer; the other is cancelled and booked `aborted`

At most two are at work at a time. Both book and reserve as any attempt does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.asking import Committed
from proxy.chain import unanswered
from proxy.runners.branch import Branch
from proxy.runners.job import Job, Lane, ask, first, give_up, none_answered
from routing.errors import ChainExhausted, NotSent
from routing.hedging import UNKNOWN_MS
from routing.retry import action_for
from routing.targets import Target


async def run(job: Job) -> Committed:
    """The answer of the target that was first to give content.

    Raises:
        Refused: none gave any.
    """
    targets = job.usable
    if len(targets) < 2:
        return await first(job)
    job.services.hedging.purse(job.route.name).request(job.setup.race(job.route.name).max_extra)
    race = _Race(job, targets)
    winner: Lane | None = None
    try:
        winner = await race.winner()
    except (ChainExhausted, NotSent) as error:
        raise await unanswered(job.services, job.setup, job.exchange, error) from error
    finally:
        race.learn(winner)
        await give_up(job, race.count(winner))
    winner.branch.adopt()
    return winner.task.result()


class _Race:
    """The lanes of one race, in the order in which they began."""

    def __init__(self, job: Job, targets: Sequence[Target]) -> None:
        self.job = job
        self.settings = job.setup.race(job.route.name)
        self.stream = job.asked.request.stream
        self.waiting = list(targets)
        self.lanes: list[Lane] = []
        self.hedged = False
        self.second: Lane | None = None
        """Who was asked beside one that was late."""
        self.tally = job.services.tally.of_race(job.setup, job.route.name)
        self.tally.races += 1

    async def winner(self) -> Lane:
        """The lane that answers first.

        Raises:
            ChainExhausted, NotSent: none did.
        """
        self._start()
        while True:
            running = [lane for lane in self.lanes if not lane.task.done()]
            tasks = [lane.task for lane in running]
            done, _ = await asyncio.wait(
                tasks, timeout=self._patience_s(running[-1]), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                self._hedge(running[-1])
                continue
            if found := next((lane for lane in self.lanes if lane.committed), None):
                return found
            ended = all(lane.task.done() for lane in self.lanes)
            for lane in running:
                if lane.error is not None and self._ends_all(lane.error) and (ended or lane is self.lanes[0]):
                    raise lane.error
            if ended and not self._goes_on():
                raise none_answered(self.lanes)

    def learn(self, winner: Lane | None) -> None:
        """Remember how long first events took, of those that were waited for in vain as a lower bound."""
        hedging = self.job.services.hedging
        for lane in self.lanes:
            if not lane.branch.attempts or not lane.branch.attempts[-1].sent:
                continue
            attempt = lane.branch.attempts[-1]
            if lane is winner:
                hedging.came(lane.target.name, attempt.first_event_ms or attempt.elapsed_ms(), stream=self.stream)
            elif not _has_failed(lane) or _ran_out_of_time(lane):
                waited_ms = attempt.elapsed_ms()
                hedging.gave_up(lane.target.name, waited_ms, stream=self.stream, share=self.settings.max_extra)

    def count(self, winner: Lane | None) -> list[Lane]:
        """The lanes that are to be given up, which are counted."""
        losers = [lane for lane in self.lanes if lane is not winner and not _has_failed(lane)]
        self.tally.won_by_second += winner is not None and winner is self.second
        self.tally.cancelled += sum(not lane.task.done() for lane in losers)
        for attempt in [attempt for lane in losers if winner for attempt in lane.branch.attempts]:
            attempt.in_vain = self.tally.pay
        return losers

    def _goes_on(self) -> bool:
        """Ask the next target after all that were asked have failed; False: there is none that may be asked."""
        budget = self.job.services.retry_budget
        while self.waiting:
            well = self.job.services.breakers.of(self.waiting[0]).well
            if well or budget.allows():
                budget.went_on(well=well)
                self._start()
                return True
            self.waiting.pop(0)
        return False

    def _start(self) -> None:
        target = self.waiting.pop(0)
        self.lanes.append(ask(self.job, target, Branch(self.job.exchange), once=bool(self.waiting)))

    def _patience_s(self, newest: Lane) -> float | None:
        if self.hedged or not self.waiting:
            return None
        return max(0.0, self._late_after_ms(newest.target) - newest.waited_ms) / 1000

    def _late_after_ms(self, target: Target) -> float:
        if self.settings.delay_ms is not None:
            return self.settings.delay_ms
        known = self.job.services.hedging.late_after_ms(target.name, stream=self.stream, share=self.settings.max_extra)
        return UNKNOWN_MS if known is None else known

    def _hedge(self, late: Lane) -> None:
        """Ask a second target, if the route's requests have earned that."""
        self.hedged = True
        if not self.job.services.hedging.purse(self.job.route.name).pays():
            self.tally.unpaid += 1
            return
        self.job.exchange.remarks["race"] = {"late": late.target.name, "after_ms": round(late.waited_ms, 1)}
        self.tally.hedged += 1
        self._start()
        self.second = self.lanes[-1]

    def _ends_all(self, error: BaseException) -> bool:
        """Whether a failover would go no further after it: it speaks of the request, not of the target."""
        if isinstance(error, NotSent):
            return False
        if isinstance(error, ChainExhausted):
            return action_for(error.failure, self.job.route.fallback_on) == "stop"
        return True


def _has_failed(lane: Lane) -> bool:
    return lane.task.done() and lane.committed is None


def _ran_out_of_time(lane: Lane) -> bool:
    return isinstance(lane.error, ChainExhausted) and lane.error.failure.kind == "timeout"
