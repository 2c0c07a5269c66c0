"""Policies over sockets: who is asked, in which order, and with which key."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from proxy.route_state import Certain
from tests.proxy.conftest import Serve
from tests.proxy.serving import (
    BOTH,
    KEY,
    QUICK,
    SECOND_KEY,
    Served,
    completion,
    failing,
    provider,
    route,
    says,
    stream_text,
)
from tests.replay import Answer, Asked, Upstream

LONG = "word " * 2_000
"""Some 2,700 tokens by the rough count."""


def priced(name: str, upstream: Upstream, sent: str, received: str, more: str = "", **how: Any) -> str:
    return provider(name, upstream, more=f'price = {{ input = "{sent}", output = "{received}" }}\n{more}', **how)


def routed(policy: str, *targets: str, more: str = "") -> str:
    return route("r", *targets, more=f'policy = "{policy}"\n{more}')


async def target_of(server: Served, headers: dict[str, str] | None = None, **body: Any) -> str:
    reply = await server.ask(headers, **{"model": "r", **body})
    assert reply.status == 200, reply.body
    return reply.headers["x-modelport-target"]


# --- cost ------------------------------------------------------------------------------------------------


async def test_cost_asks_the_target_that_is_cheapest_for_this_request(serve: Serve, upstream: Upstream) -> None:
    """`reader` is cheap to read, `writer` to write."""
    for model in ("reader", "writer"):
        upstream.script(model, BOTH)
    server = await serve(
        QUICK,
        priced("a", upstream, "1", "10"),
        priced("b", upstream, "5", "2"),
        routed("cost", "a/reader", "b/writer"),
    )
    question = [{"role": "user", "content": LONG}]

    assert await target_of(server, messages=question, max_tokens=1) == "a/reader"
    assert await target_of(server, max_tokens=4_000) == "b/writer"


async def test_the_dearer_target_takes_over_when_the_cheapest_fails(serve: Serve, upstream: Upstream) -> None:
    upstream.script("dear", BOTH)
    upstream.script("cheap", failing(500))
    server = await serve(
        QUICK,
        priced("a", upstream, "9", "9"),
        priced("b", upstream, "1", "1"),
        routed("cost", "a/dear", "b/cheap"),
    )

    assert await target_of(server) == "a/dear"
    assert len(upstream.asked("cheap")) == 1


# --- latency, balanced -----------------------------------------------------------------------------------


async def told_of(server: Served, **latency_ms: float) -> None:
    """As though the providers' model `m` had answered like that."""
    for name, ms in latency_ms.items():
        server.services.latencies.answered(name, "m", latency_ms=ms, first_event_ms=ms / 4, input_tokens=10)


