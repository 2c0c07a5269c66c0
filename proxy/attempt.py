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
from typing import Final

from proxy.asked import Asked
from proxy.backends.backend import Answer, Backend, BackendError, Call
from proxy.config.model import StructuredSettings
from proxy.conforming import asked_again, judged, must_be_checked, not_fitting
from proxy.controls import LossMode
from proxy.errors import refused
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
from translators.custom_tools import Restorer
from translators.dialect import StreamRelay
from translators.errors import BadRequest
from translators.neutral import Failure, Response
from translators.tokens import estimate_request, family
from translators.vaulted import Found

MAX_ERROR_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Committed:
    """An answer that goes to the client: either whole, or *live* with its first frames held."""

    exchange: Exchange
    attempts: Sequence[Attempt]
    prepared: Prepared
    headers: Mapping[str, str] = field(default_factory=dict)
    response: Response | None = None
    payload: bytes | None = None
    """The whole answer in the client's dialect, when it was relayed."""
    live: Live | None = None
    deadline: float = math.inf
    """A moment of `time.monotonic()` at which a stream must have ended."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def enter(self, sending: AbstractAsyncContextManager[Answer]) -> Answer:
        """Hold *sending* open until `close`."""
        return await self._stack.enter_async_context(sending)

    async def close(self) -> None:
        """Release the connection; before the end of the answer this cancels the work behind it."""
        await self._stack.aclose()


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
            try:
                if prepared.fan_out > 1:
                    committed = await self._fan_out(prepared, key, deadline)
                else:
                    committed = await self._one(prepared, key, deadline)
            except AttemptFailed as failed:
                refused_one = prepared
                if treatment.try_again(failed.failure, prepared):
                    prepared = await self._prepared(target, deadline, treatment)
                if prepared.sent != refused_one.sent:
                    continue
                treatment.failed()
                raise
            treatment.worked()
            return await self._fitting(committed, key, deadline)

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
                losses.append(asked_again(request))
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
        asked = replace(self._asked, request=repair_request(self._asked.request, response, wrong))
        prepared = await prepare(
            asked, first.target, first.spec, self._fetch, self._recalled, whole=True, may_relay=False
        )
        return await self._one(prepared, key, deadline)

    async def _one(self, prepared: Prepared, key: Key | None, deadline: float) -> Committed:
        attempt = await self._exchange.begin(prepared.target, key.index if key else None)
        deadline = min(deadline, self._now() + prepared.spec.timeouts.total_s)
        committed = Committed(self._exchange, [attempt], prepared, deadline=deadline)
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
            wire = await self._wire(prepared)
            live = Live(pieces, wire, lambda failure: self._clean(prepared.spec.name, failure))
            wait_s = prepared.spec.timeouts.first_event_s - attempt.elapsed_ms() / 1000
            await live.commit(max(0.001, min(wait_s, left_s)))
            committed.live = live
        else:
            try:
                async with asyncio.timeout(left_s):
                    raw = await pieces.read()
            except TimeoutError as error:
                raise AttemptFailed(Failure("timeout", "the answer did not end in time", 504)) from error
            if answer.status >= 400:
                raise AttemptFailed(prepared.dialect.parse_error(answer.status, raw[:MAX_ERROR_BYTES], answer.headers))
            committed.response, committed.payload = read_whole(raw, prepared, self._asked)
            attempt.usage = committed.response.usage
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

    async def _wire(self, prepared: Prepared) -> StreamRelay:
        asked = self._asked
        if prepared.verbatim:
            return asked.dialect.StreamRelay(prepared.rules, asked.reply_to())
        restorer = Restorer(prepared.tool_names, prepared.custom)
        counted = 0
        if asked.wants_count:
            model = family(prepared.target.model)
            counted = (await asyncio.to_thread(estimate_request, asked.request, model)).tokens
        return Translated(prepared.dialect.StreamParser(prepared.rules), asked.renderer(counted), restorer)

    async def _fan_out(self, prepared: Prepared, key: Key | None, deadline: float) -> Committed:
        """Ask as often as choices are wanted, and join the answers (WIRE case 6)."""
        before = len(self._exchange.attempts)
        gate = asyncio.Semaphore(1 if prepared.spec.one_at_a_time else prepared.fan_out)

        async def one() -> Committed:
            async with gate:
                return await self._one(prepared, key, deadline)

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
        )
