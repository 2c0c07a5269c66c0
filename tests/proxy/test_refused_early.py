"""What no vendor could answer is refused here, and says what would be right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import provider
from tests.replay import Answer, Upstream

SOCKET = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


def chat(*content: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": each} for each in content]}


SILENT: dict[str, tuple[str, dict[str, Any]]] = {
    "an empty text": chat(""),
    "no parts": chat([], ""),
    "parts that only others know": chat([{"type": "bogus"}]),
    "a message": ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": []}]}),
    "an item": ("/v1/responses", {"input": [{"role": "user", "content": ""}]}),
}


@pytest.mark.parametrize("case", SILENT)
async def test_gemini_is_not_asked_nothing(serve: Serve, case: str) -> None:
    path, body = SILENT[case]
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await serve(provider("one", upstream, "gemini"))

        reply = await server.request("POST", path, json.dumps({"model": "one/m", **body}).encode())

        assert reply.status == 400
        assert "nothing in them says anything" in reply.error["message"]
        assert upstream.requests == []


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
async def test_a_prompt_that_lies_at_openai_is_not_asked_of_others(serve: Serve, dialect: str) -> None:
    """Alone it would leave an empty conversation; beside an input it is a loss."""
    prompt = {"model": "one/m", "prompt": {"id": "pmpt_1"}}
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await serve(provider("one", upstream, dialect))

        alone = await server.request("POST", "/v1/responses", json.dumps(prompt).encode())
        asked = len(upstream.requests)
        await server.request("POST", "/v1/responses", json.dumps({**prompt, "input": "hi"}).encode())

        assert (alone.status, alone.error["param"]) == (400, "prompt")
        assert asked == 0
        assert len(upstream.requests) > 0


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime?model=one/m", "/v1/models"])
async def test_a_web_socket_is_refused_in_words(serve: Serve, path: str) -> None:
    server = await serve()

    reply = await server.get(path, SOCKET)

    assert (reply.status, reply.error["code"]) == (501, "not_supported")
    assert "WebSocket connections are not relayed" in reply.error["message"]


async def test_another_upgrade_is_not_in_the_way_of_what_is_passed_on(serve: Serve) -> None:
    """Java's client offers HTTP/2 in the clear with every request."""
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    with Upstream(lambda _asked: Answer.json({"results": []})) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.get("/v1/files", {**offer, "x-modelport-provider": "one"})

        assert (reply.status, reply.json) == (200, {"results": []})


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1//embeddings", "/v1/embeddings"),
        ("/api/v1/responses", "/v1/responses"),
        ("//v1/completions", "/v1/completions"),
    ],
)
async def test_a_slip_in_the_base_url_is_told(serve: Serve, path: str, meant: str, kind: str) -> None:
    """And not passed on to a provider, which knows no more of it. curl calls everything a form."""
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.request("POST", path, b'{"model":"one/m"}', {"content-type": kind})

        assert (reply.status, reply.error["code"]) == (404, "unknown_url")
        assert f"did you mean {meant}?" in reply.error["message"]
        assert upstream.requests == []
