"""A storm of every kind of failure over requests that the fast lane knows: all are answered, and all is booked."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pytest
from typing_extensions import override

from routing.outliers import Outliers
from routing.retry import RetryBudget
from routing.targets import Target
from tests.proxy.conftest import Serve
from tests.proxy.serving import DONE, LANE, OPENING, USAGE_CHUNK, chunk, failing, provider, route, says
from tests.replay import Answer, Upstream

REQUESTS: Final = 120
AT_ONCE: Final = 4
COST_NANOUSD: Final = 20_000
KEYS: Final = tuple(f"sk-up-{number:010d}" for number in range(40))
"""As many as are refused by 429, which lets a key rest."""
PATIENT: Final = "[retry]\nbackoff_s = 0\n[breaker]\nfailures = 1000\n[cache]\nmode = 'off'\n"
CLOCKS: Final = "timeouts = { connect_s = 2, first_event_s = 0.5, whole_answer_s = 0.5, idle_s = 0.5 }\n"
SPOKEN: Final = OPENING + chunk({"content": "Hello there"}) + chunk({}, "stop") + USAGE_CHUNK + DONE
GOOD: Final = {False: says(), True: Answer.sse(SPOKEN)}
FAULTS: Final = {
    "429": failing(429),
    "500": failing(500),
    "503": failing(503),
    "closed": Answer(raw_head=b"", end="close"),
    "reset": Answer(raw_head=b"", end="reset"),
    "no JSON": Answer(body=b"<html>", headers={"content-type": "text/html"}),
    "cut in its head": Answer(raw_head=b"HTTP/1.1 200 OK\r\ncontent-le", end="close"),
    "cut in its body": Answer(raw_head=b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n", body=b'{"id":', end="close"),
    "silent": Answer(raw_head=b"", end="hang"),
}


class Calm(Outliers):
    """Lets the target that does worse go on first: the storm is to be met."""

    @override
    def order(self, targets: Sequence[Target], *, strained: bool = False) -> list[Target]:
        return list(targets)


@pytest.mark.skipif(bool(LANE), reason="the tests run without the fast lane")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_storm_on_the_fast_lane(serve: Serve, upstream: Upstream, stream: bool) -> None:
    weather = random.Random(7)
    falls = [weather.choice(list(FAULTS)) if weather.random() < 0.3 else "" for _ in range(REQUESTS)]
    coming = [GOOD[stream]] * 3 + [FAULTS[name] if name else GOOD[stream] for name in falls]
    upstream.script("ill", *coming, GOOD[stream])
    upstream.script("well", GOOD[stream])
    server = await serve(
        PATIENT, provider("a", upstream, more=CLOCKS, keys=KEYS), provider("b", upstream), route("r", "a/ill", "b/well")
    )
    server.services.retry_budget = RetryBudget(time.monotonic, share=1.0, minimum=1000)
    server.services.outliers = Calm(time.monotonic)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> tuple[str, int, int]:
        async with gate:
            reply = await server.ask(model="r", stream=stream)
        assert (reply.status, b"Hello there" in reply.body) == (200, True), reply.body
        assert reply.body.endswith(DONE.encode()) is stream
        return reply.id, int(reply.headers["x-modelport-attempts"]), number

    for number in range(3):
        await one(number)
    replies = await asyncio.gather(*(one(number) for number in range(REQUESTS)))

    rows = {row["id"]: row for row in await server.rows()}
    assert len(rows) == REQUESTS + 3
    assert Counter(row["status"] for row in rows.values()) == {"ok": REQUESTS + 3}
    assert sum(row["attempts"] for row in rows.values()) == len(upstream.requests)
    booked = {name: await server.row(name) for name, *_ in replies}
    for name, told, _ in replies:
        attempts = booked[name]["attempts"]
        assert [attempt["status"] for attempt in attempts] == ["failed"] * (len(attempts) - 1) + ["ok"], attempts
        assert len(attempts) == told or stream
        assert booked[name]["cost_usd"] == f"0.{COST_NANOUSD:09d}"
    assert server.services.shapes.ridden > REQUESTS // 3
    assert (await server.get("/health")).json["in_flight"] == 1
