"""Weighted: drawn without replacement, each draw in proportion to the weights that are left.

Ranking by u^(1/w) with u uniform gives exactly that order; -ln(u)/w is the same ranking without underflow.

Source: P. S. Efraimidis, P. G. Spirakis, Weighted random sampling with a reservoir, 2006.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from routing.policies.view import View
from routing.targets import Target
from translators.neutral import Request


def order(_request: Request, candidates: Sequence[Target], view: View) -> list[Target]:
    """In drawn order; targets of weight 0 come last, as written."""
    drawn = [
        (-math.log(1.0 - view.rng.random()) / target.weight if target.weight else math.inf, place)
        for place, target in enumerate(candidates)
    ]
    return [candidates[place] for _, place in sorted(drawn)]
