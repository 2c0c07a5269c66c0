"""Anthropic's official SDK as the reader of what a client gets: no socket, its own decoder and accumulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import anthropic
import httpx2
from anthropic.types import Message
from anthropic.types.beta import BetaMessage

_ASKED: Final[dict[str, Any]] = {
    "model": "m",
    "max_tokens": 1,
    "messages": [{"role": "user", "content": "Hello"}],
}


class _Canned(httpx2.BaseTransport):
    """Answers every request with the bytes that were set last."""

    def __init__(self) -> None:
        self.status = 200
        self.content = b""
        self.kind = "text/event-stream"

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(self.status, headers={"content-type": self.kind}, content=self.content, request=request)


_TRANSPORT: Final = _Canned()
_CLIENT: Final = anthropic.Anthropic(
    api_key="none", max_retries=0, http_client=anthropic.DefaultHttpxClient(transport=_TRANSPORT)
)


def accumulated(stream: bytes) -> dict[str, Any]:
    """The message that `client.messages.stream` puts together from *stream*, without nulls."""
    _TRANSPORT.status, _TRANSPORT.content, _TRANSPORT.kind = 200, stream, "text/event-stream"
    with _CLIENT.messages.stream(**_ASKED) as events:
        message = events.get_final_message()
    return plain(json.loads(message.model_dump_json(warnings=False)))


def raised(status: int, body: Mapping[str, Any]) -> anthropic.APIStatusError:
    """The error that the SDK raises for an answer."""
    _TRANSPORT.status, _TRANSPORT.content, _TRANSPORT.kind = status, json.dumps(body).encode(), "application/json"
    try:
        _CLIENT.messages.create(**_ASKED)
    except anthropic.APIStatusError as error:
        return error
    raise AssertionError("the SDK raised nothing")


def validated(body: Mapping[str, Any]) -> dict[str, Any]:
    """*body*, once it is known to be what the SDK's type of a message allows; without nulls."""
    try:
        Message.model_validate(body)
    except ValueError:
        BetaMessage.model_validate(body)
    return plain(dict(body))


def plain(value: Any) -> Any:
    """*value* without nulls and without what the SDK adds."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None and key != "parsed_output"}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value
