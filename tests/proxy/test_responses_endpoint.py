"""`/v1/responses` over sockets, by OpenAI's own SDK, in front of vendors of every dialect."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from proxy.memory import Memory
from proxy.past import Past, continued
from storage.responses import Responses
from tests.proxy.conftest import Serve
from tests.proxy.serving import (
    BOTH,
    KEY,
    QUICK,
    SECOND_KEY,
    Served,
    failing,
    message,
    provider,
    route,
    says,
    serving,
    streams,
)
from tests.replay import Answer, Asked, Upstream
from tests.running import Modelport
from translators.openai_responses import parse_error
from translators.openai_responses.client import parse_request

MASTER_KEY = "mp-master-0123456789"
MASTER = f'[auth]\nmaster_key = "{MASTER_KEY}"\n'
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
ROUNDS = 500
"""Of a bounded wait; each is one request over a socket."""


# --- vendors -------------------------------------------------------------------------------------


def answered(number: int, *output: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A whole answer of a Responses server that stores it: 10 tokens in, 5 out."""
    return {
        "id": f"resp_vendor{number}",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "model": "m-2026",
        "output": list(output) or [said(f"answer {number}", f"msg_vendor{number}")],
        "store": True,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "background": False,
        "previous_response_id": None,
        "metadata": {},
        "a_field_of_tomorrow": {"kept": True},
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 15,
        },
        **more,
    }


def said(text: str, item_id: str) -> dict[str, Any]:
    """A message of the model's."""
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"id": item_id, "type": "message", "status": "completed", "role": "assistant", "content": content}


def streamed(body: Mapping[str, Any]) -> str:
    """*body*, whose only item is a message, as a stream."""
    item = body["output"][0]
    text = item["content"][0]["text"]
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    begun = {**body, "status": "in_progress", "output": [], "usage": None}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    events: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": begun}),
        ("in_progress", {"response": begun}),
        ("output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}}),
        ("content_part.added", {**place, "part": empty}),
        ("output_text.delta", {**place, "delta": text, "logprobs": [], "obfuscation": "x"}),
        ("output_text.done", {**place, "text": text, "logprobs": []}),
        ("content_part.done", {**place, "part": item["content"][0]}),
        ("output_item.done", {"output_index": 0, "item": item}),
        ("event_of_tomorrow", {"spacing": "kept"}),
        ("completed", {"response": body}),
    ]
    return "".join(
        f"event: response.{kind}\ndata: {json.dumps({'type': f'response.{kind}', 'sequence_number': at, **fields})}\n\n"
        for at, (kind, fields) in enumerate(events)
    )


def vendor(*outputs: list[Mapping[str, Any]], **more: Any) -> Callable[[Asked], Answer]:
    """A Responses server: each request gets an answer of its own id, with *outputs* in turn if there are any."""
    numbers: Iterator[int] = itertools.count(1)
    waiting = list(outputs)

    def script(asked: Asked) -> Answer:
        body = answered(next(numbers), *(waiting.pop(0) if waiting else ()), **more)
        return Answer.sse(streamed(body), split="events") if asked.json.get("stream") else Answer.json(body)

    return script


def responses_at(name: str, upstream: Upstream, more: str = "") -> str:
    """A provider that speaks the Responses API."""
    return provider(name, f"{upstream.url}/v1", "openai_responses", more)


def gemini(*parts: dict[str, Any]) -> Answer:
    """A whole answer of Gemini's."""
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}
    return Answer.json({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "g1"})


# --- clients -------------------------------------------------------------------------------------


@asynccontextmanager
async def sdk(server: Served, key: str = "unused") -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        yield client


async def post(server: Served, path: str = "", headers: Mapping[str, str] | None = None, **body: Any) -> Any:
    """A plain request."""
    return await server.request("POST", f"/v1/responses{path}", json.dumps(body).encode(), headers)


async def ended(client: AsyncOpenAI, response_id: str) -> Any:
    """The response as soon as it has ended."""
    for _ in range(ROUNDS):
        response = await client.responses.retrieve(response_id)
        if response.status not in ("queued", "in_progress"):
            return response
    raise AssertionError(f"{response_id} has not ended")


async def asked_of(upstream: Upstream, model: str, count: int = 1) -> Asked:
    """The *count*-th request for *model*, once it has come."""
    return await asyncio.to_thread(upstream.wait_asked, model, count)


