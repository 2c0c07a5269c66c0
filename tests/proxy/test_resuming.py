"""Streams that break off in mid-answer: gone on with by another target where that was asked for."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from proxy.live import is_heartbeat
from proxy.resuming import GOING_ON, Overlap, question, repeated, resumable
from routing.retry import RetryBudget
from tests.proxy.conftest import Serve
from tests.proxy.serving import OPENING, chunk, provider, route, streams
from tests.replay import Answer, Upstream
from translators.dialect import Rules
from translators.neutral import Choice, Message, PartDelta, PartStart, Request, Response, Text, Thinking, ToolCall

RESUME = {"x-modelport-resume": "true"}


def cut(*words: str, **how: Any) -> Answer:
    """A stream that is closed after *words*."""
    body = OPENING + "".join(chunk({"content": word}) for word in words)
    return Answer.sse(body + chunk({}, "stop"), stop_at=len(body.encode()), end="close", split="events", **how)


def two(upstream: Upstream, more: str = "") -> tuple[str, ...]:
    """Targets a/m1 and b/m2 behind one route."""
    return (
        provider("a", upstream, more='models = ["m1"]'),
        provider("b", upstream, more='models = ["m2"]'),
        route("patched", "a/m1", "b/m2", more=more),
    )


async def test_another_target_goes_on_with_a_stream_that_breaks_off(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m1", cut("Oslo is ", "the capital"))
    upstream.script("m2", streams(" of Norway", "."))
    server = await serve(*two(upstream, "resume = true"))
    reply = await server.ask(model="patched", stream=True)

    assert reply.text == "Oslo is the capital of Norway."
    assert reply.done
    told = reply.receipt
    assert (told["attempts"], told["resumed"]) == (2, ["a/m1"])
    assert any("broke off after 19 characters" in json.dumps(loss) for loss in told["losses"])
    asked = upstream.asked("m2")[0].json["messages"]
    assert [turn["role"] for turn in asked] == ["user", "assistant", "user"]
    assert (asked[1]["content"], asked[2]["content"]) == ("Oslo is the capital", GOING_ON)
    row = await server.row(reply.headers["x-request-id"])
    assert [(each["model"], each["status"]) for each in row["attempts"]] == [("m1", "interrupted"), ("m2", "ok")]
    assert all(each["output_tokens"] > 0 for each in row["attempts"])
    assert row["status"] == "ok"


async def test_a_request_may_ask_for_it(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m1", cut("One, two"))
    upstream.script("m2", streams(", three"))
    server = await serve(*two(upstream))
    patched = await server.ask(RESUME, model="patched", stream=True)
    plain = await server.ask(model="patched", stream=True)

    assert (patched.text, plain.text) == ("One, two, three", "One, two")
    assert not plain.done
    assert b'"error"' in plain.body


async def test_what_is_repeated_is_cut_off(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m1", cut("Oslo is the capital"))
    upstream.script("m2", streams("Oslo ", "is the ", "capital of ", "Norway."))
    server = await serve(*two(upstream, "resume = true"))

    assert (await server.ask(model="patched", stream=True)).text == "Oslo is the capital of Norway."


async def test_a_third_target_goes_on_where_the_second_fails(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m1", cut("One"))
    upstream.script("m2", Answer.json({"error": {"message": "no"}}, 500))
    upstream.script("m3", streams(", two"))
    server = await serve(
        provider("a", upstream, more='models = ["m1", "m2", "m3"]'),
        route("patched", "a/m1", "a/m2", "a/m3", more="resume = true"),
    )
    reply = await server.ask(model="patched", stream=True)

    assert (reply.text, reply.receipt["attempts"]) == ("One, two", 3)


async def test_a_third_target_goes_on_where_the_second_cannot_take_the_request(
    upstream: Upstream, serve: Serve
) -> None:
    """It does not know the files of OpenAI."""
    upstream.script("m1", cut("One"))
    upstream.script("m3", streams(", two"))
    server = await serve(
        provider("a", upstream, more='models = ["m1", "m3"]'),
        provider("b", upstream, "anthropic", more='models = ["m2"]'),
        route("patched", "a/m1", "b/m2", "a/m3", more="resume = true"),
    )
    file = {"type": "file", "file": {"file_id": "file-1"}}
    reply = await server.ask(model="patched", stream=True, messages=[{"role": "user", "content": [file]}])

    assert (reply.text, reply.receipt["attempts"]) == ("One, two", 2)
    assert upstream.asked("m2") == []


async def test_where_nobody_goes_on_the_error_is_told(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m1", cut("One"), Answer.json({"error": {"message": "no"}}, 500))
    upstream.script("m2", Answer.json({"error": {"message": "no"}}, 500))
    server = await serve(*two(upstream, "resume = true"), "[retry]\nattempts = 1")
    reply = await server.ask(model="patched", stream=True)

    assert (reply.text, reply.done, b'"error"' in reply.body) == ("One", False, True)
    row = await server.row(reply.headers["x-request-id"])
    assert row["status"] == "interrupted"
    assert row["attempts"][0]["status"] == "interrupted"


async def test_a_call_of_a_tool_is_never_patched(upstream: Upstream, serve: Serve) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
    body = OPENING + chunk({"tool_calls": [call]})
    upstream.script("m1", Answer.sse(body + "x", stop_at=len(body.encode()), end="close", split="events"))
    upstream.script("m2", streams("never"))
    server = await serve(*two(upstream, "resume = true"))
    reply = await server.ask(model="patched", stream=True)

    assert (b'"error"' in reply.body, upstream.asked("m2")) == (True, [])


async def test_a_client_of_another_dialect_gets_one_message(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m1", cut("Oslo is"))
    upstream.script("m2", streams(" a city"))
    server = await serve(*two(upstream, "resume = true"))
    body = {"model": "patched", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Oslo?"}]}
    reply = await server.request("POST", "/v1/messages", json.dumps(body).encode())

    events = [json.loads(line[6:]) for line in reply.body.decode().splitlines() if line.startswith("data: ")]
    kinds = [event["type"] for event in events]
    text = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    assert (text, kinds.count("message_start"), kinds.count("content_block_start"), kinds[-1]) == (
        "Oslo is a city",
        1,
        1,
        "message_stop",
    )


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_what_breaks_off_in_its_thoughts_is_asked_anew(path: str, upstream: Upstream, serve: Serve) -> None:
    body = OPENING + chunk({"reasoning_content": "Let me see"})
    upstream.script("m1", Answer.sse(body, end="close", split="events"))
    upstream.script("m2", streams("Oslo is", " a city"))
    server = await serve(*two(upstream, "resume = true"))
    asked = {"input": "Oslo?"} if path == "/v1/responses" else {"messages": [{"role": "user", "content": "Oslo?"}]}
    sent = {"model": "patched", "stream": True, "max_tokens": 9, **asked}
    if path == "/v1/responses":
        del sent["max_tokens"]
    reply = await server.request("POST", path, json.dumps(sent).encode())
    told = reply.body.decode()
    losses = reply.receipt["losses"]

    assert told.index("Let me see") < told.index("Oslo is")
    assert '"error":{' not in told
    assert [(turn["role"], turn["content"]) for turn in upstream.asked("m2")[0].json["messages"]] == [("user", "Oslo?")]
    assert any("broke off in its thoughts; b/m2 began anew" in loss["reason"] for loss in losses)


async def test_losses_that_are_refused_are_not_made(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m1", cut("One"))
    upstream.script("m2", streams(" two"))
    server = await serve(*two(upstream, 'resume = true\nlosses = "reject"'))
    reply = await server.ask(model="patched", stream=True)

    assert (reply.text, unquote(reply.headers.get("x-modelport-losses", ""))) == ("One", "")
    assert upstream.asked("m2") == []


async def test_heartbeats_do_not_keep_a_silent_answer_alive(upstream: Upstream, serve: Serve) -> None:
    body = OPENING + chunk({"content": "One"}) + ": still here\n\n" * 60 + chunk({"content": " two"}, "stop")
    upstream.script("m1", Answer.sse(body, split="events", delay_between_s=0.02))
    clocks = "timeouts = { connect_s = 2, first_event_s = 10, idle_s = 0.3 }"
    server = await serve(provider("a", upstream, more=f'models = ["m1"]\n{clocks}'))
    reply = await server.ask(model="a/m1", stream=True)

    assert (reply.text, reply.done) == ("One", False)
    assert "heartbeats" in (await server.row(reply.headers["x-request-id"]))["attempts"][0]["error"]


# --- the parts of it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "more", "cut_off"),
    [
        ("Oslo is the capital", "the capital of Norway", 11),
        ("Oslo is the capital", " of Norway", 0),
        ("I say hel", "lo", 0),
        ("ends in a blank ", " and on", 1),
        ("all of it again", "all of it again, and more", 15),
        ("", "anything", 0),
    ],
)
def test_only_a_real_repetition_is_one(said: str, more: str, cut_off: int) -> None:
    assert repeated(said, more) == cut_off


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_repetition_is_found_however_it_is_cut(size: int) -> None:
    said, more = "The quick brown fox jumps", "brown fox jumps over the dog"
    overlap = Overlap(said)
    events = [PartStart(0, Text("")), *(PartDelta(0, more[at : at + size]) for at in range(0, len(more), size))]
    passed = [event for each in events for event in overlap.events([each])]

    assert "".join(event.text for event in passed if isinstance(event, PartDelta)) == " over the dog"


def test_text_that_goes_on_is_not_held_back() -> None:
    overlap = Overlap("One, two")

    assert overlap.events([PartStart(0, Text("")), PartDelta(0, ", three")])[-1] == PartDelta(0, ", three")


def test_only_text_is_resumable() -> None:
    def of(*parts: Any) -> str | None:
        return resumable(Response("r", "m", 0, (Choice(parts, None),)))

    assert (of(Text("a")), of(Thinking("x"), Text("a")), of(Thinking("x")), of(Text(" "))) == ("a", "a", "", None)
    assert of(Text("a"), ToolCall("1", "f", "{}")) is None
    assert of(Text("a"), Thinking("x")) is None


@pytest.mark.parametrize(
    ("rules", "roles"),
    [
        (Rules(dialect="anthropic", prefill=True), ["user", "assistant"]),
        (Rules(dialect="anthropic", prefill=False), ["user", "assistant", "user"]),
        (Rules(dialect="openai_chat", prefill=True), ["user", "assistant", "user"]),
    ],
)
def test_a_server_that_continues_by_itself_is_not_told_to(rules: Rules, roles: list[str]) -> None:
    request = Request("openai_chat", "m", (Message("user", (Text("hi"),)),))

    assert [message.role for message in question(request, "One", rules).messages] == roles


@pytest.mark.parametrize(
    ("frames", "says_nothing"),
    [
        (b"", True),
        (b": keep-alive\n\n", True),
        (b'event: ping\ndata: {"type": "ping"}\n\n', True),
        (b'event: response.web_search_call.searching\ndata: {"type": "response.web_search_call.searching"}\n\n', False),
        (b': wait\n\ndata: {"type": "unheard_of"}\n\n', False),
    ],
)
def test_only_comments_and_pings_are_heartbeats(frames: bytes, says_nothing: bool) -> None:
    assert is_heartbeat(frames) == says_nothing


async def test_an_outage_in_which_every_stream_breaks_off_is_not_made_worse(upstream: Upstream, serve: Serve) -> None:
    """Twelve requests: each target may fail twice before it is known to, then a fifth of all requests are retried."""
    for model in ("m1", "m2"):
        upstream.script(model, cut("One, ", "two"))
    server = await serve(*two(upstream, "resume = true"), "[breaker]\nfailures = 1000")
    server.services.retry_budget = RetryBudget(lambda: 0.0)  # all in one moment, however long it takes here
    for number in range(12):
        assert not (await server.ask(model="patched", stream=True, user=str(number))).done

    assert sum(len(upstream.asked(model)) for model in ("m1", "m2")) <= 12 + 2 * 2 + 4
    assert server.services.tally.resumed["patched", "denied"] > 0


async def test_streams_that_break_off_open_the_breaker(upstream: Upstream, serve: Serve) -> None:
    """However well each of them began; one that comes to its end makes good for them."""
    good = streams("One")
    upstream.script("m1", *[cut("One")] * 4, good, *[cut("One")] * 5, good)
    upstream.script("m2", streams("Two"))
    server = await serve(*two(upstream))
    texts = [(await server.ask(model="patched", stream=True)).text for _ in range(11)]

    assert texts == ["One"] * 10 + ["Two"]
