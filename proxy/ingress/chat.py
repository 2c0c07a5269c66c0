"""`POST /v1/chat/completions`: OpenAI's chat dialect."""

from __future__ import annotations

import time

from aiohttp import web

from proxy.attempt import Asked
from proxy.controls import read_controls
from proxy.errors import refused
from proxy.pipeline import answer
from proxy.server import Incoming, read_body
from proxy.services import Services
from translators import openai_chat
from translators.codec import JsonError, loads_object

BODY_S = 60.0


async def chat_completions(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Answer a chat completion request.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """
    raw = await read_body(incoming.http, services.max_body, BODY_S)
    try:
        body = loads_object(raw)
    except JsonError as error:
        raise refused(400, f"the request body is {error}", code="invalid_json") from error
    controls = read_controls(incoming.http.headers, body)
    if controls.chain and body.get("model") is None:
        body["model"] = controls.chain[0]
    asked = Asked(
        raw=raw,
        body=body,
        request=openai_chat.parse_request(body),
        controls=controls,
        created=int(time.time()),
        fallback_id=f"chatcmpl-{incoming.id.removeprefix('req_')}",
    )
    return await answer(services, incoming, asked)