def texts(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(role, text) of chat messages or Responses items."""
    found = []
    for item in items:
        content = item["content"]
        found.append((item["role"], content if isinstance(content, str) else content[0]["text"]))
    return found


# --- answers -------------------------------------------------------------------------------------


async def test_an_answer_of_a_foreign_vendor_is_stored_as_it_was_given(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(provider("one", upstream), QUICK)

    reply = await post(server, model="one/m", input="hi", metadata={"a": "b"})
    again = await server.get(f"/v1/responses/{reply.json['id']}?include[]=reasoning.encrypted_content")
    row = await server.row(reply.id)

    assert (reply.status, reply.json["output"][0]["content"][0]["text"]) == (200, "Hello there")
    assert (again.status, again.body) == (200, reply.body)
    assert reply.json["store"] is True
    assert reply.headers["x-modelport-target"] == "one/m"
    assert "x-modelport-losses" not in reply.headers
    assert (row["dialect"], row["status"], row["input_tokens"]) == ("openai_responses", "ok", 10)


async def test_a_stream_has_the_events_of_the_api_in_order(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(provider("one", upstream), QUICK)

    async with sdk(server) as client:
        async with client.responses.stream(model="one/m", input="hi") as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        stored = await client.responses.retrieve(final.id)

    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert final.output_text == stored.output_text == "Hello there"


async def test_a_stored_response_is_streamed_again(serve: Serve, upstream: Upstream) -> None:
    """As the SDK reads it, and from any event on; what is stored comes back as it is."""
    output: list[Mapping[str, Any]] = [
        {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        said("hello", "msg_1"),
        {"id": "ws_1", "type": "web_search_call", "status": "completed", "new": 1},
        {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
    ]
    upstream.script("m", vendor(output))
    server = await serve(responses_at("one", upstream), QUICK)
    stored = (await post(server, model="one/m", input="hi")).json

    async with sdk(server) as client:
        events = [event async for event in await client.responses.retrieve(stored["id"], stream=True)]
        rest = [event async for event in await client.responses.retrieve(stored["id"], stream=True, starting_after=7)]

    told: list[dict[str, Any]] = [event.to_dict() for event in events]
    assert [event["type"] for event in told[:2]] == ["response.created", "response.in_progress"]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta") == "hello"
    assert [event["item"] for event in told if event["type"] == "response.output_item.done"] == output
    assert (told[-1]["type"], told[-1]["response"]) == ("response.completed", stored)
    assert [event.to_dict() for event in rest] == told[8:]


async def test_a_stream_of_a_response_in_the_background_waits_for_its_end(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", replace(Answer.json(answered(1)), hold_at=0))
    server = await serve(responses_at("one", upstream), QUICK)
    queued = (await post(server, model="one/m", input="1", background=True)).json["id"]
    asked = await asked_of(upstream, "m")

    async with server.session.get(f"{server.url}/v1/responses/{queued}?stream=true") as reply:
        before = (await server.get(f"/v1/responses/{queued}")).json["status"]  # the head is there, and no more
        asked.release()
        last = (await reply.text()).strip().rpartition("data: ")[2]

    told = json.loads(last)
    assert (before, told["type"]) == ("in_progress", "response.completed")
    assert (told["response"]["id"], told["response"]["status"]) == (queued, "completed")


@pytest.mark.parametrize("given", ["-1", "x", "1e3", "9999999999"])
async def test_an_event_that_cannot_be_is_refused(serve: Serve, upstream: Upstream, given: str) -> None:
    upstream.script("m", vendor())
    server = await serve(responses_at("one", upstream), QUICK)
    stored = (await post(server, model="one/m", input="hi")).json["id"]

    reply = await server.get(f"/v1/responses/{stored}?stream=true&starting_after={given}")

    assert (reply.status, reply.error["param"]) == (400, "starting_after")


async def test_a_vendor_of_the_same_api_is_relayed_byte_for_byte(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", vendor())
    server = await serve(responses_at("one", upstream), QUICK)
    body = '{"input" : "hi","model":"one/m","tomorrow": [1,  2.50],"store":true}'

    reply = await server.request("POST", "/v1/responses", body.encode())
    stored = await server.get("/v1/responses/resp_vendor1")

    assert upstream.asked("m")[0].body.decode() == body.replace("one/m", "m")
    assert upstream.asked("m")[0].path == "/v1/responses"
    assert reply.body == stored.body == json.dumps(answered(1), ensure_ascii=False).encode()


async def test_its_stream_is_too(serve: Serve, upstream: Upstream) -> None:
    """But for the receipt, which stands before the last event."""
    upstream.script("m", vendor())
    server = await serve(responses_at("one", upstream), QUICK)

    reply = await post(server, model="one/m", input="hi", stream=True)
    stored = await server.get("/v1/responses/resp_vendor1")

    frames = [frame for frame in reply.frames if not frame.startswith(": modelport")]
    assert "\n\n".join([*frames, ""]) == streamed(answered(1))
    assert reply.receipt["losses"] == []
    assert stored.json == answered(1)


# --- conversations -------------------------------------------------------------------------------


async def test_three_turns_reach_a_vendor_that_keeps_nothing_as_one_conversation(
    serve: Serve, upstream: Upstream
) -> None:
    upstream.script("m", says("one"), streams("t", "wo"), says("three"))
    server = await serve(provider("one", upstream), QUICK)

    async with sdk(server) as client:
        first = await client.responses.create(model="one/m", input="1", instructions="Be brief")
        async with client.responses.stream(model="one/m", input="2", previous_response_id=first.id) as stream:
            second = await stream.get_final_response()
        third = await client.responses.with_raw_response.create(
            model="one/m", input=[{"role": "user", "content": "3"}], previous_response_id=second.id
        )

    assert texts(upstream.asked("m")[2].json["messages"]) == [
        ("user", "1"),
        ("assistant", "one"),
        ("user", "2"),
        ("assistant", "two"),
        ("user", "3"),
    ]
    assert third.headers["x-modelport-losses"].startswith("previous_response_id=emulated")
    assert third.parse().previous_response_id == second.id


CALLING: Mapping[str, tuple[Answer, Answer]] = {
    "openai_chat": (
        says(
            None,
            reason="tool_calls",
            tool_calls=[
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
            ],
        ),
        says("Sunny"),
    ),
    "anthropic": (
        Answer.json(
            message(
                content=[
                    {"type": "thinking", "thinking": "I need the weather", "signature": "signed-by-anthropic"},
                    {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}},
                ],
                stop_reason="tool_use",
            )
        ),
        Answer.json(message("Sunny")),
    ),
    "gemini": (
        gemini(
            {
                "functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Rome"}},
                "thoughtSignature": "signed-by-gemini",
            }
        ),
        gemini({"text": "Sunny"}),
    ),
}


def sent_back(dialect: str, body: dict[str, Any]) -> tuple[str, str, str]:
    """(name of the function, its result, signature) in the conversation that reached a vendor."""
    if dialect == "openai_chat":
        called, result = body["messages"][1], body["messages"][2]
        return called["tool_calls"][0]["function"]["name"], result["content"], ""
    if dialect == "anthropic":
        thought, called = body["messages"][1]["content"]
        result = body["messages"][2]["content"][0]["content"]
        return called["name"], result if isinstance(result, str) else result[0]["text"], thought["signature"]
    called = body["contents"][1]["parts"][0]
    result = body["contents"][2]["parts"][0]["functionResponse"]["response"]
    return called["functionCall"]["name"], next(iter(result.values())), called["thoughtSignature"]


@pytest.mark.parametrize(
    ("dialect", "signature"),
    [("openai_chat", ""), ("anthropic", "signed-by-anthropic"), ("gemini", "signed-by-gemini")],
)
async def test_a_tool_goes_round_by_the_previous_id_alone(
    dialect: str, signature: str, serve: Serve, upstream: Upstream
) -> None:
    """The call, its result, and the vendor's signature on its reasoning come back to every vendor."""
    upstream.script("m", *CALLING[dialect])
    server = await serve(provider("one", upstream, dialect), QUICK)

    async with sdk(server) as client:
        asking = await client.responses.create(
            model="one/m",
            input="Weather in Rome?",
            tools=[TOOL],
            reasoning={"effort": "low"},
        )
        call = next(item for item in asking.output if item.type == "function_call")
        told = await client.responses.create(
            model="one/m",
            previous_response_id=asking.id,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny, 21 degrees"}],
            tools=[TOOL],
            reasoning={"effort": "low"},
        )

    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Rome"})
    assert told.output_text == "Sunny"
    assert sent_back(dialect, upstream.asked("m")[1].json) == ("weather", "sunny, 21 degrees", signature)


async def test_a_vendor_that_keeps_the_response_is_told_its_id(serve: Serve, upstream: Upstream) -> None:
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "secret"}
    call = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}
    upstream.script("m", vendor([reasoning, {**call, "status": "completed"}]))
    server = await serve(responses_at("one", upstream), QUICK)
    output = [{"type": "function_call_output", "call_id": "call_1", "output": "sunny"}]

    await post(server, model="one/m", input="1", tools=[TOOL])
    reply = await post(server, model="one/m", input=output, previous_response_id="resp_vendor1", tools=[TOOL])

    assert upstream.asked("m")[1].json == {
        "model": "m",
        "input": output,
        "previous_response_id": "resp_vendor1",
        "tools": [TOOL],
    }
    assert "x-modelport-losses" not in reply.headers
    assert reply.json["previous_response_id"] == "resp_vendor1"