async def test_latency_asks_the_fastest_and_learns_from_answers(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(
        QUICK,
        provider("a", upstream),
        provider("b", upstream),
        routed("latency", "a/m", "b/m", more="exploration = 0"),
    )
    await told_of(server, a=500, b=100)
    assert await target_of(server) == "b/m"

    await told_of(server, b=90_000)
    assert await target_of(server) == "a/m"
    measured = server.services.latencies.pace(server.services.setup.names.resolve("a/m").targets[0], 10, whole=True)
    assert measured.ms is not None
    assert 0 < measured.ms < 500


async def test_latency_finds_the_faster_one_by_itself(serve: Serve, upstream: Upstream) -> None:
    """The slow one is written first; the other is tried because nobody knows it."""
    whole = Answer.json(completion())
    upstream.script("slow", replace(whole, delay_head_s=0.08))
    upstream.script("fast", whole)
    server = await serve(
        QUICK,
        provider("a", upstream),
        provider("b", upstream),
        routed("latency", "a/slow", "b/fast", more="exploration = 0"),
    )
    server.services.rng = Random(1)
    asked = [await target_of(server) for _ in range(16)]

    assert asked[0] == "a/slow"
    assert asked[-8:] == ["b/fast"] * 8


async def test_balanced_weighs_as_the_route_says(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    sections = (QUICK, priced("a", upstream, "9", "9"), priced("b", upstream, "1", "1"))
    targets = 'policy = "balanced"\ntargets = [{ target = "a/m", quality = 0.9 }, { target = "b/m", quality = 0.1 }]\n'
    quality = "balanced = { cost = 0, latency = 0, quality = 1, reliability = 0 }\n"
    cost = "balanced = { cost = 1, latency = 0, quality = 0, reliability = 0 }\n"
    server = await serve(*sections, f"[routes.good]\n{targets}{quality}", f"[routes.cheap]\n{targets}{cost}")

    assert await target_of(server, model="good") == "a/m"
    assert await target_of(server, model="cheap") == "b/m"


# --- sticky, affinity ------------------------------------------------------------------------------------


async def test_sticky_sends_the_same_user_to_the_same_target(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(QUICK, provider("a", upstream), provider("b", upstream), routed("sticky", "a/m", "b/m"))
    first = {str(user): await target_of(server, user=str(user)) for user in range(24)}
    again = {user: await target_of(server, user=user) for user in reversed(first)}

    assert again == first
    assert len(set(first.values())) == 2


def cached(tokens: int) -> Any:
    """Answers whose usage says how many tokens were read."""
    usage = {"prompt_tokens": tokens, "completion_tokens": 5, "total_tokens": tokens + 5}
    return Answer.json({**completion(), "usage": usage})


def turns(count: int) -> list[dict[str, str]]:
    """A conversation of so many questions, each longer than the one before."""
    said = [{"role": "system", "content": LONG}]
    for number in range(count):
        said += [{"role": "user", "content": f"Question {number}"}, {"role": "assistant", "content": "Yes."}]
    return said[:-1]


def keys_of(asked: list[Asked]) -> list[str]:
    return [one.headers["authorization"].removeprefix("Bearer ") for one in asked]


LONG_STREAM = Answer.sse(stream_text("Hello").replace('"prompt_tokens":10', '"prompt_tokens":3000'), split="events")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_stays_with_the_key_that_holds_its_cache(
    serve: Serve, upstream: Upstream, stream: bool
) -> None:
    """Other conversations go on taking turns."""
    upstream.script("m", LONG_STREAM if stream else cached(3_000))
    server = await serve(
        QUICK,
        provider("a", upstream, keys=(KEY, SECOND_KEY)),
        routed("failover", "a/m", more="affinity = true"),
        route("plain", "a/m"),
    )
    for count in (1, 2, 3, 4):
        await target_of(server, messages=turns(count), stream=stream)
    assert len(set(keys_of(upstream.asked("m")))) == 1

    for count in (1, 2, 3, 4):
        await target_of(server, model="plain", messages=turns(count))
    assert len(set(keys_of(upstream.asked("m")[4:]))) == 2


@pytest.mark.parametrize(
    ("cached_input", "second"), [("0.1", "b/m"), ("3", "a/m")], ids=["saves enough", "saves too little"]
)
async def test_a_conversation_stays_with_the_target_whose_cache_saves_more_than_it_costs(
    serve: Serve, upstream: Upstream, cached_input: str, second: str
) -> None:
    """`a` is the cheaper, but fails at first, so that `b` has read the beginning."""
    failures = iter([failing(503)])
    upstream.script(
        "m", lambda asked: next(failures, cached(3_000)) if asked.headers["x-who"] == "a" else cached(3_000)
    )
    more = 'headers = { x-who = "%s" }\n'
    server = await serve(
        QUICK,
        priced("a", upstream, "3", "1", more % "a"),
        provider(
            "b",
            upstream,
            more=f'price = {{ input = "4", cached_input = "{cached_input}", output = "1" }}\n{more % "b"}',
        ),
        routed("cost", "a/m", "b/m", more="affinity = true"),
    )
    assert await target_of(server, messages=turns(1)) == "b/m"

    assert await target_of(server, messages=turns(2)) == second


# --- chosen per request ----------------------------------------------------------------------------------


async def test_a_request_chooses_its_policy_by_header_or_body(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(
        QUICK, priced("a", upstream, "9", "9"), priced("b", upstream, "1", "1"), routed("failover", "a/m", "b/m")
    )

    assert await target_of(server) == "a/m"
    assert await target_of(server, {"x-modelport-policy": "cost"}) == "b/m"
    assert await target_of(server, modelport={"policy": "cost"}) == "b/m"
    assert await target_of(server, model="a/m", models=["a/m", "b/m"], modelport={"policy": "cost"}) == "b/m"
    assert "modelport" not in upstream.asked("m")[-1].json


async def test_an_unknown_policy_is_refused_by_name(serve: Serve, upstream: Upstream) -> None:
    server = await serve(QUICK, provider("a", upstream), route("r", "a/m"))
    reply = await server.ask({"x-modelport-policy": "cheapst"}, model="r")

    assert reply.status == 400
    assert "x-modelport-policy: expected one of failover, weighted, cost" in reply.error["message"]


async def test_answers_of_another_policy_are_other_answers(serve: Serve, upstream: Upstream) -> None:
    """The cache tells them apart."""
    upstream.script("m", BOTH)
    server = await serve(QUICK, provider("a", upstream), route("r", "a/m"))
    uses = [
        (await server.ask(headers, model="r", temperature=0)).headers["x-modelport-cache"]
        for headers in ({}, {}, {"x-modelport-policy": "cost"}, {"x-modelport-policy": "cost"})
    ]

    assert uses == ["miss", "hit", "miss", "hit"]


# --- abilities -------------------------------------------------------------------------------------------

THOUGHTLESS = 'quirks = { thinking = "none" }\n'


async def test_the_target_that_loses_least_goes_first(serve: Serve, upstream: Upstream) -> None:
    """One without reasoning serves when the other fails."""
    upstream.script("m", BOTH)
    upstream.script("deep", BOTH)
    server = await serve(
        QUICK,
        provider("a", upstream, more=THOUGHTLESS),
        provider("b", upstream),
        routed("failover", "a/m", "b/deep"),
    )
    assert await target_of(server, reasoning_effort="high") == "b/deep"
    assert await target_of(server) == "a/m"
    upstream.script("deep", failing(500))

    assert await target_of(server, reasoning_effort="high") == "a/m"


async def test_who_takes_no_losses_is_served_by_a_target_that_loses_nothing(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(
        QUICK,
        provider("a", upstream, "anthropic", more='quirks = { refuses = ["seed"] }\n'),
        provider("b", upstream),
        routed("failover", "a/m", "b/m"),
    )

    assert await target_of(server, {"x-modelport-losses": "reject"}, seed=1) == "b/m"


async def test_a_target_without_room_is_left_out(serve: Serve, upstream: Upstream) -> None:
    for model in ("small", "large"):
        upstream.script(model, BOTH)
    server = await serve(
        QUICK,
        provider("a", upstream, more="quirks = { context_tokens = 500 }\n"),
        provider("b", upstream),
        routed("failover", "a/small", "b/large"),
    )

    assert await target_of(server, messages=[{"role": "user", "content": LONG}]) == "b/large"
    assert upstream.asked("small") == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_request_too_long_for_all_is_told_by_how_much(serve: Serve, upstream: Upstream, path: str) -> None:
    server = await serve(
        QUICK,
        provider("a", upstream, more="quirks = { context_tokens = 500 }\n"),
        provider("b", upstream, more="quirks = { context_tokens = 800 }\n"),
        routed("failover", "a/m", "b/m"),
    )
    body = {"model": "r", "max_tokens": 9, "messages": [{"role": "user", "content": LONG}]}
    reply = await server.request("POST", path, json.dumps(body).encode())

    assert reply.status == 400
    told = reply.error["message"]
    assert "a/m takes 500 tokens" in told
    assert "b/m takes 800 tokens" in told
    assert "1,309 fewer than the about 2,109 of this request" in told
    assert upstream.requests == []
    if path == "/v1/chat/completions":
        assert (reply.error["code"], reply.error["param"]) == ("context_length_exceeded", "messages")


# --- elsewhere -------------------------------------------------------------------------------------------


async def test_embeddings_follow_the_policy(serve: Serve, upstream: Upstream) -> None:
    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}], "model": "m"}
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    upstream.script("m", Answer.json({**vectors, "usage": usage}))
    server = await serve(
        QUICK, priced("a", upstream, "9", "9"), priced("b", upstream, "1", "1"), routed("cost", "a/m", "b/m")
    )
    reply = await server.request("POST", "/v1/embeddings", json.dumps({"model": "r", "input": "x"}).encode())

    assert reply.headers["x-modelport-target"] == "b/m"


async def test_weighted_splits_what_is_passed_on(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json({"data": []}))
    server = await serve(QUICK, provider("a", upstream), provider("b", upstream), routed("weighted", "a/m", "b/m"))
    server.services.rng = Random(3)
    targets: Counter[str] = Counter()
    for _ in range(20):
        reply = await server.request(
            "POST", "/v1/images/generations", b'{"model":"r","prompt":"x"}', {"content-type": "application/json"}
        )
        targets[reply.headers["x-modelport-target"]] += 1

    assert set(targets) == {"a/m", "b/m"}


async def test_speeds_and_failures_survive_a_restart(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    upstream.script("bad", failing(500))
    sections = (QUICK, provider("a", upstream), route("r", "a/bad", "a/m"))
    before = await serve(*sections)
    await target_of(before)
    await before.services.drain()
    await before.services.db.close()

    after = (await serve(*sections)).services
    bad, good = after.setup.names.resolve("r").targets
    assert after.latencies.reliability(bad) == pytest.approx(0.5, abs=0.01)
    assert after.latencies.reliability(good) == 1
    assert after.latencies.pace(good, 10, whole=True).fresh


def test_certain_chance_prefers_the_heaviest() -> None:
    assert Certain().random() > 0.999


# --- whose fault it is -------------------------------------------------------------------------------------


async def test_a_client_that_waits_too_little_closes_nothing_for_the_others(serve: Serve, upstream: Upstream) -> None:
    """Its deadline is no failure of the server: neither breaker nor health go by it, only the latencies."""
    upstream.script("m", replace(says(), delay_head_s=0.3))
    server = await serve(
        "[breaker]\nfailures = 2\ncooldown_s = 600", QUICK, provider("a", upstream), provider("b", upstream)
    )
    for number in range(6):
        hasty = await server.ask({"x-modelport-timeout-s": "0.05"}, model="a/m", user=str(number))
        assert (hasty.status, hasty.error["code"]) == (504, "upstream_timeout")
    entry = (await server.get("/health")).json["providers"][0]

    assert (entry["breaker"], entry["errors"]) == ("closed", 0)
    assert (await server.ask(model="a/m")).status == 200
    row = await server.row((await server.rows())[0]["id"])
    assert (row["status"], row["attempts"][0]["status"], row["attempts"][0]["error_kind"]) == (
        "failed",
        "aborted",
        "timeout",
    )


async def test_nor_do_embeddings_and_what_is_passed_on(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer(hang=True))
    server = await serve("[breaker]\nfailures = 2\ncooldown_s = 600", QUICK, provider("a", upstream))
    for path, body in (("embeddings", {"input": "x"}), ("images/generations", {"prompt": "x"})):
        for _ in range(3):
            raw = json.dumps({"model": "a/m", **body}).encode()
            hurry = {"x-modelport-timeout-s": "0.1", "content-type": "application/json"}
            assert (await server.request("POST", f"/v1/{path}", raw, hurry)).status == 504
    entry = (await server.get("/health")).json["providers"][0]

    assert (entry["breaker"], entry["errors"]) == ("closed", 0)


async def test_our_own_clocks_speak_against_the_server_whatever_the_client_says(
    serve: Serve, upstream: Upstream
) -> None:
    upstream.script("m", Answer(hang=True))
    clocks = "timeouts = { connect_s = 2, first_event_s = 0.1, idle_s = 1, whole_answer_s = 0.1 }"
    server = await serve("[breaker]\nfailures = 2\ncooldown_s = 600", QUICK, provider("a", upstream, more=clocks))
    for number in range(2):
        await server.ask({"x-modelport-timeout-s": "30"}, model="a/m", user=str(number))

    assert (await server.get("/health")).json["providers"][0]["breaker"] == "open"
