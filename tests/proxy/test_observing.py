"""What an operator sees of a request: its id in every line, its phases when it was slow, its times in /metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from proxy.config.model import LoggingSettings
from proxy.logs import configure_logging
from proxy.loop_lag import LoopLag
from storage.db import Database
from storage.errors import StorageError
from tests.proxy.conftest import Serve
from tests.proxy.serving import LANE, QUICK, failing, provider, route, says, streams
from tests.proxy.test_metrics import samples
from tests.replay import Upstream

LANES = pytest.mark.parametrize("fast", ["true", "false"], ids=["lane", "no lane"])


@pytest.fixture(autouse=True)
def _restored(kept_logging: None) -> None:
    """Each test may set the process's logging up."""


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The log since it was asked last."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


# --- the id ------------------------------------------------------------------------------------------


@LANES
async def test_every_line_of_a_request_has_its_id(
    serve: Serve, upstream: Upstream, capsys: pytest.CaptureFixture[str], fast: str
) -> None:
    """Also what is said deep in routing, and in tasks that the request has started; of others' ids none."""
    upstream.script("m", says(), says(), says(), failing(500, "out of order"))
    price = 'price = { input = "1", output = "2" }'
    server = await serve(
        f"[server]\nfast_lane = {fast}", QUICK, "[breaker]\nfailures = 1", provider("one", upstream, more=price)
    )
    configure_logging(LoggingSettings(format="json", level="debug"))
    asked = [(await server.ask(model="one/m")).id for _ in range(3)]
    well = lines(capsys)
    assert server.services.shapes.ridden == (fast == "true" and not LANE)

    reply = await server.ask(model="one/m")
    await server.services.drain()
    told = lines(capsys)
    await server.get("/health/live")

    assert [each["request_id"] for each in well if each["message"] == "request"] == asked
    assert {each["message"] for each in told} >= {"breaker of one/m: closed -> open (500 server)", "request"}
    assert {each.get("request_id") for each in told} == {reply.id}
    assert lines(capsys) == []


async def test_outside_of_requests_there_is_no_id(capsys: pytest.CaptureFixture[str], serve: Serve) -> None:
    server = await serve("")
    await server.get("/health/live")
    configure_logging(LoggingSettings(format="json"))

    logging.getLogger("modelport").warning("between two")

    assert [list(each) for each in lines(capsys)] == [["at", "level", "logger", "message"]]


# --- slow requests -----------------------------------------------------------------------------------


