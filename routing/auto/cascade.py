"""Cascade: two cheap targets are asked, and a dear one only where they disagree.

Who goes first is decided here; `proxy.runners.cascade` asks, and what agreement is says `routing.consensus`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ASKED_FIRST: Final = 2


def cheap_first(costs: Sequence[float | None], qualities: Sequence[float]) -> tuple[list[int], list[int]]:
    """The positions of the two targets to ask first, and of those to escalate to, best first.

    The two cheapest of known cost; what is left escalates by quality. With fewer than three targets nobody is asked
    first, since nobody would be left.
    """
    priced = sorted((cost, at) for at, cost in enumerate(costs) if cost is not None)
    everyone = sorted(range(len(costs)), key=lambda at: (-qualities[at], at))
    if len(costs) < ASKED_FIRST + 1 or len(priced) < ASKED_FIRST:
        return [], everyone
    first = [at for _, at in priced[:ASKED_FIRST]]
    return first, [at for at in everyone if at not in first]
