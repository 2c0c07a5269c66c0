"""One attempt: render the request, send it, and read until the answer is certain to go to the client.

An answer is *committed* at its first content event. Until then everything is held back, so that another target can
take over unseen; a failure up to that point is an AttemptFailed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypedDict

from proxy.backends.backend import Answer, Backend, BackendError, Call
from proxy.controls import Controls, LossMode
from proxy.errors import refused
from proxy.exchange import Attempt, Exchange, rate_limit_headers
from proxy.media import Fetch, inline_remote
from proxy.providers import ProviderSpec
from proxy.setup import Key
from proxy.wire import Passed, Step, Translated, Wire, is_content
from routing.errors import AttemptFailed
from routing.targets import Target
from translators import openai_chat
from translators.assemble import Collector, collect
from translators.codec import JsonError, dumps, loads_object
from translators.custom_tools import Restorer, as_functions, custom_names
from translators.dialect import BackendDialect, Rules
from translators.dialects import BACKENDS
from translators.errors import BadAnswer
from translators.losses import Loss
from translators.neutral import Choice, Failure, Request, Response, Usage
from translators.sse import SseError, frame

MAX_ERROR_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """What one client wants, in its own bytes and in the neutral form."""

    raw: bytes
    body: Mapping[str, Any]
    request: Request
    controls: Controls
    created: int
    """Unix seconds, for answers whose vendor tells none."""
    fallback_id: str
    """The answer's id where the vendor gives none."""

    def whole(self, response: Response) -> bytes:
        """*response* as the client wants a whole answer."""
        return dumps(openai_chat.render_response(response, **self._fallbacks, legacy_functions=self._legacy_functions))

    def renderer(self) -> openai_chat.StreamRenderer:
        """What writes events as the client wants a stream."""
        return openai_chat.StreamRenderer(
            include_usage=self.request.include_usage, **self._fallbacks, legacy_functions=self._legacy_functions
        )

    def relay(self, rules: Rules) -> openai_chat.StreamRelay:
        """What passes a stream of the client's own dialect on."""
        return openai_chat.StreamRelay(rules, include_usage=self.request.include_usage, **self._fallbacks)

    def relayed(self, raw: bytes, rules: Rules) -> tuple[bytes, Response]:
        """A whole answer of the client's own dialect, mended where it must be, and what it says."""
        return openai_chat.relay_response(raw, rules, **self._fallbacks)

    @property
    def _fallbacks(self) -> Fallbacks:
        return {"fallback_id": self.fallback_id, "fallback_model": self.request.model, "created": self.created}

    @property
    def _legacy_functions(self) -> bool:
        return openai_chat.uses_functions(self.body)


class Fallbacks(TypedDict):
    """What stands in where a vendor leaves something out."""

    fallback_id: str
    fallback_model: str
    created: int


@dataclass(slots=True)
class Committed:
    """An answer that goes to the client: either whole, or *live* with its first frames held."""

    exchange: Exchange
    attempts: Sequence[Attempt]
    spec: ProviderSpec
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


class Pieces:
    """The body of an answer, one piece after the other; the first can be looked at beforehand."""

    def __init__(self, answer: Answer) -> None:
        self._rest = aiter(answer.pieces())
        self._peeked: bytes | None = None

    async def next(self) -> bytes:
        """The next piece; empty at the end."""
        if self._peeked is not None:
            piece, self._peeked = self._peeked, None
            return piece
        return await anext(self._rest, b"")

    async def peek(self) -> bytes:
        """The beginning up to the first that is no blank, which `next` gives once more."""
        begun = b""
        while not begun.strip() and (piece := await self.next()):
            begun += piece
        self._peeked = begun
        return begun

    async def read(self) -> bytes:
        """All that is left."""
        pieces: list[bytes] = []
        while piece := await self.next():
            pieces.append(piece)
        return b"".join(pieces)


