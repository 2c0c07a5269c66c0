"""Balanced: the highest weighted sum of four marks, each from 0 to 1.

    cost          (the cheapest's + 0.00001 $) / (its own + 0.00001 $)
    latency       the fastest's milliseconds / its own
    quality       what the route's configuration says of the target (0.5 where it says nothing)
    reliability   the share of its requests that it answered of late, one answer added

So the best of all gets 1 and one that is twice as dear or slow gets 0.5, whatever the others are; the ten millionths
of a dollar keep a free target from making all others equally worthless. An unknown price gets the lowest mark among
the known ones, an unknown speed their mean, and 1 where nothing is known of any. The weights are made to sum up to 1.
Speed is explored as `latency` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from routing.latency import Pace
from routing.policies.latency import explore
from routing.policies.view import View
from routing.targets import Target
from translators.neutral import Request

PETTY_NANOUSD: Final = 10_000.0
"""Added to every cost, so that nearly nothing and nothing are alike."""


class Marks(NamedTuple):
    """The marks of one target, and their weighted sum."""

    cost: float
    latency: float
    quality: float
    reliability: float
    score: float


def order(request: Request, candidates: Sequence[Target], view: View) -> list[Target]:
    """Best first; equals as written."""
    paces = view.paces(request, candidates)
    scores = _scores(*_four(request, candidates, view, paces), view)
    places = sorted(range(len(candidates)), key=scores.__getitem__, reverse=True)
    explored = explore(paces, view) if view.options.weights.latency else None
    if explored is not None:
        places.remove(explored)
        places.insert(0, explored)
    return [candidates[place] for place in places]


def marks(request: Request, candidates: Sequence[Target], view: View) -> list[Marks]:
    """The marks of *candidates*, in their order."""
    four = _four(request, candidates, view, view.paces(request, candidates))
    return [Marks(*each) for each in zip(*four, _scores(*four, view), strict=True)]


def _four(
    request: Request, candidates: Sequence[Target], view: View, paces: Sequence[Pace]
) -> tuple[list[float], list[float], list[float], list[float]]:
    """The four marks of all candidates, mark by mark."""
    costs = [None if cost is None else cost + PETTY_NANOUSD for cost in view.costs_nanousd(request, candidates)]
    cheap = _shares(costs, min)
    fast = _shares([pace.ms for pace in paces], _mean)
    return cheap, fast, view.qualities(candidates), [pace.reliability for pace in paces]


def _scores(
    cheap: list[float], fast: list[float], qualities: list[float], reliabilities: list[float], view: View
) -> list[float]:
    for_cost, for_latency, for_quality, for_reliability = view.options.weights.shares
    return [
        for_cost * cost + for_latency * latency + for_quality * quality + for_reliability * reliability
        for cost, latency, quality, reliability in zip(cheap, fast, qualities, reliabilities, strict=True)
    ]


def _shares(values: Sequence[float | None], unknown: Callable[[list[float]], float]) -> list[float]:
    """The lowest of *values* divided by each; *unknown* makes of those marks the one of a value that is None."""
    known = [value for value in values if value is not None]
    if not known:
        return [1.0] * len(values)
    least = min(known)
    if len(known) == len(values):
        return [least / value if value else 1.0 for value in known]
    instead = unknown([least / value if value else 1.0 for value in known])
    return [instead if value is None else least / value if value else 1.0 for value in values]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
