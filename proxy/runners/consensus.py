"""`consensus` and `best_match`: several targets are asked, one answer comes out.

ask (panel) -> read (readings) -> agree (agreement) -> deciders, judge, where there are any -> book -> the one answer
                                                                                                  `-> minutes, lessons

Every call is an attempt of the one exchange. The answer's usage is that of all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from proxy.asking import Committed
from proxy.config.model import ConsensusSettings
from proxy.errors import Refused
from proxy.runners import judge, minutes
from proxy.runners.agreement import Agreement, agree
from proxy.runners.branch import Branch
from proxy.runners.cost_cap import CostCap
from proxy.runners.job import Job, ask, give_up
from proxy.runners.panel import Heard, listen, nobody
from proxy.whole import summed
from routing.consensus import Learned
from routing.errors import ChainExhausted, NotSent, RoutingError
from routing.targets import Target
from translators.errors import BadRequest
from translators.losses import distinct
from translators.neutral import Response

HEADER: Final = "x-modelport-consensus"


async def run(job: Job) -> Committed:
    """The answer on which the targets agree, merged field by field where it has fields.

    Raises:
        Refused, BadRequest: nobody has answered.
    """
    return await _at_once(job).answer()


async def best_match(job: Job) -> Committed:
    """One target's whole answer, that with the highest aggregate confidence.

    Raises:
        Refused, BadRequest: nobody has answered.
    """
    return await _at_once(job, "best_match").answer()


def _at_once(job: Job, method: str | None = None) -> Round:
    """The round of a route whose targets are all asked at the same moment."""
    settings = job.setup.consensus(job.route.name)
    targets = list({target.name: target for target in job.usable or job.targets}.values())
    deciders = [Target.parse(settings.escalate)] if settings.escalate else []
    return Round(job, settings, targets, deciders, method)


@dataclass(slots=True)
class Round:
    """One request put to several targets, and to *deciders* one after the other where those disagree.

    *method* None: as it is configured or learnt.
    """

    job: Job
    settings: ConsensusSettings
    targets: Sequence[Target]
    deciders: Sequence[Target] = ()
    method: str | None = None

    async def answer(self) -> Committed:
        """The one answer, booked as far as it can be before it is delivered.

        Raises:
            Refused, BadRequest: nobody has answered.
            LedgerUnavailable: what is asked cannot be booked.
        """
        job, settings = self.job, self.settings
        cap = CostCap(job, settings.max_cost_usd)
        await cap.ready()
        learned = await job.services.lessons.learned(job.route.name)
        heard = await listen(job, self.targets, settings, cap)
        found = await self._agreed(heard, learned)
        if found is None or not found.is_unanimous:
            found = await self._decided(heard, found, cap, learned)
        self._count(heard, found)
        if found is None:
            raise await nobody(job, heard)
        gave = [one.committed for one in heard if one.committed is not None]
        if settings.judge and self.method is None and found.merged.method == "similar":
            found, judging = await self._judged(found, settings.judge, cap)
            gave += judging
        committed = await self._booked(heard, found, gave)
        self._note(heard, found)
        return committed

    async def _agreed(self, heard: Sequence[Heard], learned: Learned) -> Agreement | None:
        """What those who have answered come to; None: nobody has."""
        readings = [one.reading for one in heard if one.reading is not None]
        if not readings:
            return None
        request = self.job.asked.request
        return await asyncio.to_thread(agree, readings, request, learned, self.settings, self.method, asked=len(heard))

    async def _decided(
        self, heard: list[Heard], found: Agreement | None, cap: CostCap, learned: Learned
    ) -> Agreement | None:
        """The answer of the first decider that gives one, else what was *found* before; who is asked joins *heard*."""
        vain: list[str] = []
        for target in self.deciders:
            if target.provider not in self.job.setup.rings:
                vain.append(f"{target.name} could not be asked, its provider is off")
                continue
            (one,) = await listen(self.job, [target], self.settings, cap)
            heard.append(one)
            if one.fate == "answered" and one.reading is not None:
                trust = learned.reliability.of(target.name)
                return found.overruled(one.reading, trust) if found else await self._agreed(heard, learned)
            vain.append(f"{target.name} was asked then and gave no answer ({one.why})")
        found = found or await self._agreed(heard, learned)
        return _besides(found, "; ".join(vain)) if found and vain else found

    async def _judged(self, found: Agreement, name: str, cap: CostCap) -> tuple[Agreement, list[Committed]]:
        """What the judge chooses, with its answer; what was found before where it gives no verdict."""
        job, target = self.job, Target.parse(name)
        if target.provider not in job.setup.rings:
            return _besides(found, f"the judge's provider {target.provider} is off"), []
        places = [at for at, one in enumerate(found.readings) if not one.trouble]
        order = judge.shuffled(len(places), job.services.rng)
        asked, load = judge.question(job.asked, [str(found.readings[places[at]].value) for at in order])
        branch = Branch(job.exchange, cap.allowing(load))
        lane = ask(job, target, branch, asked=asked, whole=True, relays=False)
        try:
            committed = await lane.task
        except (RoutingError, Refused, BadRequest) as error:
            return _besides(found, f"the judge {name} gave no answer ({_told(error)})"), []
        finally:
            if not lane.task.done() or lane.task.cancelled():
                await give_up(job, [lane])
        chosen = judge.verdict(committed.response, len(order)) if committed.response else None
        if chosen is None:
            return _besides(found, f"the judge {name} named none of the answers"), [committed]
        at = places[order[chosen]]
        reason = f"long text: the judge {name} chose {found.readings[at].target.name}'s among {len(order)} answers"
        return found.taking(at, "judge", reason), [committed]

    async def _booked(self, heard: Sequence[Heard], found: Agreement, gave: Sequence[Committed]) -> Committed:
        """The one answer of all calls, with the usage of all of them."""
        exchange, services = self.job.exchange, self.job.services
        base = next(one for one in heard if one.reading is not None and one.target is found.base.target)
        if base.committed is None:
            raise AssertionError("what was read was committed to")
        lost = [loss for one in heard if self._took_part(one, found) for loss in one.lane.branch.losses]
        exchange.target = base.target
        exchange.losses = distinct([*lost, *found.losses])
        exchange.report_losses = base.lane.branch.report_losses
        exchange.has_content()
        parts: list[Response] = []
        for one in gave:
            if one.response is not None:
                parts.extend(one.shares(one.response))
        committed = Committed(
            exchange,
            [attempt for one in gave for attempt in one.attempts],
            base.committed.prepared,
            response=found.response,
            gave=parts,
        )
        await services.account(exchange, committed, found.response)
        alone = sum(one.fate == "answered" for one in heard) < 2
        committed.makeshift = alone and len({target.name for target in self.job.targets}) > 1
        usage = summed([attempt.usage for attempt in exchange.attempts if attempt.usage])
        committed.response = replace(found.response, usage=usage)
        return committed

    @staticmethod
    def _took_part(one: Heard, found: Agreement) -> bool:
        """Whether what its request lost is the answer's loss."""
        if found.as_came:
            return one.target is found.base.target
        return any(one.target is reading.target for reading in found.readings)

    def _count(self, heard: Sequence[Heard], found: Agreement | None) -> None:
        """Count the round for those who look after the house."""
        job, fields = self.job, found.merged.fields.values() if found else ()
        job.services.tally.of_rounds(job.setup, job.route.name, job.route.policy).add(
            [one.fate for one in heard],
            found.agreeing if found else 0,
            abstained=any(field.settled_by == "abstention" for field in fields),
            quorum=self.settings.quorum,
        )

    def _note(self, heard: Sequence[Heard], found: Agreement) -> None:
        """Tell the client how the answer came about, keep the votes, and learn from them."""
        job, merged = self.job, found.merged
        answered = sum(one.fate == "answered" for one in heard)
        asked = sum(one.fate != "not asked" for one in heard)
        told = {
            "method": merged.method,
            "confidence": round(merged.confidence, 3),
            "agreeing": found.agreeing,
            "answers": answered,
            "asked": asked,
        }
        job.exchange.more_headers[HEADER] = (
            f"method={merged.method}; confidence={merged.confidence:.3f};"
            f" agreeing={found.agreeing}/{answered}; asked={asked}"
        )
        job.exchange.remarks["consensus"] = {**told, "reason": merged.reason}
        known = {one.target.name for one in heard}
        passed_over = {
            target: "it did not have to decide" if target in self.deciders else "its breaker is open or its keys rest"
            for target in job.targets
            if target.name not in known
        }
        kept = minutes.of(job, heard, found, passed_over)
        job.services.history.keep(job.exchange.id, job.route.name, kept, self.settings.keep_answers_s)
        if answered > 1:
            job.services.lessons.observe(job.route.name, job.exchange.id, found.group.answers, found.options)


def _besides(found: Agreement, why: str) -> Agreement:
    return replace(found, merged=replace(found.merged, reason=f"{found.merged.reason}; {why}"))


def _told(error: Exception) -> str:
    if isinstance(error, ChainExhausted):
        return str(error)
    return error.failure.message if isinstance(error, NotSent | Refused) else str(error)
