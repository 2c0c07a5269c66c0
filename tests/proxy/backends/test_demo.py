"""The built-in provider: a simulation that says so, the same each time, and bounded whatever it is asked."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from proxy.backends.backend import BackendError, Call, Timeouts
from proxy.backends.demo import MOST_NUMBERS, DemoBackend, instance
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, route
from translators.codec import dumps, loads_object
from translators.embeddings import decoded
from translators.sse import SseDecoder


async def ask(model: str, *, stream: bool = False, **body: Any) -> tuple[int, bytes]:
    whole = {"model": model, "messages": [{"role": "user", "content": "Say hello"}], **body}
    call = Call(model, dumps(whole), stream=stream, timeouts=Timeouts(first_event_s=0.05, whole_answer_s=0.05))
    async with DemoBackend().send(call) as answer:
        return answer.status, await answer.read()


async def test_it_says_that_it_is_a_simulation() -> None:
    status, body = await ask("echo")

    message = loads_object(body)["choices"][0]["message"]
    assert status == 200
    assert "simulation" in message["content"]
    assert message["content"].endswith("Say hello")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_request_gives_the_same_answer(stream: bool) -> None:
    assert await ask("echo", stream=stream, seed=1) == await ask("echo", stream=stream, seed=1)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 529])
async def test_it_fails_as_asked(status: int) -> None:
    assert (await ask(f"fail-{status}"))[0] == status


async def test_a_cut_answer_breaks_off() -> None:
    for stream in (False, True):
        with pytest.raises(BackendError):
            await ask("cut", stream=stream)


async def test_a_hanging_one_ends_with_its_clock() -> None:
    with pytest.raises(BackendError) as raised:
        await asyncio.wait_for(ask("hang"), 2)

    assert raised.value.failure.kind == "timeout"


async def test_a_limit_cuts() -> None:
    choice = loads_object((await ask("echo", max_tokens=3))[1])["choices"][0]

    assert choice["finish_reason"] == "length"
    assert len(choice["message"]["content"].split()) == 3


@pytest.mark.parametrize("n", [1, 3])
async def test_several_choices(n: int) -> None:
    assert [choice["index"] for choice in loads_object((await ask("echo", n=n))[1])["choices"]] == list(range(n))


SCHEMAS: list[tuple[Any, Any]] = [
    ({"type": "string"}, "demo"),
    ({"type": ["string", "null"]}, "demo"),
    ({"enum": ["b", "a"]}, "b"),
    ({"const": 4}, 4),
    ({"type": "integer", "minimum": 7}, 7),
    ({"type": "boolean"}, True),
    ({"type": "null"}, None),
    ({"type": "array", "items": {"type": "number"}, "minItems": 2}, [1, 1]),
    ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
    ({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"const": 1}}}, {"a": 1}),
    ({"properties": {"a": {"type": "string"}}}, {"a": "demo"}),
]


@pytest.mark.parametrize(("schema", "value"), SCHEMAS)
def test_an_instance_of_a_schema(schema: Any, value: Any) -> None:
    assert instance(schema) == value


def wide(children: int) -> dict[str, Any]:
    """A schema whose objects hold *children* of its own kind."""
    return {"type": "object", "properties": {f"p{number}": {"$ref": "#"} for number in range(children)}}


ODD: list[Any] = [
    wide(2),
    wide(10),
    {"type": "array", "minItems": 10**9, "items": {"type": "string"}},
    {"type": "array", "minItems": "3", "items": {"type": "string"}},
    {"type": "array", "minItems": 2.5},
    {"type": "object", "properties": {"a": True, "b": False}},
    {"type": "object", "properties": []},
    {"type": []},
    {"type": 7},
    {"anyOf": [True]},
    {"anyOf": {"a": 1}},
    {"enum": 4},
    {"$ref": "#/anyOf/0", "anyOf": [{"$ref": "#/anyOf/0"}]},
    {"$ref": "#/nowhere/at/all"},
    {"$ref": "#"},
    {"items": True, "type": "array"},
]


@pytest.mark.parametrize("schema", ODD, ids=str)
def test_no_schema_takes_long_or_breaks_it(schema: Any) -> None:
    """It runs in the server's loop, for everybody who may ask."""
    began = time.process_time()

    value = instance(schema)

    assert time.process_time() - began < 0.5
    assert len(dumps(value)) < 1_000_000


@pytest.mark.parametrize(
    "body",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": wide(4)}}},
        {"tools": [{"type": "function", "function": {"name": "hello", "parameters": wide(4)}}]},
        {"tools": [{"type": "custom", "custom": {"name": "hello"}}]},
        {"max_tokens": 0},
        {"n": 128},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
        {"messages": [{"role": "assistant", "content": None, "refusal": "no"}]},
        {"stream_options": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
async def test_no_valid_request_is_an_internal_error(serve: Serve, body: dict[str, Any], stream: bool) -> None:
    server = await serve()

    reply = await asyncio.wait_for(server.ask(model="demo/echo", stream=stream, **body), 5)

    assert reply.status in {200, 400}, reply.body


async def test_the_stream_says_what_the_whole_answer_says() -> None:
    tools = [{"type": "function", "function": {"name": "hello", "parameters": {"type": "object"}}}]
    for body in ({}, {"tools": tools}, {"n": 2}):
        whole = loads_object((await ask("echo", **body))[1])
        _, raw = await ask("echo", stream=True, **body)
        decoder = SseDecoder()
        texts = [event.data for event in decoder.feed(raw)]
        chunks = [loads_object(text) for text in texts if text.strip() != b"[DONE]"]
        for choice in whole["choices"]:
            own = [each for piece in chunks for each in piece["choices"] if each["index"] == choice["index"]]
            said = "".join(each["delta"].get("content") or "" for each in own)
            assert said == (choice["message"]["content"] or "")
            assert own[-1]["finish_reason"] == choice["finish_reason"]
            calls = [call for each in own for call in each["delta"].get("tool_calls", ())]
            arguments = "".join(call["function"]["arguments"] for call in calls)
            assert arguments == "".join(
                call["function"]["arguments"] for call in choice["message"].get("tool_calls", ())
            )


async def test_a_chain_of_failing_ones_ends_at_echo(serve: Serve) -> None:
    server = await serve(QUICK, route("r", "demo/fail-500", "demo/fail-429", "demo/malformed", "demo/cut", "demo/echo"))

    reply = await server.ask(model="r")

    assert reply.headers["x-modelport-target"] == "demo/echo"
    assert reply.headers["x-modelport-attempts"] == "5"


async def embed(**body: Any) -> tuple[int, Any]:
    call = Call("echo", dumps({"model": "echo", **body}), stream=False, operation="embed")
    async with DemoBackend().send(call) as answer:
        return answer.status, loads_object(await answer.read())


async def test_vectors_depend_on_the_text_alone_and_both_forms_agree() -> None:
    _, numbers = await embed(input=["a", "b", [1, 2]], dimensions=4)
    _, letters = await embed(input="a", dimensions=4, encoding_format="base64")

    vectors = [entry["embedding"] for entry in numbers["data"]]
    assert [len(vector) for vector in vectors] == [4] * 3
    assert vectors[0] != vectors[1]
    assert decoded(letters["data"][0]["embedding"]).tolist() == vectors[0]
    assert len((await embed(input=[1, 2, 3]))[1]["data"]) == 1
    assert "simulation" in numbers["model"]


async def test_the_size_of_an_answer_is_bounded() -> None:
    status, body = await embed(input=["a"] * 2048, dimensions=MOST_NUMBERS)

    assert (status, "at most" in body["error"]["message"]) == (400, True)