@pytest.mark.parametrize("vault", ["true", "false"])
async def test_another_vendor_of_the_same_api_gets_what_it_can_read(
    vault: str, serve: Serve, upstream: Upstream
) -> None:
    """Without the ids and the reasoning of the vendor before, whether or not reasoning is kept apart."""
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "for-one-alone"}
    unencrypted = {"id": "rs_2", "type": "reasoning", "summary": []}
    upstream.script("m", vendor([reasoning, unencrypted, said("first", "msg_1")]))
    upstream.script("n", vendor())
    server = await serve(
        responses_at("one", upstream), responses_at("two", upstream), f"[memory]\nreasoning = {vault}\n", QUICK
    )

    await post(server, model="one/m", input="1")
    reply = await post(server, model="two/n", input="2", previous_response_id="resp_vendor1", tomorrow=True)

    sent = upstream.asked("n")[0].json
    assert sent["tomorrow"] is True
    assert "previous_response_id" not in sent
    assert texts(sent["input"]) == [("user", "1"), ("assistant", "first"), ("user", "2")]
    assert not any("id" in item for item in sent["input"])
    assert reply.headers["x-modelport-losses"].startswith("previous_response_id=emulated")
    assert reply.json["previous_response_id"] == "resp_vendor1"


async def test_a_stream_names_the_response_that_it_continues(serve: Serve, upstream: Upstream) -> None:
    """Although its vendor was sent the conversation and knows of no earlier response."""
    upstream.script("m", says())
    upstream.script("n", vendor())
    server = await serve(provider("one", upstream), responses_at("two", upstream), QUICK)

    first = (await post(server, model="one/m", input="1")).json["id"]
    async with (
        sdk(server) as client,
        client.responses.stream(model="two/n", input="2", previous_response_id=first) as stream,
    ):
        final = await stream.get_final_response()

    assert final.previous_response_id == first
    assert (await server.get(f"/v1/responses/{final.id}")).json["previous_response_id"] == first


async def test_a_vendor_with_several_keys_may_have_several_accounts(serve: Serve, upstream: Upstream) -> None:
    """Only one of them would know the id, so it gets the conversation."""
    upstream.script("m", vendor())
    server = await serve(provider("one", f"{upstream.url}/v1", "openai_responses", keys=(KEY, SECOND_KEY)), QUICK)

    first = await post(server, model="one/m", input="1")
    await post(server, model="one/m", input="2", previous_response_id=first.json["id"])

    sent = upstream.asked("m")[1].json
    assert "previous_response_id" not in sent
    assert texts(sent["input"]) == [("user", "1"), ("assistant", "answer 1"), ("user", "2")]


async def test_a_vendor_that_refused_to_continue_is_told_no_ids_any_more(serve: Serve, upstream: Upstream) -> None:
    """Although it says that it stores its answers. Once for a process; an id that it has forgotten is no such case."""
    upstream.script("m", vendor())
    server = await serve(responses_at("one", upstream), QUICK)
    first = (await post(server, model="one/m", input="1")).json["id"]
    stored = await server.services.responses.get("", first)
    assert stored is not None
    body = {"model": "one/m", "input": "2", "previous_response_id": first}
    memory = Memory(server.services.responses, "", parse_request(body), body, previous_id=first, past=Past(stored))

    forgotten = memory.told_otherwise(
        parse_error(400, b'{"detail":"previous_response_id resp_1 not found"}', {}), "one"
    )
    before = set(server.services.responses.not_keeping)
    refused = memory.told_otherwise(parse_error(400, b'{"detail":"unknown field previous_response_id"}', {}), "one")
    reply = await post(server, **body)

    assert (forgotten is not None and forgotten.forgotten, refused is not None and refused.forgotten) == (True, True)
    assert (before, server.services.responses.not_keeping) == (set(), {"one"})
    assert forgotten is not None
    assert forgotten.told_otherwise(parse_error(400, b'{"detail":"previous_response_id"}', {}), "one") is None
    assert memory.told_otherwise(parse_error(400, b'{"detail":"unknown field user"}', {}), "one") is None
    assert texts(upstream.asked("m")[1].json["input"]) == [("user", "1"), ("assistant", "answer 1"), ("user", "2")]
    assert reply.headers["x-modelport-losses"].startswith("previous_response_id=emulated")


async def test_a_failover_in_mid_conversation_sends_it_in_full(serve: Serve, upstream: Upstream) -> None:
    """Each target sees the request as it has to: the first is told the id, the next the conversation."""
    answers = vendor()
    upstream.script("m", lambda asked: failing(503) if "previous_response_id" in asked.json else answers(asked))
    upstream.script("n", says("from the other"))
    server = await serve(
        responses_at("one", upstream), provider("two", upstream), route("careful", "one/m", "two/n"), QUICK
    )

    first = await post(server, model="careful", input="1")
    second = await post(server, model="careful", input="2", previous_response_id=first.json["id"])
    third = await post(server, model="two/n", input="3", previous_response_id=second.json["id"])

    assert second.headers["x-modelport-attempts"] == "2"
    assert upstream.asked("m")[1].json["previous_response_id"] == first.json["id"]
    assert texts(upstream.asked("n")[0].json["messages"]) == [("user", "1"), ("assistant", "answer 1"), ("user", "2")]
    assert len(upstream.asked("n")[1].json["messages"]) == 5
    assert third.status == 200


