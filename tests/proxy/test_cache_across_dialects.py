"""The same question in another dialect is answered from the cache, in that dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import provider, says
from tests.replay import Upstream

MESSAGES = [{"role": "user", "content": "Say hello"}]
CHAT = ("/v1/chat/completions", {"model": "one/m", "temperature": 0, "max_tokens": 50, "messages": MESSAGES})
ANTHROPIC = ("/v1/messages", {"model": "one/m", "temperature": 0, "max_tokens": 50, "messages": MESSAGES})
GEMINI = (
    "/v1beta/models/one/m:generateContent",
    {
        "contents": [{"role": "user", "parts": [{"text": "Say hello"}]}],
        "generationConfig": {"temperature": 0, "maxOutputTokens": 50},
    },
)
RESPONSES = ("/v1/responses", {"model": "one/m", "temperature": 0, "max_output_tokens": 50, "input": MESSAGES})


def said(path: str, body: Any) -> str:
    if path == CHAT[0]:
        return str(body["choices"][0]["message"]["content"])
    if path == ANTHROPIC[0]:
        return str(body["content"][0]["text"])
    if path == RESPONSES[0]:
        return str(body["output"][0]["content"][0]["text"])
    return str(body["candidates"][0]["content"]["parts"][0]["text"])


@pytest.mark.parametrize("then", [CHAT, ANTHROPIC, GEMINI, RESPONSES], ids=["chat", "messages", "gemini", "responses"])
@pytest.mark.parametrize("first", [CHAT, ANTHROPIC, GEMINI, RESPONSES], ids=["chat", "messages", "gemini", "responses"])
async def test_a_hit_is_told_in_any_dialect(serve: Serve, first: Any, then: Any) -> None:
    with Upstream(lambda _asked: says("Hello there")) as upstream:
        server = await serve(provider("one", upstream))

        await server.request("POST", first[0], json.dumps(first[1]).encode())
        reply = await server.request("POST", then[0], json.dumps(then[1]).encode())

        assert reply.headers["x-modelport-cache"] == "hit"
        assert said(then[0], reply.json) == "Hello there"
        assert len(upstream.requests) == 1


async def test_a_question_that_differs_is_another(serve: Serve) -> None:
    with Upstream(lambda _asked: says("Hello there")) as upstream:
        server = await serve(provider("one", upstream))
        await server.request("POST", CHAT[0], json.dumps(CHAT[1]).encode())

        for change in ({"max_tokens": 51}, {"top_p": 0.5}, {"user": "u"}, {"messages": [*MESSAGES, *MESSAGES]}):
            reply = await server.request("POST", CHAT[0], json.dumps({**CHAT[1], **change}).encode())
            assert reply.headers["x-modelport-cache"] == "miss"
