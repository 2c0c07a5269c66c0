"""/metrics keeps to Prometheus' conventions, and what deploy/ reads of it is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.proxy.conftest import Serve
from tests.proxy.metric_lint import complaints, families
from tests.proxy.serving import QUICK, Served, failing, provider, route, says, streams
from tests.replay import Upstream

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
METRIC = re.compile(r"\b(?:modelport|process)_[a-z0-9_]+")


@pytest.fixture
async def busy(serve: Serve, upstream: Upstream) -> Served:
    """A server that has answered and failed, with a budget, a race and two providers."""
    upstream.script("m", says(), failing(503, "no"), streams(), failing(400, "no"))
    upstream.script("n", says())
    server = await serve(
        QUICK,
        provider("one", upstream),
        provider("two", upstream),
        route("town", "one/m", "two/n"),
        route("fast", "one/m", "two/n", more='policy = "race"'),
        '[budgets.all]\nlimit_usd = "1"\nwindow = "day"\n',
    )
    for model, stream in (("town", False), ("town", True), ("one/m", True), ("one/m", False), ("fast", False)):
        await server.ask(model=model, stream=stream)
    await server.services.drain()
    return server


async def scrape(server: Served) -> str:
    return (await server.get("/metrics")).body.decode()


async def test_a_scrape_keeps_to_the_conventions(busy: Served) -> None:
    """Help and type, base units, `_total`, reserved labels, no series twice, few of them."""
    assert list(complaints(await scrape(busy))) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# TYPE modelport_x_total counter\nmodelport_x_total 1\n", "modelport_x_total: no help"),
        ("# HELP modelport_x X.\n# TYPE modelport_x counter\nmodelport_x 1\n", "and nothing else, end in _total"),
        ("# HELP modelport_x_ms X.\n# TYPE modelport_x_ms gauge\nmodelport_x_ms 1\n", "['ms'] is no base unit"),
        (
            '# HELP modelport_x X.\n# TYPE modelport_x gauge\nmodelport_x{quantile="0.5"} 1\n',
            "the label quantile in a gauge",
        ),
        ("# HELP modelport_x X.\n# TYPE modelport_x gauge\nmodelport_x 1\nmodelport_x 2\n", "comes twice"),
    ],
    ids=["help", "total", "unit", "quantile", "twice"],
)
def test_the_conventions_are_looked_at(text: str, complaint: str) -> None:
    assert any(complaint in each for each in complaints(text))


async def test_the_process_is_seen(busy: Served) -> None:
    found = {each.name: each for each in families(await scrape(busy))}

    assert found["process_resident_memory_bytes"].samples[0].value > 0
    assert found["process_open_fds"].samples[0].value > 0
    assert found["modelport_client_connections"].samples[0].value >= 1
    assert {each.labels["state"] for each in found["modelport_provider_connections"].samples} == {"busy", "idle"}
    assert found["modelport_event_loop_lag_worst_seconds"].samples[0].value >= 0


async def test_aiohttps_connections_are_not_told(serve: Serve) -> None:
    """It does not count them; everything else is there."""
    text = await scrape(await serve('[server]\ntransport = "aiohttp"'))

    assert "modelport_provider_connections" not in text
    assert "modelport_client_connections" in text


def expressions() -> list[str]:
    """All that the dashboard and the rules ask Prometheus."""
    board: dict[str, Any] = json.loads((DEPLOY / "grafana/modelport.json").read_text("utf-8"))
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text("utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    asked += [variable["definition"] for variable in board["templating"]["list"] if "definition" in variable]
    return asked + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


async def test_every_metric_that_is_shown_or_watched_exists(busy: Served) -> None:
    text = await scrape(busy)
    told = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) | {
        sample.name for family in families(text) for sample in family.samples
    }
    asked = {name for expression in expressions() for name in METRIC.findall(expression)}

    assert len(asked) > 40
    assert asked - told == set()


def test_labels_that_are_asked_for_are_words_that_there_are() -> None:
    """A misspelt status or state would show nothing, for ever."""
    known = {"status": {"ok", "failed", "interrupted"}, "state": {"closed", "unhealthy"}, "quantile": {"0.95"}}
    found = [pair for text in expressions() for pair in re.findall(r'\b(status|state|quantile)[!=~]+"([^"]+)"', text)]

    assert found
    assert [(name, word) for name, words in found for word in words.split("|") if word not in known[name]] == []


def test_the_dashboards_panels_are_whole() -> None:
    board = json.loads((DEPLOY / "grafana/modelport.json").read_text("utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]

    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert len(set(places)) == len(places)
    for panel in panels:
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["targets"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
