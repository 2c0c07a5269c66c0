"""`/api/v1/llm/query`: one call with an id, waited for, followed as a stream, or asked for later.

POST   /api/v1/llm/query              asked and waited for; with `async`: true, told at once
POST   /api/v1/llm/query/stream       the same as server-sent events: `query`, `delta` ..., `end`
GET    /api/v1/llm/query/{id}/status  how far it is
GET    /api/v1/llm/query/{id}/result  what it gave: 202 while there is nothing, 410 when it is too old
DELETE /api/v1/llm/query/{id}         end it

A query goes through the same pipeline as a chat completion: keys, budgets, routes, the cache and the ledger hold.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from proxy.asked import Asked
from proxy.chain import resolve
from proxy.controls import read_controls
from proxy.delivery import STREAM_HEADERS
from proxy.errors import refused
from proxy.ingress.bodies import checked
from proxy.ingress.json import json_response
from proxy.ingress.places import Tags
from proxy.ingress.questions import read_question
from proxy.queries import Mode, Run, Wish, awaited, begun, deltas, followed, iso_us, raise_failure, stored_told
from proxy.server import Incoming
from proxy.services import Services
from storage.queries import ENDED, LONGEST_TTL_S, StoredQuery
from translators.codec import dumps
from translators.neutral import PartStart
from translators.openai_chat import client
from translators.sse import comment, frame

STREAM: Final = "stream"
PING_S: Final = 15.0
"""So often a silent stream says that it is alive."""
RETRY_AFTER_S: Final = 1

Temperature = Annotated[float, Field(ge=0, le=2)]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]
Text = Annotated[str, StringConstraints(min_length=1)]


class QueryBody(BaseModel):
    """One question to a model. Objects of `messages`, `tools` and the like are those of OpenAI's chat completions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    prompt: Text | None = Field(None, description="The question, where it is one text. Either this or `messages`.")
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = Field(
        None, description="A conversation, as chat completions have it."
    )
    system: Text | None = Field(None, description="What the model is told before everything else.")
    model: Text | None = Field(None, description="A model, `provider/model`, or a route.")
    provider: Text | None = Field(None, description="Who is to answer; goes before `model`.")
    route: Text | None = Field(None, description="A route by its name.")
    policy: Text | None = Field(None, description="A policy in the place of the route's.")
    models: Annotated[list[Text], Field(min_length=1, max_length=16)] | None = Field(
        None, description="A failover chain instead of one model."
    )
    max_tokens: Tokens | None = Field(None, description="The most that may be written.")
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    response_format: dict[str, Any] | None = Field(None, description="As chat completions have it: JSON, a schema.")
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    stream: bool = Field(False, description="true: as POST /api/v1/llm/query/stream.")
    asynchronous: bool = Field(False, alias="async", description="Whether the answer is asked for later.")
    ttl_s: Annotated[float, Field(gt=0, le=LONGEST_TTL_S)] | None = Field(
        None, description="Seconds for which the result is kept after the query's end. Default: as [queries] says."
    )
    store: bool = Field(True, description="false: nothing is kept; not possible with `async`.")
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = Field(None, description="For all attempts together.")
    tags: Tags | None = Field(None, description="Stand in the ledger.")
    cache: Literal["no-cache", "no-store", "no-cache, no-store"] | None = None
    losses: Literal["warn", "reject", "ignore"] | None = None
    resume: bool | None = Field(None, description="Whether an answer that breaks off is gone on with elsewhere.")
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None


_PASSED: Final = (
    "temperature",
    "top_p",
    "stop",
    "seed",
    "reasoning_effort",
    "response_format",
    "tools",
    "tool_choice",
    "max_tokens",
    "models",
)
_CONTROLS: Final = ("route", "policy", "timeout_s", "resume", "tags", "cache", "losses", "idempotency_key")


