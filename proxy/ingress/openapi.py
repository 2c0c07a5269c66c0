"""`/openapi.json`: what the server has, described for programs. It holds no secret, so reading it needs no key."""

from __future__ import annotations

import asyncio

from aiohttp import web

from proxy.server import Incoming
from proxy.services import Services


async def openapi(_services: Services, incoming: Incoming) -> web.StreamResponse:
    """This document."""
    # Imported and made when it is asked for first, which takes a quarter of a second: hardly any process is asked.
    body = await asyncio.to_thread(_document)
    headers = {"content-type": "application/json", "x-request-id": incoming.id, "x-content-type-options": "nosniff"}
    return web.Response(body=body, headers=headers)


def _document() -> bytes:
    from proxy.openapi.document import rendered

    return rendered()
