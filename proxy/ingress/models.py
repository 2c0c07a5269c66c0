"""`GET /v1/models` and `/v1/models/{id}`: what can be written into `model`, as the asking client lists it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from proxy.envelopes import dialect_of
from proxy.errors import refused
from proxy.ingress.json import json_response
from proxy.server import Incoming
from proxy.services import Services
from routing.errors import NoProvider, UnknownModel
from routing.targets import Target
from translators.dialect import Rules
from translators.gemini.client import render_model, render_models


async def list_models(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Routes first, then the models of each provider; on one page, however many are asked for."""
    entry, page = _SHAPES.get(_dialect(incoming), _SHAPES["openai_chat"])
    return json_response(page([entry(services, name) for name in services.setup.names.listed]), incoming.id)


async def one_model(services: Services, incoming: Incoming) -> web.StreamResponse:
    """The entry of one name, in whichever of its spellings it is asked for.

    Raises:
        Refused: nobody offers it.
    """
    name = unquote(incoming.parameter)
    try:
        services.setup.names.resolve(name)
    except UnknownModel as error:
        raise refused(404, str(error), kind="not_found", code="model_not_found", param="model") from error
    except NoProvider as error:
        raise refused(503, str(error), kind="overloaded", code="no_provider", param="model") from error
    entry, _ = _SHAPES.get(_dialect(incoming), _SHAPES["openai_chat"])
    return json_response(entry(services, name), incoming.id)


def _dialect(incoming: Incoming) -> str:
    return dialect_of(incoming.http.rel_url.raw_path, incoming.http.headers)


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


def _openai_page(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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


def _anthropic_page(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, last = (entries[0]["id"], entries[-1]["id"]) if entries else (None, None)
    return {"data": entries, "has_more": False, "first_id": first, "last_id": last}


def _gemini(services: Services, name: str) -> dict[str, Any]:
    rules = _rules(services, name)
    return render_model(
        name, _facts(services, _target(services, name)).get("title"), rules.context_tokens, rules.max_output_tokens
    )


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


Entry = Callable[[Services, str], dict[str, Any]]
Page = Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]

_SHAPES: Final[Mapping[str, tuple[Entry, Page]]] = {
    "openai_chat": (_openai, _openai_page),
    "anthropic": (_anthropic, _anthropic_page),
    "gemini": (_gemini, render_models),
}
"""By dialect: how one model is written, and how the list is."""
