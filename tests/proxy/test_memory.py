"""Reasoning that a plain client drops comes back to its vendor, and goes to no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, failing, message, provider, route, says, serving
from tests.replay import Answer, Upstream

CALL = {"type": "tool_use", "id": "toolu_01A9bC8dE7", "name": "weather", "input": {"city": "Oslo"}}
THOUGHT = {"type": "thinking", "thinking": "Ask the tool.", "signature": "c2lnbmVkLWJ5LWFudGhyb3BpYw=="}
CALLING = Answer.json(message(content=[THOUGHT, CALL], stop_reason="tool_use"))
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
FIRST: list[dict[str, Any]] = [{"role": "user", "content": "Weather in Oslo?"}]
PLAIN_CALL = {"id": CALL["id"], "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
SECOND: list[dict[str, Any]] = [
    *FIRST,
    {"role": "assistant", "content": None, "tool_calls": [PLAIN_CALL]},
    {"role": "tool", "tool_call_id": CALL["id"], "content": "12 degrees"},
]
"""As a client sends it that knows OpenAI's own fields alone."""


def in_turn(*answers: Answer) -> Any:
    left = list(answers)
    return lambda _asked: left.pop(0)


async def test_a_signed_thought_comes_back_before_its_call(serve: Serve) -> None:
    with Upstream(in_turn(CALLING, Answer.json(message("Rain")))) as upstream:
        server = await serve(provider("one", upstream, "anthropic"))
        await server.ask(model="one/claude-opus-5-5", messages=FIRST, tools=TOOLS)

        reply = await server.ask(model="one/claude-opus-5-5", messages=SECOND, tools=TOOLS)

        assert reply.text == "Rain"
        assert upstream.requests[1].json["messages"][1]["content"][:2] == [THOUGHT, CALL]


async def test_it_outlives_the_process(tmp_path: Path) -> None:
    with Upstream(in_turn(CALLING, Answer.json(message("Rain")))) as upstream:
        config = provider("one", upstream, "anthropic")
        async with serving(tmp_path, config) as server:
            await server.ask(model="one/claude-opus-5-5", messages=FIRST, tools=TOOLS)
        async with serving(tmp_path, config) as server:
            await server.ask(model="one/claude-opus-5-5", messages=SECOND, tools=TOOLS)

        assert THOUGHT in upstream.requests[1].json["messages"][1]["content"]


async def test_another_vendor_never_sees_it(serve: Serve) -> None:
    """Nor another tenant's conversation with the same ids."""
    with (
        Upstream(in_turn(CALLING, failing(500), failing(500), Answer.json(message("x")))) as claude,
        Upstream(lambda _asked: says("Rain")) as other,
    ):
        config = provider("one", claude, "anthropic") + provider("two", other)
        master = '[auth]\nmaster_key = "master-0123456789"\n'
        server = await serve(QUICK, master, config, route("both", "one/claude-opus-5-5", "two/m"))
        await server.ask(model="both", messages=FIRST, tools=TOOLS)

        reply = await server.ask(model="both", messages=SECOND, tools=TOOLS)
        stranger = {"authorization": "Bearer master-0123456789"}
        await server.ask(stranger, model="one/claude-opus-5-5", messages=SECOND, tools=TOOLS)

        assert reply.headers["x-modelport-target"] == "two/m"
        assert THOUGHT["signature"] in json.dumps(claude.requests[1].json)
        assert THOUGHT["signature"] not in json.dumps(other.requests[0].json)
        assert THOUGHT["signature"] not in json.dumps(claude.requests[-1].json)


async def test_it_can_be_switched_off(serve: Serve) -> None:
    with Upstream(in_turn(CALLING, Answer.json(message("Rain")))) as upstream:
        server = await serve("[memory]\nreasoning = false\n", provider("one", upstream, "anthropic"))
        await server.ask(model="one/claude-opus-5-5", messages=FIRST, tools=TOOLS)

        await server.ask(model="one/claude-opus-5-5", messages=SECOND, tools=TOOLS)

        assert THOUGHT["signature"] not in json.dumps(upstream.requests[1].json)
        assert (await server.services.vault.stats())["entries"] == 0


