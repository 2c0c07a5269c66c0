"""Chooses the method by what it would have done on the route's own history.

The known exchanges are split into `FOLDS` parts. For each part everything is learnt from the rest (its own verdicts are
hidden, its answers are not), then every method decides its exchanges. A method's points for an exchange are 1 when the
whole answer is right, else up to a half for the share of right fields.

The method with the highest mean is taken; `best_single` is always among them. Below `ENOUGH` known exchanges the route
votes by reliability. What is nearly as good as the best, within `MARGIN` standard errors of the difference, is as good:
of those the one that stands first in `ORDER` is taken, for it is the one that gains from what comes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from routing.consensus.ballots import Ballot
from routing.consensus.calibration import TAUGHT, calibrate
from routing.consensus.learned import UNTAUGHT_METHOD, Learned, Score
from routing.consensus.methods import METHODS, chance_of, chances, decide, panel
from routing.consensus.reliability import estimate
from routing.consensus.weights import learn

ORDER: Final = ("calibrated", "whole", "em", "jaro_winkler", "majority", "best_single")
FOLDS: Final = 4
ENOUGH: Final = 12
MARGIN: Final = 0.5
MOST_FIELDS: Final = 4000


@dataclass(slots=True)
class _Trial:
    """What one method did on the exchanges in hand: points, and uncalibrated probabilities with what came true."""

    points: list[float] = field(default_factory=list)
    whole: list[tuple[float, bool]] = field(default_factory=list)
    fields: list[tuple[float, bool]] = field(default_factory=list)


def taught(ballots: Sequence[Ballot]) -> Learned:
    """All that *ballots* teach."""
    learned = _weighed(ballots)
    known = [ballot for ballot in ballots if ballot.is_known]
    if len(known) < ENOUGH:
        return learned
    trials = _tried(ballots, known)
    method = chosen({name: trial.points for name, trial in trials.items()})
    return replace(
        learned,
        method=method,
        scores={name: Score(math.fsum(trial.points) / len(known), len(known)) for name, trial in trials.items()},
        whole=calibrate(trials[method].whole, TAUGHT),
        field=calibrate(trials[method].fields[-MOST_FIELDS:], TAUGHT),
    )


def chosen(points: Mapping[str, Sequence[float]]) -> str:
    """The method to take by the *points* of each one on the same exchanges."""
    best = max(ORDER, key=lambda name: (math.fsum(points[name]), -ORDER.index(name)))
    return next(name for name in ORDER if name == best or _as_good(points[name], points[best]))


def _as_good(points: Sequence[float], best: Sequence[float]) -> bool:
    """Whether the second does not stand out from the first."""
    apart = [more - less for less, more in zip(points, best, strict=True)]
    mean = math.fsum(apart) / len(apart)
    spread = math.sqrt(math.fsum((one - mean) ** 2 for one in apart)) / len(apart)
    return mean <= MARGIN * spread


def _weighed(ballots: Sequence[Ballot]) -> Learned:
    reliability = estimate(ballots)
    return Learned(learn(ballots, reliability), UNTAUGHT_METHOD)


def _tried(ballots: Sequence[Ballot], known: Sequence[Ballot]) -> dict[str, _Trial]:
    trials = {name: _Trial() for name in ORDER}
    fold_of = {id(ballot): at % FOLDS for at, ballot in enumerate(known)}
    for fold in range(FOLDS):
        learned = _weighed([_untold(one) if fold_of.get(id(one)) == fold else one for one in ballots])
        for ballot in known[fold::FOLDS]:
            about = panel(ballot)
            found = chances(about, learned)
            for name, trial in trials.items():
                decision = decide(METHODS[name], about, learned, found)
                candidates = [verdict.candidate for verdict in decision.verdicts]
                single, whole = chance_of(decision, found)
                _judge(trial, ballot, candidates, single, whole)
    return trials


def _judge(trial: _Trial, ballot: Ballot, candidates: Sequence[int], single: Sequence[float], whole: float) -> None:
    judged = [
        (chance, candidate in place.possible)
        for place, candidate, chance in zip(ballot.places, candidates, single, strict=True)
        if place.possible is not None and place.is_known
    ]
    right = _is_right(ballot, candidates)
    share = sum(came for _, came in judged) / len(judged) if judged else 0.0
    trial.points.append(1.0 if right else min(0.5, share / 2))
    trial.whole.append((whole, right))
    trial.fields.extend(judged)


def _is_right(ballot: Ballot, candidates: Sequence[int]) -> bool:
    """Whether the answer put together from *candidates* is right: one that a target gave, or all of its places are."""
    for at, right in enumerate(ballot.rights):
        if right is not None and all(
            place.poll.votes[at] == candidate for place, candidate in zip(ballot.places, candidates, strict=True)
        ):
            return right
    return all(
        place.possible is not None and place.is_known and candidate in place.possible
        for place, candidate in zip(ballot.places, candidates, strict=True)
    )


def _untold(ballot: Ballot) -> Ballot:
    return replace(
        ballot,
        rights=(None,) * len(ballot.rights),
        places=tuple(replace(place, possible=None) for place in ballot.places),
    )
