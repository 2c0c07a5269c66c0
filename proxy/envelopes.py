"""Failures as answers: which dialect's envelope a request is owed, and the whole answer in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from translators.codec import dumps
from translators.dialects import CLIENTS
from translators.neutral import Failure

_PREFIXES: Final = (("/v1beta/", "gemini"), ("/v1alpha/", "gemini"), ("/v1/messages", "anthropic"))
"""Paths that only one vendor's clients ask for."""
_HEADERS: Final = (
    ("anthropic-version", "anthropic"),
    ("x-goog-api-key", "gemini"),
    ("x-goog-api-client", "gemini"),
)
"""Headers that only one vendor's clients send: OpenAI's, Anthropic's and Google's all ask for /v1/models."""


def dialect_of(path: str, headers: Mapping[str, str]) -> str:
    """The dialect that whoever asks *path* understands, known before any route is."""
    for prefix, dialect in _PREFIXES:
        if path.startswith(prefix):
            return dialect
    return next((dialect for header, dialect in _HEADERS if header in headers), "openai_chat")


def failure_response(
    failure: Failure, request_id: str, headers: Mapping[str, str] | None = None, dialect: str = "openai_chat"
) -> web.Response:
    """*failure* as a whole answer in *dialect*'s envelope."""
    status, body = CLIENTS[dialect].render_error(failure, request_id)
    return web.Response(status=status, body=dumps(body), headers=failure_headers(failure, request_id, headers))


def failure_headers(failure: Failure, request_id: str, headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """What every failure's answer carries. `request-id` is where Anthropic's SDK looks for it."""
    found = {
        "content-type": "application/json",
        "x-request-id": request_id,
        "request-id": request_id,
        "x-content-type-options": "nosniff",
        **(headers or {}),
    }
    if failure.retry_after_s is not None:
        found["retry-after"] = str(max(1, round(failure.retry_after_s + 0.499)))
    return found
