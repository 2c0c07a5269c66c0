"""`POST /v1/chat/completions`: OpenAI's chat dialect."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from proxy.asked import Asked
from proxy.ingress.questions import asked_of, read_question
from proxy.pipeline import answer
from proxy.server import Incoming
from proxy.services import Services
from translators.openai_chat import client


async def chat_completions(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Answer a chat completion request.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """

    def asked(raw: bytes, body: dict[str, Any]) -> Asked:
        return asked_of(incoming, raw, body, client, client.parse_request, vendor="openai")

    return await answer(services, incoming, await read_question(services, incoming, asked))
