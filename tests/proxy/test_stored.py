"""The exact cache from outside: what is kept, for whom, how it comes back, and that nobody asks twice at once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from proxy.stored import Stored, storable, unpack
from tests.proxy.conftest import Serve
from tests.proxy.serving import BOTH, QUICK, Served, completion, failing, message, provider, route, says, streams
from tests.replay import Answer, Upstream
from translators.neutral import Choice, Failure, Refusal, Response, Text, Thinking, ToolCall, Usage

MASTER = '[auth]\nmaster_key = "mp-master-0123456789"\n'


async def uses(server: Served, *bodies: dict[str, Any]) -> list[str]:
    """What `x-modelport-cache` says to one body after the other, each answer stored before the next is asked for."""
    told = []
    for body in bodies:
        headers = body.pop("headers", None)
        told.append((await server.ask(headers, **body)).headers["x-modelport-cache"])
    return told


FIXED = {"model": "one/m", "temperature": 0}
TWICE: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    # mode: what the same request is told the first and the second time
    "temperature 0": ("deterministic", {"temperature": 0}, ["miss", "hit"]),
    "temperature 0.0": ("deterministic", {"temperature": 0.0}, ["miss", "hit"]),
    "a seed": ("deterministic", {"seed": 7}, ["miss", "hit"]),
    "neither": ("deterministic", {}, ["bypass", "bypass"]),
    "a temperature": ("deterministic", {"temperature": 0.1}, ["bypass", "bypass"]),
    "all": ("all", {}, ["miss", "hit"]),
    "off": ("off", {"temperature": 0}, ["bypass", "bypass"]),
    "an idempotency key": ("off", {"modelport": {"idempotency_key": "k"}}, ["miss", "hit"]),
    "no-store": ("deterministic", {"temperature": 0, "modelport": {"cache": "no-store"}}, ["miss", "miss"]),
    "no-cache": ("deterministic", {"temperature": 0, "modelport": {"cache": "no-cache"}}, ["miss", "miss"]),
    "both": ("deterministic", {"temperature": 0, "modelport": {"cache": "no-cache, no-store"}}, ["bypass", "bypass"]),
}


@pytest.mark.parametrize("case", TWICE)
async def test_what_is_kept(serve: Serve, upstream: Upstream, case: str) -> None:
    mode, fields, expected = TWICE[case]
    upstream.script("m", says())
    server = await serve(f'[cache]\nmode = "{mode}"', provider("one", upstream))

    assert await uses(server, {"model": "one/m", **fields}, {"model": "one/m", **fields}) == expected
    assert len(upstream.asked("m")) == (1 if expected[1] == "hit" else 2)


async def test_no_cache_renews_what_is_kept(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says("first"), says("second"))
    server = await serve(provider("one", upstream))

    first = await server.ask(**FIXED)
    fresh = await server.ask({"x-modelport-cache": "no-cache"}, **FIXED)
    again = await server.ask(**FIXED)

    assert [first.text, fresh.text, again.text] == ["first", "second", "second"]
    assert again.headers["x-modelport-cache"] == "hit"


async def test_a_route_has_its_own_mode(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), route("kept", "one/m", more='cache = "all"'))

    assert await uses(server, {"model": "kept"}, {"model": "kept"}, {"model": "one/m"}) == ["miss", "hit", "bypass"]


DIFFERENT: list[dict[str, Any]] = [
    {"temperature": 0, "seed": 1},
    {"temperature": 0, "max_tokens": 5},
    {"temperature": 0, "messages": [{"role": "user", "content": "Say hello "}]},
    {"temperature": 0, "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
    {"temperature": 0, "n": 2},
    {"temperature": 0, "user": "someone"},
    {"temperature": 0, "response_format": {"type": "json_object"}},
    {"temperature": 0, "model": "two/m"},
    {"temperature": 0, "unknown_field": 1},
]


async def test_whatever_changes_the_answer_changes_the_key(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), provider("two", upstream))
    await server.ask(**FIXED)

    assert await uses(server, *({**FIXED, **body} for body in DIFFERENT)) == ["miss"] * len(DIFFERENT)


SAME: list[dict[str, Any]] = [
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"stream": False},
    {"modelport": {"tags": {"team": "search"}}},
]


async def test_how_it_travels_does_not(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(provider("one", upstream))
    await server.ask(**FIXED)
    backwards = json.dumps(dict(reversed({"messages": [{"role": "user", "content": "Say hello"}], **FIXED}.items())))

    assert await uses(server, *({**FIXED, **body} for body in SAME)) == ["hit"] * len(SAME)
    reply = await server.request("POST", "/v1/chat/completions", backwards.encode())
    assert reply.headers["x-modelport-cache"] == "hit"


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("first", [False, True])
async def test_a_hit_comes_back_in_either_form(serve: Serve, upstream: Upstream, first: bool, second: bool) -> None:
    """And costs nothing; what it saved is booked."""
    upstream.script("m", BOTH)
    server = await serve(provider("one", upstream))

    await server.ask(**FIXED, stream=first)
    hit = await server.ask(**FIXED, stream=second, stream_options={"include_usage": True} if second else None)

    row = await server.row(hit.id)
    total = (await server.get("/costs")).json["total"]
    assert hit.text == "Hello there"
    assert hit.headers["x-modelport-cache"] == "hit"
    assert hit.headers["x-modelport-target"] == "one/m"
    assert Decimal(hit.headers["x-modelport-cost-usd"]) == 0
    assert hit.headers["x-modelport-attempts"] == "0"
    if second:
        assert hit.done
        assert Decimal(hit.receipt["cost_usd"]) == 0
        assert hit.chunks[-1]["usage"]["prompt_tokens"] == 10
    else:
        assert hit.json["usage"]["total_tokens"] == 15
    assert (row["cache"], row["status"], row["attempts"]) == ("hit", "ok", [])
    assert Decimal(row["cost_usd"]) == 0
    assert Decimal(row["saved_usd"]) == Decimal("0.00002")
    assert (total["cache_hits"], Decimal(total["saved_usd"])) == (1, Decimal("0.00002"))
    assert (total["saved_input_tokens"], total["saved_output_tokens"]) == (row["input_tokens"], row["output_tokens"])
    assert Decimal(total["cost_usd"]) == Decimal("0.00002")


async def test_an_answer_across_dialects_is_kept(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json(message()))
    server = await serve(provider("one", upstream, "anthropic"))
    body = {**FIXED, "max_tokens": 5}

    first = await server.ask(**body)
    again = await server.ask(**body)

    assert again.headers["x-modelport-cache"] == "hit"
    assert again.json["choices"] == first.json["choices"]
    assert again.json["id"] == first.json["id"]


async def test_tenants_are_apart(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(MASTER, provider("one", upstream))
    master = {"authorization": "Bearer mp-master-0123456789"}

    told = await uses(server, {**FIXED}, {**FIXED, "headers": master}, {**FIXED, "headers": master}, {**FIXED})

    assert told == ["miss", "miss", "hit", "hit"]


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
NEVER: dict[str, Answer] = {
    "an error": failing(500),
    "a refusal": Answer.json(
        {
            **completion(),
            "choices": [
                {**completion()["choices"][0], "message": {"role": "assistant", "content": None, "refusal": "I can't."}}
            ],
        }
    ),
    "truncated": says(reason="length"),
    "filtered": says(reason="content_filter"),
    "a tool call": says(None, reason="tool_calls", tool_calls=[CALL]),
    "nothing": says(""),
}


@pytest.mark.parametrize("case", NEVER)
async def test_what_is_never_kept(serve: Serve, upstream: Upstream, case: str) -> None:
    upstream.script("m", NEVER[case])
    server = await serve(QUICK, provider("one", upstream))

    for _ in range(2):
        await server.ask(**FIXED)

    assert len(upstream.asked("m")) == 2
    assert (await server.get("/api/v1/cache")).json["entries"] == 0


async def test_an_interrupted_stream_is_not_kept(serve: Serve, upstream: Upstream) -> None:
    whole = streams()
    upstream.script("m", replace(whole, stop_at=len(whole.body) // 2, end="close", delay_between_s=0.01), whole)
    server = await serve(QUICK, provider("one", upstream))

    await server.ask(**FIXED, stream=True)
    second = await server.ask(**FIXED, stream=True)

    assert second.headers["x-modelport-cache"] == "miss"
    assert second.text == "Hello there"


async def test_clearing_forgets(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await server.ask(**FIXED)

    stats = (await server.get("/api/v1/cache")).json
    cleared = (await server.request("DELETE", "/api/v1/cache")).json

    assert stats["hits"] == 0
    assert cleared == {"cleared": 1}
    assert await uses(server, {**FIXED}) == ["miss"]


# --- single flight ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_twenty_at_once_ask_once(serve: Serve, upstream: Upstream, stream: bool) -> None:
    whole, streamed = says(), streams()
    upstream.script("m", lambda asked: replace(streamed if asked.json.get("stream") else whole, delay_head_s=0.1))
    server = await serve(provider("one", upstream))

    replies = await asyncio.gather(*(server.ask(**FIXED, stream=stream) for _ in range(20)))

    rows = await server.rows()
    assert [reply.text for reply in replies] == ["Hello there"] * 20
    assert len(upstream.asked("m")) == 1
    assert sorted(row["cache"] for row in rows) == ["hit"] * 19 + ["miss"]
    assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal("0.00002")


async def test_a_failed_leader_fails_nobody_else(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", replace(failing(400), delay_head_s=0.05), says())
    server = await serve(QUICK, provider("one", upstream))

    replies = await asyncio.gather(*(server.ask(**FIXED) for _ in range(5)))

    assert sorted(reply.status for reply in replies) == [200] * 4 + [400]
    assert len(upstream.asked("m")) == 2


async def test_a_leader_that_leaves_hands_over(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer(hang=True), says())
    server = await serve(provider("one", upstream))
    leader = asyncio.ensure_future(server.ask(**FIXED))
    await asyncio.to_thread(upstream.wait_asked, "m")
    follower = asyncio.ensure_future(server.ask(**FIXED))
    while server.services.in_flight < 2:
        await asyncio.sleep(0.005)

    leader.cancel()

    reply = await asyncio.wait_for(follower, 3)
    assert reply.text == "Hello there"


async def test_a_follower_keeps_to_its_own_time(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer(hang=True))
    server = await serve(provider("one", upstream))
    leader = asyncio.ensure_future(server.ask(**FIXED))
    await asyncio.to_thread(upstream.wait_asked, "m")

    reply = await asyncio.wait_for(server.ask({"x-modelport-timeout-s": "0.1"}, **FIXED), 2)
    leader.cancel()

    assert reply.status == 504


# --- losses of a kept answer -----------------------------------------------------------------------

LOSSY: dict[str, Any] = {**FIXED, "max_tokens": 5, "logit_bias": {"50256": -100}}


async def test_a_hit_tells_the_losses_again(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json(message()))
    server = await serve(provider("one", upstream, "anthropic"))

    first = await server.ask(**LOSSY)
    again = await server.ask(**LOSSY)

    assert again.headers["x-modelport-cache"] == "hit"
    assert again.headers["x-modelport-losses"] == first.headers["x-modelport-losses"]
    assert [loss["field"] for loss in (await server.row(again.id))["losses"]] == ["logit_bias"]


async def test_a_hit_with_losses_is_nothing_for_who_refuses_them(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json(message()))
    server = await serve(provider("one", upstream, "anthropic"))
    await server.ask(**LOSSY)

    reply = await server.ask({"x-modelport-losses": "reject"}, **LOSSY)
    quiet = await server.ask({"x-modelport-losses": "ignore"}, **LOSSY)

    assert (reply.status, reply.error["code"]) == (400, "loss_rejected")
    assert quiet.headers["x-modelport-cache"] == "hit"
    assert "x-modelport-losses" not in quiet.headers


# --- the form on disk ------------------------------------------------------------------------------

RESPONSE = Response("id", "m", 1, (Choice((Text("hi"),), "stop"),), Usage(10, 5))


def test_what_is_packed_is_unpacked() -> None:
    stored = Stored("one/m", 20, RESPONSE)

    assert unpack(stored.pack()) == stored


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\n",
        b"[]",
        b"[1]\n{}",
        b'[999,"t",1]\n{}',
        b"{}\n{}",
        b"null\n",
        b"[2,1,2]\n[]",
        b"\xff\xfe\n\xff",
        b"[2,",
    ],
)
def test_what_is_damaged_is_a_miss(packed: bytes) -> None:
    assert unpack(packed) is None


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_a_cut_entry_is_a_miss(cut: int) -> None:
    assert unpack(Stored("one/m", 20, RESPONSE).pack()[:cut]) is None


STORABLE: dict[str, tuple[Response, bool]] = {
    "whole": (RESPONSE, True),
    "with thoughts": (replace(RESPONSE, choices=(Choice((Thinking("hm"), Text("hi")), "stop"),)), True),
    "failed": (replace(RESPONSE, failure=Failure("server", "x", 500)), False),
    "no choices": (replace(RESPONSE, choices=()), False),
    "no parts": (replace(RESPONSE, choices=(Choice((), "stop"),)), False),
    "a refusal": (replace(RESPONSE, choices=(Choice((Refusal("no"),), "stop"),)), False),
    "a call": (replace(RESPONSE, choices=(Choice((ToolCall("1", "f", "{}"),), "stop"),)), False),
    "cut": (replace(RESPONSE, choices=(Choice((Text("hi"),), "length"),)), False),
    "paused": (replace(RESPONSE, choices=(Choice((Text("hi"),), "pause"),)), False),
    "no reason": (replace(RESPONSE, choices=(Choice((Text("hi"),), None),)), False),
    "one of two cut": (replace(RESPONSE, choices=(*RESPONSE.choices, Choice((Text("x"),), "length", 1))), False),
}


@pytest.mark.parametrize("case", STORABLE)
def test_what_may_be_kept(case: str) -> None:
    response, expected = STORABLE[case]

    assert storable(response) is expected
