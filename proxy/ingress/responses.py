"""`/v1/responses`: OpenAI's Responses API, with the state that it keeps.

POST   /v1/responses                     an answer, whole, streamed, or in the background
POST   /v1/responses/input_tokens        how many tokens a request has
POST   /v1/responses/{id}/cancel         end a response that is made in the background
GET    /v1/responses/{id}                a stored response
GET    /v1/responses/{id}/input_items    the input that it answers
DELETE /v1/responses/{id}

What is not stored here is the vendor's where `x-modelport-provider` names one, and otherwise unknown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from proxy.asked import Asked
from proxy.background import queued
from proxy.counting import count
from proxy.errors import Refused, refused
from proxy.forgetting import delete_at_vendor
from proxy.ingress.json import json_response
from proxy.ingress.parameters import whole
from proxy.ingress.questions import asked_of, read_question
from proxy.memory import named_conversation, remembered
from proxy.owning import owns, sees_all
from proxy.passing import pass_on
from proxy.pipeline import answer
from proxy.replaying import replay_stored
from proxy.server import PROVIDER_HEADER, Incoming
from proxy.services import Services
from storage.errors import TooLarge
from storage.responses import StoredResponse
from translators.codec import loads, loads_object
from translators.openai_responses import client

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
INPUT_ITEMS: Final = "input_items"
CANCEL: Final = "cancel"


async def create(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Answer a request.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """
    asked = await _asked(services, incoming)
    if asked.body.get("background") is not True or asked.request.stream:
        return await answer(services, incoming, asked)
    return await queued(services, incoming, asked)


async def input_tokens(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Count a request's tokens, those of the conversation that it continues among them. Raises as `create` does."""
    return await count(services, incoming, await _asked(services, incoming), client.render_input_tokens)


async def _asked(services: Services, incoming: Incoming) -> Asked:
    memory = services.setup.loaded.settings.memory

    def parse(raw: bytes, body: dict[str, Any]) -> Asked:
        asked = asked_of(incoming, raw, body, client, client.parse_request, vendor="openai")
        if body.get("conversation") is None:
            return asked
        # What it says changes from one request to the next.
        return replace(asked, controls=replace(asked.controls, look_up=False, store=False, idempotency_key=None))

    asked = await read_question(services, incoming, parse)
    wanted = asked.body.get("store") is not False and asked.body.get("conversation") is None
    try:
        return await remembered(
            services.responses,
            incoming.tenant,
            asked,
            keeps=wanted and memory.responses,
            reads=memory.responses,
            asks_vendor=sees_all(services, incoming.identity),
            owns_conversation=await owns(services, incoming, named_conversation(asked.body)),
        )
    except TooLarge as error:
        raise refused(400, str(error), kind="too_large", param="previous_response_id", code="too_large") from error


# --- stored responses ----------------------------------------------------------------------------


async def retrieve(services: Services, incoming: Incoming) -> web.StreamResponse:
    """A stored response, or the input that it answers.

    Raises:
        Refused: 404 for what is stored neither here nor at the provider that the request names.
    """
    response_id, rest = _named(incoming)
    stored = await services.responses.get(incoming.tenant, response_id)
    if stored is None or rest not in ("", INPUT_ITEMS):
        return await _elsewhere(services, incoming, response_id, rest in ("", INPUT_ITEMS))
    query = incoming.http.query
    if rest == INPUT_ITEMS:
        return json_response(_page(stored, query.get("order"), query.get("after"), query.get("limit")), incoming.id)
    if query.get("stream") == "true":
        return await replay_stored(services, incoming, stored)
    return _as_stored(stored.body, incoming)


async def delete(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Forget a response, here and where its vendor keeps it. Raises as `retrieve` does."""
    response_id, rest = _named(incoming)
    stored = await services.responses.get(incoming.tenant, response_id)
    if stored is None or rest:
        return await _elsewhere(services, incoming, response_id, not rest)
    services.running.cancel(incoming.tenant, response_id)
    services.sharing.cancelled(incoming.tenant, response_id)
    if stored.vendor_stored:
        await delete_at_vendor(services, incoming, stored)
    await services.responses.delete(incoming.tenant, response_id)
    return json_response({"id": response_id, "object": "response", "deleted": True}, incoming.id)


async def act(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Cancel a response that is made in the background; one that has ended stays. Raises as `retrieve` does."""
    response_id, rest = _named(incoming)
    stored = await services.responses.get(incoming.tenant, response_id)
    if stored is None or rest != CANCEL:
        return await _elsewhere(services, incoming, response_id, rest == CANCEL)
    if loads_object(stored.body).get("background") is not True:
        raise refused(
            400,
            f"Response with id '{response_id}' was not made in the background and cannot be cancelled.",
            code="invalid_request",
        )
    await services.responses.set_status(incoming.tenant, response_id, "cancelled")
    services.running.cancel(incoming.tenant, response_id)
    services.sharing.cancelled(incoming.tenant, response_id)
    ended = await services.responses.get(incoming.tenant, response_id)
    return _as_stored((ended or stored).body, incoming)


def _named(incoming: Incoming) -> tuple[str, str]:
    """(id of the response, what follows it in the path)."""
    response_id, _, rest = incoming.parameter.partition("/")
    return unquote(response_id), rest


async def _elsewhere(services: Services, incoming: Incoming, response_id: str, known: bool) -> web.StreamResponse:
    """What the vendor says of a response that is not stored here, or of a path that is not *known* here."""
    unknown = f"Response with id '{response_id[:200]}' not found."
    if PROVIDER_HEADER in incoming.http.headers and sees_all(services, incoming.identity):
        try:
            return await pass_on(services, incoming)
        except Refused as error:
            failure = error.failure
            if not known or failure.kind != "not_found" or failure.code == "no_provider":
                raise
            told = replace(failure, message=f"{unknown} {failure.message}", code="not_found")
            raise Refused(told, error.headers) from error
    if known:
        raise refused(404, unknown, kind="not_found", code="not_found")
    path = incoming.http.rel_url.raw_path[:200]
    raise refused(404, f"there is nothing at {incoming.http.method} {path}", kind="not_found", code="unknown_url")


def _as_stored(body: bytes, incoming: Incoming) -> web.Response:
    headers = {
        "content-type": "application/json",
        "x-request-id": incoming.id,
        "x-content-type-options": "nosniff",
    }
    return web.Response(body=body, headers=headers)


def _page(stored: StoredResponse, order: str | None, after: str | None, limit: str | None) -> dict[str, Any]:
    """A part of the response's own input items, newest first unless the client says otherwise.

    Raises:
        Refused: 400 naming the parameter.
    """
    if order not in (None, "asc", "desc"):
        raise _bad("order", "asc or desc", order)
    count = DEFAULT_LIMIT if limit is None else whole(limit, "limit", 1, MAX_LIMIT)
    items = client.input_items({"input": loads(stored.input)}, stored.id)
    if order != "asc":
        items.reverse()
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise _bad("after", "the id of one of the response's input items", after)
    start = ids.index(after) + 1 if after is not None else 0
    page = items[start : start + count]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + len(page) < len(items),
    }


def _bad(name: str, expected: str, found: str) -> Refused:
    return refused(400, f"{name}: expected {expected}, found {found[:80]!r}", param=name, code="invalid_parameter")
