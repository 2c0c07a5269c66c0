"""While the first target of a route is passed over, its requests take the lane to the next one."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import LANE, QUICK, Served, failing, provider, question, route, says
from tests.proxy.test_fast_lane import AUTH, MASTER, known, line, request
from tests.replay import Answer, Upstream

pytestmark = pytest.mark.skipif(bool(LANE), reason="the suite runs without the lane")
TARGETS = ("one/m", "two/n", "three/o")
BODY = json.dumps(question(model="all")).encode()


def open_breaker(server: Served, name: str) -> None:
    breaker = server.services.breakers.of(target(server, name))
    while breaker.state == "closed":
        breaker.failed()


def close_breaker(server: Served, name: str) -> None:
    server.services.breakers.of(target(server, name)).succeeded()


def let_keys_rest(server: Served, name: str) -> None:
    server.services.setup.rings[name.partition("/")[0]].cool(0, 60)


def target(server: Served, name: str) -> Any:
    found = server.services.setup.names.resolve("all").targets
    return next(each for each in found if each.name == name)


async def chained(serve: Serve, upstream: Upstream, *sections: str, more: Mapping[str, str] | None = None) -> Served:
    """A route over three providers, each of which says its model's name; *more* belongs to a provider's section."""
    for model in "mno":
        upstream.script(model, says(model))
    providers = [provider(name, upstream, more=(more or {}).get(name, "")) for name in ("one", "two", "three")]
    return await serve(*providers, QUICK, route("all", *TARGETS), *sections)


async def asked(server: Served, times: int = 1, body: bytes = BODY, *more: str) -> list[tuple[str, bool]]:
    """So many requests in turn, with the header lines *more*: what was said to each, and whether it took the lane."""
    found = []
    async with line(server) as client:
        for _ in range(times):
            ridden = server.services.shapes.ridden
            status, _, answer = await client.ask(request(body, *more))
            assert status == 200, answer
            said = json.loads(answer)["choices"][0]["message"]["content"]
            found.append((said, server.services.shapes.ridden > ridden))
    return found


@pytest.mark.parametrize("pass_over", [open_breaker, let_keys_rest])
async def test_requests_ride_to_the_next_target(
    serve: Serve, upstream: Upstream, pass_over: Callable[[Served, str], None]
) -> None:
    server = await chained(serve, upstream)
    await known(server, body=BODY)
    pass_over(server, "one/m")
    second = await asked(server, 3)
    pass_over(server, "two/n")
    third = await asked(server, 3)

    assert second == [("n", False), ("n", True), ("n", True)]
    assert third == [("o", False), ("o", True), ("o", True)]


async def test_requests_ride_to_the_first_one_again_when_it_is_well(serve: Serve, upstream: Upstream) -> None:
    server = await chained(serve, upstream)
    await known(server, body=BODY)
    for name in ("one/m", "two/n"):
        open_breaker(server, name)
        await asked(server, 2)
    close_breaker(server, "two/n")
    second = await asked(server)
    close_breaker(server, "one/m")
    first = await asked(server)

    assert (second, first) == ([("n", True)], [("m", True)])


async def test_what_was_learnt_first_of_a_later_target_does_not_keep_the_first_one_waiting(
    serve: Serve, upstream: Upstream
) -> None:
    """As after a restart in the middle of an outage."""
    server = await chained(serve, upstream)
    open_breaker(server, "one/m")
    during = await asked(server, 4)
    close_breaker(server, "one/m")
    after = await asked(server, 2)

    assert during == [("n", False), ("n", False), ("n", True), ("n", True)]
    assert after == [("m", False), ("m", True)]


async def test_the_probe_of_a_half_open_breaker_is_sent(serve: Serve, upstream: Upstream) -> None:
    server = await chained(serve, upstream, "[breaker]\ncooldown_s = 0.001\n")
    await known(server, body=BODY)
    breaker = server.services.breakers.of(target(server, "one/m"))
    open_breaker(server, "one/m")
    async with asyncio.timeout(10):
        while breaker.state != "half_open":
            await asyncio.sleep(0)
    found = await asked(server, 2)

    assert found == [("m", False), ("m", True)]
    assert breaker.state == "closed"


async def test_a_target_that_fails_now_and_then_is_still_asked_first(serve: Serve, upstream: Upstream) -> None:
    """Two failures in a row keep requests off the lane; they do not send them elsewhere."""
    server = await chained(serve, upstream)
    await known(server, body=BODY)
    open_breaker(server, "one/m")
    await asked(server, 2)
    close_breaker(server, "one/m")
    for _ in range(2):
        server.services.breakers.of(target(server, "one/m")).failed()

    assert await asked(server) == [("m", False)]


async def test_the_books_say_the_same_of_both_ways(serve: Serve, upstream: Upstream) -> None:
    server = await chained(serve, upstream)
    await known(server, body=BODY)
    open_breaker(server, "one/m")
    ways = await asked(server, 3)
    rows = [await server.row(row["id"]) for row in (await server.rows())[-3:]]
    for row in rows:
        for each in (row, *row["attempts"]):
            for name in [name for name in each if re.search(r"(^id$|_us$|_at$|_ms$|exchange|opened|settled)", name)]:
                del each[name]

    assert [ridden for _, ridden in ways] == [False, True, True]
    assert rows[0] == rows[1] == rows[2]
    assert (rows[2]["target"], len(rows[2]["attempts"])) == ("two/n", 1)
    assert len(upstream.asked("m")) == 3


@pytest.mark.parametrize(
    ("fault", "failures"),
    [(failing(500), 1), (failing(429, headers={"retry-after": "7"}), 0), (Answer.json(b"<html>"), 1)],
    ids=["500", "429", "not JSON"],
)
async def test_when_the_stand_in_fails_the_next_one_answers(
    serve: Serve, upstream: Upstream, fault: Answer, failures: int
) -> None:
    """With the very same exchange: nothing is asked or booked twice."""
    server = await chained(serve, upstream)
    upstream.script("n", says("n"), says("n"), fault)
    await known(server, body=BODY)
    open_breaker(server, "one/m")
    await asked(server, 2)
    (found,) = await asked(server)
    row = await server.row((await server.rows())[-1]["id"])

    assert found == ("o", False)
    assert [(each["number"], each["provider"], each["status"]) for each in row["attempts"]] == [
        (1, "two", "failed"),
        (2, "three", "ok"),
    ]
    assert [len(upstream.asked(model)) for model in "mno"] == [3, 3, 1]
    assert server.services.breakers.of(target(server, "two/n")).failures == failures


async def test_how_much_the_stand_in_reads_is_its_own_matter(serve: Serve, upstream: Upstream) -> None:
    server = await chained(serve, upstream, more={"two": "quirks = { context_tokens = 100 }\n"})
    long = json.dumps(question(model="all", messages=[{"role": "user", "content": "word " * 200}])).encode()
    await known(server, body=BODY)
    open_breaker(server, "one/m")
    short = await asked(server, 2)

    assert short == [("n", False), ("n", True)]
    assert await asked(server, body=long) == [("o", False)]


async def test_a_key_that_may_ask_some_of_the_targets_has_its_own_row(serve: Serve, upstream: Upstream) -> None:
    server = await chained(serve, upstream, AUTH)
    made = json.dumps({"name": "k", "models": ["two/n", "three/o"]}).encode()
    reply = await server.request("POST", "/api/v1/keys", made, {"authorization": f"Bearer {MASTER}"})
    key = f"Authorization: Bearer {reply.json['key']}"
    before = await asked(server, 3, BODY, key)
    open_breaker(server, "two/n")
    during = await asked(server, 2, BODY, key)
    close_breaker(server, "two/n")
    after = await asked(server, 1, BODY, key)

    assert before == [("n", False), ("n", False), ("n", True)]
    assert (during, after) == ([("o", False), ("o", True)], [("n", True)])
