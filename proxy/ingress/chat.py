"""`POST /v1/chat/completions`: OpenAI's chat dialect."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from aiohttp import web

from proxy.asked import Asked
from proxy.controls import read_controls
from proxy.errors import refused
from proxy.pipeline import answer
from proxy.server import Incoming, read_body
from proxy.services import Services
from translators import openai_chat
from translators.codec import JsonError, loads_object

BODY_S: Final = 60.0
THREAD_BYTES: Final = 256 * 1024
"""A larger body is parsed in a thread, so that the others do not wait for it."""
MAX_MESSAGES: Final = 10_000
MAX_TOOLS: Final = 512


async def chat_completions(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Answer a chat completion request.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """
    raw = await read_body(incoming.http, services.max_body, BODY_S)
    if len(raw) > THREAD_BYTES:
        asked = await asyncio.to_thread(_asked, raw, incoming)
    else:
        asked = _asked(raw, incoming)
    return await answer(services, incoming, asked)


def _asked(raw: bytes, incoming: Incoming) -> Asked:
    try:
        body = loads_object(raw)
    except JsonError as error:
        raise refused(400, f"the request body: {error}", code="invalid_json") from error
    _bounded(body, "messages", MAX_MESSAGES)
    _bounded(body, "tools", MAX_TOOLS)
    controls = read_controls(incoming.http.headers, body)
    if controls.chain and body.get("model") is None:
        body["model"] = controls.chain[0]
    return Asked(
        raw=raw,
        body=body,
        request=openai_chat.parse_request(body),
        controls=controls,
        created=int(time.time()),
        fallback_id=f"chatcmpl-{incoming.id.removeprefix('req_')}",
    )


def _bounded(body: dict[str, Any], name: str, limit: int) -> None:
    value = body.get(name)
    if isinstance(value, list) and len(value) > limit:
        raise refused(400, f"{name}: {len(value)} are more than {limit}", param=name, code="too_many")
