"""One attempt at one target: as many calls as it takes until the answer is certain to go to the client.

One call is the rule (`asking`). More are made for several choices where the target gives one, without what the target
has refused (`healing`), for the rest of an answer that it interrupted (`continuing`), and for the JSON that it owes
(`conforming`). The next target never knows of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from proxy.asked import Asked
from proxy.asking import Asker, Begun, Committed
from proxy.backends.backend import Backend
from proxy.config.model import StructuredSettings
from proxy.conforming import Judged, asked_again, fewer, judged, mended, must_be_checked, not_fitting, unshown
from proxy.continuing import Sequel, followed
from proxy.controls import LossMode
from proxy.errors import Refused, failure_of, refused
from proxy.exchange import Attempt, Books
from proxy.healing import Healer, Treatment
from proxy.media import Fetch, Fetched
from proxy.prepare import Prepared, dialect_for, differences, prepare, refuse_losses
from proxy.providers import ProviderSpec
from proxy.setup import Key
from proxy.structured import repair_request
from proxy.whole import joined
from routing.errors import AttemptFailed, NotSent, Unfit
from routing.targets import Target
from storage.errors import LedgerUnavailable
from translators.complaints import in_clients_words
from translators.dialect import Relayed, Rules
from translators.errors import BadRequest
from translators.losses import Loss
from translators.neutral import Failure, Request, Response, Source
from translators.vaulted import Found

T = TypeVar("T")

MOST_REPAIRS_AT_ONCE: Final = 8
"""Choices that are asked for again side by side."""


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
        exchange: Books,
        specs: Mapping[str, ProviderSpec],
        backends: Mapping[str, Backend],
        *,
        losses: LossMode,
        healer: Healer,
        structured: StructuredSettings,
        continuations: int = 0,
        recalled: Mapping[bytes, Found] | None = None,
        fetch: Fetch,
        price: Callable[[Attempt, Response | None], Awaitable[None]],
        clean: Callable[[str, Failure], Failure],
        clean_text: Callable[[str], str],
        whole: bool = False,
        relays: bool = True,
        resumes: bool = False,
        begun: Begun | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """With *whole* answers are asked for in one piece; without *relays* the client's bytes are not what is asked.

        With *resumes* the answer is of a form that another target can go on with.
        """
        self._asked = asked
        self._exchange = exchange
        self._specs = specs
        self._whole = whole
        self._relays = relays and not resumes
        self._losses = losses
        self._healer = healer
        self._validate = structured.validate_answers
        self._repair = structured.repair
        self._continuations = continuations
        self._recalled = recalled
        self._fetch = Fetched(fetch).fetch
        self._now = now
        self._asker = Asker(
            asked,
            exchange,
            backends,
            continuations=continuations,
            report_losses=losses != "ignore",
            unfences=structured.validate_answers,
            resumes=resumes,
            price=price,
            clean=clean,
            clean_text=clean_text,
            begun=begun,
            now=now,
        )

    async def attempt(self, target: Target, key: Key | None, deadline: float) -> Committed:
        """Ask *target*.

        Raises:
            AttemptFailed: it gave no answer.
            Unfit: the request cannot be put to it, or not without a loss that the client refuses.
            LedgerUnavailable: the attempt could not be booked, so it was not made.
        """
        treatment = Treatment(self._healer, self._asked.request, target, self._recalled)
        try:
            prepared = await self._prepared(target, deadline, treatment)
        except (BadRequest, Refused) as error:
            raise Unfit(failure_of(error)) from error
        while True:
            question = _Question(self._asked.request, treatment.recalled)
            try:
                if prepared.fan_out > 1:
                    committed = await self._fan_out(question, prepared, key, deadline)
                else:
                    committed = await self._full(question, prepared, key, deadline)
            except NotSent:
                treatment.failed()
                raise
            except AttemptFailed as failed:
                mended = await self._mended(failed.failure, prepared, treatment, deadline)
                if mended is None:
                    treatment.failed()
                    told = in_clients_words(
                        _of_one_call(failed.failure, prepared), self._asked.request, prepared.rules.dialect
                    )
                    raise type(failed)(told) from failed
                prepared = mended
                continue
            treatment.worked(prepared)
            if committed.notes:
                self._say(committed, committed.notes)
            committed = await self._fitting(committed, key, deadline)
            self._say_what_is_not_shown(committed)
            return committed

    async def _mended(
        self, failure: Failure, refused_one: Prepared, treatment: Treatment, deadline: float
    ) -> Prepared | None:
        """The request as the target may take it after all; None when there is nothing else to be said."""
        target = refused_one.target
        if self._tells_in_full(failure, target.provider) or treatment.try_again(failure, refused_one):
            try:
                prepared = await self._prepared(target, deadline, treatment)
            except (BadRequest, Refused) as error:
                treatment.failed()
                raise Unfit(failure_of(error), failure) from error
            if prepared.sent != refused_one.sent:
                return prepared
        if self._asked.memory is None and treatment.may_render(failure, refused_one):
            try:
                prepared = await self._prepared(target, deadline, treatment)
            except (BadRequest, Refused):
                return None  # the vendor's own words tell more
            if unlike := differences(prepared, refused_one):
                treatment.renders(failure, refused_one, unlike)
                return prepared
        return None

    def _tells_in_full(self, failure: Failure, provider: str) -> bool:
        """Whether the vendor does not know what the request refers to, and it can be told instead."""
        told = self._asked.memory.told_otherwise(failure, provider) if self._asked.memory else None
        if told is None:
            return False
        self._asked = replace(self._asked, memory=told)
        return True

    async def _prepared(self, target: Target, deadline: float, treatment: Treatment) -> Prepared:
        async def fetch(url: str, kinds: tuple[str, ...], place: str) -> Source:
            try:
                async with asyncio.timeout(max(0.001, deadline - self._now())):
                    return await self._fetch(url, kinds, place)
            except TimeoutError as error:
                late = "the files of the request did not come in time"
                raise refused(504, late, kind="timeout", code="media_timeout") from error

        may_relay = treatment.relays and self._relays
        ask = partial(prepare, self._asked, target, self._specs[target.provider], fetch, treatment.recalled)
        prepared = await ask(whole=self._whole, may_relay=may_relay)
        if prepared.stream and self._repair and must_be_checked(self._asked.request, prepared):
            prepared = await ask(whole=True, may_relay=may_relay)
        refuse_losses(prepared.losses, prepared.target.name, self._losses)
        return prepared

    async def _fitting(self, committed: Committed, key: Key | None, deadline: float) -> Committed:
        """*committed*, or what the target says when it is asked once more for the JSON that it owes."""
        request, response = self._asked.request, committed.response
        if response is None or not self._validate or not must_be_checked(request, committed.prepared):
            return committed
        verdict = judged(response, request)
        if verdict.response is not response:
            committed.response, committed.payload = verdict.response, None
        losses = [*self._exchange.losses, *verdict.losses]
        if verdict.wrong and self._repair:
            again = await self._repaired(committed, verdict, key, deadline)
            if again:
                committed = _joined(committed, verdict.response, again)
                losses.append(asked_again(request, len(again)))
                losses.extend(note for one in again.values() for note in one.notes)
                verdict = judged(mended(verdict.response, {at: _said(one) for at, one in again.items()}), request)
                committed.response = verdict.response
                losses.extend(verdict.losses)
        if verdict.wrong:
            losses.append(not_fitting(request, verdict.wrong))
        self._exchange.losses = tuple(dict.fromkeys(losses))
        return committed

    def _say_what_is_not_shown(self, committed: Committed) -> None:
        """Of a whole answer, which is known before its head leaves; a stream's closing receipt says it."""
        if committed.response is not None:
            late = fewer(self._asked.request, committed.response)
            if committed.payload is None:
                late += unshown(self._asked, committed.response)
            if late:
                self._exchange.losses = (*self._exchange.losses, *late)

    async def _repaired(
        self, committed: Committed, verdict: Judged, key: Key | None, deadline: float
    ) -> dict[int, Committed]:
        """What the target says when it is asked once more, for each choice that does not fit; without those that fail.

        Raises:
            LedgerUnavailable: a call could not be booked.
        """
        prepared = committed.prepared
        for attempt in committed.attempts:
            attempt.has_ended(attempt.usage)
        gate = asyncio.Semaphore(1 if prepared.spec.one_at_a_time else MOST_REPAIRS_AT_ONCE)

        async def one(place: int, wrong: Sequence[str]) -> Committed | None:
            choice = replace(verdict.response.choices[place], index=0)
            async with gate:
                try:
                    response = replace(verdict.response, choices=(choice,))
                    again = await self._asked_again(prepared, response, wrong, key, deadline)
                except (AttemptFailed, BadRequest):
                    return None
                return again if again.response is not None and again.response.choices else None

        misfits = verdict.misfits
        answers = await self._side_by_side([one(place, wrong) for place, wrong in misfits.items()])
        return {place: answer for place, answer in zip(misfits, answers, strict=True) if answer is not None}

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

    def rules_of(self, target: Target) -> Rules:
        """What *target* takes."""
        spec = self._specs[target.provider]
        return spec.rules(target.model, dialect_for(self._asked.request, spec, target.model))

    async def go_on(
        self, target: Target, key: Key | None, deadline: float, request: Request, onto: Committed
    ) -> Committed:
        """The rest of *onto*'s stream, which another target has begun; *request* asks for it. Raises as `attempt`."""
        asked, spec = replace(self._asked, request=request), self._specs[target.provider]
        prepared = await prepare(asked, target, spec, self._fetch, self._recalled, whole=False, may_relay=False)
        refuse_losses(prepared.losses, target.name, self._losses)
        return await self._asker.ask(prepared, key, deadline, onto=onto)

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
                sequel.failed(failure_of(error))
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
            sequel.failed(failure_of(error))
            return wire.release()
        finally:
            self._say(committed, sequel.notes)

    def _say(self, committed: Committed, notes: Sequence[Loss]) -> None:
        self._exchange.losses = tuple(dict.fromkeys((*committed.prepared.losses, *committed.said, *notes)))

    async def _fan_out(self, question: _Question, prepared: Prepared, key: Key | None, deadline: float) -> Committed:
        """Ask as often as choices are wanted, and join the answers (WIRE case 6)."""
        gate = asyncio.Semaphore(1 if prepared.spec.one_at_a_time else prepared.fan_out)

        async def one() -> Committed:
            async with gate:
                return await self._full(question, prepared, key, deadline)

        answers = await self._side_by_side([one() for _ in range(prepared.fan_out)])
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

    async def _side_by_side(self, calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """What all of *calls* give; when one fails the others are given up, and booked so."""
        before = len(self._exchange.attempts)
        running = [asyncio.ensure_future(call) for call in calls]
        try:
            return await asyncio.gather(*running)
        except BaseException:
            for call in running:
                call.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for attempt in self._exchange.attempts[before:]:
                attempt.abandoned = True
            raise


def _said(committed: Committed) -> Response:
    if committed.response is None:
        raise AssertionError("what is asked for in one piece comes in one piece")
    return committed.response


def _joined(first: Committed, response: Response, again: Mapping[int, Committed]) -> Committed:
    """*first*, which gave *response*, and the calls that mended its choices: one answer, yet to be put together."""
    last = list(again.values())[-1]
    return Committed(
        first.exchange,
        [*first.attempts, *(attempt for one in again.values() for attempt in one.attempts)],
        last.prepared,
        last.headers,
        response=response,
        gave=[*first.shares(response), *(part for one in again.values() for part in one.shares(_said(one)))],
    )


def _of_one_call(failure: Failure, prepared: Prepared) -> Failure:
    """*failure*, saying that it was one call's where each choice took a call."""
    if prepared.fan_out < 2:
        return failure
    return replace(failure, message=f"{failure.message} (one of {prepared.fan_out} calls, one for each choice)")
