"""Chooses one whole answer by its aggregate confidence.

The confidence is the weighted mean of what is known of an answer, each from 0 to 1:

agreement    the mean (geometric) probability of its values, given the other answers
reliability  of its target, from the history
logprob      the mean (geometric) probability of its tokens, where the target gives them
reported     what the target itself says, where the schema has such a member; targets overrate themselves, so it counts
             least

An answer against the client's schema counts half. Ties: more answers like it, then reliability, then the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

AGREEMENT: Final = 0.5
RELIABILITY: Final = 0.25
LOGPROB: Final = 0.15
REPORTED: Final = 0.1
INVALID: Final = 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an answer brings along for its own case; None: nothing."""

    logprob: float | None = None
    reported: float | None = None
    valid: bool | None = None


def aggregate(evidence: Evidence, agreement: float, reliability: float) -> float:
    """The confidence of one answer, from 0 to 1."""
    parts = [(AGREEMENT, agreement), (RELIABILITY, reliability)]
    if evidence.logprob is not None:
        parts.append((LOGPROB, math.exp(min(0.0, evidence.logprob))))
    if evidence.reported is not None:
        parts.append((REPORTED, evidence.reported))
    mean = sum(weight * value for weight, value in parts) / sum(weight for weight, _ in parts)
    return mean * INVALID if evidence.valid is False else mean


def best_match(
    evidence: Sequence[Evidence], agreement: Sequence[float], alike: Sequence[int], reliability: Sequence[float]
) -> int:
    """The position of the best answer; *alike* has how many answers are like each one."""
    found = [
        round(aggregate(one, agrees, trust), 9)
        for one, agrees, trust in zip(evidence, agreement, reliability, strict=True)
    ]
    return max(range(len(found)), key=lambda at: (found[at], alike[at], reliability[at], -at))
