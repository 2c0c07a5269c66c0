"""How a route orders its targets: one function each, named in POLICIES.

    order(request, candidates, view) -> the candidates in the order to try them

A policy does not filter: what is not usable is the executor's to pass over, so that a breaker that closes in the
meantime still helps. The same candidates come back, each once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from routing.policies import failover, weighted
from routing.policies.view import Policy, View

__all__ = ["POLICIES", "Policy", "View"]

POLICIES: Final[Mapping[str, Policy]] = {
    "failover": failover.order,
    "weighted": weighted.order,
}
