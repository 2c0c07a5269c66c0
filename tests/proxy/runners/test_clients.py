"""Every kind of client gets the merged answer in its own form, whole or as a stream."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.runners.asking import COST, FORMAT, SCHEMA, TOOL, agreeing, calls, town, usd
from tests.proxy.serving import QUICK, Reply, Served, failing, message, provider, route
from tests.replay import Answer, Upstream

TOWN = {"city": "Bonn", "people": 330_000, "mayor": "Dörner"}
WEATHER = {"city": "Bonn", "days": 3}


def _chat(stream: bool, structured: bool) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"model": "town", "messages": [{"role": "user", "content": "Bonn?"}], "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return "/v1/chat/completions", body | ({"response_format": FORMAT} if structured else {"tools": [TOOL]})


def _messages(stream: bool, structured: bool) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "model": "town",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Bonn?"}],
        "stream": stream,
    }
    tool = {"name": "weather", "input_schema": TOOL["function"]["parameters"]}
    form = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    return "/v1/messages", body | (form if structured else {"tools": [tool]})


def _responses(stream: bool, structured: bool) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"model": "town", "input": "Bonn?", "stream": stream, "store": False}
    tool = {"type": "function", **TOOL["function"]}
    form = {"text": {"format": {"type": "json_schema", "name": "town", "schema": SCHEMA, "strict": True}}}
    return "/v1/responses", body | (form if structured else {"tools": [tool]})


def _gemini(stream: bool, structured: bool) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Bonn?"}]}]}
    form = {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}}
    declared = {"name": "weather", "parametersJsonSchema": TOOL["function"]["parameters"]}
    action = "streamGenerateContent?alt=sse" if stream else "generateContent"
    tools = {"tools": [{"functionDeclarations": [declared]}]}
    return f"/v1beta/models/town:{action}", body | (form if structured else tools)


CLIENTS = {"chat": _chat, "messages": _messages, "responses": _responses, "gemini": _gemini}


async def _ask(server: Served, client: str, *, stream: bool, structured: bool) -> Reply:
    path, body = CLIENTS[client](stream, structured)
    return await server.request("POST", path, json.dumps(body).encode())


def _events(reply: Reply) -> list[dict[str, Any]]:
    lines = [line for frame in reply.frames for line in frame.split("\n") if line.startswith("data:")]
    texts = [line.removeprefix("data:").strip() for line in lines]
    return [json.loads(text) for text in texts if text != "[DONE]"]


def _text(client: str, reply: Reply, *, stream: bool) -> str:
    match client, stream:
        case "chat", _:
            return reply.text
        case "messages", False:
            return str(reply.json["content"][0]["text"])
        case "messages", True:
            return "".join(e["delta"].get("text", "") for e in _events(reply) if e["type"] == "content_block_delta")
        case "responses", False:
            return str(reply.json["output"][0]["content"][0]["text"])
        case "responses", True:
            return "".join(e["delta"] for e in _events(reply) if e["type"] == "response.output_text.delta")
        case _:
            answers = _events(reply) if stream else [reply.json]
            parts = [part for each in answers for part in each["candidates"][0].get("content", {}).get("parts", ())]
            return "".join(part.get("text", "") for part in parts)


def _receipt(client: str, reply: Reply) -> dict[str, Any]:
    """Gemini's clients read no comments: theirs stands in the last event."""
    found: dict[str, Any] = _events(reply)[-1]["modelport"] if client == "gemini" else reply.receipt
    return found


