"""`GET /v1/models` and `/v1/models/{id}`: what can be written into `model`, as the asking client lists it.

OpenAI's list has no pages. Anthropic's and Gemini's have them for whoever asks for pages; else everything is on one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from proxy.envelopes import dialect_of
from proxy.errors import Refused, refused
from proxy.ingress.gemini import METHODS
from proxy.ingress.json import json_response
from proxy.scopes import check_scope, is_open, unknown_to
from proxy.server import Incoming
from proxy.services import Services
from routing.errors import NoProvider, UnknownModel
from routing.targets import Target
from translators.dialect import Rules
from translators.gemini.client import render_model, render_models

MAX_LIMIT: Final = 1000
"""Of both vendors. Anthropic refuses more, Gemini gives as many."""


@dataclass(frozen=True, slots=True)
class Page:
    """The *names* on one page, and whether there are *more* in the direction in which the client goes."""

    names: Sequence[str]
    more: bool = False


async def list_models(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Routes first, then the models of each provider; what the key may ask.

    Raises:
        Refused: 400 for a page that there cannot be.
    """
    shape = _shape(incoming)
    names = [name for name in services.setup.names.listed if is_open(incoming.identity, services.setup, name)]
    page = shape.page_of(names, incoming.http.query)
    return json_response(shape.listed([shape.entry(services, name) for name in page.names], page), incoming.id)


async def one_model(services: Services, incoming: Incoming) -> web.StreamResponse:
    """The entry of one name, in whichever of its spellings it is asked for.

    Raises:
        Refused: nobody offers it, or it is what a model is asked at.
    """
    name = unquote(incoming.parameter)
    if name.rpartition(":")[2] in METHODS:
        path = incoming.http.rel_url.raw_path[:200]
        error = refused(405, f"GET is not possible on {path}; use POST", code="method_not_allowed")
        error.headers["allow"] = "POST"
        raise error
    setup = services.setup
    try:
        route = setup.names.resolve(name)
    except UnknownModel as error:
        told = str(unknown_to(incoming.identity, setup, error))
        raise refused(404, told, kind="not_found", code="model_not_found", param="model") from error
    except NoProvider as error:
        raise refused(503, str(error), kind="overloaded", code="no_provider", param="model") from error
    configured = name in setup.loaded.settings.routes
    check_scope(incoming.identity, route, name, configured=configured, providers=setup.specs)
    return json_response(_shape(incoming).entry(services, name), incoming.id)


def _shape(incoming: Incoming) -> _Shape:
    dialect = dialect_of(incoming.http.rel_url.raw_path, incoming.http.headers)
    return _SHAPES.get(dialect, _SHAPES["openai_chat"])


# --- pages ---------------------------------------------------------------------------------------


def _all(names: Sequence[str], query: Mapping[str, str]) -> Page:
    """Everything, whatever *query* says."""
    del query
    return Page(names)


def _anthropic_page(names: Sequence[str], query: Mapping[str, str]) -> Page:
    """`limit` names, those after `after_id` or before `before_id`. Without a limit it is all of them."""
    limit, after, before = query.get("limit"), query.get("after_id"), query.get("before_id")
    if after is not None and before is not None:
        raise _bad("before_id", "it or after_id, not both", before)
    count = len(names)
    if limit is not None:
        count = _number("limit", limit)
        if not 1 <= count <= MAX_LIMIT:
            raise _bad("limit", f"a number from 1 to {MAX_LIMIT}", limit)
    if before is not None:
        end = _position("before_id", before, names)
        start = max(0, end - count)
        return Page(names[start:end], start > 0)
    start = _position("after_id", after, names) + 1 if after is not None else 0
    return Page(names[start : start + count], start + count < len(names))


