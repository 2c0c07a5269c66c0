"""Prices over HTTP: shown, missing, learnt later and put into the books."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from proxy.app import apply
from proxy.config import load
from proxy.repricing import price_keeper
from routing.pricing import Price
from storage.budgets import Budget
from storage.repricing import Repricing
from tests.proxy.conftest import Serve
from tests.proxy.serving import Reply, Served, provider, says, streams
from tests.replay import Upstream
from translators.neutral import Usage

FREE = "# no price"
COST = 10 * 1_000 + 5 * 2_000
"""Of an answer of the upstream at one and two dollars per million tokens, in nano-dollars."""


def unpriced(name: str, upstream: Upstream, more: str = "") -> str:
    return provider(name, upstream, more=more or FREE).replace('price = { input = "1", output = "2" }\n', "")


async def learn(server: Served, folder: Path, text: str) -> None:
    """Let the configuration be *text* from now on."""
    (folder / "modelport.toml").write_text(text, encoding="utf-8")
    apply(server.services, load(folder / "modelport.toml", environ={"HOME": str(folder)}, folder=folder))


async def reprice(server: Served, **body: Any) -> Reply:
    return await server.request("POST", "/api/v1/prices/reprice", json.dumps(body).encode())


async def test_a_price_learnt_later_is_put_into_the_books(serve: Serve, upstream: Upstream, tmp_path: Path) -> None:
    """Listed as unpriced; a dry run changes nothing; then sums, rows and budgets follow, and the old cost is kept."""
    upstream.script("m", says(), streams("a", "b"))
    server = await serve(unpriced("one", upstream))
    await server.services.budgets.put(Budget("b", "global", 10**9, window="total", unpriced="allow"))
    await server.services.renew_budgets()
    replies = [await server.ask(model="one/m", max_tokens=5), await server.ask(model="one/m", stream=True)]
    listed = (await server.get("/api/v1/prices/unpriced?since=1h")).json["models"]
    too_early = await reprice(server, since="1h")
    await learn(server, tmp_path, provider("one", upstream))
    dry = await reprice(server, since="1h", dry_run=True)
    before = (await server.get("/costs")).json["total"]
    done = await reprice(server, since="1h")
    after = (await server.get("/costs")).json["total"]
    (standing,) = await server.services.budgets.standings()
    row = await server.row(replies[0].id)

    assert [(each["provider"], each["model"], each["attempts"], each["input_tokens"]) for each in listed] == [
        ("one", "m", 2, 20)
    ]
    assert (too_early.json["changed"], too_early.json["still_unpriced"]) == (0, 2)
    assert (dry.json["changed"], dry.json["after_usd"], dry.json["dry_run"]) == (2, "0.000040000", True)
    assert (before["unpriced_attempts"], before["cost_usd"]) == (2, "0.000000000")
    assert (done.json["changed"], done.json["still_unpriced"]) == (2, 0)
    assert (after["unpriced_attempts"], after["cost_usd"]) == (0, "0.000040000")
    assert row["cost_usd"] == "0.000020000"
    assert row["attempts"][0]["price_source"] == "config"
    assert (standing.spent_nanousd, standing.unpriced_attempts) == (2 * COST, 0)
    assert (await server.get("/api/v1/prices/unpriced")).json["models"] == []
    assert (await reprice(server, since="1h")).json["attempts"] == 0


async def test_known_costs_are_computed_anew_on_request(serve: Serve, upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await server.ask(model="one/m")
    await learn(server, tmp_path, unpriced("one", upstream, 'price = { input = "2", output = "4" }\n'))
    untouched = await reprice(server)
    done = await reprice(server, all=True, model="one/m")
    other = await reprice(server, all=True, model="one/n*")
    again = await reprice(server, all=True)

    assert untouched.json["attempts"] == 0
    assert (done.json["before_usd"], done.json["after_usd"]) == ("0.000020000", "0.000040000")
    assert other.json["attempts"] == 0
    assert (again.json["attempts"], again.json["changed"]) == (1, 0)


@pytest.mark.parametrize(
    ("body", "param"),
    [({"since": "yesterday"}, "since"), ({"sine": "7d"}, "sine"), ({"all": "yes"}, "all")],
)
async def test_a_wrong_request_is_named(serve: Serve, upstream: Upstream, body: dict[str, Any], param: str) -> None:
    server = await serve(provider("one", upstream))
    reply = await reprice(server, **body)

    assert (reply.status, reply.error["param"]) == (400, param)


async def test_a_price_is_shown_with_its_tiers_and_variants(serve: Serve, upstream: Upstream) -> None:
    more = 'tiers = [{ above = 10, input = "3" }], served = { batch = "0.5" }'
    own = f'price = {{ m = {{ input = "1", output = "2", {more} }} }}\n'
    server = await serve(unpriced("one", upstream, own))
    configured = (await server.get("/api/v1/prices?model=one/m")).json["data"]
    listed = (await server.get("/api/v1/prices?model=openai/gpt-5.2")).json["data"]
    unknown = (await server.get("/api/v1/prices?model=one/n")).json["data"]
    missing = await server.get("/api/v1/prices")

    assert configured[0]["rates"]["input"] == {"usd": "1", "tiers": [{"above": 10, "usd": "3"}]}
    assert configured[0]["served"][0]["when"] == {"service_tier": "batch"}
    assert configured[0]["served"][0]["rates"]["output"]["usd"] == "1.0"
    assert listed[0]["rates"]["cached_input"]["usd"] == "0.175"
    assert {"service_tier": "flex"} in [each["when"] for each in listed[0]["served"]]
    assert (unknown[0]["rates"], missing.status) == (None, 400)


async def test_repricing_stands_in_the_audit_log(serve: Serve, upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("m", says())
    server = await serve(unpriced("one", upstream))
    await server.ask(model="one/m")
    await learn(server, tmp_path, provider("one", upstream))
    await reprice(server, dry_run=True)
    before = await server.services.audit.last("costs.repriced")
    await reprice(server)
    entry = await server.services.audit.last("costs.repriced")

    assert before is None
    assert entry
    assert (entry.subject, entry.after["attempts"]) == ("ledger", 1)


async def test_prices_are_kept_as_they_are_used(serve: Serve, upstream: Upstream) -> None:
    """What was computed with one can be computed again when it is no longer in force."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    server.services.prices.on_new = price_keeper(server.services.db)
    row = await server.row((await server.ask(model="one/m")).id)
    (attempt,) = row["attempts"]
    found = await Repricing(server.services.db).kept_price(attempt["price_version"])
    assert found
    source, rates = found
    price = Price.kept(rates, source, attempt["price_version"])

    assert price == Price.of({"input": "1", "output": "2"})
    assert price.nanousd(Usage(10, 5)) == COST


@pytest.mark.parametrize(
    ("span", "param", "told"),
    [
        ({"since": "1h", "until": "2h"}, "until", "expected a time after since"),
        ({"since": "2999-01-01"}, "since", "expected a time before now"),
    ],
    ids=["backwards", "to come"],
)
async def test_a_span_that_holds_nothing_is_refused(
    serve: Serve, upstream: Upstream, span: dict[str, str], param: str, told: str
) -> None:
    server = await serve(provider("one", upstream))
    replies = [await reprice(server, **span), await server.get(f"/api/v1/prices/unpriced?{urlencode(span)}")]

    assert [(reply.status, reply.error["param"]) for reply in replies] == [(400, param)] * 2
    assert all(told in reply.error["message"] for reply in replies)
