"""`/api/v1/llm/providers`: added and changed while the server runs, kept, and never a way to send a key elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import BOTH, KEY, QUICK, SECOND_KEY, Reply, Served, provider, serving
from tests.replay import Upstream

MASTER_KEY = "mp-master-0123456789"
MASTER = {"Authorization": f"Bearer {MASTER_KEY}"}
AUTH = f'[auth]\nmaster_key = "{MASTER_KEY}"\n'
PATH = "/api/v1/llm/providers"


async def send(server: Served, method: str, path: str, body: Any = None, headers: Mapping[str, str] = MASTER) -> Reply:
    return await server.request(method, path, None if body is None else json.dumps(body).encode(), headers)


async def add(server: Served, upstream: Upstream, **more: Any) -> Reply:
    body = {"name": "new", "base_url": f"{upstream.url}/v1", "models": ["m"], **more}
    return await send(server, "POST", PATH, {name: value for name, value in body.items() if value is not None})


async def test_an_added_provider_answers_from_the_next_request_on(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(AUTH, QUICK)
    before = await server.ask(model="new/m")

    added = await add(server, upstream, price={"input": "1", "output": "2"}, limits={"concurrent": 4})

    assert (before.status, added.status) == (404, 201)
    assert (added.json["id"], added.json["enabled"], added.json["origin"]) == ("new", True, "run time")
    assert added.json["limits"]["concurrent"] == 4
    reply = await server.ask(model="new/m")
    assert (reply.text, reply.headers["x-modelport-cost-usd"]) == ("Hello there", "0.000020000")
    assert (await server.ask(model="m")).headers["x-modelport-target"] == "new/m"


async def test_it_is_there_after_a_restart_and_over_what_the_configuration_says(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.script("m", BOTH)
    config = "\n".join((AUTH, QUICK, provider("one", upstream, more='models = ["m"]\nlimits = { concurrent = 9 }\n')))
    async with serving(tmp_path, config) as server:
        await add(server, upstream)
        await send(server, "PUT", f"{PATH}/one", {"limits": {"concurrent": 2}})

    async with serving(tmp_path, config) as server:
        found = {each["id"]: each for each in (await send(server, "GET", PATH)).json["data"]}
        reply = await server.ask(model="new/m")

    assert reply.status == 200
    assert found["one"]["limits"]["concurrent"] == 2
    assert (found["one"]["base_url"], found["one"]["models"]) == (f"{upstream.url}/v1", ["m"])


async def test_a_provider_is_switched_off_and_on(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(AUTH, QUICK, provider("one", upstream))
    answers = []
    for body in ({"enabled": False}, {"enabled": None}):
        changed = await send(server, "PUT", f"{PATH}/one", body)
        answers.append((changed.json["enabled"], (await server.ask(model="one/m")).status))

    assert answers == [(False, 404), (True, 200)]


async def test_removing_gives_back_what_the_configuration_says(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, QUICK, provider("one", upstream))
    await add(server, upstream)
    await send(server, "PUT", f"{PATH}/one", {"enabled": False})

    removed = [(await send(server, "DELETE", f"{PATH}/{name}")).status for name in ("new", "one", "one")]

    assert removed == [200, 200, 409]
    assert (await send(server, "GET", f"{PATH}/one")).json["enabled"] is True
    assert (await send(server, "GET", f"{PATH}/new")).status == 404


async def test_status_is_that_of_health_with_breaker_keys_and_limits(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(AUTH, QUICK, provider("one", upstream, keys=(KEY, SECOND_KEY)))
    await server.ask(model="one/m")

    told = (await send(server, "GET", f"{PATH}/one/status")).json
    off = (await send(server, "GET", f"{PATH}/openai/status")).json

    assert (told["status"], told["breaker"], told["requests"]) == ("healthy", "closed", 1)
    assert told["keys"] == {"total": 2, "available": 2}
    assert told["limits"]["queue"] == 256
    assert (off["status"], off["enabled"]) == ("off", False)
    assert "OPENAI_API_KEY" in off["why_off"]


async def test_the_list_has_every_provider_and_no_key(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, QUICK, provider("one", upstream))

    everything = await send(server, "GET", PATH)
    on = await send(server, "GET", f"{PATH}?enabled=true")

    assert {"one", "demo", "openai"} <= {each["id"] for each in everything.json["data"]}
    assert "openai" not in {each["id"] for each in on.json["data"]}
    assert KEY.encode() not in everything.body


async def test_a_key_of_the_environment_is_used_and_never_shown(
    serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORNER_API_KEY", KEY)
    upstream.script("m", BOTH)
    server = await serve(AUTH, QUICK)

    added = await add(server, upstream, credentials=["env:CORNER_API_KEY"])
    await server.ask(model="new/m")

    assert added.json["said"]["credentials"] == ["env:CORNER_API_KEY"]
    assert added.json["keys"]["total"] == 1
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in added.body


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"base_url": None}, "base_url"),
        ({"base_url": "file:///etc/passwd"}, "base_url"),
        ({"base_url": "http://user:secret@127.0.0.1/v1"}, "base_url"),
        ({"base_url": "http://127.0.0.1/v1?x=1"}, "base_url"),
        ({"dialect": "llamacpp"}, "dialect"),
        ({"models": {"tiny": {"path": "/etc/passwd"}}}, "models"),
        ({"headers": {"x": "env:HOME"}}, "headers"),
        ({"name": "a/b"}, "name"),
        ({"price": {"input": 1}}, "price"),
        ({"limits": {"concurrent": 0}}, "limits.concurrent"),
        ({"credentials": ["sk-a-key-in-the-open-0123456789"]}, "credentials.0"),
        ({"credentials": ["file:/etc/passwd"]}, "credentials.0"),
        ({"credentials": ["env:HOME"]}, "credentials.0"),
        ({"credentials": ["env:MODELPORT_MASTER_KEY"]}, "credentials.0"),
        ({"credentials": ["env:OPENAI_API_KEY"]}, "credentials.0"),
        ({"credentials": ["stored:nothing"]}, "credentials.0"),
    ],
    ids=str,
)
async def test_what_may_not_be_said_is_refused_and_named(
    serve: Serve, upstream: Upstream, body: dict[str, Any], param: str
) -> None:
    server = await serve(AUTH, QUICK)

    reply = await add(server, upstream, **body)

    assert reply.status == 400
    assert reply.error["param"].startswith(param)
    assert b"0123456789" not in reply.body
    assert server.services.provider_book.rows == {}


async def test_a_key_does_not_follow_a_provider_to_another_server(serve: Serve, upstream: Upstream) -> None:
    """Whoever may change an address must not be able to read a key by it."""
    server = await serve(AUTH, QUICK, provider("one", upstream))

    reply = await send(server, "PUT", f"{PATH}/one", {"base_url": "http://127.0.0.1:9/v1"})

    assert (reply.status, reply.error["param"]) == (400, "base_url")
    without = await send(server, "PUT", f"{PATH}/one", {"base_url": "http://127.0.0.1:9/v1", "credentials": []})
    assert (without.status, without.json["keys"]["total"]) == (200, 0)


async def test_a_vendors_key_of_the_environment_does_not_follow_either(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = await serve(AUTH, QUICK)

    body = {"base_url": "http://127.0.0.1:9/v1"}
    replies = [
        await send(server, "PUT", f"{PATH}/openai", body),
        await send(server, "PUT", f"{PATH}/openai", {**body, "credentials": ["env:OPENAI_API_KEY"]}),
        await send(server, "PUT", f"{PATH}/openai", {"limits": {"concurrent": 3}}),
    ]

    assert [reply.status for reply in replies] == [400, 400, 200]


async def test_one_name_is_one_provider(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, QUICK, provider("one", upstream))
    first = await add(server, upstream)

    again = [await add(server, upstream, name=name) for name in ("new", "one")]

    assert first.status == 201
    assert [(reply.status, reply.error["code"]) for reply in again] == [(409, "provider_exists")] * 2


@pytest.mark.parametrize(
    ("method", "path"), [("POST", PATH), ("PUT", f"{PATH}/one"), ("DELETE", f"{PATH}/one")], ids=lambda each: each
)
async def test_only_an_administrator_changes_providers(
    serve: Serve, upstream: Upstream, method: str, path: str
) -> None:
    server = await serve(AUTH, QUICK, provider("one", upstream))
    statuses = []
    for role in ("viewer", "developer", "operator"):
        made = await send(server, "POST", "/api/v1/keys", {"name": role, "roles": [role]})
        headers = {"Authorization": f"Bearer {made.json['key']}"}
        statuses.append((await send(server, method, path, {"enabled": False}, headers)).status)
    statuses.append((await send(server, method, path, {"enabled": False}, {})).status)

    assert statuses == [403, 403, 403, 401]


async def test_every_change_stands_in_the_audit_log(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, QUICK)
    await add(server, upstream)
    await send(server, "PUT", f"{PATH}/new", {"enabled": False})
    await send(server, "DELETE", f"{PATH}/new")

    entries = await server.services.audit.show(subject="new")

    assert [entry.action for entry in entries] == ["provider.removed", "provider.changed", "provider.added"]
    assert entries[1].after["enabled"] is False


async def test_changes_at_the_same_time_do_not_lose_each_other(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, QUICK)
    await add(server, upstream)
    changes: list[dict[str, Any]] = [
        {"enabled": False},
        {"limits": {"concurrent": 3}},
        {"patterns": ["m-*"]},
        {"timeouts": {"connect_s": 1}},
        {"price": {"input": "1", "output": "1"}},
    ]

    await asyncio.gather(*(send(server, "PUT", f"{PATH}/new", change) for change in changes))

    said = (await send(server, "GET", f"{PATH}/new")).json["said"]
    assert all(said[name] == value for change in changes for name, value in change.items())


async def test_a_running_answer_is_not_disturbed_by_a_change(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, QUICK, provider("one", upstream), provider("two", upstream))
    kept = server.services.setup.backends["two"]

    await send(server, "PUT", f"{PATH}/one", {"limits": {"concurrent": 1}})

    assert server.services.setup.backends["two"] is kept


# --- routes that name what is added later -------------------------------------------------------------------

LATER = '[providers.new]\nadded_later = true\n[routes.r]\ntargets = ["new/m", "one/m"]\n'


async def first_of_r(server: Served) -> list[tuple[Any, str, str]]:
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    told = (await send(server, "POST", "/api/v1/routes/r/explain", body)).json["candidates"]
    return [(each["place"], each["target"], each["why"]) for each in told]


async def test_a_route_may_name_a_provider_that_is_added_later(tmp_path: Path, upstream: Upstream) -> None:
    """It is left out until it is there, and again when it is gone."""
    upstream.script("m", BOTH)
    config = "\n".join((AUTH, QUICK, provider("one", upstream), LATER))
    out = (None, "new/m", "its provider is off: it is to be added at run time and was not: POST /api/v1/llm/providers")
    async with serving(tmp_path, config) as server:
        assert await first_of_r(server) == [(1, "one/m", "as written"), out]
        assert (await server.ask(model="r")).headers["x-modelport-target"] == "one/m"
        assert (await server.ask(model="new/m")).status == 404

        assert (await add(server, upstream)).status == 201
        assert [each[:2] for each in await first_of_r(server)] == [(1, "new/m"), (2, "one/m")]
        assert (await server.ask(model="r", user="2")).headers["x-modelport-target"] == "new/m"
    async with serving(tmp_path, config) as server:
        assert (await server.ask(model="r", user="3")).headers["x-modelport-target"] == "new/m"
        await send(server, "DELETE", f"{PATH}/new")
        assert (await server.ask(model="r", user="4")).headers["x-modelport-target"] == "one/m"


async def test_a_route_of_nothing_else_waits_for_it(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(AUTH, QUICK, LATER.replace(', "one/m"', ""))
    before = await server.ask(model="r")
    await add(server, upstream)

    assert (before.status, before.error["code"]) == (503, "no_provider")
    assert (await server.ask(model="r")).status == 200