class Live:
    """A stream: `commit` reads up to the first content, `frames` gives the rest."""

    def __init__(self, pieces: Pieces, wire: Wire, clean: Callable[[Failure], Failure]) -> None:
        self._pieces = pieces
        self._wire = wire
        self._clean = clean
        self._ended = False
        self.collector = Collector()
        self.held = b""
        self.failure: Failure | None = None

    async def commit(self, wait_s: float) -> None:
        """Read until the first content event.

        Raises:
            AttemptFailed: the stream failed, or nothing came in *wait_s*, before there was any.
        """
        held: list[bytes] = []
        try:
            async with asyncio.timeout(wait_s):
                while not self._ended:
                    step = await self._step()
                    held.append(step.frames)
                    if self.failure:
                        raise AttemptFailed(self.failure)
                    if any(map(is_content, step.events)):
                        break
        except TimeoutError as error:
            failure = Failure("timeout", f"no content within {wait_s:g} s", 504)
            raise AttemptFailed(failure) from error
        except BackendError as error:
            raise AttemptFailed(error.failure) from error
        self.held = b"".join(held)

    async def frames(self) -> AsyncIterator[bytes]:
        """The rest, as frames for the client. After a failure the last of them says so."""
        while not self._ended and self.failure is None:
            try:
                step = await self._step()
            except BackendError as error:
                self.failure = error.failure
                yield error_frame(self._clean(error.failure))
                return
            if step.frames:
                yield step.frames

    def fail(self, failure: Failure) -> bytes:
        """End the stream with *failure*, which is ours and not the vendor's, if it has not failed before; its frame."""
        if self.failure is not None:
            return b""
        self.failure = failure
        return error_frame(failure)

    def close(self, receipt: bytes, usage: Usage | None) -> bytes:
        """The closing frames; *usage* is ours, told to a client that asked where the vendor told none."""
        return self._wire.close(receipt, usage if self.collector.usage is None else None)

    async def _step(self) -> Passed:
        try:
            piece = await self._pieces.next()
            self._ended = not piece
            step = self._wire.feed(piece) if piece else self._wire.end()
        except (SseError, JsonError, BadAnswer) as error:
            raise BackendError(Failure("invalid_response", str(error), 502)) from error
        frames = step.frames
        for event in step.events:
            if isinstance(event, Failure):
                # Until the commit nothing of this is seen. After it the client is told in clean words.
                self.failure = event
                frames = frames.removesuffix(error_frame(event)) + error_frame(self._clean(event))
            self.collector.add(event)
        return Step(frames, step.events)


def error_frame(failure: Failure) -> bytes:
    """*failure* as the one error event of a stream."""
    _, body = openai_chat.render_error(failure, "")
    return frame(dumps(body))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request in the backend's dialect, for one target."""

    target: Target
    spec: ProviderSpec
    rules: Rules
    dialect: BackendDialect
    body: bytes
    losses: Sequence[Loss]
    headers: Mapping[str, str] = field(default_factory=dict)
    tool_names: Mapping[str, str] = field(default_factory=dict)
    custom: frozenset[str] = frozenset()
    """Names of custom tools that the backend knows as functions."""
    verbatim: bool = False
    fan_out: int = 1
    """How many requests it takes to get as many choices as the client wants."""


def refuse_losses(losses: Sequence[Loss], target: str, mode: LossMode) -> None:
    """Raises Refused, 400 naming the first loss, where the client or the route says `reject`."""
    if losses and mode == "reject":
        first = losses[0]
        raise refused(
            400,
            f"{first.field}: would be {first.action} for {target}: {first.reason} (losses = reject)",
            param=first.field,
            code="loss_rejected",
        )


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
        fetch: Fetch,
        clean: Callable[[str, Failure], Failure],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asked = asked
        self._exchange = exchange
        self._specs = specs
        self._backends = backends
        self._losses = losses
        self._fetch = fetch
        self._clean = clean
        self._now = now

    async def attempt(self, target: Target, key: Key | None, deadline: float) -> Committed:
        """Ask *target*.

        Raises:
            AttemptFailed: it gave no answer.
            Refused, BadRequest: the request cannot be put to it, or a loss that the client refuses.
            LedgerUnavailable: the attempt could not be booked, so it was not made.
        """
        try:
            async with asyncio.timeout(max(0.001, deadline - self._now())):
                prepared = await self._prepare(target, self._specs[target.provider])
        except TimeoutError as error:
            raise refused(
                504, "the files of the request did not come in time", kind="timeout", code="media_timeout"
            ) from error
        refuse_losses(prepared.losses, prepared.target.name, self._losses)
        if prepared.fan_out > 1:
            return await self._fan_out(prepared, key, deadline)
        return await self._one(prepared, key, deadline, stream=self._asked.request.stream)

    async def _prepare(self, target: Target, spec: ProviderSpec) -> Prepared:
        asked = self._asked
        rules = spec.rules(target.model)
        dialect = BACKENDS[spec.dialect]
        request = await inline_remote(asked.request, rules, self._fetch)
        if request is asked.request and request.dialect == spec.dialect == "openai_chat":
            relayed = openai_chat.relay_request(asked.raw, asked.body, request, rules, target.model)
            return Prepared(target, spec, rules, dialect, relayed.body, relayed.losses, verbatim=True)
        fan_out = 1 if dialect.TAKES_N else request.n or 1
        n = None if fan_out > 1 else request.n
        custom = frozenset() if dialect.TAKES_CUSTOM_TOOLS else custom_names(request)
        request, custom_losses = as_functions(request) if custom else (request, [])
        rendered = dialect.render_request(replace(request, model=target.model, n=n), rules)
        emulated = [Loss("n", "emulated", f"{spec.dialect} gives one answer; it is asked {fan_out} times")]
        return Prepared(
            target,
            spec,
            rules,
            dialect,
            dumps(rendered.body),
            [*custom_losses, *rendered.losses, *(emulated if fan_out > 1 else ())],
            {**rules.headers, **rendered.headers},
            rendered.tool_names,
            custom,
            fan_out=fan_out,
        )

    async def _one(self, prepared: Prepared, key: Key | None, deadline: float, *, stream: bool) -> Committed:
        attempt = await self._exchange.begin(prepared.target, key.index if key else None)
        deadline = min(deadline, self._now() + prepared.spec.timeouts.total_s)
        committed = Committed(self._exchange, [attempt], prepared.spec, deadline=deadline)
        try:
            call = self._call(prepared, key, deadline, stream=stream)
            attempt.sent = True
            answer = await committed.enter(self._backends[prepared.target.provider].send(call))
            attempt.http_status = answer.status
            committed.headers = rate_limit_headers(answer.headers)
            await self._receive(answer, prepared, committed, attempt, deadline, stream=stream)
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

    def _call(self, prepared: Prepared, key: Key | None, deadline: float, *, stream: bool) -> Call:
        left_s = max(0.001, deadline - self._now())
        clock = prepared.spec.timeouts
        return Call(
            model=prepared.target.model,
            body=prepared.body,
            stream=stream,
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
        *,
        stream: bool,
    ) -> None:
        """Commit to *answer*, whole or live."""
        left_s = max(0.001, deadline - self._now())
        wait_s = prepared.spec.timeouts.first_event_s - attempt.elapsed_ms() / 1000
        pieces = Pieces(answer)
        if stream and answer.status < 400 and await self._streams(answer, pieces, min(wait_s, left_s)):
            wire = self._wire(prepared)
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

    def _wire(self, prepared: Prepared) -> Wire:
        if prepared.verbatim:
            return self._asked.relay(prepared.rules)
        restorer = Restorer(prepared.tool_names, prepared.custom)
        return Translated(prepared.dialect.StreamParser(prepared.rules), self._asked.renderer(), restorer)

    async def _fan_out(self, prepared: Prepared, key: Key | None, deadline: float) -> Committed:
        """Ask as often as choices are wanted, and join the answers (WIRE case 6)."""
        before = len(self._exchange.attempts)
        calls = [
            asyncio.ensure_future(self._one(prepared, key, deadline, stream=False)) for _ in range(prepared.fan_out)
        ]
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
            prepared.spec,
            answers[0].headers,
            response=joined([answer.response for answer in answers if answer.response]),
        )


