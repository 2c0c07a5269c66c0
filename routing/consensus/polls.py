"""The poll at one place: which values are up for choice, who is for which, and which values are nearly the same.

A candidate is a value as it was written (level `exact` of `values`). Every candidate belongs to a group of candidates
that are the same when normalised, and to a wider group of similar ones. A vote counts whole for its own candidate, and
in part for the others of its groups (`Support`): so `'12 Main St.'` and `12 Main St` stand together against a third
value, and which of the two is written out is decided by their own votes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from routing.consensus.answers import SILENT, Json, Mark
from routing.consensus.literals import Key
from routing.consensus.values import exact, form, normal, similar

NOBODY = -1
"""The candidate of an answer that has no say."""
RULED_OUT = 12.0
"""What a candidate loses that the schema rules out: it wins only among its like."""


@dataclass(frozen=True, slots=True)
class Poll:
    """*votes* has the candidate of each answer; *normal*, *alike*: the groups, *forms*: the form of each candidate.

    *out* are the candidates that the client's schema rules out at this place.
    """

    votes: tuple[int, ...]
    normal: tuple[int, ...]
    alike: tuple[int, ...]
    forms: tuple[int, ...]
    out: frozenset[int] = frozenset()

    @property
    def count(self) -> int:
        """How many candidates there are."""
        return len(self.normal)


@dataclass(frozen=True, slots=True)
class Support:
    """What a vote adds to the other candidates of its group, as a share of its weight; and what a form is worth."""

    normal: float = 0.95
    alike: float = 0.0
    forms: Mapping[int, float] = field(default_factory=dict)


def poll(values: Sequence[Json | Mark], threshold: float | None) -> tuple[Poll, list[Json | Mark]]:
    """The poll over what each answer has at a place, and its candidates. Without *threshold* nothing is similar."""
    places: dict[Key, int] = {}
    candidates: list[Json | Mark] = []
    votes: list[int] = []
    for value in values:
        if value is SILENT:
            votes.append(NOBODY)
            continue
        key = exact(value)
        if key not in places:
            places[key] = len(candidates)
            candidates.append(value)
        votes.append(places[key])
    if len(candidates) < 2:
        only = (0,) * len(candidates)
        return Poll(tuple(votes), only, only, tuple(map(form, places))), candidates
    keys = [normal(candidate) for candidate in candidates]
    groups: dict[Key, int] = {}
    for key in keys:
        groups.setdefault(key, len(groups))
    near, forms = tuple(groups[key] for key in keys), tuple(map(form, places))
    return Poll(tuple(votes), near, _alike(keys, groups, threshold), forms), candidates


def _alike(keys: Sequence[Key], groups: dict[Key, int], threshold: float | None) -> tuple[int, ...]:
    """The wider group of each candidate: that of the first normal group which it is similar to."""
    leaders: list[tuple[Key, int]] = []
    found: dict[Key, int] = {}
    for key, group in groups.items():
        near = (leader for other, leader in leaders if threshold is not None and similar(key, other, threshold))
        found[key] = next(near, group)
        if found[key] == group:
            leaders.append((key, group))
    return tuple(found[key] for key in keys)


def scores(poll: Poll, weights: Sequence[float], support: Support, styles: Sequence[float] = ()) -> list[float]:
    """The support of each candidate; *weights* and *styles* go by answer.

    A *style* counts only between candidates that are the same when normalised: how much an answer's way to write a
    value is to be preferred.
    """
    own = [0.0] * poll.count
    for vote, weight in zip(poll.votes, weights, strict=True):
        if vote >= 0:
            own[vote] += weight
    if poll.count > 1:
        own = _shared(poll, own, support)
    if styles and len(set(poll.normal)) < poll.count:
        for vote, style in zip(poll.votes, styles, strict=True):
            if vote >= 0 and poll.normal.count(poll.normal[vote]) > 1:
                own[vote] += style
    if support.forms:
        own = [score + support.forms.get(one, 0.0) for score, one in zip(own, poll.forms, strict=True)]
    return [score - RULED_OUT if at in poll.out else score for at, score in enumerate(own)] if poll.out else own


def _shared(poll: Poll, own: list[float], support: Support) -> list[float]:
    if not support.normal and not support.alike:
        return own
    near = [0.0] * (max(poll.normal) + 1)
    wide = [0.0] * (max(poll.alike) + 1)
    for group, other, score in zip(poll.normal, poll.alike, own, strict=True):
        near[group] += score
        wide[other] += score
    return [
        score + support.normal * (near[group] - score) + support.alike * (wide[other] - near[group])
        for score, group, other in zip(own, poll.normal, poll.alike, strict=True)
    ]