async def test_a_stream_taken_over_by_another_target_is_stored_and_continued(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(503))
    upstream.script("n", streams("Hello", " there"), says("bye"))
    server = await serve(
        responses_at("one", upstream), provider("two", upstream), route("careful", "one/m", "two/n"), QUICK
    )

    async with sdk(server) as client, client.responses.stream(model="careful", input="1") as stream:
        first = await stream.get_final_response()
        await client.responses.create(model="two/n", input="2", previous_response_id=first.id)

    assert texts(upstream.asked("n")[1].json["messages"]) == [
        ("user", "1"),
        ("assistant", "Hello there"),
        ("user", "2"),
    ]


async def test_items_may_be_named_by_their_ids(serve: Serve, upstream: Upstream) -> None:
    """`item_reference`, as the Vercel AI SDK sends them: in full to a target that does not keep the item."""
    upstream.script("m", says("first"), says("second"))
    upstream.script("n", vendor())
    server = await serve(provider("one", upstream), responses_at("two", upstream), QUICK)

    here = (await post(server, model="one/m", input="1")).json["output"][0]["id"]
    there = (await post(server, model="two/n", input="2")).json["output"][0]["id"]
    asked = [{"type": "item_reference", "id": here}, {"role": "user", "content": "3"}]
    reply = await post(server, model="one/m", input=asked)
    await post(server, model="two/n", input=[{"type": "item_reference", "id": there}, *asked])

    assert texts(upstream.asked("m")[1].json["messages"]) == [("assistant", "first"), ("user", "3")]
    assert reply.headers["x-modelport-losses"].startswith("input[0]=emulated")
    referred, written, _ = upstream.asked("n")[1].json["input"]
    assert referred == {"type": "item_reference", "id": there}
    assert (written["content"][0]["text"], "id" in written) == ("first", False)


async def test_a_conversation_is_the_vendors(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    upstream.script("n", vendor())
    server = await serve(provider("one", upstream), responses_at("two", upstream), QUICK)

    foreign = await post(server, model="one/m", input="1", conversation="conv_1")
    own = [await post(server, model="two/n", input="1", conversation={"id": "conv_1"}, temperature=0) for _ in range(2)]
    stored = await server.get(f"/v1/responses/{own[0].json['id']}")

    assert (foreign.status, foreign.error["param"]) == (400, "conversation")
    assert [asked.json["conversation"] for asked in upstream.asked("n")] == [{"id": "conv_1"}] * 2
    assert [each.headers["x-modelport-cache"] for each in own] == ["bypass", "bypass"]
    assert stored.status == 404


async def test_losses_reject_refuses_to_emulate(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), QUICK)

    first = await post(server, model="one/m", input="1")
    reply = await post(
        server,
        headers={"x-modelport-losses": "reject"},
        model="one/m",
        input="2",
        previous_response_id=first.json["id"],
    )

    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "previous_response_id", "loss_rejected")


# --- ids that nobody knows -----------------------------------------------------------------------


async def test_an_unknown_previous_id_is_the_clients_error_or_the_vendors_business(
    serve: Serve, upstream: Upstream
) -> None:
    upstream.script("m", says())
    upstream.script("n", vendor())
    server = await serve(provider("one", upstream), responses_at("two", upstream), QUICK)
    raw = b'{"model":"two/n","input":"2","previous_response_id":"resp_of_yesterday"}'

    async with sdk(server) as client:
        with pytest.raises(openai.BadRequestError) as refusal:
            await client.responses.create(model="one/m", input="2", previous_response_id="resp_of_yesterday")
    reply = await server.request("POST", "/v1/responses", raw)

    assert refusal.value.code == "previous_response_not_found"
    assert refusal.value.param == "previous_response_id"
    assert "Previous response with id 'resp_of_yesterday' not found." in refusal.value.message
    assert not upstream.asked("m")
    assert upstream.asked("n")[0].body == raw.replace(b"two/n", b"n")
    assert reply.status == 200


@pytest.mark.parametrize(
    ("asked", "status", "param", "told"),
    [
        ({"previous_response_id": "resp_x"}, 400, "previous_response_id", "response with id 'resp_x' not found"),
        ({"conversation": "conv_x"}, 404, "conversation", "Conversation with id 'conv_x' not found"),
        ({"conversation": {"id": "conv_x"}}, 404, "conversation", "Conversation with id 'conv_x' not found"),
        ({"input": [{"type": "item_reference", "id": "msg_x"}]}, 400, "input[0]", "Item with id 'msg_x' not found"),
        ({"input": [{"role": "user", "content": "hi"}, {"id": "msg_x"}]}, 400, "input[1]", "'msg_x' not found"),
    ],
)
async def test_where_there_are_keys_the_vendors_ids_are_the_masters(
    asked: dict[str, Any], status: int, param: str, told: str, serve: Serve, upstream: Upstream
) -> None:
    """The vendor's account is one for all keys: an id overheard from another client must lead nowhere."""
    upstream.script("m", vendor())
    server = await serve(responses_at("one", upstream), MASTER, QUICK)
    body = {"model": "one/m", "input": "hi", **asked}

    anonymous = await post(server, **body)
    counted = await post(server, "/input_tokens", **body)
    sent_before = len(upstream.asked("m"))
    master = await post(server, "", {"authorization": f"Bearer {MASTER_KEY}"}, **body)

    for reply in (anonymous, counted):
        assert (reply.status, reply.error["param"]) == (status, param)
        assert told in reply.error["message"]
    assert (sent_before, master.status) == (0, 200)


@pytest.mark.parametrize("path", ["", "/input_items"])
async def test_where_there_is_a_master_key_others_read_nothing_of_the_vendors(path: str, serve: Serve) -> None:
    with Upstream(lambda _asked: Answer.json({"id": "resp_x"})) as upstream:
        server = await serve(responses_at("one", upstream), MASTER, QUICK)
        named = {"x-modelport-provider": "one"}

        anonymous = await server.get(f"/v1/responses/resp_x{path}", named)
        deleted = await server.request("DELETE", f"/v1/responses/resp_x{path}", headers=named)
        master = await server.get(f"/v1/responses/resp_x{path}", {**named, "authorization": f"Bearer {MASTER_KEY}"})

        assert (anonymous.status, deleted.status, master.status) == (404, 404, 200)
        assert len(upstream.requests) == 1


