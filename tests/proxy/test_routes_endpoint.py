"""`/api/v1/routes`: policies at run time, and explanations; what /health and /metrics say of them."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import BOTH, QUICK, Reply, Served, failing, provider, route
from tests.replay import Upstream

MASTER = {"authorization": "Bearer master-key-0123456789"}
AUTH = '[auth]\nmaster_key = "env:MASTER"\n'
ENVIRON = {"MASTER": "master-key-0123456789"}


def sections(upstream: Upstream) -> tuple[str, ...]:
    """`a` is dear, `b` cheap; the route takes them in this order."""
    dear, cheap = ('price = { input = "9", output = "9" }\n', 'price = { input = "1", output = "1" }\n')
    return (
        QUICK,
        provider("a", upstream, more=dear),
        provider("b", upstream, more=cheap),
        route("careful", "a/m", "b/m"),
    )


async def choose(server: Served, policy: str, headers: dict[str, str] | None = None) -> Reply:
    return await server.request("POST", "/api/v1/routes/careful", json.dumps({"policy": policy}).encode(), headers)


async def explained(server: Served, name: str, body: dict[str, Any], query: str = "") -> Reply:
    return await server.request("POST", f"/api/v1/routes/{name}/explain{query}", json.dumps(body).encode())


async def test_routes_are_listed_with_policy_and_order(serve: Serve, upstream: Upstream) -> None:
    server = await serve(*sections(upstream))

    assert (await server.get("/api/v1/routes")).json["data"] == [
        {
            "name": "careful",
            "policy": "failover",
            "configured_policy": "failover",
            "chosen": None,
            "order": ["a/m", "b/m"],
            "targets": [
                {"target": "a/m", "weight": 1.0, "quality": None},
                {"target": "b/m", "weight": 1.0, "quality": None},
            ],
            "losses": "warn",
        }
    ]


async def test_a_policy_is_chosen_at_run_time_and_stays_over_a_restart(serve: Serve, upstream: Upstream) -> None:
    """Until it is reset; who and when is kept, and in the audit log."""
    upstream.script("m", BOTH)
    server = await serve(*sections(upstream), AUTH, environ=ENVIRON)
    chosen = (await choose(server, "cost", MASTER)).json
    assert (chosen["policy"], chosen["configured_policy"], chosen["order"]) == ("cost", "failover", ["b/m", "a/m"])
    assert chosen["chosen"]["by"] == "master"
    assert (await server.ask(model="careful")).headers["x-modelport-target"] == "b/m"
    await server.services.drain()
    await server.services.db.close()

    again = await serve(*sections(upstream), AUTH, environ=ENVIRON)
    assert (await again.ask(model="careful")).headers["x-modelport-target"] == "b/m"
    reset = await again.request("DELETE", "/api/v1/routes/careful", headers=MASTER)
    assert (reset.json["policy"], reset.json["chosen"]) == ("failover", None)
    assert (await again.ask(model="careful")).headers["x-modelport-target"] == "a/m"
    entries = (await again.get("/api/v1/audit?action=route", MASTER)).json["data"]
    assert [(one["action"], one["actor"], one["before"], one["after"]) for one in entries] == [
        ("route.reset", "master", {"policy": "cost"}, {"policy": "failover"}),
        ("route.set", "master", {"policy": "failover"}, {"policy": "cost"}),
    ]


async def test_a_reload_of_the_configuration_leaves_the_choice(serve: Serve, upstream: Upstream) -> None:
    server = await serve(*sections(upstream))
    await choose(server, "cost")
    server.services.renew_setup(server.services.setup.loaded)

    assert server.services.setup.names.resolve("careful").policy == "cost"


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("careful", {"policy": "cheapst"}, 400, "policy: 'cheapst' is not a policy; choose failover"),
        ("careful", {}, 400, "policy: missing"),
        ("careful", {"polcy": "cost"}, 400, "polcy: unknown; there are policy"),
        ("careful", {"policy": "cost", "hours": "2"}, 400, "hours: unknown; there are policy"),
        ("carefull", {"policy": "cost"}, 404, "did you mean careful?"),
    ],
)
async def test_what_cannot_be_chosen_is_refused(
    serve: Serve, upstream: Upstream, path: str, body: dict[str, str], status: int, told: str
) -> None:
    server = await serve(*sections(upstream))
    reply = await server.request("POST", f"/api/v1/routes/{path}", json.dumps(body).encode())

    assert reply.status == status
    assert told in reply.error["message"]


async def test_with_keys_only_an_operator_chooses(serve: Serve, upstream: Upstream) -> None:
    server = await serve(*sections(upstream), AUTH, environ=ENVIRON)

    assert (await choose(server, "cost")).status == 401
    assert (await server.get("/api/v1/routes")).status == 401


# --- explain ---------------------------------------------------------------------------------------------


async def test_a_request_is_explained_without_anybody_being_asked(serve: Serve, upstream: Upstream) -> None:
    server = await serve(*sections(upstream))
    await choose(server, "cost")
    body = {"messages": [{"role": "user", "content": "x" * 3_700}], "max_tokens": 100}
    told = (await explained(server, "careful", body)).json

    assert (told["route"], told["policy"], told["refused"]) == ("careful", "cost", None)
    assert [(one["place"], one["target"]) for one in told["candidates"]] == [(1, "b/m"), (2, "a/m")]
    assert told["candidates"][0]["cost_usd"] == "0.001106000"
    assert told["candidates"][0]["why"] == "about $0.001106 for 1,006 tokens in and 100 out"
    assert upstream.requests == []
    assert await server.rows() == []


async def test_who_is_out_is_explained_as_well(serve: Serve, upstream: Upstream) -> None:
    """One has no eyes, one is off."""
    server = await serve(
        QUICK,
        provider("a", upstream, more='quirks = { modalities = ["text"] }\n'),
        provider("b", upstream),
        provider("off", upstream, more="enabled = false\n"),
        route("careful", "a/m", "b/m", "off/m"),
    )
    picture = {"type": "image_url", "image_url": {"url": "https://x.example/y.png"}}
    told = (await explained(server, "careful", {"messages": [{"role": "user", "content": [picture]}]})).json

    assert [(one["place"], one["target"], one["why"]) for one in told["candidates"]] == [
        (1, "b/m", "as written"),
        (None, "a/m", "takes no image"),
        (None, "off/m", "its provider is off: switched off in the configuration"),
    ]


async def test_a_request_that_nobody_can_serve_is_explained_with_the_refusal(serve: Serve, upstream: Upstream) -> None:
    server = await serve(
        QUICK, provider("a", upstream, more="quirks = { context_tokens = 100 }\n"), route("careful", "a/m")
    )
    told = (await explained(server, "careful", {"messages": [{"role": "user", "content": "word " * 900}]})).json

    assert "too long for every target" in told["refused"]
    assert told["candidates"][0]["place"] is None
    assert told["candidates"][0]["why"].startswith("takes 100 tokens, the request has about")


async def test_other_dialects_and_other_names_are_explained(serve: Serve, upstream: Upstream) -> None:
    server = await serve(*sections(upstream))
    body = {"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}

    assert (await explained(server, "b%2Fm", body, "?dialect=anthropic")).json["route"] == "b/m"
    assert (await explained(server, "careful", {"input": "Hi"}, "?dialect=openai_responses")).status == 200
    gemini = {"contents": [{"role": "user", "parts": [{"text": "word " * 400}]}]}
    told = (await explained(server, "careful", gemini, "?dialect=gemini")).json
    assert (told["candidates"][0]["place"], told["input_tokens"] > 300) == (1, True)
    assert (await explained(server, "careful", body, "?dialect=latin")).status == 400
    assert (await explained(server, "nobody", body)).status == 404


async def test_an_open_breaker_is_explained_and_logged(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script("m", failing(500))
    server = await serve(
        QUICK, provider("a", upstream), route("careful", "a/m"), "[breaker]\nfailures = 2\ncooldown_s = 60\n"
    )
    with caplog.at_level(logging.WARNING, "modelport"):
        for _ in range(2):
            await server.ask(model="careful")
    told = (await explained(server, "careful", {"messages": [{"role": "user", "content": "Hi"}]})).json

    assert told["candidates"][0]["breaker"] == "open"
    assert told["candidates"][0]["held_up"] == "its breaker is open for 60 s"
    assert "breaker of a/m: closed -> open (500 server)" in caplog.text


# --- health, metrics -------------------------------------------------------------------------------------


async def test_health_and_metrics_tell_policy_and_order(serve: Serve, upstream: Upstream) -> None:
    server = await serve(*sections(upstream))
    await choose(server, "cost")
    metrics = (await server.get("/metrics")).body.decode()

    assert (await server.get("/health")).json["routes"] == [
        {"name": "careful", "policy": "cost", "order": ["b/m", "a/m"]}
    ]
    assert 'modelport_route_policy{policy="cost",route="careful"} 1.0' in metrics
    assert 'modelport_route_place{route="careful",target="b/m"} 1.0' in metrics
    assert 'modelport_route_place{route="careful",target="a/m"} 2.0' in metrics


async def test_a_route_whose_providers_are_all_off_has_no_order(serve: Serve, upstream: Upstream) -> None:
    server = await serve(QUICK, provider("a", upstream, more="enabled = false\n"), route("careful", "a/m"))

    assert (await server.get("/api/v1/routes/careful")).json["order"] == []
