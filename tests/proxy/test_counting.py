"""How many tokens: the vendor's count in the client's dialect, an estimate everywhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, failing, provider
from tests.replay import Answer, Upstream

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "How many words are these?"}]}


def body(model: str, **more: Any) -> bytes:
    return json.dumps({"model": model, **QUESTION, **more}).encode()


async def test_anthropics_count_is_relayed_and_booked_at_no_cost(serve: Serve) -> None:
    """Its own words, unknown fields and beta header included."""
    with Upstream(lambda _asked: Answer.json(b'{"input_tokens":17,"new":{"a":1}}')) as upstream:
        server = await serve(provider("one", upstream, "anthropic"))

        reply = await server.request(
            "POST", "/v1/messages/count_tokens", body("one/claude-opus-5-5", future=[1]), {"anthropic-beta": "x-1"}
        )

        assert reply.body == b'{"input_tokens":17,"new":{"a":1}}'
        assert reply.headers["x-modelport-count"] == "vendor"
        asked = upstream.requests[0]
        assert asked.path == "/v1/messages/count_tokens"
        assert asked.headers["anthropic-beta"] == "x-1"
        assert asked.json == {"model": "claude-opus-5-5", **QUESTION, "future": [1]}
        row = await server.row(reply.id)
        assert (row["dialect"], row["status"], row["cost_usd"]) == ("count", "ok", "0.000000000")


async def test_googles_count_is_relayed(serve: Serve) -> None:
    with Upstream(lambda _asked: Answer.json({"totalTokens": 5})) as upstream:
        server = await serve(provider("one", upstream, "gemini"))
        contents = json.dumps({"contents": [{"parts": [{"text": "hi"}]}]}).encode()

        reply = await server.request("POST", "/v1beta/models/one/gemini-3.8-flash:countTokens", contents)

        assert reply.json == {"totalTokens": 5}
        assert upstream.requests[0].path == "/v1beta/models/gemini-3.8-flash:countTokens"


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini"])
async def test_a_foreign_model_is_estimated_without_asking(serve: Serve, dialect: str) -> None:
    """WIRE 69."""
    with Upstream(lambda _asked: failing(404)) as upstream:
        server = await serve(provider("one", upstream, dialect))

        reply = await server.request("POST", "/v1/messages/count_tokens", body("one/m"))

        assert reply.status == 200
        assert 5 < reply.json["input_tokens"] < 30
        assert reply.headers["x-modelport-count"] == "estimate"
        assert upstream.requests == []


@pytest.mark.parametrize("status", [404, 429, 500, 529])
async def test_a_vendor_that_cannot_count_now_is_estimated(serve: Serve, status: int) -> None:
    with Upstream(lambda _asked: failing(status)) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))

        reply = await server.request("POST", "/v1/messages/count_tokens", body("one/m"))

        assert (reply.status, reply.headers["x-modelport-count"]) == (200, "estimate")


@pytest.mark.parametrize("answer", [b'{"error":{"message":"busy"}}', b"{}", b'{"input_tokens":true}', b"<html>"])
async def test_an_answer_that_counts_nothing_is_no_count(serve: Serve, answer: bytes) -> None:
    """Whatever its status says: a client would read no number at all."""
    with Upstream(lambda _asked: Answer.json(answer)) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))

        reply = await server.request("POST", "/v1/messages/count_tokens", body("one/m"))

        assert (reply.status, reply.headers["x-modelport-count"]) == (200, "estimate")
        assert 5 < reply.json["input_tokens"] < 30
        assert len(upstream.requests) > 0


async def test_what_the_vendor_finds_wrong_is_the_clients_to_know(serve: Serve) -> None:
    """In Anthropic's envelope."""
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: too many"}}
    with Upstream(lambda _asked: Answer.json(error, 400)) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))

        reply = await server.request("POST", "/v1/messages/count_tokens", body("one/m"))

        assert reply.status == 400
        assert reply.json["error"]["type"] == "invalid_request_error"
        assert "messages: too many" in reply.json["error"]["message"]


async def test_an_unknown_model_is_told_in_the_clients_dialect(serve: Serve) -> None:
    server = await serve()

    anthropic = await server.request("POST", "/v1/messages/count_tokens", body("nobody"))
    gemini = await server.request(
        "POST", "/v1beta/models/nobody:countTokens", b'{"contents":[{"parts":[{"text":"x"}]}]}'
    )

    assert (anthropic.status, anthropic.json["error"]["type"]) == (404, "not_found_error")
    assert (gemini.status, gemini.json["error"]["status"]) == (404, "NOT_FOUND")
