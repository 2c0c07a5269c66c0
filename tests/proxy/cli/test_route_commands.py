"""`modelport route` against a stub of the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROUTE = {
    "name": "careful",
    "policy": "cost",
    "configured_policy": "failover",
    "chosen": {"policy": "cost", "by": "key_1", "at": "2026-11-21T10:00:00Z"},
    "order": ["b/m", "a/m"],
    "targets": [{"target": "a/m", "weight": 1, "quality": None}, {"target": "b/m", "weight": 2, "quality": 0.5}],
    "losses": "warn",
}
EXPLAINED = {
    "route": "careful",
    "policy": "cost",
    "input_tokens": 12,
    "refused": None,
    "candidates": [
        {"place": 1, "target": "b/m", "score": 0.5, "cost_usd": "0.001", "latency_ms": 80, "reliability": 1.0,
         "why": "about $0.001", "held_up": "its breaker is open for 9 s"},
        {"place": None, "target": "a/m", "why": "takes no image"},
    ],
}  # fmt: skip


def lines(result: Any) -> list[str]:
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_list_has_policy_chooser_and_order(run: Any, stub: Any) -> None:
    stub.say("GET", "/api/v1/routes", {"data": [ROUTE, {**ROUTE, "name": "plain", "chosen": None, "order": []}]})

    assert lines(run("route", "list", "--url", stub.url)) == [
        "route policy chosen by order",
        "careful cost key_1 b/m, a/m",
        "plain cost configuration nobody: every provider is off",
    ]


def test_set_sends_the_policy_and_shows_the_route(run: Any, stub: Any) -> None:
    stub.say("POST", "/api/v1/routes/careful", ROUTE)

    shown = lines(run("route", "set", "careful", "cost", "--url", stub.url))

    assert stub.asked[0][3] == {"policy": "cost"}
    assert shown[:2] == ["careful: cost, chosen by key_1 at 2026-11-21T10:00:00Z", "configured: failover"]
    assert shown[3:] == ["1 b/m 2 0.5", "2 a/m 1 -"]


def test_reset_and_show(run: Any, stub: Any) -> None:
    configured = {**ROUTE, "policy": "failover", "chosen": None}
    stub.say("DELETE", "/api/v1/routes/careful", configured)
    stub.say("GET", "/api/v1/routes/careful", configured)

    for command in ("reset", "show"):
        assert lines(run("route", command, "careful", "--url", stub.url))[0] == "careful: failover, as configured"


def test_explain_takes_a_file_or_a_text(run: Any, stub: Any, tmp_path: Path) -> None:
    stub.say("POST", "/api/v1/routes/careful/explain", EXPLAINED)
    body = {"model": "careful", "messages": [{"role": "user", "content": "Hi"}]}
    (tmp_path / "request.json").write_text(json.dumps(body), "utf-8")

    by_file = lines(run("route", "explain", "request.json", "--url", stub.url))
    by_input = lines(run("route", "explain", "-", "--url", stub.url, text=json.dumps(body)))
    by_text = lines(run("route", "explain", "-m", "careful", "--text", "Hi", "--url", stub.url))

    assert by_file == by_input == by_text
    assert by_file[0] == "careful: cost, about 12 tokens in"
    assert by_file[2] == "1 b/m 0.5 0.001 80 1.0 about $0.001; its breaker is open for 9 s"
    assert by_file[3] == "out a/m - - - - takes no image"
    assert [asked[3] for asked in stub.asked] == [body, body, {"messages": body["messages"]}]


def test_explain_needs_a_name_and_a_request(run: Any, stub: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[", "utf-8")

    for arguments in (["--text", "Hi"], ["bad.json"], ["missing.json"]):
        result = run("route", "explain", *arguments, "--url", stub.url)
        assert result.exit_code == 1
        assert stub.asked == []
