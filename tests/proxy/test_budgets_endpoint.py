"""`/api/v1/budgets`, and where else budgets show: configuration, `/health`, `/costs`, `/metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from proxy.app import apply
from proxy.config import ConfigError, load
from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, WITH_MASTER, bearer, make, make_places, send
from tests.proxy.serving import Served, provider, route, says
from tests.replay import Upstream

CONFIGURED = '[budgets.ours]\nlimit_usd = "10"\nwindow = "day"\nprovider = "one"\nalerts = [50, 100]\n'


async def budgets(server: Served) -> dict[str, dict[str, Any]]:
    reply = await send(server, "GET", "/api/v1/budgets")
    return {row["name"]: row for row in reply.json["data"]}


async def test_a_budget_is_made_changed_and_removed(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(WITH_MASTER, provider("one", upstream))
    made = await send(server, "POST", "/api/v1/budgets", name="all", limit_usd="0.5", window="day", alerts=[90, 50])
    await server.ask(model="one/m", max_tokens=5)
    changed = await send(server, "PATCH", f"/api/v1/budgets/{made.json['id']}", limit_usd=1, window="month")
    seen = await send(server, "GET", "/api/v1/budgets/all")
    gone = await send(server, "DELETE", "/api/v1/budgets/all")
    after = await send(server, "GET", "/api/v1/budgets/all")

    assert (made.status, changed.status, seen.status, gone.status, after.status) == (201, 200, 200, 200, 404)
    assert (made.json["limit_usd"], made.json["alerts"], made.json["origin"]) == ("0.500000000", [50, 90], "api")
    assert (seen.json["limit_usd"], seen.json["window"], seen.json["spent_usd"]) == (
        "1.000000000",
        "month",
        "0.000020000",
    )
    assert seen.json["status"] == "ok"
    actions = [entry.action for entry in await server.services.audit.show(subject=made.json["id"])]
    assert actions == ["budget.removed", "budget.changed", "budget.created"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "name: missing"),
        ({"name": "a"}, "limit_usd: missing; expected US dollars"),
        ({"name": "a", "limit_usd": "ten"}, "found 'ten'"),
        ({"name": "a", "limit_usd": "1_000"}, 'expected US dollars such as "12.50": digits and a point'),
        ({"name": "a", "limit_usd": "-1"}, "expected US dollars from 0"),
        ({"name": "a", "limit_usd": "1", "window": "year"}, "'hour', 'day', 'month' or 'total'; found 'year'"),
        ({"name": "a", "limit_usd": "1", "window": "total", "rolling": True}, "rolling: expected false"),
        (
            {"name": "a", "limit_usd": "1", "alerts": [0]},
            "alerts.0: Input should be greater than or equal to 1; found 0",
        ),
        ({"name": "a", "limit_usd": "1", "team": "x", "key": "y"}, "found team and key; a budget is about one of"),
        ({"name": "a", "limit_usd": "1", "team": "rod"}, "there is no team 'rod'; did you mean red?"),
        ({"name": "a", "limit_usd": "1", "provider": "on"}, "there is no provider 'on'; did you mean one"),
        ({"name": "a", "limit_usd": "1", "route": "nowhere"}, "there is no route 'nowhere'"),
        ({"name": "a", "limit_usd": "1", "tag": "search"}, "tag: expected name=value, found 'search'"),
        ({"name": "a", "limit_usd": "1", "subject": "x"}, "subject: unknown; there are name, limit_usd"),
    ],
)
async def test_errors_name_the_field_the_value_and_what_would_be_right(
    serve: Serve, upstream: Upstream, body: dict[str, Any], told: str
) -> None:
    server = await serve(KEYS_ONLY, provider("one", upstream))
    await make_places(server)
    reply = await send(server, "POST", "/api/v1/budgets", **body)

    assert reply.status == 400
    assert told in reply.error["message"]


@pytest.mark.parametrize("name", ["our budget", "größe", "a/b", "50%"])
async def test_a_budget_is_found_by_whatever_name_it_has(serve: Serve, upstream: Upstream, name: str) -> None:
    server = await serve(WITH_MASTER, provider("one", upstream))
    await send(server, "POST", "/api/v1/budgets", name=name, limit_usd="0.5", window="day")
    seen = await send(server, "GET", f"/api/v1/budgets/{quote(name, safe='')}")
    gone = await send(server, "DELETE", f"/api/v1/budgets/{quote(name, safe='')}")

    assert (seen.status, seen.json.get("name"), gone.status) == (200, name, 200)


async def test_names_are_taken_once_and_budgets_of_others_are_changed_there(serve: Serve, upstream: Upstream) -> None:
    server = await serve(KEYS_ONLY, provider("one", upstream), CONFIGURED)
    key = await make(server, budget={"limit_usd": "1"})
    twice = await send(server, "POST", "/api/v1/budgets", name="ours", limit_usd=1)
    configured = await send(server, "DELETE", "/api/v1/budgets/config_ours")
    keys = await send(server, "PATCH", f"/api/v1/budgets/budget_{key['id']}", limit_usd=5)

    assert [reply.status for reply in (twice, configured, keys)] == [409, 409, 409]
    assert "[budgets.ours]" in configured.error["message"]
    assert f"/api/v1/keys/{key['id']}" in keys.error["message"]


async def test_the_budget_of_a_revoked_key_is_removed_when_it_binds_nobody(serve: Serve, upstream: Upstream) -> None:
    """What was spent stays in the ledger; the keys that the revoked one has made are bound until they are revoked."""
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, provider("one", upstream))
    maker = await make(server, name="maker", roles=["admin"], budget={"limit_usd": "0.00003"})
    child = await make(server, bearer(maker["key"]), name="child")
    path = f"/api/v1/budgets/budget_{maker['id']}"
    valid = await send(server, "DELETE", path)
    await send(server, "DELETE", f"/api/v1/keys/{maker['id']}")
    asked = [await server.ask(bearer(child["key"]), model="one/m", max_tokens=5) for _ in range(2)]
    listed = await budgets(server)
    binding = await send(server, "DELETE", path)
    await send(server, "DELETE", f"/api/v1/keys/{child['id']}")
    changed = await send(server, "PATCH", path, limit_usd=5)
    removed = await send(server, "DELETE", path)
    again = await send(server, "DELETE", path)
    key = (await send(server, "GET", f"/api/v1/keys/{maker['id']}")).json
    costs = (await send(server, "GET", "/costs")).json
    actions = [entry.action for entry in await server.services.audit.show(subject=f"budget_{maker['id']}")]

    assert [reply.status for reply in (valid, binding, changed, removed, again)] == [409, 409, 409, 200, 404]
    assert (valid.error["code"], binding.error["code"]) == ("budget_made_elsewhere", "budget_in_use")
    assert f"{child['id']} (child)" in binding.error["message"]
    assert [reply.status for reply in asked] == [200, 429]
    assert listed["maker"]["spent_usd"] == costs["total"]["cost_usd"] == "0.000020000"
    assert (key["budget"], await budgets(server), actions) == (None, {}, ["budget.removed"])


async def test_who_reads_sees_the_budgets_of_their_place(serve: Serve, upstream: Upstream) -> None:
    server = await serve(KEYS_ONLY, provider("one", upstream))
    await make_places(server)
    abouts: dict[str, dict[str, Any]] = {
        "a": {"organisation": "acme"},
        "b": {"team": "red"},
        "c": {"team": "blue"},
        "d": {},
    }
    for name, about in abouts.items():
        assert (await send(server, "POST", "/api/v1/budgets", name=name, limit_usd=1, **about)).status == 201
    seen = {}
    places: dict[str, dict[str, Any]] = {"org": {"organisation": "acme"}, "team": {"team": "red"}, "house": {}}
    for who, place in places.items():
        key = await make(server, name=who, roles=["viewer"], budget={"limit_usd": "1"}, **place)
        listed = await send(server, "GET", "/api/v1/budgets", bearer(key["key"]))
        costs = await send(server, "GET", "/costs", bearer(key["key"]))
        seen[who] = {row["name"] for row in listed.json["data"]}
        assert {row["name"] for row in costs.json["budgets"]} == seen[who]
        assert (await send(server, "POST", "/api/v1/budgets", bearer(key["key"]), name="x", limit_usd=1)).status == 403
        assert (await send(server, "GET", "/api/v1/budgets/d", bearer(key["key"]))).status == (
            200 if who == "house" else 404
        )

    assert seen == {
        "org": {"a", "b", "c", "org"},
        "team": {"b", "team"},
        "house": {"a", "b", "c", "d", "org", "team", "house"},
    }


async def test_the_configuration_says_budgets_and_a_reload_changes_them(
    serve: Serve, upstream: Upstream, kept_logging: None
) -> None:
    """What was spent stays, by name."""
    upstream.script("m", says())
    sections = (WITH_MASTER, provider("one", upstream))
    server = await serve(*sections, CONFIGURED)
    await server.ask(model="one/m", max_tokens=5)
    before = await budgets(server)
    path = server.services.setup.loaded.path
    assert path is not None
    path.write_text("\n".join([*sections, CONFIGURED.replace('"10"', '"0.00003"')]), "utf-8")
    apply(server.services, load(path, environ={"HOME": str(path.parent)}, folder=path.parent))
    await server.services.drain()
    changed = await budgets(server)
    refused = await server.ask(model="one/m", max_tokens=5)
    path.write_text("\n".join(sections), "utf-8")
    apply(server.services, load(path, environ={"HOME": str(path.parent)}, folder=path.parent))
    await server.services.drain()

    assert (before["ours"]["limit_usd"], before["ours"]["spent_usd"]) == ("10.000000000", "0.000020000")
    assert (changed["ours"]["limit_usd"], changed["ours"]["spent_usd"]) == ("0.000030000", "0.000020000")
    assert changed["ours"]["status"] == "alert"
    assert refused.status == 429
    assert await budgets(server) == {}


async def test_health_costs_and_metrics_show_how_budgets_stand(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream), CONFIGURED.replace('"10"', '"0.00004"'))
    await server.ask(model="one/m", max_tokens=5)
    health = (await server.get("/health")).json["budgets"]
    costs = (await server.get("/costs")).json["budgets"]
    metrics = (await server.get("/metrics")).body.decode()

    (row,) = health
    assert costs == health
    assert {"name", "kind", "subject", "window", "limit_usd", "spent_usd", "reserved_usd", "reopens_at"} < set(row)
    assert (row["percent"], row["status"], row["spent_usd"]) == (50.0, "alert", "0.000020000")
    assert 'modelport_budget_spent_usd{budget="config_ours",name="ours"} 2e-05' in metrics


ABOUT_BUDGETS = [
    ("limit_usd = 1.5", "budgets.a.limit_usd: found 1.5, expected US dollars as a decimal string"),
    ('window = "day"', "budgets.a.limit_usd: found no value, expected a value (US dollars, as a decimal string)"),
    ('limit_usd = "1"\nwindow = "dya"', "found 'dya', expected one of hour, day, month, total; did you mean day?"),
    ('limit_usd = "1"\nteam = "a"\ntag = "b=c"', "budgets.a.tag: found 'b=c', expected nothing beside team"),
    ('limit_usd = "1"\ntag = "b"', "budgets.a.tag: found 'b', expected \"name=value\""),
    ('limit_usd = "1"\nwindow = "total"\nrolling = true', "budgets.a.rolling: found true, expected false"),
    ('limit_usd = "1"\nprovider = "opena"', "found 'opena', expected a known provider; did you mean openai?"),
    (
        'limit_usd = "1"\nroute = "fst"',
        "budgets.a.route: found 'fst', expected a route, or provider/model; did you mean fast?",
    ),
    ('limit_usd = "1"\nlimits = 1', "budgets.a.limits: found an unknown key"),
]


@pytest.mark.parametrize(("text", "told"), ABOUT_BUDGETS)
def test_the_configuration_says_what_is_wrong_with_a_budget(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "modelport.toml"
    path.write_text(f"{route('fast', 'demo/echo')}\n[budgets.a]\n{text}\n", "utf-8")
    with pytest.raises(ConfigError) as error:
        load(path, environ={"HOME": str(tmp_path)}, folder=tmp_path)

    assert told in str(error.value)


@pytest.mark.parametrize("address", ["hooks.example", "ftp://a.example/x", "http://"])
def test_a_webhook_has_to_be_an_address(tmp_path: Path, address: str) -> None:
    path = tmp_path / "modelport.toml"
    path.write_text(f'[alerts]\nwebhook = "{address}"\n', "utf-8")
    with pytest.raises(ConfigError, match=r"alerts\.webhook"):
        load(path, environ={"HOME": str(tmp_path)}, folder=tmp_path)
