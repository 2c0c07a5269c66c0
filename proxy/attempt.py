"""One attempt: render the request, send it, and read until the answer is certain to go to the client.

An answer is *committed* at its first content event. Until then everything is held back, so that another target can
take over unseen; a failure up to that point is an AttemptFailed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from proxy.asked import Asked
from proxy.backends.backend import Answer, Backend, BackendError, Call
from proxy.config.model import StructuredSettings
from proxy.conforming import asked_again, judged, must_be_checked, not_fitting
from proxy.continuing import Continued, Sequel, can_continue, followed
from proxy.controls import LossMode
from proxy.errors import Refused, refused
from proxy.exchange import Attempt, Exchange, rate_limit_headers
from proxy.healing import Healer, Treatment
from proxy.live import Live, Pieces
from proxy.media import Fetch
from proxy.prepare import Prepared, prepare, refuse_losses
from proxy.providers import ProviderSpec
from proxy.setup import Key
from proxy.structured import repair_request
from proxy.whole import joined, read_whole
from proxy.wire import Translated
from routing.errors import AttemptFailed
from routing.targets import Target
from storage.errors import LedgerUnavailable
from translators.custom_tools import Restorer
from translators.dialect import Relayed, StreamRelay
from translators.errors import BadRequest
from translators.losses import Loss
from translators.neutral import Failure, Request, Response
from translators.tokens import estimate_request, family
from translators.vaulted import Found

MAX_ERROR_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Committed:
    """An answer that goes to the client: either whole, or *live* with its first frames held."""

    exchange: Exchange
    attempts: list[Attempt]
    prepared: Prepared
    headers: Mapping[str, str] = field(default_factory=dict)
    response: Response | None = None
    gave: Sequence[Response] = ()
    """What each of *attempts* gave of *response*, where it is not one choice each."""
    notes: Sequence[Loss] = ()
    """What is to be said of how a whole answer was made."""
    payload: bytes | None = None
    """The whole answer in the client's dialect, when it was relayed."""
    live: Live | None = None
    continued: Continued | None = None
    """The wire of *live*, where the answer may take several calls."""
    deadline: float = math.inf
    """A moment of `time.monotonic()` at which a stream must have ended."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def enter(self, sending: AbstractAsyncContextManager[Answer]) -> Answer:
        """Hold *sending* open until `close`."""
        return await self._stack.enter_async_context(sending)

    def shares(self, response: Response) -> Sequence[Response]:
        """What each of *attempts* gave of *response*."""
        if self.continued is not None:
            return self.continued.seam.shares(response)
        if self.gave or len(self.attempts) == 1:
            return self.gave or [response]
        return [replace(response, choices=response.choices[at : at + 1]) for at in range(len(self.attempts))]

    async def close(self) -> None:
        """Release the connection; before the end of the answer this cancels the work behind it."""
        await self._stack.aclose()


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
        self._backends = backends
        self._losses = losses
        self._healer = healer
        self._validate = structured.validate_answers
        self._repair = structured.repair
        self._continuations = continuations
        self._recalled = recalled
        self._fetch = fetch
        self._clean = clean
        self._clean_text = clean_text
        self._now = now

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
                refused_one = prepared
                if self._tells_in_full(failed.failure) or treatment.try_again(failed.failure, prepared):
                    prepared = await self._prepared(target, deadline, treatment)
                if prepared.sent != refused_one.sent:
                    continue
                treatment.failed()
                raise
            treatment.worked()
            if committed.notes:
                self._say(committed, committed.notes)
            return await self._fitting(committed, key, deadline)

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
                prepared = await prepare(self._asked, target, spec, self._fetch, treatment.recalled)
                if prepared.stream and self._repair and must_be_checked(self._asked.request, prepared):
                    prepared = await prepare(self._asked, target, spec, self._fetch, treatment.recalled, whole=True)
        except TimeoutError as error:
            raise refused(
                504, "the files of the request did not come in time", kind="timeout", code="media_timeout"
            ) from error
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
        committed = await self._one(prepared, key, deadline)
        if not self._continues(question.request, prepared):
            return committed
        sequel = Sequel(question.request, self._continuations)
        if committed.live is not None:
            committed.live.more = partial(self._more, committed, sequel, question, key)
        else:
            await self._go_on(committed, sequel, question, key, deadline)
        return committed

    def _continues(self, request: Request, prepared: Prepared) -> bool:
        return self._continuations > 0 and can_continue(request, prepared.rules.dialect)

    async def _go_on(
        self, committed: Committed, sequel: Sequel, question: _Question, key: Key | None, deadline: float
    ) -> None:
        """Ask for the rest of a whole answer, and join it."""
        while committed.response and (request := sequel.next(committed.response)):
            try:
                prepared = await self._another(question, committed.prepared, request, whole=True)
                refuse_losses(prepared.losses, prepared.target.name, self._losses)
                committed.attempts[-1].has_ended(committed.attempts[-1].usage)
                more = await self._one(prepared, key, deadline)
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
            await self._one(prepared, key, committed.deadline, onto=committed)
            sequel.came(prepared.losses)
            return Relayed(live.held, ())
        except (AttemptFailed, BadRequest, Refused, LedgerUnavailable) as error:
            sequel.failed(_failure(error))
            return wire.release()
        finally:
            self._say(committed, sequel.notes)

    def _say(self, committed: Committed, notes: Sequence[Loss]) -> None:
        self._exchange.losses = tuple(dict.fromkeys((*committed.prepared.losses, *notes)))

    # --- one call

    async def _one(
        self, prepared: Prepared, key: Key | None, deadline: float, onto: Committed | None = None
    ) -> Committed:
        """Ask once. With *onto* the answer is the rest of that stream."""
        attempt = await self._exchange.begin(prepared.target, key.index if key else None)
        deadline = min(deadline, self._now() + prepared.spec.timeouts.total_s)
        committed = onto or Committed(self._exchange, [], prepared, deadline=deadline)
        try:
            call = self._call(prepared, key, deadline)
            attempt.sent = True
            answer = await committed.enter(self._backends[prepared.target.provider].send(call))
            attempt.http_status = answer.status
            committed.headers = self._exchange.vendor_headers = rate_limit_headers(answer.headers, self._clean_text)
            await self._receive(answer, prepared, committed, attempt, deadline)
            if committed.live is None:
                await committed.close()  # at once: the other calls of a fan-out may wait for the same local model
        except (BackendError, AttemptFailed) as error:
            await committed.close()
            self._exchange.failed(attempt, error.failure)
            raise AttemptFailed(error.failure) from error
        except BaseException:
            await committed.close()
            raise
        committed.attempts.append(attempt)
        if onto is None:
            self._exchange.target = prepared.target
            self._exchange.losses = tuple(prepared.losses)
            self._exchange.report_losses = self._losses != "ignore"
        return committed

    def _call(self, prepared: Prepared, key: Key | None, deadline: float) -> Call:
        left_s = max(0.001, deadline - self._now())
        clock = prepared.spec.timeouts
        return Call(
            model=prepared.target.model,
            body=prepared.body,
            stream=prepared.stream,
            path=prepared.path,
            key=key.secret if key else None,
            headers=prepared.headers,
            timeouts=replace(
                clock,
                first_event_s=min(clock.first_event_s, left_s),
                whole_answer_s=min(clock.whole_answer_s, left_s),
                total_s=min(clock.total_s, left_s),
            ),
        )

    async def _receive(
        self,
        answer: Answer,
        prepared: Prepared,
        committed: Committed,
        attempt: Attempt,
        deadline: float,
    ) -> None:
        """Commit to *answer*, whole or live."""
        left_s = max(0.001, deadline - self._now())
        wait_s = prepared.spec.timeouts.first_event_s - attempt.elapsed_ms() / 1000
        pieces = Pieces(answer)
        if prepared.stream and answer.status < 400 and await self._streams(answer, pieces, min(wait_s, left_s)):
            live = committed.live or await self._new_live(pieces, prepared, committed)
            wait_s = prepared.spec.timeouts.first_event_s - attempt.elapsed_ms() / 1000
            wait_s = max(0.001, min(wait_s, left_s))
            if committed.live is None:
                await live.commit(wait_s)
                committed.live = live
            elif committed.continued is not None:
                parser, restorer = prepared.dialect.StreamParser(prepared.rules), _restorer(prepared)
                committed.continued.resume(parser, restorer, live.collector.response())
                await live.go_on(pieces, wait_s)
        else:
            try:
                async with asyncio.timeout(left_s):
                    raw = await pieces.read()
            except TimeoutError as error:
                raise AttemptFailed(Failure("timeout", "the answer did not end in time", 504)) from error
            if answer.status >= 400:
                raise AttemptFailed(prepared.dialect.parse_error(answer.status, raw[:MAX_ERROR_BYTES], answer.headers))
            response, payload = read_whole(raw, prepared, self._asked)
            if committed.live is not None:
                raise AttemptFailed(Failure("invalid_response", "expected the rest of a stream, found one object", 502))
            committed.response, committed.payload = response, payload
            attempt.usage = response.usage
        self._exchange.saw_first_event(attempt)

    @staticmethod
    async def _streams(answer: Answer, pieces: Pieces, wait_s: float) -> bool:
        """Whether a stream came where one was asked for, and not one JSON object.

        An object is an error in disguise, or the answer of a server that cannot stream. The content type does not
        tell: streams come as application/json, too (Vertex' arrays, OpenAI's own event streams of 2023).
        """
        if answer.headers.get("content-type", "").startswith("application/x-ndjson"):
            return True
        try:
            async with asyncio.timeout(max(0.001, wait_s)):
                first = await pieces.peek()
        except TimeoutError as error:
            raise AttemptFailed(Failure("timeout", f"nothing came within {wait_s:.3g} s", 504)) from error
        return first.lstrip()[:1] != b"{"

    async def _new_live(self, pieces: Pieces, prepared: Prepared, committed: Committed) -> Live:
        wire = await self._wire(prepared)
        if isinstance(wire, Continued):
            committed.continued = wire
        return Live(pieces, wire, lambda failure: self._clean(prepared.spec.name, failure))

    async def _wire(self, prepared: Prepared) -> StreamRelay:
        asked = self._asked
        if prepared.verbatim:
            return asked.dialect.StreamRelay(prepared.rules, asked.reply_to())
        counted = 0
        if asked.wants_count:
            model = family(prepared.target.model)
            counted = (await asyncio.to_thread(estimate_request, asked.request, model)).tokens
        one_choice = asked.request.n in (None, 1)
        kind = Continued if one_choice and self._continues(asked.request, prepared) else Translated
        return kind(prepared.dialect.StreamParser(prepared.rules), asked.renderer(counted), _restorer(prepared))

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


def _restorer(prepared: Prepared) -> Restorer:
    return Restorer(prepared.tool_names, prepared.custom)


def _failure(error: AttemptFailed | BadRequest | Refused | LedgerUnavailable) -> Failure:
    match error:
        case AttemptFailed() | Refused():
            return error.failure
        case BadRequest():
            return Failure("invalid_request", error.message, 400)
        case LedgerUnavailable():
            return Failure("overloaded", str(error), 503)
