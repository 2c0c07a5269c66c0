"""`POST /v1/embeddings`: OpenAI's dialect in front of every provider that gives vectors."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from proxy.embedding import Wanted, embed
from proxy.ingress.questions import controls_of, read_question
from proxy.server import Incoming
from proxy.services import Services
from proxy.vendor_headers import vendor_headers, vendor_query
from translators.embeddings import parse_request


async def embeddings(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Answer an embeddings request.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """

    def wanted(raw: bytes, body: dict[str, Any]) -> Wanted:
        controls = controls_of(incoming, body)
        return Wanted(
            raw,
            body,
            parse_request(body),
            controls,
            vendor_headers(incoming.http.headers, "openai"),
            vendor_query(incoming.http.rel_url.raw_query_string, read=True),
        )

    return await embed(services, incoming, await read_question(services, incoming, wanted))
