"""`auto` as a cascade at the door: two cheap targets agree, or a dear one decides."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.runners.asking import FORMAT, TOOL, calls, town, usd
from tests.proxy.serving import QUICK, Served, failing, provider, route, says
from tests.replay import Answer, Upstream

CHEAP, DEARER, DEAR = 15_000, 30_000, 150_000
"""What one answer of 10 tokens in and 5 out costs at each of the three, in nano-dollars."""
AGREED = "cascade: one/a and two/b are asked first, three/c where they disagree"


async def _cascading(serve: Serve, upstream: Upstream, more: str = "", auto: str = '{ mode = "cascade" }') -> Served:
    """The dear target stands first, and is the best by configuration."""
    priced = [
        provider(name, upstream, more=f'price = {{ input = "{usd}", output = "{usd}" }}')
        for name, usd in (("one", 1), ("two", 2), ("three", 10), ("four", 20))
    ]
    targets = '{ target = "three/c", quality = 0.9 }, "one/a", "two/b", "four/d"'
    section = f'[routes.town]\npolicy = "auto"\ntargets = [{targets}]\nauto = {auto}\n{more}\n'
    return await serve(*priced, section, QUICK)


def _script(upstream: Upstream, **answers: Answer) -> None:
    for model, answer in answers.items():
        upstream.script(model, answer)


@pytest.mark.parametrize(
    ("one", "other", "asked"),
    [
        (town(), town(city="bonn "), {"response_format": FORMAT}),
        (says("42"), says(" 42. "), {}),
        (says("I think the answer is (B)."), says("B"), {}),
        (calls({"city": "Bonn", "days": 3}), calls({"days": 3, "city": "Bonn"}), {"tools": [TOOL]}),
    ],
)
async def test_two_cheap_answers_stand_where_they_agree(
    serve: Serve, upstream: Upstream, one: Answer, other: Answer, asked: dict[str, Any]
) -> None:
    _script(upstream, a=one, b=other)
    server = await _cascading(serve, upstream)
    reply = await server.ask(model="town", **asked)
    row = await server.row(reply.id)
    votes = (await server.get(f"/api/v1/exchanges/{reply.id}")).json["votes"]

    assert reply.status == 200
    assert [(vote["status"], vote.get("why")) for vote in votes[2:]] == [("not asked", "it did not have to decide")] * 2
    assert reply.headers["x-modelport-target"] in {"one/a", "two/b"}
    assert "agreeing=2/2; asked=2" in reply.headers["x-modelport-consensus"]
    assert reply.headers["x-modelport-why"] == AGREED
    assert row["cost_usd"] == usd(CHEAP + DEARER)
    assert (upstream.asked("c"), upstream.asked("d")) == ([], [])


@pytest.mark.parametrize(
    ("cheap", "why"),
    [
        ((town(), town(people=1)), "the targets disagree"),
        ((town(), failing(500)), "a consensus takes two"),
        ((failing(500), failing(500)), "only three/c gave an answer"),
        ((says("no JSON"), says("none")), "three/c was asked"),
    ],
)
async def test_where_they_do_not_agree_the_best_other_one_decides(
    serve: Serve, upstream: Upstream, cheap: tuple[Answer, Answer], why: str
) -> None:
    _script(upstream, a=cheap[0], b=cheap[1], c=town(city="Wien"))
    server = await _cascading(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert json.loads(reply.text)["city"] == "Wien"
    assert reply.headers["x-modelport-target"] == "three/c"
    assert why in shown["consensus"]["reason"]
    assert [vote["target"] for vote in shown["votes"]][:3] == ["one/a", "two/b", "three/c"]
    assert upstream.asked("d") == []


async def test_every_call_is_booked_where_a_third_one_decides(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, a=town(), b=town(people=1), c=town())
    server = await _cascading(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)
    row = await server.row(reply.id)

    assert [(made["provider"], made["status"]) for made in row["attempts"]] == [
        ("one", "ok"),
        ("two", "ok"),
        ("three", "ok"),
    ]
    assert row["cost_usd"] == reply.headers["x-modelport-cost-usd"] == usd(CHEAP + DEARER + DEAR)
    assert reply.json["usage"]["prompt_tokens"] == 30


async def test_the_next_one_decides_where_the_best_fails(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, a=town(), b=town(people=1), c=failing(500), d=town(city="Wien"))
    server = await _cascading(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)

    assert json.loads(reply.text)["city"] == "Wien"
    assert reply.headers["x-modelport-target"] == "four/d"


async def test_what_was_said_stands_where_nobody_can_decide(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, a=town(), b=failing(500), c=failing(500), d=failing(500))
    server = await _cascading(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert json.loads(reply.text)["city"] == "Bonn"
    assert "three/c was asked then and gave no answer" in shown["consensus"]["reason"]
    assert "four/d was asked then and gave no answer" in shown["consensus"]["reason"]


async def test_when_all_fail_the_error_names_every_one(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, **dict.fromkeys("abcd", failing(500)))
    server = await _cascading(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)
    row = await server.row(reply.id)

    assert reply.status == 502
    assert all(name in reply.json["error"]["message"] for name in ("one/a", "two/b", "three/c", "four/d"))
    assert (row["status"], len(row["attempts"])) == ("failed", 4)


async def test_without_one_of_the_two_the_best_is_asked_alone(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, a=failing(500), b=town(), c=town(city="Wien"))
    server = await _cascading(serve, upstream, more="[breaker]\nfailures = 1")
    await server.ask(model="one/a")
    reply = await server.ask(model="town", response_format=FORMAT)

    assert (reply.headers["x-modelport-target"], reply.headers["x-modelport-attempts"]) == ("three/c", "1")
    assert reply.headers["x-modelport-why"].startswith("no cascade: some of its targets cannot be asked now")
    assert upstream.asked("b") == []


async def test_a_stream_hears_comments_until_the_answer_is_known(serve: Serve, upstream: Upstream) -> None:
    slow = replace(town(), delay_head_s=0.3)
    _script(upstream, a=slow, b=slow)
    server = await _cascading(serve, upstream, more="consensus = { keep_alive_s = 0.05 }")
    reply = await server.ask(model="town", response_format=FORMAT, stream=True)

    assert any(frame.startswith(": waiting") for frame in reply.frames)
    assert json.loads(reply.text)["city"] == "Bonn"
    assert reply.receipt["why"] == AGREED
    assert reply.receipt["consensus"]["agreeing"] == 2


async def test_two_targets_are_no_cascade(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, a=says(), b=says())
    section = route("pair", "one/a", "two/b", more='policy = "auto"\nauto = { mode = "cascade" }')
    server = await serve(provider("one", upstream), provider("two", upstream), section, QUICK)
    reply = await server.ask(model="pair")

    assert reply.headers["x-modelport-attempts"] == "1"
    assert "x-modelport-consensus" not in reply.headers
    assert reply.headers["x-modelport-why"].startswith("no cascade: it takes three targets")


async def test_a_target_that_is_named_twice_does_not_agree_with_itself(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, a=town(), b=town(people=1), c=town(city="Wien"))
    priced = [provider(name, upstream) for name in ("one", "two", "three")]
    section = route("twice", "one/a", "one/a", "two/b", "three/c", more='policy = "auto"\nauto = { mode = "cascade" }')
    server = await serve(*priced, section, QUICK)
    reply = await server.ask(model="twice", response_format=FORMAT)

    assert (reply.headers["x-modelport-attempts"], len(upstream.asked("a"))) == ("3", 1)


async def test_explain_says_who_would_be_asked_first(serve: Serve, upstream: Upstream) -> None:
    server = await _cascading(serve, upstream)
    told = (
        await server.request(
            "POST",
            "/api/v1/routes/town/explain",
            json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode(),
        )
    ).json
    reasons = {one["target"]: one["why"] for one in told["candidates"]}

    assert "asked first" in reasons["one/a"]
    assert "asked first" in reasons["two/b"]
    assert "asked first" not in reasons["three/c"]
