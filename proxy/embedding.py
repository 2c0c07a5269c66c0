"""The way of an embeddings request, from the parsed question to the answer.

    resolve the name -> the cache? -> open the books, ask the targets in order -> vectors -> settle -> the answer
                                                          |
         the client's bytes in one call (an OpenAI-compatible server), or as many calls as the target's bounds ask for

Every call is an attempt in the ledger. The same text has the same vector, so that answers are kept whenever the
cache is on, as the bytes that the client got.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import quote

from aiohttp import web

from proxy.budgeting import Load
from proxy.calls import Short, call
from proxy.chain import first_answer, resolve, time_allowed_s
from proxy.controls import Controls, LossMode
from proxy.delivery import WHOLE_HEADERS
from proxy.errors import Refused, failure_of, refused
from proxy.exchange import Attempt, Exchange
from proxy.identity import Identity
from proxy.opening import Matter, new_exchange
from proxy.ordering import Wish, in_order
from proxy.prepare import refuse_losses
from proxy.providers import ProviderSpec
from proxy.records import Record, of_vectors
from proxy.server import Incoming
from proxy.services import Services
from proxy.setup import Caching, Key, Setup
from proxy.stored import Land, Stored
from proxy.threads import THREAD_BYTES, threaded
from proxy.vendor_headers import ACCOUNT, understood, with_query
from routing.errors import AttemptFailed, Unfit
from routing.targets import Route, Target
from storage.cache import cache_key
from storage.errors import LedgerUnavailable
from storage.ledger import CacheUse, Status
from translators.codec import JsonError, dumps, loads, loads_object
from translators.dialect import RelayedRequest
from translators.embeddings import (
    EMBEDDERS,
    Embedded,
    Embedder,
    EmbeddingRequest,
    EmbeddingRules,
    Input,
    can_relay,
    joined,
    relay_answer,
    relay_request,
    render_answer,
    size_losses,
)
from translators.embeddings import Call as Batch
from translators.embeddings.embedder import weight_of
from translators.errors import BadAnswer, BadRequest
from translators.fields import PROXY_FIELDS
from translators.losses import Loss
from translators.neutral import Failure, Message, Request, Response, Text, Usage
from translators.tokens import estimate_text

LARGEST_ANSWER: Final = 256 * 1024 * 1024
"""2048 vectors of 3072 numbers take about 110 MiB as text."""
CLIENT: Final = "openai_chat"
"""Whose embeddings dialect the clients speak."""
DIALECT: Final = "embeddings"
"""How the ledger calls these exchanges."""
SIDE_BY_SIDE: Final = 4
"""Calls of one request that run at the same time."""
THREAD_NUMBERS: Final = 64 * 1024
"""More numbers than these are written in a thread."""
VERSION: Final = 1
"""Of `pack`; another version's entry is a miss."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one client asks, in its own bytes and as a value."""

    raw: bytes
    body: Mapping[str, Any]
    request: EmbeddingRequest
    controls: Controls
    forward: Mapping[str, str] = field(default_factory=dict)
    """Headers that a server of OpenAI's dialect is sent as they came."""
    query: str = ""
    """What such a server's address gets behind its path."""
    write: Callable[..., dict[str, Any]] = render_answer
    """Puts the vectors into the client's form: `render_answer`, or one like it."""


@dataclass(frozen=True, slots=True)
class Errand:
    """One request with all that it needs on its way. *key*: its place in the cache, None outside of it."""

    services: Services
    setup: Setup
    incoming: Incoming
    wanted: Wanted
    route: Route
    key: bytes | None
    payload: list[bytes] = field(default_factory=list)
    """What the client was answered, once that is known."""

    @property
    def time_allowed_s(self) -> float:
        """For all attempts together."""
        return time_allowed_s(self.setup, self.route, self.wanted.controls)

    @property
    def losses(self) -> LossMode:
        """What happens when something is lost."""
        return self.wanted.controls.losses or self.route.losses


@dataclass(frozen=True, slots=True)
class Answered:
    """The client's bytes, and the tokens that they cost."""

    payload: bytes
    input_tokens: int


