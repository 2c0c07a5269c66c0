"""How a route orders its targets: one function each, named in POLICIES.

    order(request, candidates, view) -> the candidates in the order to try them

A policy does not filter: what is not usable is the executor's to pass over, so that a breaker that closes in the
meantime still helps. The same candidates come back, each once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from routing.policies import balanced, cost, failover, latency, sticky, weighted
from routing.policies.view import Caller, Options, Policy, View, Weights
from routing.targets import Target
from translators.neutral import Request

__all__ = ["ADVISED", "POLICIES", "PRICED", "SCORED", "Caller", "Options", "Policy", "View", "Weights"]


def _auto(request: Request, candidates: Sequence[Target], view: View) -> list[Target]:
    from routing.policies import auto  # here, as it brings all that has to do with trained models

    return auto.order(request, candidates, view)


POLICIES: Final[Mapping[str, Policy]] = {
    "failover": failover.order,
    "weighted": weighted.order,
    "cost": cost.order,
    "latency": latency.order,
    "balanced": balanced.order,
    "sticky": sticky.order,
    "auto": _auto,
}
PRICED: Final = frozenset({"cost", "balanced", "auto"})
"""Policies that look at prices, which have to be loaded before."""
SCORED: Final = frozenset({"cost", "latency", "balanced", "auto"})
"""Policies in which nobody has said who is to be preferred, so that equals are ordered by what they would lose."""
ADVISED: Final = frozenset({"auto"})
"""Policies that go by a trained model, which has to be read before."""
