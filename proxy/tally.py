"""What routing has done since the start, in counts: races, rounds of several targets, streams gone on with, probes.

Counted by route. Routes are those of the configuration; whatever else clients name is counted as one, OTHER, so that
their words make no labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from proxy.setup import Setup

OTHER: Final = "(other)"
"""Targets that are asked by their own names, and chains in a request."""

LEAST: Final = 2
"""Answers that it takes to agree."""

Resumed = Literal["went_on", "nobody", "not_text", "too_often", "denied"]
"""Another target went on; none did; it was no text; it had been patched as often as may be; the budget of retries did
not allow it."""
Outcome = Literal["unanimous", "agreed", "split", "single", "nobody"]
"""All who answered say it; at least two do; nobody else does; only one answered; nobody did."""


@dataclass(slots=True)
class Races:
    """Of one route. *hedged*: a second target was asked beside a late one; *unpaid*: none could be afforded.

    *cancelled* are calls that were given up, *extra_nanousd* what calls cost whose answer nobody got.
    """

    races: int = 0
    hedged: int = 0
    unpaid: int = 0
    won_by_second: int = 0
    cancelled: int = 0
    extra_nanousd: int = 0
    extra_unpriced: int = 0

    def pay(self, cost_nanousd: int | None) -> None:
        """A call in vain cost so much; None: nobody knows."""
        if cost_nanousd is None:
            self.extra_unpriced += 1
        else:
            self.extra_nanousd += cost_nanousd


@dataclass(slots=True)
class Rounds:
    """Of one route and policy. *calls* are by what became of them (`runners.panel.Fate`).

    *abstained* counts rounds with a field that was left open, *quorum_missed* those in which fewer answered than
    the quorum, which is two where the route says nothing.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    abstained: int = 0
    quorum_missed: int = 0

    def add(self, fates: Sequence[str], agreeing: int, *, abstained: bool, quorum: int | None) -> None:
        """One more, in which *agreeing* targets say what came out."""
        answered = fates.count("answered")
        self.calls.update(fates)
        self.outcomes[_outcome(answered, agreeing)] += 1
        self.abstained += abstained
        self.quorum_missed += answered < (quorum or LEAST)


def _outcome(answered: int, agreeing: int) -> Outcome:
    if answered < LEAST:
        return "single" if answered else "nobody"
    if agreeing < LEAST:
        return "split"
    return "unanimous" if agreeing >= answered else "agreed"


class Tally:
    """All counts; *resumed* is by route and what came of it, *probes* by provider and whether it answered."""

    def __init__(self) -> None:
        self.races: dict[str, Races] = {}
        self.rounds: dict[tuple[str, str], Rounds] = {}
        self.resumed: Counter[tuple[str, Resumed]] = Counter()
        self.probes: Counter[tuple[str, bool]] = Counter()

    def of_race(self, setup: Setup, route: str) -> Races:
        """The counts of the races of *route*."""
        return self.races.setdefault(counted_as(setup, route), Races())

    def of_rounds(self, setup: Setup, route: str, policy: str) -> Rounds:
        """The counts of the rounds of *route* under *policy*."""
        return self.rounds.setdefault((counted_as(setup, route), policy), Rounds())

    def resume(self, setup: Setup, route: str, outcome: Resumed) -> None:
        """A stream of *route* that may be gone on with broke off."""
        self.resumed[counted_as(setup, route), outcome] += 1


def counted_as(setup: Setup, route: str) -> str:
    """The name under which *route* is counted."""
    return route if route in setup.loaded.settings.routes else OTHER
