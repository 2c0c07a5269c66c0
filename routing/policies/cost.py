"""Cost: the cheapest first, by the tokens that are sent and those that are expected back.

Targets without a known price come last, as written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from routing.policies.view import View
from routing.targets import Target
from translators.neutral import Request


def order(request: Request, candidates: Sequence[Target], view: View) -> list[Target]:
    """Cheapest first; equals as written."""
    costs = view.costs_nanousd(request, candidates)
    ranked = sorted((math.inf if cost is None else cost, place) for place, cost in enumerate(costs))
    return [candidates[place] for _, place in ranked]