async def embed(services: Services, incoming: Incoming, wanted: Wanted) -> web.StreamResponse:
    """Answer *wanted*.

    Raises:
        Refused: with what the client is to be told.
        BadRequest: the request cannot be put to its target.
    """
    with services.setup.used() as setup:
        route = resolve(setup, wanted.request.model, wanted.controls, incoming.identity)
        key = await threaded(len(wanted.raw) > THREAD_BYTES, cache_key_of, setup, route, incoming.identity, wanted)
        errand = Errand(services, setup, incoming, wanted, route, key)
        try:
            if key is None or not wanted.controls.look_up:
                return await _ask(errand)
            kept = await services.cache.find(key, stale=False)
            if kept and (stored := unpack(kept.value)):
                return await _from_cache(errand, stored, kept.age_s)
            async with asyncio.timeout(errand.time_allowed_s) as waiting, services.flights.join(key) as flight:
                waiting.reschedule(None)  # what follows has its own deadline
                if flight.answer is not None:
                    return await _from_cache(errand, flight.answer)
                return await _ask(errand, flight.land)
        except TimeoutError as error:
            late = "the same request was asked before, and its answer did not come in time"
            raise refused(504, late, kind="timeout", code="upstream_timeout") from error
        except LedgerUnavailable as error:
            raise refused(503, str(error), kind="overloaded", code="ledger_unavailable", retry_after_s=1) from error


async def _ask(errand: Errand, land: Land | None = None) -> web.StreamResponse:
    """Ask the route's targets and deliver what the first good one says."""
    services, setup = errand.services, errand.setup
    exchange = _new_exchange(errand, "miss" if errand.key else "bypass")
    try:
        asking = Asking(errand, exchange)
        answered = await first_answer(
            services, setup, errand.route, exchange, targets=await _order(errand), attempt=asking.attempt
        )
        await services.account_left(exchange, None)
        errand.payload.append(answered.payload)
        await exchange.settle("ok")
    except (Refused, BadRequest) as error:
        if exchange.attempts:
            await services.account_left(exchange, None)
            await exchange.settle("failed", failure_of(error))
        raise
    finally:
        if exchange.attempts and not exchange.settled:
            # Unsettled are the request whose client is gone, and the one that met a bug.
            gone = isinstance(sys.exception(), asyncio.CancelledError | ConnectionError)
            status: Status = "aborted" if gone else "failed"
            services.spawn(services.settle_partial(exchange, None, status, None))
    if errand.key is not None and errand.wanted.controls.look_up:
        services.cache_use.missed(errand.route.name, exchange.target.name if exchange.target else "")
    _keep(errand, exchange, answered, land)
    return _response(answered.payload, exchange)


def _response(payload: bytes, exchange: Exchange) -> web.Response:
    return web.Response(
        body=payload, headers={**WHOLE_HEADERS, **exchange.vendor_headers, **exchange.headers(final=True)}
    )


async def _order(errand: Errand) -> list[Target]:
    """The targets that give embeddings, in the order of the route's policy.

    Raises:
        Refused: none of them does.
    """
    services, setup, request = errand.services, errand.setup, errand.wanted.request
    able: list[Target] = []
    reasons: list[str] = []
    for target in errand.route.targets:
        if why := setup.specs[target.provider].why_no_embeddings(target.model):
            reasons.append(f"{target.name}: {why}")
        else:
            able.append(target)
    if not able:
        raise refused(400, "; ".join(reasons), code="no_embeddings", param="model")
    texts = tuple(Text(item) for item in request.inputs if isinstance(item, str))
    neutral = Request(request.dialect, request.model, (Message("user", texts),))
    return await in_order(services, setup, Wish(errand.route, neutral, errand.incoming.identity), able)


def _new_exchange(errand: Errand, cache: CacheUse) -> Exchange:
    """The books of one request, not yet opened."""
    request = errand.wanted.request
    weight = sum(map(weight_of, request.inputs))
    matter = Matter(
        dialect=DIALECT,
        controls=errand.wanted.controls,
        count=lambda model: counted(request.inputs, model),
        input_estimate=weight,
        load=Load(lambda: weight, output_tokens=0),
    )
    services, settings = errand.services, errand.setup.loaded.settings
    exchange = new_exchange(services, errand.setup, errand.incoming, errand.route, matter, cache=cache)

    def record() -> Record:
        return of_vectors(errand.wanted.raw, errand.payload[-1] if errand.payload else None)

    services.request_log.follow(settings, exchange, errand.incoming.identity, record)
    return exchange