async def test_an_item_is_found_by_its_vendors_id_alone(serve: Serve, upstream: Upstream) -> None:
    """Its vendor is sent the id, another one the item, and another tenant nothing."""
    upstream.script("m", says())
    upstream.script("n", vendor())
    server = await serve(provider("one", upstream), responses_at("two", upstream), MASTER, QUICK)
    asked = [{"type": "item_reference", "id": "msg_vendor1"}, {"role": "user", "content": "2"}]

    await post(server, model="two/n", input="1")
    kept = await post(server, model="two/n", input=asked)
    moved = await post(server, model="one/m", input=asked)
    stranger = await post(server, "", {"authorization": f"Bearer {MASTER_KEY}"}, model="one/m", input=asked)

    assert (kept.status, upstream.asked("n")[1].json["input"]) == (200, asked)
    assert texts(upstream.asked("m")[0].json["messages"]) == [("assistant", "answer 1"), ("user", "2")]
    assert moved.headers["x-modelport-losses"].startswith("input[0]=emulated")
    assert (stranger.status, stranger.error["code"]) == (400, "item_not_found")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_its_vendor_does_not_know_either_is_an_unknown_response(method: str, serve: Serve) -> None:
    missing = {"error": {"message": "No such thing.", "type": "invalid_request_error", "param": None, "code": None}}
    with Upstream(lambda _asked: Answer.json(missing, 404)) as upstream:
        server = await serve(responses_at("one", upstream), QUICK)

        unknown = await server.request(method, "/v1/responses/resp_x", headers={"x-modelport-provider": "one"})
        nobody = await server.request(method, "/v1/responses/resp_x", headers={"x-modelport-provider": "two"})

    assert (unknown.status, unknown.error["code"], nobody.error["code"]) == (404, "not_found", "no_provider")
    assert unknown.error["message"].startswith("Response with id 'resp_x' not found. ")
    assert "No such thing." in unknown.error["message"]


async def test_what_is_stored_nowhere_is_not_found_in_openais_words(serve: Serve, upstream: Upstream) -> None:
    server = await serve(provider("one", upstream), QUICK)

    async with sdk(server) as client:
        for action in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
            with pytest.raises(openai.NotFoundError, match="Response with id 'resp_x' not found"):
                await action("resp_x")
        with pytest.raises(openai.NotFoundError):
            await client.responses.input_items.list("resp_x")
    for reply in (await server.get("/v1/responses/resp_x/other"), await post(server, "/resp_x/other")):
        assert (reply.status, reply.error["code"]) == (404, "unknown_url")


async def test_what_is_not_stored_here_is_asked_of_the_provider_that_is_named(serve: Serve) -> None:
    with Upstream(lambda asked: Answer.json({"id": "resp_x", "method": asked.method, "path": asked.path})) as upstream:
        server = await serve(responses_at("one", upstream), QUICK)
        named = {"x-modelport-provider": "one"}

        found = await server.get("/v1/responses/resp_x", named)
        items = await server.get("/v1/responses/resp_x/input_items?limit=2", named)
        gone = await server.request("DELETE", "/v1/responses/resp_x", headers=named)
        cancelled = await post(server, "/resp_x/cancel", named)
        compacted = await post(server, "/compact", {**named, "content-type": "application/json"}, model="m", input="hi")

    assert [(each.json["method"], each.json["path"]) for each in (found, items, gone, cancelled, compacted)] == [
        ("GET", "/v1/responses/resp_x"),
        ("GET", "/v1/responses/resp_x/input_items?limit=2"),
        ("DELETE", "/v1/responses/resp_x"),
        ("POST", "/v1/responses/resp_x/cancel"),
        ("POST", "/v1/responses/compact"),
    ]


def test_places_count_from_the_clients_own_first_item() -> None:
    body = {"model": "m", "input": [{"role": "user", "content": "b"}, {"role": "user", "content": "c"}]}
    before = [{"role": "user", "content": "a"}]

    places = [message.place for message in continued(body, before).messages]

    assert places == ["previous_response_id.input[0]", "input[0]", "input[1]"]


# --- what is stored ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 404], ids=["deleted", "gone before"])
async def test_a_deleted_response_is_gone_here_and_at_its_vendor(status: int, serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    answers = vendor()

    def either(asked: Asked) -> Answer:
        return Answer.json({"deleted": True}, status) if asked.method == "DELETE" else answers(asked)

    with Upstream(either) as other:
        server = await serve(provider("one", upstream), responses_at("two", other), QUICK)
        first = (await post(server, model="one/m", input="1")).json["id"]
        second = (await post(server, model="two/n", input="1")).json["id"]

        deleted = await server.request("DELETE", f"/v1/responses/{first}")
        await server.request("DELETE", f"/v1/responses/{second}")
        gone = [(await server.get(f"/v1/responses/{each}")).status for each in (first, second)]
        continued = await post(server, model="one/m", input="2", previous_response_id=first)

        assert deleted.json == {"id": first, "object": "response", "deleted": True}
        assert gone == [404, 404]
        assert (continued.status, continued.error["code"]) == (400, "previous_response_not_found")
        assert [asked.path for asked in other.requests if asked.method == "DELETE"] == ["/v1/responses/resp_vendor1"]
        assert [row["status"] for row in await server.rows()][-1] == "ok"


async def test_a_vendor_that_does_not_delete_leaves_the_response_where_it_is(serve: Serve) -> None:
    answers = vendor()
    with Upstream(lambda asked: failing(500) if asked.method == "DELETE" else answers(asked)) as upstream:
        server = await serve(responses_at("one", upstream), QUICK)
        kept = (await post(server, model="one/m", input="1")).json["id"]

        refused = await server.request("DELETE", f"/v1/responses/{kept}")

        assert (refused.status, (await server.get(f"/v1/responses/{kept}")).status) == (502, 200)


async def test_a_conversation_with_a_gap_cannot_be_continued_elsewhere(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), QUICK)

    first = (await post(server, model="one/m", input="1")).json["id"]
    second = (await post(server, model="one/m", input="2", previous_response_id=first)).json["id"]
    with sqlite3.connect(server.database) as connection:
        connection.execute("UPDATE responses SET expires_us = 0 WHERE id = ?", (first,))
    reply = await post(server, model="one/m", input="3", previous_response_id=second)

    assert reply.status == 400
    assert first in reply.error["message"]


