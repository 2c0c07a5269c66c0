"""Virtual keys at the door: made, listed, rotated and revoked; what each may ask, how much, and whose rows it sees."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from proxy.app import apply
from proxy.cli.config import show as show_config
from proxy.cli.options import File
from proxy.config import load
from proxy.errors import StartError
from proxy.keyring import LENGTH, PREFIX, Keyring
from storage.keys import Keys
from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, MASTER, WITH_MASTER, bearer, make, make_places, send
from tests.proxy.serving import BOTH, QUICK, Reply, Served, provider, question, route, says, streams
from tests.replay import Upstream

TOKENS = 15
"""Of every answer of the upstream."""


# --- what a key's life is --------------------------------------------------------------------------


async def test_a_key_is_shown_once_and_gets_in(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, provider("one", upstream))
    made = await make(server, name="search", tags={"team": "search"})
    listed = (await send(server, "GET", "/api/v1/keys")).json["data"]
    reply = await server.ask(bearer(made["key"]), model="one/m")
    row = await server.row(reply.id)

    assert made["key"].startswith(PREFIX)
    assert len(made["key"]) == len(PREFIX) + LENGTH
    assert listed == [{name: value for name, value in made.items() if name != "key"}]
    assert (made["prefix"], made["roles"], made["status"]) == (f"{made['key'][:7]}…", ["developer"], "active")
    assert (reply.status, row["key_id"], row["tags"]) == (200, made["id"], {"team": "search"})


async def test_a_rotated_key_works_beside_the_new_one_for_as_long_as_was_said(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    made = await make(server)
    new = (await send(server, "POST", f"/api/v1/keys/{made['id']}/rotate", overlap_s=3600)).json
    both = [(await server.ask(bearer(key), model="demo/echo")).status for key in (made["key"], new["key"])]
    newer = (await send(server, "POST", f"/api/v1/keys/{made['id']}/rotate")).json
    replies = [await server.ask(bearer(each["key"]), model="demo/echo") for each in (made, new, newer)]

    assert both == [200, 200]
    assert [reply.status for reply in replies] == [401, 401, 200]
    assert "was replaced" in replies[0].error["message"]
    assert newer["prefix"] in replies[0].error["message"]
    assert new["id"] == newer["id"] == made["id"]


async def test_a_revoked_and_an_expired_key_are_told_so(serve: Serve) -> None:
    """Also where no key is needed: whoever sends one means it."""
    server = await serve(WITH_MASTER)
    revoked, expired = await make(server, name="r"), await make(server, name="e", expires_at="1h")
    gone = [(await send(server, "DELETE", f"/api/v1/keys/{revoked['id']}")).json["status"] for _ in range(2)]
    server.services.keyring.now = lambda: 4e9
    replies = [await server.ask(bearer(each["key"]), model="demo/echo") for each in (revoked, expired)]

    assert gone == ["revoked", "revoked"]
    assert [reply.status for reply in replies] == [401, 401]
    assert "(r) was revoked" in replies[0].error["message"]
    assert f"(e) expired at {expired['expires_at']}" in replies[1].error["message"]


async def test_a_change_is_in_force_at_once_and_what_it_does_not_name_stays(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    made = await make(server, models=["demo/*"], tags={"a": "b"}, budget={"limit_usd": "1.5", "window": "day"})
    path = f"/api/v1/keys/{made['id']}"
    changed = (await send(server, "PATCH", path, models=["other/*"], budget=None)).json
    reply = await server.ask(bearer(made["key"]), model="demo/echo")
    again = (await send(server, "PATCH", path, models=None, name="new")).json

    assert made["budget"] == {
        "id": f"budget_{made['id']}", "limit_usd": "1.500000000", "window": "day", "rolling": False, "hard": True,
        "unpriced": "refuse",
    }  # fmt: skip
    assert (changed["models"], changed["tags"], changed["budget"]) == (["other/*"], {"a": "b"}, None)
    assert reply.status == 403
    assert (again["models"], again["name"], again["tags"]) == ([], "new", {"a": "b"})
    assert (await server.ask(bearer(made["key"]), model="demo/echo")).status == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": "x", "colour": 1}, "colour: unknown; there are models, routes, endpoints, tags"),
        ({}, "name: missing"),
        ({"name": ""}, "name: String should have at least 1 character"),
        ({"name": "x", "roles": ["boss"]}, "roles.0: Input should be 'admin', 'operator', 'developer' or 'viewer'"),
        ({"name": "x", "roles": []}, "roles: List should have at least 1 item"),
        ({"name": "x", "limits": {"rpm": 1}}, "limits.rpm: unknown; there are requests_per_minute, tokens_per_minute"),
        ({"name": "x", "limits": {"concurrent": 0}}, "limits.concurrent: Input should be greater than or equal to 1"),
        ({"name": "x", "budget": {"limit_usd": "lots"}}, 'budget.limit_usd: expected US dollars such as "12.50"'),
        ({"name": "x", "budget": {"limit_usd": "1_000"}}, 'budget.limit_usd: expected US dollars such as "12.50"'),
        ({"name": "x", "budget": {"limit_usd": "\u0661"}}, 'budget.limit_usd: expected US dollars such as "12.50"'),
        ({"name": "x", "budget": {"limit_usd": -1}}, "budget.limit_usd: expected US dollars from 0"),
        ({"name": "x", "budget": {}}, "budget.limit_usd: missing"),
        ({"name": "x", "expires_at": "soon"}, "expires_at: expected an ISO 8601 time"),
        ({"name": "x", "expires_at": "\u0661h"}, "expires_at: expected an ISO 8601 time"),
        ({"name": "x", "expires_at": " 2099-01-01"}, "expires_at: expected an ISO 8601 time"),
        ({"name": "x", "expires_at": True}, "expires_at: expected a text or a number"),
        ({"name": "x", "budget": {"limit_usd": True}}, "budget.limit_usd: expected a text or a number"),
        ({"name": "x", "expires_at": "2020-01-01"}, "expires_at: it is in the past"),
        ({"name": "x", "team": "red"}, "team: there is no team 'red'"),
        ({"name": "x", "organisation": "acme"}, "organisation: there is no organisation 'acme'"),
        ({"name": "x", "models": "gpt-*"}, "models: Input should be a valid list"),
        ({"name": "x", "tags": {"a": 1}}, "tags.a: Input should be a valid string"),
    ],
)
async def test_what_is_wrong_with_a_new_key_is_named(serve: Serve, body: dict[str, Any], message: str) -> None:
    server = await serve(WITH_MASTER)
    reply = await send(server, "POST", "/api/v1/keys", **body)

    assert reply.status == 400
    assert reply.error["message"].startswith(message)
    assert reply.error["param"] == message.partition(":")[0]
    assert server.services.keyring.entries == {}


@pytest.mark.parametrize(
    ("method", "path", "body", "place"),
    [
        ("POST", "/api/v1/keys", b'{"name": "a", "roles": ["viewer"], "r\\u006fles": ["admin"]}', "roles"),
        ("POST", "/api/v1/keys", b'{"name": "a", "limits": {"concurrent": 1, "concurrent": 9}}', "limits.concurrent"),
        ("POST", "/api/v1/budgets", b'{"name": "a", "limit_usd": "1", "limit_usd": "9"}', "limit_usd"),
        ("POST", "/api/v1/llm/providers", b'{"name": "a", "base_url": "http://a", "base_url": "http://b"}', "base_url"),
    ],
    ids=["in disguise", "within", "budget", "provider"],
)
async def test_an_administrative_body_says_everything_once(
    serve: Serve, method: str, path: str, body: bytes, place: str
) -> None:
    """Whoever has checked it before may have read the other one."""
    server = await serve(KEYS_ONLY)
    reply = await server.request(method, path, body, MASTER)

    assert (reply.status, reply.json["error"]["code"], reply.json["error"]["param"]) == (400, "repeated_name", place)


async def test_keys_outlive_the_process_and_so_does_their_last_use(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    made = await make(server)
    await server.ask(bearer(made["key"]), model="demo/echo")
    at_us = server.services.keyring.used_us(server.services.keyring.entries[made["id"]].key)
    server.services.keyring.write_down()
    await server.services.keyring.store.revoke("none")  # waits for what was posted
    again = Keyring(Keys(server.services.db))
    await again.renew()
    found = again.find(made["key"])

    assert found is not None
    assert (found[0].key.id, found[1]) == (made["id"], None)
    assert found[0].key.used_us == at_us is not None


async def test_a_request_writes_no_last_use_of_its_own(serve: Serve) -> None:
    """It is noted in memory and stored now and then."""
    server = await serve(KEYS_ONLY)
    made = await make(server)
    for _ in range(3):
        await server.ask(bearer(made["key"]), model="demo/echo")
    stored = (await server.services.keyring.store.load()).keys[0].used_us
    shown = (await send(server, "GET", f"/api/v1/keys/{made['id']}")).json["last_used_at"]

    assert stored is None
    assert shown is not None


async def test_keys_get_in_while_the_database_cannot_be_read(serve: Serve) -> None:
    """Who asks is known from memory."""
    server = await serve(KEYS_ONLY, '[storage]\nledger = "relaxed"')
    made = await make(server)
    await server.services.db.close()
    reply = await server.ask(bearer(made["key"]), model="demo/echo")

    assert reply.status == 200


async def test_a_server_that_nobody_can_enter_does_not_start(serve: Serve) -> None:
    with pytest.raises(StartError, match="modelport keys create --name me --role admin"):
        await serve("[auth]\nrequired = true")


async def test_an_admins_key_is_enough_to_require_keys(serve: Serve, tmp_path: Any) -> None:
    """And a reload that would shut everybody out is refused."""
    server = await serve(WITH_MASTER)
    made = await make(server, roles=["admin"])
    path = tmp_path / "strict.toml"
    path.write_text("[auth]\nrequired = true\n", "utf-8")
    strict = load(path, environ={"HOME": str(tmp_path)}, folder=tmp_path)
    apply(server.services, strict)
    admitted = await send(server, "GET", "/api/v1/keys", bearer(made["key"]))
    await send(server, "DELETE", f"/api/v1/keys/{made['id']}", bearer(made["key"]))
    gate = server.services.gate

    with pytest.raises(StartError):
        apply(server.services, strict)
    assert (admitted.status, server.services.gate is gate) == (200, True)


# --- what a key may ask ----------------------------------------------------------------------------

FLEET = ("big/opus", "big/haiku", "small/haiku")
SCOPES: list[tuple[dict[str, Any], dict[str, str | int]]] = [
    # a key's scope, and for each name asked the target that answers, or the status
    ({}, {"both": "big/opus", "big/opus": "big/opus", "haiku": "big/haiku"}),
    ({"models": ["big/*"]}, {"both": "big/opus", "small/haiku": 403, "big/haiku": "big/haiku", "haiku": "big/haiku"}),
    ({"models": ["small/*"]}, {"both": "small/haiku", "big/opus": 403, "haiku": 403}),
    ({"models": ["haiku"]}, {"both": "small/haiku", "small/haiku": "small/haiku", "big/opus": 403}),
    ({"models": ["both"]}, {"both": "big/opus", "big/opus": 403, "small/haiku": 403}),
    ({"routes": ["bo*"]}, {"both": "big/opus", "only": 403, "big/opus": 403}),
    ({"routes": ["both"], "models": ["haiku"]}, {"both": "small/haiku", "only": 403, "big/haiku": "big/haiku"}),
    ({"routes": ["none"]}, {"both": 403, "only": 403, "haiku": 403}),
    ({"models": ["nothing"]}, {"both": 403, "only": 403, "haiku": 403}),
]


async def _fleet(serve: Serve, upstream: Upstream, *more: str) -> Served:
    for model in ("opus", "haiku"):
        upstream.script(model, BOTH)
    return await serve(
        KEYS_ONLY,
        QUICK,
        provider("big", upstream, more='models = ["opus", "haiku"]'),
        provider("small", upstream, more='models = ["haiku"]'),
        route("both", "big/opus", "small/haiku"),
        route("only", "big/opus"),
        *more,
    )


@pytest.mark.parametrize(("scope", "expected"), SCOPES, ids=[json.dumps(scope) for scope, _ in SCOPES])
async def test_a_key_asks_what_its_scope_allows(
    serve: Serve, upstream: Upstream, scope: dict[str, Any], expected: dict[str, str | int]
) -> None:
    server = await _fleet(serve, upstream)
    key = bearer((await make(server, **scope))["key"])
    replies = {name: await server.ask(key, model=name) for name in expected}

    found = {
        name: reply.headers["x-modelport-target"] if reply.status == 200 else reply.status
        for name, reply in replies.items()
    }
    assert found == expected
    for reply in replies.values():
        if reply.status == 403:
            assert reply.error["code"] == "model_not_allowed"
            assert any(glob in reply.error["message"] for globs in scope.values() for glob in globs)


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/chat/completions", {"model": "big/opus"}, {}),
        ("/v1/chat/completions", {"model": "haiku", "models": ["big/opus"]}, {}),
        ("/v1/chat/completions", {"model": "haiku"}, {"x-modelport-route": "only"}),
        ("/v1/chat/completions", {"model": "haiku", "modelport": {"route": "only"}}, {}),
        ("/v1/messages", {"model": "big/opus", "max_tokens": 5}, {}),
        ("/v1/messages/count_tokens", {"model": "big/opus"}, {}),
        ("/v1/responses", {"model": "big/opus", "input": "x", "messages": None}, {}),
        ("/v1/responses", {"model": "big/opus", "input": "x", "messages": None, "background": True}, {}),
        ("/v1/completions", {"model": "big/opus", "prompt": "x", "messages": None}, {}),
        ("/v1/completions", {"model": "big/opus", "prompt": ["x", "y"], "messages": None}, {}),
        ("/v1/embeddings", {"model": "big/opus", "input": "x", "messages": None}, {}),
        ("/v1/moderations", {"model": "big/opus", "input": "x", "messages": None}, {}),
        ("/v1/images/generations", {"model": "opus", "prompt": "x"}, {"x-modelport-provider": "big"}),
        ("/v1/files", {"purpose": "x"}, {"x-modelport-provider": "big"}),
        ("/v1beta/models/big%2Fopus:generateContent", {"contents": [{"parts": [{"text": "x"}]}]}, {}),
    ],
)
async def test_no_way_leads_around_the_scope(
    serve: Serve, upstream: Upstream, path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    server = await _fleet(serve, upstream)
    key = bearer((await make(server, models=["small/haiku"]))["key"])
    whole = {"messages": [{"role": "user", "content": "x"}], **body}
    if "contents" in body:
        del whole["messages"]
    raw = json.dumps({name: value for name, value in whole.items() if value is not None}).encode()
    sent = {**key, **headers, "content-type": "application/json"}
    reply = await server.request("POST", path, raw, sent)

    assert (reply.status, upstream.asked("opus")) == (403, []), reply.body
    assert "small/haiku" in json.dumps(reply.json)


@pytest.mark.parametrize(
    "body", [{"models": ["both"]}, {"model": "both", "models": ["big/opus"]}], ids=["alone", "behind"]
)
async def test_a_key_with_routes_alone_is_told_to_name_its_route_alone(
    serve: Serve, upstream: Upstream, body: dict[str, Any]
) -> None:
    server = await _fleet(serve, upstream)
    key = bearer((await make(server, routes=["both"]))["key"])
    raw = json.dumps({"messages": [{"role": "user", "content": "x"}], **body}).encode()
    reply = await server.request("POST", "/v1/chat/completions", raw, {**key, "content-type": "application/json"})

    assert reply.status == 403
    assert "it may use the routes both; ask for it as `model`, without `models`" in reply.error["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models/bih%2Fopus"])
async def test_who_mistypes_is_told_nothing_that_the_key_may_not_ask(
    serve: Serve, upstream: Upstream, path: str
) -> None:
    server = await _fleet(serve, upstream)
    key = bearer((await make(server, models=["small/*", "big/haiku"]))["key"])
    raw = json.dumps(question(model="bih/opus")).encode() if path.endswith("completions") else None
    asked = {"content-type": "application/json"} if raw else {}
    method = "POST" if raw else "GET"
    told, all_told = [
        (await server.request(method, path, raw, {**who, **asked})).error["message"] for who in (key, MASTER)
    ]

    assert ("big/opus" in all_told, "big/opus" in told) == (True, False)


async def test_a_target_outside_of_the_scope_is_no_fallback(serve: Serve, upstream: Upstream) -> None:
    server = await _fleet(serve, upstream)
    upstream.script("opus", says().__class__.json({"error": {"message": "down"}}, 500))
    key = bearer((await make(server, models=["big/*"]))["key"])
    reply = await server.ask(key, model="both")

    assert (reply.status, upstream.asked("haiku")) == (502, [])


async def test_the_list_of_models_has_what_the_key_may_ask(serve: Serve, upstream: Upstream) -> None:
    server = await _fleet(serve, upstream)
    keys = [bearer((await make(server, **scope))["key"]) for scope in ({"models": ["small/*"]}, {"routes": ["only"]})]
    lists = [[entry["id"] for entry in (await server.get("/v1/models", key)).json["data"]] for key in keys]
    gemini = (await server.get("/v1beta/models", keys[0])).json["models"]

    assert lists == [["both", "small/haiku"], ["only"]]
    assert len(gemini) == 2
    assert (await server.get("/v1/models/both", keys[0])).status == 200
    assert (await server.get("/v1/models/only", keys[0])).status == 403


@pytest.mark.parametrize(
    ("endpoints", "path", "status"),
    [
        (["/v1/chat/*"], "/v1/chat/completions", 200),
        (["/v1/chat/*"], "/v1/models", 403),
        (["/v1/m*"], "/v1/chat/completions", 403),
        (["/v1/images/*"], "/v1/images/generations", 404),
        (["/v1/chat/*"], "/health/live", 200),
        (["/v1/chat/*"], "/health", 403),
    ],
)
async def test_a_key_uses_the_endpoints_that_it_was_given(
    serve: Serve, endpoints: list[str], path: str, status: int
) -> None:
    server = await serve(KEYS_ONLY)
    key = bearer((await make(server, endpoints=endpoints))["key"])
    if path.endswith("completions"):
        reply = await server.ask(key, model="demo/echo")
    else:
        reply = await server.request("POST" if "images" in path else "GET", path, headers=key)

    assert reply.status == status
    if status == 403:
        assert reply.error["code"] == "endpoint_not_allowed"
        assert endpoints[0] in reply.error["message"]


async def test_a_path_is_judged_as_it_was_written(serve: Serve) -> None:
    """What is encoded is no way around: it is not what was allowed."""
    server = await serve(KEYS_ONLY)
    key = (await make(server, endpoints=["/v1/images/*"]))["key"]
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    answers = [
        await server.raw(f"POST {path} HTTP/1.1\r\n{head}".encode())
        for path in ("/v1/images/generations", "/v1/%69mages/generations", "/v1/images/../files")
    ]

    assert [answer.split(b" ")[1] for answer in answers] == [b"404", b"403", b"400"]


async def test_a_place_binds_its_keys_and_marks_what_they_ask(serve: Serve, upstream: Upstream) -> None:
    """Its scope holds beside the key's, its tags win, its limits are the key's where that has none of its own."""
    server = await _fleet(serve, upstream)
    given = {"models": ["*haiku"], "tags": {"cost": "acme", "a": "1"}, "limits": {"requests_per_minute": 7}}
    await send(server, "POST", "/api/v1/organisations", name="acme", **given)
    await send(server, "POST", "/api/v1/teams", name="red", organisation="acme", models=["small/*"], tags={"a": "2"})
    made = await make(server, team="red", models=["*"], tags={"a": "3", "b": "4"})
    mine = {**bearer(made["key"]), "x-modelport-tags": "b=client,c=5"}
    reply = await server.ask(mine, model="both")
    row = await server.row(reply.id)
    refused = await server.ask(mine, model="big/haiku")

    assert made["organisation"] == "acme"
    assert reply.headers["x-modelport-target"] == "small/haiku"
    assert reply.headers["x-modelport-ratelimit-limit-requests"] == "7"
    assert row["tags"] == {"cost": "acme", "a": "1", "b": "4", "c": "5"}
    assert (refused.status, "the team red" in refused.error["message"]) == (403, True)


async def test_what_a_key_says_of_losses_holds_instead_of_the_routes(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, provider("one", upstream, "anthropic"))
    strict, plain = await make(server, losses="reject"), await make(server)
    statuses = [
        (await server.ask(bearer(each["key"]), model="one/m", logprobs=True)).status for each in (strict, plain)
    ]

    assert statuses[0] == 400
    assert statuses[1] != 400


async def test_a_keys_cache_mode_holds_instead_of_the_routes(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, provider("one", upstream))
    keys = {mode: bearer((await make(server, cache=mode))["key"]) for mode in ("off", "deterministic", "all")}
    uses = {
        (mode, temperature): [
            (await server.ask(key, model="one/m", temperature=temperature)).headers["x-modelport-cache"]
            for _ in range(2)
        ]
        for mode, key in keys.items()
        for temperature in (0, 1)
    }

    assert uses == {
        ("off", 0): ["bypass", "bypass"],
        ("off", 1): ["bypass", "bypass"],
        ("deterministic", 0): ["miss", "hit"],
        ("deterministic", 1): ["bypass", "bypass"],
        ("all", 0): ["miss", "hit"],
        ("all", 1): ["miss", "hit"],
    }


# --- how much a key may ask ------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_of_racing_requests_exactly_as_many_pass_as_the_limit_says(
    serve: Serve, upstream: Upstream, *, stream: bool
) -> None:
    upstream.script("m", streams() if stream else says())
    server = await serve(KEYS_ONLY, provider("one", upstream))
    key = bearer((await make(server, limits={"requests_per_minute": 17}))["key"])
    replies = await asyncio.gather(*(server.ask(key, model="one/m", stream=stream) for _ in range(60)))
    refused = next(reply for reply in replies if reply.status == 429)

    assert Counter(reply.status for reply in replies) == {200: 17, 429: 43}
    assert len(upstream.asked("m")) == 17
    assert refused.error["code"] == "rate_limit_exceeded"
    assert "17 requests a minute" in refused.error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-modelport-ratelimit-remaining-requests"] == "0"


async def test_no_more_than_were_allowed_run_at_the_same_time(serve: Serve, upstream: Upstream) -> None:
    """A place is free again when an answer has ended, also one that broke off or was refused."""
    upstream.script("m", streams("a", "b", delay_between_s=0.05))
    server = await serve(KEYS_ONLY, provider("one", upstream))
    key = bearer((await make(server, limits={"concurrent": 2}))["key"])
    async with server.asking(key, model="one/m", stream=True), server.asking(key, model="one/m", stream=True):
        third = await server.ask(key, model="one/m")
    for _ in range(5):
        await server.ask(key, model="nobody/offers")
    throttle = server.services.keyring.meters(server.services.keyring.find(key["authorization"][7:])[0].identity)  # type: ignore[index]

    async def free() -> None:
        while throttle[0].throttle.running:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(free(), 5)
    assert (third.status, "2 requests at the same time" in third.error["message"]) == (429, True)
    assert (await server.ask(key, model="one/m", stream=True)).status == 200


async def test_tokens_are_reserved_by_estimate_and_counted_as_used(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(KEYS_ONLY, provider("one", upstream))
    key = bearer((await make(server, limits={"tokens_per_minute": 100}))["key"])
    first = await server.ask(key, model="one/m", max_tokens=80)
    second = await server.ask(key, model="one/m", max_tokens=20, stream=True)
    after = await server.ask(key, model="one/m", max_tokens=80)
    fits = await server.ask(key, model="one/m", max_tokens=20)

    assert [reply.status for reply in (first, second, after, fits)] == [200, 200, 429, 200]
    assert "100 tokens a minute" in after.error["message"]
    assert fits.headers["x-modelport-ratelimit-remaining-tokens"] == str(100 - 3 * TOKENS)


@pytest.mark.parametrize("how", ["live", "out of the cache", "passed on", "query"])
async def test_the_head_of_a_stream_tells_the_limits_too(serve: Serve, upstream: Upstream, how: str) -> None:
    """The tokens of this request stand in it as they are reserved."""
    upstream.script("m", BOTH)
    server = await serve(KEYS_ONLY, provider("one", upstream))
    limits = {"requests_per_minute": 9, "tokens_per_minute": 900, "concurrent": 3}
    key = bearer((await make(server, limits=limits))["key"])
    match how:
        case "live":
            reply = await server.ask(key, model="one/m", max_tokens=20, stream=True)
        case "out of the cache":
            await server.ask(key, model="one/m", temperature=0)
            reply = await server.ask(key, model="one/m", temperature=0, stream=True)
        case "passed on":
            named = {**key, "content-type": "application/json", "x-modelport-provider": "one"}
            reply = await server.request("POST", "/v1/audio/speech", b'{"model": "m"}', named)
        case _:
            body = b'{"model": "one/m", "prompt": "hi", "stream": true}'
            reply = await server.request("POST", "/api/v1/llm/query", body, key)

    used = 2 if how == "out of the cache" else 1
    assert reply.status == 200
    assert reply.headers["x-modelport-ratelimit-remaining-requests"] == str(9 - used)
    assert reply.headers["x-modelport-ratelimit-limit-tokens"] == "900"
    assert reply.headers["x-modelport-ratelimit-remaining-concurrent"] == "2"


async def test_racing_requests_never_reserve_more_tokens_than_there_are(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, provider("one", upstream))
    key = bearer((await make(server, limits={"tokens_per_minute": 500}))["key"])
    replies = await asyncio.gather(*(server.ask(key, model="one/m", max_tokens=90) for _ in range(20)))
    statuses = Counter(reply.status for reply in replies)

    assert set(statuses) == {200, 429}
    assert statuses[200] * TOKENS <= 500


async def test_what_asked_nobody_takes_no_tokens(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, provider("one", upstream))
    key = bearer((await make(server, limits={"tokens_per_minute": 40}))["key"])
    replies = [await server.ask(key, model="one/m", temperature=0) for _ in range(4)]
    wrong = [await server.ask(key, model="one/m", temperature="hot") for _ in range(3)]

    assert [reply.headers["x-modelport-cache"] for reply in replies] == ["miss", "hit", "hit", "hit"]
    assert {reply.status for reply in wrong} == {400}
    assert replies[-1].headers["x-modelport-ratelimit-remaining-tokens"] == str(40 - TOKENS)


async def test_a_question_that_is_larger_than_the_limit_is_never_asked(serve: Serve, upstream: Upstream) -> None:
    """A large bound on the answer alone does not keep it out."""
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, provider("one", upstream))
    key = bearer((await make(server, limits={"tokens_per_minute": 50}))["key"])
    long = await server.ask(key, model="one/m", messages=[{"role": "user", "content": "many words " * 200}])
    bound = await server.ask(key, model="one/m", max_tokens=10_000)

    assert (long.status, long.headers.get("retry-after"), long.headers["x-should-retry"]) == (429, None, "false")
    assert "it will never fit" in long.error["message"]
    assert bound.status == 200


async def test_refusals_come_in_the_envelope_of_the_client(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    key = {"x-api-key": (await make(server, limits={"requests_per_minute": 1}))["key"]}
    body = json.dumps({"model": "demo/echo", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}).encode()
    replies = [await server.request("POST", "/v1/messages", body, key) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 429]
    assert replies[1].json["error"]["type"] == "rate_limit_error"


async def test_looking_around_does_not_count(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    key = bearer((await make(server, limits={"requests_per_minute": 1}))["key"])
    looks = [(await server.get(path, key)).status for path in ("/v1/models", "/health", "/costs") * 3]

    assert set(looks) == {200}
    assert [(await server.ask(key, model="demo/echo")).status for _ in range(2)] == [200, 429]


async def test_limits_survive_a_change_of_other_keys(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    key = bearer((await make(server, limits={"requests_per_minute": 1}))["key"])
    first = (await server.ask(key, model="demo/echo")).status
    await make(server)

    assert (first, (await server.ask(key, model="demo/echo")).status) == (200, 429)


# --- whose rows a key sees -------------------------------------------------------------------------

WHO: dict[str, dict[str, Any]] = {
    "house admin": {"roles": ["admin"]},
    "house operator": {"roles": ["operator"]},
    "house viewer": {"roles": ["viewer"]},
    "house developer": {"roles": ["developer"]},
    "acme admin": {"roles": ["admin"], "organisation": "acme"},
    "acme viewer": {"roles": ["viewer"], "organisation": "acme"},
    "acme developer": {"roles": ["developer"], "organisation": "acme"},
    "red developer": {"roles": ["developer"], "team": "red"},
    "red viewer": {"roles": ["viewer"], "team": "red"},
    "blue developer": {"roles": ["developer"], "team": "blue"},
    "other operator": {"roles": ["operator"], "organisation": "other"},
}
ASKERS = [name for name, body in WHO.items() if body["roles"] != ["viewer"]]
ACME = {"acme admin", "acme developer", "red developer", "blue developer"}
SEES: dict[str, set[str]] = {
    "house admin": set(ASKERS),
    "house operator": set(ASKERS),
    "house viewer": set(ASKERS),
    "house developer": {"house developer"},
    "acme admin": ACME,
    "acme viewer": ACME,
    "acme developer": {"acme developer"},
    "red developer": {"red developer"},
    "red viewer": {"red developer"},
    "blue developer": {"blue developer"},
    "other operator": {"other operator"},
}


async def test_everybody_sees_the_rows_of_their_role_and_place(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    await make_places(server)
    made = {name: await make(server, name=name, **body) for name, body in WHO.items()}
    ids = {each["id"]: name for name, each in made.items()}
    rows = {name: (await server.ask(bearer(made[name]["key"]), model="demo/echo")).id for name in ASKERS}

    seen: dict[str, set[str]] = {}
    for name, each in made.items():
        key = bearer(each["key"])
        listed = {ids[row["key_id"]] for row in (await server.get("/api/v1/exchanges", key)).json["data"]}
        single = {who for who, row in rows.items() if (await server.get(f"/api/v1/exchanges/{row}", key)).status == 200}
        costs = (await server.get("/costs?group_by=key", key)).json
        grouped = {ids[group["key"]] for group in costs["groups"]}
        assert listed == single == grouped, name
        assert costs["total"]["exchanges"] == len(listed)
        by_name = await server.get(f"/api/v1/exchanges?key={made['house developer']['id']}", key)
        assert len(by_name.json["data"]) == ("house developer" in listed)
        seen[name] = listed

    assert seen == SEES


@pytest.mark.parametrize("who", list(WHO))
async def test_health_tells_how_much_is_asked_to_the_house_alone(serve: Serve, who: str) -> None:
    server = await serve(KEYS_ONLY)
    await make_places(server)
    key = bearer((await make(server, **WHO[who]))["key"])
    report = (await server.get("/health", key)).json
    whole = who in {"house admin", "house operator"}

    assert report["status"] == "ok"
    assert report["providers"][0]["name"] == "demo"
    assert ("requests" in report["providers"][0], "cache" in report, "in_flight" in report) == (whole,) * 3


async def test_one_keys_answers_are_not_anothers(serve: Serve, upstream: Upstream) -> None:
    """Neither from the cache nor by the id of a stored response."""
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, provider("one", upstream))
    mine, theirs = [bearer((await make(server))["key"]) for _ in range(2)]
    uses = [
        (await server.ask(key, model="one/m", temperature=0)).headers["x-modelport-cache"]
        for key in (mine, mine, theirs)
    ]
    body = json.dumps({"model": "demo/echo", "input": "x"}).encode()
    stored = (await server.request("POST", "/v1/responses", body, mine)).json["id"]
    found = [(await server.get(f"/v1/responses/{stored}", key)).status for key in (mine, theirs)]

    assert uses == ["miss", "hit", "miss"]
    assert found == [200, 404]


# --- nobody gives more than they have --------------------------------------------------------------


async def test_a_made_key_may_no_more_than_its_maker(serve: Serve, upstream: Upstream) -> None:
    """Scope, tags, limits and budget of the maker hold for it, whatever it was given; so through every generation."""
    server = await _fleet(serve, upstream)
    maker = await make(
        server,
        roles=["admin"],
        models=["small/*"],
        tags={"cost": "maker"},
        limits={"requests_per_minute": 5},
        budget={"limit_usd": "0.000100", "window": "total"},
    )
    child = await make(server, bearer(maker["key"]), roles=["admin"], models=["*"], tags={"cost": "child"})
    grandchild = await make(server, bearer(child["key"]), limits={"requests_per_minute": 1000})
    key = bearer(grandchild["key"])
    outside = await server.ask(key, model="big/opus", max_tokens=5)
    reply = await server.ask(key, model="both", max_tokens=5)
    row = await server.row(reply.id)
    spent = await server.ask(key, model="small/haiku", max_tokens=90)
    many = [await server.ask(key, model="small/haiku", max_tokens=5) for _ in range(4)]

    assert outside.status == 403
    assert (reply.headers["x-modelport-target"], row["tags"]) == ("small/haiku", {"cost": "maker"})
    assert spent.error["code"] == "budget_exceeded"
    assert (many[-1].status, many[-1].error["code"]) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize(
    ("place", "there", "nowhere"),
    [("acme", {"team": "theirs"}, {"team": "nixes"}), ("acme", {"organisation": "other"}, {"organisation": "oddly"})],
    ids=["team", "organisation"],
)
async def test_an_administrator_of_a_place_is_not_told_of_others(
    serve: Serve, place: str, there: dict[str, str], nowhere: dict[str, str]
) -> None:
    """A place of somebody else and one that was never there: the same answer but for the name."""
    server = await serve(KEYS_ONLY)
    await make_places(server)
    await send(server, "POST", "/api/v1/teams", name="theirs", organisation="other")
    acme = bearer((await make(server, roles=["admin"], organisation=place))["key"])
    found, missed = [await send(server, "POST", "/api/v1/keys", acme, name="x", **each) for each in (there, nowhere)]
    names = [*there.values(), *nowhere.values()]

    assert found.status == missed.status
    assert found.error["message"].replace(names[0], "") == missed.error["message"].replace(names[1], "")


async def test_an_administrator_of_a_place_keeps_to_it(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    await make_places(server)
    foreign = await make(server, name="house")
    acme = bearer((await make(server, roles=["admin"], organisation="acme"))["key"])
    red = bearer((await make(server, roles=["admin"], team="red"))["key"])

    def key(**body: Any) -> Callable[[dict[str, str]], Any]:
        return lambda who: send(server, "POST", "/api/v1/keys", who, name="x", **body)

    told = {
        "own": await key()(acme),
        "team": await key(team="blue")(acme),
        "other": await key(organisation="other")(acme),
        "mixed": await key(organisation="other", team="red")(acme),
        "red": await key()(red),
        "red to blue": await key(team="blue")(red),
        "read": await send(server, "GET", f"/api/v1/keys/{foreign['id']}", acme),
        "change": await send(server, "PATCH", f"/api/v1/keys/{foreign['id']}", acme, name="mine"),
        "rotate": await send(server, "POST", f"/api/v1/keys/{foreign['id']}/rotate", acme),
        "revoke": await send(server, "DELETE", f"/api/v1/keys/{foreign['id']}", acme),
        "organisation": await send(server, "PATCH", "/api/v1/organisations/acme", acme, models=[]),
        "new team": await send(server, "POST", "/api/v1/teams", acme, name="green"),
        "their team": await send(server, "POST", "/api/v1/teams", acme, name="green", organisation="other"),
        "red's settings": await send(server, "PATCH", "/api/v1/teams/red", red, models=[]),
        "blue's settings": await send(server, "PATCH", "/api/v1/teams/blue", acme, models=["a"]),
    }
    places = [(told[name].json["organisation"], told[name].json["team"]) for name in ("own", "team", "red")]
    listed = {row["organisation"] for row in (await send(server, "GET", "/api/v1/keys", acme)).json["data"]}
    teams = [
        [row["id"] for row in (await send(server, "GET", "/api/v1/teams", who)).json["data"]] for who in (acme, red)
    ]

    assert {name: reply.status for name, reply in told.items()} == {
        "own": 201, "team": 201, "other": 403, "mixed": 400, "red": 201, "red to blue": 403, "read": 404,
        "change": 404, "rotate": 404, "revoke": 404, "organisation": 403, "new team": 201, "their team": 400,
        "red's settings": 403, "blue's settings": 200,
    }  # fmt: skip
    assert places == [("acme", None), ("acme", "blue"), ("acme", "red")]
    assert (listed, teams) == ({"acme"}, [["red", "blue", "green"], ["red"]])


@pytest.mark.parametrize(
    "bound",
    [
        {"models": ["small/*"]},
        {"endpoints": ["/api/*"]},
        {"limits": {"concurrent": 9}},
        {"budget": {"limit_usd": 1}},
        {"expires_at": "30d"},
    ],
)
async def test_a_bound_key_does_not_lift_its_bounds_by_way_of_another(serve: Serve, bound: dict[str, Any]) -> None:
    """It neither changes nor takes over a key that may more, itself included; what it made it may change."""
    server = await serve(KEYS_ONLY)
    stranger = await make(server, roles=["admin"])
    made = await make(server, roles=["admin"], **bound)
    key = bearer(made["key"])
    child = await make(server, key)
    tries = {
        "change": await send(server, "PATCH", f"/api/v1/keys/{stranger['id']}", key, models=[]),
        "take over": await send(server, "POST", f"/api/v1/keys/{stranger['id']}/rotate", key),
        "itself": await send(server, "PATCH", f"/api/v1/keys/{made['id']}", key, models=[], limits=None, budget=None),
        "child": await send(server, "PATCH", f"/api/v1/keys/{child['id']}", key, name="renamed"),
        "rotate itself": await send(server, "POST", f"/api/v1/keys/{made['id']}/rotate", key),
    }

    assert {name: reply.status for name, reply in tries.items()} == {
        "change": 403, "take over": 403, "itself": 403, "child": 200, "rotate itself": 200
    }  # fmt: skip
    assert tries["change"].error["code"] == "key_out_of_reach"


async def test_a_key_makes_none_that_lives_longer(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    maker = await make(server, roles=["admin"], expires_at="2d")
    key = bearer(maker["key"])
    child = await make(server, key)
    longer = await send(server, "POST", "/api/v1/keys", key, name="x", expires_at="3d")
    shorter = await make(server, key, expires_at="1d")
    never = await send(server, "PATCH", f"/api/v1/keys/{shorter['id']}", key, expires_at=None)

    assert child["expires_at"] == maker["expires_at"] == never.json["expires_at"]
    assert longer.status == 403
    assert shorter["expires_at"] < maker["expires_at"]


@pytest.mark.parametrize("revoked", [False, True], ids=["expired", "revoked after"])
async def test_a_key_ends_with_a_maker_that_is_given_an_end_later(serve: Serve, revoked: bool) -> None:
    """Through all generations; by its own shape in the fast lane, too. An end that is lifted is lifted for all."""
    server = await serve(KEYS_ONLY)
    maker = await make(server, name="maker", roles=["admin"])
    child = await make(server, bearer(maker["key"]), name="child", roles=["admin"])
    grandchild = await make(server, bearer(child["key"]), name="grandchild", expires_at="4w")
    path = f"/api/v1/keys/{maker['id']}"
    end = (await send(server, "PATCH", path, expires_at="2d")).json["expires_at"]
    if revoked:
        await send(server, "DELETE", path)
    rows = {row["name"]: row for row in (await send(server, "GET", "/api/v1/keys")).json["data"]}
    ring = server.services.keyring
    before = [(await server.ask(bearer(each["key"]), model="demo/echo")).status for each in (child, grandchild)]
    usual, ring.now = ring.now, lambda: ring_time(end)
    after = [await server.ask(bearer(each["key"]), model="demo/echo") for each in (child, grandchild)]
    expired = {row["name"] for row in (await send(server, "GET", "/api/v1/keys?status=expired")).json["data"]}
    ring.now = usual
    await send(server, "PATCH", path, expires_at=None)
    lifted = [(await server.ask(bearer(each["key"]), model="demo/echo")).status for each in (child, grandchild)]
    own = (await send(server, "GET", f"/api/v1/keys/{grandchild['id']}")).json

    assert (child["ends_at"], {row["ends_at"] for row in rows.values()}) == (None, {end})
    assert (rows["child"]["expires_at"], rows["grandchild"]["expires_at"]) == (None, grandchild["expires_at"])
    assert (before, lifted) == ([200, 200], [200, 200])
    assert [reply.status for reply in after] == [401, 401]
    assert f"(child) expired at {end}, with the key that made it" in after[0].error["message"]
    assert expired == {"child", "grandchild"} | (set() if revoked else {"maker"})
    assert own["ends_at"] == grandchild["expires_at"]


def ring_time(moment: str) -> float:
    """Unix seconds of what `expires_at` says, to the second: that moment and what it leaves out."""
    return datetime.fromisoformat(moment).timestamp() + 1


async def test_what_a_key_makes_ends_with_the_keys_behind_its_maker(serve: Serve) -> None:
    """Also where the maker itself has no end of its own."""
    server = await serve(KEYS_ONLY)
    first = await make(server, roles=["admin"])
    second = await make(server, bearer(first["key"]), roles=["admin"])
    end = (await send(server, "PATCH", f"/api/v1/keys/{first['id']}", expires_at="2d")).json["expires_at"]
    longer = await send(server, "POST", "/api/v1/keys", bearer(second["key"]), name="x", expires_at="3d")
    third = await make(server, bearer(second["key"]))

    assert (longer.status, longer.error["param"]) == (403, "expires_at")
    assert third["expires_at"] == third["ends_at"] == end


async def test_no_key_requires_keys_when_the_one_that_made_it_has_ended(serve: Serve) -> None:
    server = await serve(WITH_MASTER)
    maker = await make(server, roles=["admin"])
    await make(server, bearer(maker["key"]), roles=["admin"])
    await send(server, "PATCH", f"/api/v1/keys/{maker['id']}", expires_at="2d")
    ring = server.services.keyring
    before = ring.has_role("admin")
    ring.now = lambda: 4e9

    assert (before, ring.has_role("admin")) == (True, False)


async def test_a_place_with_keys_is_not_removed(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    await make_places(server)
    made = await make(server, team="red")
    refused = [await send(server, "DELETE", path) for path in ("/api/v1/teams/red", "/api/v1/organisations/acme")]
    await send(server, "DELETE", f"/api/v1/keys/{made['id']}")
    removed = await send(server, "DELETE", "/api/v1/organisations/acme")

    assert [reply.status for reply in refused] == [409, 409]
    assert made["id"] in refused[0].error["message"]
    assert (removed.status, (await send(server, "GET", "/api/v1/teams")).json["data"]) == (200, [])
    assert (await send(server, "GET", f"/api/v1/keys/{made['id']}")).status == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("organisations", {}, 400, "name: missing"),
        ("organisations", {"name": "Acme"}, 409, "the id 'acme' is that of another organisation"),
        ("organisations", {"name": "acme", "id": "second"}, 409, "name: an organisation is called 'acme' already"),
        ("organisations", {"name": "x", "id": "No Blanks"}, 400, "id: String should match pattern"),
        ("organisations", {"name": "東京"}, 400, "id: missing; none can be made of this name"),
        ("teams", {"name": "green"}, 400, "organisation: missing"),
        ("teams", {"name": "green", "organisation": "nobody"}, 400, "organisation: there is no organisation 'nobody'"),
        ("teams", {"name": "red", "organisation": "other"}, 409, "the id 'red' is that of another team"),
        ("teams", {"name": "x", "organisation": "acme", "leader": 1}, 400, "leader: unknown; there are models"),
    ],
)
async def test_what_is_wrong_with_a_place_is_named(
    serve: Serve, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    server = await serve(KEYS_ONLY)
    await make_places(server)
    reply = await send(server, "POST", f"/api/v1/{path}", **body)

    assert (reply.status, reply.error["message"][: len(message)]) == (status, message)


async def test_every_change_stands_in_the_audit_log_and_no_key_does(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    await make_places(server)
    admin = await make(server, roles=["admin"])
    key = bearer(admin["key"])
    made = await make(server, key, team="red", models=["a"])
    path = f"/api/v1/keys/{made['id']}"
    await send(server, "PATCH", path, key, models=["b"], budget={"limit_usd": 1})
    rotated = (await send(server, "POST", f"{path}/rotate", key)).json
    await send(server, "DELETE", path, key)
    await send(server, "DELETE", path, key)
    entries = [each for each in await server.services.audit.show(limit=100) if each.subject == made["id"]][::-1]

    assert [(each.actor, each.action) for each in entries] == [
        (admin["id"], f"key.{verb}") for verb in ("created", "changed", "rotated", "revoked")
    ]
    assert entries[0].after["models"] == ["a"]
    assert (entries[1].before, entries[1].after["models"]) == ({"models": ["a"], "budget": None}, ["b"])
    for text in (made["key"], rotated["key"]):
        assert text not in repr(entries)


# --- nothing of a key is left lying about ----------------------------------------------------------


async def test_no_key_stands_in_the_database_the_log_or_an_answer(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stolen database or log lets nobody in."""
    caplog.set_level(logging.DEBUG)
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, QUICK, provider("one", upstream))
    made = await make(server, roles=["admin"], budget={"limit_usd": 1}, limits={"requests_per_minute": 40})
    rotated = (await send(server, "POST", f"/api/v1/keys/{made['id']}/rotate", overlap_s=60)).json
    gone = await make(server, name="gone")
    await send(server, "DELETE", f"/api/v1/keys/{gone['id']}")
    secrets = [made["key"], rotated["key"], gone["key"]]
    answers: list[Reply] = []
    for key in secrets:
        upstream.script("m", says(f"you said {key}"))
        answers += [
            await server.ask(bearer(key), model="one/unknown"),
            await server.ask({"x-api-key": key}, model="nobody/knows"),
            await server.get("/v1beta/models", {"x-goog-api-key": key + "x"}),
        ]
    for path in ("/health", "/costs?group_by=key,tag", "/api/v1/exchanges", "/api/v1/keys", "/metrics"):
        answers.append(await server.get(path, MASTER))
    answers.append(await server.get(f"/v1beta/models?key={made['key']}x"))
    show_config(File(server.services.setup.loaded.path), [], as_json=True)
    shown = capsys.readouterr()
    await server.services.drain()
    server.services.keyring.write_down()
    await server.services.keyring.store.revoke("none")  # waits for what was posted
    with sqlite3.connect(server.database) as connection:
        dump = "\n".join(connection.iterdump())
    files = b"".join(path.read_bytes() for path in server.database.parent.glob(server.database.name + "*"))

    for secret in secrets:
        bare = secret.removeprefix(PREFIX)
        assert bare.encode() not in files
        assert bare not in dump
        assert bare not in caplog.text
        assert bare not in shown.out + shown.err
        assert all(bare.encode() not in answer.body for answer in answers)
        assert all(bare not in f"{asked.headers} {asked.path} {asked.body!r}" for asked in upstream.requests)
        assert bare not in repr(server.services.keyring.entries)


