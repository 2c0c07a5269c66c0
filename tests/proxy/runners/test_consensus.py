"""Consensus at the door: what several targets say becomes one answer, and the books say how."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from storage.budgets import Budget
from tests.proxy.conftest import Serve
from tests.proxy.runners.asking import COST, FORMAT, TOOL, agreeing, calls, says_json, town, usd
from tests.proxy.serving import completion, failing, provider, route, says
from tests.replay import Answer, Upstream


def _script(upstream: Upstream, *answers: Answer) -> None:
    for model, answer in zip("abc", answers, strict=True):
        upstream.script(model, answer)


# --- answers with structure --------------------------------------------------------------------------


async def test_fields_are_voted_one_by_one(serve: Serve, upstream: Upstream) -> None:
    """Nobody has all of it right; the merged answer has."""
    _script(upstream, town(people=1), town(city="Born"), town(mayor=None))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)
    row = await server.row(reply.id)

    assert json.loads(reply.text) == {"city": "Bonn", "people": 330_000, "mayor": "Dörner"}
    assert "agreeing=0/3; asked=3" in reply.headers["x-modelport-consensus"]
    assert reply.headers["x-modelport-attempts"] == "3"
    assert reply.headers["x-modelport-cost-usd"] == usd(3 * COST)
    assert reply.json["usage"]["prompt_tokens"] == 30
    assert reply.json["usage"]["completion_tokens"] == 15
    assert [made["status"] for made in row["attempts"]] == ["ok", "ok", "ok"]
    assert [made["cost_usd"] for made in row["attempts"]] == [usd(COST)] * 3
    assert (row["status"], row["cost_usd"], row["input_tokens"], row["output_tokens"]) == ("ok", usd(3 * COST), 30, 15)


async def test_the_votes_of_all_are_kept_and_shown(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, town(), town(people=1), failing(500))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json
    votes = {vote["target"]: vote for vote in shown["votes"]}
    people = next(field for field in shown["consensus"]["fields"] if field["path"] == "people")

    assert [(target, vote["status"]) for target, vote in votes.items()] == [
        ("one/a", "answered"),
        ("two/b", "answered"),
        ("three/c", "failed"),
    ]
    assert votes["two/b"]["value"] == {"city": "Bonn", "people": 1, "mayor": "Dörner"}
    assert (votes["one/a"]["cost_usd"], votes["three/c"]["cost_usd"]) == (usd(COST), usd(0))
    assert "500" in votes["three/c"]["why"]
    assert people["votes"] == {"one/a": 330_000, "two/b": 1}
    assert shown["consensus"]["method"] == "em"
    assert sorted(number for vote in shown["votes"] for number in vote["attempts"]) == [1, 2, 3]


async def test_an_answer_without_a_consensus_has_no_votes(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", says())
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="one/a")
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert (shown["votes"], shown["consensus"]) == ([], None)


async def test_arguments_of_a_tool_call_are_merged(serve: Serve, upstream: Upstream) -> None:
    wrong = calls({"city": "Bonn", "days": 7})
    _script(upstream, wrong, calls({"city": "bonn ", "days": 3}), calls({"city": "Bonn", "days": 3}))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", tools=[TOOL])
    choice = reply.json["choices"][0]
    (call,) = choice["message"]["tool_calls"]

    assert choice["finish_reason"] == "tool_calls"
    assert (call["function"]["name"], call["id"]) == ("weather", "call_0")
    assert json.loads(call["function"]["arguments"]) == {"city": "Bonn", "days": 3}


async def test_several_calls_of_a_tool_are_matched_by_content(serve: Serve, upstream: Upstream) -> None:
    bonn, graz = {"city": "Bonn", "days": 3}, {"city": "Graz", "days": 2}
    _script(upstream, calls(bonn, graz), calls(graz, {**bonn, "days": 9}), calls(bonn, {**graz, "days": 1}))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", tools=[TOOL])
    made = [json.loads(call["function"]["arguments"]) for call in reply.json["choices"][0]["message"]["tool_calls"]]

    assert sorted(made, key=lambda call: call["city"]) == [bonn, graz]


async def test_whether_a_tool_is_called_is_voted_first(serve: Serve, upstream: Upstream) -> None:
    call = calls({"city": "Bonn", "days": 3})
    _script(upstream, says("It will rain."), call, call)
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", tools=[TOOL])
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert reply.json["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "weather"
    assert "agreeing=2/3" in reply.headers["x-modelport-consensus"]
    assert "1 of 3 answers are of another form than calls of weather" in shown["consensus"]["reason"]
    assert shown["votes"][0]["value"] == "It will rain."
    assert shown["votes"][0]["agrees"] is False


async def test_nobody_agrees_with_an_abstention(serve: Serve, upstream: Upstream) -> None:
    """Three different mayors come to null, which none of them said."""
    _script(upstream, town(mayor="Dörner"), town(mayor="Sridharan"), town(mayor="Nimptsch"))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert json.loads(reply.text)["mayor"] is None
    assert "agreeing=0/3; asked=3" in reply.headers["x-modelport-consensus"]
    assert [vote["agrees"] for vote in shown["votes"]] == [False, False, False]


async def test_similar_texts_win_a_tie(serve: Serve, upstream: Upstream) -> None:
    """Two spellings of one name stand against another name that was heard first."""
    _script(upstream, town(city="Globex"), town(city="Acme Corporation"), town(city="Acme Corporatoin"))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)

    assert json.loads(reply.text)["city"] == "Acme Corporation"


async def test_a_vote_never_makes_what_the_schema_forbids(serve: Serve, upstream: Upstream) -> None:
    """Field by field the majority would be a circle with sides: then a whole answer that fits is taken."""
    shape = {
        "anyOf": [
            {"type": "object", "properties": {"kind": {"const": "circle"}, "sides": {"const": 0}, "size": {}}},
            {"type": "object", "properties": {"kind": {"const": "square"}, "sides": {"const": 4}, "size": {}}},
            {"type": "object", "properties": {"kind": {"const": "circle"}, "sides": {"const": 1}}},
        ]
    }
    answers = [
        {"kind": "circle", "sides": 0, "size": 1},
        {"kind": "square", "sides": 4, "size": 9},
        {"kind": "circle", "sides": 4, "size": 9},
    ]
    _script(upstream, *(says_json(answer) for answer in answers))
    server = await agreeing(serve, upstream)
    asked = {"type": "json_schema", "json_schema": {"name": "shape", "schema": shape, "strict": True}}
    reply = await server.ask(model="town", response_format=asked)

    assert json.loads(reply.text) in answers[:2]


# --- plain answers -----------------------------------------------------------------------------------


async def test_short_answers_are_counted(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, says("The answer is 41."), says("So many of them: **42**\n\nThe answer is 42."), says("42"))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town")

    assert reply.text in {"So many of them: **42**\n\nThe answer is 42.", "42"}
    assert "agreeing=2/3" in reply.headers["x-modelport-consensus"]


LONG = (
    "Rain falls when warm and moist air rises over the hills and cools until its vapour condenses.",
    "Bread rises because yeast makes gas out of sugar, and the dough holds the bubbles in its gluten net.",
    "When warm moist air rises over hills it cools, its vapour condenses into drops, and rain falls.",
)


async def test_of_long_answers_the_one_most_like_the_others_is_taken(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, *(says(text) for text in LONG))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town")

    assert reply.text in {LONG[0], LONG[2]}
    assert reply.headers["x-modelport-consensus"].startswith("method=similar")
    assert reply.headers["x-modelport-target"] in {"one/a", "three/c"}


def _judge(asked: Any) -> Answer:
    """Wants the bread, wherever it stands."""
    shown = asked.json["messages"][-1]["content"]
    places = [shown.index(f"<answer number={at}>") for at in (1, 2, 3)]
    bread = sum(place < shown.index("Bread") for place in places)
    return says(f"I think it is {bread}")


async def test_a_judge_chooses_between_long_answers(serve: Serve, upstream: Upstream) -> None:
    """Its call is an attempt of the same exchange, and paid with it."""
    _script(upstream, *(says(text) for text in LONG))
    upstream.script("j", _judge)
    server = await agreeing(serve, upstream, more='consensus = { judge = "one/j" }')
    reply = await server.ask(model="town")
    row = await server.row(reply.id)

    assert reply.text == LONG[1]
    assert reply.headers["x-modelport-consensus"].startswith("method=judge")
    assert [made["model"] for made in row["attempts"]] == ["a", "b", "c", "j"]
    assert row["cost_usd"] == usd(4 * COST)
    assert reply.json["usage"]["prompt_tokens"] == 40


@pytest.mark.parametrize("said", [failing(500), says("none of them"), says("7")])
async def test_a_judge_that_gives_no_verdict_is_done_without(serve: Serve, upstream: Upstream, said: Answer) -> None:
    _script(upstream, *(says(text) for text in LONG))
    upstream.script("j", said)
    server = await agreeing(serve, upstream, more='consensus = { judge = "one/j" }')
    reply = await server.ask(model="town")
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert reply.text in {LONG[0], LONG[2]}
    assert "the judge one/j" in shown["consensus"]["reason"]


async def test_refusals_are_an_answer_too(serve: Serve, upstream: Upstream) -> None:
    no = Answer.json(completion(None, refusal="I cannot help with that."))
    _script(upstream, no, says("Sure, here you go, step by step."), no)
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town")

    assert reply.json["choices"][0]["message"]["refusal"] == "I cannot help with that."


# --- who is waited for -------------------------------------------------------------------------------


async def test_with_a_quorum_the_last_one_is_given_up(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, town(), Answer(hang=True), town())
    server = await agreeing(serve, upstream, more="consensus = { quorum = 2 }")
    reply = await server.ask(model="town", response_format=FORMAT)
    row = await server.row(reply.id)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json
    by_model = {made["model"]: made for made in row["attempts"]}

    assert json.loads(reply.text)["city"] == "Bonn"
    assert upstream.asked("b")[0].wait_left(5)
    assert {model: made["status"] for model, made in by_model.items()} == {"a": "ok", "b": "aborted", "c": "ok"}
    assert by_model["b"]["input_tokens"] > 0
    assert row["cost_usd"] == usd(2 * COST + by_model["b"]["input_tokens"] * 1_000)
    assert reply.json["usage"]["prompt_tokens"] == 20 + by_model["b"]["input_tokens"]
    assert shown["votes"][1]["why"] == "the quorum was reached without it"


async def test_a_malformed_answer_does_not_fill_the_quorum(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, says('{"city": '), town(), replace(town(), delay_head_s=0.2))
    server = await agreeing(serve, upstream, more="consensus = { quorum = 2 }")
    reply = await server.ask(model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert "agreeing=2/2" in reply.headers["x-modelport-consensus"]
    assert [vote["status"] for vote in shown["votes"]] == ["unreadable", "answered", "answered"]
    assert "no JSON" in shown["votes"][0]["why"]


async def test_after_the_deadline_goes_what_there_is(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, Answer(hang=True), town(), Answer(hang=True))
    server = await agreeing(serve, upstream, more="consensus = { deadline_s = 0.3 }")
    reply = await server.ask(model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert json.loads(reply.text)["city"] == "Bonn"
    assert reply.headers["x-modelport-consensus"].startswith("method=single")
    assert shown["consensus"]["reason"].startswith("of 3 targets only two/b gave an answer that can be read")
    assert [vote["status"] for vote in shown["votes"]] == ["given up", "answered", "given up"]


async def test_nobody_before_the_deadline_is_a_timeout(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, Answer(hang=True), failing(500), Answer(hang=True))
    server = await agreeing(serve, upstream, more="consensus = { deadline_s = 0.3 }")
    begun = time.monotonic()
    reply = await server.ask(model="town", response_format=FORMAT)
    row = await server.row(reply.id)

    assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
    assert time.monotonic() - begun < 5
    assert all(name in reply.error["message"] for name in ("one/a", "two/b", "three/c"))
    assert [made["status"] for made in row["attempts"]] == ["aborted", "failed", "aborted"]
    assert row["status"] == "failed"


async def test_one_answer_of_three_is_given_with_the_reason(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, failing(500), town(), failing(503))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT)

    assert json.loads(reply.text)["city"] == "Bonn"
    assert reply.headers["x-modelport-consensus"].startswith("method=single; confidence=")
    assert "agreeing=1/1; asked=3" in reply.headers["x-modelport-consensus"]


async def test_none_of_three_fails_as_a_chain_does(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, failing(500), failing(429, headers={"retry-after": "7"}), failing(500))
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town")
    row = await server.row(reply.id)

    assert (reply.status, reply.headers["x-should-retry"]) == (502, "false")
    assert all(name in reply.error["message"] for name in ("one/a", "two/b", "three/c"))
    assert {made["status"] for made in row["attempts"]} == {"failed"}


async def test_a_request_that_all_find_wrong_is_the_clients_fault(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, *[failing(400, "no such thing")] * 3)
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town")

    assert reply.status == 400
    assert "no such thing" in reply.error["message"]


async def test_a_route_with_one_target_answers(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", town())
    server = await serve(provider("one", upstream), '[routes.town]\ntargets = ["one/a"]\npolicy = "consensus"\n')
    reply = await server.ask(model="town", response_format=FORMAT)

    assert json.loads(reply.text)["city"] == "Bonn"
    assert "method=single" in reply.headers["x-modelport-consensus"]


# --- what it may cost --------------------------------------------------------------------------------


async def test_the_cap_on_cost_leaves_targets_out(serve: Serve, upstream: Upstream) -> None:
    """Each may cost its prompt and 1,000 tokens of answer, about 2,000 millionths: two of them fit."""
    _script(upstream, town(), town(), town())
    server = await agreeing(serve, upstream, more='consensus = { max_cost_usd = "0.0045" }')
    reply = await server.ask(model="town", response_format=FORMAT, max_tokens=1000)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert reply.headers["x-modelport-attempts"] == "2"
    assert reply.headers["x-modelport-consensus"].endswith("agreeing=2/2; asked=2")
    assert [vote["status"] for vote in shown["votes"]] == ["answered", "answered", "not asked"]
    assert "max_cost_usd 0.004500000" in shown["votes"][2]["why"]
    assert upstream.asked("c") == []


async def test_a_cap_that_nobody_fits_refuses(serve: Serve, upstream: Upstream) -> None:
    server = await agreeing(serve, upstream, more='consensus = { max_cost_usd = "0.001" }')
    reply = await server.ask(model="town", max_tokens=1000)

    assert (reply.status, reply.error["code"]) == (403, "cost_cap_exceeded")
    assert "0.002" in reply.error["message"]
    assert await server.rows() == []


async def test_a_judge_has_to_fit_under_the_cap_as_well(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, *(says(text) for text in LONG))
    upstream.script("j", says("2"))
    server = await agreeing(serve, upstream, more='consensus = { judge = "one/j", max_cost_usd = "0.0007" }')
    reply = await server.ask(model="town", max_tokens=100)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert reply.headers["x-modelport-attempts"] == "3"
    assert "the judge one/j gave no answer" in shown["consensus"]["reason"]


# --- one more target where they disagree -------------------------------------------------------------

ESCALATING = 'consensus = { escalate = "one/strong" }'


async def test_targets_that_agree_need_nobody_else(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, town(), town(), town())
    server = await agreeing(serve, upstream, more=ESCALATING)
    reply = await server.ask(model="town", response_format=FORMAT)

    assert json.loads(reply.text)["city"] == "Bonn"
    assert upstream.asked("strong") == []


async def test_where_targets_disagree_another_one_decides(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, town(), town(), town(city="Born"))
    upstream.script("strong", town(city="Wien"))
    server = await agreeing(serve, upstream, more=ESCALATING)
    reply = await server.ask(model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert json.loads(reply.text)["city"] == "Wien"
    assert reply.headers["x-modelport-consensus"].startswith("method=escalated")
    assert reply.headers["x-modelport-target"] == "one/strong"
    assert shown["cost_usd"] == usd(4 * COST)
    assert [(vote["target"], vote["agrees"]) for vote in shown["votes"]] == [
        ("one/a", False),
        ("two/b", False),
        ("three/c", False),
        ("one/strong", True),
    ]


async def test_when_the_other_one_fails_the_vote_stands(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, town(), town(), town(city="Born"))
    upstream.script("strong", failing(500))
    server = await agreeing(serve, upstream, more=ESCALATING)
    reply = await server.ask(model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert json.loads(reply.text)["city"] == "Bonn"
    assert "one/strong was asked then and gave no answer" in shown["consensus"]["reason"]
    assert shown["votes"][3]["status"] == "failed"


# --- chosen by the request ---------------------------------------------------------------------------


async def test_a_request_can_ask_for_a_consensus(serve: Serve, upstream: Upstream) -> None:
    """Also over targets that it names itself."""
    _script(upstream, town(), town(city="Born"), town())
    server = await agreeing(serve, upstream, policy="failover")
    wish = {"x-modelport-policy": "consensus"}
    plain = await server.ask(model="town", response_format=FORMAT)
    reply = await server.ask(wish, model="town", response_format=FORMAT)
    named = await server.ask(wish, model="one/a", models=["one/a", "two/b", "three/c"], response_format=FORMAT)

    assert plain.headers["x-modelport-attempts"] == "1"
    assert reply.headers["x-modelport-consensus"].endswith("agreeing=2/3; asked=3")
    assert named.headers["x-modelport-consensus"].endswith("agreeing=2/3; asked=3")


# --- best_match --------------------------------------------------------------------------------------


async def test_best_match_is_a_whole_answer(serve: Serve, upstream: Upstream) -> None:
    """Field by field nobody's answer would come out; here one target's does, as it wrote it."""
    texts = ['{"city":  "Bonn", "people": 1, "mayor": "Dörner"}', '{"city": "Bonn", "people": 2, "mayor": null}']
    _script(upstream, says(texts[0]), says(texts[1]), town(city="Born", people=1, mayor=None))
    server = await agreeing(serve, upstream, policy="best_match")
    reply = await server.ask(model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert reply.headers["x-modelport-consensus"].startswith("method=best_match")
    assert shown["consensus"]["source"] == reply.headers["x-modelport-target"]
    assert reply.text in {*texts, json.dumps({"city": "Born", "people": 1, "mayor": None})}


async def test_best_match_takes_what_holds_against_the_schema(serve: Serve, upstream: Upstream) -> None:
    wrong = says_json({"city": "Bonn", "people": "many", "mayor": "Dörner"})
    _script(upstream, wrong, town(), wrong)
    server = await agreeing(serve, upstream, policy="best_match")
    loose = {"type": "json_schema", "json_schema": {**FORMAT["json_schema"], "strict": False}}
    reply = await server.ask(model="town", response_format=loose)

    assert json.loads(reply.text)["people"] == 330_000


async def test_best_match_of_long_texts_looks_at_log_probabilities(serve: Serve, upstream: Upstream) -> None:
    def sure(text: str, logprob: float) -> Answer:
        body = completion(text)
        body["choices"][0]["logprobs"] = {"content": [{"token": text, "logprob": logprob, "top_logprobs": []}]}
        return Answer.json(body)

    _script(upstream, sure(LONG[0], -4.0), sure(LONG[1], -4.0), sure(LONG[2], -0.01))
    server = await agreeing(serve, upstream, policy="best_match")
    reply = await server.ask(model="town", logprobs=True)

    assert reply.text == LONG[2]


# --- the client leaves, the cache, losses ------------------------------------------------------------


async def test_a_client_that_leaves_ends_all(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, Answer(hang=True), Answer(hang=True), town())
    server = await agreeing(serve, upstream)
    asking = asyncio.ensure_future(server.ask(model="town", response_format=FORMAT))
    for model in "abc":
        await asyncio.to_thread(upstream.wait_asked, model)
    asking.cancel()
    with pytest.raises((asyncio.CancelledError, aiohttp.ClientError)):
        await asking

    assert await asyncio.to_thread(upstream.asked("a")[0].wait_left, 5)
    assert await asyncio.to_thread(upstream.asked("b")[0].wait_left, 5)
    while not (rows := await server.rows()) or rows[0]["status"] == "open":
        await asyncio.sleep(0.01)
    row = await server.row(rows[0]["id"])
    assert row["status"] == "aborted"
    assert len(row["attempts"]) == 3


async def test_a_merged_answer_is_cached(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, town(), town(people=1), town())
    server = await agreeing(serve, upstream)
    first = await server.ask(model="town", response_format=FORMAT, temperature=0)
    second = await server.ask(model="town", response_format=FORMAT, temperature=0)
    row = await server.row(second.id)

    assert (first.headers["x-modelport-cache"], second.headers["x-modelport-cache"]) == ("miss", "hit")
    assert json.loads(first.text) == json.loads(second.text)
    assert row["saved_usd"] == usd(3 * COST)
    assert len(upstream.asked("a")) == 1


@pytest.mark.parametrize(
    ("headers", "methods"),
    [({}, ["method=single", "method=em", ""]), ({"idempotency-key": "once"}, ["method=single", "", ""])],
    ids=["later askers get the consensus", "who asks once gets one answer"],
)
async def test_an_answer_alone_is_not_cached_where_several_were_wanted(
    serve: Serve, upstream: Upstream, headers: dict[str, str], methods: list[str]
) -> None:
    """Two of three have failed, once."""
    upstream.script("a", town())
    for model in "bc":
        upstream.script(model, failing(500), town())
    server = await agreeing(serve, upstream)
    replies = [await server.ask(headers, model="town", response_format=FORMAT, temperature=0) for _ in range(3)]

    assert [reply.headers.get("x-modelport-consensus", "").partition(";")[0] for reply in replies] == methods
    assert [reply.headers["x-modelport-cache"] for reply in replies] == [
        "hit" if not told else "miss" for told in methods
    ]


async def test_the_only_target_that_there_is_is_cached(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", town())
    server = await serve(provider("one", upstream), route("town", "one/a", more='policy = "consensus"'))
    replies = [await server.ask(model="town", response_format=FORMAT, temperature=0) for _ in range(2)]

    assert [reply.headers["x-modelport-cache"] for reply in replies] == ["miss", "hit"]


async def test_several_choices_become_one_and_it_is_said(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, town(), town(), town())
    server = await agreeing(serve, upstream)
    reply = await server.ask(model="town", response_format=FORMAT, n=2)

    assert len(reply.json["choices"]) == 1
    assert reply.headers["x-modelport-losses"].startswith("n=")


async def test_the_same_target_is_asked_once(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", town())
    server = await serve(
        provider("one", upstream), '[routes.town]\ntargets = ["one/a", "one/a"]\npolicy = "consensus"\n'
    )
    reply = await server.ask(model="town", response_format=FORMAT)

    assert reply.status == 200
    assert len(upstream.asked("a")) == 1


async def test_what_must_not_be_stored_is_not_kept_with_the_votes(serve: Serve, upstream: Upstream) -> None:
    _script(upstream, town(), town(), town(city="Born"))
    server = await agreeing(serve, upstream)
    reply = await server.ask({"x-modelport-cache": "no-store"}, model="town", response_format=FORMAT)
    shown = (await server.get(f"/api/v1/exchanges/{reply.id}")).json

    assert [vote["agrees"] for vote in shown["votes"]] == [True, True, False]
    assert "Bo" not in json.dumps([shown["votes"], shown["consensus"]])


async def test_the_books_hold_whatever_targets_do(serve: Serve, upstream: Upstream) -> None:
    """Sixty at once, with targets that fail, hang, are late, and answer rubbish: every row is closed and adds up."""
    rng = random.Random(7)
    fates = [town(), town(city="Born"), failing(500), failing(429), Answer(hang=True), says("no JSON"), says("")]
    fates.append(replace(town(), delay_head_s=0.1))
    for model in "abc":
        upstream.script(model, lambda _asked: rng.choice(fates))
    server = await agreeing(serve, upstream, more="consensus = { quorum = 2, deadline_s = 1.0 }")
    await server.services.budgets.put(Budget("b", "route", 10**12, "town", window="total"))
    await server.services.renew_budgets()
    replies = await asyncio.gather(
        *(server.ask(model="town", response_format=FORMAT, stream=at % 2 == 0) for at in range(60))
    )
    rows = {row["id"]: await server.row(row["id"]) for row in await server.rows()}
    standing = next(each for each in await server.services.budgets.standings() if each.budget.id == "b")
    spent = 0

    assert {reply.status for reply in replies} <= {200, 429, 502, 503, 504}
    for reply in replies:
        row = rows.get(reply.id)
        if row is None:
            assert reply.status == 429  # nobody could be asked
            continue
        assert row["status"] == ("ok" if reply.status == 200 else "failed")
        assert [made["number"] for made in row["attempts"]] == list(range(1, len(row["attempts"]) + 1))
        assert {made["status"] for made in row["attempts"]} <= {"ok", "failed", "aborted"}
        costs = [round(float(made["cost_usd"]) * 1e9) for made in row["attempts"]]
        assert round(float(row["cost_usd"]) * 1e9) == sum(costs)
        spent += sum(costs)
    assert (standing.spent_nanousd, standing.reserved_nanousd) == (spent, 0)


async def test_a_deadline_that_comes_while_the_disk_is_slow_ends_the_books_like_the_answer(
    serve: Serve, upstream: Upstream
) -> None:
    """The first attempt opens the exchange for the others; that it is given up must not take them along."""
    _script(upstream, town(), town(), town())
    server = await agreeing(serve, upstream, more="consensus = { deadline_s = 0.1 }")
    gate, entered = threading.Event(), threading.Event()

    def hold(_: object) -> bool:
        entered.set()
        return gate.wait(5)

    holding = asyncio.create_task(server.services.db.write(hold))
    await asyncio.to_thread(entered.wait, 5)
    asking = asyncio.create_task(server.ask(model="town", response_format=FORMAT))
    await asyncio.sleep(0.3)
    gate.set()
    await holding
    reply = await asking
    row = await server.row(reply.id)

    assert reply.status == 504
    assert (row["status"], row["cost_usd"]) == ("failed", usd(0))
    assert [made["number"] for made in row["attempts"]] == list(range(1, len(row["attempts"]) + 1))
    assert {made["status"] for made in row["attempts"]} <= {"failed", "aborted"}
    assert server.services.ledger.lost == 0