def read_whole(raw: bytes, prepared: Prepared, asked: Asked) -> tuple[Response, bytes | None]:
    """A whole answer in the neutral form and, when it can be relayed, as bytes for the client.

    Raises:
        AttemptFailed: it is an error in disguise, or not an answer of the dialect.
    """
    try:
        if raw.lstrip()[:5] in {b"data:", b"event"}:
            return _collected(raw, prepared), None
        body = loads_object(raw)
        if failure := prepared.dialect.error_in(body):
            raise AttemptFailed(failure)
        if prepared.verbatim:
            payload, response = asked.relayed(raw, prepared.rules)
            return response, payload
        response = prepared.dialect.parse_response(body)
    except (JsonError, BadAnswer) as error:
        raise AttemptFailed(Failure("invalid_response", str(error), 502)) from error
    if response.failure:
        raise AttemptFailed(response.failure)
    return Restorer(prepared.tool_names, prepared.custom).response(response), None


def _collected(raw: bytes, prepared: Prepared) -> Response:
    """The whole answer of a server that streams whether asked to or not."""
    parser = prepared.dialect.StreamParser(prepared.rules)
    response = collect([*parser.feed(raw), *parser.close()])
    if response.failure:
        raise AttemptFailed(response.failure)
    return Restorer(prepared.tool_names, prepared.custom).response(response)


def joined(responses: Sequence[Response]) -> Response:
    """Several answers of one choice as one answer of several; usage is summed."""
    choices: list[Choice] = [
        replace(choice, index=index) for index, response in enumerate(responses) for choice in response.choices[:1]
    ]
    usages = [response.usage for response in responses if response.usage]
    usage = None
    if len(usages) == len(responses):
        usage = Usage(
            input_tokens=sum(each.input_tokens for each in usages),
            output_tokens=sum(each.output_tokens for each in usages),
            cached_input_tokens=sum(each.cached_input_tokens for each in usages),
            cache_write_tokens=sum(each.cache_write_tokens for each in usages),
            reasoning_tokens=sum(each.reasoning_tokens for each in usages),
            audio_input_tokens=sum(each.audio_input_tokens for each in usages),
            audio_output_tokens=sum(each.audio_output_tokens for each in usages),
        )
    return replace(responses[0], choices=tuple(choices), usage=usage)