# --- globs that match nothing -----------------------------------------------------------------------

ROUTED = '[routes.fast]\ntargets = ["demo/echo"]\n'


@pytest.mark.parametrize(
    ("field", "glob", "told"),
    [
        ("endpoints", "v1/chat/*", "'v1/chat/*' matches no path of this server"),
        ("endpoints", "/v2/*", "'/v2/*' matches no path"),
        ("endpoints", "/v1", "'/v1' matches no path"),
        ("endpoints", "/helth", "'/helth' matches no path of this server, which begin with / as in /v1/chat/*; did"),
        ("endpoints", "/V1/chat/completions", "matches no path"),
        ("models", " gpt-*", "0: expected a glob without blanks at its ends"),
        ("routes", "fast\n", "0: expected a glob without blanks at its ends"),
    ],
)
@pytest.mark.parametrize("where", ["keys", "organisations"])
async def test_a_glob_that_can_never_match_is_refused(
    serve: Serve, where: str, field: str, glob: str, told: str
) -> None:
    server = await serve(KEYS_ONLY, ROUTED)
    reply = await send(server, "POST", f"/api/v1/{where}", name="x", **{field: [glob]})

    assert (reply.status, reply.error["param"].partition(".")[0]) == (400, field)
    assert told in reply.error["message"]


