"""How often each target is right, learnt from agreement alone and, where there are verdicts, from them.

Expectation and maximisation of Dawid and Skene's kind, in the form for open answers: in every poll at most one group of
equal values is right. A target is right with a probability of its own; when it errs it hits one of `WRONG_VALUES` wrong
values. Known outcomes stand fast; those that are not known count less where some are, and so do those where all say the
same: easy questions make every target look alike.

A target has one reliability over all, and one for each field, drawn towards the first by `HOLD` imagined cases.

Source: A. P. Dawid, A. M. Skene, Maximum likelihood estimation of observer error-rates using the EM algorithm, 1979.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias

from routing.consensus.ballots import Ballot, Place
from routing.consensus.fitting import shares
from routing.consensus.polls import NOBODY

WRONG_VALUES: Final = 3.0
UNKNOWN: Final = 0.7
"""The reliability of a target about which nothing is known."""
PRIOR: Final = (1.4, 2.0)
"""Imagined cases: right ones, all."""
HOLD: Final = 10.0
HOLD_WHOLE: Final = 2.0
UNTOLD: Final = 0.2
"""The weight of a poll without known outcome, once there are as many with one as `ENOUGH_TOLD`."""
UNDISPUTED: Final = 0.3
"""The weight of a poll without known outcome in which all say the same."""
ENOUGH_TOLD: Final = 40
LOWEST: Final = 0.05
HIGHEST: Final = 0.98
ROUNDS: Final = 20

Outcome: TypeAlias = tuple[str, tuple[str, ...], tuple[int, ...], frozenset[int] | None]
"""A field's name, the targets, the group that each votes for, and the groups that may be right."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """The share of right answers by target, and by field and target; between `LOWEST` and `HIGHEST`."""

    overall: Mapping[str, float] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    wholes: Mapping[str, float] = field(default_factory=dict)

    def as_whole(self, target: str) -> float:
        """How often *target*'s answer is right in every place, where there are verdicts about that."""
        return self.wholes.get(target, self.of(target))

    def of(self, target: str, name: str | None = None) -> float:
        """How reliable *target* is, in the field *name* if that is known of it."""
        known = self.fields.get(name, {}).get(target) if name is not None else None
        return self.overall.get(target, UNKNOWN) if known is None else known

    def weight(self, target: str, name: str | None = None) -> float:
        """The vote's weight that follows from it: how much likelier a value is right when the target gives it."""
        return log_odds(self.of(target, name))

    def to_json(self) -> dict[str, Any]:
        """As JSON, rounded."""
        return {
            "overall": _rounded(self.overall),
            "fields": {name: _rounded(found) for name, found in self.fields.items()},
            "wholes": _rounded(self.wholes),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Reliability:
        """What `to_json` wrote."""
        return cls(stored["overall"], stored["fields"], stored["wholes"])


@lru_cache(maxsize=4096)
def log_odds(reliability: float) -> float:
    """The logarithm by which one vote of a target with this reliability multiplies the odds of its value."""
    return math.log(reliability / (1 - reliability)) + math.log(WRONG_VALUES)


def estimate(ballots: Sequence[Ballot]) -> Reliability:
    """The reliabilities that explain *ballots* best."""
    outcomes = Counter(_outcome(found.targets, place) for found in ballots for place in found.places)
    overall: dict[str, float] = {target: UNKNOWN for _, targets, _, _ in outcomes for target in targets}
    told = sum(count for outcome, count in outcomes.items() if outcome[3] is not None)
    untold = 1.0 - (1.0 - UNTOLD) * min(1.0, told / ENOUGH_TOLD)
    seen: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS if outcomes else 0):
        seen = _expected(outcomes, overall, untold)
        before, overall = overall, _overall(seen)
        if max(abs(overall[target] - before[target]) for target in overall) < 1e-4:
            break
    fields: dict[str, dict[str, float]] = defaultdict(dict)
    for (name, target), (right, all_) in seen.items():
        fields[name][target] = _within((right + HOLD * overall[target]) / (all_ + HOLD))
    return Reliability(overall, dict(fields) if len(fields) > 1 else {}, _wholes(ballots, overall))


def _wholes(ballots: Iterable[Ballot], overall: Mapping[str, float]) -> dict[str, float]:
    """By target the share of answers that were right as a whole, of those with a verdict."""
    sums: dict[str, list[float]] = {}
    for ballot in ballots:
        for target, right in zip(ballot.targets, ballot.rights, strict=True):
            if right is not None:
                total = sums.setdefault(target, [HOLD_WHOLE * overall.get(target, UNKNOWN), HOLD_WHOLE])
                total[0] += right
                total[1] += 1
    return {target: _within(right / all_) for target, (right, all_) in sums.items()}


def _outcome(targets: tuple[str, ...], place: Place) -> Outcome:
    group = place.poll.normal
    votes = tuple(NOBODY if vote == NOBODY else group[vote] for vote in place.poll.votes)
    if place.possible is None:
        return (place.name, targets, votes, None)
    return (place.name, targets, votes, frozenset(at if at == NOBODY else group[at] for at in place.possible))


def _expected(
    outcomes: Mapping[Outcome, int], overall: Mapping[str, float], untold: float
) -> dict[tuple[str, str], list[float]]:
    """By field and target: the expected number of right votes, and of all."""
    weights = {target: log_odds(found) for target, found in overall.items()}
    seen: dict[tuple[str, str], list[float]] = {}
    for (name, targets, votes, possible), count in outcomes.items():
        groups = sorted(set(votes) - {NOBODY})
        scores = dict.fromkeys(groups, 0.0)
        for target, vote in zip(targets, votes, strict=True):
            if vote != NOBODY:
                scores[vote] += weights[target]
        chances = _chances(groups, list(scores.values()), possible)
        times = count if possible is not None else count * untold * (1.0 if len(groups) > 1 else UNDISPUTED)
        for target, vote in zip(targets, votes, strict=True):
            if vote != NOBODY:
                sums = seen.setdefault((name, target), [0.0, 0.0])
                sums[0] += times * chances[vote]
                sums[1] += times
    return seen


def _chances(groups: Sequence[int], scores: Sequence[float], possible: frozenset[int] | None) -> dict[int, float]:
    """The probability of each group to be right, given what may be."""
    found = dict(zip((*groups, NOBODY), shares(scores, 0.0), strict=True))
    if possible is None:
        return found
    reach = sum(found.get(group, 0.0) for group in possible)
    return {group: chance / reach if group in possible and reach else 0.0 for group, chance in found.items()}


def _overall(seen: Mapping[tuple[str, str], Sequence[float]]) -> dict[str, float]:
    sums: dict[str, list[float]] = {}
    for (_, target), (right, all_) in seen.items():
        total = sums.setdefault(target, [*PRIOR])
        total[0] += right
        total[1] += all_
    return {target: _within(right / all_) for target, (right, all_) in sums.items()}


def _within(share: float) -> float:
    return min(HIGHEST, max(LOWEST, share))


def _rounded(found: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in found.items()}
