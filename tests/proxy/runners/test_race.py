"""Racing at the door: who is asked when, who wins, what becomes of the loser."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import aiohttp
import pytest

from routing.hedging import ENOUGH
from storage.budgets import Budget
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, Served, failing, provider, route, says, streams
from tests.replay import Answer, Upstream

COST = 10 * 1_000 + 5 * 2_000
"""Of one whole answer, in nano-dollars."""
SOON = "race = { delay_ms = 40, max_extra = 1.0 }"
NEVER = "race = { delay_ms = 60000 }"
HANGS = Answer(hang=True)


async def _racing(serve: Serve, upstream: Upstream, more: str = SOON) -> Served:
    return await serve(
        provider("one", upstream),
        provider("two", upstream),
        provider("three", upstream),
        route("fast", "one/a", "two/b", "three/c", more=f'policy = "race"\n{more}'),
        QUICK,
    )


def _usd(nanousd: int) -> str:
    return f"{nanousd / 1e9:.9f}"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_target_that_is_in_time_is_asked_alone(serve: Serve, upstream: Upstream, *, stream: bool) -> None:
    upstream.script("a", streams() if stream else says())
    server = await _racing(serve, upstream, NEVER)
    reply = await server.ask(model="fast", stream=stream)
    row = await server.row(reply.id)

    assert (reply.status, reply.text, reply.headers["x-modelport-target"]) == (200, "Hello there", "one/a")
    assert [(made["provider"], made["status"]) for made in row["attempts"]] == [("one", "ok")]
    assert upstream.asked("b") == []


@pytest.mark.parametrize("stream", [False, True])
async def test_the_second_target_wins_where_the_first_is_late(
    serve: Serve, upstream: Upstream, *, stream: bool
) -> None:
    """The late one is cancelled at its server, and booked as aborted with its input as an estimate."""
    upstream.script("a", Answer(hang=True))
    upstream.script("b", streams("from", " b") if stream else says("from b"))
    server = await _racing(serve, upstream)
    reply = await server.ask(model="fast", stream=stream)
    row = await server.row(reply.id)
    late, winner = row["attempts"]

    assert (reply.status, reply.text, reply.headers["x-modelport-target"]) == (200, "from b", "two/b")
    assert reply.headers["x-modelport-attempts"] == "2"
    assert upstream.asked("a")[0].wait_left(5)
    assert (late["provider"], late["status"], late["output_tokens"], late["estimated"]) == ("one", "aborted", 0, True)
    assert late["input_tokens"] > 0
    assert (winner["provider"], winner["status"], winner["cost_usd"]) == ("two", "ok", _usd(COST))
    assert (row["status"], row["target"]) == ("ok", "two/b")
    assert row["cost_usd"] == _usd(COST + late["input_tokens"] * 1_000)
    assert upstream.asked("c") == []


async def test_the_first_target_may_still_win_after_the_second_was_asked(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", replace(says("from a"), delay_head_s=0.3))
    upstream.script("b", Answer(hang=True))
    server = await _racing(serve, upstream)
    reply = await server.ask(model="fast")
    row = await server.row(reply.id)

    assert (reply.text, reply.headers["x-modelport-attempts"]) == ("from a", "2")
    assert [made["status"] for made in row["attempts"]] == ["ok", "aborted"]
    assert upstream.asked("b")[0].wait_left(5)


async def test_a_stream_that_has_begun_wins_and_the_other_is_cut(serve: Serve, upstream: Upstream) -> None:
    """What counts is the first content, not the head of an answer."""
    upstream.script("a", replace(streams("too", " late"), delay_body_s=30.0))
    upstream.script("b", streams("from", " b"))
    server = await _racing(serve, upstream)
    reply = await server.ask(model="fast", stream=True)

    assert (reply.text, reply.done) == ("from b", True)
    assert reply.receipt["race"]["late"] == "one/a"
    assert upstream.asked("a")[0].wait_left(5)


@pytest.mark.parametrize("status", [500, 429])
async def test_a_target_that_fails_is_followed_at_once(serve: Serve, upstream: Upstream, status: int) -> None:
    upstream.script("a", failing(status))
    upstream.script("b", says("from b"))
    server = await _racing(serve, upstream, NEVER)
    reply = await server.ask(model="fast")
    row = await server.row(reply.id)

    assert (reply.status, reply.text) == (200, "from b")
    assert [(made["status"], made["http_status"]) for made in row["attempts"]] == [("failed", status), ("ok", 200)]


async def test_the_late_target_still_answers_when_the_second_fails(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", replace(says("from a"), delay_head_s=0.3))
    upstream.script("b", failing(500))
    server = await _racing(serve, upstream)
    reply = await server.ask(model="fast")

    assert (reply.status, reply.text) == (200, "from a")
    assert upstream.asked("c") == []


async def test_what_the_second_target_refuses_does_not_end_the_race(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", replace(says("from a"), delay_head_s=0.3))
    upstream.script("b", failing(400, "unknown field"))
    server = await _racing(serve, upstream)
    reply = await server.ask(model="fast")

    assert (reply.status, reply.text) == (200, "from a")


async def test_what_the_first_target_finds_wrong_with_the_request_is_the_answer(
    serve: Serve, upstream: Upstream
) -> None:
    upstream.script("a", failing(400, "no such thing"))
    server = await _racing(serve, upstream)
    reply = await server.ask(model="fast")

    assert reply.status == 400
    assert "no such thing" in reply.error["message"]
    assert upstream.asked("b") == []


async def test_a_race_that_nobody_wins_names_everybody(serve: Serve, upstream: Upstream) -> None:
    for model in ("a", "b", "c"):
        upstream.script(model, failing(500))
    server = await _racing(serve, upstream)
    reply = await server.ask(model="fast")
    row = await server.row(reply.id)

    assert (reply.status, reply.headers["x-should-retry"]) == (502, "false")
    assert all(name in reply.error["message"] for name in ("one/a", "two/b", "three/c"))
    assert row["status"] == "failed"
    assert {made["status"] for made in row["attempts"]} == {"failed"}


async def test_hedges_are_paid_from_what_requests_have_earned(serve: Serve, upstream: Upstream) -> None:
    """The first one is free; each request earns a tenth of another."""
    upstream.script("a", replace(says("from a"), delay_head_s=0.08))
    upstream.script("b", says("from b"))
    server = await _racing(serve, upstream, "race = { delay_ms = 5, max_extra = 0.1 }")
    for _ in range(12):
        assert (await server.ask(model="fast")).status == 200

    assert len(upstream.asked("b")) == 2


async def test_each_attempt_of_a_race_reserves_its_own(serve: Serve, upstream: Upstream) -> None:
    """With room for one attempt only the second target is not asked, and the late one answers."""
    upstream.script("a", replace(says("from a"), delay_head_s=0.3))
    upstream.script("b", says("from b"))
    server = await _racing(serve, upstream)
    await server.services.budgets.put(Budget("b", "provider", 1, "two", window="total"))
    await server.services.renew_budgets()
    reply = await server.ask(model="fast", max_tokens=5)
    row = await server.row(reply.id)

    assert (reply.status, reply.text) == (200, "from a")
    assert [(made["provider"], made["status"]) for made in row["attempts"]] == [("one", "ok")]
    assert upstream.asked("b") == []


async def test_a_client_that_leaves_ends_both(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", Answer(hang=True))
    upstream.script("b", Answer(hang=True))
    server = await _racing(serve, upstream)
    asking = asyncio.ensure_future(server.ask(model="fast"))
    await asyncio.to_thread(upstream.wait_asked, "b")
    asking.cancel()
    with pytest.raises((asyncio.CancelledError, aiohttp.ClientError)):
        await asking

    assert await asyncio.to_thread(upstream.asked("a")[0].wait_left, 5)
    assert await asyncio.to_thread(upstream.asked("b")[0].wait_left, 5)
    while not (rows := await server.rows()) or rows[0]["status"] == "open":
        await asyncio.sleep(0.01)
    row = await server.row(rows[0]["id"])
    assert row["status"] == "aborted"
    assert [made["status"] for made in row["attempts"]] == ["aborted", "aborted"]


async def test_the_loser_gives_its_place_free_at_once(serve: Serve, upstream: Upstream) -> None:
    """Its provider takes the next request while the winner's stream is still running."""
    upstream.script("a", Answer(hang=True))
    upstream.script("b", streams("from", " b", hold_at=400))
    upstream.script("other", says("free"))
    server = await serve(
        provider("one", upstream, more="limits = { concurrent = 1, queue = 0 }"),
        provider("two", upstream),
        route("fast", "one/a", "two/b", more=f'policy = "race"\n{SOON}'),
        QUICK,
    )
    async with server.asking(model="fast", stream=True) as reply:
        await reply.content.readany()
        other = await server.ask(model="one/other")
        upstream.asked("b")[0].release()
        await reply.read()

    assert (other.status, other.text) == (200, "free")


