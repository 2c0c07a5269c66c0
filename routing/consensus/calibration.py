"""Makes confidences mean what they say: of answers with 0.8, eight in ten are right.

The map is Platt's, a straight line over log-odds, fitted with a strong pull towards where it starts. It has two
numbers, is monotone (the order of confidences stays as it was) and asks for few cases; steps (isotonic
regression) ask for more and make many confidences equal.

Source: J. Platt, Probabilistic outputs for support vector machines, 1999.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FURTHEST: Final = 12.0
STEPS: Final = 25
PULL_SLOPE: Final = 300.0
PULL_SHIFT: Final = 30.0
FLATTEST: Final = 0.02


@dataclass(frozen=True, slots=True)
class Calibration:
    """Confidence = 1 / (1 + exp(-(slope * log-odds + shift)))."""

    slope: float
    shift: float

    def __call__(self, chance: float) -> float:
        """The confidence for an uncalibrated probability."""
        return 1 / (1 + math.exp(-(self.slope * odds(chance) + self.shift)))


UNTAUGHT: Final = Calibration(0.5, 0.0)
"""Without verdicts: half the log-odds, for targets repeat each other's mistakes."""
TAUGHT: Final = Calibration(1.0, 0.0)
"""With verdicts: the fitted weights are nearly calibrated, and it takes hundreds of cases to know better."""


def odds(chance: float) -> float:
    """The log-odds of a probability, at most `FURTHEST` from even."""
    if chance <= 0.0:
        return -FURTHEST
    if chance >= 1.0:
        return FURTHEST
    return min(FURTHEST, max(-FURTHEST, math.log(chance / (1 - chance))))


def calibrate(cases: Sequence[tuple[float, bool]], start: Calibration = TAUGHT) -> Calibration:
    """The map for *cases* of an uncalibrated probability and what came true, by Newton's steps."""
    slope, shift = start.slope, start.shift
    points = [(odds(chance), float(came)) for chance, came in cases]
    for _ in range(STEPS if points else 0):
        down_slope, down_shift = PULL_SLOPE * (start.slope - slope), PULL_SHIFT * (start.shift - shift)
        curve, cross, flat = PULL_SLOPE, 0.0, PULL_SHIFT
        for at, came in points:
            chance = 1 / (1 + math.exp(-max(-30.0, min(30.0, slope * at + shift))))
            bend = chance * (1 - chance)
            down_slope += (came - chance) * at
            down_shift += came - chance
            curve += bend * at * at
            cross += bend * at
            flat += bend
        whole = curve * flat - cross * cross
        by_slope = (flat * down_slope - cross * down_shift) / whole
        by_shift = (curve * down_shift - cross * down_slope) / whole
        slope, shift = max(FLATTEST, slope + _capped(by_slope)), shift + _capped(by_shift)
        if abs(by_slope) + abs(by_shift) < 1e-5:
            break
    return Calibration(slope, shift)


def _capped(step: float) -> float:
    return max(-1.0, min(1.0, step))
