"""A vendor's 400 that names a parameter is understood once, and remembered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, failing, message, provider, says, serving, streams
from tests.replay import Answer, Asked, Upstream

UNSUPPORTED = {"param": "temperature", "code": "unsupported_value"}
TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) is supported."
)


def picky(asked: Asked) -> Answer:
    """A server that takes no temperature."""
    if "temperature" in asked.json:
        return failing(400, TEMPERATURE, **UNSUPPORTED)
    return streams() if asked.json.get("stream") else says()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_parameter_is_left_out_and_said(serve: Serve, stream: bool) -> None:
    """The first request takes two attempts, the next one; both tell the loss."""
    with Upstream(picky) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        first = await server.ask(model="one/m", temperature=0.7, stream=stream)
        second = await server.ask(model="one/m", temperature=0.7, stream=stream)

        assert (first.status, first.text) == (200, "Hello there")
        assert (first.headers["x-modelport-attempts"], second.headers["x-modelport-attempts"]) == ("2", "1")
        assert first.headers["x-modelport-losses"].startswith("temperature=dropped")
        assert second.headers["x-modelport-losses"] == first.headers["x-modelport-losses"]
        row = await server.row(first.id)
        assert [attempt["status"] for attempt in row["attempts"]] == ["failed", "ok"]


async def test_what_was_learned_outlives_the_process(tmp_path: Path) -> None:
    with Upstream(picky) as upstream:
        config = QUICK + provider("one", upstream)
        async with serving(tmp_path, config) as server:
            await server.ask(model="one/m", temperature=0.7)
            (lesson,) = await server.services.learned.all()
        async with serving(tmp_path, config) as server:
            reply = await server.ask(model="one/m", temperature=0.7)

        assert lesson.change == {"refuses": ["temperature"]}
        assert lesson.evidence == TEMPERATURE
        assert reply.headers["x-modelport-attempts"] == "1"


async def test_another_model_of_the_provider_is_not_concerned(serve: Serve) -> None:
    with Upstream(lambda asked: picky(asked) if asked.model == "m" else says()) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        await server.ask(model="one/m", temperature=0.7)

        await server.ask(model="one/other", temperature=0.7)

        assert upstream.asked("other")[0].json["temperature"] == 0.7


async def test_a_lesson_that_does_not_help_is_forgotten(serve: Serve) -> None:
    """And the client gets the vendor's words."""

    def stubborn(asked: Asked) -> Answer:
        if "temperature" in asked.json:
            return failing(400, TEMPERATURE, **UNSUPPORTED)
        return failing(400, "the moon is wrong")

    with Upstream(stubborn) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        reply = await server.ask(model="one/m", temperature=0.7)
        await server.ask(model="one/m", temperature=0.7)

        assert reply.status == 400
        assert "the moon is wrong" in reply.error["message"]
        assert ["temperature" in asked.json for asked in upstream.requests] == [True, False, True, False]
        await server.services.drain()
        assert await server.services.learned.all() == []


@pytest.mark.parametrize("more", ["[catalog]\nheal = false\n", "[routes.r]\ntargets = ['one/m']\nlosses = 'reject'\n"])
async def test_nothing_is_left_out_against_the_users_will(serve: Serve, more: str) -> None:
    """Where learning is off the vendor's 400 stands; where losses are refused the 400 is ours, naming the field."""
    with Upstream(picky) as upstream:
        server = await serve(QUICK, provider("one", upstream), more)

        reply = await server.ask(model="r" if "routes" in more else "one/m", temperature=0.7)

        assert (reply.status, reply.error["param"]) == (400, "temperature")
        assert len(upstream.requests) == 1


