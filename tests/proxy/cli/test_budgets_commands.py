"""`modelport budgets`: against a stub of the server, and where no server runs."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

ROW = {
    "id": "budget_1", "name": "search", "kind": "team", "subject": "red", "window": "day", "rolling": False,
    "hard": False, "limit_usd": "10.000000000", "spent_usd": "8.100000000", "reserved_usd": "0.000000000",
    "percent": 81.0, "status": "alert", "reopens_at": "2026-11-22T00:00:00Z", "origin": "api",
}  # fmt: skip
ALERT = {"id": "alert_1", "event": "budget.threshold", "percent": 80, "at": "2026-11-21T20:00:00Z", "waiting": True}


def test_the_list_shows_how_they_stand(run: Any, stub: Any) -> None:
    stub.say("GET", "/api/v1/budgets", {"data": [ROW]})
    shown = run("budgets", "list", "--url", stub.url)
    raw = run("budgets", "list", "--json", "--url", stub.url)

    assert " ".join(shown.stdout.splitlines()[1].split()) == (
        "search team red a day, soft 10.000000000 8.100000000 0.000000000 81.0 alert 2026-11-22T00:00:00Z api"
    )
    assert json.loads(raw.stdout) == {"data": [ROW]}


def test_one_is_shown_with_its_alerts(run: Any, stub: Any) -> None:
    stub.say("GET", "/api/v1/budgets/search", {**ROW, "recent_alerts": [{**ALERT, "error": "status 500"}]})
    result = run("budgets", "show", "search", "--url", stub.url)

    assert "80 %   2026-11-21T20:00:00Z  waits for the webhook (status 500)" in result.stdout


@pytest.mark.parametrize(
    ("there", "options", "sent"),
    [
        ([], ("--limit-usd", "5", "--team", "red", "--soft", "--alert", "50", "--alert", "100"),
         ("POST", "/api/v1/budgets",
          {"name": "search", "limit_usd": "5", "team": "red", "hard": False, "alerts": [50, 100]})),
        ([ROW], ("--limit-usd", "5", "--rolling"),
         ("PATCH", "/api/v1/budgets/budget_1", {"limit_usd": "5", "rolling": True})),
        ([ROW], ("--team", "red", "--window", "hour"), ("PATCH", "/api/v1/budgets/budget_1", {"window": "hour"})),
        ([{**ROW, "origin": "key"}], ("--limit-usd", "5"),
         ("POST", "/api/v1/budgets", {"name": "search", "limit_usd": "5"})),
    ],
)  # fmt: skip
def test_set_makes_a_budget_or_changes_the_one_of_that_name(
    run: Any, stub: Any, there: list[Any], options: tuple[str, ...], sent: tuple[str, str, Any]
) -> None:
    stub.say("GET", "/api/v1/budgets", {"data": there})
    stub.say("POST", "/api/v1/budgets", ROW, 201)
    stub.say("PATCH", "/api/v1/budgets/budget_1", ROW)
    result = run("budgets", "set", "search", *options, "--url", stub.url)

    assert (result.exit_code, result.stdout) == (0, "search (team red): 10.000000000 USD a day, spent 8.100000000\n")
    method, path, _, body = stub.asked[-1]
    assert (method, path, body) == sent


def test_set_does_not_turn_a_budget_to_something_else(run: Any, stub: Any) -> None:
    stub.say("GET", "/api/v1/budgets", {"data": [ROW]})
    result = run("budgets", "set", "search", "--team", "blue", "--url", stub.url)

    assert (result.exit_code, len(stub.asked)) == (1, 1)
    assert "is about team red; remove it first" in result.stderr


def test_it_works_where_no_server_runs(run: Any, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "m.toml"
    config.write_text(f'[server]\nport = {port}\n[storage]\npath = "{tmp_path / "m.db"}"\n', "utf-8")
    made = run("budgets", "set", "all", "--limit-usd", "3", "--window", "day", "--config", str(config))
    removed = run("budgets", "remove", "all", "--config", str(config))
    listed = run("budgets", "list", "--json", "--config", str(config))

    assert made.stdout == "all (everything): 3.000000000 USD a day, spent 0.000000000\n"
    assert removed.stdout == "all is removed\n"
    assert json.loads(listed.stdout) == {"data": []}
