"""`/api/v1/catalog`: what is known of models and where it comes from; asking vendors again; unlearning lessons."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from aiohttp import web

from proxy.errors import Refused, refused
from proxy.ingress.json import json_response
from proxy.model_lists import Outcome, refresh, why_not
from proxy.origins import explained, lesson, moment
from proxy.providers import ProviderSpec
from proxy.server import Incoming, read_body
from proxy.services import Services
from proxy.setup import Setup
from routing.errors import NoProvider, UnknownModel
from routing.targets import Target
from translators.codec import JsonError, loads_object

MAX_BODY: Final = 64 * 1024
MOST_NAMES: Final = 20
"""Models that an error names."""
BETWEEN_BREATHS: Final = 20
"""Models that are explained before other requests get their turn."""


async def refresh_catalog(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Ask vendors for their lists of models; what that changed, provider by provider."""
    wanted = await _providers(incoming)
    with services.setup.used() as setup:
        specs = _chosen(setup, wanted)
        outcomes = await refresh(services.catalogue, setup, specs)
    services.renew_models()
    for outcome in outcomes:
        if outcome.status == "ok":
            await services.audit.record(
                incoming.identity, "catalog.refreshed", outcome.provider, after=_counts(outcome)
            )
    return json_response({"providers": [_told(outcome) for outcome in outcomes]}, incoming.id)


async def show_catalog(services: Services, incoming: Incoming) -> web.StreamResponse:
    """What is known, model by model; `?provider=` and `?model=` choose."""
    query = incoming.http.query
    setup = services.setup
    provider, model = query.get("provider"), query.get("model")
    if provider is not None and provider not in setup.specs:
        raise _unknown_provider(setup, provider)
    targets = list(_targets(services, setup, provider, model))
    entries = []
    for number, target in enumerate(targets, 1):
        entries.append(_entry(services, setup, target))
        if number % BETWEEN_BREATHS == 0:
            await asyncio.sleep(0)
    lists = [
        _list(services, spec)
        for spec in setup.specs.values()
        if spec.name in {target.provider for target in targets} or (spec.enabled and not (provider or model))
    ]
    return json_response({"data": entries, "lists": lists}, incoming.id)


