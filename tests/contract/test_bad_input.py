"""Whatever a client sends, it gets a clear error in OpenAI's envelope, and the next one is served."""

from __future__ import annotations

import gzip
import json
import socket
from typing import Any

import pytest

from tests.contract.backends import Backends
from tests.replay import cassette
from tests.running import Modelport

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


def asking(*messages: Any, **more: Any) -> bytes:
    """A request body for the demo provider."""
    return json.dumps({"model": "demo/echo", "messages": list(messages), **more}).encode()


HELLO = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Hello!"}
NO_PICTURE = {"type": "image_url", "image_url": {}}

BAD_BODIES = [
    ("nothing", b"", None),
    ("half", b'{"model": "demo/echo", "messages": [', None),
    ("text", b"hello", None),
    ("a list", b"[]", None),
    ("null", b"null", None),
    ("a number", b"1e999", None),
    ("bad UTF-8", b'{"model": "demo/echo", "messages": [{"role": "user", "content": "\xff\xfe"}]}', None),
    ("lone surrogate", b'{"model": "demo/echo", "messages": [{"role": "user", "content": "\\ud800"}]}', None),
    ("too deep", b'{"model": "demo/echo", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    ("no model", json.dumps({"messages": [HELLO]}).encode(), "model"),
    ("model is a number", json.dumps({"model": 5, "messages": [HELLO]}).encode(), "model"),
    ("no messages", json.dumps({"model": "demo/echo"}).encode(), "messages"),
    ("empty messages", asking(), "messages"),
    ("messages is text", json.dumps({"model": "demo/echo", "messages": "hi"}).encode(), "messages"),
    ("message is text", asking(HELLO, "hi"), "messages[1]"),
    ("no role", asking({"content": "x"}), "messages[0].role"),
    ("unknown role", asking({"role": "robot", "content": "x"}), "messages[0].role"),
    ("content is a number", asking(HELLO, ANSWER, {"role": "user", "content": 5}), "messages[2].content"),
    ("part is a number", asking({"role": "user", "content": [5]}), "messages[0].content[0]"),
    ("part without type", asking({"role": "user", "content": [{"text": "x"}]}), "messages[0].content[0].type"),
    ("picture without url", asking({"role": "user", "content": [NO_PICTURE]}), "messages[0].content[0].image_url.url"),
    ("temperature is text", asking(HELLO, temperature="hot"), "temperature"),
    ("stream is text", asking(HELLO, stream="yes"), "stream"),
    ("tools is an object", asking(HELLO, tools={}), "tools"),
    ("tool without name", asking(HELLO, tools=[{"type": "function", "function": {}}]), "tools[0].function.name"),
    ("tool result without id", asking(HELLO, {"role": "tool", "content": "x"}), "messages[1].tool_call_id"),
    ("n is text", asking(HELLO, n="two"), "n"),
    ("max_tokens is negative", asking(HELLO, max_tokens=-1), "max_tokens"),
]  # fmt: skip


def _envelope(reply: Any) -> dict[str, Any]:
    error = reply.json["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["message"]
    assert reply.headers["content-type"].startswith("application/json")
    return dict(error)


@pytest.mark.parametrize(("body", "param"), [pytest.param(b, p, id=name) for name, b, p in BAD_BODIES])
def test_a_wrong_body_is_a_400_that_names_the_place(modelport: Modelport, body: bytes, param: str | None) -> None:
    reply = modelport.post(CHAT, body)

    error = _envelope(reply)
    assert reply.status == 400
    assert error["type"] == "invalid_request_error"
    if param:
        assert str(error["param"]).startswith(param)
        assert param.split("[", maxsplit=1)[0] in error["message"]
    assert modelport.get("/health/live").status == 200


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
def test_wrong_types_are_found_whatever_stands_behind(modelport: Modelport, backends: Backends, dialect: str) -> None:
    """Also on the verbatim path: nothing reaches the vendor."""
    model = backends.says(dialect, cassette(f"{dialect}/text"))
    body = {"model": model, "messages": [HELLO, {"role": "user", "content": 5}]}

    reply = modelport.post(CHAT, body)

    assert (reply.status, _envelope(reply)["param"]) == (400, "messages[1].content")
    assert backends.asked(model) == []


def test_an_unknown_model(modelport: Modelport) -> None:
    reply = modelport.post(CHAT, {"model": "demo-ech", "messages": [HELLO]})

    error = _envelope(reply)
    assert (reply.status, error["code"], error["param"]) == (404, "model_not_found", "model")


def test_an_unknown_provider(modelport: Modelport) -> None:
    reply = modelport.post(CHAT, {"model": "nobody/gpt", "messages": [HELLO]})

    assert (reply.status, _envelope(reply)["code"]) == (404, "model_not_found")


def test_too_large_a_body(modelport: Modelport) -> None:
    """The shared server takes one megabyte."""
    body = asking({"role": "user", "content": "x" * 1_200_000})

    reply = modelport.post(CHAT, body)

    assert reply.status == 413
    assert "1" in _envelope(reply)["message"]


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
def test_compressed_bodies_are_refused(modelport: Modelport, encoding: str) -> None:
    reply = modelport.request("POST", CHAT, gzip.compress(asking(HELLO)), {**JSON, "content-encoding": encoding})

    assert reply.status == 415
    _envelope(reply)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/no/such/path", 404),
        ("POST", "/v1/chat/complete", 404),
        ("GET", "/nowhere", 404),
        ("GET", CHAT, 405),
        ("DELETE", CHAT, 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models/nobody/none", 404),
        ("GET", "/api/v1/exchanges/unknown", 404),
    ],
)
def test_wrong_paths_and_methods(modelport: Modelport, method: str, path: str, status: int) -> None:
    reply = modelport.request(method, path, b"{}" if method == "POST" else None, JSON)

    assert reply.status == status
    _envelope(reply)
    if status == 405:
        assert reply.headers["allow"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "text/plain", None])
