"""Endpoints that need no translation: bytes go to the provider that the request names, and its bytes come back.

Images, audio, moderations, files, batches, reranking, and whatever a vendor adds next. Only the key, the model's name
and the proxy's own fields change. The body is streamed where nothing in it has to be read; the answer always is, with
its last piece held back until the exchange is booked.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from proxy.asking import MAX_ERROR_BYTES
from proxy.backends.backend import Answer, BackendError, Call, OwnFault
from proxy.budgeting import Load
from proxy.chain import NO_RETRY, first_answer, resolve
from proxy.controls import Controls, read_controls
from proxy.errors import Refused, for_client, refused, too_busy
from proxy.exchange import Attempt, Exchange, rate_limit_headers
from proxy.opening import Matter, new_exchange, nothing_counted
from proxy.ordering import unread_order
from proxy.owning import Claim, claim_of, values_of
from proxy.providers import ProviderSpec
from proxy.records import Passed, Record, of_passing
from proxy.requestlog import wanted
from proxy.room import NoRoom, Share
from proxy.scopes import check_account, check_scope
from proxy.server import PROVIDER_HEADER, Incoming, read_body, share_of
from proxy.services import Services
from proxy.setup import Key, Setup
from proxy.sizes import check_model
from proxy.spelling import PASSED_ON, check_names
from proxy.threads import THREAD_BYTES, threaded
from proxy.veil import Veil
from proxy.vendor_headers import all_vendor_headers, understood, vendor_query, with_query
from routing.errors import AttemptFailed
from routing.pricing import usage_of_raw
from routing.targets import Route, Target
from storage.errors import LedgerUnavailable, StorageError
from storage.ledger import Status
from translators.codec import REMOVED, JsonError, loads_object, splice, type_name
from translators.dialects import BACKENDS
from translators.neutral import Failure, Usage
from translators.tokens import rough

log = logging.getLogger("modelport")

DIALECT: Final = "passthrough"
"""How the ledger calls these exchanges."""
UPLOAD_S: Final = 600.0
OVERLAP: Final = 128 * 1024
"""A field of a form is shorter; so much is looked at again when the next piece has come."""
USAGE_BYTES: Final = 8 * 1024 * 1024
"""Of a JSON answer, to read its usage from; a larger one is booked without."""
HEAD_BYTES: Final = 64
"""By which events are told that are not declared as such."""
MAX_ANSWER: Final = 16 * 1024**3
NO_MODEL: Final = "-"
"""What the ledger says where no model is named."""

SENT: Final = ("content-type", "accept", "range")
"""Headers of the client that every provider gets; its vendor gets its own besides (`proxy.vendor_headers`)."""
RETURNED: Final = ("content-type", "content-disposition", "content-range", "accept-ranges", "openai-processing-ms")

UNTRUSTED: Final[Mapping[str, str]] = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
}
"""With every answer: a browser that is led here must not run what a vendor, or a file kept there, says."""

FREE: Final = frozenset({"files", "uploads", "models"})
"""First words of paths whose calls cost nothing by themselves; so does everything that only reads or deletes."""
REPEATABLE: Final = frozenset({"images", "audio", "moderations", "rerank", "embeddings", "responses", "ocr"})
"""Their answers are all that a call makes, so that it may be made again."""
NOTHING_WAS_DONE: Final = frozenset({"authentication", "permission", "billing", "rate_limit", "overloaded"})
"""Failures after which anything may be tried again."""
UNMETERED: Final = frozenset({"images", "audio"})
"""Their tokens are not all of one price, so that a price for text would be wrong: the cost stays unknown."""
COUNTABLE: Final = frozenset({"chat", "completions", "embeddings", "moderations", "rerank", "responses"})
"""Those whose answers say what is billed; what the others cost, no budget can know before."""
ONE_MODEL: Final = frozenset(
    f"/v1/{path}"
    for path in (
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "images/edits",
        "images/generations",
        "images/variations",
        "moderations",
        "ocr",
        "rerank",
    )
)
"""Where the model that a request names is the only one that it comes to. Files, batches, jobs and whatever is not known
here may come to any model of the account."""
ABOUT_THINGS: Final = frozenset({405, 409, 410, 412, 415, 416, 423, 428})
"""What a vendor says of a thing that it keeps, as it stands: asking again changes nothing, and nobody else has it."""

_VERSIONED: Final = re.compile(r"/v[0-9][0-9a-z]*/?$")
"""A base URL that ends in a version."""
SLOWEST: Final = 16 * 1024
"""Bytes a second that an answer has to come with once its time is over: large files take long, dribbles do not."""
MAYBE_STREAMS: Final = frozenset({"", "application/json", "text/plain", "application/octet-stream"})
"""Types under which servers send events that they do not declare."""


@dataclass(slots=True)
class Parcel:
    """What is passed on. *body* is complete, or the beginning of what *rest* goes on with."""

    method: str
    path: str
    headers: Mapping[str, str]
    controls: Controls
    claim: Claim
    """What it says of things that the provider keeps."""
    body: bytes = b""
    rest: AsyncIterator[bytes] | None = None
    model: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The body's JSON, when it is an object."""
    form_model: re.Pattern[bytes] | None = None
    """Finds the field `model` of a form."""
    one_model: bool = False
    """Whether *model*, read where the provider reads it, is the only model that this can come to."""
    spent: bool = False
    """Whether *rest* has been sent to somebody and cannot be sent again."""
    objection: Refused | None = None
    """What is wrong with the part of it that came while it was being sent."""
    sent: Passed | None = None
    """What the request log is told of its body; None: nothing."""
    came: Passed | None = None
    """The same of the answer."""

    @property
    def creates(self) -> bool:
        """Whether a second try could make something twice: a file, a batch, a job."""
        return self.method not in {"GET", "HEAD", "DELETE"} and self.topic not in REPEATABLE

    def ended_by(self, failure: Failure) -> bool:
        """Whether nobody is to be asked any more after *failure*."""
        if self.spent or (failure.kind == "invalid_request" and failure.status in ABOUT_THINGS):
            return True
        return self.creates and failure.kind not in NOTHING_WAS_DONE

    @property
    def free(self) -> bool:
        """Whether it costs nothing."""
        return self.topic in FREE or self.method in {"GET", "HEAD", "DELETE"}

    @property
    def topic(self) -> str:
        """The first word of the path: images, files, ..."""
        return self.path.removeprefix("/v1/").partition("/")[0].partition("?")[0]

    def named(self, model: str) -> bytes:
        """The body with *model* in place of the client's name for it."""
        changes: dict[str, Any] = {}
        if self.fields.get("model") not in (None, model) and self.model is not None:
            changes["model"] = model
        if "modelport" in self.fields:
            changes["modelport"] = REMOVED
        if changes:
            return splice(self.body, changes)
        if self.model is not None and self.form_model and (found := self.form_model.search(self.body)):
            start, end = found.span(1)
            return self.body[:start] + model.encode() + self.body[end:]
        return self.body


