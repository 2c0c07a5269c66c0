"""`/api/v1/llm/providers`: who answers, and providers that are added or changed while the server runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from proxy.config.model import Address, LimitSettings, Price, ProviderSettings, TimeoutSettings
from proxy.config.shipped import rows
from proxy.credentials import StoredKeys
from proxy.errors import Refused, refused
from proxy.ingress.json import json_response
from proxy.ingress.ledger import iso
from proxy.ingress.parameters import bad
from proxy.provider_book import follows, over, section_of, why_not_reference
from proxy.providers import ProviderSpec, providers
from proxy.server import Incoming, read_body
from proxy.services import Services
from proxy.spelling import check_repeated
from translators.codec import JsonError, loads_object

MAX_BODY: Final = 256 * 1024
MOST_KEYS: Final = 64

ProviderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x20\x7f]+$")]
Names = Annotated[list[ModelName], Field(max_length=1000)]
WireFormat = Literal["openai_chat", "openai_responses", "anthropic", "gemini"]


def _without_user(value: Address | None) -> Address | None:
    if value is not None and "@" in value.partition("://")[2].partition("/")[0]:
        raise ValueError("a name and a password have no place in an address; use credentials")
    return value


class ProviderChange(BaseModel):
    """What can be said of a provider at run time; null takes back what was said. Files and headers cannot be said."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    enabled: bool | None = Field(None, description="`false` switches it off, whatever its keys.")
    dialect: WireFormat | None = Field(None, description="Wire format. Default: the shipped row's, or openai_chat.")
    also_speaks: list[WireFormat] | None = Field(None, description="Further wire formats at the same address.")
    base_url: Annotated[Address | None, AfterValidator(_without_user)] = Field(
        None, description="Where the API begins, as the vendor's own SDK takes it."
    )
    auth: Literal["bearer", "x-api-key", "x-goog-api-key", "api-key", "none"] | None = Field(
        None, description="How the key is sent. Default: as the dialect does; none without credentials."
    )
    credentials: Annotated[list[str], Field(max_length=MOST_KEYS)] | None = Field(
        None,
        description='References: `"stored:NAME"` (POST /api/v1/credentials) or `"env:NAME"`; never a key itself.',
    )
    models: Names | None = Field(None, description="Model names that are offered.")
    patterns: Names | None = Field(None, description="Globs of bare model names that also lead here.")
    price: Price | None = Field(None, description="US dollars per million tokens, for all models or by model.")
    limits: LimitSettings | None = Field(None, description="What the provider is asked for at most.")
    timeouts: TimeoutSettings | None = Field(None, description="Clocks of one attempt.")


class NewProvider(ProviderChange):
    """A provider to be added."""

    name: ProviderName = Field(description="How clients and routes call it: `name/model`.")


