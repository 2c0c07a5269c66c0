"""Answers that their vendor interrupts: continued for clients of other dialects, marked where that is not possible."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import pytest

from proxy.continuing import Seam, continuation, followed
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, Reply, Served, message, provider
from tests.replay import Answer, Asked, Split, Upstream
from translators.assemble import Collector, replay
from translators.neutral import (
    Choice,
    Message,
    Opaque,
    Part,
    Request,
    Response,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from translators.tokens import estimate_text

Json = dict[str, Any]

# --- what vendors say ------------------------------------------------------------------------------


def google(*parts: Json, finish: str = "STOP", usage: bool = True, **candidate: Any) -> Json:
    """An answer of Gemini's: 10 tokens in, 5 out."""
    told: Json = {
        "candidates": [
            {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, "index": 0, **candidate}
        ],
        "responseId": "r1",
        "modelVersion": "m",
    }
    return {**told, "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}} if usage else told


def google_stream(answer: Json) -> str:
    """*answer*, one part in each chunk, the end in one of its own."""
    (candidate,) = answer["candidates"]
    pieces = [
        {**answer, "candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]}
        for part in candidate["content"]["parts"]
    ]
    end = {**answer, "candidates": [{**candidate, "content": {"role": "model", "parts": []}}]}
    for piece in pieces:
        piece.pop("usageMetadata", None)
    return "".join(f"data: {json.dumps(each)}\n\n" for each in [*pieces, end])


def claude_stream(answer: Json) -> str:
    """*answer* of Anthropic's, each block in one delta."""
    usage = answer["usage"]
    head = {**answer, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[Json] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(answer["content"]):
        match block["type"]:
            case "text":
                empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
            case "tool_use" | "server_tool_use":
                empty = {**block, "input": {}}
                delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            case _:
                empty, delta = block, {}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        if delta:
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ending, "usage": {"output_tokens": usage["output_tokens"]}})
    events.append({"type": "message_stop"})
    return "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events)


STREAMS: Mapping[str, Callable[[Json], str]] = {"gemini": google_stream, "anthropic": claude_stream}


def in_turn(dialect: str, *answers: Json | Answer, split: Split = "events") -> Callable[[Asked], Answer]:
    """A vendor that gives *answers* one after the other, whole or streamed as it is asked; the last from then on."""
    left = list(answers)

    def answer(asked: Asked) -> Answer:
        told = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(told, Answer):
            return told
        streamed = "stream" in asked.path or bool(asked.json.get("stream"))
        return Answer.sse(STREAMS[dialect](told), split=split) if streamed else Answer.json(told)

    return answer


SEARCH: Json = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Oslo"}}
FOUND: Json = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
CALL: Json = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}
WEATHER: Json = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}

HALVES: Mapping[str, tuple[Json, ...]] = {
    "gemini": (
        google({"text": "Oslo is "}, finish="CONTINUATION", continuationToken="dG9rMQ=="),
        google({"text": "a city "}, finish="CONTINUATION", continuationToken="dG9rMg=="),
        google({"text": "in Norway."}),
    ),
    "anthropic": (
        message(
            content=[{"type": "text", "text": "Oslo is "}, SEARCH, FOUND, {"type": "text", "text": "a "}, SEARCH],
            stop_reason="pause_turn",
        ),
        message(content=[FOUND, {"type": "text", "text": "city "}, SEARCH], stop_reason="pause_turn"),
        message(content=[FOUND, {"type": "text", "text": "in Norway."}]),
    ),
}
TEXT = {"gemini": "Oslo is a city in Norway.", "anthropic": "Oslo is a city in Norway."}
FIRST = {"gemini": "Oslo is ", "anthropic": "Oslo is a "}


# --- clients ---------------------------------------------------------------------------------------