@dataclass(slots=True)
class Passing:
    """A provider's answer whose head has arrived and is good."""

    answer: Answer
    attempt: Attempt
    stack: AsyncExitStack
    secrets: tuple[str, ...] = ()
    """What the provider was told with the request, which it may repeat."""


async def pass_on(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Hand the request to its provider and the answer to the client.

    Raises:
        Refused: no provider is named, or it gave no good answer.
    """
    with services.setup.used() as setup:
        provider = incoming.http.headers.get(PROVIDER_HEADER)
        parcel = await _parcel(services, incoming, provider)
        route = _route(setup, parcel, provider, incoming)
        if incoming.meant is not None:
            raise _nothing_there(parcel, f"did you mean {incoming.meant}?")
        exchange = _new_exchange(services, setup, incoming, parcel, route)
        passing: Passing | None = None
        try:
            attempts = _Attempts(services, setup, exchange, parcel)
            targets = unread_order(services, setup, route, incoming.identity)
            passing = await first_answer(services, setup, route, exchange, targets=targets, attempt=attempts.attempt)
            return await _deliver(services, incoming, exchange, parcel, passing)
        except Refused as error:
            if exchange.attempts:
                await exchange.settle("failed", error.failure)
                error.headers = {**exchange.vendor_headers, **exchange.headers(final=True), **error.headers}
            raise
        except LedgerUnavailable as error:
            raise refused(503, str(error), kind="overloaded", code="ledger_unavailable", retry_after_s=1) from error
        finally:
            if passing:
                await passing.stack.aclose()
            if exchange.attempts and not exchange.settled:
                gone = isinstance(sys.exception(), asyncio.CancelledError | ConnectionError)
                services.spawn(exchange.settle("aborted" if gone else "failed"))


# --- the request ---------------------------------------------------------------------------------


async def _parcel(services: Services, incoming: Incoming, provider: str | None) -> Parcel:
    request = incoming.http
    path = request.rel_url.raw_path
    if any(leads_elsewhere(unquote(part)) for part in path.split("/")):
        raise refused(400, "the path must not lead elsewhere (. or ..)", code="invalid_path")
    query = vendor_query(request.rel_url.raw_query_string, read=False)
    headers = {name: request.headers[name] for name in SENT if name in request.headers}
    headers |= all_vendor_headers(request.headers)
    if request.can_read_body:
        headers.setdefault("content-type", "application/octet-stream")
    parcel = Parcel(
        request.method,
        with_query(path, query),
        headers,
        Controls(),
        claim_of(services, incoming),
        model=request.rel_url.query.get("model"),
    )
    scoped = any(scope.models or scope.routes for scope in incoming.identity.scopes)
    kind = request.content_type
    if kind == "application/json" and request.can_read_body:
        parcel.body = await read_body(request, services.max_body)
        large = len(parcel.body) > THREAD_BYTES
        parcel.fields = await threaded(large, partial(_fields, parcel.body, needed=provider is None))
        if isinstance(model := parcel.fields.get("model"), str):
            parcel.model = model
            parcel.one_model = path in ONE_MODEL and "models" not in parcel.fields
    elif request.can_read_body and (kind != "multipart/form-data" or ((provider or parcel.model) and not scoped)):
        parcel.rest = aiter(_uploaded(incoming, services.max_body, 0))
    elif request.can_read_body:
        parcel.one_model = await _find_form_model(parcel, incoming, services.max_body) and path in ONE_MODEL
    parcel.one_model = parcel.one_model and "model" not in request.rel_url.query
    if parcel.model:
        check_model(parcel.model, services.limits)
    parcel.controls = read_controls(request.headers, {"modelport": parcel.fields.get("modelport")})
    return parcel


def leads_elsewhere(step: str) -> bool:
    """Whether a step of a path, unquoted, is not just a name below the one before it."""
    return step.partition(";")[0] in {".", ".."} or not step.isprintable() or "/" in step or "\\" in step


def _fields(body: bytes, *, needed: bool) -> dict[str, Any]:
    """The body's JSON. Where it is *needed* to find the provider, its `model` has to be readable.

    Raises:
        Refused: 400 that says what is wrong with it.
    """
    try:
        fields = loads_object(body)
    except JsonError as error:
        if needed:
            raise refused(400, f"the request body: {error}", code="invalid_json") from error
        return {}  # the provider that was named may know what to do with it
    check_names(body, fields, PASSED_ON)
    model = fields.get("model")
    if needed and model is not None and not isinstance(model, str):
        raise refused(400, f"model: expected a string, found {type_name(model)}", param="model", code="invalid_type")
    return fields


async def _uploaded(incoming: Incoming, limit: int, received: int) -> AsyncIterator[bytes]:
    """The rest of the client's body as it comes. Raises Refused: 413 when it is too large, 408 when it stalls."""
    try:
        async with asyncio.timeout(UPLOAD_S):
            async for piece in incoming.http.content.iter_any():
                received += len(piece)
                if received > limit:
                    raise refused(
                        413, f"the body is larger than {limit} bytes ([server] max_body_mb)", kind="too_large"
                    )
                yield piece
    except TimeoutError as error:
        raise refused(408, f"the body did not come within {UPLOAD_S:g} s", kind="timeout", code="slow_body") from error


def model_field(content_type: str) -> re.Pattern[bytes] | None:
    """What finds the value of the field `model` in a form of *content_type*; None when that is no form.

    The field stands right behind the form's own boundary, so that nothing within a file is taken for it.
    """
    found = re.search(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', content_type, re.IGNORECASE)
    if found is None:
        return None
    boundary = re.escape((found[1] or found[2]).encode())
    headers = rb"(?:[^\r\n]{1,1000}\r\n){0,8}?"
    blank = rb"[ \t]*"
    kind = rb"content-disposition:" + blank + rb"form-data[^\r\n]{0,200}?;" + blank
    named = kind + b"name" + blank + b"=" + blank + rb'"?model"?' + blank + rb"(?:;[^\r\n]{0,200})?\r\n"
    return re.compile(
        rb"(?:\A|\r\n)--"
        + boundary
        + rb"\r\n"
        + headers
        + rb"(?i:"
        + named
        + rb")"
        + headers
        + rb"\r\n([^\r\n]{1,256})\r\n"
    )


def grown(size: int, searched: int) -> bool:
    """Whether a form of *size* bytes is worth another look, of which *searched* have been looked through."""
    return size - searched >= searched // 8


async def _find_form_model(parcel: Parcel, incoming: Incoming, limit: int) -> bool:
    """Whether a form has a field `model`, which becomes the parcel's: read until it is there, the rest to be streamed.

    The SDKs write it before the files; a form that has it last is read whole. It is looked for only when the form has
    `grown`, so that a form in small pieces costs no more than one in large ones.
    """
    begun = bytearray()
    rest = aiter(_uploaded(incoming, limit, 0))
    pattern = parcel.form_model = model_field(incoming.http.headers.get("content-type", ""))
    searched, found, share = 0, None, share_of(incoming.http)
    while found is None and (piece := await anext(rest, b"")):
        begun += piece
        if share is not None and len(begun) > share.enough:
            share.received = len(begun)
            await _hold(share, len(begun), limit)
        if pattern and grown(len(begun), searched):
            found = pattern.search(begun, max(0, searched - OVERLAP))
            searched = len(begun)
    if pattern and found is None:
        found = pattern.search(begun, max(0, searched - OVERLAP))
    parcel.body, parcel.rest = bytes(begun), rest
    if pattern and found:
        parcel.model = found[1].decode("utf-8", "replace")
        parcel.rest = _with_one_model(rest, pattern, bytes(begun[found.end() - 2 :]))
    return found is not None


async def _hold(share: Share, size: int, limit: int) -> None:
    """Wait for room for *size* bytes of a form. Raises Refused: 503, there is none in time."""
    try:
        await share.hold(size, min(2 * size, limit))
    except NoRoom as error:
        raise too_busy(str(error)) from error


async def _with_one_model(rest: AsyncIterator[bytes], pattern: re.Pattern[bytes], tail: bytes) -> AsyncIterator[bytes]:
    """*rest* as it is; *tail* is what stands before it, behind the form's model.

    Raises:
        Refused: 400 for a second model. Whoever reads the last one would answer with a model that nobody has checked.
    """
    while True:
        if pattern.search(tail):
            raise refused(400, "model: the form has it twice; send it once", param="model", code="invalid_value")
        tail = tail[-OVERLAP:]
        piece = await anext(rest, b"")
        if not piece:
            return
        tail += piece
        yield piece


def _route(setup: Setup, parcel: Parcel, provider: str | None, incoming: Incoming) -> Route:
    """Where the parcel goes: the provider of the header, else what offers the model."""
    asked = f"{parcel.method} {parcel.path.partition('?')[0]}"
    if provider is not None:
        spec = setup.specs.get(provider)
        if spec is None or not spec.enabled:
            known = ", ".join(each.name for each in setup.enabled)
            off = f" is off: {spec.why_off}" if spec else " is not known"
            raise refused(
                404,
                f"{PROVIDER_HEADER}: {provider[:80]!r}{off}; there are {known}",
                kind="not_found",
                code="no_provider",
            )
        model = parcel.model.removeprefix(f"{provider}/") if parcel.model else NO_MODEL
        target = Target(provider, model)
        route = Route(target.name, "failover", (target,))
        if not parcel.one_model:
            return check_account(incoming.identity, route, asked)
        return check_scope(incoming.identity, route, target.name, configured=False, providers=setup.specs)
    if parcel.model:
        route = resolve(setup, parcel.model, parcel.controls, incoming.identity)
        return route if parcel.one_model else check_account(incoming.identity, route, asked)
    if incoming.meant is not None:
        raise _nothing_there(parcel, f"did you mean {incoming.meant}?")
    known = ", ".join(each.name for each in setup.enabled)
    hint = (
        "to have it passed on, name a model (`model` in the JSON body, the form or the query), "
        f"or a provider (the header {PROVIDER_HEADER}: one of {known})"
    )
    raise _nothing_there(parcel, hint)


def _nothing_there(parcel: Parcel, hint: str) -> Refused:
    told = f"there is nothing at {parcel.method} {parcel.path[:200]}; {hint}"
    return refused(404, told, kind="not_found", code="unknown_url")


def _new_exchange(services: Services, setup: Setup, incoming: Incoming, parcel: Parcel, route: Route) -> Exchange:
    load = Load(lambda: rough(len(parcel.body)), free=parcel.free, countable=parcel.topic in COUNTABLE)
    matter = Matter(DIALECT, parcel.controls, nothing_counted, input_estimate=0, load=load)
    exchange = new_exchange(services, setup, incoming, route, matter)
    _log(services, setup, incoming, parcel, exchange)
    return exchange


def _log(services: Services, setup: Setup, incoming: Incoming, parcel: Parcel, exchange: Exchange) -> None:
    """Let the request log have what passes by, if it is wanted."""
    settings = setup.loaded.settings
    if wanted(settings, incoming.identity, exchange.route):
        parcel.sent = sent = Passed(parcel.headers.get("content-type", ""))
        sent.add(parcel.body)

        def record() -> Record:
            return of_passing(parcel.method, parcel.path, sent, parcel.came)

        services.request_log.follow(settings, exchange, incoming.identity, record)


# --- the attempts --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Attempts:
    """Makes attempts; `attempt` is what the executor calls."""

    services: Services
    setup: Setup
    exchange: Exchange
    parcel: Parcel

    async def attempt(self, target: Target, key: Key | None, deadline: float) -> Passing:
        """Hand the parcel to *target*.

        Raises:
            AttemptFailed: it gave no good answer.
            Refused: it failed after a body that cannot be sent twice, or the parcel is about what is another's there.
        """
        spec = self.setup.specs[target.provider]
        if spec.backend != "http":
            raise refused(404, f"{spec.name} has nothing at {self.parcel.path[:200]}", kind="not_found")
        await self.parcel.claim.check(spec.name, self.parcel.body, self.parcel.headers.get("content-type", ""))
        attempt = await self.exchange.begin(target, key.index if key else None)
        stack = AsyncExitStack()
        try:
            attempt.sent = True
            answer = await stack.enter_async_context(
                self.setup.backends[spec.name].send(self._call(target, spec, key, deadline))
            )
            attempt.http_status = answer.status
            attempt.heard(answer.headers, answer.connect_s)
            self.exchange.vendor_headers = rate_limit_headers(answer.headers, self.setup.redactor.clean)
            if answer.status >= 400:
                raw = await _beginning(answer, MAX_ERROR_BYTES)
                raise AttemptFailed(BACKENDS[spec.dialect].parse_error(answer.status, raw, answer.headers))
        except OwnFault as error:
            await stack.aclose()
            raise self.exchange.blameless(attempt, error.failure) from error
        except (BackendError, AttemptFailed) as error:
            await stack.aclose()
            failure = self.exchange.judged(error.failure)
            self.exchange.failed(attempt, failure)
            if self.parcel.objection is not None:
                raise self.parcel.objection from error
            if self.parcel.ended_by(error.failure):
                last_word = for_client(error.failure, spec.name, self.setup.redactor, ABOUT_THINGS)
                raise Refused(last_word, NO_RETRY) from error
            raise AttemptFailed(failure) from error
        except BaseException:
            await stack.aclose()
            raise
        self.exchange.target = target
        self.exchange.saw_first_event(attempt)
        return Passing(answer, attempt, stack, (*([key.secret] if key else ()), *spec.headers.values()))

    def _call(self, target: Target, spec: ProviderSpec, key: Key | None, deadline: float) -> Call:
        parcel = self.parcel
        body = parcel.named(target.model) if target.model != NO_MODEL else parcel.named("")
        upload = None
        if parcel.rest is not None:
            parcel.spent = True
            upload = _joined(body, parcel.rest, parcel)
        return Call(
            model=target.model,
            body=b"" if upload else body,
            stream=False,
            method=parcel.method,
            upload=upload,
            path=_below(parcel.path, spec),
            key=key.secret if key else None,
            headers=understood(parcel.headers, spec),
            timeouts=spec.timeouts,
            max_answer_bytes=MAX_ANSWER,
        )


def _below(path: str, spec: ProviderSpec) -> str:
    """*path* below the base URL of *spec*. That of an OpenAI-compatible server stands for a version, whatever it is."""
    versioned = spec.dialect.startswith("openai") or _VERSIONED.search(spec.base_url)
    return path.removeprefix("/v1") if versioned else path


async def _beginning(answer: Answer, most: int) -> bytes:
    """As much of an answer as fits into *most* bytes: of files, answers may be of any size."""
    begun = bytearray()
    async for piece in answer.pieces():
        begun += piece[: most - len(begun)]
        if len(begun) >= most:
            break
    return bytes(begun)


async def _joined(first: bytes, rest: AsyncIterator[bytes], parcel: Parcel) -> AsyncIterator[bytes]:
    if first:
        yield first
    try:
        async for piece in rest:
            if parcel.sent is not None:
                parcel.sent.add(piece)
            yield piece
    except Refused as objection:
        parcel.objection = objection
        raise


# --- the answer ----------------------------------------------------------------------------------


async def _deliver(
    services: Services, incoming: Incoming, exchange: Exchange, parcel: Parcel, passing: Passing
) -> web.StreamResponse:
    """The answer's bytes, the last one after the books are closed."""
    if parcel.claim.lists:
        return await _deliver_list(exchange, parcel, passing)
    answer = passing.answer
    headers = {name: answer.headers[name] for name in RETURNED if name in answer.headers}
    own = {**exchange.headers(final=False), **incoming.metered.headers()}
    told = {**headers, **exchange.vendor_headers, **own, **UNTRUSTED}
    stream = web.StreamResponse(status=answer.status, headers=told)
    length = answer.headers.get("content-length", "")
    if length.isascii() and length.isdecimal() and answer.headers.get("content-encoding", "identity") == "identity":
        stream.content_length = int(length)
    await stream.prepare(incoming.http)
    meter = Meter(answer.headers.get("content-type", ""))
    came = parcel.came = Passed(answer.headers.get("content-type", "")) if parcel.sent else None
    held, veil = b"", Veil(passing.secrets, answer.headers.get("content-type", ""))
    status: Status = "ok"
    failure: Failure | None = None
    try:
        async for piece in answer.pieces():
            meter.add(piece)
            if came is not None:
                came.add(piece)
            if meter.too_slow(time.monotonic() - exchange.deadline, passing.attempt.elapsed_ms() / 1000):
                raise BackendError(Failure("timeout", "the answer did not end in time", 504))
            if safe := veil.over(piece):
                await stream.write(held + safe[:-1])
                held = safe[-1:]
    except BackendError as error:
        status, failure = "interrupted", error.failure
    exchange.stream = meter.streams
    passing.attempt.usage = await meter.usage()
    await _price(services, parcel, passing.attempt)
    await passing.stack.aclose()
    if parcel.claim.writes and failure is None and parcel.topic not in REPEATABLE:
        await _note(parcel.claim, passing.attempt.target.provider, meter.values)
    try:
        await exchange.settle(status, failure)
    except LedgerUnavailable as error:
        raise ConnectionResetError("the answer could not be booked, so its end is not delivered") from error
    if failure is not None:
        raise ConnectionResetError("the provider's answer broke off")  # so that the client sees it break off, too
    await stream.write_eof(held + veil.rest())
    return stream


async def _deliver_list(exchange: Exchange, parcel: Parcel, passing: Passing) -> web.StreamResponse:
    """A list of what the provider's account holds, as far as it is the client's."""
    try:
        raw = await _beginning(passing.answer, USAGE_BYTES)
    except BackendError as error:
        failure = for_client(error.failure, passing.attempt.target.provider, parcel.claim.services.setup.redactor)
        raise Refused(failure) from error
    body = await parcel.claim.own_entries(passing.attempt.target.provider, raw)
    passing.attempt.cost_nanousd = 0
    await passing.stack.aclose()
    if parcel.sent is not None:
        parcel.came = Passed("application/json")
        parcel.came.add(body)
    await exchange.settle("ok")
    told = {"content-type": "application/json", **exchange.vendor_headers, **exchange.headers(final=True), **UNTRUSTED}
    return web.Response(status=passing.answer.status, body=b"" if parcel.method == "HEAD" else body, headers=told)


async def _note(claim: Claim, provider: str, values: Callable[[], list[Any]]) -> None:
    try:
        await claim.note(provider, values() if claim.method != "DELETE" else ())
    except StorageError as error:
        log.warning(
            "what %s made could not be written down, so that only the master key reaches it: %s", provider, error
        )


async def _price(services: Services, parcel: Parcel, attempt: Attempt) -> None:
    if parcel.free:
        attempt.cost_nanousd = 0
    elif attempt.usage is not None and parcel.topic not in UNMETERED:
        await services.price(attempt, None)


class Meter:
    """Reads usage out of an answer that passes by: of a JSON object, or of the last event that tells any."""

    def __init__(self, content_type: str) -> None:
        self._declared = content_type.partition(";")[0].strip().lower()
        self._reads = self._declared == "text/event-stream" or self._declared in MAYBE_STREAMS
        self._head = b""
        self._seen = bytearray()
        self._received = 0

    @property
    def streams(self) -> bool:
        """Whether it is an event stream, declared or not."""
        undeclared = self._declared in MAYBE_STREAMS and self._head.lstrip().startswith((b"data:", b"event:"))
        return undeclared or self._declared == "text/event-stream"

    def too_slow(self, late_s: float, elapsed_s: float) -> bool:
        """Whether an answer that should have ended *late_s* ago, and has come for *elapsed_s*, only dribbles."""
        return late_s > 0 and self._received < SLOWEST * elapsed_s

    def add(self, piece: bytes) -> None:
        """The next bytes of the answer."""
        self._received += len(piece)
        self._head += piece[: max(0, HEAD_BYTES - len(self._head))]
        if not self._reads:
            return
        self._seen += piece
        if len(self._seen) > USAGE_BYTES:
            if self.streams:
                del self._seen[: -USAGE_BYTES // 2]
            else:
                self._reads = False
                self._seen.clear()

    def values(self) -> list[Any]:
        """The JSON values of the answer, those of its events where it streams; none of what is too long to be kept."""
        return values_of(bytes(self._seen), streams=self.streams) if self._reads else []

    async def usage(self) -> Usage | None:
        """The tokens that were told, if any were."""
        if not self._reads or b'"usage"' not in self._seen:
            return None
        return await threaded(len(self._seen) > THREAD_BYTES, self._usage)

    def _usage(self) -> Usage | None:
        texts = [bytes(self._seen)]
        if self.streams:
            lines = bytes(self._seen).splitlines()
            texts = [line[5:] for line in reversed(lines) if line.startswith(b"data:") and b'"usage"' in line]
        for text in texts:
            try:
                found = loads_object(text).get("usage")
            except JsonError:
                continue
            if isinstance(found, dict):
                return usage_of_raw(found)
        return None
