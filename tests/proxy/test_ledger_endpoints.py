"""/costs and /api/v1/exchanges: parameters, pages, CSV, and nothing that a query can break."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.errors import Refused
from proxy.ingress.ledger import groupings, moment
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, failing, provider, says
from tests.replay import Upstream

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp()
MOMENTS = {
    "30m": NOW - 1800,
    "24h": NOW - 86_400,
    "7d": NOW - 604_800,
    "2w": NOW - 1_209_600,
    "0s": NOW,
    "2026-11-21": NOW - 43_200,
    "2026-11-21T12:00:00": NOW,
    "2026-11-21T12:00:00Z": NOW,
    "2026-11-21T13:00:00+01:00": NOW,
    "2026-11-21T13:00:00 01:00": NOW,
}


@pytest.mark.parametrize("text", MOMENTS)
def test_moments(text: str) -> None:
    """A plus sign in a query arrives as a blank."""
    assert moment(text, "since", NOW) == MOMENTS[text]


@pytest.mark.parametrize("text", ["", "soon", "7y", "-1h", "1.5h", "h", "9999999d", "2026-13-01", "12:00", "1e3s"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(Refused) as raised:
        moment(text, "since", NOW)

    assert raised.value.failure.param == "since"


def test_groupings() -> None:
    assert groupings(None) == ("provider", "model")
    assert groupings("day, key,day") == ("day", "key")
    assert groupings("") == ()


BAD = [
    "/costs?since=soon",
    "/costs?since=999999w",
    "/costs?since=0001-01-01T00:00:00%2B14:00",
    "/costs?until=9999-12-31T23:59:59-14:00",
    "/costs?group_by=colour",
    "/costs?format=xml",
    "/api/v1/exchanges?limit=0",
    "/api/v1/exchanges?limit=1001",
    "/api/v1/exchanges?limit=x",
    "/api/v1/exchanges?limit=-1",
    "/api/v1/exchanges?limit=%D9%A5",
    "/costs?since=%D9%A5h",
    "/api/v1/exchanges?limit=" + "9" * 5000,
    "/api/v1/exchanges?status=fine",
    "/api/v1/exchanges?cursor=bad",
    "/api/v1/exchanges?cursor=%00%ff",
    "/api/v1/exchanges?since=999999w",
    "/api/v1/exchanges?stauts=failed",
    "/costs?sinze=7d",
    "/costs?provider=openai",
]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path[:60])
async def test_a_bad_parameter_is_named(serve: Serve, path: str) -> None:
    server = await serve()

    reply = await server.get(path)

    assert reply.status == 400, reply.body
    assert reply.error["param"] == path.partition("?")[2].partition("=")[0]


@pytest.mark.parametrize(
    "path", ["/costs", "/api/v1/exchanges", "/api/v1/ledger/export", "/api/v1/logs", "/api/v1/audit"]
)
async def test_a_span_that_ends_before_it_begins_is_refused(serve: Serve, path: str) -> None:
    """Nothing was spent in it, and nobody means that."""
    server = await serve()
    turned, empty = [await server.get(f"{path}?since=1h&until={until}") for until in ("2h", "1h")]

    assert (turned.status, turned.error["param"], empty.status) == (400, "until", 200)
    assert "until: expected a time after since" in turned.error["message"]


@pytest.mark.parametrize(
    "path", ["/api/v1/exchanges/unknown", "/api/v1/exchanges/%ff", "/api/v1/exchanges/a%27%20OR%201"]
)
async def test_an_unknown_exchange_is_not_found(serve: Serve, path: str) -> None:
    server = await serve()

    assert (await server.get(path)).status == 404


async def test_pages_are_newest_first_and_complete(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    made = [(await server.ask(model="one/m")).id for _ in range(5)]

    seen: list[str] = []
    cursor = ""
    while True:
        page = (await server.get(f"/api/v1/exchanges?limit=2{cursor}")).json
        seen += [row["id"] for row in page["data"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"

    assert seen == made[::-1]


async def test_rows_can_be_chosen(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says(), failing(400))
    server = await serve(QUICK, provider("one", upstream))
    good, bad = (await server.ask(model="one/m")).id, (await server.ask(model="one/m")).id

    async def ids(query: str) -> list[str]:
        return [row["id"] for row in (await server.get(f"/api/v1/exchanges?{query}")).json["data"]]

    assert await ids("status=ok") == [good]
    assert await ids("status=failed") == [bad]
    assert await ids("since=1h") == [bad, good]
    assert await ids("until=1h") == []
    assert await ids("key=nobody") == []


async def test_costs_add_up(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", says())
    upstream.script("b", says(), failing(400))
    server = await serve(QUICK, provider("one", upstream), provider("two", upstream))
    for model in ("one/a", "one/a", "two/b", "two/b"):
        await server.ask({"x-modelport-tags": f"team={model[:3]}"}, model=model)

    report = (await server.get("/costs")).json
    by_tag = (await server.get("/costs?group_by=tag")).json["groups"]

    groups = {(group["provider"], group["model"]): group for group in report["groups"]}
    assert Decimal(groups["one", "a"]["cost_usd"]) == Decimal("0.00004")
    assert Decimal(groups["two", "b"]["cost_usd"]) == Decimal("0.00002")
    assert Decimal(report["total"]["cost_usd"]) == sum(Decimal(group["cost_usd"]) for group in groups.values())
    assert (report["total"]["exchanges"], report["total"]["attempts"], report["total"]["errors"]) == (4, 4, 1)
    assert {group["tag"] for group in by_tag} == {"team=one", "team=two"}
    assert report["since"].endswith("Z")


async def test_csv_is_no_spreadsheet_formula(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await server.ask(model="one/m", modelport={"tags": {"=cmd()": 'x,\n"y'}})

    reply = await server.get("/costs?group_by=tag&format=csv")

    rows = list(csv.reader(io.StringIO(reply.body.decode())))
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert rows[1][0] == "'=cmd()=x,\n\"y"
    assert dict(zip(rows[0], rows[1], strict=True))["cost_usd"] == "0.000020000"


async def test_a_csv_without_groups_is_the_total(serve: Serve, upstream: Upstream) -> None:
    server = await serve()

    rows = list(csv.reader(io.StringIO((await server.get("/costs?group_by=&format=csv")).body.decode())))

    assert dict(zip(*rows, strict=True))["exchanges"] == "0"


async def test_a_closed_store_is_a_503(serve: Serve) -> None:
    """Never a 401 or 500."""
    server = await serve()
    await server.services.db.close()

    assert (await server.get("/costs")).status == 503
    assert (await server.get("/api/v1/exchanges")).status == 503
    assert (await server.get("/health/live")).status == 200
