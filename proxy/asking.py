"""One call: book it, send what was prepared, and read until the answer is certain to go to the client.

An answer is *committed* at its first content event. Until then everything is held back, so that another target can
take over unseen; a failure up to that point is an AttemptFailed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from proxy.asked import Asked
from proxy.backends.backend import Answer, Backend, BackendError, Call, OwnFault, Timeouts
from proxy.backends.http import HttpAnswer
from proxy.conforming import must_be_checked, taken_out
from proxy.continuing import Continued, can_continue
from proxy.exchange import Attempt, Books, judged, rate_limit_headers
from proxy.live import Live, Pieces, of_an_answer
from proxy.prepare import Prepared
from proxy.setup import Key
from proxy.threads import THREAD_BYTES, threaded
from proxy.unfencing import Unfencer, Watched
from proxy.whole import read_whole, usage_seen
from proxy.wire import Translated
from routing.errors import AttemptFailed
from routing.targets import Target
from translators.complaints import in_clients_words
from translators.custom_tools import Restorer
from translators.dialect import Wire
from translators.losses import Loss
from translators.moulds import Moulded
from translators.neutral import Failure, Request, Response
from translators.tokens import estimate_request, family

MAX_ERROR_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that the fast lane has made and booked: its *attempt*, and the *failure* that came of it."""

    attempt: Attempt
    failure: Failure

    @property
    def key(self) -> Mapping[Target, int]:
        """Which key of which target it used."""
        return {self.attempt.target: self.attempt.key_index or 0}

    def asked(self, target: Target, key_index: int | None) -> bool:
        """Whether it was made to *target* with that key."""
        return (self.attempt.target, self.attempt.key_index) == (target, key_index)


@dataclass(slots=True)
class Committed:
    """An answer that goes to the client: either whole, or *live* with its first frames held."""

    exchange: Books
    attempts: list[Attempt]
    prepared: Prepared
    headers: Mapping[str, str] = field(default_factory=dict)
    response: Response | None = None
    gave: Sequence[Response] = ()
    """What each of *attempts* gave of *response*, where it is not one choice each."""
    notes: Sequence[Loss] = ()
    """What is to be said of how a whole answer was made."""
    said: list[Loss] = field(default_factory=list)
    """What was done to a stream on its way."""
    payload: bytes | None = None
    """The whole answer in the client's dialect, when it was relayed."""
    live: Live | None = None
    continued: Continued | None = None
    """The wire of *live*, where the answer may take several calls."""
    deadline: float = math.inf
    """A moment of `time.monotonic()` at which a stream must have ended."""
    makeshift: bool = False
    """Whether it stands in for an answer that could not be had now: those who wait get it, later askers do not."""
    _open: list[AbstractAsyncContextManager[Answer]] = field(default_factory=list)

    async def enter(self, sending: AbstractAsyncContextManager[Answer]) -> Answer:
        """Hold *sending* open until `close`."""
        answer = await sending.__aenter__()
        self._open.append(sending)
        return answer

    def shares(self, response: Response) -> Sequence[Response]:
        """What each of *attempts* gave of *response*."""
        if self.continued is not None:
            return self.continued.seam.shares(response)
        if self.gave or len(self.attempts) == 1:
            return self.gave or [response]
        return [replace(response, choices=response.choices[at : at + 1]) for at in range(len(self.attempts))]

    async def close(self) -> None:
        """Release the connection; before the end of the answer this cancels the work behind it."""
        while self._open:
            await self._open.pop().__aexit__(None, None, None)


