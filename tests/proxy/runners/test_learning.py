"""What routes learn of their targets, and what callers' verdicts teach them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.runners.asking import FORMAT, TOOL, agreeing, calls, town
from tests.proxy.serving import Reply, Served, says, serving
from tests.replay import Answer, Asked, Upstream

WRONG = "Born"


async def _tell(server: Served, exchange_id: str, **said: Any) -> Reply:
    body = json.dumps({"exchange_id": exchange_id, **said}).encode()
    return await server.request("POST", "/api/v1/feedback", body)


async def _reliability(server: Served) -> dict[str, float]:
    await server.services.drain()
    learned = await server.services.lessons.learned("town")
    return {target: learned.reliability.of(target) for target in ("one/a", "two/b", "three/c")}


def _mostly_wrong(good: int, bad: int) -> Callable[[Asked], Answer]:
    """In so many questions it says what the others do not."""
    asked = 0

    def answer(_asked: Asked) -> Answer:
        nonlocal asked
        asked += 1
        return town() if asked % (good + bad) < good else town(city=f"Town {asked}", people=asked, mayor=None)

    return answer


async def test_a_route_learns_from_agreement_whom_to_believe(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", _mostly_wrong(1, 5))
    upstream.script("b", town())
    upstream.script("c", town())
    server = await agreeing(serve, upstream)
    for _ in range(12):
        await server.ask(model="town", response_format=FORMAT)
    found = await _reliability(server)

    assert found["one/a"] < min(found["two/b"], found["three/c"]) - 0.2


async def test_verdicts_turn_a_majority_over(serve: Serve, upstream: Upstream) -> None:
    """Two targets are wrong in the same way; told so often enough, the route believes the third."""
    upstream.script("a", town())
    upstream.script("b", town(city=WRONG))
    upstream.script("c", town(city=WRONG))
    server = await agreeing(serve, upstream)
    first = await server.ask(model="town", response_format=FORMAT)
    for _ in range(30):
        reply = await server.ask(model="town", response_format=FORMAT)
        told = await _tell(server, reply.id, fields={"city": "Bonn"})
        assert (told.status, told.json["kind"], told.json["learnt"]) == (200, "consensus", True)
        await server.services.drain()
    last = await server.ask(model="town", response_format=FORMAT)

    assert json.loads(first.text)["city"] == WRONG
    assert json.loads(last.text)["city"] == "Bonn"
    assert (await _reliability(server))["one/a"] > 0.8


async def test_verdicts_teach_how_a_value_is_written(serve: Serve, upstream: Upstream) -> None:
    """Two targets write it in capitals; the caller's right answer has it as the third one writes it."""
    upstream.script("a", town(city="BONN"))
    upstream.script("b", town(city="BONN"))
    upstream.script("c", town())
    server = await agreeing(serve, upstream)
    first = await server.ask(model="town", response_format=FORMAT)
    for _ in range(16):
        reply = await server.ask(model="town", response_format=FORMAT)
        await _tell(server, reply.id, value={**json.loads(reply.text), "city": "Bonn"})
        await server.services.drain()
    last = await server.ask(model="town", response_format=FORMAT)

    assert [json.loads(reply.text)["city"] for reply in (first, last)] == ["BONN", "Bonn"]
    assert min((await _reliability(server)).values()) > 0.8


async def test_what_was_learnt_survives_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script("a", _mostly_wrong(1, 5))
    upstream.script("b", town())
    upstream.script("c", town())
    names = ("one", "two", "three")
    config = "\n".join(
        [
            *(
                f'[providers.{name}]\ndialect = "openai_chat"\nbase_url = "{upstream.url}/v1"\nkeys = ["k-0123456789"]'
                for name in names
            ),
            '[routes.town]\npolicy = "consensus"\ntargets = ["one/a", "two/b", "three/c"]',
        ]
    )
    async with serving(tmp_path, config) as server:
        for _ in range(8):
            await server.ask(model="town", response_format=FORMAT)
        before = await _reliability(server)
    async with serving(tmp_path, config) as server:
        after = await _reliability(server)

    assert after == pytest.approx(before, abs=1e-3)
    assert after["one/a"] < after["two/b"]