async def test_a_client_of_another_dialect_carries_it_itself(serve: Serve) -> None:
    """Gemini's signature in the `signature` of Anthropic's thinking: no memory is needed."""
    signed = {"thought": True, "text": "Hm.", "thoughtSignature": "Z2VtaW5pLXNpZ25lZA=="}
    answer = {
        "candidates": [{"content": {"role": "model", "parts": [signed, {"text": "Rain"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
    }
    with Upstream(lambda _asked: Answer.json(answer)) as upstream:
        server = await serve("[memory]\nreasoning = false\n", provider("one", upstream, "gemini"))
        asked = {"model": "one/gemini-3.8-flash", "max_tokens": 99, "messages": FIRST}

        first = await server.request("POST", "/v1/messages", json.dumps(asked).encode())
        back = [*FIRST, {"role": "assistant", "content": first.json["content"]}, {"role": "user", "content": "Sure?"}]
        await server.request("POST", "/v1/messages", json.dumps({**asked, "messages": back}).encode())

        assert upstream.requests[1].json["contents"][1]["parts"][0] == signed


SEALED = {"type": "reasoning", "id": "rs_1a2b3c4d5e", "summary": [], "encrypted_content": "ZW5jcnlwdGVk"}
SEALED_CALL = {"type": "function_call", "call_id": "call_9a8b7c6d5e", "name": "weather", "arguments": "{}"}
SIGNED_PART = {"functionCall": {"name": "weather", "args": {}}, "thoughtSignature": "c2lnbmVkLWJ5LWdvb2dsZQ=="}


def of_responses(*output: dict[str, Any]) -> Answer:
    counts = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    return Answer.json(
        {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": output, "usage": counts}
    )


def of_google(*parts: dict[str, Any]) -> Answer:
    return Answer.json({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]})


async def test_encrypted_reasoning_that_another_provider_cannot_read_is_said(serve: Serve, upstream: Upstream) -> None:
    """Though both speak one dialect."""
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Mild."}]}
    upstream.script("m", in_turn(of_responses(SEALED, SEALED_CALL), of_responses(said)))
    server = await serve(
        QUICK, provider("one", upstream, "openai_responses"), provider("two", upstream, "openai_responses")
    )
    asked = [{"role": "user", "content": "Weather?"}]
    result = {"type": "function_call_output", "call_id": SEALED_CALL["call_id"], "output": "mild"}

    async def send(model: str, items: list[Any], **headers: str) -> Any:
        body = json.dumps({"model": model, "store": False, "input": items}).encode()
        return await server.request("POST", "/v1/responses", body, {"content-type": "application/json", **headers})

    first = await send("one/m", asked)
    again = [*asked, *first.json["output"], result]
    refused = await send("two/m", again, **{"x-modelport-losses": "reject"})
    second = await send("two/m", again)

    assert (refused.status, refused.error["param"]) == (400, "input[1]")
    assert (second.status, second.headers["x-modelport-losses"].partition("=")[0]) == (200, "input[1]")
    assert len(upstream.asked("m")) == 2


async def test_a_thought_signature_that_another_provider_cannot_read_is_said(serve: Serve, upstream: Upstream) -> None:
    """And a client of Gemini that writes no ids has none written."""
    upstream.script("m", in_turn(of_google(SIGNED_PART), of_google({"text": "Mild."})))
    server = await serve(QUICK, provider("one", upstream, "gemini"), provider("two", upstream, "gemini"))
    asked = {"role": "user", "parts": [{"text": "Weather?"}]}
    result = {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"output": "mild"}}}]}

    async def send(model: str, contents: list[Any], **headers: str) -> Any:
        path = f"/v1beta/models/{model}:generateContent"
        body = json.dumps({"contents": contents}).encode()
        return await server.request("POST", path, body, {"content-type": "application/json", **headers})

    first = await send("one/m", [asked])
    again = [asked, first.json["candidates"][0]["content"], result]
    refused = await send("two/m", again, **{"x-modelport-losses": "reject"})
    second = await send("two/m", again)

    assert (refused.status, second.status) == (400, 200)
    assert second.headers["x-modelport-losses"].startswith("contents[1].parts[0]=dropped")
    assert upstream.asked("m")[1].json["contents"][1]["parts"] == [{"functionCall": SIGNED_PART["functionCall"]}]
    assert upstream.asked("m")[1].json["contents"][2]["parts"] == result["parts"]