async def list_providers(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Every provider that is known, with its state; `?enabled=true` leaves out those that are off."""
    wanted = incoming.http.query.get("enabled")
    if wanted not in {None, "true", "false"}:
        raise bad("enabled", "expected true or false")
    specs = [spec for spec in services.setup.specs.values() if wanted is None or spec.enabled is (wanted == "true")]
    return json_response({"data": [shown(services, spec) for spec in specs]}, incoming.id)


async def one_provider(services: Services, incoming: Incoming) -> web.StreamResponse:
    """One provider, or with `/status` its health: breaker, keys, limits, how its answers went."""
    name, _, rest = incoming.parameter.partition("/")
    spec = _found(services, unquote(name))
    if rest == "status":
        return json_response(_status(services, spec), incoming.id)
    _no_more(rest, incoming)
    return json_response(shown(services, spec), incoming.id)


async def add_provider(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Add a provider. It is asked from the next request on, and stays after a restart."""
    body = await _read(incoming, NewProvider)
    async with services.provider_book.changing:
        return await _added(services, incoming, body.pop("name"), body)


async def _added(services: Services, incoming: Incoming, name: str, body: Mapping[str, Any]) -> web.StreamResponse:
    spec = services.setup.specs.get(name)
    if name in services.provider_book.rows or (spec is not None and spec.configured):
        told = f"there is a provider {name} already; change it: PUT /api/v1/llm/providers/{name}"
        raise refused(409, told, param="name", code="provider_exists")
    if name not in rows() and "base_url" not in body:
        raise bad("base_url", f"missing; {name} is not a shipped provider")
    await _put(services, incoming, name, body, body)
    return json_response(shown(services, services.setup.specs[name]), incoming.id, 201)


async def change_provider(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Change a provider; what the body does not name stays, and null is as though it had never been said."""
    body = await _read(incoming, ProviderChange)
    async with services.provider_book.changing:
        return await _changed(services, incoming, body)


async def _changed(services: Services, incoming: Incoming, body: Mapping[str, Any]) -> web.StreamResponse:
    spec = _found(services, unquote(incoming.parameter))
    if spec.backend != "http" and body.keys() - {"enabled", "limits"}:
        raise refused(400, f"{spec.name} is local; only enabled and limits can be changed here", code="local_provider")
    said = {
        name: value for name, value in {**services.provider_book.said(spec.name), **body}.items() if value is not None
    }
    await _put(services, incoming, spec.name, said, body)
    return json_response(shown(services, services.setup.specs[spec.name]), incoming.id)


async def remove_provider(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Take back what was said of a provider at run time: it is as the configuration has it, or gone."""
    name = unquote(incoming.parameter)
    if name not in services.provider_book.rows:
        _found(services, name)
        told = f"nothing was said of {name} at run time; what the configuration says is changed there"
        raise refused(409, told, code="provider_configured")
    await _in_force(services, services.provider_book.remove(incoming.identity, name))
    return json_response({"name": name, "removed": True}, incoming.id)


# --- what may be said ------------------------------------------------------------------------------


async def _read(incoming: Incoming, model: type[ProviderChange]) -> dict[str, Any]:
    """What the body says, as a section's fields and `name`. Raises Refused, 400, naming the field."""
    raw = await read_body(incoming.http, MAX_BODY)
    try:
        body = loads_object(raw)
    except JsonError as error:
        raise refused(400, f"the body: {error}", code="invalid_json") from error
    check_repeated(raw, body)
    try:
        model.model_validate_json(raw)
    except ValidationError as error:
        raise _wrong(error, model) from error
    if "credentials" in body:
        body["keys"] = body.pop("credentials")
    return body


def _wrong(error: ValidationError, model: type[BaseModel]) -> Refused:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    told = first["msg"].removeprefix("Value error, ")
    match first["type"]:
        case "expected":
            told = f"expected {told}"
        case "missing":
            told = "missing"
        case "extra_forbidden":
            told = f"unknown; there are {', '.join(model.model_fields)}"
    return bad(place[:200], told[:800])


async def _put(
    services: Services, incoming: Incoming, name: str, said: Mapping[str, Any], body: Mapping[str, Any]
) -> None:
    """Check *said*, store it and put it in force. Raises Refused, 400."""
    said = {field: value for field, value in said.items() if value is not None}
    try:
        section = section_of(said)
    except ValidationError as error:
        raise _wrong(error, ProviderSettings) from error
    setup, stored = services.setup, services.credentials.keys
    new = _would_be(services, name, section, stored)
    references: list[str] = said.get("keys", [])
    for place, text in enumerate(references):
        if why := why_not_reference(text, name, new.base_url, stored):
            raise bad(f"credentials.{place}", why)
    if followed := follows(setup.specs.get(name), new, body.get("keys") or ()):
        raise bad("base_url", f"{followed} would be sent to another server; say in credentials which keys it gets")
    await _in_force(services, services.provider_book.put(incoming.identity, name, said))


def _would_be(services: Services, name: str, section: ProviderSettings, stored: StoredKeys) -> ProviderSpec:
    settings = over(services.setup.loaded.settings, {name: section})
    return providers(settings, os.environ, services.overlay, stored)[name]


async def _in_force(services: Services, change: Coroutine[Any, Any, None]) -> None:
    """Make *change* and let requests be served by it; to its end, if the client leaves."""

    async def done() -> None:
        await change
        services.renew_prices()

    task = asyncio.ensure_future(done())
    services.spawn(_ended(task))
    await asyncio.shield(task)


async def _ended(task: asyncio.Future[None]) -> None:
    await asyncio.wait({task})


# --- what is shown ---------------------------------------------------------------------------------


def shown(services: Services, spec: ProviderSpec) -> dict[str, Any]:
    """A provider for those who administer it. No key is in it."""
    row = services.provider_book.rows.get(spec.name)
    said = services.provider_book.said(spec.name)
    if "keys" in said:
        said["credentials"] = said.pop("keys")
    ring = services.setup.rings.get(spec.name)
    return {
        "id": spec.name,
        "title": spec.title,
        "enabled": spec.enabled,
        "why_off": spec.why_off or None,
        "status": _health(services, spec)["status"] if ring else "off",
        "origin": _origin(services, spec),
        "backend": spec.backend,
        "dialect": spec.dialect,
        "also_speaks": list(spec.also_speaks),
        "base_url": services.setup.redactor.clean(spec.base_url) or None,
        "models": list(spec.models),
        "patterns": list(spec.patterns),
        "keys": {"total": len(spec.keys), "available": min(ring.available, len(spec.keys)) if ring else 0},
        "limits": _limits(spec),
        "said": said or None,
        "changed_at": iso(row.changed_us / 1_000_000) if row else None,
    }


def _status(services: Services, spec: ProviderSpec) -> dict[str, Any]:
    """The provider's entry of `/health`, and what it may be asked for at most."""
    told = {"id": spec.name, "enabled": spec.enabled, "why_off": spec.why_off or None, "limits": _limits(spec)}
    if not spec.enabled:
        return {**told, "status": "off"}
    entry = _health(services, spec)
    del entry["name"]
    return {**told, **entry}


def _health(services: Services, spec: ProviderSpec) -> dict[str, Any]:
    return services.health.snapshot(spec.name, services.breakers, services.setup.rings[spec.name])


def _limits(spec: ProviderSpec) -> dict[str, Any]:
    return asdict(spec.limits)


def _origin(services: Services, spec: ProviderSpec) -> str:
    if spec.name in services.provider_book.rows:
        return "run time"
    return "configuration" if spec.configured else "shipped"


def _found(services: Services, name: str) -> ProviderSpec:
    spec = services.setup.specs.get(name)
    if spec is None:
        known = ", ".join(each.name for each in services.setup.enabled)
        told = f"no provider is called {name[:80]!r}; there are {known}"
        raise refused(404, told, kind="not_found", code="provider_not_found")
    return spec


def _no_more(rest: str, incoming: Incoming) -> None:
    """Raises Refused, 404: there is nothing at such a path."""
    if rest:
        path = incoming.http.rel_url.raw_path[:200]
        raise refused(404, f"there is nothing at {incoming.http.method} {path}", kind="not_found", code="unknown_url")
