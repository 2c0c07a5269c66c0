"""`modelport exchange show`: who said what, and what it cost."""

from __future__ import annotations

import json
from typing import Any

from tests.proxy.cli.conftest import Run, Stub

ROW: dict[str, Any] = {
    "id": "req_1",
    "opened_at": "2026-11-21T02:10:34.120Z",
    "status": "ok",
    "route": "town",
    "target": "one/a",
    "cache": "miss",
    "input_tokens": 20,
    "output_tokens": 10,
    "cost_usd": "0.000040000",
    "estimated": False,
    "latency_ms": 120.5,
    "first_event_ms": 119.0,
    "losses": [{"field": "n", "action": "clamped", "reason": "one answer comes out"}],
    "error": None,
    "attempts": [
        {"number": 1, "provider": "one", "model": "a", "status": "ok", "http_status": 200, "cost_usd": "0.000020000"},
        {"number": 2, "provider": "two", "model": "b", "status": "failed", "http_status": 500, "error": "boom"},
    ],
    "votes": [
        {"target": "one/a", "status": "answered", "agrees": True, "value": {"city": "Bonn"}, "cost_usd": "0.000020000"},
        {"target": "two/b", "status": "answered", "agrees": False, "value": {"city": "Born"}, "attempts": [2]},
        {"target": "three/c", "status": "given up", "why": "the quorum was reached without it"},
    ],
    "consensus": {
        "policy": "consensus",
        "method": "em",
        "confidence": 0.91,
        "reason": "votes by reliability",
        "fields": [
            {
                "path": "city",
                "value": "Bonn",
                "confidence": 0.9,
                "settled_by": "score",
                "votes": {"one/a": "Bonn", "two/b": "Born"},
            }
        ],
    },
}


def test_attempts_votes_and_losses_are_shown(run: Run, stub: Stub) -> None:
    stub.say("GET", "/api/v1/exchanges/req_1", ROW)
    result = run("exchange", "show", "req_1", "--url", stub.url)

    assert result.exit_code == 0, result.output
    for told in ("req_1  ok", "town -> one/a", "em, confidence 0.91", "two/b Born", "the quorum was reached", "boom"):
        assert told in result.stdout
    assert "loss  n: clamped, one answer comes out" in result.stdout


def test_an_exchange_without_a_consensus_has_no_table_of_votes(run: Run, stub: Stub) -> None:
    stub.say("GET", "/api/v1/exchanges/req_1", {**ROW, "votes": [], "consensus": None})
    result = run("exchange", "show", "req_1", "--url", stub.url)

    assert result.exit_code == 0
    assert "vote of" not in result.stdout


def test_json_is_what_the_server_says(run: Run, stub: Stub) -> None:
    stub.say("GET", "/api/v1/exchanges/req_1", ROW)
    result = run("exchange", "show", "req_1", "--json", "--url", stub.url)

    assert json.loads(result.stdout) == ROW


def test_an_unknown_exchange_fails(run: Run, stub: Stub) -> None:
    stub.say("GET", "/api/v1/exchanges/req_2", {"error": {"message": "no exchange has the id 'req_2'"}}, 404)
    result = run("exchange", "show", "req_2", "--url", stub.url)

    assert result.exit_code == 1
    assert "no exchange has the id" in result.output
