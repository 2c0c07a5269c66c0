"""What routing does now and has done since the start, as JSON: for `/health`, and through it for `/metrics`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from proxy.services import Services, Total
from proxy.tally import Races, Rounds
from routing.queueing import Gate
from storage.money import usd


def routing_now(services: Services) -> dict[str, Any]:
    """Retries, races, rounds of several targets and streams that broke off, of the whole server."""
    tally, budget = services.tally, services.retry_budget
    return {
        "retries": {
            "made": budget.retries,
            "handed_over": budget.hand_overs,
            "denied": budget.denied,
            "left": budget.left,
            "strained": budget.strained,
        },
        "races": [{"route": route, **_races(counts)} for route, counts in sorted(tally.races.items())],
        "rounds": [
            {"route": route, "policy": policy, **_rounds(counts)}
            for (route, policy), counts in sorted(tally.rounds.items())
        ],
        "resumed": [
            {"route": route, "outcome": outcome, "streams": count}
            for (route, outcome), count in sorted(tally.resumed.items())
        ],
    }


def spent_now(services: Services) -> dict[str, Any]:
    """What requests for which somebody was asked have cost since the start, together and on average."""
    cost_nanousd, exchanges = sum(total.cost_nanousd for total in services.totals.values()), services.exchanges
    return {
        "exchanges": exchanges,
        "cost_usd": usd(cost_nanousd),
        "average_usd": usd(round(cost_nanousd / exchanges)) if exchanges else None,
    }


def provider_now(services: Services, name: str) -> dict[str, Any]:
    """What `/health` says of one provider beside its health: its calls, its queue, who is ejected, its probes."""
    probes, total = services.tally.probes, services.totals.get(name) or Total()
    return {
        "calls": total.attempts.total(),
        "input_tokens": total.input_tokens,
        "cached_input_tokens": total.cached_input_tokens,
        "output_tokens": total.output_tokens,
        "cost_usd": usd(total.cost_nanousd),
        "unpriced_calls": total.unpriced,
        "queue": _queue(services.setup.gates[name]),
        "ejected": [
            {"model": model, "for_s": round(for_s, 1), "why": why}
            for model, for_s, why in services.outliers.ejected_of(name)
        ],
        "ejections": services.outliers.ejections[name],
        "probes": {"ok": probes[name, True], "failed": probes[name, False]},
    }


def _queue(gate: Gate) -> dict[str, Any]:
    turns = gate.turns
    return {
        "waiting": len(gate.queue),
        "served": turns.served,
        "waited_s": round(turns.waited_s, 3),
        "left": turns.left,
        "refused": dict(turns.refused),
        "room": gate.room(),
    }


def _races(counts: Races) -> dict[str, Any]:
    return {
        "races": counts.races,
        "hedged": counts.hedged,
        "unpaid": counts.unpaid,
        "won_by_second": counts.won_by_second,
        "cancelled": counts.cancelled,
        "extra_usd": usd(counts.extra_nanousd),
        "extra_unpriced": counts.extra_unpriced,
    }


def _rounds(counts: Rounds) -> dict[str, Any]:
    calls: Counter[str] = counts.calls
    return {
        "rounds": counts.outcomes.total(),
        "outcomes": dict(counts.outcomes),
        "asked": calls.total() - calls["not asked"],
        "calls": dict(calls),
        "abstained": counts.abstained,
        "quorum_missed": counts.quorum_missed,
    }