async def test_a_deleted_response_breaks_no_conversation_that_went_on(serve: Serve, upstream: Upstream) -> None:
    """As at OpenAI: nobody can ask for it or continue it, but what came after it can be continued."""
    upstream.script("m", says("one"), says("two"), says("three"))
    server = await serve(provider("one", upstream), QUICK)

    first = (await post(server, model="one/m", input="1")).json["id"]
    second = (await post(server, model="one/m", input="2", previous_response_id=first)).json["id"]
    await server.request("DELETE", f"/v1/responses/{first}")
    asked_for = await server.get(f"/v1/responses/{first}")
    continued = await post(server, model="one/m", input="x", previous_response_id=first)
    third = await post(server, model="one/m", input="3", previous_response_id=second)

    assert (asked_for.status, continued.error["code"]) == (404, "previous_response_not_found")
    assert third.json["output"][0]["content"][0]["text"] == "three"
    assert [text for _, text in texts(upstream.asked("m")[-1].json["messages"])] == ["1", "one", "2", "two", "3"]


async def test_a_vendor_may_go_on_where_an_earlier_response_is_gone_here(serve: Serve) -> None:
    answers = vendor()
    with Upstream(lambda asked: Answer.json({}) if asked.method == "DELETE" else answers(asked)) as upstream:
        server = await serve(responses_at("one", upstream), QUICK)

        await post(server, model="one/m", input="1")
        await post(server, model="one/m", input="2", previous_response_id="resp_vendor1")
        await server.request("DELETE", "/v1/responses/resp_vendor1")
        reply = await post(server, model="one/m", input="3", previous_response_id="resp_vendor2")

        assert reply.status == 200
        assert upstream.asked("m")[-1].json["previous_response_id"] == "resp_vendor2"


async def test_tenants_are_apart(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), MASTER, QUICK)

    async with sdk(server, MASTER_KEY) as master, sdk(server) as other:
        mine = await master.responses.create(model="one/m", input="secret")
        with pytest.raises(openai.NotFoundError):
            await other.responses.retrieve(mine.id)
        with pytest.raises(openai.NotFoundError):
            await other.responses.delete(mine.id)
        with pytest.raises(openai.BadRequestError):
            await other.responses.create(model="one/m", input="2", previous_response_id=mine.id)
        reference: Any = [{"type": "item_reference", "id": mine.output[0].id}, {"role": "user", "content": "?"}]
        with pytest.raises(openai.BadRequestError):
            await other.responses.create(model="one/m", input=reference)

        assert (await master.responses.retrieve(mine.id)).id == mine.id
    assert len(upstream.asked("m")) == 1


async def test_a_restart_loses_nothing(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script("m", says("one"), says("two"))
    config = "\n".join([provider("one", upstream), QUICK])

    async with serving(tmp_path, config) as server:
        first = (await post(server, model="one/m", input="1")).json["id"]
    async with serving(tmp_path, config) as server:
        stored = await server.get(f"/v1/responses/{first}")
        second = await post(server, model="one/m", input="2", previous_response_id=first)

    assert stored.json["output"][0]["content"][0]["text"] == "one"
    assert second.status == 200
    assert texts(upstream.asked("m")[1].json["messages"]) == [("user", "1"), ("assistant", "one"), ("user", "2")]


@pytest.mark.parametrize("how", ["asked", "configured"])
async def test_what_is_not_to_be_stored_is_not(how: str, serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    off = "[memory]\nresponses = false\n" if how == "configured" else ""
    server = await serve(provider("one", upstream), off, QUICK)
    body: Any = {"model": "one/m", "input": "1", "store": how == "configured"}

    whole = await post(server, **body)
    streamed_reply = await post(server, **body, stream=True)
    last = json.loads(streamed_reply.frames[-1].partition("data: ")[2])["response"]

    for answer in (whole.json, last):
        assert answer["store"] is False
        assert (await server.get(f"/v1/responses/{answer['id']}")).status == 404
    assert await server.services.responses.stats() == {"entries": 0, "size_bytes": 0}
    assert whole.headers.get("x-modelport-losses", "").startswith("store=dropped" if how == "configured" else "")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_cannot_be_stored_says_so(stream: bool, serve: Serve, upstream: Upstream) -> None:
    """It is paid for, and the client gets it; `store: false` tells that it cannot be asked for again."""
    body = answered(7)
    upstream.script("m", lambda asked: Answer.sse(streamed(body)) if asked.json.get("stream") else Answer.json(body))
    server = await serve(responses_at("one", upstream), QUICK)

    await post(server, model="one/m", input="the first of that id")
    reply = await post(server, model="one/m", input="the second", stream=stream)

    told = json.loads(reply.frames[-1].partition("data: ")[2])["response"] if stream else reply.json
    assert told == {**body, "store": False}
    items = (await server.get("/v1/responses/resp_vendor7/input_items")).json["data"]
    assert items[0]["content"][0]["text"] == "the first of that id"


async def test_a_full_store_costs_nobody_the_answer(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), QUICK)
    server.services.responses = Responses(server.services.db, max_row_bytes=10)

    reply = await post(server, model="one/m", input="1")

    assert (reply.status, reply.json["store"]) == (200, False)


async def test_input_items_come_in_pages_newest_first(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), QUICK)
    items: Any = [{"role": "user", "content": str(number)} for number in range(5)]

    async with sdk(server) as client:
        response = await client.responses.create(model="one/m", input=items)
        newest: list[Any] = [item async for item in client.responses.input_items.list(response.id, limit=2)]
        page = await client.responses.input_items.list(response.id, order="asc", limit=3)
        rest = await page.get_next_page()
        with pytest.raises(openai.BadRequestError) as refusal:
            await client.responses.input_items.list(response.id, limit=101)

    assert [item.content[0].text for item in newest] == ["4", "3", "2", "1", "0"]
    assert (len(page.data), page.has_more, len(rest.data), rest.has_more) == (3, True, 2, False)
    assert refusal.value.param == "limit"
    for query in ("order=up", "after=msg_nowhere", "limit=0"):
        assert (await server.get(f"/v1/responses/{response.id}/input_items?{query}")).status == 400


async def test_tokens_are_counted_with_the_conversation(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says("a rather long answer " * 20))
    server = await serve(provider("one", upstream), QUICK)

    async with sdk(server) as client:
        first = await client.responses.create(model="one/m", input="1")
        alone = await client.responses.input_tokens.count(model="one/m", input="2")
        after = await client.responses.input_tokens.count(model="one/m", input="2", previous_response_id=first.id)
        with pytest.raises(openai.BadRequestError):
            await client.responses.input_tokens.count(model="one/m", input="2", previous_response_id="resp_x")

    assert after.input_tokens > alone.input_tokens + 50