# --- the attempts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """One target, and how it is asked."""

    target: Target
    spec: ProviderSpec
    embedder: Embedder
    rules: EmbeddingRules
    path: str
    headers: Mapping[str, str]
    key: Key | None
    deadline: float


@dataclass(frozen=True, slots=True)
class Asking:
    """Makes attempts for one exchange; `attempt` is what the executor calls."""

    errand: Errand
    exchange: Exchange

    async def attempt(self, target: Target, key: Key | None, deadline: float) -> Answered:
        """Ask *target*.

        Raises:
            AttemptFailed: it gave no answer.
            Unfit: the request cannot be put to it, or not without a loss that the client refuses.
            LedgerUnavailable: a call could not be booked, so it was not made.
        """
        place, before = self._place(target, key, deadline), len(self.exchange.attempts)
        try:
            async with asyncio.timeout(max(0.001, deadline - time.monotonic())):
                if place.embedder is EMBEDDERS[CLIENT] and can_relay(self.errand.wanted.request, place.rules):
                    return await self._relayed(place)
                return await self._rendered(place)
        except TimeoutError as error:
            late = Failure("timeout", "the answer did not end in time", 504)
            raise AttemptFailed(self.exchange.judged(late)) from error
        except (BadRequest, Refused) as error:
            asked, failure = self.exchange.attempts[before:], failure_of(error)
            for made in asked:
                made.has_ended(made.usage)
            raise Unfit(failure, failure if asked else None) from error

    def _place(self, target: Target, key: Key | None, deadline: float) -> _Place:
        spec, wanted = self.errand.setup.specs[target.provider], self.errand.wanted
        way = spec.embeddings
        embedder = EMBEDDERS[way.dialect]
        path = way.base_url + (way.path or embedder.PATH).replace("{model}", quote(target.model, safe=""))
        return _Place(
            target,
            spec,
            embedder,
            EmbeddingRules(**way.rules),
            with_query(path, wanted.query if way.dialect == CLIENT else ""),
            understood(wanted.forward, spec, (way.dialect,)),
            key,
            deadline,
        )

    async def _relayed(self, place: _Place) -> Answered:
        """The client's bytes to the server, and the server's back."""
        wanted = self.errand.wanted
        sent: RelayedRequest = await threaded(
            len(wanted.raw) > THREAD_BYTES,
            relay_request, wanted.raw, wanted.body, wanted.request, place.rules, place.target.model,
        )  # fmt: skip
        self._check(sent.losses, place)
        raw, made = await self._call(place, sent.body)
        answer = await self._read(place, made, raw, relay_answer, wanted.request)
        await self._count(made, answer.usage, wanted.request.inputs)
        self._check(answer.losses, place)
        self._tell((*sent.losses, *answer.losses))
        return Answered(answer.body, made.usage.input_tokens if made.usage else 0)

    async def _rendered(self, place: _Place) -> Answered:
        """The request in the target's form, in as many calls as it takes."""
        wanted = self.errand.wanted
        request = wanted.request
        rendered = await threaded(
            len(wanted.raw) > THREAD_BYTES, place.embedder.render, request, place.rules, place.target.model
        )
        self._check(rendered.losses, place)
        before = len(self.exchange.attempts)
        answers = await self._batches(place, rendered.calls)
        embedded = joined(answers)
        late = size_losses(request, [len(vector) for vector in embedded.vectors])
        self._check(late, place)
        self._tell((*rendered.losses, *late))
        tokens = sum(made.usage.input_tokens for made in self.exchange.attempts[before:] if made.usage)
        model = embedded.model or place.target.model
        numbers = sum(map(len, embedded.vectors))
        payload = await threaded(numbers > THREAD_NUMBERS, _written, wanted, embedded, model, tokens)
        return Answered(payload, tokens)

    async def _batches(self, place: _Place, batches: Sequence[Batch]) -> list[Embedded]:
        """The answers to *batches*, in order. The first failure ends the others.

        Raises:
            AttemptFailed: one of them gave no answer.
        """
        before = len(self.exchange.attempts)
        gate = asyncio.Semaphore(1 if place.spec.one_at_a_time else SIDE_BY_SIDE)

        async def one(batch: Batch, inputs: Sequence[Input]) -> Embedded:
            async with gate:
                raw, made = await self._call(place, await threaded(batch.inputs > 100, dumps, batch.body))
                embedded = await self._read(place, made, raw, _parsed, place.embedder, batch.inputs)
                await self._count(made, embedded.usage, inputs)
                return embedded

        tasks = [asyncio.ensure_future(one(batch, inputs)) for batch, inputs in self._cut(batches)]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            share = sum(map(weight_of, self.errand.wanted.request.inputs)) // len(batches)
            for made in self.exchange.attempts[before:]:
                made.abandoned = True
                if made.sent and made.usage is None and not made.settled:
                    made.usage = Usage(input_tokens=share, estimated=True)
            raise

    def _cut(self, batches: Sequence[Batch]) -> Iterable[tuple[Batch, Sequence[Input]]]:
        """Each batch with the client's inputs that it holds."""
        at = 0
        for batch in batches:
            yield batch, self.errand.wanted.request.inputs[at : at + batch.inputs]
            at += batch.inputs

    async def _call(self, place: _Place, body: bytes) -> tuple[bytes, Attempt]:
        short = Short(
            "embed", place.path, body, place.embedder.parse_error, place.headers, max_answer_bytes=LARGEST_ANSWER
        )
        return await call(self.errand.setup, self.exchange, place.target, place.key, place.deadline, short=short)

    async def _read(self, place: _Place, made: Attempt, raw: bytes, read: Callable[..., T], *arguments: Any) -> T:
        """What *read* makes of *raw*. Raises AttemptFailed when it is no answer; the attempt is closed."""
        try:
            return await threaded(len(raw) > THREAD_BYTES, read, raw, *arguments)
        except BadAnswer as error:
            failure = _disguised(place.embedder, raw) or Failure("invalid_response", str(error), 502)
            self.exchange.failed(made, failure)
            raise AttemptFailed(failure) from error

    async def _count(self, made: Attempt, usage: Usage | None, inputs: Sequence[Input]) -> None:
        """Put the usage on *made*: the vendor's, else an estimate, flagged."""
        if usage is None:
            tokens = await asyncio.to_thread(counted, inputs, made.target.model)
            usage = Usage(input_tokens=tokens, estimated=True)
        made.usage = usage

    def _check(self, losses: Sequence[Loss], place: _Place) -> None:
        refuse_losses(losses, place.target.name, self.errand.losses)

    def _tell(self, losses: tuple[Loss, ...]) -> None:
        self.exchange.losses = losses
        self.exchange.report_losses = self.errand.losses != "ignore"


