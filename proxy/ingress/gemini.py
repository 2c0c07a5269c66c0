"""`POST /v1beta/models/{model}:generateContent`: Gemini's dialect. Google's SDK says `/v1/models`, too."""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from proxy.asked import EVENT_STREAM, Asked
from proxy.controls import read_controls
from proxy.counting import count
from proxy.embedding import Wanted, embed
from proxy.errors import refused
from proxy.ingress.questions import read_question
from proxy.pipeline import answer
from proxy.server import Incoming
from proxy.services import Services
from proxy.sizes import check_model
from proxy.vendor_headers import vendor_query
from translators.embeddings import google
from translators.gemini import client, client_array

METHODS: Final = (*client.METHODS, *google.METHODS)


async def generate(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Answer a question, a request for a count, or one for embeddings.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """
    model, _, method = unquote(incoming.parameter).rpartition(":")
    if not model or method not in METHODS:
        known = ", ".join(METHODS)
        raise refused(
            404,
            f"there is nothing at {incoming.parameter[:200]}; use MODEL:METHOD with one of {known}",
            kind="not_found",
            code="unknown_url",
        )
    check_model(model, services.limits)
    if method in google.METHODS:
        return await _embeddings(services, incoming, model, batch=method == "batchEmbedContents")
    stream = method == "streamGenerateContent"
    as_events = incoming.http.rel_url.query.get("alt") == "sse"

    def asked(raw: bytes, body: dict[str, Any]) -> Asked:
        parse = client.parse_count_request(body, model) if method == "countTokens" else None
        return Asked(
            client if as_events or not stream else client_array,
            raw,
            body,
            parse or client.parse_request(body, model, stream),
            read_controls(incoming.http.headers, body),
            created=int(time.time()),
            id=incoming.answer_id,
            query=vendor_query(incoming.http.rel_url.raw_query_string, read=True),
            stream_type=EVENT_STREAM if as_events else "application/json; charset=utf-8",
        )

    question = await read_question(services, incoming, asked)
    if method == "countTokens":
        return await count(services, incoming, question, client.render_count)
    return await answer(services, incoming, question)


async def _embeddings(services: Services, incoming: Incoming, model: str, *, batch: bool) -> web.StreamResponse:
    def wanted(raw: bytes, body: dict[str, Any]) -> Wanted:
        return Wanted(
            raw,
            body,
            google.parse_request(body, model, batch=batch),
            read_controls(incoming.http.headers, body),
            write=google.render_answer if batch else google.render_one,
        )

    return await embed(services, incoming, await read_question(services, incoming, wanted))
