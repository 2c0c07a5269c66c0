"""Tool calls as some servers garble them: without ids, with names in pieces, or gone altogether."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, provider, route, says
from tests.replay import Answer, Upstream

JSON = {"content-type": "application/json"}
CALL_ID = re.compile(rb'"id": ?"(call_\w+)"')
MESSAGES, CHAT = "/v1/messages", "/v1/chat/completions"


def whole(*calls: dict[str, Any]) -> Answer:
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return Answer.json({"id": "same", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


def events(*values: Any) -> Answer:
    return Answer.sse("".join(f"data: {json.dumps(each)}\n\n" for each in values) + "data: [DONE]\n\n")


def streamed(*fragments: dict[str, Any]) -> Answer:
    deltas: list[tuple[dict[str, Any], str | None]] = [({"tool_calls": [each]}, None) for each in fragments]
    chunks = [
        {"id": "same", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        for delta, finish in (*deltas, ({}, "tool_calls"))
    ]
    return events(*chunks)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", [MESSAGES, CHAT])
@pytest.mark.parametrize("given", [{}, {"id": ""}, {"id": None}], ids=["none", "empty", "null"])
async def test_a_call_without_an_id_gets_one_that_no_other_answer_has(
    serve: Serve, upstream: Upstream, path: str, stream: bool, given: dict[str, Any]
) -> None:
    """Also where the server calls each of its answers the same; a vendor refuses ids that come twice."""
    call = {"index": 0, **given, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    upstream.script("m", streamed(call) if stream else whole(call))
    server = await serve(QUICK, '[cache]\nmode = "off"\n', provider("one", upstream))
    asked = {"model": "one/m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "x"}]}

    replies = [await server.request("POST", path, json.dumps(asked).encode(), JSON) for _ in range(2)]

    ids = [CALL_ID.findall(reply.body) for reply in replies]
    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]


async def test_a_name_in_pieces_reaches_a_client_of_another_dialect_whole(serve: Serve, upstream: Upstream) -> None:
    fragments = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "get_", "arguments": ""}},
        {"index": 0, "function": {"name": "weather", "arguments": "{}"}},
    ]
    upstream.script("m", streamed(*fragments))
    server = await serve(QUICK, provider("one", upstream))
    asked = {"model": "one/m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}]}

    reply = await server.request("POST", MESSAGES, json.dumps(asked).encode(), JSON)

    assert b'"name":"get_weather"' in reply.body.replace(b" ", b"")


LOST = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "I will look it up."}]},
            "finishReason": "MALFORMED_FUNCTION_CALL",
            "finishMessage": "print(default_api.f(",
        }
    ]
}


async def test_an_answer_whose_call_is_lost_is_not_an_answer(serve: Serve, upstream: Upstream) -> None:
    """The next target is asked; alone it is an error, and in a stream the error that ends it."""
    upstream.script("lost", Answer.json(LOST))
    upstream.script("cut", events(LOST))
    upstream.script("m", says("Mild."))
    server = await serve(
        QUICK, provider("google", upstream, "gemini"), provider("one", upstream), route("r", "google/lost", "one/m")
    )
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}

    alone = await server.ask(model="google/lost", **asked)
    routed = await server.ask(model="r", **asked)
    cut = await server.ask(model="google/cut", stream=True, **asked)

    assert (alone.status, routed.status, routed.text) == (502, 200, "Mild.")
    assert "MALFORMED_FUNCTION_CALL" in alone.error["message"]
    assert "MALFORMED_FUNCTION_CALL" in cut.body.decode()
    assert not cut.done
