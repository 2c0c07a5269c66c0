"""`POST /v1/completions`: OpenAI's older dialect.

A server that has the endpoint gets the client's bytes; for any other target the prompt becomes one turn of a
conversation, and several prompts as many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from proxy.asked import Asked
from proxy.ingress.questions import asked_of, read_question
from proxy.pipeline import answer
from proxy.prompts import answer_each
from proxy.server import Incoming
from proxy.services import Services
from translators.neutral import Request
from translators.openai_text import DIALECT, client, split

IS_COMPLETION: Final = {"object": "text_completion"}
ECHOES: Final = {"written": "before"}


async def text_completions(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Answer a completions request.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """

    def asked(raw: bytes, body: dict[str, Any]) -> Asked:
        return asked_of(incoming, raw, body, client, read, vendor="openai")

    whole = await read_question(services, incoming, asked)
    if is_one_text(whole.body.get("prompt")):
        return await answer(services, incoming, whole)

    def each() -> list[Asked]:
        return [replace(whole, raw=b"", body=body, request=read(body)) for body in split(whole.body)]

    return await answer_each(services, incoming, whole, each)


def read(body: Mapping[str, Any]) -> Request:
    """*body* in the neutral form, marked for the cache.

    A completion is no answer to a chat with the same words, and one with its prompt before it is another one.
    Targets of other dialects are not sent the marks (translators.wishes).
    """
    request = client.parse_request(body)
    marks = IS_COMPLETION | (ECHOES if body.get("echo") is True else {})
    return replace(request, native={**request.native, DIALECT: {**request.native.get(DIALECT, {}), **marks}})


def is_one_text(prompt: Any) -> bool:
    """Whether *prompt* can be one turn as it is: no list of several, not empty."""
    if isinstance(prompt, list):
        return type(prompt[0]) is int if prompt else False
    return bool(prompt)