async def test_a_slow_request_is_a_line_with_its_phases(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script("m", failing(503), streams())
    upstream.script("n", streams())
    server = await serve(
        QUICK, "[logging]\nslow_s = 0.000001", provider("one", upstream), route("town", "one/m", "one/n")
    )

    with caplog.at_level(logging.WARNING, "modelport.requests"):
        await server.ask(model="town", stream=True)
        await server.services.drain()

    (record,) = [each for each in caplog.records if each.name == "modelport.requests"]
    told = record.__dict__["fields"]
    first, second = told["attempts"]
    assert record.getMessage() == "slow request"
    assert (told["status"], told["route"], told["target"], told["stream"]) == ("ok", "town", "one/n", True)
    assert (first["target"], first["reason"], second["target"]) == ("one/m", "overloaded", "one/n")
    assert second["http_status"] == 200
    assert first["began_ms"] + first["total_ms"] <= second["began_ms"]
    assert 0 <= first["connect_ms"] <= first["head_ms"] <= first["total_ms"]
    assert "connect_ms" not in second  # both are at one server
    assert second["head_ms"] <= second["first_event_ms"] <= second["total_ms"] <= told["total_ms"]
    assert told["queue_ms"] == 0.0
    assert "Hello" not in str(told)


@pytest.mark.parametrize(
    ("settings", "stream", "slow"),
    [
        ("", True, 0),
        ("slow_s = 0.000001", False, 1),
        ("slow_first_event_s = 0.000001", True, 1),
        ("slow_first_event_s = 0.000001", False, 0),
    ],
    ids=["defaults", "whole", "first event", "a whole answer has no first event"],
)
async def test_what_is_slow(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture, settings: str, stream: bool, slow: int
) -> None:
    upstream.script("m", streams() if stream else says())
    server = await serve("[logging]", settings, QUICK, provider("one", upstream))

    await server.ask(model="one/m", stream=stream)
    await server.services.drain()

    assert [each.getMessage() for each in caplog.records if each.name == "modelport.requests"] == [
        "slow request"
    ] * slow
    assert samples(await server.get("/metrics"))["modelport_slow_requests_total", ()] == slow


async def test_an_idle_connection_takes_no_time_to_be_had(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script("m", says())
    server = await serve("[logging]\nslow_s = 0.000001", QUICK, provider("one", upstream))
    for _ in range(2):
        await server.ask(model="one/m")
    await server.services.drain()

    told = [each.__dict__["fields"]["attempts"][0] for each in caplog.records if "fields" in each.__dict__]
    assert ["connect_ms" in each for each in told] == [True, False]


@pytest.mark.parametrize(
    ("bounds", "limits", "before"),
    [
        ("", "limits = { concurrent = 1, queue = 4, queue_s = 60 }", 0),
        ("[limits]\nin_flight = 1\nwaiting_s = 60\n", "", 0),
        ("[limits]\nin_flight = 1\nwaiting_s = 60\n", "", 3),
    ],
    ids=["a provider's queue", "the door", "the door, on the fast lane"],
)
async def test_the_time_in_a_queue_is_told(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture, bounds: str, limits: str, before: int
) -> None:
    """One request at a time: the second waits until the first one's answer is let go."""
    upstream.script("m", *[says()] * before, replace(says(), hold_at=1), says())
    slow = "[logging]\nslow_s = 0.000001\n"
    server = await serve(QUICK, bounds, slow, provider("one", upstream, more=limits))

    for _ in range(before):
        await server.ask(model="one/m")
    caplog.clear()
    first = asyncio.create_task(server.ask(model="one/m"))
    held = await asyncio.to_thread(upstream.wait_asked, "m", before + 1, 20)
    second = asyncio.create_task(server.ask(model="one/m"))
    async with asyncio.timeout(20):
        while not (server.services.door.waiting or server.services.setup.gates["one"].queue):  # nobody tells
            await asyncio.sleep(0.001)
    held.release()
    await asyncio.gather(first, second)
    await server.services.drain()

    waited = [each.__dict__["fields"]["queue_ms"] for each in caplog.records if "fields" in each.__dict__]
    assert waited[0] == 0.0 < waited[1]


# --- times in /metrics -------------------------------------------------------------------------------


async def test_durations_are_counted_by_outcome(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", says(), failing(400, "no"), streams())
    server = await serve("[server]\nfast_lane = false", QUICK, provider("one", upstream))
    for stream in (False, False, True):
        await server.ask(model="one/m", stream=stream)
    await server.services.drain()

    found = samples(await server.get("/metrics"))

    def counted(name: str, **labels: str) -> float:
        return found[f"modelport_request_{name}", tuple(sorted(labels.items()))]

    assert counted("duration_seconds_count", status="ok") == 2
    assert counted("duration_seconds_count", status="failed") == 1
    assert counted("duration_seconds_bucket", status="ok", le="+Inf") == 2
    assert counted("duration_seconds_sum", status="ok") > 0
    assert counted("first_event_seconds_count") == 1


@LANES
async def test_durations_are_those_of_the_ledger(serve: Serve, upstream: Upstream, fast: str) -> None:
    upstream.script("m", says())
    server = await serve(f"[server]\nfast_lane = {fast}", QUICK, provider("one", upstream))
    for _ in range(5):
        await server.ask(model="one/m")
    booked_s = sum(row["latency_ms"] for row in await server.rows()) / 1000

    found = samples(await server.get("/metrics"))

    ok = (("status", "ok"),)
    assert found["modelport_request_duration_seconds_count", ok] == 5
    assert found["modelport_request_duration_seconds_sum", ok] == pytest.approx(
        booked_s, abs=0.003
    )  # rows are rounded to milliseconds
    assert found["modelport_request_first_event_seconds_count", ()] == 0
    assert (server.services.shapes.ridden > 0) is (fast == "true" and not LANE)


async def test_whatever_asks_a_provider_is_counted(serve: Serve) -> None:
    """Not only chats."""
    server = await serve("")

    body = json.dumps({"model": "demo/echo", "input": "Hello"}).encode()
    assert (await server.request("POST", "/v1/embeddings", body)).status == 200
    await server.services.drain()

    found = samples(await server.get("/metrics"))
    assert found["modelport_request_duration_seconds_count", (("status", "ok"),)] == 1


# --- transitions -------------------------------------------------------------------------------------


async def test_a_store_that_fails_and_works_again_is_said_once_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_connection: sqlite3.Connection) -> NoReturn:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    async with Database(tmp_path / "modelport.db") as db:
        for _ in range(3):
            with pytest.raises(StorageError):
                await db.write(full)
        await db.write(lambda connection: connection.execute("SELECT 1"))  # which a full disk takes, too
        assert db.failure is not None
        for _ in range(3):
            await db.write(lambda connection: connection.execute("UPDATE rollup_state SET folded_row = folded_row"))
        assert db.failure is None

    told = [(each.levelname, each.getMessage().rpartition(": ")[2]) for each in caplog.records]
    assert [level for level, _ in told] == ["ERROR", "WARNING"]
    assert told[1][1] == "writes work again"


async def test_a_target_that_is_ejected_is_said_once(
    serve: Serve, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script("m", failing(500))
    upstream.script("n", says())
    server = await serve(
        QUICK, "[breaker]\nfailures = 1000", provider("one", upstream), route("town", "one/m", "one/n")
    )
    for _ in range(60):
        await server.ask(model="town")

    told = [each.getMessage() for each in caplog.records if "goes behind" in each.getMessage()]
    assert len(told) == 1, told
    assert told[0].startswith("one/m goes behind the other targets of its route for")


# --- the loop ----------------------------------------------------------------------------------------


def test_a_loop_that_stands_still_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    lag = LoopLag()

    for at, late in ((10.0, 0.2), (20.0, 3.0), (30.0, 2.0), (90.0, 4.0), (100.0, 0.1)):
        lag.late(late, at)

    assert [each.getMessage().split(":")[0] for each in caplog.records] == [
        "the event loop stood still for 3.0 s",
        "the event loop stood still for 4.0 s",
    ]
    assert (lag.count, round(lag.total_s, 6), lag.worst_s) == (5, 9.3, 4.0)


def test_the_worst_of_the_loop_is_forgotten_after_two_minutes() -> None:
    lag = LoopLag()
    lag.late(3.0, 10.0)
    seen = []

    for at in (59.0, 61.0, 119.0, 121.0):
        lag.late(0.1, at)
        seen.append(lag.worst_s)

    assert seen == [3.0, 3.0, 3.0, 0.1]
