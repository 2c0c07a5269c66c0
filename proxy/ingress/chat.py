"""`POST /v1/chat/completions`: OpenAI's chat dialect."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from proxy.asked import Asked
from proxy.controls import read_controls
from proxy.ingress.questions import read_question
from proxy.pipeline import answer
from proxy.server import Incoming
from proxy.services import Services
from proxy.vendor_headers import vendor_headers, vendor_query
from translators.openai_chat import client


async def chat_completions(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Answer a chat completion request.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """

    def asked(raw: bytes, body: dict[str, Any]) -> Asked:
        controls = read_controls(incoming.http.headers, body)
        if controls.chain and body.get("model") is None:
            body["model"] = controls.chain[0]
        request = client.parse_request(body)
        return Asked(
            client,
            raw,
            body,
            request,
            controls,
            created=int(time.time()),
            id=incoming.answer_id,
            forward=vendor_headers(incoming.http.headers, "openai"),
            query=vendor_query(incoming.http.rel_url.raw_query_string, read=True),
        )

    return await answer(services, incoming, await read_question(services, incoming, asked))
