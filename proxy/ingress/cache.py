"""`/api/v1/cache`: what the exact cache holds, and emptying it."""

from __future__ import annotations

from aiohttp import web

from proxy.ingress.json import json_response
from proxy.server import Incoming
from proxy.services import Services


async def cache_stats(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Entries, hits, misses, size."""
    stats = services.cache.stats()
    size_mb = round(stats.pop("size_bytes") / 2**20, 3)
    return json_response({**stats, "size_mb": size_mb}, incoming.id)


async def clear_cache(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Forget everything."""
    return json_response({"cleared": await services.cache.clear()}, incoming.id)