@pytest.mark.parametrize(
    "said",
    [
        {"correct": True},
        {"correct": False},
        {"score": 0.9},
        {"value": {"city": "Bonn", "people": 330_000, "mayor": "Dörner"}},
        {"fields": {"people": 330_001}},
        {"target": "two/b", "correct": False},
        {"kind": "consensus", "target": "one/a", "score": 0.1},
    ],
)
async def test_verdicts_in_every_form_are_kept(serve: Serve, upstream: Upstream, said: dict[str, Any]) -> None:
    for model in "abc":
        upstream.script(model, town())
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)
    told = await _tell(server, reply.id, **said)
    (kept,) = await server.services.history.feedback(reply.id)

    assert (told.status, told.json["route"]) == (200, "town")
    assert dict(kept.said) == {name: value for name, value in said.items() if name != "kind"}


@pytest.mark.parametrize(
    ("said", "status", "param"),
    [
        ({}, 400, "correct"),
        ({"correct": "yes"}, 400, "correct"),
        ({"correct": 1}, 400, "correct"),
        ({"score": 2}, 400, "score"),
        ({"score": "0.9"}, 400, "score"),
        ({"score": None}, 400, "correct"),
        ({"fields": {}}, 400, "correct"),
        ({"fields": None}, 400, "correct"),
        ({"kind": "", "correct": True}, 400, "kind"),
        ({"target": "four/d", "correct": True}, 400, "target"),
        ({"fields": {"nowhere": 1}}, 400, "fields"),
        ({"kind": "weather", "correct": True}, 400, "kind"),
        ({"correct": True, "mood": "good"}, 400, "mood"),
    ],
)
async def test_what_is_no_verdict_is_refused(
    serve: Serve, upstream: Upstream, said: dict[str, Any], status: int, param: str
) -> None:
    for model in "abc":
        upstream.script(model, town())
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)
    told = await _tell(server, reply.id, **said)

    assert (told.status, told.error["param"]) == (status, param)
    assert await server.services.history.feedback(reply.id) == []


async def test_a_verdict_on_nothing_is_not_found(serve: Serve, upstream: Upstream) -> None:
    server = await agreeing(serve, upstream)
    told = await _tell(server, "req_0", correct=True)

    assert (told.status, told.error["param"]) == (404, "exchange_id")


async def test_arguments_need_no_tool_before_them(serve: Serve, upstream: Upstream) -> None:
    for model in "abc":
        upstream.script(model, calls({"city": "Bonn", "days": 3}))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", tools=[TOOL])
    told = [
        await _tell(server, reply.id, fields={"days": 4}),
        await _tell(server, reply.id, fields={"weather.days": 4}),
        await _tell(server, reply.id, value={"city": "Bonn", "days": 4}),
    ]

    assert [each.status for each in told] == [200, 200, 200]


async def test_an_answer_of_one_target_has_an_outcome(serve: Serve, upstream: Upstream) -> None:
    """It is kept for whoever learns from outcomes."""
    upstream.script("a", says())
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="one/a")
    told = await _tell(server, reply.id, score=0.75)
    (kept,) = await server.services.history.newest_feedback("outcome")

    assert (told.status, told.json["kind"], told.json["target"]) == (200, "outcome", "one/a")
    assert (kept.exchange_id, dict(kept.said)) == (reply.id, {"score": 0.75})


async def test_a_route_that_keeps_no_answers_cannot_be_taught(serve: Serve, upstream: Upstream) -> None:
    for model in "abc":
        upstream.script(model, town())
    server = await agreeing(serve, upstream, more="consensus = { keep_answers_s = 0 }")
    reply = await server.ask(model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json
    told = await _tell(server, reply.id, kind="consensus", correct=True)

    assert shown["votes"] == []
    assert (told.status, told.error["code"]) == (404, "no_votes")