def test_the_content_type_does_not_matter(modelport: Modelport, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}

    assert modelport.request("POST", CHAT, asking(HELLO), headers).status == 200


@pytest.mark.parametrize("name", ["Host", "Origin"])
def test_a_foreign_page_gets_nothing(modelport: Modelport, name: str) -> None:
    """DNS rebinding and drive-by requests."""
    value = "evil.example" if name == "Host" else "https://evil.example"

    reply = modelport.request("POST", CHAT, asking(HELLO), {**JSON, name: value})

    assert 400 <= reply.status < 500
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(
    ("header", "value"),
    [("x-modelport-timeout-s", "soon"), ("x-modelport-losses", "sometimes"), ("x-modelport-cache", "maybe")],
)
def test_a_wrong_control_is_a_400(modelport: Modelport, header: str, value: str) -> None:
    reply = modelport.post(CHAT, asking(HELLO), {header: value})

    assert reply.status == 400
    assert value in _envelope(reply)["message"]


def test_a_clients_request_id_does_not_replace_ours(modelport: Modelport) -> None:
    """A safe one is kept beside it; line ends in it cannot come back."""
    first = modelport.post(CHAT, asking(HELLO), {"x-request-id": "mine-1"})
    second = modelport.post(CHAT, asking(HELLO), {"x-request-id": "mine-1"})

    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    row = modelport.exchange(first.headers["x-request-id"])
    assert row["client_request_id"] == "mine-1"


@pytest.mark.parametrize(
    "header",
    [
        b"Authorization : Bearer sk-canary-1234567890",
        b"Authorization: Bearer sk-canary-1234567890\x00",
        b"Authorization: Bearer sk-canary-1234567890\r\r\n x",
        b"Authorization: Bearer sk-canary-1234567890" + b"x" * 20_000,
    ],
    ids=["blank before the colon", "NUL", "bare CR", "too long"],
)
def test_a_malformed_header_is_not_quoted(modelport: Modelport, header: bytes) -> None:
    """Neither in the answer nor in the log: it may be a key."""
    with socket.create_connection(("127.0.0.1", modelport.port), timeout=5) as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\nContent-Length: 0\r\n\r\n"
        )
        answer = raw.recv(65536)

    assert answer.startswith(b"HTTP/1.")
    assert answer.split(b" ", 2)[1].startswith(b"4")
    assert b"sk-canary" not in answer
    assert "sk-canary" not in modelport.log
