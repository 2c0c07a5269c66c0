"""What /metrics and /health tell of routing: races, rounds, resumed streams, queues, retries, outliers, probes."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from proxy.probing import _probe
from tests.proxy.conftest import Serve
from tests.proxy.runners.asking import FORMAT, agreeing, town
from tests.proxy.serving import QUICK, Served, failing, provider, route, says, streams
from tests.proxy.test_metrics import samples
from tests.proxy.test_resuming import cut, two
from tests.replay import Answer, Upstream

HANGS = Answer(hang=True)


async def scraped(server: Served, prefix: str) -> dict[str, float]:
    """What stands in /metrics of one family, as `family{labels}` without the family, but for zeros."""
    found = samples(await server.get("/metrics"))
    return {
        "{" + ",".join(f"{name}={value}" for name, value in labels) + "}": value
        for (name, labels), value in found.items()
        if name == prefix and value
    }


async def routing(server: Served) -> dict[str, Any]:
    told: dict[str, Any] = (await server.get("/health")).json["routing"]
    return told


# --- races -----------------------------------------------------------------------------------------------


def fast(upstream: Upstream, more: str) -> tuple[str, ...]:
    """A race between `one/a` and `two/b`."""
    return (
        QUICK,
        provider("one", upstream),
        provider("two", upstream),
        route("fast", "one/a", "two/b", more=f'policy = "race"\n{more}'),
    )


async def test_a_hedge_that_wins_is_counted_with_what_the_loser_cost(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", HANGS)
    upstream.script("b", says())
    server = await serve(*fast(upstream, "race = { delay_ms = 20, max_extra = 1.0 }"))
    row = await server.row((await server.ask(model="fast")).id)
    lost = float(row["attempts"][0]["cost_usd"])

    assert lost > 0
    assert await routing(server) | {"retries": None} == {
        "retries": None,
        "races": [
            {
                "route": "fast",
                "races": 1,
                "hedged": 1,
                "unpaid": 0,
                "won_by_second": 1,
                "cancelled": 1,
                "extra_usd": row["attempts"][0]["cost_usd"],
                "extra_unpriced": 0,
            }
        ],
        "rounds": [],
        "resumed": [],
    }
    for family in ("races", "hedges", "hedges_won", "race_calls_cancelled"):
        assert await scraped(server, f"modelport_{family}_total") == {"{route=fast}": 1}
    assert await scraped(server, "modelport_race_extra_cost_usd_total") == {"{route=fast}": pytest.approx(lost)}
    assert await scraped(server, "modelport_hedges_unpaid_total") == {}


async def test_a_hedge_that_loses_wins_nothing_and_one_that_is_not_earned_is_not_made(
    serve: Serve, upstream: Upstream
) -> None:
    upstream.script("a", replace(says(), delay_head_s=0.2))
    upstream.script("b", HANGS)
    server = await serve(*fast(upstream, "race = { delay_ms = 5, max_extra = 0.0 }"))
    for number in range(2):
        await server.ask(model="fast", user=str(number))
    (told,) = (await routing(server))["races"]

    assert (told["races"], told["hedged"], told["unpaid"]) == (2, 1, 1)
    assert (told["won_by_second"], told["cancelled"]) == (0, 1)
    assert await scraped(server, "modelport_hedges_unpaid_total") == {"{route=fast}": 1}


async def test_a_target_that_stands_in_for_one_that_failed_is_no_hedge(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", failing(500))
    upstream.script("b", says())
    server = await serve(*fast(upstream, "race = { delay_ms = 60000 }"))
    await server.ask(model="fast")
    told = await routing(server)

    assert [(one["hedged"], one["won_by_second"], one["cancelled"]) for one in told["races"]] == [(0, 0, 0)]
    assert told["retries"]["handed_over"] == 1


async def test_names_that_clients_make_up_are_counted_as_one(serve: Serve, upstream: Upstream) -> None:
    upstream.script("canary", says())
    upstream.script("bird", says())
    server = await serve(QUICK, provider("one", upstream), provider("two", upstream))
    chain = {"model": "one/canary", "models": ["one/canary", "two/bird"]}
    for policy in ("race", "consensus"):
        assert (await server.ask({"x-modelport-policy": policy}, **chain)).status == 200

    assert await scraped(server, "modelport_races_total") == {"{route=(other)}": 1}
    assert list(await scraped(server, "modelport_consensus_rounds_total")) == [
        "{outcome=unanimous,policy=consensus,route=(other)}"
    ]
    assert not re.search("canary|bird", (await server.get("/metrics")).body.decode())


# --- several targets -------------------------------------------------------------------------------------

SAID = {"bonn": town(), "other": town("Oslo", 7, None), "fails": failing(500), "prose": says("I do not know.")}


@pytest.mark.parametrize(
    ("says_", "more", "outcome", "calls", "missed"),
    [
        (("bonn", "bonn", "bonn"), "", "unanimous", {"answered": 3}, 0),
        (("bonn", "bonn", "other"), "", "agreed", {"answered": 3}, 0),
        (("bonn", "bonn", "fails"), "", "unanimous", {"answered": 2, "failed": 1}, 0),
        (("bonn", "fails", "bonn"), "consensus = { quorum = 3 }", "unanimous", {"answered": 2, "failed": 1}, 1),
        (("bonn", "fails", "fails"), "", "single", {"answered": 1, "failed": 2}, 1),
        (("fails", "fails", "fails"), "", "nobody", {"failed": 3}, 1),
    ],
)
async def test_rounds_are_counted_by_what_came_of_them(
    serve: Serve,
    upstream: Upstream,
    says_: tuple[str, ...],
    more: str,
    outcome: str,
    calls: dict[str, int],
    missed: int,
) -> None:
    for model, said in zip("abc", says_, strict=True):
        upstream.script(model, SAID[said])
    server = await agreeing(serve, upstream, more=more)
    await server.ask(model="town", response_format=FORMAT)
    (told,) = (await routing(server))["rounds"]

    assert (told["rounds"], told["outcomes"], told["calls"], told["quorum_missed"]) == (1, {outcome: 1}, calls, missed)
    assert (told["route"], told["policy"], told["asked"]) == ("town", "consensus", 3)
    labels = "policy=consensus,route=town"
    assert await scraped(server, "modelport_consensus_rounds_total") == {f"{{outcome={outcome},{labels}}}": 1}
    assert await scraped(server, "modelport_consensus_calls_total") == {
        f"{{fate={fate},{labels}}}": count for fate, count in calls.items()
    }
    assert await scraped(server, "modelport_consensus_quorum_missed_total") == ({f"{{{labels}}}": 1} if missed else {})


async def test_best_match_is_counted_by_itself_and_who_is_not_waited_for_is_given_up(
    serve: Serve, upstream: Upstream
) -> None:
    upstream.script("a", town())
    upstream.script("b", town())
    upstream.script("c", HANGS)
    server = await agreeing(serve, upstream, policy="best_match", more="consensus = { quorum = 2 }")
    await server.ask(model="town", response_format=FORMAT)

    assert await scraped(server, "modelport_consensus_calls_total") == {
        "{fate=answered,policy=best_match,route=town}": 2,
        "{fate=given up,policy=best_match,route=town}": 1,
    }


async def test_a_field_that_is_left_open_is_counted(serve: Serve, upstream: Upstream) -> None:
    """Two mayors with the same support, and a schema that allows none."""
    upstream.script("a", town(mayor="Dörner"))
    upstream.script("b", town(mayor="Schmitz"))
    upstream.script("c", failing(500))
    server = await agreeing(serve, upstream, more='consensus = { method = "majority" }')
    reply = await server.ask(model="town", response_format=FORMAT)
    (told,) = (await routing(server))["rounds"]

    assert '"mayor":null' in reply.text.replace(" ", "")
    assert told["abstained"] == 1


# --- streams that break off ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "outcome"), [(streams(" of Norway."), "went_on"), (failing(500), "nobody")], ids=["went_on", "nobody"]
)
async def test_broken_streams_are_counted_by_whether_somebody_went_on(
    serve: Serve, upstream: Upstream, rest: Answer, outcome: str
) -> None:
    upstream.script("m1", cut("Oslo is ", "the capital"), failing(500))
    upstream.script("m2", rest)
    server = await serve(QUICK, *two(upstream, "resume = true"))
    await server.ask(model="patched", stream=True)

    assert (await routing(server))["resumed"] == [{"route": "patched", "outcome": outcome, "streams": 1}]
    assert await scraped(server, "modelport_broken_streams_total") == {f"{{outcome={outcome},route=patched}}": 1}


# --- queues ----------------------------------------------------------------------------------------------


async def queue_of(server: Served) -> dict[str, Any]:
    (entry,) = [each for each in (await server.get("/health")).json["providers"] if each["name"] == "a"]
    queue: dict[str, Any] = entry["queue"]
    return queue


async def test_who_waits_is_served_or_refused_is_seen(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says(), Answer.json(says().body, hold_at=0), says())
    limits = "limits = { concurrent = 1, queue = 1, queue_s = 30 }"
    server = await serve(QUICK, provider("a", upstream, more=limits), provider("b", upstream))
    await server.ask(model="a/m")
    assert await queue_of(server) == {
        "waiting": 0,
        "served": 0,
        "waited_s": 0.0,
        "left": 0,
        "refused": {},
        "room": {"concurrent": 1},
    }
    first = asyncio.create_task(server.ask(model="a/m", user="1"))
    asked = await asyncio.to_thread(upstream.wait_asked, "m", 2)
    second = asyncio.create_task(server.ask(model="a/m", user="2"))
    while not (now := await queue_of(server))["waiting"]:
        await asyncio.sleep(0.01)
    assert now["room"] == {"concurrent": 0}
    assert await scraped(server, "modelport_queue_waiting") == {"{provider=a}": 1}
    assert (await server.ask(model="a/m", user="3")).status == 503
    asked.release()
    assert [(await task).status for task in (first, second)] == [200, 200]
    then = await queue_of(server)

    assert (then["waiting"], then["served"], then["refused"]) == (0, 1, {"full": 1})
    assert then["waited_s"] > 0
    assert await scraped(server, "modelport_queue_refusals_total") == {"{provider=a,reason=full}": 1}
    assert await scraped(server, "modelport_queue_wait_seconds_count") == {"{provider=a}": 1}


@pytest.mark.parametrize(
    ("limits", "body", "reason"),
    [
        ("requests_per_minute = 1, queue_s = 1", {}, "too_long"),
        ("tokens_per_minute = 3", {"messages": [{"role": "user", "content": "word " * 60}]}, "too_large"),
    ],
)
async def test_who_cannot_be_served_in_time_is_counted_by_the_reason(
    serve: Serve, upstream: Upstream, limits: str, body: dict[str, Any], reason: str
) -> None:
    upstream.script("m", says())
    server = await serve(QUICK, provider("a", upstream, more=f"limits = {{ {limits} }}"))
    replies = [await server.ask(model="a/m", user=str(number), **body) for number in range(2)]

    assert replies[-1].status == 429
    assert set((await queue_of(server))["refused"]) == {reason}


async def test_a_client_that_leaves_the_queue_is_counted(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", HANGS)
    server = await serve(QUICK, provider("a", upstream, more="limits = { concurrent = 1 }"))
    first = asyncio.create_task(server.ask(model="a/m", user="1"))
    await asyncio.to_thread(upstream.wait_asked, "m")
    second = asyncio.create_task(server.ask(model="a/m", user="2"))
    while not (await queue_of(server))["waiting"]:
        await asyncio.sleep(0.01)
    second.cancel()
    while (now := await queue_of(server))["waiting"]:
        await asyncio.sleep(0.01)
    first.cancel()

    assert (now["left"], now["served"], now["refused"]) == (1, 0, {})


# --- the rest --------------------------------------------------------------------------------------------


async def test_retries_are_counted_and_what_is_left_of_their_budget(serve: Serve, upstream: Upstream) -> None:
    """Of five requests to a server that always fails three are asked again."""
    upstream.script("m", failing(500))
    server = await serve(
        "[retry]\nattempts = 2\nbackoff_s = 0\n[breaker]\nfailures = 100",
        provider("a", upstream, more='models = ["m"]'),
    )
    for number in range(5):
        await server.ask(model="a/m", user=str(number))

    assert (await routing(server))["retries"] == {
        "made": 3,
        "handed_over": 0,
        "denied": 2,
        "left": 0,
        "strained": True,
    }
    assert await scraped(server, "modelport_second_tries_total") == {"{kind=retry}": 3, "{kind=denied}": 2}
    assert len(upstream.asked("m")) == 8


async def test_a_model_that_is_ejected_is_named_with_the_reason(serve: Serve, upstream: Upstream) -> None:
    for model in ("m1", "m2"):
        upstream.script(model, failing(500) if model == "m1" else says())
    server = await serve(QUICK, "[breaker]\nfailures = 100", *two(upstream))
    for number in range(12):
        await server.ask(model="patched", user=str(number))
    entry = (await server.get("/health")).json["providers"][0]

    assert entry["ejections"] == 1
    assert [(one["model"], 0 < one["for_s"] <= 30) for one in entry["ejected"]] == [("m1", True)]
    assert "of its attempts fail" in entry["ejected"][0]["why"]
    assert await scraped(server, "modelport_models_ejected") == {"{provider=a}": 1}
    assert await scraped(server, "modelport_ejections_total") == {"{provider=a}": 1}


async def test_probes_are_counted_by_whether_they_were_answered(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says(), failing(500))
    server = await serve(provider("a", upstream, more='models = ["m"]\nprobe_interval_s = 3600'))
    for _ in range(2):
        await _probe(server.services, [server.services.setup.specs["a"]])

    assert await scraped(server, "modelport_probes_total") == {
        "{outcome=failed,provider=a}": 1,
        "{outcome=ok,provider=a}": 1,
    }


async def test_health_tells_calls_tokens_and_cost_of_each_provider_and_the_average(
    serve: Serve, upstream: Upstream
) -> None:
    """Three requests, of which one needed two calls."""
    upstream.script("a", says(), failing(500), says())
    upstream.script("b", says())
    server = await serve(QUICK, provider("one", upstream), provider("two", upstream), route("r", "one/a", "two/b"))
    for number in range(3):
        await server.ask(model="r", user=str(number))
    told = (await server.get("/health")).json
    names = ("calls", "input_tokens", "output_tokens", "cost_usd", "unpriced_calls")

    assert [[entry[name] for name in names] for entry in told["providers"][:2]] == [
        [3, 20, 10, "0.000040000", 0],
        [1, 10, 5, "0.000020000", 0],
    ]
    assert told["spent"] == {"exchanges": 3, "cost_usd": "0.000060000", "average_usd": "0.000020000"}
    assert samples(await server.get("/metrics"))["modelport_exchanges_total", ()] == 3
