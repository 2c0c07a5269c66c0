"""`POST /v1/embeddings`: OpenAI's dialect in front of every provider that gives vectors."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from proxy.controls import read_controls
from proxy.embedding import Wanted, embed
from proxy.ingress.questions import read_question
from proxy.server import Incoming
from proxy.services import Services
from translators.embeddings import parse_request


async def embeddings(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Answer an embeddings request.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """

    def wanted(raw: bytes, body: dict[str, Any]) -> Wanted:
        controls = read_controls(incoming.http.headers, body)
        if controls.chain and body.get("model") is None:
            body["model"] = controls.chain[0]
        return Wanted(raw, body, parse_request(body), controls)

    return await embed(services, incoming, await read_question(services, incoming, wanted))
