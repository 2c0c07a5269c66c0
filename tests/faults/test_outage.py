"""Outages of everything are not made worse, and their end is noticed: with the settings that nobody has changed."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Final

import pytest

from routing.breaker import Breakers
from routing.outliers import Outliers
from tests.proxy.conftest import Serve
from tests.proxy.serving import OPENING, chunk, failing, provider, route, says
from tests.replay import Answer, Upstream

REQUESTS: Final = 100
AT_ONCE: Final = 10
MOST_CALLS: Final = 1.3
"""Calls of the provider for each request."""
NO_PAUSES: Final = "[retry]\nbackoff_s = 0\n"
HALF: Final = Answer.sse(OPENING + chunk({"content": "Hel"}), split="events", end="close", delay_between_s=0.005)
OUTAGES: Final = {
    "500": (failing(500), False, {502}),
    "503, streams": (failing(503), True, {503}),
    "closed connections": (Answer(raw_head=b"", end="close"), False, {502}),
    "streams that break off": (HALF, True, {200, 502, 503}),
}


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("name", OUTAGES)
async def test_an_outage_costs_few_calls_more_than_requests(
    serve: Serve, upstream: Upstream, name: str, targets: int
) -> None:
    """However many targets there are that all fail; and every request has its row."""
    answer, stream, statuses = OUTAGES[name]
    names = [f"p{number}" for number in range(targets)]
    for each in names:
        upstream.script(each, answer)
    chain = route("chain", *(f"{each}/{each}" for each in names))
    server = await serve(NO_PAUSES, *(provider(each, upstream) for each in names), chain)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> int:
        async with gate:
            reply = await server.ask(model="chain", stream=stream, user=str(number))
            assert not reply.body.endswith(b"[DONE]\n\n")
            return reply.status

    answered = Counter(await asyncio.gather(*(one(number) for number in range(REQUESTS))))
    rows = await server.rows()

    assert set(answered) <= statuses
    assert len(upstream.requests) <= MOST_CALLS * REQUESTS
    assert Counter(row["status"] for row in rows).keys() <= {"failed", "interrupted"}
    assert (len(rows), sum(row["attempts"] for row in rows)) == (REQUESTS, len(upstream.requests))


@dataclass
class Clock:
    """A monotonic clock that a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_the_end_of_an_outage_is_noticed_by_one_request_in_a_cooldown(serve: Serve, upstream: Upstream) -> None:
    """While another target answers: five failures, then a probe every 30 s, the first that is answered ends it."""
    upstream.script("ill", failing(500))
    upstream.script("well", says())
    server = await serve(
        "[cache]\nmode = 'off'", provider("a", upstream), provider("b", upstream), route("r", "a/ill", "b/well")
    )
    clock = Clock()
    settings = server.services.setup.loaded.settings.breaker
    server.services.breakers = Breakers(clock, settings.failures, settings.cooldown_s)
    server.services.outliers = Outliers(clock)

    async def second() -> list[str]:
        """What answers two requests at once."""
        clock.now += 1
        replies = await asyncio.gather(server.ask(model="r"), server.ask(model="r"))
        assert {reply.status for reply in replies} == {200}
        return [reply.headers["x-modelport-target"] for reply in replies]

    during = [await second() for _ in range(70)]
    asked = len(upstream.asked("ill"))
    upstream.script("ill", says())
    after = [await second() for _ in range(35)]

    assert {target for pair in during for target in pair} == {"b/well"}
    assert asked <= settings.failures + 1 + 70 // settings.cooldown_s
    assert any("a/ill" in pair for pair in after)
    assert after[-1] == ["a/ill", "a/ill"]


async def test_the_last_target_is_asked_by_every_request_so_that_the_first_one_after_the_end_is_answered(
    serve: Serve, upstream: Upstream
) -> None:
    """Its breaker is open, and turns nobody away."""
    upstream.script("m", failing(500))
    server = await serve(NO_PAUSES, provider("a", upstream))
    during = [(await server.ask(model="a/m", user=str(number))).status for number in range(8)]
    health = (await server.get("/health")).json["providers"]
    upstream.script("m", says())
    after = await server.ask(model="a/m")

    assert set(during) == {502}
    assert next(each["breaker"] for each in health if each["name"] == "a") == "open"
    assert after.status == 200
