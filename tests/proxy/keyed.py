"""Servers with keys, and short ways to make them."""

from __future__ import annotations

import json
from typing import Any

from tests.proxy.serving import Reply, Served

MASTER_KEY = "mp-master-0123456789"
MASTER = {"authorization": f"Bearer {MASTER_KEY}"}
WITH_MASTER = f'[auth]\nmaster_key = "{MASTER_KEY}"\n'
KEYS_ONLY = f'[auth]\nrequired = true\nmaster_key = "{MASTER_KEY}"\n'


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def send(server: Served, method: str, path: str, headers: dict[str, str] | None = None, **body: Any) -> Reply:
    """An administrative request; as the master unless *headers* say who."""
    raw = json.dumps(body).encode() if method in {"POST", "PATCH"} else None
    return await server.request(method, path, raw, MASTER if headers is None else headers)


async def make(server: Served, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    """A new key."""
    reply = await send(server, "POST", "/api/v1/keys", headers, **{"name": "a key", **body})
    assert reply.status == 201, reply.body
    found: dict[str, Any] = reply.json
    return found


async def make_places(server: Served) -> None:
    """The organisations `acme`, with the teams `red` and `blue`, and `other`."""
    for name in ("acme", "other"):
        assert (await send(server, "POST", "/api/v1/organisations", name=name)).status == 201
    for name in ("red", "blue"):
        assert (await send(server, "POST", "/api/v1/teams", name=name, organisation="acme")).status == 201
