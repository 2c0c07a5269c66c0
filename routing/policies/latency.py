"""Latency: the fastest first, by moving means for requests of this size.

A stream is judged by its first content, a whole answer by its end. Fast is only who is measured, so some requests
explore: a target that was not asked of late goes first for every third request, so that a new one is soon known and a
crowd does not fall upon it; one whose measurements have grown old, or that failed, for the share `exploration`.
Known targets come before unknown ones otherwise, and unknown ones as written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from routing.latency import HALF_LIFE_S, Pace
from routing.policies.view import View
from routing.targets import Target
from translators.neutral import Request

UNTRIED: Final = 1 / 3
"""The share of requests that go to a target that nobody has tried of late."""


def order(request: Request, candidates: Sequence[Target], view: View) -> list[Target]:
    """Fastest first, but for those that explore."""
    paces = view.paces(request, candidates)
    ranked = sorted((math.inf if pace.ms is None else pace.ms, place) for place, pace in enumerate(paces))
    places = [place for _, place in ranked]
    explored = explore(paces, view)
    if explored is not None:
        places.remove(explored)
        places.insert(0, explored)
    return [candidates[place] for place in places]


def explore(paces: Sequence[Pace], view: View) -> int | None:
    """The position of a target that this request is to measure; None for: none."""
    stale = [place for place, pace in enumerate(paces) if not pace.fresh]
    if not stale or len(paces) < 2:
        return None
    untried = [place for place in stale if untouched(paces[place])]
    if view.rng.random() >= (max(UNTRIED, view.options.exploration) if untried else view.options.exploration):
        return None
    return untried[0] if untried else min(stale, key=lambda place: paces[place].weight)


def untouched(pace: Pace) -> bool:
    """Whether nobody has asked the target within a half-life."""
    return pace.tried_s is None or pace.tried_s > HALF_LIFE_S
