"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from proxy.asked import Asked
from proxy.counting import count
from proxy.ingress.questions import asked_of, read_question
from proxy.pipeline import answer
from proxy.server import Incoming
from proxy.services import Services
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
    def asked(raw: bytes, body: dict[str, Any]) -> Asked:
        return replace(asked_of(incoming, raw, body, client, parse, vendor="anthropic"), wants_count=True)

    return asked
