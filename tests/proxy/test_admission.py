"""The limits of providers and keys, seen from outside: who is asked, who waits, who is told to come again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.keyed import WITH_MASTER, bearer, make
from tests.proxy.serving import Reply, failing, provider, route, says, serving, streams
from tests.replay import Answer, Upstream

SLOW = Answer.json(says("slow").body, delay_head_s=0.3)
QUICK = says("quick")
HANGS = Answer(hang=True)


def limits(**named: Any) -> str:
    """The key `limits` of a provider."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{name} = {inline(each)}" for name, each in value.items()) + " }"
        return str(value)

    return f"limits = {inline(named)}"


def one(upstream: Upstream, **named: Any) -> str:
    """The provider `a` with these limits."""
    return provider("a", upstream, more=f'models = ["m"]\n{limits(**named)}')


async def test_more_than_a_minute_holds_is_refused_with_the_time_to_wait(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m", QUICK)
    server = await serve(one(upstream, requests_per_minute=2, queue_s=0.2))
    replies = [await server.ask(model="a/m") for _ in range(3)]

    assert [reply.status for reply in replies] == [200, 200, 429]
    refused = replies[-1]
    assert refused.error["code"] == "provider_limit"
    assert "a is asked at most 2 requests a minute" in refused.error["message"]
    assert 55 <= int(refused.headers["retry-after"]) <= 60
    assert "x-should-retry" not in refused.headers
    assert len(upstream.asked("m")) == 2


async def test_what_another_target_can_take_at_once_does_not_wait(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m", QUICK)
    upstream.script("m2", says("other"))
    server = await serve(
        one(upstream, requests_per_minute=1),
        provider("b", upstream, more='models = ["m2"]'),
        route("both", "a/m", "b/m2"),
    )
    started = time.monotonic()
    replies = [await server.ask(model="both") for _ in range(3)]

    assert [reply.text for reply in replies] == ["quick", "other", "other"]
    assert [reply.headers["x-modelport-attempts"] for reply in replies] == ["1", "1", "1"]
    assert time.monotonic() - started < 5


async def test_no_more_run_at_a_time_than_may_and_the_others_wait(upstream: Upstream, serve: Serve) -> None:
    running, most = 0, 0

    def counted(_asked: Any) -> Answer:
        nonlocal running, most
        running = sum(not asked.answered.is_set() for asked in upstream.requests)
        most = max(most, running)
        return SLOW

    upstream.script("m", counted)
    server = await serve(one(upstream, concurrent=2))
    replies = await asyncio.gather(*(server.ask(model="a/m", user=str(number)) for number in range(6)))

    assert ([reply.status for reply in replies], most) == ([200] * 6, 2)


async def test_a_stream_holds_its_place_to_its_end(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m", streams("a", "b", "c", delay_between_s=0.1))
    server = await serve(one(upstream, concurrent=1))
    async with server.asking(model="a/m", stream=True) as first:
        await first.content.readany()
        second = asyncio.create_task(server.ask(model="a/m", stream=True))
        await first.read()

    assert (await second).text == "abc"
    first_asked, second_asked = upstream.asked("m")
    assert second_asked.arrived_at - first_asked.arrived_at > 0.3


async def test_a_full_queue_is_told_at_once(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m", SLOW)
    server = await serve(one(upstream, concurrent=1, queue=1, queue_s=5))
    replies: list[Reply] = await asyncio.gather(*(server.ask(model="a/m", user=str(n)) for n in range(4)))

    assert sorted(reply.status for reply in replies) == [200, 200, 503, 503]
    refused = [reply for reply in replies if reply.status == 503]
    assert all(reply.headers["retry-after"] for reply in refused)
    assert all("wait for that already" in reply.error["message"] for reply in refused)


async def test_a_full_queue_for_tokens_says_when_there_are_enough(upstream: Upstream, serve: Serve) -> None:
    """The first has set all of the minute's tokens aside; who comes later has to come again when they are free."""
    upstream.script("m", Answer.json(says().body, hold_at=0), QUICK)
    more = 'models = ["m"]\ntimeouts = { total_s = 200 }\n'
    more += limits(tokens_per_minute=40, queue=1, queue_s=100)
    server = await serve(provider("a", upstream, more=more))
    first = asyncio.create_task(server.ask(model="a/m", max_tokens=1000))
    running = await asyncio.to_thread(upstream.wait_asked, "m")
    others = [asyncio.create_task(server.ask(model="a/m", user=str(n), max_tokens=5)) for n in range(2)]
    (told,), (waiting,) = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
    running.release()

    refused = told.result()
    assert ((await first).status, (await waiting).status, refused.status) == (200, 200, 429)
    assert "wait for that already" in refused.error["message"]
    assert 30 < int(refused.headers["retry-after"]) <= 60


async def test_who_would_wait_too_long_is_told_when_its_time_is_over(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m", Answer.json(says().body, delay_head_s=1.0))
    server = await serve(one(upstream, concurrent=1, queue_s=0.2))
    first = asyncio.create_task(server.ask(model="a/m"))
    await asyncio.to_thread(upstream.wait_asked, "m")
    started = time.monotonic()
    late = await server.ask(model="a/m", user="x")

    assert (late.status, late.error["code"]) == (503, "provider_limit")
    assert 0.15 < time.monotonic() - started < 0.9
    assert (await first).status == 200


async def test_keys_have_limits_of_their_own(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m", QUICK)
    more = f'models = ["m"]\n{limits(per_key={"requests_per_minute": 1}, queue_s=0.1)}'
    server = await serve(provider("a", upstream, more=more, keys=("sk-one-0000000000", "sk-two-0000000000")))
    replies = [await server.ask(model="a/m", user=str(number)) for number in range(3)]

    assert [reply.status for reply in replies] == [200, 200, 429]
    assert len({asked.headers["authorization"] for asked in upstream.asked("m")}) == 2


async def test_tokens_of_answers_count(upstream: Upstream, serve: Serve) -> None:
    """15 tokens an answer as the vendor counts: the third does not fit into forty any more."""
    upstream.script("m", QUICK)
    server = await serve(one(upstream, tokens_per_minute=40, queue_s=0.1))
    replies = [await server.ask(model="a/m", user=str(number), max_tokens=5) for number in range(4)]

    assert [reply.status for reply in replies][-1] == 429
    assert replies[0].status == replies[1].status == 200


async def test_several_choices_of_one_request_wait_for_each_other(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m", SLOW)
    more = 'models = ["m"]\nquirks = { refuses = ["n"] }\n' + limits(concurrent=1)
    server = await serve(provider("a", upstream, more=more))
    reply = await server.ask(model="a/m", n=3)

    assert reply.status == 200


async def test_a_key_with_nothing_left_is_passed_over_until_it_is_reset(upstream: Upstream, serve: Serve) -> None:
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}
    upstream.script("m", Answer.json(says().body, headers=spent))
    upstream.script("m2", says("other"))
    server = await serve(
        provider("a", upstream, more='models = ["m"]'),
        provider("b", upstream, more='models = ["m2"]'),
        route("both", "a/m", "b/m2"),
    )
    replies = [await server.ask(model="both", user=str(number)) for number in range(3)]

    assert [reply.headers["x-modelport-target"] for reply in replies] == ["a/m", "b/m2", "b/m2"]


@pytest.mark.parametrize(
    "told",
    [
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"},
        {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2999-01-01T00:00:00Z"},
        {"ratelimit-remaining": "0", "ratelimit-reset": "3600"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "32472144000000"},
    ],
    ids=["openai", "anthropic", "ietf", "openrouter"],
)
async def test_a_refusal_without_retry_after_waits_for_the_reset(
    told: dict[str, str], upstream: Upstream, serve: Serve
) -> None:
    """The key rests until then, at most a minute, and the client is told."""
    upstream.script("m", failing(429, "slow down", told))
    upstream.script("m2", says("other"))
    server = await serve(
        provider("a", upstream, more='models = ["m"]'),
        provider("b", upstream, more='models = ["m2"]'),
        route("both", "a/m", "b/m2"),
    )
    refused = await server.ask(model="a/m")
    others = [(await server.ask(model="both", user=str(number))).headers for number in range(2)]
    (of_a,) = [each for each in (await server.get("/health")).json["providers"] if each["name"] == "a"]

    assert refused.status == 429
    assert 50 < int(refused.headers["retry-after"]) <= 60
    assert 50 < of_a["cooldown_s"] <= 60
    assert {headers["x-modelport-target"] for headers in others} == {"b/m2"}
    assert len(upstream.asked("m")) == 1


async def test_a_place_comes_back_from_an_attempt_that_failed(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m", failing(500), failing(500), failing(400), QUICK)
    server = await serve(one(upstream, concurrent=1), "[retry]\nattempts = 1\nbackoff_s = 0")
    statuses = [(await server.ask(model="a/m", user=str(number))).status for number in range(4)]

    assert statuses == [502, 502, 400, 200]
    assert server.services.setup.gates["a"].room() == {"concurrent": 1}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_place_comes_back_from_a_client_that_left(upstream: Upstream, serve: Serve, stream: bool) -> None:
    upstream.script("m", Answer.json(says().body, hang=True))
    server = await serve(one(upstream, concurrent=1))
    asking = asyncio.create_task(server.ask(model="a/m", stream=stream))
    asked = await asyncio.to_thread(upstream.wait_asked, "m")
    asking.cancel()
    assert await asyncio.to_thread(asked.wait_left, 5)
    await server.services.drain()

    assert server.services.setup.gates["a"].room() == {"concurrent": 1}


async def test_a_breaker_that_is_open_survives_a_restart(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("m", failing(500))
    upstream.script("m2", QUICK)
    sections = (
        provider("a", upstream, more='models = ["m"]'),
        provider("b", upstream, more='models = ["m2"]'),
        route("both", "a/m", "b/m2"),
        "[breaker]\nfailures = 3\ncooldown_s = 60",
    )
    async with serving(tmp_path, "\n".join(sections)) as first:
        for number in range(4):
            await first.ask(model="both", user=str(number))
    asked = len(upstream.asked("m"))
    async with serving(tmp_path, "\n".join(sections)) as second:
        reply = await second.ask(model="both", user="again")
        state, cooldown_s = second.services.breakers.state("a")

    assert (asked, len(upstream.asked("m")), reply.headers["x-modelport-attempts"]) == (3, 3, "1")
    assert (state, 40 < cooldown_s < 60) == ("open", True)


# --- many clients ------------------------------------------------------------------------------------------

CLIENTS = {"greedy": 30, "modest": 2, "shy": 2}
"""Requests of each virtual key; the greedy one's come first."""


async def test_a_crowd_of_one_key_keeps_nobody_else_waiting(upstream: Upstream, serve: Serve) -> None:
    """Two run at a time, twenty may wait: of the greedy key's, as many as the others leave places for."""
    upstream.script("m", *[Answer.json(says().body, hold_at=0)] * 2, QUICK)
    server = await serve(WITH_MASTER, one(upstream, concurrent=2, queue=20, queue_s=60))
    keys = {name: (await make(server, name=name))["key"] for name in CLIENTS}
    gate, asking = server.services.setup.gates["a"], []

    def crowd(name: str) -> None:
        asking.extend(
            asyncio.create_task(server.ask(bearer(keys[name]), model="a/m", user=f"{name} {number}"))
            for number in range(CLIENTS[name])
        )

    crowd("greedy")
    running = [await asyncio.to_thread(upstream.wait_asked, "m", count) for count in (1, 2)]
    while sum(task.done() for task in asking) < 8:
        await asyncio.sleep(0.01)
    crowd("modest")
    crowd("shy")
    while gate.turns.refused["pushed_out"] < 4:
        await asyncio.sleep(0.01)
    for asked in running:
        asked.release()
    replies = [await task for task in asking]
    of_greedy, of_others = replies[:30], replies[30:]
    served = [asked.json["user"].split()[0] for asked in sorted(upstream.asked("m"), key=lambda each: each.arrived_at)]

    assert [reply.status for reply in of_others] == [200] * 4
    assert sorted(reply.status for reply in of_greedy) == [200] * 18 + [503] * 12
    assert all(reply.headers["retry-after"] for reply in of_greedy if reply.status == 503)
    assert sorted(served[2:8]) == ["greedy", "greedy", "modest", "modest", "shy", "shy"]
    assert gate.turns.refused == {"full": 8, "pushed_out": 4}
    assert (len(gate.queue), gate.room(), len(served)) == (0, {"concurrent": 2}, 22)


@pytest.mark.parametrize(
    ("more", "status", "least", "most"),
    [({"requests_per_minute": 1}, 429, 50, 60), ({"concurrent": 1}, 503, 1, 2)],
    ids=["minute", "at a time"],
)
async def test_who_says_how_long_it_waits_is_not_kept_longer(
    upstream: Upstream, serve: Serve, more: dict[str, int], status: int, least: int, most: int
) -> None:
    """The queue would keep it for a minute; its own deadline is half a second."""
    upstream.script("m", HANGS, QUICK)
    server = await serve(one(upstream, **more, queue_s=60))
    first = asyncio.create_task(server.ask(model="a/m"))
    await asyncio.to_thread(upstream.wait_asked, "m")
    reply = await server.ask({"x-modelport-timeout-s": "0.5"}, model="a/m", user="x")
    first.cancel()

    assert (reply.status, reply.error["code"]) == (status, "provider_limit")
    assert least <= int(reply.headers["retry-after"]) <= most
    assert len(upstream.asked("m")) == 1
