"""One attempt at one target: as many calls as it takes until the answer is certain to go to the client.

One call is the rule (`asking`). More are made for several choices where the target gives one, without what the target
has refused (`healing`), for the rest of an answer that it interrupted (`continuing`), and for the JSON that it owes
(`conforming`). The next target never knows of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from proxy.asked import Asked
from proxy.asking import Asker, Committed
from proxy.backends.backend import Backend
from proxy.config.model import StructuredSettings
from proxy.conforming import asked_again, broken_calls, judged, must_be_checked, not_fitting
from proxy.continuing import Sequel, followed
from proxy.controls import LossMode
from proxy.errors import Refused, refused
from proxy.exchange import Exchange
from proxy.healing import Healer, Treatment, says_otherwise
from proxy.media import Fetch
from proxy.prepare import Prepared, prepare, refuse_losses
from proxy.providers import ProviderSpec
from proxy.setup import Key
from proxy.structured import repair_request
from proxy.whole import joined
from routing.errors import AttemptFailed
from routing.targets import Target
from storage.errors import LedgerUnavailable
from translators.dialect import Relayed
from translators.errors import BadRequest
from translators.losses import Loss
from translators.neutral import Failure, Request, Response
from translators.vaulted import Found


@dataclass(frozen=True, slots=True)
class _Question:
    """What a target is asked, and what of the conversation's reasoning is kept; see `prepare`."""

    request: Request
    recalled: Mapping[bytes, Found] | None


