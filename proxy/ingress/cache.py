"""`/api/v1/cache`: what the cache holds and what it was good for, and removing from it."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from proxy.cache_use import CacheUse
from proxy.errors import refused
from proxy.ingress.json import json_response
from proxy.server import Incoming
from proxy.services import Services
from storage.cache import Purge, Share
from storage.money import usd

_MIB: Final = 2**20
_NAMED: Final = ("tag", "route", "model", "key")


async def cache_stats(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Entries and size, by route and model as well; hits, misses and what they saved since the start."""
    stats, total = services.cache.stats(), services.cache_use.total()
    size_mb = round(stats.pop("size_bytes") / _MIB, 3)
    told = {
        **stats,
        "size_mb": size_mb,
        "stale_hits": total.stale_hits,
        "similar_hits": total.similar_hits,
        "saved_usd": usd(total.saved_nanousd),
        "dropped": services.cache.dropped,
        "by": _by_route_and_model(await services.cache.shares(), services.cache_use.pairs),
        "semantic": services.semantic.stats(),
    }
    return json_response(told, incoming.id)


async def clear_cache(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Forget everything, or what the query names: `tag`, `route`, `model` and `key`, all of which have to fit."""
    purge = _purge_of(incoming)
    cleared = await services.cache.purge(purge)
    if purge.route is None and purge.model is None:
        await services.semantic.clear(tenant=purge.tenant, tag=purge.tag)
    else:
        await services.semantic.prune()
    named = {name: value for name, value in incoming.http.query.items() if name in _NAMED}
    action = "cache.purged" if named else "cache.cleared"
    await services.audit.record(incoming.identity, action, "cache", after={"cleared": cleared, **named})
    return json_response({"cleared": cleared}, incoming.id)


def _purge_of(incoming: Incoming) -> Purge:
    """What the query names. An empty `key` is whoever asks without one. Raises Refused."""
    query = incoming.http.query
    for name, value in query.items():
        if name not in _NAMED:
            told = f"{name[:40]}: unknown; there are {', '.join(_NAMED)}"
            raise refused(400, told, param=name[:40], code="invalid_parameter")
        if not value and name != "key":
            raise refused(400, f"{name}: expected a {name}, found nothing", param=name, code="invalid_parameter")
    tag = query.get("tag")
    if tag is not None and "=" not in tag:
        raise refused(400, "tag: expected name=value", param="tag", code="invalid_parameter")
    return Purge(query.get("key"), query.get("route"), query.get("model"), tag)


def _by_route_and_model(shares: list[Share], uses: dict[tuple[str, str], CacheUse]) -> list[dict[str, Any]]:
    """What is stored and what was used, together; the largest first."""
    stored = {(share.route, share.model): share for share in shares}
    rows = []
    for pair in [*stored, *(pair for pair in uses if pair not in stored)]:
        share, use = stored.get(pair), uses.get(pair, CacheUse())
        rows.append(
            {
                "route": pair[0],
                "model": pair[1] or None,
                "entries": share.entries if share else 0,
                "size_mb": round(share.size_bytes / _MIB, 3) if share else 0.0,
                "hits": use.hits,
                "stale_hits": use.stale_hits,
                "similar_hits": use.similar_hits,
                "misses": use.misses,
                "saved_usd": usd(use.saved_nanousd),
            }
        )
    return rows
