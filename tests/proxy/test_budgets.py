"""Budgets at the door: what gets in, what is refused and with which words."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from storage.budgets import Budget
from tests.proxy.conftest import Serve
from tests.proxy.serving import BOTH, OPENING, QUICK, Served, chunk, completion, failing, provider, route, says, streams
from tests.replay import Answer, Upstream

COST = 10 * 1_000 + 5 * 2_000
"""Of an answer of the upstream at one and two dollars per million tokens, in nano-dollars."""

DEAR = {**completion(), "usage": {"prompt_tokens": 1_000, "completion_tokens": 5, "total_tokens": 1_005}}
"""The bill of a vendor that counts more than anybody can have written."""


async def _with(server: Served, *budgets: Budget) -> None:
    for budget in budgets:
        await server.services.budgets.put(budget)
    await server.services.renew_budgets()


async def _spent(server: Served, name: str = "b") -> tuple[int, int]:
    standing = next(each for each in await server.services.budgets.standings() if each.budget.id == name)
    return standing.spent_nanousd, standing.reserved_nanousd


async def test_five_hundred_at_once_against_a_budget_for_fifty(serve: Serve, upstream: Upstream) -> None:
    """Reserved is the worst case: what comes later may still find room that the first ones did not need."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    limit = 50 * COST
    await _with(server, Budget("b", "global", limit, window="total"))

    replies = await asyncio.gather(*(server.ask(model="one/m", max_tokens=5) for _ in range(500)))
    statuses = Counter(reply.status for reply in replies)
    rows = await server.rows()
    spent = sum(round(float(row["cost_usd"]) * 1e9) for row in rows)
    refusal = next(reply for reply in replies if reply.status == 429)

    assert set(statuses) == {200, 429}
    assert 25 <= statuses[200] <= 50
    assert spent == statuses[200] * COST <= limit
    assert await _spent(server) == (spent, 0)
    assert len(upstream.asked("m")) == statuses[200]
    assert refusal.error["code"] == "budget_exceeded"
    assert "spent 0.000" in refusal.error["message"]


async def test_a_refusal_says_when_it_opens_again(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await _with(server, Budget("b", "global", 2 * COST, name="all of us", window="day"))
    first = [await server.ask(model="one/m", max_tokens=5) for _ in range(2)]
    refused = await server.ask(model="one/m", max_tokens=5)

    assert {reply.status for reply in first} <= {200, 429}
    assert first[0].status == 200
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 86_400
    assert 'budget "all of us"' in refused.error["message"]
    assert "opens again at" in refused.error["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_whose_budget_is_used_up_is_passed_over(
    serve: Serve, upstream: Upstream, *, stream: bool
) -> None:
    upstream.script("m", streams() if stream else says())
    server = await serve(provider("one", upstream), provider("two", upstream), route("both", "one/m", "two/m"))
    await _with(server, Budget("b", "provider", 1, "one", window="total"))
    reply = await server.ask(model="both", max_tokens=5, stream=stream)
    row = await server.row(reply.id)

    assert (reply.status, reply.headers["x-modelport-target"]) == (200, "two/m")
    assert [(made["provider"], made["status"]) for made in row["attempts"]] == [("two", "ok")]


async def test_a_failed_target_gives_its_share_back(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(500), says())
    server = await serve(provider("one", upstream), provider("two", upstream), route("both", "one/m", "two/m"), QUICK)
    await _with(server, Budget("b", "route", 10 * COST, "both", window="hour"))
    reply = await server.ask(model="both", max_tokens=5)

    assert reply.status == 200
    assert await _spent(server) == (COST, 0)


async def test_budgets_of_tags_are_charged_by_tag(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await _with(server, Budget("b", "tag", 1, "team=search", window="month"))
    tagged = await server.ask(model="one/m", headers={"x-modelport-tags": "team=search"})
    other = await server.ask(model="one/m", headers={"x-modelport-tags": "team=ads"})

    assert (tagged.status, other.status) == (429, 200)


@pytest.mark.parametrize(("unpriced", "status"), [("refuse", 403), ("allow", 200)])
async def test_a_model_without_a_price(serve: Serve, upstream: Upstream, unpriced: str, status: int) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream, more='price = { other = { input = "1", output = "1" } }\n'))
    budget = Budget("b", "global", 10**12, window="day")
    await _with(server, replace(budget, unpriced=unpriced))
    reply = await server.ask(model="one/m")

    assert reply.status == status
    if status == 403:
        assert reply.error["code"] == "unpriced_model"


async def test_a_request_that_never_fits_says_so_and_not_when_to_come_back(serve: Serve, upstream: Upstream) -> None:
    server = await serve(provider("one", upstream))
    await _with(server, Budget("b", "global", 10, window="hour"))
    reply = await server.ask(model="one/m", max_tokens=5)

    assert reply.status == 429
    assert "retry-after" not in reply.headers
    assert reply.headers["x-should-retry"] == "false"


