"""What the history keeps of an exchange: who voted with whom, without any of the values.

For every place of the answers a poll, and, where the caller said so, which candidates may be right. Where somebody
wrote the right value as it was told, that one is right; else all that are the same as it when normalised are. What is
told to be wrong speaks of the same values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from routing.consensus.align import Layout, lay_out
from routing.consensus.answers import SILENT, Answer, Json, Label, Mark, Options
from routing.consensus.polls import NOBODY, Poll, poll
from routing.consensus.schemas import Schema

MOST_PLACES: Final = 48
"""Of an answer with more places the history keeps these many, evenly spread."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place: the name of its field, its poll, and which candidates may be right (`NOBODY`: none of them).

    *possible* None: nothing is known.
    """

    name: str
    poll: Poll
    possible: frozenset[int] | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is certain of each candidate if it is right."""
        return self.possible is not None and (NOBODY not in self.possible or len(self.possible) == 1)


@dataclass(frozen=True, slots=True)
class Ballot:
    """All polls of an exchange. *rights* says of each target whether its answer is right as a whole; None: unknown."""

    targets: tuple[str, ...]
    places: tuple[Place, ...]
    rights: tuple[bool | None, ...]
    exchange: str = ""

    @property
    def is_known(self) -> bool:
        """Whether it can be judged which answer would have been right."""
        return any(right is not None for right in self.rights) and all(right is not None for right in self.rights)

    @property
    def cells(self) -> int:
        """What it takes of the history's room."""
        return len(self.places) * len(self.targets)


@dataclass(frozen=True, slots=True)
class Cast:
    """The answers laid over one another: the places, their polls and the values up for choice."""

    layout: Layout
    polls: tuple[Poll, ...]
    candidates: tuple[Sequence[Json | Mark], ...]


def cast(values: Sequence[Json], options: Options) -> Cast:
    """The polls over *values*."""
    layout = lay_out(values)
    schema = Schema(options.schema)
    taken = [
        poll(place.values, None if schema.is_enumeration(place.name) else options.threshold) for place in layout.places
    ]
    polls = []
    for place, (found, candidates) in zip(layout.places, taken, strict=True):
        disputed = candidates if len(candidates) > 1 else ()
        out = frozenset(at for at, value in enumerate(disputed) if schema.rules_out(place.name, value))
        polls.append(replace(found, out=out) if out else found)
    return Cast(layout, tuple(polls), tuple(candidates for _, candidates in taken))


def ballot(answers: Sequence[Answer], values: Sequence[Json], label: Label, options: Options, exchange: str) -> Ballot:
    """The ballot of *answers*, whose *values* are what is compared, with what *label* tells about them."""
    known = _known_value(label)
    if known is SILENT:
        taken = cast(values, options)
        rights = tuple(label.rights.get(answer.target) for answer in answers)
        names = [place.name for place in taken.layout.places]
        places = [
            Place(name, found, _possible(found, rights, single=len(names) == 1))
            for name, found in zip(names, taken.polls, strict=True)
        ]
        return Ballot(tuple(answer.target for answer in answers), _spread(places), rights, exchange)
    taken = cast([*values, known], options)
    told = label.right is not False
    places = [
        _against(place.name, found, told=told, single=len(taken.polls) == 1)
        for place, found in zip(taken.layout.places, taken.polls, strict=True)
    ]
    same = [_agrees(taken.polls, at) for at in range(len(values))]
    rights = tuple(found if told else (False if found else None) for found in same)
    if not told and all(same):
        rights = (False,) * len(values)
    return Ballot(tuple(answer.target for answer in answers), _spread(places), rights, exchange)


def _known_value(label: Label) -> Json | Mark:
    """The value that the label speaks of: the right one, or a merged one that was right or wrong."""
    if label.expected is not SILENT:
        return label.expected
    if label.right is not None and label.merged is not SILENT and not label.rights:
        return label.merged
    return SILENT


def _possible(found: Poll, rights: Sequence[bool | None], *, single: bool) -> frozenset[int] | None:
    """What may be right by the verdicts on whole answers: what the right ones say.

    With none right, an answer of one place was wrong there; of several places nobody knows in which.
    """
    right = frozenset(vote for vote, verdict in zip(found.votes, rights, strict=True) if verdict and vote != NOBODY)
    if right:
        return right
    if not single or not any(verdict is False for verdict in rights):
        return None
    wrong = {vote for vote, verdict in zip(found.votes, rights, strict=True) if verdict is False}
    return frozenset({NOBODY, *(at for at in range(found.count) if at not in wrong)})


def _against(name: str, found: Poll, *, told: bool, single: bool) -> Place:
    """The place with the last voter taken out: its value is the right one (*told*), or a wrong one."""
    *votes, said = found.votes
    kept = sorted(set(votes) - {NOBODY})
    again = {old: new for new, old in enumerate(kept)}
    rest = Poll(
        tuple(again.get(vote, NOBODY) for vote in votes),
        tuple(found.normal[at] for at in kept),
        tuple(found.alike[at] for at in kept),
        tuple(found.forms[at] for at in kept),
        frozenset(again[at] for at in found.out if at in again),
    )
    if said == NOBODY:
        return Place(name, rest)
    of_said = {said} if said in again else {at for at in kept if found.normal[at] == found.normal[said]}
    same = frozenset(again[at] for at in of_said)
    if told:
        return Place(name, rest, same or frozenset({NOBODY}))
    if not single:
        return Place(name, rest)
    return Place(name, rest, frozenset({NOBODY, *(at for at in range(rest.count) if at not in same)}))


def _agrees(polls: Sequence[Poll], at: int) -> bool:
    """Whether answer *at* says everywhere what the last voter says, up to normalisation if nobody wrote just that."""
    return all(_says_as(found, found.votes[at], found.votes[-1]) for found in polls)


def _says_as(found: Poll, vote: int, told: int) -> bool:
    if vote == told:
        return True
    if NOBODY in (vote, told) or told in found.votes[:-1]:
        return False
    return found.normal[vote] == found.normal[told]


def _spread(places: Sequence[Place]) -> tuple[Place, ...]:
    if len(places) <= MOST_PLACES:
        return tuple(places)
    return tuple(places[at * len(places) // MOST_PLACES] for at in range(MOST_PLACES))


def to_json(found: Ballot, names: Mapping[str, int], targets: Mapping[str, int]) -> list[Any]:
    """The ballot in short lists; names and targets as numbers."""
    places = [
        [
            names[place.name],
            place.poll.votes,
            place.poll.normal,
            place.poll.alike,
            place.poll.forms,
            None if place.possible is None else sorted(place.possible),
            sorted(place.poll.out),
        ]
        for place in found.places
    ]
    return [found.exchange, [targets[target] for target in found.targets], found.rights, places]


def from_json(stored: Sequence[Any], names: Sequence[str], targets: Sequence[str]) -> Ballot:
    """The ballot that `to_json` wrote."""
    exchange, voters, rights, places = stored
    return Ballot(
        tuple(targets[at] for at in voters),
        tuple(
            Place(
                names[name],
                Poll(tuple(votes), tuple(normal), tuple(alike), tuple(forms), frozenset(*out)),
                None if possible is None else frozenset(possible),
            )
            for name, votes, normal, alike, forms, possible, *out in places
        ),
        tuple(rights),
        exchange,
    )
