"""`modelport status --detailed`: what routing has done."""

from __future__ import annotations

from typing import Any

QUIET = {
    "queue": {"waiting": 0, "served": 0, "waited_s": 0.0, "left": 0, "refused": {}, "room": {}},
    "ejected": [],
    "ejections": 0,
    "probes": {"ok": 0, "failed": 0},
}
BUSY = {
    "queue": {"waiting": 3, "served": 4, "waited_s": 2.0, "left": 1, "refused": {"too_long": 5}, "room": {}},
    "ejected": [{"model": "m1", "for_s": 22.4, "why": "31% of its attempts fail, of the others 0%"}],
    "ejections": 2,
    "probes": {"ok": 20, "failed": 1},
}
ROUTING = {
    "retries": {"made": 12, "handed_over": 40, "denied": 3, "left": 4, "strained": False},
    "races": [
        {
            "route": "fast",
            "races": 120,
            "hedged": 9,
            "unpaid": 2,
            "won_by_second": 5,
            "cancelled": 9,
            "extra_usd": "0.000123000",
            "extra_unpriced": 0,
        }
    ],
    "rounds": [
        {
            "route": "town",
            "policy": "consensus",
            "rounds": 30,
            "outcomes": {"unanimous": 20, "agreed": 10},
            "asked": 90,
            "calls": {"answered": 88, "given up": 2},
            "abstained": 1,
            "quorum_missed": 3,
        }
    ],
    "resumed": [{"route": "patched", "outcome": "went_on", "streams": 2}],
}


def detailed(run: Any, stub: Any, provider: dict[str, Any], routing: dict[str, Any]) -> list[str]:
    health = {"status": "ok", "providers": [{"name": "a", "status": "healthy", **provider}], "routing": routing}
    stub.say("GET", "/health", health)
    stub.say("GET", "/costs", {"groups": []})
    result = run("status", "--detailed", "--url", stub.url)
    assert result.exit_code == 0
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_what_happened_is_told_in_a_line_each(run: Any, stub: Any) -> None:
    lines = detailed(run, stub, BUSY, ROUTING)

    assert lines[3:-2] == [
        "queue a: 3 waiting, 4 served after 0.50 s on average, 1 left, 5 refused as too long",
        "outlier a/m1 goes last for 22.4 s: 31% of its attempts fail, of the others 0%",
        "probes a: 20 ok, 1 failed",
        "retries 12 made, 40 handed over to a target that is well, 3 denied; 4 more may be made now",
        "race fast: 120 requests, 9 hedged, 5 won by the second, 9 calls cancelled, 0.000123000 USD in vain",
        "consensus town: 30 rounds, 20 unanimous, 10 agreed, 3 below the quorum, 1 with a field left open",
        "broke off patched: 2 streams (went on)",
    ]


def test_what_did_not_happen_is_not_spoken_of(run: Any, stub: Any) -> None:
    nothing = {"retries": dict.fromkeys(ROUTING["retries"], 0), "races": [], "rounds": [], "resumed": []}

    assert [line.split()[0] for line in detailed(run, stub, QUIET, nothing)[3:]] == ["storage", "cache"]