@pytest.mark.parametrize(
    ("field", "glob", "told"),
    [
        ("models", "demo/*", None),
        ("models", "echo", None),
        ("models", "fast", None),
        ("models", "fa[rst]t", None),
        ("models", "*-mini", None),
        ("models", "one/my-*", None),
        ("models", "my-new-model", None),
        ("models", "gtp-5", "models: 'gtp-5' matches no model or route that there is now"),
        ("models", "fasd", "models: 'fasd' matches no model or route that there is now"),
        ("models", "ech", "models: 'ech' matches no model or route that there is now; did you mean echo?"),
        ("models", "nobody/*", "models: 'nobody/*' matches no model"),
        ("routes", "f*", None),
        ("routes", "slow", "routes: 'slow' matches no route that there is now"),
        ("endpoints", "/v1/chat/*", None),
        ("endpoints", "/v1/models/echo", None),
        ("endpoints", "*", None),
        ("endpoints", "/v1/images/generations", None),
        ("endpoints", "/v1/audio/*", None),
        (
            "endpoints",
            "/v1/chat/completion",
            "endpoints: '/v1/chat/completion' matches only what is passed on to providers; did you mean"
            " /v1/chat/completions?",
        ),
    ],
)
async def test_a_glob_that_matches_nothing_now_is_told(
    serve: Serve, upstream: Upstream, field: str, glob: str, told: str | None
) -> None:
    """When it is written and when the key is shown; it may be meant for later."""
    server = await serve(KEYS_ONLY, ROUTED, provider("one", upstream, more='patterns = ["my-*"]'))
    made = await make(server, **{field: [glob]})
    shown = (await send(server, "GET", f"/api/v1/keys/{made['id']}")).json
    changed = (await send(server, "PATCH", f"/api/v1/keys/{made['id']}", name="other")).json

    warnings = made.get("warnings", [])
    assert warnings == shown.get("warnings", []) == changed.get("warnings", [])
    assert [warning[: len(told or "")] for warning in warnings] == ([told] if told else [])


async def test_places_tell_of_idle_globs_too_and_the_audit_log_does_not(serve: Serve) -> None:
    server = await serve(KEYS_ONLY, ROUTED)
    made = (await send(server, "POST", "/api/v1/organisations", name="acme", routes=["gone"])).json
    team = (await send(server, "POST", "/api/v1/teams", name="red", organisation="acme", models=["none"])).json
    shown = (await send(server, "GET", "/api/v1/organisations/acme")).json
    logged = (await send(server, "GET", "/api/v1/audit")).json["data"]

    assert made["warnings"] == shown["warnings"] == ["routes: 'gone' matches no route that there is now"]
    assert len(team["warnings"]) == 1
    assert all("warnings" not in (entry["after"] or {}) for entry in logged)
