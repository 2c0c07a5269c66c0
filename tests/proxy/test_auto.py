"""The policy auto over sockets: who is asked, why, and what is learnt from what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from routing.auto.model import pack
from routing.auto.training import train
from tests.proxy.conftest import Serve
from tests.proxy.serving import BOTH, QUICK, Served, failing, provider, route
from tests.replay import Upstream
from tests.routing.auto.worlds import EASY, HARD, world

ON_HARD, ON_EASY = " ".join(HARD), " ".join(EASY)


@pytest.fixture(scope="module")
def packed() -> bytes:
    return pack(train(world(Random(1), 300), Random(2)))


def two(upstream: Upstream, auto: str) -> list[str]:
    for model in ("weak", "strong"):
        upstream.script(model, BOTH)
    return [
        QUICK,
        provider("a", upstream, more='price = { input = "1", output = "1" }'),
        provider("b", upstream, more='price = { input = "10", output = "10" }'),
        route("r", "a/weak", "b/strong", more=f'policy = "auto"\nauto = {auto}'),
    ]


async def asked(server: Served, text: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
    reply = await server.ask(headers, **{"model": "r", "messages": [{"role": "user", "content": text}], **more})
    assert reply.status == 200, reply.body
    return reply


async def test_a_trained_route_asks_the_strong_target_only_where_it_helps(
    serve: Serve, upstream: Upstream, tmp_path: Path, packed: bytes
) -> None:
    file = tmp_path / "router.model"
    file.write_bytes(packed)
    server = await serve(*two(upstream, f'{{ model = "{file}" }}'))

    hard, easy = await asked(server, ON_HARD), await asked(server, ON_EASY)

    assert [reply.headers["x-modelport-target"] for reply in (hard, easy)] == ["b/strong", "a/weak"]
    assert "expected quality" in hard.headers["x-modelport-why"]
    assert "cost ratio 10" in hard.headers["x-modelport-why"]


async def test_the_receipt_of_a_stream_says_why(
    serve: Serve, upstream: Upstream, tmp_path: Path, packed: bytes
) -> None:
    file = tmp_path / "router.model"
    file.write_bytes(packed)
    server = await serve(*two(upstream, f'{{ model = "{file}" }}'))

    reply = await asked(server, ON_HARD, stream=True)

    assert reply.receipt["why"] == reply.headers["x-modelport-why"]


@pytest.mark.parametrize(("knob", "target"), [("0", "a/weak"), ("1", "b/strong")])
async def test_a_request_moves_the_knob(
    serve: Serve, upstream: Upstream, tmp_path: Path, packed: bytes, knob: str, target: str
) -> None:
    file = tmp_path / "router.model"
    file.write_bytes(packed)
    server = await serve(*two(upstream, f'{{ model = "{file}" }}'))

    by_header = await asked(server, ON_HARD, {"x-modelport-quality": knob})
    by_body = await asked(server, ON_HARD, modelport={"quality": float(knob)})

    assert {reply.headers["x-modelport-target"] for reply in (by_header, by_body)} == {target}


@pytest.mark.parametrize("knob", ["2", "-0.1", "much", "nan"])
async def test_a_knob_beyond_its_range_is_refused_by_name(serve: Serve, upstream: Upstream, knob: str) -> None:
    server = await serve(*two(upstream, "{}"))

    reply = await server.ask({"x-modelport-quality": knob}, model="r")

    assert reply.status == 400
    assert "x-modelport-quality: expected a number from 0 (cost) to 1 (quality)" in reply.error["message"]


@pytest.mark.parametrize("auto", ["{}", '{ model = "nowhere.model" }'])
async def test_untrained_it_is_balanced(serve: Serve, upstream: Upstream, auto: str) -> None:
    """All else being equal, the cheaper target."""
    server = await serve(*two(upstream, auto))

    reply = await asked(server, ON_HARD)

    assert reply.headers["x-modelport-target"] == "a/weak"
    assert "as balanced" in reply.headers["x-modelport-why"]


async def test_explain_shows_what_is_expected_of_each_target(
    serve: Serve, upstream: Upstream, tmp_path: Path, packed: bytes
) -> None:
    file = tmp_path / "router.model"
    file.write_bytes(packed)
    server = await serve(*two(upstream, f'{{ model = "{file}" }}'))
    body = json.dumps({"messages": [{"role": "user", "content": ON_HARD}]}).encode()

    told = (await server.request("POST", "/api/v1/routes/r/explain", body)).json

    first, second = told["candidates"]
    assert [first["target"], second["target"]] == ["b/strong", "a/weak"]
    assert first["score"] > second["score"]
    assert "expected quality" in first["why"]


async def test_verdicts_turn_the_route_to_the_target_that_earns_them(serve: Serve, upstream: Upstream) -> None:
    server = await serve(*two(upstream, "{ learn = true, exploration = 0 }"))
    server.services.rng = Random(5)
    targets = []
    for _ in range(120):
        reply = await asked(server, ON_EASY)
        targets.append(reply.headers["x-modelport-target"])
        verdict = {"exchange_id": reply.id, "correct": targets[-1] == "b/strong"}
        told = await server.request("POST", "/api/v1/feedback", json.dumps(verdict).encode())
        assert told.json["learnt"] is True

    assert targets[-40:].count("b/strong") > 30
    again = await server.request("POST", "/api/v1/feedback", json.dumps(verdict).encode())
    assert again.json["learnt"] is False


async def test_a_target_that_fails_is_asked_less(serve: Serve, upstream: Upstream) -> None:
    """Without anybody's verdict: it was asked and gave nothing."""
    server = await serve(*two(upstream, "{ learn = true, exploration = 0 }"), "[breaker]\nfailures = 100\n")
    server.services.rng = Random(5)
    upstream.script("weak", failing(500))

    for _ in range(100):
        assert (await asked(server, ON_EASY)).headers["x-modelport-target"] == "b/strong"

    assert len(upstream.asked("weak")) < 60
