"""Fits the weights of votes: a conditional logit with a pull towards what was known before.

Each case is one poll whose outcome is known, wholly or in part. A candidate's score is the sum of its features times
the weights; one more outcome, "none of them", has a weight of its own. Maximised is

    sum over cases of log P(outcome is one of the possible ones)  -  ridge / 2 * |weights - prior|^2

by Newton's steps with the Fisher information, which is never indefinite. Models that repeat each other's mistakes get
small or negative weights, which counting votes or multiplying reliabilities cannot give them.

Source: D. McFadden, Conditional logit analysis of qualitative choice behavior, 1974.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Features: TypeAlias = tuple[tuple[int, float], ...]
"""Which weights a candidate adds up, and how many times each."""

STEPS: Final = 12
CONVERGED: Final = 1e-3
LONGEST_STEP: Final = 2.0


@dataclass(frozen=True, slots=True)
class Case:
    """A poll with its outcome. *possible* has a bool for each candidate, and for "none" at last."""

    candidates: tuple[Features, ...]
    possible: tuple[bool, ...]
    count: int = 1


def fit(cases: Sequence[Case], prior: Sequence[float], ridge: Sequence[float]) -> list[float]:
    """The weights; the last one is that of "none". *ridge* says for each weight how strongly *prior* holds it."""
    weights = list(prior)
    for _ in range(STEPS if cases else 0):
        slope = [hold * (before - now) for hold, before, now in zip(ridge, prior, weights, strict=True)]
        curve = [[0.0] * len(weights) for _ in weights]
        for at, hold in enumerate(ridge):
            curve[at][at] = hold
        for case in cases:
            _add(case, weights, slope, curve)
        step = solve(curve, slope)
        longest = max(map(abs, step))
        shrink = min(1.0, LONGEST_STEP / longest) if longest else 1.0
        weights = [now + shrink * by for now, by in zip(weights, step, strict=True)]
        if longest < CONVERGED:
            break
    return weights


def shares(scores: Sequence[float], none: float) -> list[float]:
    """The probabilities of candidates with these scores, that of "none" last."""
    top = max(none, *scores) if scores else none
    raised = [math.exp(score - top) for score in (*scores, none)]
    total = sum(raised)
    return [value / total for value in raised]


def solve(matrix: list[list[float]], right: Sequence[float]) -> list[float]:
    """x with matrix x = right, for a symmetric positive definite *matrix*, by Cholesky's factors."""
    size = len(right)
    lower = [[0.0] * size for _ in range(size)]
    for i in range(size):
        row = lower[i]
        for j in range(i + 1):
            other = lower[j]
            rest = matrix[i][j] - sum(row[k] * other[k] for k in range(j))
            row[j] = math.sqrt(max(rest, 1e-9)) if i == j else rest / other[j]
    forward: list[float] = []
    for i in range(size):
        forward.append((right[i] - sum(lower[i][k] * forward[k] for k in range(i))) / lower[i][i])
    found = [0.0] * size
    for i in reversed(range(size)):
        found[i] = (forward[i] - sum(lower[k][i] * found[k] for k in range(i + 1, size))) / lower[i][i]
    return found


def _add(case: Case, weights: Sequence[float], slope: list[float], curve: list[list[float]]) -> None:
    """Adds one case's gradient and Fisher information; of the latter only the lower triangle, which `solve` reads."""
    scores = [sum(weights[at] * times for at, times in features) for features in case.candidates]
    chances = shares(scores, weights[-1])
    reach = sum(chance for chance, may in zip(chances, case.possible, strict=True) if may)
    if reach < 1e-12:
        return
    mean: dict[int, float] = {}
    none = len(weights) - 1
    for features, chance, may in zip((*case.candidates, ((none, 1.0),)), chances, case.possible, strict=True):
        pull = case.count * ((chance / reach if may else 0.0) - chance)
        for at, times in features:
            slope[at] += pull * times
            mean[at] = mean.get(at, 0.0) + chance * times
        for at, times in features:
            line = curve[at]
            part = case.count * chance * times
            for other, many in features:
                if other <= at:
                    line[other] += part * many
    places = list(mean.items())
    for at, value in places:
        line = curve[at]
        part = case.count * value
        for other, many in places:
            if other <= at:
                line[other] -= part * many
