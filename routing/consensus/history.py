"""What a route remembers of its exchanges, and what it has learnt from them.

`observe` and `learn` are quick. `refit` is not (a tenth of a second to a few seconds for a full history): it belongs
into a thread, when `is_due` says so. `learned` is immutable and replaced as a whole, so that `merge` may read it
meanwhile.

The size is bounded: the newest `MOST_BALLOTS` exchanges, of which polls with at most `MOST_CELLS` votes; exchanges
without a verdict make room first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from routing.consensus import ballots as ballot_form
from routing.consensus.answers import Answer, Label, Options
from routing.consensus.ballots import Ballot, ballot
from routing.consensus.choose import taught
from routing.consensus.learned import Learned
from routing.consensus.plain import comparable

FORM: Final = 1
"""The form of the stored state; what has another form is forgotten."""
MOST_BALLOTS: Final = 600
MOST_CELLS: Final = 24_000
FIRST: Final = 4
GROWTH: Final = 0.2
MOST_BETWEEN: Final = 64


class History:
    """The memory of one route. Not safe for several threads, but for `fitted` and `learned` as described above."""

    def __init__(self, learned: Learned | None = None, ballots: Iterable[Ballot] = ()) -> None:
        self.learned = learned or Learned()
        self._ballots = list(ballots)
        self._new = 0

    def __len__(self) -> int:
        return len(self._ballots)

    @property
    def ballots(self) -> Sequence[Ballot]:
        """What is remembered, oldest first."""
        return tuple(self._ballots)

    @property
    def is_due(self) -> bool:
        """Whether enough is new for `refit`: a fifth of what there is, at least `FIRST`, at most `MOST_BETWEEN`."""
        return self._new >= min(MOST_BETWEEN, max(FIRST, GROWTH * len(self._ballots)))

    def observe(self, answers: Sequence[Answer], options: Options | None = None, exchange: str = "") -> None:
        """Remembers an exchange about which nothing is known but the answers."""
        self.learn(answers, Label(), options, exchange)

    def learn(
        self, answers: Sequence[Answer], label: Label, options: Options | None = None, exchange: str = ""
    ) -> None:
        """Remembers an exchange with what the caller found out; it replaces what was known of the same *exchange*."""
        options = options or Options()
        told = [answer for answer in answers if answer.value is not None]
        compared = comparable(told, label, options)
        if compared is None:
            return
        told, values, label = compared
        if len(told) < 2 and not label.rights:
            return
        found = ballot(told, values, label, options, exchange)
        if exchange:
            self._ballots = [one for one in self._ballots if one.exchange != exchange]
        self._ballots.append(found)
        self._new += 1
        self._make_room()

    def refit(self) -> None:
        """Learns anew from all that is remembered."""
        self.take(fitted(self.ballots))

    def take(self, learned: Learned) -> None:
        """Takes over what `fitted` found, in a thread of its own, say."""
        self.learned = learned
        self._new = 0

    def to_json(self) -> dict[str, Any]:
        """The state as JSON."""
        names = _numbered(place.name for one in self._ballots for place in one.places)
        targets = _numbered(target for one in self._ballots for target in one.targets)
        return {
            "form": FORM,
            "names": list(names),
            "targets": list(targets),
            "ballots": [ballot_form.to_json(one, names, targets) for one in self._ballots],
            "learned": self.learned.to_json(),
            "new": self._new,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> History:
        """The state that `to_json` gave; an empty history for another form."""
        if stored.get("form") != FORM:
            return cls()
        names, targets = stored["names"], stored["targets"]
        history = cls(
            Learned.from_json(stored["learned"]),
            (ballot_form.from_json(one, names, targets) for one in stored["ballots"]),
        )
        history._new = stored["new"]
        return history

    def _make_room(self) -> None:
        cells = sum(one.cells for one in self._ballots)
        while len(self._ballots) > 1 and (len(self._ballots) > MOST_BALLOTS or cells > MOST_CELLS):
            untold = (at for at, one in enumerate(self._ballots[:-1]) if not one.is_known)
            cells -= self._ballots.pop(next(untold, 0)).cells


def fitted(ballots: Sequence[Ballot]) -> Learned:
    """What *ballots* teach; a pure function for a thread."""
    return taught(ballots)


def _numbered(words: Iterable[str]) -> dict[str, int]:
    return {word: at for at, word in enumerate(dict.fromkeys(words))}
