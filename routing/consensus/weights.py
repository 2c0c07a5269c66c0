"""The weights of votes, learnt jointly from polls whose outcome is known.

They begin at what the reliabilities say and move as far as the cases carry them: with few cases hardly, with hundreds
as far as the targets' common mistakes demand. A field with enough cases of its own has weights of its own, held to the
common ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from routing.consensus.ballots import Ballot
from routing.consensus.fitting import Case, Features, fit
from routing.consensus.polls import NOBODY, Poll, Support
from routing.consensus.reliability import Reliability
from routing.consensus.values import FORMS

RIDGE: Final = 2.0
RIDGE_STYLE: Final = 1.0
RIDGE_ALIKE: Final = 4.0
STYLE: Final = 0.3
RIDGE_FORM: Final = 1.0
RIDGE_NONE: Final = 0.2
RIDGE_FIELD: Final = 8.0
ENOUGH_OF_FIELD: Final = 40
MOST_FIELDS: Final = 32
MOST_CASES: Final = 2000
NONE: Final = 0.0
TOGETHER: Final = Support(1.0, 0.0)
"""Values that are the same when normalised stand together; similar ones do so as far as that was learnt."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight of each target's vote (by field where it has one), of its style, of similar values, and of "none"."""

    reliability: Reliability = field(default_factory=Reliability)
    overall: Mapping[str, float] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    styles: Mapping[str, float] = field(default_factory=dict)
    support: Support = TOGETHER
    none: float = NONE

    def of(self, target: str, name: str) -> float:
        """The weight of *target*'s vote in the field *name*; without learnt ones that of its reliability."""
        known = self.fields.get(name, self.overall).get(target)
        if known is None:
            known = self.overall.get(target)
        return self.reliability.weight(target, name) if known is None else known

    def style(self, target: str) -> float:
        """How much *target*'s way to write a value counts where only that is in dispute."""
        return self.styles.get(target, STYLE)

    def to_json(self) -> dict[str, Any]:
        """As JSON, without the reliabilities."""
        return {
            "overall": {target: round(value, 4) for target, value in self.overall.items()},
            "fields": {
                name: {target: round(value, 4) for target, value in found.items()}
                for name, found in self.fields.items()
            },
            "styles": {target: round(value, 4) for target, value in self.styles.items()},
            "alike": round(self.support.alike, 4),
            "forms": {FORMS[form]: round(worth, 4) for form, worth in self.support.forms.items()},
            "none": round(self.none, 4),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], reliability: Reliability) -> Weights:
        """What `to_json` wrote."""
        forms = {FORMS.index(form): worth for form, worth in stored["forms"].items()}
        support = Support(1.0, stored["alike"], forms)
        return cls(reliability, stored["overall"], stored["fields"], stored["styles"], support, stored["none"])


def learn(ballots: Iterable[Ballot], reliability: Reliability) -> Weights:
    """The weights that explain the known outcomes of *ballots*, newest last."""
    found = _outcomes(ballots)
    if not found:
        return Weights(reliability)
    targets = sorted({target for _, voters, _, _ in found for target in voters})
    forms = sorted({form for _, _, poll, _ in found for form in poll.forms})
    before = [reliability.weight(target) for target in targets]
    size = len(targets)
    columns = _Columns(
        {target: at for at, target in enumerate(targets)},
        {form: 2 * size + 1 + at for at, form in enumerate(forms)},
        before,
    )
    cases: dict[str, list[Case]] = defaultdict(list)
    for (name, voters, poll, possible), count in found.items():
        cases[name].append(_case(columns, voters, poll, possible, count))
    prior = [*before, *[STYLE] * size, 0.0, *[0.0] * len(forms), NONE]
    ridge = [*[RIDGE] * size, *[RIDGE_STYLE] * size, RIDGE_ALIKE, *[RIDGE_FORM] * len(forms), RIDGE_NONE]
    fitted = fit([case for of_field in cases.values() for case in of_field], prior, ridge)
    own, styles, (alike, *worth, none) = fitted[:size], fitted[size : 2 * size], fitted[2 * size :]
    return Weights(
        reliability,
        dict(zip(targets, own, strict=True)),
        _by_field(cases, fitted, targets),
        dict(zip(targets, styles, strict=True)),
        Support(1.0, min(1.0, max(0.0, alike)), dict(zip(forms, worth, strict=True))),
        none,
    )


def _by_field(
    cases: Mapping[str, Sequence[Case]], common: Sequence[float], targets: Sequence[str]
) -> dict[str, dict[str, float]]:
    if len(cases) < 2:
        return {}
    sizes = {name: sum(case.count for case in found) for name, found in cases.items()}
    large = sorted((name for name in cases if sizes[name] >= ENOUGH_OF_FIELD), key=lambda name: (-sizes[name], name))
    shared = len(common) - len(targets) - 1
    ridge = [RIDGE_FIELD] * len(targets) + [1e6] * shared + [RIDGE_FIELD]
    return {name: dict(zip(targets, fit(cases[name], common, ridge), strict=False)) for name in large[:MOST_FIELDS]}


def _outcomes(
    ballots: Iterable[Ballot],
) -> Counter[tuple[str, tuple[str, ...], Poll, frozenset[int]]]:
    """Equal polls counted once; of too many, the newest."""
    found: Counter[tuple[str, tuple[str, ...], Poll, frozenset[int]]] = Counter()
    for one in reversed(list(ballots)):
        for place in one.places:
            if place.possible is not None and place.poll.count:
                found[place.name, one.targets, place.poll, place.possible] += 1
        if len(found) >= MOST_CASES:
            break
    return found


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the weights of targets and forms stand, and what the targets' were before.

    Styles come after the targets, then similar values, forms and "none".
    """

    targets: Mapping[str, int]
    forms: Mapping[int, int]
    before: Sequence[float]


def _case(columns: _Columns, voters: Sequence[str], poll: Poll, possible: frozenset[int], count: int) -> Case:
    """A poll as features: who votes for a candidate's group, who writes it so, and the weight of similar ones."""
    targets = len(columns.before)
    own: list[list[int]] = [[] for _ in range(poll.count)]
    for voter, vote in zip(voters, poll.votes, strict=True):
        if vote != NOBODY:
            own[vote].append(columns.targets[voter])
    weight = [sum(max(0.0, columns.before[voter]) for voter in group) for group in own]
    candidates: list[Features] = []
    for candidate, supporters in enumerate(own):
        same = [at for at in range(poll.count) if poll.normal[at] == poll.normal[candidate]]
        features: list[tuple[int, float]] = [(voter, 1.0) for at in same for voter in own[at]]
        if len(same) > 1:
            features += [(targets + voter, 1.0) for voter in supporters]
        wide = sum(weight[at] for at, group in enumerate(poll.alike) if group == poll.alike[candidate])
        wide -= sum(weight[at] for at in same)
        if wide > 1e-9:
            features.append((2 * targets, wide))
        features.append((columns.forms[poll.forms[candidate]], 1.0))
        candidates.append(tuple(features))
    kept = [at for at in range(poll.count) if at not in poll.out or at in possible]
    may = (*(at in possible for at in kept), NOBODY in possible)
    return Case(tuple(candidates[at] for at in kept), may, count)
