"""/health and its short forms: never a question to a provider, but for the master key's probe."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace

import pytest

from proxy.ingress.health import overall
from tests.proxy.conftest import Serve
from tests.proxy.keyed import bearer, make
from tests.proxy.serving import KEY, QUICK, failing, provider, says
from tests.replay import Answer, Upstream

MASTER = '[auth]\nmaster_key = "mp-master-0123456789"\n'
HEADERS = {"authorization": "Bearer mp-master-0123456789"}


@pytest.mark.parametrize(
    ("statuses", "store_ok", "word"),
    [
        ([], True, "down"),
        (["unknown"], True, "ok"),
        (["healthy", "unknown"], True, "ok"),
        (["healthy"], False, "degraded"),
        (["healthy", "degraded"], True, "degraded"),
        (["healthy", "unhealthy"], True, "degraded"),
        (["unhealthy", "unhealthy"], True, "down"),
    ],
)
def test_one_word_for_all(statuses: list[str], store_ok: bool, word: str) -> None:
    assert overall(statuses, store_ok=store_ok) == word


async def test_nobody_is_asked(serve: Serve, upstream: Upstream) -> None:
    server = await serve(provider("one", upstream, more='models = ["m"]'))

    for path in ("/health", "/health/live", "/health/ready", "/metrics", "/v1/models"):
        assert (await server.get(path)).status == 200

    assert upstream.connections == 0


async def test_without_a_usable_provider_it_is_down(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(500))
    server = await serve(
        QUICK, "[breaker]\nfailures = 3", provider("one", upstream), "[providers.demo]\nenabled = false"
    )
    for _ in range(3):
        await server.ask(model="one/m")

    reply = await server.get("/health")

    assert reply.status == 503
    assert reply.json["status"] == "down"
    (entry,) = (each for each in reply.json["providers"] if each["name"] == "one")
    assert (entry["status"], entry["breaker"]) == ("unhealthy", "open")
    assert entry["cooldown_s"] > 0


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}])
async def test_the_probe_needs_the_master_key(serve: Serve, upstream: Upstream, headers: dict[str, str]) -> None:
    server = await serve(MASTER, provider("one", upstream, more='models = ["m"]'))

    reply = await server.get("/health?probe=1", headers)

    assert reply.status == 403
    assert upstream.connections == 0


@pytest.mark.parametrize("role", ["viewer", "developer", "operator", "admin"])
async def test_no_role_probes(serve: Serve, upstream: Upstream, role: str) -> None:
    """Who is not told everybody's figures is refused as all others are."""
    server = await serve(MASTER, provider("one", upstream, more='models = ["m"]'))
    key = bearer((await make(server, roles=[role]))["key"])

    for value in ("1", "true"):
        reply = await server.get(f"/health?probe={value}", key)

        assert (reply.status, reply.json["error"]["code"]) == (403, "master_key_required")
    assert (await server.get("/health?probe=0", key)).status == 200
    assert upstream.connections == 0


