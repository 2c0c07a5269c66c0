"""`/api/v1/prices`: the price of a model, models without one, and costs computed anew."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from proxy.errors import refused
from proxy.ingress.bodies import read_model
from proxy.ingress.json import json_response
from proxy.ingress.ledger import iso, moment
from proxy.ingress.parameters import bad
from proxy.repricing import Line, repriced
from proxy.server import Incoming
from proxy.services import Services
from routing.pricing import Price, PriceBook
from storage.money import usd
from storage.repricing import Repricing, Span


async def unpriced(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Models with attempts whose cost is unknown."""
    now, query = time.time(), incoming.http.query
    provider, model = _split(services, query.get("model"))
    since, until = _between(query.get("since", "30d"), query.get("until"), now)
    span = Span(since, until, provider, model)
    found = await Repricing(services.db).unpriced(span)
    models = [
        {
            "provider": each.provider,
            "model": each.model,
            "attempts": each.attempts,
            "input_tokens": each.input_tokens,
            "output_tokens": each.output_tokens,
            "first_at": iso(each.first_at),
            "last_at": iso(each.last_at),
        }
        for each in found
    ]
    return json_response({"since": iso(since), "until": iso(span.until or now), "models": models}, incoming.id)


def _between(since: str, until: str | None, now: float) -> tuple[float, float]:
    """Unix seconds from and up to which, now where that is not said. Raises Refused, 400."""
    first, last = moment(since, "since", now), moment(until, "until", now) if until else now
    if last < first:
        named, expected = ("until", f"after since, {iso(first)}") if until else ("since", f"before now, {iso(now)}")
        raise bad(named, f"expected a time {expected}; found {iso(last if until else first)}")
    return first, last


class RepriceBody(BaseModel):
    """What is to be priced again."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    since: str = Field("7d", description="From: 30m, 24h, 7d or an ISO 8601 time.")
    until: str | None = Field(None, description="Up to. Default: now.")
    model: str | None = Field(None, description="`provider/model`, or a model's name; globs are allowed.")
    all: bool = Field(False, description="Costs that are known, too.")
    dry_run: bool = Field(False, description="Say what would change, and change nothing.")


async def reprice(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Compute costs anew, at the prices that were in force when the answers were made."""
    body = await read_model(incoming, RepriceBody)
    now = time.time()
    provider, model = _split(services, body.model)
    since, until = _between(body.since, body.until, now)
    span = Span(since, until, provider, model, body.all)
    await asyncio.to_thread(services.prices.warm)
    report = await repriced(services, span, incoming.identity, dry_run=body.dry_run)
    return json_response(
        {
            "since": iso(since),
            "until": iso(until),
            "dry_run": body.dry_run,
            **_shown(report.total),
            "models": [
                {"provider": provider, "model": model, **_shown(line)}
                for (provider, model), line in sorted(report.models.items())
            ],
        },
        incoming.id,
    )


def _shown(line: Line) -> dict[str, Any]:
    return {
        "attempts": line.attempts,
        "changed": line.changed,
        "still_unpriced": line.unpriced,
        "before_usd": usd(line.before),
        "after_usd": usd(line.after),
    }


async def show(services: Services, incoming: Incoming) -> web.StreamResponse:
    """The price of a model, at every provider that offers it, now or at another time."""
    query = incoming.http.query
    name = query.get("model", "")
    if not name:
        raise refused(400, "model: missing; give provider/model or a model's name", param="model")
    at = datetime.fromtimestamp(moment(query["at"], "at", time.time()) if query.get("at") else time.time(), UTC)
    await asyncio.to_thread(services.prices.warm)
    provider, model = _split(services, name)
    names = [provider] if provider else [spec.name for spec in services.setup.specs.values() if spec.enabled]
    found = [
        {"provider": each, "model": model, **shown(services.prices, each, model or "", at)}
        for each in names
        if provider or services.prices.price(each, model or "", at) is not None
    ]
    return json_response({"at": iso(at.timestamp()), "currency": "USD", "data": found}, incoming.id)


def shown(prices: PriceBook, provider: str, model: str, at: datetime) -> dict[str, Any]:
    """The price in force and its variants, as JSON."""
    price = prices.price(provider, model, at)
    if price is None:
        return {"source": None, "version": None, "rates": None, "served": []}
    served = [
        {"when": dict(way), "version": other.version, "rates": _rates(other)}
        for way in prices.ways(provider, model, at)
        if (other := prices.price(provider, model, at, way)) is not None and other.version != price.version
    ]
    return {"source": price.source, "version": price.version, "rates": _rates(price), "served": served}


def _rates(price: Price) -> dict[str, Any]:
    return {
        kind: {
            "usd": f"{rate.base:f}",
            "tiers": [{"above": start, "usd": f"{dollars:f}"} for start, dollars in rate.tiers],
        }
        for kind, rate in price.rates.items()
    }


def _split(services: Services, name: str | None) -> tuple[str | None, str | None]:
    """Provider and model of `provider/model`; a name that begins with no provider is a model's."""
    if not name:
        return None, None
    provider, slash, model = name.partition("/")
    if slash and provider in services.setup.specs:
        return provider, model
    return None, name