async def forget_lessons(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Unlearn what a provider, or one of its models, has taught."""
    query = incoming.http.query
    provider = query.get("provider")
    if not provider:
        raise refused(
            400, "provider: say whose lessons are to be forgotten", param="provider", code="invalid_parameter"
        )
    model = query.get("model") or None
    _check_memory(services, provider, model)
    forgotten = await services.catalogue.forget(provider, model)
    subject = f"{provider}/{model}" if model else provider
    await services.audit.record(incoming.identity, "lessons.forgotten", subject, after={"forgotten": forgotten})
    return json_response({"forgotten": forgotten}, incoming.id)


def _check_memory(services: Services, provider: str, model: str | None) -> None:
    """Raises Refused, 404 that names what there is, where *provider* or *model* is nothing that may have taught."""
    taught = services.catalogue.taught()
    models = sorted(name for teacher, name in taught if teacher == provider)
    if provider not in services.setup.specs and not models:
        teachers = ", ".join(dict.fromkeys(teacher for teacher, _ in taught))
        there = f"there are lessons of {teachers}" if teachers else "there are no lessons at all"
        told = f"no provider is called {provider[:80]!r}; {there}"
        raise refused(404, told, kind="not_found", param="provider", code="provider_not_found")
    if model is not None and model not in models and models:
        told = f"{provider} has no lessons of {model[:80]!r}; it has some of {', '.join(models[:MOST_NAMES])}"
        raise refused(404, told, kind="not_found", param="model", code="model_not_found")


# --- refresh -------------------------------------------------------------------------------------


async def _providers(incoming: Incoming) -> list[str] | None:
    """The names in the body; None where it has none. Raises Refused."""
    raw = await read_body(incoming.http, MAX_BODY)
    if not raw.strip():
        return None
    try:
        body = loads_object(raw)
    except JsonError as error:
        raise refused(400, f"the body: {error}", code="invalid_json") from error
    if unknown := sorted(body.keys() - {"providers"}):
        raise refused(400, f"{unknown[0]}: there is only providers", param=unknown[0], code="invalid_parameter")
    names = body.get("providers")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise refused(400, "providers: expected a list of names", param="providers", code="invalid_parameter")
    return names


def _chosen(setup: Setup, names: list[str] | None) -> list[ProviderSpec]:
    """The named providers, else every one that is on."""
    if names is None:
        return setup.enabled
    for name in names:
        if name not in setup.specs:
            raise _unknown_provider(setup, name, "providers")
    return [setup.specs[name] for name in dict.fromkeys(names)]


def _unknown_provider(setup: Setup, name: str, param: str = "provider") -> Refused:
    known = ", ".join(spec.name for spec in setup.enabled)
    return refused(404, f"no provider is called {name[:80]!r}; there are {known}", kind="not_found", param=param)


def _counts(outcome: Outcome) -> dict[str, int]:
    models = len(outcome.listing.models) if outcome.listing else 0
    changes = {"added": outcome.added, "removed": outcome.removed, "changed": outcome.changed}
    return {"models": models, **{name: len(found) for name, found in changes.items()}}


def _told(outcome: Outcome) -> dict[str, Any]:
    listing = outcome.listing
    return {
        "provider": outcome.provider,
        "status": outcome.status,
        "models": len(listing.models) if listing else None,
        "added": list(outcome.added),
        "removed": list(outcome.removed),
        "changed": {model: list(names) for model, names in outcome.changed.items()},
        "error": outcome.error or None,
        "source": outcome.source or None,
        "fetched_at": moment(listing.fetched_at) if listing else None,
    }


# --- what is known -------------------------------------------------------------------------------


def _targets(services: Services, setup: Setup, provider: str | None, model: str | None) -> Iterator[Target]:
    """The targets that are meant. A model of which nothing is known has its rules all the same."""
    if provider is not None and model is not None:
        yield Target(provider, model)
        return
    known = _known(services, setup, provider)
    if model is None:
        yield from known
        return
    if found := [target for target in known if model in {target.model, target.name}]:
        yield from found
        return
    try:
        yield from setup.names.resolve(model).targets
    except (UnknownModel, NoProvider) as error:
        raise refused(404, str(error), kind="not_found", code="model_not_found", param="model") from error


def _known(services: Services, setup: Setup, provider: str | None) -> list[Target]:
    """What is offered, listed by a vendor, or has taught something; of the providers that are on, or of *provider*."""
    found: dict[Target, None] = {}
    for spec in setup.specs.values():
        if spec.name != provider and (provider is not None or not spec.enabled):
            continue
        listing = services.catalogue.listing(spec)
        learned = (model for name, model in services.catalogue.taught() if name == spec.name)
        for model in (*spec.models, *(listing.models if listing else ()), *learned):
            found[Target(spec.name, model)] = None
    return list(found)


def _entry(services: Services, setup: Setup, target: Target) -> dict[str, Any]:
    settings, catalogue = setup.loaded.settings, services.catalogue
    spec = setup.specs[target.provider]
    listing = catalogue.listing(spec)
    facts = dict(listing.models.get(target.model, {})) if listing else {}
    facts.pop("rules", None)
    return {
        "provider": target.provider,
        "model": target.model,
        "dialect": spec.dialect,
        "rules": explained(catalogue, spec, settings, target.model, setup.redactor.clean),
        "listed": facts or None,
        "lessons": [
            lesson(rule, settings.catalog.lesson_ttl_s) for rule in catalogue.lessons(target.provider, target.model)
        ],
    }


def _list(services: Services, spec: ProviderSpec) -> dict[str, Any]:
    """Whether and when a vendor's list was fetched."""
    listing = services.catalogue.listing(spec)
    return {
        "provider": spec.name,
        "source": listing.source if listing else None,
        "fetched_at": moment(listing.fetched_at) if listing else None,
        "models": len(listing.models) if listing else None,
        "never_asked": why_not(spec) or None,
    }