def _gemini_page(names: Sequence[str], query: Mapping[str, str]) -> Page:
    """`pageSize` names from `pageToken` on. Without a size, or with 0, it is all of them.

    A token is the last name before its page, encoded.
    """
    size, token = query.get("pageSize"), query.get("pageToken")
    count = _number("pageSize", size) if size else 0
    if count < 0:
        raise _bad("pageSize", "a number that is not negative", str(size))
    count = min(count, MAX_LIMIT) or len(names)
    start = 0
    if token:
        try:
            last = base64.b64decode(token, altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise _bad("pageToken", "the nextPageToken of a list", token) from error
        start = _position("pageToken", last, names) + 1
    return Page(names[start : start + count], start + count < len(names))


def _position(field: str, name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise _bad(field, "a model of the list", name)
    return names.index(name)


def _number(field: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        raise _bad(field, "a whole number", text)
    return int(text)


def _bad(field: str, expected: str, found: str) -> Refused:
    return refused(400, f"{field}: expected {expected}, found {found[:80]!r}", param=field, code="invalid_parameter")


# --- shapes --------------------------------------------------------------------------------------


def _openai(services: Services, name: str) -> dict[str, Any]:
    route = services.setup.loaded.settings.routes.get(name)
    if route is None:
        target = _target(services, name)
        created = _facts(services, target).get("created", services.started_unix)
        entry = {"id": name, "object": "model", "created": created, "owned_by": target.provider}
        rules = _rules(services, name)
        # OpenAI's list tells no limits; OpenRouter's, which many clients read, has the first of these.
        limits = {"context_length": rules.context_tokens, "max_output_tokens": rules.max_output_tokens}
        return {**entry, **{limit: tokens for limit, tokens in limits.items() if tokens is not None}}
    return {
        "id": name,
        "object": "model",
        "created": services.started_unix,
        "owned_by": "modelport",
        "modelport": {"policy": route.policy, "targets": [each.target for each in route.weighted]},
    }


def _openai_list(entries: Sequence[Mapping[str, Any]], page: Page) -> dict[str, Any]:
    del page
    return {"object": "list", "data": entries}


def _anthropic(services: Services, name: str) -> dict[str, Any]:
    rules = _rules(services, name)
    facts = _facts(services, _target(services, name))
    since = facts.get("created", services.started_unix)
    created = datetime.fromtimestamp(since, UTC).isoformat().replace("+00:00", "Z")
    title = facts.get("title", name)
    entry: dict[str, Any] = {"type": "model", "id": name, "display_name": title, "created_at": created}
    if rules.context_tokens is not None:
        entry["max_input_tokens"] = rules.context_tokens
    if rules.max_output_tokens is not None:
        entry["max_tokens"] = rules.max_output_tokens
    return entry


def _anthropic_list(entries: Sequence[Mapping[str, Any]], page: Page) -> dict[str, Any]:
    first, last = (page.names[0], page.names[-1]) if page.names else (None, None)
    return {"data": entries, "has_more": page.more, "first_id": first, "last_id": last}


def _gemini(services: Services, name: str) -> dict[str, Any]:
    rules = _rules(services, name)
    return render_model(
        name, _facts(services, _target(services, name)).get("title"), rules.context_tokens, rules.max_output_tokens
    )


def _gemini_list(entries: Sequence[Mapping[str, Any]], page: Page) -> dict[str, Any]:
    told = render_models(entries)
    return {**told, "nextPageToken": base64.urlsafe_b64encode(page.names[-1].encode()).decode()} if page.more else told


def _rules(services: Services, name: str) -> Rules:
    """What the first target of that name takes."""
    target = _target(services, name)
    return services.setup.specs[target.provider].rules(target.model)


def _target(services: Services, name: str) -> Target:
    return services.setup.names.resolve(name).targets[0]


def _facts(services: Services, target: Target) -> Mapping[str, Any]:
    """What the vendor's own list says of *target*."""
    listing = services.catalogue.listing(services.setup.specs[target.provider])
    return listing.models.get(target.model, {}) if listing else {}


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a dialect writes one model, which page of all names a query asks for, and how the page is written."""

    entry: Callable[[Services, str], dict[str, Any]]
    page_of: Callable[[Sequence[str], Mapping[str, str]], Page]
    listed: Callable[[Sequence[Mapping[str, Any]], Page], dict[str, Any]]


_SHAPES: Final[Mapping[str, _Shape]] = {
    "openai_chat": _Shape(_openai, _all, _openai_list),
    "anthropic": _Shape(_anthropic, _anthropic_page, _anthropic_list),
    "gemini": _Shape(_gemini, _gemini_page, _gemini_list),
}