async def query(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Ask, and wait for the answer; or with `async` be told the id at once.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """
    return await _query(services, incoming)


async def stream(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Ask, and be told what comes as it comes. Raises as `query` does."""
    return await _query(services, incoming, streams=True)


async def _query(services: Services, incoming: Incoming, *, streams: bool = False) -> web.StreamResponse:
    asked, body = await read_question(services, incoming, lambda _raw, read: _asked(services, incoming, read))
    mode: Mode = "stream" if streams or body.stream else "asynchronous" if body.asynchronous else "whole"
    if body.asynchronous and (mode == "stream" or not body.store):
        field = "stream" if mode == "stream" else "store"
        raise refused(400, f"{field}: not possible together with async", param=field, code="invalid_parameter")
    with services.setup.used() as setup:
        resolve(setup, asked.request.model, asked.controls, incoming.identity)
    ttl_s = body.ttl_s or services.queries.bounds.ttl_s
    run = await begun(services, incoming, asked, Wish(mode, ttl_s if body.store else None, body.timeout_s))
    if mode == "asynchronous":
        told = json_response(run.told(result=True), incoming.id, 202)
        told.headers.update({"location": f"/api/v1/llm/query/{run.id}/status", "x-modelport-query-id": run.id})
        return told
    if mode == "stream":
        return await _streamed(incoming, run)
    await awaited(run)
    told = json_response(run.told(result=True), incoming.id)
    told.headers.update(_passed_headers(run))
    return told


def _asked(services: Services, incoming: Incoming, read: dict[str, Any]) -> tuple[Asked, QueryBody]:
    """The question as a chat client would have put it. Raises Refused, BadRequest."""
    body = checked(read, QueryBody)
    chat: dict[str, Any] = {
        "model": _model(services, body),
        "messages": _messages(body),
        **{name: value for name in _PASSED if (value := getattr(body, name)) is not None},
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    said = {name: value for name in _CONTROLS if (value := getattr(body, name)) is not None}
    controls = read_controls(incoming.http.headers, {**chat, "modelport": said})
    request = client.parse_request(chat)
    asked = Asked(client, dumps(chat), chat, request, controls, created=int(time.time()), id=incoming.answer_id)
    return asked, body


def _model(services: Services, body: QueryBody) -> str:
    if body.provider is None:
        model = body.model or body.route or (body.models[0] if body.models else None)
        if model is None:
            raise refused(
                400, "model: missing; say model, route, models or provider", param="model", code="invalid_parameter"
            )
        return model
    spec = services.setup.specs.get(body.provider)
    if spec is None:
        told = f"provider: no provider is called {body.provider[:80]!r}"
        raise refused(404, told, kind="not_found", param="provider", code="provider_not_found")
    model = body.model or next(iter(spec.models), None) or spec.probe_model
    if model is None:
        raise refused(400, f"model: missing; say which of {spec.name}", param="model", code="invalid_parameter")
    return f"{spec.name}/{model.removeprefix(f'{spec.name}/')}"


def _messages(body: QueryBody) -> list[dict[str, Any]]:
    if (body.prompt is None) == (body.messages is None):
        raise refused(400, "prompt: say either prompt or messages", param="prompt", code="invalid_parameter")
    system = [{"role": "system", "content": body.system}] if body.system is not None else []
    return [*system, *(body.messages or [{"role": "user", "content": body.prompt}])]


# --- a stream --------------------------------------------------------------------------------------


async def _streamed(incoming: Incoming, run: Run) -> web.StreamResponse:
    """`query`, a `delta` for everything that comes, `end`. A failure before the first is a whole answer."""
    kinds: dict[tuple[int, int], PartStart] = {}
    coming = followed(run)
    try:
        first = await anext(coming, None)
        if first is None:
            raise_failure(run)
        headers = {"content-type": "text/event-stream; charset=utf-8", **STREAM_HEADERS, **_passed_headers(run)}
        answer = web.StreamResponse(headers={**headers, "x-request-id": incoming.id})
        await answer.prepare(incoming.http)
        await answer.write(frame(dumps(run.told(result=False)), "query"))
        events = first
        while events is not None:
            if frames := [frame(dumps(delta), "delta") for delta in deltas(events, kinds)]:
                await answer.write(b"".join(frames))
            events = await _next(coming, answer)
        await answer.write_eof(frame(dumps(run.told(result=True)), "end"))
    finally:
        await coming.aclose()
    return answer


async def _next(coming: Any, answer: web.StreamResponse) -> Any:
    """What comes next; None at the end. A silent stream is kept alive."""
    waiting = asyncio.ensure_future(anext(coming, None))
    try:
        while not (await asyncio.wait({waiting}, timeout=PING_S))[0]:
            await answer.write(comment(b"waiting"))
        return waiting.result()
    finally:
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})


def _passed_headers(run: Run) -> dict[str, str]:
    told = {name: value for name, value in run.headers.items() if name.startswith("x-modelport-")}
    return {**told, "x-modelport-query-id": run.id}


# --- queries that were asked before ------------------------------------------------------------------


async def look_up(services: Services, incoming: Incoming) -> web.StreamResponse:
    """`/status`: how far a query is; `/result`: what it gave.

    Raises:
        Refused: 404 for an unknown query, 410 for one whose result is too old.
    """
    query_id, _, what = incoming.parameter.partition("/")
    if what not in {"status", "result"}:
        told = "there are /api/v1/llm/query/{id}/status and /api/v1/llm/query/{id}/result"
        raise refused(404, told, kind="not_found", code="unknown_url")
    query_id = unquote(query_id)
    run = services.queries.find(incoming.tenant, query_id)
    if run is not None and run.status not in ENDED:
        return _under_way(run, incoming, what)
    stored = await _stored(services, incoming, query_id)
    told_now = stored_told(stored)
    told_now["expires_at"] = iso_us(stored.expires_us) if stored.ended_us else None
    if what == "status":
        told_now.pop("result", None)
        told_now.pop("text", None)
    elif stored.expired:
        told = f"the result of the query {query_id} was kept until {iso_us(stored.expires_us)}"
        raise refused(410, told, kind="not_found", code="query_expired")
    return json_response(told_now, incoming.id)


def _under_way(run: Run, incoming: Incoming, what: str) -> web.StreamResponse:
    told = json_response(run.told(result=False), incoming.id, 202 if what == "result" else 200)
    told.headers["retry-after"] = str(RETRY_AFTER_S)
    return told


async def cancel(services: Services, incoming: Incoming) -> web.StreamResponse:
    """End a query; one that has ended stays as it is. Raises Refused, 404."""
    query_id = unquote(incoming.parameter)
    if (run := services.queries.find(incoming.tenant, query_id)) is not None:
        run.cancel()
        await run.done.wait()
        return json_response(run.told(result=False), incoming.id)
    await services.sharing.query_cancelled(incoming.tenant, query_id)
    told = stored_told(await _stored(services, incoming, query_id))
    for name in ("result", "text"):
        told.pop(name, None)
    return json_response(told, incoming.id)


async def _stored(services: Services, incoming: Incoming, query_id: str) -> StoredQuery:
    found = await services.queries.store.get(incoming.tenant, query_id)
    if found is None:
        told = f"no query has the id {query_id[:80]!r}"
        raise refused(404, told, kind="not_found", code="query_not_found")
    return found