async def test_reasoning_that_the_vendor_does_not_know_again_is_taken_off(serve: Serve) -> None:
    """A signature of unknown origin must not end a conversation."""

    def strict(asked: Asked) -> Answer:
        if "thinking" in json.dumps(asked.json["messages"]):
            return Answer.json(
                {"type": "error", "error": {"type": "invalid_request_error",
                 "message": "messages.1.content.0: Invalid `signature` in `thinking` block"}}, 400
            )  # fmt: skip
        return Answer.json(message())

    with Upstream(strict) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        past: list[dict[str, Any]] = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "well", "signature": "c2lnbmVk"}, {"type": "text", "text": "hello"}]},
            {"role": "user", "content": "and?"},
        ]  # fmt: skip
        body = json.dumps({"model": "one/m", "max_tokens": 9, "messages": past}).encode()

        reply = await server.request("POST", "/v1/messages", body)

        assert reply.status == 200
        assert reply.headers["x-modelport-attempts"] == "2"
        assert upstream.requests[1].json["messages"][1]["content"] == [{"type": "text", "text": "hello"}]


async def test_a_clients_own_bytes_that_are_refused_are_said_as_the_rules_have_it(serve: Serve) -> None:
    """A route falls over to an older Claude, which takes no adaptive thinking: the vendor's 400 is not the end."""

    def older(asked: Asked) -> Answer:
        if asked.json.get("thinking", {}).get("type") == "adaptive":
            error = {"type": "invalid_request_error", "message": "adaptive thinking is not supported on this model"}
            return Answer.json({"type": "error", "error": error}, 400)
        return Answer.json(message())

    with Upstream(older) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        asked = {"model": "one/claude-haiku-4-5", "max_tokens": 4000, "thinking": {"type": "adaptive"},
                 "output_config": {"effort": "low"}, "messages": [{"role": "user", "content": "hi"}]}  # fmt: skip

        reply = await server.request("POST", "/v1/messages", json.dumps(asked).encode())

        assert (reply.status, reply.headers["x-modelport-attempts"]) == (200, "2")
        assert upstream.requests[1].json["thinking"]["type"] == "enabled"


async def test_a_plain_mistake_of_the_client_is_asked_once(serve: Serve) -> None:
    """Rules that say nothing else about the request make no second call."""
    with Upstream(lambda _asked: failing(400, "messages: too many")) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        asked = {"model": "one/claude-opus-5", "max_tokens": 40, "messages": [{"role": "user", "content": "hi"}]}

        reply = await server.request("POST", "/v1/messages", json.dumps(asked).encode())

        assert reply.status == 400
        assert len(upstream.requests) == 1


async def test_ids_of_another_server_are_made_fit_for_the_clients_own_vendor(serve: Serve) -> None:
    """WIRE 21: the model was switched in mid-conversation, and its calls have ids that Anthropic refuses."""
    with Upstream(lambda _asked: Answer.json(message())) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        call = {"type": "tool_use", "id": "functions.x:0", "name": "x", "input": {}}
        past: list[dict[str, Any]] = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions.x:0", "content": "1"}]},
        ]
        body = {"model": "one/claude-opus-5", "max_tokens": 9, "messages": past,
                "tools": [{"name": "x", "input_schema": {"type": "object"}}]}  # fmt: skip

        reply = await server.request("POST", "/v1/messages", json.dumps(body).encode())

        sent = upstream.requests[0].json["messages"]
        assert reply.status == 200
        assert sent[1]["content"][0]["id"] == sent[2]["content"][0]["tool_use_id"]
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", sent[1]["content"][0]["id"])


@pytest.mark.parametrize("name", ["container", "thread"])
async def test_what_holds_the_conversation_is_never_left_out(serve: Serve, name: str) -> None:
    """The vendor's 400 stands: without that field another thing would be asked."""
    refusal = {"type": "invalid_request_error", "message": f"{name}: Extra inputs are not permitted"}
    told = {"type": "error", "error": refusal}
    with Upstream(lambda _asked: Answer.json(told, 400)) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        asked = {"model": "one/claude-opus-5", "max_tokens": 40, name: "c_1",
                 "messages": [{"role": "user", "content": "hi"}]}  # fmt: skip

        reply = await server.request("POST", "/v1/messages", json.dumps(asked).encode())

        assert reply.status == 400
        assert len(upstream.requests) == 1
