"""The simplest proxy that aiohttp makes: what comes is passed on, and nothing else is done.

python benchmarks/gateways/bare.py PORT UPSTREAM
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web


async def session(app: web.Application) -> AsyncIterator[None]:
    """One client for all requests, for as long as the server runs."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as app["client"]:
        yield


async def pass_on(request: web.Request) -> web.StreamResponse:
    """The provider's answer, whole or piece by piece."""
    headers = {"content-type": "application/json"}
    address = sys.argv[2].removesuffix("/v1") + request.path
    async with request.app["client"].post(address, data=await request.read(), headers=headers) as reply:
        if reply.headers["content-type"] != "text/event-stream":
            return web.Response(body=await reply.read(), content_type="application/json")
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async for piece in reply.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


if __name__ == "__main__":
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.cleanup_ctx.append(session)
    app.router.add_post("/{path:.*}", pass_on)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