async def test_the_probe_asks_each_once_and_says_so(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    upstream.script("bad", failing(401, f"no such key {KEY}"))
    server = await serve(
        MASTER, provider("one", upstream, more='models = ["m"]'), provider("two", upstream, more='models = ["bad"]')
    )

    probe = (await server.get("/health?probe=1", HEADERS)).json["probe"]

    assert probe["providers"]["one"]["ok"] is True
    assert probe["providers"]["two"]["ok"] is False
    assert probe["providers"]["demo"]["ok"] is True
    assert KEY not in str(probe)
    assert "bill" in probe["note"]
    assert len(upstream.requests) == 2


async def test_probes_are_booked(serve: Serve, upstream: Upstream) -> None:
    """They cost money, so they stand in the ledger, under a route of their own."""
    upstream.script("m", says())
    upstream.script("bad", failing(500, "no"))
    server = await serve(
        MASTER, provider("one", upstream, more='models = ["m"]'), provider("two", upstream, more='models = ["bad"]')
    )
    await server.get("/health?probe=1", HEADERS)

    rows = (await server.get("/api/v1/exchanges", HEADERS)).json["data"]
    assert {(row["route"], row["target"], row["status"]) for row in rows} == {
        ("probe", "one/m", "ok"),
        ("probe", "two/bad", "failed"),
        ("probe", "demo/echo", "ok"),
    }


async def test_a_probe_that_succeeds_ends_a_keys_rest(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(401, "no"), says())
    server = await serve(MASTER, QUICK, provider("one", upstream, more='models = ["m"]'))
    await server.ask(model="one/m", headers=HEADERS)
    rested = server.services.setup.rings["one"].available

    await server.get("/health?probe=1", HEADERS)

    assert (rested, server.services.setup.rings["one"].available) == (0, 1)


async def test_a_probe_of_a_broken_provider_harms_nobody(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer(200, {}, b"<html>", chunked=False))
    server = await serve(MASTER, provider("one", upstream, more='models = ["m"]'))

    reply = await asyncio.wait_for(server.get("/health?probe=true", HEADERS), 5)

    assert reply.status == 200
    assert reply.json["probe"]["providers"]["one"]["ok"] is False


async def test_draining_is_not_ready_but_alive(serve: Serve) -> None:
    server = await serve()
    server.services.draining = True

    assert (await server.get("/health/ready")).status == 503
    assert (await server.get("/health/live")).status == 200


async def test_the_server_counts_what_is_in_flight(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer(hang=True))
    server = await serve(provider("one", upstream))
    running = asyncio.ensure_future(server.ask(model="one/m"))
    await asyncio.to_thread(upstream.wait_asked, "m")

    during = (await server.get("/health")).json["in_flight"]
    running.cancel()
    while server.services.in_flight:
        await asyncio.sleep(0.005)

    assert during == 2  # the one that hangs, and the question itself


async def test_health_survives_a_restart(serve: Serve, upstream: Upstream) -> None:
    """It is read off the ledger, secrets cleaned as they were."""
    upstream.script("m", says(), failing(500, f"oh {KEY}"))
    server = await serve(QUICK, provider("one", upstream))
    await server.ask(model="one/m")
    await server.ask(model="one/m")
    before = (await server.get("/health")).json["providers"]
    await server.services.db.close()

    again = await serve(QUICK, provider("one", upstream))
    after = (await again.get("/health")).json["providers"]

    (old,), (new,) = ([each for each in entries if each["name"] == "one"] for entries in (before, after))
    assert (new["requests"], new["errors"]) == (2, 1)
    assert new["last_error"] == old["last_error"] == "oh [secret]"
    assert new["last_success"] is not None


# --- what the log says -------------------------------------------------------------------------------------


async def test_a_provider_that_becomes_unusable_and_usable_again_is_told_once_each(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script("m", *[failing(500, "out of order")] * 4, says())
    server = await serve(provider("a", upstream), QUICK, "[breaker]\nfailures = 100")
    with caplog.at_level(logging.INFO, "modelport"):
        for number in range(12):
            await server.ask(model="a/m", user=str(number))
    told = [record.message for record in caplog.records if record.message.startswith("a is ")]

    assert told == ["a is unhealthy: out of order", "a is degraded again"]


@pytest.mark.parametrize(
    ("answer", "told", "level"),
    [
        (failing(429, headers={"retry-after": "7"}), "key 0 of a for m rests for 7 s (429 rate_limit)", "WARNING"),
        (failing(401), "key 0 of a rests for 300 s (401 authentication)", "WARNING"),
        (
            replace(says(), headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}),
            "key 0 of a for m rests for 20 s: its vendor's limit leaves nothing",
            "INFO",
        ),
    ],
    ids=["429", "401", "used up"],
)
async def test_a_key_that_begins_to_rest_is_told_once(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture, answer: Answer, told: str, level: str
) -> None:
    upstream.script("m", answer)
    server = await serve(provider("a", upstream), QUICK)
    with caplog.at_level(logging.INFO, "modelport"):
        for number in range(3):
            await server.ask(model="a/m", user=str(number))

    assert [(one.message, one.levelname) for one in caplog.records if one.message.startswith("key ")] == [(told, level)]


async def test_a_store_that_does_not_answer_keeps_no_report_of_health_waiting(serve: Serve) -> None:
    """What it would have told is null; whether the process lives and is ready does not depend on it."""
    server = await serve()
    stuck = threading.Event()
    held = [asyncio.create_task(server.services.db.read(lambda _: stuck.wait(60))) for _ in range(16)]
    await asyncio.sleep(0)  # they are in line now
    try:
        replies = [await server.get(path) for path in ("/health/live", "/health/ready", "/health")]
        untouched = [task.done() for task in held]
    finally:
        stuck.set()
        await asyncio.gather(*held)

    assert [reply.status for reply in replies] == [200, 200, 200]
    assert replies[2].json["memory"] is None
    assert not any(untouched)
    assert (await server.get("/health")).json["memory"] is not None