class Attempter:
    """Makes attempts for one exchange; `attempt` is what the executor calls."""

    def __init__(
        self,
        asked: Asked,
        exchange: Exchange,
        specs: Mapping[str, ProviderSpec],
        backends: Mapping[str, Backend],
        *,
        losses: LossMode,
        healer: Healer,
        structured: StructuredSettings,
        continuations: int = 0,
        recalled: Mapping[bytes, Found] | None = None,
        fetch: Fetch,
        clean: Callable[[str, Failure], Failure],
        clean_text: Callable[[str], str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asked = asked
        self._exchange = exchange
        self._specs = specs
        self._losses = losses
        self._healer = healer
        self._validate = structured.validate_answers
        self._repair = structured.repair
        self._continuations = continuations
        self._recalled = recalled
        self._fetch = fetch
        self._now = now
        self._asker = Asker(
            asked,
            exchange,
            backends,
            continuations=continuations,
            report_losses=losses != "ignore",
            clean=clean,
            clean_text=clean_text,
            now=now,
        )

    async def attempt(self, target: Target, key: Key | None, deadline: float) -> Committed:
        """Ask *target*.

        Raises:
            AttemptFailed: it gave no answer.
            Refused, BadRequest: the request cannot be put to it, or a loss that the client refuses.
            LedgerUnavailable: the attempt could not be booked, so it was not made.
        """
        treatment = Treatment(self._healer, self._asked.request, target, self._recalled)
        prepared = await self._prepared(target, deadline, treatment)
        while True:
            question = _Question(self._asked.request, treatment.recalled)
            try:
                if prepared.fan_out > 1:
                    committed = await self._fan_out(question, prepared, key, deadline)
                else:
                    committed = await self._full(question, prepared, key, deadline)
            except AttemptFailed as failed:
                mended = await self._mended(failed.failure, prepared, treatment, deadline)
                if mended is None:
                    treatment.failed()
                    raise
                prepared = mended
                continue
            treatment.worked()
            if committed.notes:
                self._say(committed, committed.notes)
            return await self._fitting(committed, key, deadline)

    async def _mended(
        self, failure: Failure, refused_one: Prepared, treatment: Treatment, deadline: float
    ) -> Prepared | None:
        """The request as the target may take it after all; None when there is nothing else to be said."""
        target = refused_one.target
        if self._tells_in_full(failure) or treatment.try_again(failure, refused_one):
            prepared = await self._prepared(target, deadline, treatment)
            if prepared.sent != refused_one.sent:
                return prepared
        if self._asked.memory is None and treatment.may_render(failure, refused_one):
            try:
                prepared = await self._prepared(target, deadline, treatment)
            except BadRequest:
                return None  # the vendor's own words tell more
            if set(prepared.losses) - set(refused_one.losses) or says_otherwise(prepared.body, refused_one.body):
                return prepared
        return None

    def _tells_in_full(self, failure: Failure) -> bool:
        """Whether the vendor has forgotten what the request refers to, and it can be told instead."""
        memory = self._asked.memory
        if memory is None or memory.past is None or memory.forgotten or failure.code != "previous_response_not_found":
            return False
        self._asked = replace(self._asked, memory=replace(memory, forgotten=True))
        return True

    async def _prepared(self, target: Target, deadline: float, treatment: Treatment) -> Prepared:
        try:
            async with asyncio.timeout(max(0.001, deadline - self._now())):
                spec = self._specs[target.provider]
                prepared = await prepare(
                    self._asked, target, spec, self._fetch, treatment.recalled, may_relay=treatment.relays
                )
                if prepared.stream and self._repair and must_be_checked(self._asked.request, prepared):
                    prepared = await prepare(
                        self._asked,
                        target,
                        spec,
                        self._fetch,
                        treatment.recalled,
                        whole=True,
                        may_relay=treatment.relays,
                    )
        except TimeoutError as error:
            raise refused(
                504, "the files of the request did not come in time", kind="timeout", code="media_timeout"
            ) from error
        refuse_losses(prepared.losses, prepared.target.name, self._losses)
        return prepared

    async def _fitting(self, committed: Committed, key: Key | None, deadline: float) -> Committed:
        """*committed*, or what the target says when it is asked once more for the JSON that it owes."""
        request, response = self._asked.request, committed.response
        if response is not None and self._asked.dialect.ARGUMENTS_ARE_OBJECTS and not committed.prepared.verbatim:
            self._exchange.losses = (*self._exchange.losses, *broken_calls(response))
        if response is None or not self._validate or not must_be_checked(request, committed.prepared):
            return committed
        verdict = judged(response, request)
        if verdict.response is not response:
            committed.response, committed.payload = verdict.response, None
        losses = [*self._exchange.losses, *verdict.losses]
        if verdict.wrong and self._repair and len(response.choices) == 1:
            try:
                again = await self._asked_again(committed.prepared, response, verdict.wrong, key, deadline)
            except (AttemptFailed, BadRequest):
                again = None
            if again is not None and again.response is not None:
                losses.extend((asked_again(request), *again.notes))
                committed, verdict = again, judged(again.response, request)
                committed.response, committed.payload = verdict.response, None
                losses.extend(verdict.losses)
        if verdict.wrong:
            losses.append(not_fitting(request, verdict.wrong))
        self._exchange.losses = tuple(losses)
        return committed

    async def _asked_again(
        self, first: Prepared, response: Response, wrong: Sequence[str], key: Key | None, deadline: float
    ) -> Committed:
        question = _Question(repair_request(self._asked.request, response, wrong), self._recalled)
        prepared = await self._another(question, first, question.request, whole=True)
        return await self._full(question, prepared, key, deadline)

    async def _another(self, question: _Question, first: Prepared, request: Request, *, whole: bool) -> Prepared:
        """*request*, which grew out of *question*, for the target of *first*."""
        asked = replace(self._asked, request=request)
        return await prepare(
            asked, first.target, first.spec, self._fetch, question.recalled, whole=whole, may_relay=False
        )

    # --- answers that take several calls

    async def _full(self, question: _Question, prepared: Prepared, key: Key | None, deadline: float) -> Committed:
        """Ask once, and again for the rest of an answer that its vendor interrupts."""
        committed = await self._asker.ask(prepared, key, deadline)
        if not self._asker.continues(question.request, prepared):
            return committed
        sequel = Sequel(question.request, self._continuations)
        if committed.live is not None:
            committed.live.more = partial(self._more, committed, sequel, question, key)
        else:
            await self._go_on(committed, sequel, question, key, deadline)
        return committed

    async def _go_on(
        self, committed: Committed, sequel: Sequel, question: _Question, key: Key | None, deadline: float
    ) -> None:
        """Ask for the rest of a whole answer, and join it."""
        while committed.response and (request := sequel.next(committed.response)):
            try:
                prepared = await self._another(question, committed.prepared, request, whole=True)
                refuse_losses(prepared.losses, prepared.target.name, self._losses)
                committed.attempts[-1].has_ended(committed.attempts[-1].usage)
                more = await self._asker.ask(prepared, key, deadline)
            except (AttemptFailed, BadRequest, Refused, LedgerUnavailable) as error:
                sequel.failed(_failure(error))
                break
            if more.response is None:
                raise AssertionError("what is asked for in one piece comes in one piece")
            sequel.came(prepared.losses)
            committed.attempts += more.attempts
            committed.gave = [*(committed.gave or [committed.response]), more.response]
            committed.response, committed.payload = followed(committed.response, more.response), None
            committed.headers = more.headers
        committed.notes = sequel.notes
        self._exchange.losses = tuple(committed.prepared.losses)

    async def _more(self, committed: Committed, sequel: Sequel, question: _Question, key: Key | None) -> Relayed | None:
        """What comes after the end of a call's stream: the beginning of the next call's, or the end that was held back.

        None when nothing was.
        """
        live, wire = committed.live, committed.continued
        if live is None or wire is None or wire.seam.finish is None:
            return None
        try:
            if (request := sequel.next(wire.paused(live.collector.response()))) is None:
                return wire.release()
            prepared = await self._another(question, committed.prepared, request, whole=False)
            refuse_losses(prepared.losses, prepared.target.name, self._losses)
            committed.attempts[-1].has_ended(wire.seam.usage)
            await self._asker.ask(prepared, key, committed.deadline, onto=committed)
            sequel.came(prepared.losses)
            return Relayed(live.held, ())
        except (AttemptFailed, BadRequest, Refused, LedgerUnavailable) as error:
            sequel.failed(_failure(error))
            return wire.release()
        finally:
            self._say(committed, sequel.notes)

    def _say(self, committed: Committed, notes: Sequence[Loss]) -> None:
        self._exchange.losses = tuple(dict.fromkeys((*committed.prepared.losses, *notes)))

    async def _fan_out(self, question: _Question, prepared: Prepared, key: Key | None, deadline: float) -> Committed:
        """Ask as often as choices are wanted, and join the answers (WIRE case 6)."""
        before = len(self._exchange.attempts)
        gate = asyncio.Semaphore(1 if prepared.spec.one_at_a_time else prepared.fan_out)

        async def one() -> Committed:
            async with gate:
                return await self._full(question, prepared, key, deadline)

        calls = [asyncio.ensure_future(one()) for _ in range(prepared.fan_out)]
        try:
            answers = await asyncio.gather(*calls)
        except BaseException:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            for attempt in self._exchange.attempts[before:]:
                attempt.abandoned = True
            raise
        for answer in answers:
            await answer.close()
        return Committed(
            self._exchange,
            [attempt for answer in answers for attempt in answer.attempts],
            prepared,
            answers[0].headers,
            response=joined([answer.response for answer in answers if answer.response]),
            gave=[part for answer in answers if answer.response for part in answer.shares(answer.response)],
            notes=[note for answer in answers for note in answer.notes],
        )


def _failure(error: AttemptFailed | BadRequest | Refused | LedgerUnavailable) -> Failure:
    match error:
        case AttemptFailed() | Refused():
            return error.failure
        case BadRequest():
            return Failure("invalid_request", error.message, 400)
        case LedgerUnavailable():
            return Failure("overloaded", str(error), 503)
