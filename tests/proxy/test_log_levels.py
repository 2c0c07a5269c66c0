"""Levels of loggers at run time: by HTTP, by the command line, in the audit log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.config.model import LoggingSettings
from proxy.logs import QUIET, configure_logging, loggers
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, Served, provider, says
from tests.replay import Upstream

PATH = "/api/v1/log-levels"
NAME = "modelport.requests"


@pytest.fixture(autouse=True)
def _as_before(kept_logging: None) -> Iterator[None]:
    yield
    for name in loggers()[1:]:
        logging.getLogger(name).setLevel(logging.NOTSET)


async def put(server: Served, name: str, level: Any) -> Any:
    return await server.request("PUT", f"{PATH}/{name}", json.dumps({"level": level}).encode())


async def test_a_logger_writes_more_until_it_is_reset(
    serve: Serve, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.script("m", says(), says(), says())
    server = await serve(QUICK, provider("one", upstream))
    configure_logging(LoggingSettings(format="json"))

    async def lines() -> int:
        await server.ask(model="one/m")
        await server.services.drain()
        return sum(json.loads(line)["logger"] == NAME for line in capsys.readouterr().err.splitlines())

    before = await lines()
    changed = await put(server, NAME, "debug")
    during = await lines()
    reset = await server.request("DELETE", f"{PATH}/{NAME}")
    after = await lines()

    assert (before, during, after) == (0, 1, 0)
    assert (changed.json, reset.json) == ({"name": NAME, "level": "debug"}, {"name": NAME, "level": None})
    entries = (await server.get("/api/v1/audit?action=log_level")).json["data"]
    assert [(each["subject"], each["before"], each["after"]) for each in entries[::-1]] == [
        (NAME, {"level": None}, {"level": "debug"}),
        (NAME, {"level": "debug"}, {"level": None}),
    ]


async def test_all_loggers_are_shown_with_their_levels(serve: Serve) -> None:
    server = await serve("")
    configure_logging(LoggingSettings(level="warning"))
    await put(server, "modelport", "info")

    rows = {row["name"]: row["level"] for row in (await server.get(PATH)).json["data"]}

    assert rows["root"] == "warning"
    assert rows["modelport"] == "info"
    assert rows[NAME] is None
    assert rows.keys().isdisjoint(QUIET)


async def test_root_goes_back_to_what_is_configured(serve: Serve) -> None:
    server = await serve('[logging]\nlevel = "error"')
    await put(server, "root", "debug")

    assert logging.getLogger().level == logging.DEBUG
    assert (await server.request("DELETE", f"{PATH}/root")).json == {"name": "root", "level": "error"}
    assert logging.getLogger().level == logging.ERROR


@pytest.mark.parametrize(
    ("name", "level", "status", "words"),
    [
        ("modelport.nothing", "debug", 404, "no logger is called 'modelport.nothing'; there are root, "),
        ("aiohttp.server", "debug", 404, "no logger is called"),
        ("sqlite3", "debug", 404, "no logger is called"),
        (NAME, "loud", 400, "level"),
        (NAME, None, 400, "level"),
    ],
)
async def test_what_is_wrong_is_said_and_changes_nothing(
    serve: Serve, name: str, level: Any, status: int, words: str
) -> None:
    server = await serve("")
    known = loggers()

    reply = await put(server, name, level)

    assert reply.status == status
    assert words in reply.error["message"]
    assert loggers() == known
    assert (await server.get("/api/v1/audit?action=log_level")).json["data"] == []


def test_a_quiet_logger_stays_quiet_whatever_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    """They quote what clients send."""
    configure_logging(LoggingSettings(level="debug"))
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).error("Authorization : Bearer sk-secret")
        logging.getLogger(name).setLevel(logging.NOTSET)

    assert capsys.readouterr().err == ""
