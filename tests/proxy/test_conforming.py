"""Answers that have to be JSON of a schema, from servers that do not see to it themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, failing, provider, route, says, streams
from tests.replay import Answer, Asked, Upstream

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "size": {"type": "integer"}},
    "required": ["city", "size"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
GOOD = '{"city":"Oslo","size":3}'
WRONG = '{"city":"Oslo"}'
REPAIR = "[structured]\nrepair = true\n"


def in_turn(*texts: str) -> Any:
    """A server that says one text after the other, as it is asked."""
    left = list(texts)

    def answer(asked: Asked) -> Answer:
        text = left.pop(0)
        return streams(text) if asked.json.get("stream") else says(text)

    return answer


async def test_a_fitting_answer_passes_as_it_is(serve: Serve) -> None:
    with Upstream(in_turn(GOOD)) as upstream:
        server = await serve(REPAIR, provider("one", upstream))

        reply = await server.ask(model="one/m", response_format=FORMAT)

        assert reply.text == GOOD
        assert "x-modelport-losses" not in reply.headers


async def test_json_in_a_fence_is_taken_out(serve: Serve) -> None:
    with Upstream(in_turn(f"Here it is:\n```json\n{GOOD}\n```\nBye")) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.ask(model="one/m", response_format=FORMAT)

        assert reply.text == GOOD
        assert reply.headers["x-modelport-losses"].startswith("response_format=emulated")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_wrong_answer_is_asked_for_once_more(serve: Serve, stream: bool) -> None:
    """The target is told what is wrong; both questions are booked; a client of a stream gets the good one."""
    with Upstream(in_turn(WRONG, GOOD)) as upstream:
        server = await serve(REPAIR, provider("one", upstream))

        reply = await server.ask(model="one/m", response_format=FORMAT, stream=stream)

        assert (reply.status, reply.text) == (200, GOOD)
        first, second = (asked.json for asked in upstream.requests)
        assert not first.get("stream")
        assert second["messages"][1] == {"role": "assistant", "content": WRONG}
        assert "size" in second["messages"][2]["content"]
        row = await server.row(reply.id)
        assert [attempt["status"] for attempt in row["attempts"]] == ["ok", "ok"]
        assert (row["input_tokens"], row["output_tokens"]) == (20, 10)
        assert "asked%20once%20more" in reply.headers["x-modelport-losses"]


async def test_a_route_may_ask_again_where_others_do_not(serve: Serve) -> None:
    with Upstream(in_turn(WRONG, GOOD, WRONG)) as upstream:
        server = await serve(provider("one", upstream), route("exact", "one/m", more="repair = true"))

        assert (await server.ask(model="exact", response_format=FORMAT)).text == GOOD
        assert (await server.ask(model="one/m", response_format=FORMAT)).text == WRONG


@pytest.mark.parametrize("stream", [False, True])
async def test_what_stays_wrong_is_said(serve: Serve, stream: bool) -> None:
    """In the header of a whole answer, in the receipt of a stream, and in the ledger."""
    with Upstream(in_turn(WRONG)) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.ask(model="one/m", response_format=FORMAT, stream=stream)

        assert reply.text == WRONG
        row = await server.row(reply.id)
        (loss,) = row["losses"]
        assert (loss["field"], loss["action"]) == ("response_format", "dropped")
        assert "size" in loss["reason"]
        if stream:
            assert reply.receipt["losses"] == [loss]


async def test_an_answer_that_cannot_be_mended_is_better_than_none(serve: Serve) -> None:
    """The second question fails: the first answer stands."""
    answers = iter([says(WRONG), failing(500)])
    with Upstream(lambda _asked: next(answers)) as upstream:
        server = await serve(QUICK, REPAIR, provider("one", upstream))

        reply = await server.ask(model="one/m", response_format=FORMAT)

        assert (reply.status, reply.text) == (200, WRONG)
        assert "does%20not%20fit" in reply.headers["x-modelport-losses"]
        row = await server.row(reply.id)
        assert [attempt["status"] for attempt in row["attempts"]] == ["ok", "failed"]


async def test_calls_refusals_and_cut_answers_are_not_judged(serve: Serve) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answers = iter([says(None, tool_calls=[call], reason="tool_calls"), says("{", reason="length")])
    with Upstream(lambda _asked: next(answers)) as upstream:
        server = await serve(REPAIR, provider("one", upstream))
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]

        called = await server.ask(model="one/m", response_format=FORMAT, tools=tools)
        cut = await server.ask(model="one/m", response_format=FORMAT)

        assert called.json["choices"][0]["message"]["tool_calls"] == [call]
        assert cut.text == "{"
        assert len(upstream.requests) == 2


async def test_a_vendor_that_enforces_the_schema_is_believed(serve: Serve) -> None:
    """Nothing is looked at, nothing is asked again."""
    strict = json.loads(json.dumps(FORMAT))
    strict["json_schema"]["strict"] = True
    with Upstream(in_turn(WRONG)) as upstream:
        server = await serve(REPAIR, provider("one", upstream, more="quirks = { conformant = true }"))

        reply = await server.ask(model="one/m", response_format=strict)

        assert reply.text == WRONG
        assert "x-modelport-losses" not in reply.headers


@pytest.mark.parametrize("arguments", ["rm -rf {bad", "[1]"])
async def test_arguments_that_are_no_object_are_said_to_a_client_that_can_only_have_one(
    serve: Serve, arguments: str
) -> None:
    """Anthropic's and Google's answers hold objects; OpenAI's client gets the text as it is."""
    call = {"id": "c1", "type": "function", "function": {"name": "run", "arguments": arguments}}
    with Upstream(lambda _asked: says(None, tool_calls=[call], reason="tool_calls")) as upstream:
        server = await serve(provider("one", upstream))
        asked = {"model": "one/m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}

        anthropic = await server.request("POST", "/v1/messages", json.dumps(asked).encode())
        chat = await server.ask(model="one/m")

        assert "run.arguments=emulated" in anthropic.headers["x-modelport-losses"]
        assert chat.json["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == arguments
        assert "x-modelport-losses" not in chat.headers