async def test_a_vendor_of_the_same_api_counts_itself(serve: Serve, upstream: Upstream) -> None:
    answers = vendor()
    counted = Answer.json({"object": "response.input_tokens", "input_tokens": 42})
    upstream.script("m", lambda asked: counted if asked.path.endswith("/input_tokens") else answers(asked))
    server = await serve(responses_at("one", upstream), QUICK)

    await post(server, model="one/m", input="1")
    reply = await post(server, "/input_tokens", model="one/m", input="2", previous_response_id="resp_vendor1")

    assert (reply.json["input_tokens"], reply.headers["x-modelport-count"]) == (42, "vendor")
    assert upstream.asked("m")[1].json["previous_response_id"] == "resp_vendor1"


# --- the cache -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["foreign", "own"])
async def test_an_answer_of_the_cache_is_a_response_of_its_own(kind: str, serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", vendor() if kind == "own" else says())
    server = await serve(responses_at("one", upstream) if kind == "own" else provider("one", upstream), QUICK)
    body: Any = {"model": "one/m", "input": "1", "temperature": 0}

    first = await post(server, **body, metadata={})
    second = await post(server, **body, metadata={})
    third = await post(server, **body, metadata={}, stream=True)
    last = json.loads(third.frames[-1].partition("data: ")[2])["response"]

    answers = [first.json, second.json, last]
    assert [second.headers["x-modelport-cache"], third.headers["x-modelport-cache"]] == ["hit", "hit"]
    assert len({each["id"] for each in answers}) == 3
    assert len({each["output"][0]["content"][0]["text"] for each in answers}) == 1
    assert [(await server.get(f"/v1/responses/{each['id']}")).json for each in answers] == answers
    assert len(upstream.asked("m")) == 1


async def test_what_a_vendor_knows_by_another_id_is_another_request(serve: Serve, upstream: Upstream) -> None:
    """Also where the request has to be rewritten, for an item that only the proxy knows."""
    upstream.script("m", says())
    upstream.script("n", vendor())
    server = await serve(provider("one", upstream), responses_at("two", upstream), QUICK)

    item = (await post(server, model="one/m", input="1")).json["output"][0]["id"]
    asked: Any = {"model": "two/n", "input": [{"type": "item_reference", "id": item}], "temperature": 0}
    replies = [await post(server, **asked, previous_response_id=f"resp_{word}") for word in ("a", "b", "b")]

    assert [reply.headers["x-modelport-cache"] for reply in replies] == ["miss", "miss", "hit"]
    assert [sent.json["previous_response_id"] for sent in upstream.asked("n")] == ["resp_a", "resp_b"]


# --- in the background ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["foreign", "own"])
async def test_a_response_in_the_background_is_asked_for_until_it_has_ended(
    kind: str, serve: Serve, upstream: Upstream
) -> None:
    upstream.script("m", vendor() if kind == "own" else says("answer 1"))
    server = await serve(responses_at("one", upstream) if kind == "own" else provider("one", upstream), QUICK)

    async with sdk(server) as client:
        queued = await client.responses.create(model="one/m", input="1", background=True)
        done = await ended(client, queued.id)
        await client.responses.create(model="one/m", input="2", previous_response_id=queued.id)
        cancelled = await client.responses.cancel(queued.id)

    assert (queued.status, queued.background, queued.output) == ("queued", True, [])
    assert (done.id, done.status, done.background, done.output_text) == (queued.id, "completed", True, "answer 1")
    assert done.created_at == queued.created_at
    assert cancelled.status == "completed"
    assert "background" not in upstream.asked("m")[0].json
    assert len(upstream.asked("m")[1].json["input" if kind == "own" else "messages"]) == 3
    assert [row["status"] for row in await server.rows()] == ["ok", "ok"]


async def test_a_stream_in_the_background_is_a_stream_that_is_stored(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", vendor())
    server = await serve(responses_at("one", upstream), QUICK)

    reply = await post(server, model="one/m", input="1", background=True, stream=True)
    stored = await server.get("/v1/responses/resp_vendor1")

    assert "background" not in upstream.asked("m")[0].json
    assert "event: response.completed" in reply.frames[-1]
    assert reply.headers["x-modelport-losses"].startswith("background=emulated")
    assert stored.json["status"] == "completed"


async def test_a_clients_word_that_it_waits_is_passed_on(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", vendor())
    server = await serve(responses_at("one", upstream), QUICK)

    reply = await post(server, model="one/m", input="1", background=False)

    assert upstream.asked("m")[0].json["background"] is False
    assert "x-modelport-losses" not in reply.headers


async def test_a_cancelled_response_stops_the_work_behind_it(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer(hang=True))
    server = await serve(provider("one", upstream), QUICK)

    async with sdk(server) as client:
        queued = await client.responses.create(model="one/m", input="1", background=True)
        asked = await asked_of(upstream, "m")
        running = await client.responses.retrieve(queued.id)
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(model="one/m", input="2", previous_response_id=queued.id)
        cancelled = await client.responses.cancel(queued.id)
        left = await asyncio.to_thread(asked.wait_left, 5)
        twice = await client.responses.cancel(queued.id)

    assert (running.status, cancelled.status, twice.status, left) == ("in_progress", "cancelled", "cancelled", True)
    assert [row["status"] for row in await server.rows()] == ["aborted"]


async def test_a_response_that_fails_in_the_background_says_why(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(500, "it broke"))
    server = await serve(provider("one", upstream), QUICK)

    async with sdk(server) as client:
        queued = await client.responses.create(model="one/m", input="1", background=True)
        done = await ended(client, queued.id)

    assert (done.status, done.error is not None and "it broke" in done.error.message) == ("failed", True)


async def test_a_process_that_ends_leaves_no_response_running(tmp_path: Path, upstream: Upstream) -> None:
    """One that was killed: the row says `in_progress`, and the next start knows better."""
    upstream.script("m", says())
    config = "\n".join([provider("one", upstream), QUICK])

    async with serving(tmp_path, config) as server:
        queued = (await post(server, model="one/m", input="1", background=True)).json["id"]
        await server.services.drain()
        database = server.database
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE responses SET status = 'in_progress'")
    async with serving(tmp_path, config) as server:
        reply = await server.get(f"/v1/responses/{queued}")

    assert (reply.json["status"], reply.json["error"]["code"]) == ("failed", "server_error")


def test_sigterm_ends_a_response_in_the_background(tmp_path: Path) -> None:
    """It has as long as running answers have; then it is booked, and failed."""
    running = Modelport(tmp_path, "[server]\nshutdown_s = 0.1\n")
    body = json.dumps({"model": "demo/hang", "input": "1", "background": True}).encode()
    with running, urllib.request.urlopen(f"{running.url}/v1/responses", body) as answer:
        queued = json.load(answer)["id"]
        assert any(running.get("/api/v1/exchanges").json["data"] for _ in range(ROUNDS))
        os.kill(running.pid, signal.SIGTERM)
        status = running.wait()

    with running:
        reply = running.get(f"/v1/responses/{queued}").json
        row = running.get("/api/v1/exchanges").json["data"][0]
    assert (status, reply["status"], reply["error"]["code"]) == (0, "failed", "server_error")
    assert reply["error"]["message"] == "the proxy was stopped before this response had ended"
    assert row["status"] == "aborted"
    assert "Traceback" not in running.log


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [({"store": False}, 400, "background"), ({"model": "nobody/m"}, 404, "model")],
    ids=["not stored", "no such model"],
)
async def test_a_response_that_cannot_be_made_in_the_background_is_refused_at_once(
    body: dict[str, Any], status: int, param: str, serve: Serve, upstream: Upstream
) -> None:
    server = await serve(provider("one", upstream), QUICK)

    reply = await post(server, **{"model": "one/m", "input": "1", "background": True, **body})

    assert (reply.status, reply.error["param"]) == (status, param)


async def test_only_a_response_of_the_background_can_be_cancelled(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), QUICK)

    first = await post(server, model="one/m", input="1")
    reply = await post(server, f"/{first.json['id']}/cancel")

    assert reply.status == 400


async def test_metrics_know_routes_and_no_ids(serve: Serve, upstream: Upstream) -> None:
    server = await serve(provider("one", upstream), QUICK)

    await server.get("/v1/responses/resp_secret")
    metrics = (await server.get("/metrics")).body.decode()

    assert "/v1/responses/{}" in metrics
    assert "resp_secret" not in metrics


# --- the page ------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[2] / "docs/responses.md"
RESPONSE_ID = re.compile("resp_[0-9a-f]{24}")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands are curl's")
async def test_the_pages_commands_print_what_it_shows(serve: Serve) -> None:
    """`…` stands for anything; an id for the one that the server gave in its place."""
    server = await serve()
    ids: dict[str, str] = {}
    shown = re.findall(r"^\$ (curl .*)\n(.*)\n", PAGE.read_text("utf-8"), re.MULTILINE)

    assert len(shown) == 9
    for command, output in shown:
        asked = RESPONSE_ID.sub(lambda found: ids.get(found[0], found[0]), command)
        printed = await ran(asked.replace("http://127.0.0.1:4100", server.url), until="in_progress" in output)
        if (first := RESPONSE_ID.search(output)) and first[0] not in ids and (given := RESPONSE_ID.search(printed)):
            ids[first[0]] = given[0]
        expected = RESPONSE_ID.sub(lambda found: ids.get(found[0], found[0]), output)
        pattern = re.escape(expected).replace("…", ".*?")
        assert re.fullmatch(pattern, printed, re.DOTALL), f"{command}\nprints\n{printed}\nnot\n{output}"


async def ran(command: str, *, until: bool) -> str:
    """What *command* prints; asked for again while it is still `queued`, if it is to be more than that."""
    for _ in range(ROUNDS):
        process = await asyncio.create_subprocess_exec("bash", "-c", command, stdout=asyncio.subprocess.PIPE)
        printed, _ = await process.communicate()
        if not until or b'"queued"' not in printed:
            break
    return printed.decode()


_OPENAI: Mapping[str, Any] = {"type": "invalid_request_error", "param": "previous_response_id"}
NO_STATE: Mapping[str, tuple[int, dict[str, Any]]] = {
    "forgotten": (
        400,
        {
            "error": {
                **_OPENAI,
                "message": "Previous response with id 'resp_1' not found.",
                "code": "previous_response_not_found",
            }
        },
    ),
    "named": (400, {"error": {**_OPENAI, "message": "This is not supported here.", "code": "unsupported_parameter"}}),
    "detail": (400, {"detail": "Unsupported parameter: previous_response_id"}),
    "pydantic": (
        422,
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "previous_response_id"],
                    "msg": "Extra inputs are not permitted",
                }
            ]
        },
    ),
    "not found": (404, {"error": {"message": "unknown previous_response_id", "type": "invalid_request_error"}}),
}


