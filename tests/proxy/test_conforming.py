"""Answers that have to be JSON of a schema, from servers that do not see to it themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, chunk, completion, failing, message, provider, route, says, stream_text, streams
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


def several(*texts: str) -> Answer:
    """A whole answer of several choices."""
    body = completion()
    body["choices"] = [
        {**body["choices"][0], "index": index, "message": {"role": "assistant", "content": text}}
        for index, text in enumerate(texts)
    ]
    return Answer.json(body)


@pytest.mark.parametrize("stream", [False, True])
async def test_every_choice_that_does_not_fit_is_asked_for_once_more(serve: Serve, stream: bool) -> None:
    """With its own words and its own problems; the good ones stay, in their places; each call is booked."""
    bergen = GOOD.replace("Oslo", "Bergen")

    def answer(asked: Asked) -> Answer:
        if asked.json.get("n") == 3:
            return several(WRONG, GOOD, "no JSON")
        return says(GOOD if asked.json["messages"][1]["content"] == WRONG else bergen)

    with Upstream(answer) as upstream:
        server = await serve(REPAIR, provider("one", upstream))

        reply = await server.ask(model="one/m", response_format=FORMAT, n=3, stream=stream)

        if stream:
            assert reply.texts() == {0: GOOD, 1: GOOD, 2: bergen}
        else:
            assert [choice["index"] for choice in reply.json["choices"]] == [0, 1, 2]
            assert [choice["message"]["content"] for choice in reply.json["choices"]] == [GOOD, GOOD, bergen]
            assert reply.json["usage"]["completion_tokens"] == 15
        assert {asked.json["messages"][1]["content"] for asked in upstream.requests[1:]} == {WRONG, "no JSON"}
        assert [asked.json.get("n") for asked in upstream.requests[1:]] == [None, None]
        row = await server.row(reply.id)
        assert [attempt["status"] for attempt in row["attempts"]] == ["ok", "ok", "ok"]
        assert (row["input_tokens"], row["output_tokens"]) == (30, 15)
        assert "once%20more%20for%202%20choices" in reply.headers["x-modelport-losses"]


async def test_a_choice_that_cannot_be_mended_stays_beside_those_that_can(serve: Serve) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.json.get("n") == 2:
            return several(WRONG, "no JSON")
        return says(GOOD) if asked.json["messages"][1]["content"] == WRONG else failing(500)

    with Upstream(answer) as upstream:
        server = await serve(QUICK, REPAIR, provider("one", upstream))

        reply = await server.ask(model="one/m", response_format=FORMAT, n=2)

        assert [choice["message"]["content"] for choice in reply.json["choices"]] == [GOOD, "no JSON"]
        assert "does%20not%20fit" in reply.headers["x-modelport-losses"]
        row = await server.row(reply.id)
        assert sorted(attempt["status"] for attempt in row["attempts"]) == ["failed", "ok", "ok"]


async def test_choices_that_took_a_call_each_are_mended_one_by_one(serve: Serve) -> None:
    """Behind a server that gives one choice at a time."""
    texts = iter([WRONG, GOOD])

    def answer(asked: Asked) -> Answer:
        return Answer.json(message(GOOD if len(asked.json["messages"]) > 1 else next(texts)))

    with Upstream(answer) as upstream:
        config = provider("one", upstream, "anthropic", more="quirks = { structured_output = false }")
        server = await serve(REPAIR, config)

        reply = await server.ask(model="one/claude-opus-5", response_format=FORMAT, n=2)

        assert [choice["message"]["content"] for choice in reply.json["choices"]] == [GOOD, GOOD]
        row = await server.row(reply.id)
        assert (len(row["attempts"]), row["input_tokens"]) == (3, 30)


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


FENCE = ["Here", " it is:\n``", "`json\n", GOOD[:9], GOOD[9:] + "\n", "```", "\nBye"]


@pytest.mark.parametrize("client", ["openai_chat", "anthropic"])
async def test_a_fence_is_taken_off_a_stream(serve: Serve, client: str) -> None:
    """As of whole answers; for clients of any dialect, and said in the receipt and the ledger."""
    with Upstream(lambda _asked: streams(*FENCE)) as upstream:
        server = await serve(provider("one", upstream))

        if client == "openai_chat":
            reply = await server.ask(model="one/m", response_format=FORMAT, stream=True)
            text, place = reply.text, "response_format"
        else:
            asked = {"model": "one/m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}],
                     "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}  # fmt: skip
            reply = await server.request("POST", "/v1/messages", json.dumps(asked).encode())
            events = [json.loads(frame.partition("data: ")[2]) for frame in reply.frames if "data: " in frame]
            text = "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
            place = "output_config.format"

        assert text == GOOD
        row = await server.row(reply.id)
        assert [(loss["field"], loss["action"]) for loss in row["losses"]] == [(place, "emulated")]
        assert reply.receipt["losses"] == row["losses"]


async def test_a_stream_without_a_fence_is_relayed_byte_for_byte(serve: Serve) -> None:
    """Unknown fields and all; so is one whose client wants no JSON, whatever is in it."""
    plain, fence = stream_text(GOOD[:5], GOOD[5:]), stream_text(*FENCE)
    frames = {name: text.replace('"model": "m"', '"model": "m", "brand_new": {"x":1}') for name, text in
              (("plain", plain), ("fence", fence))}  # fmt: skip
    with Upstream(lambda asked: Answer.sse(frames[str(asked.model)], split=7)) as upstream:
        server = await serve(provider("one", upstream))

        wanted = await server.ask(model="one/plain", response_format=FORMAT, stream=True)
        free = await server.ask(model="one/fence", stream=True)

        assert wanted.text == GOOD
        assert free.text == "".join(FENCE)
        for reply in (wanted, free):
            assert all(chunk["brand_new"] == {"x": 1} for chunk in reply.chunks if chunk["choices"])
            assert reply.receipt["losses"] == []


async def test_a_fence_behind_reasoning_is_taken_off_as_well(serve: Serve) -> None:
    """And the reasoning is streamed as it comes."""
    thoughts = chunk({"reasoning_content": "Let me "}) + chunk({"reasoning_content": "see."})
    whole = stream_text(*FENCE).replace(chunk({"content": "Here"}), thoughts + chunk({"content": "Here"}))
    with Upstream(lambda _asked: Answer.sse(whole, split="events")) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.ask(model="one/m", response_format=FORMAT, stream=True)

        deltas = [chunk["choices"][0]["delta"] for chunk in reply.chunks if chunk["choices"]]
        assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "Let me see."
        assert reply.text == GOOD


async def test_every_choice_of_a_stream_comes_without_its_fence(serve: Serve) -> None:
    frames = stream_text(*FENCE).split("\n\n")
    both = "\n\n".join(
        text
        for frame in frames
        for text in ([frame, frame.replace('"index": 0', '"index": 1')] if "index" in frame else [frame])
    )
    with Upstream(lambda _asked: Answer.sse(both, split="events")) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.ask(model="one/m", response_format=FORMAT, stream=True, n=2)

        assert reply.texts() == {0: GOOD, 1: GOOD}


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