class Asker:
    """Makes the calls of one exchange."""

    def __init__(
        self,
        asked: Asked,
        exchange: Books,
        backends: Mapping[str, Backend],
        *,
        continuations: int,
        report_losses: bool,
        unfences: bool,
        resumes: bool = False,
        price: Callable[[Attempt, Response | None], Awaitable[None]],
        clean: Callable[[str, Failure], Failure],
        clean_text: Callable[[str], str],
        begun: Begun | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """*begun*: what came of the first call, which has been made already; *price*: puts its cost on an attempt."""
        self._asked = asked
        self._begun = begun
        self._exchange = exchange
        self._backends = backends
        self._continuations = continuations
        self._report_losses = report_losses
        self._unfences = unfences
        self._resumes = resumes
        self._price = price
        self._clean = clean
        self._clean_text = clean_text
        self._now = now

    def continues(self, request: Request, prepared: Prepared) -> bool:
        """Whether an answer to *request* that its vendor interrupts is to be gone on with here."""
        return self._continuations > 0 and can_continue(request, prepared.rules.dialect)

    async def ask(
        self, prepared: Prepared, key: Key | None, deadline: float, onto: Committed | None = None
    ) -> Committed:
        """Ask once. With *onto* the answer is the rest of that stream.

        Raises:
            AttemptFailed: there is no answer; the attempt is closed.
            LedgerUnavailable: it could not be booked, so it was not made.
        """
        begun, self._begun = self._begun, None
        if begun is not None and begun.asked(prepared.target, key.index if key else None):
            raise AttemptFailed(begun.failure)
        attempt = await self._exchange.begin(prepared.target, key.index if key else None)
        sending = self._backends[prepared.target.provider].send(self.call(prepared, key, deadline))
        return await self.take(attempt, sending, prepared, deadline, onto)

    async def take(
        self,
        attempt: Attempt,
        sending: AbstractAsyncContextManager[Answer],
        prepared: Prepared,
        deadline: float,
        onto: Committed | None = None,
    ) -> Committed:
        """The answer to an *attempt* that was booked; entering *sending* makes its call. See `ask`."""
        given = deadline
        deadline = min(deadline, self._now() + prepared.spec.timeouts.total_s)
        committed = onto or Committed(self._exchange, [], prepared, deadline=deadline)
        try:
            attempt.sent, attempt.streams = True, prepared.stream
            answer = await committed.enter(sending)
            attempt.http_status = answer.status
            attempt.heard(answer.headers, answer.connect_s)
            committed.headers = self._exchange.vendor_headers = rate_limit_headers(answer.headers, self._clean_text)
            await self._receive(answer, prepared, committed, attempt, deadline)
            if committed.live is None:
                attempt.left()
                await committed.close()  # at once: the other calls of a fan-out may wait for the same local model
        except OwnFault as error:
            await committed.close()
            raise self._exchange.blameless(attempt, error.failure) from error
        except (BackendError, AttemptFailed) as error:
            await committed.close()
            failed = error.failure if attempt.http_status is None else of_an_answer(error.failure)
            failure = judged(failed, self._asked.controls, given - self._now())
            if attempt.usage is not None:
                await self._price(attempt, None)
            self._exchange.failed(attempt, failure)
            raise AttemptFailed(failure) from error
        except BaseException:
            await committed.close()
            raise
        committed.attempts.append(attempt)
        if onto is None:
            self._exchange.target = prepared.target
            self._exchange.losses = (*prepared.losses, *committed.said)
            self._exchange.report_losses = self._report_losses
        return committed

    def call(self, prepared: Prepared, key: Key | None, deadline: float) -> Call:
        """What is sent for *prepared*."""
        deadline = min(deadline, self._now() + prepared.spec.timeouts.total_s)
        left_s = max(0.001, deadline - self._now())
        clock = prepared.spec.timeouts
        return Call(
            model=prepared.target.model,
            body=prepared.body,
            stream=prepared.stream,
            path=prepared.path,
            key=key.secret if key else None,
            headers=prepared.headers,
            timeouts=Timeouts(
                clock.connect_s,
                min(clock.first_event_s, left_s),
                min(clock.whole_answer_s, left_s),
                clock.idle_s,
                min(clock.total_s, left_s),
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
        pieces = Pieces(answer) if prepared.stream and answer.status < 400 else None
        if pieces is not None and await self._streams(answer, pieces, min(wait_s, left_s)):
            live = committed.live or await self._new_live(pieces, prepared, committed)
            wait_s = prepared.spec.timeouts.first_event_s - attempt.elapsed_ms() / 1000
            wait_s = max(0.001, min(wait_s, left_s))
            try:
                waited_s = attempt.elapsed_ms() / 1000
                await self._commit(live, pieces, prepared, committed, wait_s, waited_s=waited_s)
            except AttemptFailed:
                attempt.usage = committed.continued.usage if committed.continued else live.collector.usage
                raise
        else:
            raw = await self._read(answer, pieces, left_s)
            try:
                read = partial(self._whole, answer, raw, prepared, committed)
                response, committed.payload = await threaded(len(raw) > THREAD_BYTES, read)
            except AttemptFailed:
                attempt.usage = await threaded(len(raw) > THREAD_BYTES, usage_seen, raw, prepared)
                raise
            committed.response, attempt.usage = response, response.usage
        self._exchange.saw_first_event(attempt)

    @staticmethod
    async def _read(answer: Answer, pieces: Pieces | None, left_s: float) -> bytes:
        """The whole body. Raises AttemptFailed: it has not come after *left_s*."""
        whole = answer.whole if pieces is None and isinstance(answer, HttpAnswer) else None
        if whole is not None:
            return whole
        try:
            async with asyncio.timeout(left_s):
                return await (answer.read() if pieces is None else pieces.read())
        except TimeoutError as error:
            raise AttemptFailed(Failure("timeout", "the answer did not end in time", 504)) from error

    @staticmethod
    async def _commit(
        live: Live, pieces: Pieces, prepared: Prepared, committed: Committed, wait_s: float, *, waited_s: float
    ) -> None:
        """Read *live*, or the rest of it, which *pieces* are, up to its first content."""
        if committed.live is None:
            await live.commit(wait_s, waited_s)
            committed.live = live
        elif committed.continued is not None:
            parser, restorer = prepared.dialect.StreamParser(prepared.rules), _restorer(prepared)
            committed.continued.resume(parser, restorer, live.collector.response())
            await live.go_on(pieces, wait_s)

    def _whole(
        self, answer: Answer, raw: bytes, prepared: Prepared, committed: Committed
    ) -> tuple[Response, bytes | None]:
        """*raw* as the answer that it is; see `read_whole`."""
        if answer.status >= 400:
            raise AttemptFailed(prepared.dialect.parse_error(answer.status, raw[:MAX_ERROR_BYTES], answer.headers))
        read = read_whole(raw, prepared, self._asked)
        if committed.live is not None:
            raise AttemptFailed(Failure("invalid_response", "expected the rest of a stream, found one object", 502))
        return read

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
        wire = await self._wire(prepared, committed)
        if isinstance(wire, Continued):
            committed.continued = wire

        def told(failure: Failure) -> Failure:
            in_words = in_clients_words(failure, self._asked.request, prepared.rules.dialect)
            return self._clean(prepared.spec.name, in_words)

        return Live(
            pieces,
            wire,
            told,
            idle_s=prepared.spec.timeouts.idle_s,
            now=self._now,
        )

    async def _wire(self, prepared: Prepared, committed: Committed) -> Wire:
        asked = self._asked
        one_choice = asked.request.n in (None, 1)
        # A response that its vendor keeps has the vendor's ids, which a translation would not have.
        unfences = (
            self._unfences and not (prepared.verbatim and asked.memory) and must_be_checked(asked.request, prepared)
        )
        if prepared.verbatim and not unfences:
            return self._relay(prepared)
        counted = 0
        if asked.wants_count:
            model = family(prepared.target.model)
            counted = (await asyncio.to_thread(estimate_request, asked.request, model)).tokens
        goes_on = one_choice and (self._resumes or self.continues(asked.request, prepared))
        kind = Continued if goes_on else Translated

        def translated() -> Translated:
            unfencer = Unfencer(partial(self._unfenced, committed)) if unfences else None
            parser = prepared.dialect.StreamParser(prepared.rules)
            return kind(parser, asked.renderer(counted), _restorer(prepared), unfencer)

        if prepared.verbatim and one_choice:
            return Watched(self._relay(prepared), translated)
        return translated()

    def _relay(self, prepared: Prepared) -> Wire:
        relay = self._asked.dialect.StreamRelay(prepared.rules, self._asked.reply_to())
        return Moulded(relay, looks=prepared.rules.think_tags)

    def _unfenced(self, committed: Committed) -> None:
        if not committed.said:
            committed.said.append(taken_out(self._asked.request))
            self._exchange.losses = (*self._exchange.losses, *committed.said)


def _restorer(prepared: Prepared) -> Restorer:
    return Restorer(prepared.tool_names, prepared.custom)