def _parsed(raw: bytes, embedder: Embedder, inputs: int) -> Embedded:
    try:
        # Not loads_object: its look at the depth would visit every number.
        body = loads(raw)
    except JsonError as error:
        raise BadAnswer(f"the answer is {error}") from error
    if not isinstance(body, dict):
        raise BadAnswer("the answer is not an object")
    return embedder.parse(body, inputs)


def _disguised(embedder: Embedder, raw: bytes) -> Failure | None:
    """The error in an answer of status 200, if that is what it is."""
    try:
        return embedder.error_in(loads_object(raw[:THREAD_BYTES]))
    except JsonError:
        return None


def _written(wanted: Wanted, embedded: Embedded, model: str, tokens: int) -> bytes:
    return dumps(wanted.write(wanted.request, embedded, model=model, usage=Usage(input_tokens=tokens)))


def counted(inputs: Iterable[Input], model: str) -> int:
    """The tokens of *inputs* as *model* counts them: exact for OpenAI's, else an estimate."""
    return sum(estimate_text(item, model).tokens if isinstance(item, str) else weight_of(item) for item in inputs)


# --- the cache -----------------------------------------------------------------------------------


def cache_key_of(setup: Setup, route: Route, identity: Identity, wanted: Wanted) -> bytes | None:
    """Under what the answer is looked up and stored; None when this request stays outside the cache.

    The form of the numbers is a part of it: what is kept are the bytes that a client got.
    """
    controls = wanted.controls
    asked = {name: value for name, value in wanted.body.items() if name not in PROXY_FIELDS and value is not None}
    asked["encoding_format"] = wanted.request.encoding_format or "float"
    if wanted.request.dialect != CLIENT:
        asked["dialect of the client"] = wanted.request.dialect
    told = {DIALECT: asked, **{name: value for name, value in wanted.forward.items() if name in ACCOUNT}}
    if controls.idempotency_key is not None:
        return cache_key(identity.tenant, route.name, {**told, "idempotency_key": controls.idempotency_key})
    mode = identity.cache or setup.caching(route.name).mode
    if mode == "off" or not (controls.look_up or controls.store):
        return None
    return cache_key(identity.tenant, route.name, told)


