"""The methods of merging, a table; and what one of them decides for given polls.

fields   every place is settled by itself, by scores (`vote`)
whole    one whole answer is taken: that with the highest joint probability of all its values
single   one whole answer is taken: that of the most reliable target
match    one whole answer is taken: that with the highest aggregate confidence (`best_match`)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from routing.consensus.ballots import Ballot
from routing.consensus.best_match import Evidence, best_match
from routing.consensus.fitting import shares
from routing.consensus.learned import Learned
from routing.consensus.polls import Poll, Support, scores
from routing.consensus.vote import Verdict, settle

Kind: TypeAlias = Literal["fields", "whole", "single", "match"]

CLUSTERED: Final = Support(0.999, 0.998)
"""Nearly the same counts as the same; what is left decides which of them is written out."""
LEAST: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Method:
    """A way to merge. *weight* and *support* say how votes count where places are settled one by one."""

    name: str
    kind: Kind
    says: str
    weight: Callable[[Learned, str, str], float]
    support: Callable[[Learned], Support]
    has_styles: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """The polls of one exchange with what is known of the answers; sequences go by answer or by place.

    *factors* multiply the weights of votes: the caller's own trust, and less for an answer against the schema.
    """

    targets: Sequence[str]
    names: Sequence[str]
    polls: Sequence[Poll]
    factors: Sequence[float]
    nullable: Sequence[bool]
    evidence: Sequence[Evidence]


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict for each place, and the answer that was taken as a whole, where one was."""

    verdicts: tuple[Verdict, ...]
    source: int | None = None


def _calibrated(learned: Learned, target: str, name: str) -> float:
    return learned.weights.of(target, name)


def _reliable(learned: Learned, target: str, name: str) -> float:
    return learned.reliability.weight(target, name)


METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (
        Method(
            "calibrated",
            "fields",
            "votes by jointly learnt weights of target and field",
            _calibrated,
            lambda learned: learned.weights.support,
            has_styles=True,
        ),
        Method("em", "fields", "votes by reliability of target and field", _reliable, lambda _: Support(0.95, 0.0)),
        Method("whole", "whole", "the answer most probable as a whole", _calibrated, lambda _: Support()),
        Method(
            "jaro_winkler",
            "fields",
            "similar values together, votes by reliability of the target",
            lambda learned, target, _: learned.reliability.of(target),
            lambda _: CLUSTERED,
        ),
        Method("majority", "fields", "equal votes, exact values", lambda *_: 1.0, lambda _: Support(0.0, 0.0)),
        Method("best_single", "single", "the answer of the most reliable target", _reliable, lambda _: Support()),
        Method("best_match", "match", "the answer with the highest confidence", _calibrated, lambda _: Support()),
    )
}


def panel(ballot: Ballot) -> Panel:
    """The panel of an exchange in the history."""
    count = len(ballot.targets)
    return Panel(
        ballot.targets,
        [place.name for place in ballot.places],
        [place.poll for place in ballot.places],
        [1.0] * count,
        [False] * len(ballot.places),
        [Evidence()] * count,
    )


def decide(method: Method, about: Panel, learned: Learned, chances: Sequence[Sequence[float]]) -> Decision:
    """What *method* decides; *chances* are those of `chances`."""
    if method.kind == "fields":
        return Decision(tuple(_settled(method, about, learned)))
    return _taken(_best_whole(method, about, learned, chances), about)


def chances(about: Panel, learned: Learned) -> list[list[float]]:
    """The uncalibrated probability of each candidate of each place to be right, that of "none" last."""
    support, none = learned.weights.support, learned.weights.none
    weights = _weights(METHODS["calibrated"], about, learned)
    styles = _styles(about, learned)
    return [
        shares(scores(poll, weights[name], support, styles), none)
        for name, poll in zip(about.names, about.polls, strict=True)
    ]


def chance_of(decision: Decision, chances: Sequence[Sequence[float]]) -> tuple[list[float], float]:
    """The uncalibrated probabilities of what was decided: for each place, and for all of them together."""
    single = [of_place[verdict.candidate] for verdict, of_place in zip(decision.verdicts, chances, strict=True)]
    return single, math.exp(sum(math.log(max(LEAST, chance)) for chance in single))


def _settled(method: Method, about: Panel, learned: Learned) -> Iterator[Verdict]:
    weights = _weights(method, about, learned)
    support = method.support(learned)
    styles = _styles(about, learned) if method.has_styles else ()
    for name, poll, may_be_null in zip(about.names, about.polls, about.nullable, strict=True):
        trust = [learned.reliability.of(target, name) for target in about.targets] if poll.count > 1 else ()
        yield settle(poll, scores(poll, weights[name], support, styles), trust, may_be_null=may_be_null)


def _styles(about: Panel, learned: Learned) -> list[float]:
    return [factor * learned.weights.style(target) for target, factor in zip(about.targets, about.factors, strict=True)]


def _weights(method: Method, about: Panel, learned: Learned) -> dict[str, list[float]]:
    """The weights of the answers' votes, by the name of the field."""
    voters = list(zip(about.targets, about.factors, strict=True))
    return {
        name: [factor * method.weight(learned, target, name) for target, factor in voters]
        for name in dict.fromkeys(about.names)
    }


def _best_whole(method: Method, about: Panel, learned: Learned, chances: Sequence[Sequence[float]]) -> int:
    """The answer to take. Ties: more answers like it, then the more reliable target, then the first."""
    answers = range(len(about.targets))
    votes = [tuple(poll.votes[at] for poll in about.polls) for at in answers]
    alike = [votes.count(votes[at]) for at in answers]
    trust = [learned.reliability.as_whole(target) for target in about.targets]
    if method.kind == "single":
        return max(answers, key=lambda at: (round(trust[at] * about.factors[at], 9), alike[at], -at))
    joint = [
        sum(math.log(max(LEAST, of_place[vote])) for of_place, vote in zip(chances, votes[at], strict=True))
        for at in answers
    ]
    if method.kind == "whole":
        return max(answers, key=lambda at: (round(joint[at], 9), alike[at], trust[at], -at))
    agreement = [math.exp(found / max(1, len(about.polls))) for found in joint]
    return best_match(about.evidence, agreement, alike, trust)


def _taken(source: int, about: Panel) -> Decision:
    return Decision(tuple(Verdict(poll.votes[source], "score") for poll in about.polls), source)