class Chat:
    """A client of chat completions."""

    dialect = "openai_chat"

    @staticmethod
    async def ask(server: Served, *, stream: bool, **more: Any) -> Reply:
        options = {"include_usage": True} if stream else None
        return await server.ask(model="one/m", stream=stream, max_tokens=50, stream_options=options, **more)

    @staticmethod
    def told(reply: Reply) -> tuple[str, str, int, int]:
        """Text, finish reason, tokens in and out."""
        if not reply.headers["content-type"].startswith("application/json"):
            assert reply.done
            choices = [choice for each in reply.chunks for choice in each["choices"]]
            reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
            (usage,) = [each["usage"] for each in reply.chunks if each.get("usage")]
            assert len(reasons) == 1
            return reply.text, reasons[0], usage["prompt_tokens"], usage["completion_tokens"]
        usage = reply.json["usage"]
        return reply.text, reply.json["choices"][0]["finish_reason"], usage["prompt_tokens"], usage["completion_tokens"]


class Messages:
    """A client of Anthropic's."""

    dialect = "anthropic"

    @staticmethod
    async def ask(server: Served, *, stream: bool) -> Reply:
        body = {"model": "one/m", "max_tokens": 50, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
        return await server.request("POST", "/v1/messages", json.dumps(body).encode())

    @staticmethod
    def told(reply: Reply) -> tuple[str, str, int, int]:
        if reply.headers["content-type"].startswith("application/json"):
            texts = [block["text"] for block in reply.json["content"] if block["type"] == "text"]
            usage = reply.json["usage"]
            return "".join(texts), reply.json["stop_reason"], usage["input_tokens"], usage["output_tokens"]
        events = events_of(reply)
        assert [each["type"] for each in events].count("message_start") == 1
        assert events[-1]["type"] == "message_stop"
        (end,) = [each for each in events if each["type"] == "message_delta"]
        deltas = [each["delta"] for each in events if each["type"] == "content_block_delta"]
        usage = end["usage"]
        text = "".join(delta.get("text", "") for delta in deltas)
        return text, end["delta"]["stop_reason"], usage.get("input_tokens", 0), usage["output_tokens"]


class Gemini:
    """A client of Gemini's."""

    dialect = "gemini"

    @staticmethod
    async def ask(server: Served, *, stream: bool) -> Reply:
        body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return await server.request("POST", f"/v1beta/models/one/m:{method}", json.dumps(body).encode())

    @staticmethod
    def told(reply: Reply) -> tuple[str, str, int, int]:
        whole = reply.headers["content-type"].startswith("application/json")
        chunks = [reply.json] if whole else events_of(reply)
        candidates = [each["candidates"][0] for each in chunks if each.get("candidates")]
        parts = [part for each in candidates for part in each.get("content", {}).get("parts", ())]
        (reason,) = [each["finishReason"] for each in candidates if each.get("finishReason")]
        usage = [each["usageMetadata"] for each in chunks if each.get("usageMetadata")][-1]
        text = "".join(part.get("text", "") for part in parts)
        return text, reason, usage["promptTokenCount"], usage["candidatesTokenCount"]


class Responses:
    """A client of the Responses API."""

    dialect = "openai_responses"

    @staticmethod
    async def ask(server: Served, *, stream: bool) -> Reply:
        body = {"model": "one/m", "input": "Hi", "stream": stream}
        return await server.request("POST", "/v1/responses", json.dumps(body).encode())

    @staticmethod
    def told(reply: Reply) -> tuple[str, str, int, int]:
        if reply.headers["content-type"].startswith("application/json"):
            whole = reply.json
        else:
            events = events_of(reply)
            assert [each["type"] for each in events].count("response.created") == 1
            assert [each["sequence_number"] for each in events] == list(range(len(events)))
            whole = events[-1]["response"]
            deltas = [each["delta"] for each in events if each["type"] == "response.output_text.delta"]
            assert "".join(deltas) == output_text(whole)
        usage = whole["usage"]
        return output_text(whole), whole["status"], usage["input_tokens"], usage["output_tokens"]


def output_text(whole: Json) -> str:
    """All text of a response, as the SDK's `output_text` has it."""
    contents = [part for item in whole["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in contents)


def events_of(reply: Reply) -> list[Json]:
    """The data of a stream of named or nameless events."""
    lines = [line for frame in reply.frames for line in frame.split("\n") if line.startswith("data:")]
    return [json.loads(line.removeprefix("data:")) for line in lines]


Client = type[Chat] | type[Messages] | type[Gemini] | type[Responses]
STOPS: Mapping[Client, str] = {Chat: "stop", Messages: "end_turn", Gemini: "STOP", Responses: "completed"}
PAIRS: list[tuple[Client, str]] = [
    (Chat, "gemini"),
    (Messages, "gemini"),
    (Responses, "gemini"),
    (Chat, "anthropic"),
    (Gemini, "anthropic"),
    (Responses, "anthropic"),
]


def notes(reply: Reply) -> list[str]:
    """What a whole answer's header, or a stream's receipt, says of how it ended."""
    if reply.headers["content-type"].startswith("application/json"):
        pairs = [each.partition("=") for each in reply.headers.get("x-modelport-losses", "").split(",")]
        return [unquote(reason) for name, _, reason in pairs if name == "finish_reason"]
    said = [frame.removeprefix(": modelport ") for frame in reply.frames if frame.startswith(": modelport ")]
    receipt = json.loads(said[0]) if said else events_of(reply)[-1]["modelport"]  # Gemini's SDKs read no comments
    return [f"{each['action']}: {each['reason']}" for each in receipt["losses"] if each["field"] == "finish_reason"]


async def serving(serve: Serve, upstream: Upstream, dialect: str, *, most: int = 8, more: str = "") -> Served:
    """A server in front of one vendor."""
    return await serve(QUICK, f"continuations = {most}", provider("one", upstream, dialect, more=more))


# --- one whole answer ------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("client", "dialect"), PAIRS)
async def test_47_97_an_interrupted_answer_comes_whole(
    serve: Serve, upstream: Upstream, client: Client, dialect: str, stream: bool
) -> None:
    """Texts are joined, usage is summed, the last end counts; each call has its row and its price."""
    upstream.script("m", in_turn(dialect, *HALVES[dialect]))
    server = await serving(serve, upstream, dialect)

    reply = await client.ask(server, stream=stream)

    row = await server.row(reply.id)
    assert client.told(reply) == (TEXT[dialect], STOPS[client], 30, 15)
    assert notes(reply) == ["emulated: the vendor interrupted its answer; it took 3 calls"]
    assert row["status"] == "ok"
    assert [made["status"] for made in row["attempts"]] == ["ok"] * 3
    assert [(made["input_tokens"], made["output_tokens"]) for made in row["attempts"]] == [(10, 5)] * 3
    assert [Decimal(made["cost_usd"]) for made in row["attempts"]] == [Decimal("0.00002")] * 3
    assert Decimal(row["cost_usd"]) == Decimal("0.00006")
    assert [loss["field"] for loss in row["losses"]].count("finish_reason") == 1


@pytest.mark.parametrize("split", ["whole", 1, 7])
@pytest.mark.parametrize(("client", "dialect"), [(Chat, "gemini"), (Messages, "gemini"), (Chat, "anthropic")])
async def test_where_the_bytes_are_cut_does_not_matter(
    serve: Serve, upstream: Upstream, client: Client, dialect: str, split: Split
) -> None:
    upstream.script("m", in_turn(dialect, *HALVES[dialect], split=split))
    server = await serving(serve, upstream, dialect)

    reply = await client.ask(server, stream=True)

    assert client.told(reply) == (TEXT[dialect], STOPS[client], 30, 15)


@pytest.mark.parametrize("stream", [False, True])
async def test_97_gemini_is_asked_the_same_with_its_token(serve: Serve, upstream: Upstream, stream: bool) -> None:
    """At the top level of the body, as google-genai sends it."""
    upstream.script("m", in_turn("gemini", *HALVES["gemini"]))
    server = await serving(serve, upstream, "gemini")

    await Chat.ask(server, stream=stream)

    first, second, third = [asked.json for asked in upstream.asked("m")]
    assert second == {**first, "continuationToken": "dG9rMQ=="}
    assert third == {**first, "continuationToken": "dG9rMg=="}
    assert len({asked.path for asked in upstream.asked("m")}) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", [Chat, Gemini])
async def test_47_claude_is_sent_its_turn_as_it_came(
    serve: Serve, upstream: Upstream, client: Client, stream: bool
) -> None:
    """All of it as the last message, in its order, with nothing after it."""
    upstream.script("m", in_turn("anthropic", *HALVES["anthropic"]))
    server = await serving(serve, upstream, "anthropic")

    await client.ask(server, stream=stream)

    first, second, third = [asked.json for asked in upstream.asked("m")]
    one, two, _ = [half["content"] for half in HALVES["anthropic"]]
    assert second == {**first, "messages": [*first["messages"], {"role": "assistant", "content": one}]}
    assert third == {**first, "messages": [*first["messages"], {"role": "assistant", "content": [*one, *two]}]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
async def test_a_tool_call_after_the_interruption_reaches_the_client(
    serve: Serve, upstream: Upstream, dialect: str, stream: bool
) -> None:
    last = {
        "anthropic": message(content=[FOUND, CALL], stop_reason="tool_use"),
        "gemini": google({"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}}}),
    }
    upstream.script("m", in_turn(dialect, HALVES[dialect][0], last[dialect]))
    server = await serving(serve, upstream, dialect)

    reply = await Chat.ask(server, stream=stream, tools=[WEATHER])

    if stream:
        deltas = [choice["delta"] for each in reply.chunks for choice in each["choices"]]
        calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
        name = calls[0]["function"]["name"]
        arguments = "".join(call.get("function", {}).get("arguments", "") for call in calls)
    else:
        ((name, arguments),) = [
            (call["function"]["name"], call["function"]["arguments"])
            for call in reply.json["choices"][0]["message"]["tool_calls"]
        ]
    text, reason, *_ = Chat.told(reply)
    assert (text, name, json.loads(arguments), reason) == (
        FIRST[dialect], "get_weather", {"city": "Oslo"}, "tool_calls"
    )  # fmt: skip


async def test_the_text_of_an_interrupted_stream_is_one_block(serve: Serve, upstream: Upstream) -> None:
    """JSON that was cut in the middle can be read from it."""
    upstream.script("m", in_turn("gemini", *HALVES["gemini"]))
    server = await serving(serve, upstream, "gemini")

    streamed, whole = [await Messages.ask(server, stream=stream) for stream in (True, False)]

    assert [each["type"] for each in events_of(streamed)].count("content_block_start") == 1
    upstream.script("m", in_turn("gemini", *HALVES["gemini"]))
    whole = await Messages.ask(server, stream=False)
    assert [block["text"] for block in whole.json["content"]] == [TEXT["gemini"]]


@pytest.mark.parametrize("client", [Messages, Gemini])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_of_the_same_dialect_gets_the_vendors_own_word(
    serve: Serve, upstream: Upstream, client: Client, stream: bool
) -> None:
    """Its SDK sends the turn again by itself."""
    dialect = client.dialect
    upstream.script("m", in_turn(dialect, *HALVES[dialect]))
    server = await serving(serve, upstream, dialect)

    reply = await client.ask(server, stream=stream)

    text, reason, *_ = client.told(reply)
    assert (text, reason) == (FIRST[dialect], {"anthropic": "pause_turn", "gemini": "CONTINUATION"}[dialect])
    assert len(upstream.asked("m")) == 1
    if dialect == "gemini":
        assert b"dG9rMQ==" in reply.body


@pytest.mark.parametrize("stream", [False, True])
async def test_every_choice_of_a_round_is_continued(serve: Serve, upstream: Upstream, stream: bool) -> None:
    """Where several choices are several calls, each call of each choice is booked."""
    first, _, last = HALVES["anthropic"]
    upstream.script("m", by_history(first, last))
    server = await serving(serve, upstream, "anthropic")

    reply = await Chat.ask(server, stream=stream, n=2)

    row = await server.row(reply.id)
    texts = (
        list(reply.texts().values()) if stream else [choice["message"]["content"] for choice in reply.json["choices"]]
    )
    assert texts == ["Oslo is a in Norway."] * 2
    assert [made["status"] for made in row["attempts"]] == ["ok"] * 4
    assert (row["input_tokens"], row["output_tokens"]) == (40, 20)
    assert notes(reply) == ["emulated: the vendor interrupted its answer; it took 2 calls"]


def by_history(first: Json, last: Json) -> Callable[[Asked], Answer]:
    """A Claude that says *last* to a turn of its own, and *first* to anything else."""

    def answer(asked: Asked) -> Answer:
        return Answer.json(last if asked.json["messages"][-1]["role"] == "assistant" else first)

    return answer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("client", "dialect"), [(Chat, "gemini"), (Messages, "gemini"), (Chat, "anthropic")])
async def test_an_answer_may_be_interrupted_before_its_first_word(
    serve: Serve, upstream: Upstream, client: Client, dialect: str, stream: bool
) -> None:
    first = {
        "gemini": google(finish="CONTINUATION", continuationToken="dG9rMQ=="),
        "anthropic": message(content=[SEARCH], stop_reason="pause_turn"),
    }
    upstream.script("m", in_turn(dialect, first[dialect], HALVES[dialect][-1]))
    server = await serving(serve, upstream, dialect)

    reply = await client.ask(server, stream=stream)

    assert client.told(reply) == ("in Norway.", STOPS[client], 20, 10)


async def test_usage_that_one_call_did_not_report_is_counted_here(serve: Serve, upstream: Upstream) -> None:
    """That call's alone: the sum that the client is told is the ledger's."""
    first = google({"text": "Oslo is "}, finish="CONTINUATION", continuationToken="dG9rMQ==", usage=False)
    upstream.script("m", in_turn("gemini", first, HALVES["gemini"][2]))
    server = await serving(serve, upstream, "gemini")

    reply = await Chat.ask(server, stream=True)

    row = await server.row(reply.id)
    _, _, told_in, told_out = Chat.told(reply)
    one, two = row["attempts"]
    assert (one["estimated"], two["estimated"]) == (True, False)
    assert (two["input_tokens"], two["output_tokens"]) == (10, 5)
    assert one["output_tokens"] == estimate_text("Oslo is ", "m").tokens
    assert (told_in, told_out) == (one["input_tokens"] + 10, one["output_tokens"] + 5)


async def test_an_answer_that_was_continued_is_kept(serve: Serve, upstream: Upstream) -> None:
    """An interrupted one is not."""
    upstream.script("m", in_turn("gemini", *HALVES["gemini"]))
    server = await serving(serve, upstream, "gemini")

    first = await server.ask(model="one/m", temperature=0)
    second = await server.ask(model="one/m", temperature=0, stream=True)

    assert (first.headers["x-modelport-cache"], second.headers["x-modelport-cache"]) == ("miss", "hit")
    assert second.text == TEXT["gemini"]
    assert len(upstream.asked("m")) == 3


# --- where it stays interrupted --------------------------------------------------------------------

BROKEN: Mapping[str, Answer] = {
    "500": Answer.json({"error": {"message": "no", "code": 500}}, 500),
    "429": Answer.json({"error": {"message": "slow down", "code": 429}}, 429),
    "cut before content": Answer.sse(": hello\n\n", end="close"),
    "an error as first event": Answer.sse('data: {"error":{"message":"no","code":503,"status":"UNAVAILABLE"}}\n\n'),
    "closed": Answer(raw_head=b"", end="close"),
    "silent": Answer(hang=True),
}
CLOCKS = "timeouts = { connect_s = 1, first_event_s = 0.2, whole_answer_s = 0.2, idle_s = 0.2 }"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", BROKEN)
async def test_a_failing_continuation_leaves_what_there_is(
    serve: Serve, upstream: Upstream, case: str, stream: bool
) -> None:
    """Marked as paused, as an answer that nobody continues, and said; the failed call has its row."""
    upstream.script("m", in_turn("gemini", HALVES["gemini"][0], BROKEN[case]))
    server = await serving(serve, upstream, "gemini", more=CLOCKS)

    reply = await Chat.ask(server, stream=stream)

    row = await server.row(reply.id)
    assert Chat.told(reply) == (FIRST["gemini"], "stop", 10, 5)
    assert paused(reply)
    (note,) = notes(reply)
    assert note.startswith("dropped: the vendor interrupted its answer; call 2 failed: ")
    assert row["status"] == "ok"
    assert [made["status"] for made in row["attempts"]] == ["ok", "failed"]
    assert [Decimal(made["cost_usd"]) for made in row["attempts"]] == [Decimal("0.00002"), 0]


def paused(reply: Reply) -> bool:
    """Whether a chat client is told of the interruption."""
    whole = reply.headers["content-type"].startswith("application/json")
    choices = reply.json["choices"] if whole else [choice for each in reply.chunks for choice in each["choices"]]
    marks = [choice["extra_content"].get("modelport") for choice in choices if choice.get("extra_content")]
    return {"finish_reason": "pause"} in marks


@pytest.mark.parametrize("end", ["close", "reset", "hang"])
async def test_a_continuation_that_breaks_off_in_its_content_ends_the_stream(
    serve: Serve, upstream: Upstream, end: Any
) -> None:
    """With an error event; the first call was complete, the second was not."""
    body = google_stream(HALVES["gemini"][1])
    broken = Answer.sse(body, split="events", stop_at=body.index("\n\n") + 2, end=end, delay_between_s=0.02)
    upstream.script("m", in_turn("gemini", HALVES["gemini"][0], broken))
    server = await serving(serve, upstream, "gemini", more=CLOCKS)

    reply = await server.ask(model="one/m", stream=True)

    row = await server.row(reply.id)
    assert reply.text == "Oslo is a city "
    assert "error" in reply.chunks[-1]
    assert not reply.done
    assert row["status"] == "interrupted"
    assert [made["status"] for made in row["attempts"]] == ["ok", "interrupted"]
    assert row["attempts"][0]["output_tokens"] == 5
    assert row["attempts"][1]["estimated"]
    assert row["attempts"][1]["output_tokens"] == estimate_text("a city ", "m").tokens
    assert all(made["cost_usd"] is not None for made in row["attempts"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("most", [0, 1, 3])
async def test_no_more_calls_are_made_than_were_allowed(
    serve: Serve, upstream: Upstream, most: int, stream: bool
) -> None:
    """A vendor that never ends its answer is left with the mark; 0 switches it off without a word."""
    tokens = iter(range(100))

    def endless(asked: Asked) -> Answer:
        told = google({"text": "x"}, finish="CONTINUATION", continuationToken=f"t{next(tokens)}")
        return in_turn("gemini", told)(asked)

    upstream.script("m", endless)
    server = await serving(serve, upstream, "gemini", most=most)

    reply = await Chat.ask(server, stream=stream)

    calls = most + 1
    text, reason, told_in, _ = Chat.told(reply)
    assert (text, reason, told_in) == ("x" * calls, "stop", 10 * calls)
    assert paused(reply)
    assert len(upstream.asked("m")) == calls
    said = f"clamped: the vendor interrupted its answer {calls} times; no more calls are made"
    assert notes(reply) == ([said] if most else [])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_vendor_that_does_not_go_on_is_not_asked_for_ever(
    serve: Serve, upstream: Upstream, stream: bool
) -> None:
    """The token that it was given is the one that it gives."""
    upstream.script("m", in_turn("gemini", google({"text": "x"}, finish="CONTINUATION", continuationToken="same")))
    server = await serving(serve, upstream, "gemini")

    reply = await Chat.ask(server, stream=stream)

    assert len(upstream.asked("m")) == 2
    assert paused(reply)
    assert notes(reply) == ["clamped: the vendor does not go on with its answer; 2 calls were made"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_that_the_model_does_not_take_back_is_marked(
    serve: Serve, upstream: Upstream, stream: bool
) -> None:
    """Newer models of Claude refuse a conversation that ends with their own text; no call is made."""
    upstream.script("claude-opus-5-5", in_turn("anthropic", message("Wait", stop_reason="pause_turn")))
    server = await serving(serve, upstream, "anthropic")

    reply = await server.ask(model="one/claude-opus-5-5", stream=stream, max_tokens=50)

    assert reply.text == "Wait"
    assert paused(reply)
    assert notes(reply)[0].startswith("dropped: ")
    assert len(upstream.asked("claude-opus-5-5")) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_cannot_be_booked_is_not_made(serve: Serve, upstream: Upstream, stream: bool) -> None:
    upstream.script("m", in_turn("gemini", *HALVES["gemini"]))
    server = await serving(serve, upstream, "gemini")
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON attempts WHEN NEW.number > 1 BEGIN SELECT RAISE(ABORT, 'no'); END"
    await server.services.db.write(lambda connection: connection.execute(refuse).close())

    reply = await Chat.ask(server, stream=stream)

    row = await server.row(reply.id)
    assert Chat.told(reply) == (FIRST["gemini"], "stop", 10, 5)
    assert paused(reply)
    assert notes(reply) == ["dropped: the vendor interrupted its answer; call 2 failed: overloaded, status 503"]
    assert len(upstream.asked("m")) == 1
    assert [(made["status"], made["number"]) for made in row["attempts"]] == [("ok", 1)]


@pytest.mark.parametrize("where", ["before its content", "in its content"])
async def test_a_client_that_leaves_ends_the_call_in_progress(serve: Serve, upstream: Upstream, where: str) -> None:
    body = google_stream(HALVES["gemini"][1])
    stop_at = 0 if where == "before its content" else body.index("\n\n") + 2
    stalled = Answer.sse(body, split="events", stop_at=stop_at, end="hang")
    upstream.script("m", in_turn("gemini", HALVES["gemini"][0], stalled))
    server = await serving(serve, upstream, "gemini")

    async with server.asking(model="one/m", stream=True) as answer:
        await asyncio.wait_for(answer.content.readuntil(b"Oslo is" if stop_at == 0 else b"a city"), 5)
        second = await asyncio.to_thread(upstream.wait_asked, "m", 2)
        request_id = answer.headers["x-request-id"]
        answer.close()
        left = await asyncio.to_thread(second.wait_left, 5)

    await settled(server, request_id)
    row = await server.row(request_id)
    assert left
    assert row["status"] == "aborted"
    assert [made["status"] for made in row["attempts"]] == ["ok", "aborted"]
    assert row["attempts"][0]["output_tokens"] == 5
    assert all(made["cost_usd"] is not None for made in row["attempts"])


async def settled(server: Served, request_id: str) -> None:
    """Wait for the end of an exchange."""
    async with asyncio.timeout(5):
        while (await server.row(request_id))["settled_at"] is None:
            await asyncio.sleep(0.01)


async def test_the_deadline_holds_for_all_calls_together(serve: Serve, upstream: Upstream) -> None:
    """A stream that has gone on with a second call ends when the time of the request is over."""
    body = google_stream(HALVES["gemini"][1])
    stalled = Answer.sse(body, split="events", stop_at=body.index("\n\n") + 2, end="hang")
    upstream.script("m", in_turn("gemini", HALVES["gemini"][0], stalled))
    server = await serving(serve, upstream, "gemini")

    reply = await server.ask({"x-modelport-timeout-s": "0.5"}, model="one/m", stream=True)

    row = await server.row(reply.id)
    assert reply.text == "Oslo is a city "
    assert reply.chunks[-1]["error"]["code"] == "upstream_timeout"
    assert row["status"] == "interrupted"
    assert [made["status"] for made in row["attempts"]] == ["ok", "aborted"]  # by the client's own clock


# --- what is asked, and how it is joined -----------------------------------------------------------

ASKED = Request("openai_chat", "m", (Message("user", (Text("Hi"),)),))


def gemini_choice(**native: Any) -> Choice:
    return Choice((Text("a"),), "pause", native={"gemini": {"finishReason": "CONTINUATION", **native}})


def claude_choice(*parts: Part) -> Choice:
    return Choice(parts, "pause", native={"anthropic": {"stop_reason": "pause_turn"}})


STAYS: Mapping[str, Sequence[Choice]] = {
    "no choice": (),
    "several choices": (gemini_choice(continuationToken="t"), gemini_choice(continuationToken="u")),
    "ended": (Choice((Text("a"),), "stop", native={"gemini": {"continuationToken": "t"}}),),
    "no token": (gemini_choice(),),
    "nothing said": (claude_choice(),),
    "a call to be answered first": (claude_choice(ToolCall("c", "f", "{}")),),
    "another vendor": (Choice((Text("a"),), "pause", native={"openai_responses": {"status": "incomplete"}}),),
}


@pytest.mark.parametrize("case", STAYS)
def test_what_cannot_be_continued_is_not(case: str) -> None:
    assert continuation(ASKED, Response("r", "m", 1, tuple(STAYS[case]))) is None


def test_what_runs_in_a_container_goes_on_in_it() -> None:
    response = Response("r", "m", 1, (claude_choice(Text("a")),), native={"anthropic": {"container": {"id": "c1"}}})

    follow = continuation(ASKED, response)

    assert follow is not None
    assert follow.native == {"anthropic": {"container": "c1"}}


def citing(start: int, end: int) -> Json:
    return {"type": "url_citation", "url_citation": {"url": "u", "title": "", "start_index": start, "end_index": end}}


OPAQUE = Opaque("gemini", "executableCode", {"executableCode": {"code": "1"}})
SIGNED = {"gemini": {"thoughtSignature": "s"}}
JOINS: Mapping[str, tuple[tuple[Part, ...], tuple[Part, ...], tuple[Part, ...]]] = {
    "texts": ((Text("a"),), (Text("b"), OPAQUE, Text("c")), (Text("ab"), OPAQUE, Text("c"))),
    "thoughts": ((Thinking("a"),), (Thinking("b"), Text("c")), (Thinking("ab"), Text("c"))),
    "a thought and a text": ((Thinking("a"),), (Text("b"),), (Thinking("a"), Text("b"))),
    "a signed text": ((Text("a", native=SIGNED),), (Text("b"),), (Text("a", native=SIGNED), Text("b"))),
    "a text and a signed one": ((Text("a"),), (Text("b", native=SIGNED),), (Text("a"), Text("b", native=SIGNED))),
    "after a block": ((Text("a"), OPAQUE), (Text("b"),), (Text("a"), OPAQUE, Text("b"))),
    "before a block": ((Text("a"),), (OPAQUE, Text("b")), (Text("a"), OPAQUE, Text("b"))),
    "nothing more": ((Text("a"),), (), (Text("a"),)),
    "nothing before": ((), (Text("a"),), (Text("a"),)),
    "citations": (
        (Text("ab", (citing(0, 2),)),),
        (Text("cd", (citing(1, 2),)),),
        (Text("abcd", (citing(0, 2), citing(3, 4))),),
    ),
    "ids that are made anew": (
        (ToolCall("call_1", "f", "{}"),),
        (ToolCall("call_1", "g", "{}"),),
        (ToolCall("call_1", "f", "{}"), ToolCall("call_1_2", "g", "{}")),
    ),
}


@pytest.mark.parametrize("case", JOINS)
def test_parts_are_joined(case: str) -> None:
    """Neighbouring texts without anything of their own are one; each call's share of them is still known."""
    one, two, joined = JOINS[case]
    first = Response("r", "m", 1, (Choice(one, "pause", native={"gemini": {"continuationToken": "t"}}),), Usage(1, 2))
    more = Response("s", "n", 2, (Choice(two, "stop"),), Usage(3, 4))

    answer = followed(first, more)

    assert answer == Response("r", "m", 1, (Choice(joined, "stop"),), Usage(4, 6))
    assert texts(*shares(first, more)) == texts(first, more)


def shares(first: Response, more: Response) -> list[Response]:
    """What each call gave, as the seam has it."""
    seam, collector = Seam(), Collector()
    for event in seam.events(list(replay(first))):
        collector.add(event)
    for event in [*seam.open(collector.response()), *seam.events(list(replay(more)))]:
        collector.add(event)
    return seam.shares(collector.response())


def texts(*responses: Response) -> list[tuple[list[Any], Usage | None]]:
    return [
        ([getattr(part, "text", type(part)) for part in response.choices[0].parts], response.usage)
        for response in responses
    ]


def test_what_one_call_alone_told_of_the_answer_stays() -> None:
    """But for how it ended."""
    told = {"gemini": {"finishReason": "CONTINUATION", "continuationToken": "t", "groundingMetadata": {"a": 1}}}
    first = Response("r", "m", 1, (Choice((Text("a"),), "pause", native=told),))
    more = Response("s", "m", 1, (Choice((Text("b"),), "stop", native={"gemini": {"finishReason": "STOP"}}),))

    answer = followed(first, more)

    assert answer.choices[0].native == {"gemini": {"groundingMetadata": {"a": 1}, "finishReason": "STOP"}}
    assert answer.usage is None
