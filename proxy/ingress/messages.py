"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's dialect."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from proxy.asked import Asked
from proxy.controls import read_controls
from proxy.counting import count
from proxy.ingress.questions import read_question
from proxy.pipeline import answer
from proxy.server import Incoming
from proxy.services import Services
from proxy.vendor_headers import vendor_headers, vendor_query
from translators.anthropic import client
from translators.neutral import Request


async def messages(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Answer a messages request.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """
    asked = await read_question(services, incoming, _asker(incoming, client.parse_request))
    return await answer(services, incoming, asked)


async def count_tokens(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Count a request's tokens. Raises as `messages` does."""
    asked = await read_question(services, incoming, _asker(incoming, client.parse_count_request))
    return await count(services, incoming, asked, client.render_count)


def _asker(
    incoming: Incoming, parse: Callable[[Mapping[str, Any]], Request]
) -> Callable[[bytes, dict[str, Any]], Asked]:
    headers = incoming.http.headers

    def asked(raw: bytes, body: dict[str, Any]) -> Asked:
        controls = read_controls(headers, body)
        if controls.chain and body.get("model") is None:
            body["model"] = controls.chain[0]
        return Asked(
            client,
            raw,
            body,
            parse(body),
            controls,
            created=int(time.time()),
            id=incoming.answer_id,
            forward=vendor_headers(headers, "anthropic"),
            query=vendor_query(incoming.http.rel_url.raw_query_string, read=True),
            wants_count=True,
        )

    return asked
