"""/api/v1/ledger: taken out whole, checked against itself, and pruned."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, QUICK, Served, failing, provider, route, says
from tests.replay import Upstream


async def _asked(serve: Serve, upstream: Upstream, more: str = "") -> Served:
    """Three answers after a failure each, and one out of the cache."""
    upstream.script("bad", failing(500, f"no {KEY} here"))
    upstream.script("m", says("hello"))
    server = await serve(QUICK, more, provider("one", upstream), route("both", "one/bad", "one/m"))
    for n in range(3):
        reply = await server.ask({"x-modelport-tags": f"n={n},sheet==1+1"}, model="both", seed=n, temperature=0)
        assert reply.status == 200, reply.body
    assert (await server.ask(model="both", seed=0, temperature=0)).headers["x-modelport-cache"] == "hit"
    await server.services.drain()
    return server


async def test_an_export_has_every_exchange_with_its_attempts(serve: Serve, upstream: Upstream) -> None:
    server = await _asked(serve, upstream)
    reply = await server.get("/api/v1/ledger/export")
    rows = [json.loads(line) for line in reply.body.splitlines()]

    assert reply.headers["content-type"] == "application/jsonl"
    assert [[each["status"] for each in row["attempts"]] for row in rows] == [["failed", "ok"]] * 3 + [[]]
    assert [row["id"] for row in rows] == [row["id"] for row in await server.rows()]
    assert rows[0]["attempts"][1]["raw_usage"]
    assert KEY.encode() not in reply.body


async def test_an_export_as_csv_has_a_line_for_each_attempt_and_no_formulas(serve: Serve, upstream: Upstream) -> None:
    server = await _asked(serve, upstream)
    reply = await server.get("/api/v1/ledger/export?format=csv&since=1h")
    lines = list(csv.DictReader(io.StringIO(reply.body.decode())))

    assert [(line["cache"], line["attempt_number"], line["attempt_status"]) for line in lines] == [
        *[("miss", "1", "failed"), ("miss", "2", "ok")] * 3,
        ("hit", "", ""),
    ]
    assert not any(cell.startswith(("=", "+", "-", "@")) for line in lines for cell in line.values())


async def test_an_export_of_a_span_without_rows_is_empty(serve: Serve, upstream: Upstream) -> None:
    server = await _asked(serve, upstream)

    assert (await server.get("/api/v1/ledger/export?until=1h")).body == b""


async def test_a_sound_ledger_is_verified_with_every_cost(serve: Serve, upstream: Upstream) -> None:
    server = await _asked(serve, upstream)
    told = (await server.request("POST", "/api/v1/ledger/verify")).json

    assert (told["status"], told["differences"]) == ("ok", [])
    assert (told["exchanges"], told["attempts"], told["costs_recomputed"]) == (4, 6, 3)


async def test_a_changed_cost_is_a_difference(serve: Serve, upstream: Upstream) -> None:
    server = await _asked(serve, upstream)
    change = "UPDATE attempts SET cost_nanousd = cost_nanousd + 1 WHERE status = 'ok' AND exchange = 1"
    await server.services.db.write(lambda connection: connection.execute(change).rowcount)
    told = (await server.request("POST", "/api/v1/ledger/verify")).json

    assert told["status"] == "differences"
    assert {"exchange", "cost"} <= {each["kind"] for each in told["differences"]}


async def test_what_is_pruned_is_gone_from_the_rows_and_stays_in_the_sums(serve: Serve, upstream: Upstream) -> None:
    server = await _asked(serve, upstream)
    await server.services.db.write(lambda c: c.execute("UPDATE exchanges SET opened_us = 1 WHERE row < 3").rowcount)
    before = (await server.get("/costs?since=1970-01-01")).json["total"]
    told = (await server.request("POST", "/api/v1/ledger/prune", b'{"before": "1d"}')).json
    after = (await server.get("/costs?since=1970-01-01")).json["total"]

    assert (told["removed"], told["sums_kept"], told["before"][-10:]) == (2, True, "T00:00:00Z")
    assert len(await server.rows()) == 2
    assert after == before
    assert (await server.request("POST", "/api/v1/ledger/verify")).json["status"] == "ok"


async def test_sums_can_be_dropped_with_the_rows(serve: Serve, upstream: Upstream) -> None:
    server = await _asked(serve, upstream)
    await server.services.db.write(lambda c: c.execute("UPDATE exchanges SET opened_us = 1 WHERE row < 3").rowcount)
    await server.request("POST", "/api/v1/ledger/prune", b'{"before": "1d", "keep_sums": false}')

    assert (await server.get("/costs?since=1970-01-01")).json["total"]["exchanges"] == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("GET", "/api/v1/ledger/export?format=xml", None, "format"),
        ("GET", "/api/v1/ledger/export?since=soon", None, "since"),
        ("POST", "/api/v1/ledger/prune", b"{}", "before"),
        ("POST", "/api/v1/ledger/prune", b'{"before": "soon"}', "before"),
        ("POST", "/api/v1/ledger/prune", b'{"before": "1d", "keep": 1}', "keep"),
        ("POST", "/api/v1/ledger/prune", b'{"before": "1d", "keep_sums": "no"}', "keep_sums"),
    ],
)
async def test_what_is_wrong_is_named(serve: Serve, method: str, path: str, body: bytes | None, param: str) -> None:
    reply = await (await serve()).request(method, path, body)

    assert (reply.status, reply.error["param"]) == (400, param)


async def test_sums_can_be_grouped_by_team_and_organisation(serve: Serve, upstream: Upstream) -> None:
    server = await _asked(serve, upstream)
    groups = (await server.get("/costs?group_by=team,organisation")).json["groups"]

    assert [(group["team"], group["organisation"], group["exchanges"]) for group in groups] == [(None, None, 4)]


BUDGET = '[budgets.team]\nlimit_usd = "10"\nwindow = "month"\nrolling = true\n'
AGED = "UPDATE exchanges SET opened_us = opened_us - 86400000000 * {days} WHERE row < {row}"


@pytest.mark.parametrize(
    ("more", "aged", "before", "why"),
    [
        ("", AGED.format(days=9, row=3), "2999-01-01", "in the future"),
        ("", AGED.format(days=9, row=9), "1d", "no exchange would be left"),
        (BUDGET, AGED.format(days=2, row=3), "0s", "the budget team counts"),
    ],
    ids=["future", "everything", "a budget's window"],
)
async def test_what_is_more_than_people_mean_is_pruned_when_it_is_confirmed(
    serve: Serve, upstream: Upstream, more: str, aged: str, before: str, why: str
) -> None:
    server = await _asked(serve, upstream, more)
    await server.services.db.write(lambda c: c.execute(aged).rowcount)
    body = {"before": before, "keep_sums": True}
    refused = await server.request("POST", "/api/v1/ledger/prune", json.dumps(body).encode())
    kept = len(await server.rows())
    done = await server.request("POST", "/api/v1/ledger/prune", json.dumps(body | {"confirm": True}).encode())

    assert (refused.status, refused.error["param"], refused.error["code"]) == (400, "before", "not_confirmed")
    assert why in refused.error["message"]
    assert kept == 4
    assert done.json["removed"] > 0