async def test_embeddings_of_a_racing_route_fail_over(serve: Serve, upstream: Upstream) -> None:
    """Only answers are raced for; whatever else a route is asked goes along its chain."""
    vector = {"object": "list", "model": "b", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    upstream.script("a", failing(500))
    upstream.script("b", Answer.json({**vector, "usage": {"prompt_tokens": 1, "total_tokens": 1}}))
    server = await _racing(serve, upstream)
    body = b'{"model": "fast", "input": "x"}'
    reply = await server.request("POST", "/v1/embeddings", body)

    assert (reply.status, reply.headers["x-modelport-target"]) == (200, "two/b")


# --- what is learnt of those that are not waited for --------------------------------------------------------


async def _fastest(server: Served) -> str:
    """The target that the policy `latency` would ask first."""
    body = {"model": "fast", "messages": [{"role": "user", "content": "Say hello"}], "modelport": {"policy": "latency"}}
    reply = await server.request("POST", "/api/v1/routes/fast/explain", json.dumps(body).encode())
    first: str = reply.json["candidates"][0]["target"]
    return first


async def _duel(serve: Serve, upstream: Upstream) -> Served:
    """`one/a` has answered at once and hangs from now on, `two/b` takes its time."""
    upstream.script("a", says(), HANGS)
    upstream.script("b", replace(says("from b"), delay_head_s=0.1))
    server = await serve(
        provider("one", upstream),
        provider("two", upstream),
        route("fast", "one/a", "two/b", more='policy = "race"\nrace = { delay_ms = 300, max_extra = 1.0 }'),
        QUICK,
    )
    for target in ("one/a", "two/b"):
        assert (await server.ask(model=target)).status == 200
    assert await _fastest(server) == "one/a"
    return server


async def test_who_loses_races_does_not_look_fast(serve: Serve, upstream: Upstream) -> None:
    """Its row says how long it was waited for, and a restart knows it as well."""
    server = await _duel(serve, upstream)
    await server.row((await server.ask(model="fast")).id)
    assert await _fastest(server) == "two/b"
    await server.services.db.close()

    again = await serve(
        provider("one", upstream), provider("two", upstream), route("fast", "one/a", "two/b", more='policy = "race"')
    )
    assert await _fastest(again) == "two/b"


async def test_whom_clients_do_not_wait_for_does_not_look_fast(serve: Serve, upstream: Upstream) -> None:
    server = await _duel(serve, upstream)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(server.ask(model="one/a", user="impatient"), 0.8)
    while (await server.rows())[-1]["status"] == "open":
        await asyncio.sleep(0.01)

    assert await _fastest(server) == "two/b"
    aborted = await server.row((await server.rows())[-1]["id"])
    assert (aborted["status"], aborted["attempts"][0]["status"]) == ("aborted", "aborted")


async def test_an_outage_is_not_made_worse_by_races(serve: Serve, upstream: Upstream) -> None:
    """Of ten requests that all targets fail, few are passed on to targets that fail, too."""
    for model in ("a", "b", "c"):
        upstream.script(model, failing(500))
    server = await serve(
        provider("one", upstream),
        provider("two", upstream),
        provider("three", upstream),
        route("fast", "one/a", "two/b", "three/c", more=f'policy = "race"\n{NEVER}'),
        QUICK,
        "[breaker]\nfailures = 1000",
    )
    for number in range(10):
        assert (await server.ask(model="fast", user=str(number))).status == 502
    calls = [len(upstream.asked(model)) for model in ("a", "b", "c")]

    assert sum(calls) <= 10 + 2 * 2 + 3


async def test_a_target_that_runs_into_its_timeout_is_known_as_slow(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", HANGS)
    upstream.script("b", says())
    clocks = "timeouts = { connect_s = 2, first_event_s = 0.3, idle_s = 1, whole_answer_s = 0.3 }"
    server = await serve(
        provider("one", upstream, more=clocks),
        provider("two", upstream),
        route("fast", "one/a", "two/b", more=f'policy = "race"\n{NEVER}'),
        QUICK,
    )
    hedging = server.services.hedging
    for _ in range(ENOUGH):
        hedging.came("one/a", 5.0, stream=False)
    before = hedging.late_after_ms("one/a", stream=False, share=0.0)
    for number in range(2):
        assert (await server.ask(model="fast", user=str(number))).text == "Hello there"

    assert before == 5.0
    assert (hedging.late_after_ms("one/a", stream=False, share=0.0) or 0) >= 300