def _arguments(client: str, reply: Reply) -> Any:
    match client:
        case "chat":
            return json.loads(reply.json["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])
        case "messages":
            return next(block["input"] for block in reply.json["content"] if block["type"] == "tool_use")
        case "responses":
            return json.loads(next(e["arguments"] for e in reply.json["output"] if e["type"] == "function_call"))
        case _:
            parts = reply.json["candidates"][0]["content"]["parts"]
            return next(part["functionCall"]["args"] for part in parts if "functionCall" in part)


def _tokens_in(client: str, reply: Reply) -> int:
    usage = reply.json.get("usage") or reply.json["usageMetadata"]
    found = next(usage[name] for name in ("prompt_tokens", "input_tokens", "promptTokenCount") if name in usage)
    return int(found)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", CLIENTS)
async def test_json_is_merged_for_every_client(serve: Serve, upstream: Upstream, client: str, *, stream: bool) -> None:
    for model, answer in zip("abc", (town(people=1), town(city="Born"), town(mayor=None)), strict=True):
        upstream.script(model, answer)
    server = await agreeing(serve, upstream)
    reply = await _ask(server, client, stream=stream, structured=True)

    assert reply.status == 200, reply.body
    assert json.loads(_text(client, reply, stream=stream)) == TOWN
    assert reply.headers["x-modelport-consensus"].endswith("agreeing=0/3; asked=3")
    assert reply.headers["x-modelport-cost-usd"] == usd(3 * COST)
    assert all(asked.json.get("stream") in (None, False) for model in "abc" for asked in upstream.asked(model))
    if stream:
        assert _receipt(client, reply)["consensus"]["asked"] == 3
        assert _receipt(client, reply)["attempts"] == 3
    else:
        assert _tokens_in(client, reply) == 30


@pytest.mark.parametrize("client", CLIENTS)
async def test_calls_are_merged_for_every_client(serve: Serve, upstream: Upstream, client: str) -> None:
    for model, days in zip("abc", (7, 3, 3), strict=True):
        upstream.script(model, calls({**WEATHER, "days": days}))
    server = await agreeing(serve, upstream)
    reply = await _ask(server, client, stream=False, structured=False)

    assert reply.status == 200, reply.body
    assert _arguments(client, reply) == WEATHER


async def test_targets_of_several_dialects_are_asked_each_in_its_own(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", town(people=1))
    upstream.script("b", Answer.json(message(json.dumps(TOWN, ensure_ascii=False))))
    upstream.script("c", town())
    server = await serve(
        provider("one", upstream),
        provider("two", upstream, "anthropic"),
        provider("three", upstream),
        route("town", "one/a", "two/b", "three/c", more='policy = "consensus"'),
        QUICK,
    )
    reply = await server.ask(model="town", response_format=FORMAT)
    row = await server.row(reply.id)

    assert json.loads(reply.text) == TOWN
    assert "output_config" in upstream.asked("b")[0].json or "output_format" in upstream.asked("b")[0].json
    assert [made["cost_usd"] for made in row["attempts"]] == [usd(COST)] * 3


# --- streams that have to wait -----------------------------------------------------------------------

SLOW = "consensus = { keep_alive_s = 0.05 }"


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_stream_is_kept_alive_until_the_answer_is_known(serve: Serve, upstream: Upstream, client: str) -> None:
    for model in "abc":
        upstream.script(model, replace(town(), delay_head_s=0.3))
    server = await agreeing(serve, upstream, more=SLOW)
    reply = await _ask(server, client, stream=True, structured=True)
    waiting = [frame for frame in reply.frames if frame.startswith(": waiting")]

    assert reply.status == 200
    assert len(waiting) >= 2
    assert reply.frames.index(waiting[-1]) < len(waiting)
    assert json.loads(_text(client, reply, stream=True)) == TOWN
    assert _receipt(client, reply)["cost_usd"] == usd(3 * COST)


async def test_an_early_failure_of_a_stream_has_its_status(serve: Serve, upstream: Upstream) -> None:
    for model in "abc":
        upstream.script(model, failing(500))
    server = await agreeing(serve, upstream)
    reply = await _ask(server, "chat", stream=True, structured=True)

    assert reply.status == 502


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_late_failure_of_a_stream_is_one_error_event(serve: Serve, upstream: Upstream, client: str) -> None:
    for model in "abc":
        upstream.script(model, replace(failing(500), delay_head_s=0.3))
    server = await agreeing(serve, upstream, more=SLOW)
    reply = await _ask(server, client, stream=True, structured=True)
    row = await server.row(reply.id)

    assert reply.status == 200
    assert "error" in reply.frames[-1]
    assert not reply.done
    assert (row["status"], {made["status"] for made in row["attempts"]}) == ("failed", {"failed"})


async def test_a_client_that_waits_for_no_stream_gets_no_comments(serve: Serve, upstream: Upstream) -> None:
    for model in "abc":
        upstream.script(model, replace(town(), delay_head_s=0.2))
    server = await agreeing(serve, upstream, more=SLOW)
    reply = await _ask(server, "chat", stream=False, structured=True)

    assert json.loads(reply.body)["object"] == "chat.completion"