@pytest.mark.parametrize("how", NO_STATE)
async def test_a_vendor_that_cannot_go_on_from_the_id_is_told_in_full(how: str, serve: Serve) -> None:
    """Its own id was forwarded, it does not know it any more or never knew any, and the copy here serves."""
    status, refusal = NO_STATE[how]
    bodies: list[Any] = []

    def vendor(asked: Asked) -> Answer:
        bodies.append(asked.json)
        if asked.json.get("previous_response_id"):
            return Answer.json(refusal, status)
        return Answer.json(
            {"id": f"resp_{len(bodies)}", "object": "response", "created_at": 1, "status": "completed", "model": "m",
             "store": True, "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
             "parallel_tool_calls": True, "temperature": 1, "tool_choice": "auto", "tools": [], "top_p": 1,
             "output": [{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
                         "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}]}
        )  # fmt: skip

    with Upstream(vendor) as upstream:
        server = await serve(provider("one", upstream, "openai_responses"))
        first = await server.request("POST", "/v1/responses", b'{"model":"one/m","input":"hello"}')
        follow = json.dumps({"model": "one/m", "input": "and?", "previous_response_id": first.json["id"]}).encode()

        second = await server.request("POST", "/v1/responses", follow)

        assert second.status == 200
        assert bodies[1]["previous_response_id"] == first.json["id"]
        assert "previous_response_id" not in bodies[2]
        assert [item.get("role") for item in bodies[2]["input"]] == ["user", "assistant", "user"]
        assert second.headers["x-modelport-losses"].startswith("previous_response_id=emulated")
        assert second.headers["x-modelport-attempts"] == "2"