def tags_of(controls: Controls, identity: Identity, caching: Caching) -> tuple[str, ...]:
    """By what an answer can be removed: the tags of the request, of its key and of the route, as `name=value`."""
    named = {**controls.tags, **identity.tags}
    return tuple(sorted({*(f"{name}={value}" for name, value in named.items()), *caching.tags}))


def _keep(errand: Errand, exchange: Exchange, answered: Answered, land: Land | None) -> None:
    """Give the answer to those who wait for it, and store it."""
    if errand.key is None or exchange.target is None:
        return
    response = _shell(answered.input_tokens)
    target, cost_nanousd = exchange.target.name, exchange.cost_nanousd
    stored = Stored(target, cost_nanousd, response, exchange.losses, DIALECT, answered.payload)
    if land:
        land(stored)
    if errand.wanted.controls.store:
        caching = errand.setup.caching(errand.route.name)
        tags = tags_of(errand.wanted.controls, errand.incoming.identity, caching)
        errand.services.cache.put(
            errand.key,
            pack(stored),
            tenant=errand.incoming.tenant,
            route=errand.route.name,
            model=stored.target,
            cost_nanousd=stored.cost_nanousd,
            ttl_s=caching.ttl_s,
            tags=tags,
        )


async def _from_cache(errand: Errand, stored: Stored, age_s: float = 0) -> web.StreamResponse:
    """Deliver what was stored, and book that it cost nothing."""
    exchange = _new_exchange(errand, "hit")
    exchange.more_headers["age"] = str(int(age_s))
    refuse_losses(stored.losses, stored.target, errand.losses)
    exchange.answered_from_cache(stored, report_losses=errand.losses != "ignore")
    errand.payload.append(stored.payload or b"")
    await exchange.settle("ok")
    errand.services.cache_use.hit(errand.route.name, stored.target, stored.cost_nanousd, stale=False, similar=False)
    return _response(stored.payload or b"", exchange)


def pack(stored: Stored) -> bytes:
    """One line of facts, then the client's bytes."""
    losses = [[loss.field, loss.action, loss.reason] for loss in stored.losses]
    tokens = stored.response.usage.input_tokens if stored.response.usage else 0
    head = dumps([DIALECT, VERSION, stored.target, stored.cost_nanousd, tokens, losses])
    return head + b"\n" + (stored.payload or b"")


def unpack(packed: bytes | None) -> Stored | None:
    """What `pack` wrote; None for nothing, another version's or damaged bytes."""
    head, _, payload = (packed or b"").partition(b"\n")
    try:
        dialect, version, target, cost_nanousd, tokens, lost = loads(head)
        if (dialect, version) != (DIALECT, VERSION) or not payload:
            return None
        losses = tuple(Loss(*each) for each in lost)
        return Stored(target, cost_nanousd, _shell(tokens), losses, DIALECT, payload)
    except (ValueError, TypeError, JsonError):
        return None


def _shell(input_tokens: int) -> Response:
    """What the books need to know of an answer from the cache."""
    return Response("", "", 0, (), Usage(input_tokens=input_tokens))
