"""The choice among targets whose expected quality and cost are known.

    worth = quality - price of quality * cost share        price of quality = spread * (1 - knob) / knob

The cost share is the target's cost by that of the dearest one. The spread is how far targets' outcomes usually are
apart. So at knob 1 only quality counts, at 0 only cost, and at 0.5 all of the money is worth the usual difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LEAST_KNOB: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Candidate:
    """One target, by its *name*. *cost* is in any unit, None where it is unknown."""

    name: str
    quality: float
    cost: float | None


def worths(candidates: Sequence[Candidate], knob: float, spread: float) -> list[float]:
    """The worth of each of *candidates*; one whose cost is unknown counts as the dearest."""
    dearest = max((each.cost for each in candidates if each.cost is not None), default=0.0)
    price = spread * (1 - knob) / max(knob, LEAST_KNOB)
    return [each.quality - price * _share(each.cost, dearest) for each in candidates]


def reason(chosen: Candidate, others: Sequence[Candidate], knob: float) -> str:
    """Why *chosen* goes before *others*, in a few words for a receipt."""
    rival = max(others, key=lambda each: each.quality, default=None)
    told = f"expected quality {chosen.quality:.2f}"
    if rival is None:
        return told
    told += f" vs {rival.quality:.2f} of {rival.name}"
    if chosen.cost and rival.cost:
        ratio = chosen.cost / rival.cost
        told += f", cost ratio {ratio:.2g}"
    return f"{told}, knob {knob:.2g}"


def _share(cost: float | None, dearest: float) -> float:
    if cost is None:
        return 1.0
    return cost / dearest if dearest else 0.0