async def test_a_hit_of_the_cache_needs_no_room(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    first = await server.ask(model="one/m", temperature=0)
    await _with(server, Budget("b", "global", 0, window="hour"))
    second = await server.ask(model="one/m", temperature=0)

    assert (first.status, second.status, second.headers["x-modelport-cache"]) == (200, 200, "hit")


async def test_whoever_asks_in_whichever_way_the_limit_holds(serve: Serve, upstream: Upstream) -> None:
    """Whole answers, streams, failovers and clients that leave, all at once, against a rolling window."""
    upstream.script("m", BOTH)
    upstream.script("bad", failing(500))
    server = await serve(provider("one", upstream), route("both", "one/bad", "one/m"), QUICK)
    limit = 50 * COST
    await _with(
        server,
        Budget("b", "global", limit, window="hour", rolling=True),
        Budget("p", "provider", limit, "one", window="day"),
    )

    async def one(number: int) -> int:
        model = "both" if number % 3 == 0 else "one/m"
        if number % 5 == 0:
            async with server.asking(model=model, max_tokens=5, stream=True) as answer:
                if answer.status == 200:
                    await answer.content.readany()
                return answer.status
        return (await server.ask(model=model, max_tokens=5, stream=number % 2 == 0)).status

    statuses = Counter(await asyncio.gather(*(one(number) for number in range(300))))
    rows = await server.rows()
    spent = sum(round(float(row["cost_usd"]) * 1e9) for row in rows)

    assert set(statuses) <= {200, 429, 502}
    assert statuses[200] >= 10
    assert statuses[429] >= 200
    assert spent <= limit
    assert await _spent(server) == (spent, 0)
    assert await _spent(server, "p") == (spent, 0)


async def test_an_answer_longer_than_its_bound_is_counted_and_the_next_is_refused(
    serve: Serve, upstream: Upstream
) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await _with(server, Budget("b", "global", 2 * COST - 1, window="day"))
    longer = [(await server.ask(model="one/m", max_tokens=1)).status for _ in range(3)]

    assert longer[0] == 200
    assert longer[-1] == 429
    assert (await _spent(server))[1] == 0


async def test_a_vendor_that_bills_more_than_a_prompt_can_have_is_reserved_for_as_it_bills(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    cost = DEAR["usage"]["prompt_tokens"] * 1_000 + 5 * 2_000
    upstream.script("m", Answer.json(DEAR))
    server = await serve(provider("one", upstream))
    await _with(server, Budget("b", "global", 4 * cost - 1, window="day"))
    statuses = [(await server.ask(model="one/m", max_tokens=5)).status for _ in range(5)]
    health = (await server.get("/health")).json

    assert statuses == [200, 200, 200, 429, 429]
    assert await _spent(server) == (3 * cost, 0)
    assert "one/m billed 1000 tokens for a prompt of at most" in caplog.text
    assert health["overbilled"]["one/m"]["more_input_tokens"] > 900
    assert next(each for each in health["budgets"] if each["id"] == "b")["over_usd"] == "0.000000000"


async def test_what_runs_already_is_reserved_for_anew_once_a_bill_was_more(serve: Serve, upstream: Upstream) -> None:
    """Three run while a first bill comes: they fit into the limit as they will be billed, and nothing beside them."""
    cost = DEAR["usage"]["prompt_tokens"] * 1_000 + 5 * 2_000
    upstream.script("m", *(3 * [Answer.json(DEAR, hold_at=10)]), Answer.json(DEAR))
    server = await serve(provider("one", upstream))
    await _with(server, Budget("b", "global", 5 * cost - 1, window="day"))
    running = [asyncio.create_task(server.ask(model="one/m", max_tokens=5)) for _ in range(3)]
    waiting = [await asyncio.to_thread(upstream.wait_asked, "m", count) for count in (1, 2, 3)]
    statuses = [(await server.ask(model="one/m", max_tokens=5)).status for _ in range(3)]
    for each in waiting:
        each.release()
    await asyncio.gather(*running)

    assert statuses == [200, 429, 429]
    assert await _spent(server) == (4 * cost, 0)


@pytest.mark.parametrize(("assumed", "statuses"), [(None, (429, 200)), (5, (200, 200))])
async def test_a_request_without_a_bound_reserves_what_its_budgets_assume(
    serve: Serve, upstream: Upstream, assumed: int | None, statuses: tuple[int, int]
) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await _with(server, Budget("b", "global", 10 * COST, window="day", assumed_output_tokens=assumed))
    unbounded, bounded = await server.ask(model="one/m"), await server.ask(model="one/m", max_tokens=5)

    assert (unbounded.status, bounded.status) == statuses


async def test_room_that_is_only_reserved_is_worth_waiting_for(serve: Serve, upstream: Upstream) -> None:
    """Not until midnight, though the window ends only then."""
    first = OPENING + chunk({"content": "Hello"})
    upstream.script("m", Answer.sse(streams().body, split="events", hold_at=len(first)))
    server = await serve(provider("one", upstream))
    await _with(server, Budget("b", "global", 3 * COST, window="month"))
    async with server.asking(model="one/m", max_tokens=5, stream=True):
        held = await asyncio.to_thread(upstream.wait_asked, "m")
        refused = await server.ask(model="one/m", max_tokens=15)
        held.release()

    assert refused.status == 429
    assert int(refused.headers["retry-after"]) <= 5
    assert "comes back as they end, at the latest at" in refused.error["message"]


async def test_a_picture_that_is_made_cannot_be_counted_and_is_refused(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await _with(server, Budget("b", "global", 10**12, window="day"))
    body = b'{"model": "one/m", "prompt": "a cat"}'
    reply = await server.request("POST", "/v1/images/generations", body, {"content-type": "application/json"})

    assert (reply.status, reply.error["code"]) == (403, "unpriced_model")
    assert upstream.asked("m") == []
