"""Quality against cost, and who goes first in a cascade."""

from __future__ import annotations

import pytest

from routing.auto.cascade import cheap_first
from routing.auto.choice import Candidate, reason, worths
from routing.auto.judging import apgr

STRONG, WEAK, FREE = Candidate("strong", 0.9, 100.0), Candidate("weak", 0.6, 10.0), Candidate("free", 0.3, 0.0)


@pytest.mark.parametrize(
    ("knob", "best"), [(0.0, "free"), (0.05, "free"), (0.3, "weak"), (0.6, "strong"), (1.0, "strong")]
)
def test_the_knob_goes_from_cost_to_quality(knob: float, best: str) -> None:
    candidates = [STRONG, WEAK, FREE]
    marks = worths(candidates, knob, 0.3)

    assert candidates[marks.index(max(marks))].name == best


def test_a_higher_knob_never_chooses_less_quality() -> None:
    candidates = [STRONG, WEAK, FREE]
    chosen = []
    for step in range(101):
        marks = worths(candidates, step / 100, 0.25)
        chosen.append(candidates[marks.index(max(marks))].quality)

    assert chosen == sorted(chosen)


def test_a_target_of_unknown_cost_counts_as_the_dearest() -> None:
    unknown = Candidate("unknown", 0.9, None)

    assert worths([STRONG, unknown], 0.5, 0.2)[0] == worths([STRONG, unknown], 0.5, 0.2)[1]


def test_the_reason_names_both_qualities_and_the_ratio_of_costs() -> None:
    assert reason(STRONG, [WEAK, FREE], 0.7) == "expected quality 0.90 vs 0.60 of weak, cost ratio 10, knob 0.7"


@pytest.mark.parametrize(
    ("costs", "qualities", "found"),
    [
        ([9.0, 1.0, 2.0], [0.9, 0.5, 0.6], ([1, 2], [0])),
        ([9.0, 1.0, 2.0, 8.0], [0.8, 0.5, 0.6, 0.9], ([1, 2], [3, 0])),
        ([9.0, 1.0], [0.9, 0.5], ([], [0, 1])),
        ([None, None, 1.0], [0.1, 0.2, 0.3], ([], [2, 1, 0])),
    ],
)
def test_the_two_cheapest_are_asked_first(costs, qualities, found) -> None:
    assert cheap_first(costs, qualities) == found


@pytest.mark.parametrize(("scores", "area"), [([3, 2, 1, 0], 0.875), ([0, 1, 2, 3], 0.125), ([1, 1, 1, 1], 0.5)])
def test_the_area_is_1_for_gains_first_and_half_for_no_order(scores: list[float], area: float) -> None:
    assert apgr(scores, [1, 1, 1, 1], [0, 1, 1, 1]) == pytest.approx(area)


def test_without_a_better_target_there_is_no_area() -> None:
    assert apgr([1, 2], [1, 0], [0, 1]) is None
