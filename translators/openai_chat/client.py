"""The side of OpenAI's chat completions that faces clients, under the names that every dialect has for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

from translators.dialect import ReplyTo, Rules
from translators.losses import Loss
from translators.neutral import Response
from translators.openai_chat import chunks, relay, response
from translators.openai_chat import unshown as left
from translators.openai_chat.error import render_error
from translators.openai_chat.relay import changed_messages, relay_request
from translators.openai_chat.request import parse_request, uses_functions

__all__ = [
    "StreamRelay",
    "StreamRenderer",
    "changed_messages",
    "parse_request",
    "relay_request",
    "relay_response",
    "render_error",
    "render_response",
    "unshown",
]


def render_response(answer: Response, to: ReplyTo) -> dict[str, Any]:
    """*answer* as a chat completion."""
    return response.render_response(answer, **_fallbacks(to), legacy_functions=uses_functions(to.body))


def unshown(answer: Response, to: ReplyTo) -> Iterable[Loss]:
    """What of *answer* a chat completion leaves out."""
    return left.unshown(answer, legacy_functions=uses_functions(to.body))


def relay_response(raw: bytes, rules: Rules, to: ReplyTo, body: dict[str, Any] | None = None) -> tuple[bytes, Response]:
    """A chat completion of a server, mended where it has to be, and what it says. Raises BadAnswer."""
    return relay.relay_response(raw, rules, body, **_fallbacks(to))


class StreamRenderer(chunks.StreamRenderer):
    """Events as chunks."""

    def __init__(self, to: ReplyTo) -> None:
        super().__init__(
            include_usage=to.request.include_usage, **_fallbacks(to), legacy_functions=uses_functions(to.body)
        )


class StreamRelay(relay.StreamRelay):
    """A server's chunks, passed on."""

    def __init__(self, rules: Rules, to: ReplyTo) -> None:
        super().__init__(rules, include_usage=to.request.include_usage, **_fallbacks(to))


class _Fallbacks(TypedDict):
    fallback_id: str
    fallback_model: str
    created: int


def _fallbacks(to: ReplyTo) -> _Fallbacks:
    return {"fallback_id": f"chatcmpl-{to.id}", "fallback_model": to.request.model, "created": to.created}
