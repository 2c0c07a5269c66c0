"""Learning whom to ask from what came of it, one outcome for one request.

Experts compete: each target alone, and the model with its choice by request (`MODEL`). For each request every expert
draws a number from what is believed of its rewards, and the highest draw is followed, so that what is uncertain is
tried and what is bad is left alone. Beliefs fade with a half-life in requests, so that a drift is noticed and no past
is too long to be outweighed. A start is safe: at first each expert is believed to be what was expected of it, as far as
that is to be trusted; once outcomes are too far from an expectation, none is trusted much.
With `floor` each target gets at least that share of the requests, whatever is believed.

Source: W. R. Thompson, Biometrika 25, 1933; V. Raj, S. Kalyani, Taming non-stationary bandits, 2017 (fading).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

MODEL: Final = "model"
HALF_LIFE: Final = 4000
"""Rewards after which an old one counts half."""
TRUST: Final = 5.0
"""Rewards that an expectation at the start counts for, where nobody has measured it."""
MOST_TRUST: Final = 50.0
"""The same where a model has: as many as half its samples, at most so many."""
SURPRISING: Final = 3.0
"""Outcomes so far from their expectation, as a squared deviation by its variance, make all expectations count less."""
BOLD: Final = 2.0
"""How much surer than its evidence a belief is taken to be: less is lost by trying, a little is noticed later."""
LEAST: Final = 0.05
MOST_EXPERTS: Final = 256

_KEEP: Final[float] = 0.5 ** (1 / HALF_LIFE)


@dataclass(slots=True)
class Belief:
    """Rewards seen, faded: *good* and *bad* sum up to how many they are.

    *expected* is the mean that was expected at the start, which counts for *trust* rewards.
    """

    good: float
    bad: float
    expected: float = 0.5
    trust: float = 0.0

    def shape(self, doubt: float) -> tuple[float, float]:
        """The two parameters of what is believed, expectations being divided by *doubt*."""
        trust = max(min(TRUST, self.trust), self.trust / doubt)
        return self.good + self.expected * trust, self.bad + (1.0 - self.expected) * trust

    @property
    def surprise(self) -> float:
        """How far what was seen is from what was expected; about 1 where it is as expected."""
        seen = self.good + self.bad
        if seen < 1.0 or self.trust <= TRUST:
            return 0.0
        apart = self.good - self.expected * seen
        return apart * apart / (self.expected * (1.0 - self.expected) * seen)


@dataclass(slots=True)
class Bandit:
    """The beliefs of one route, by the name of an expert."""

    beliefs: dict[str, Belief] = field(default_factory=dict)

    def pick(self, expected: Mapping[str, float], rng: Random, trust: float = TRUST) -> str:
        """The expert to follow among *expected*: their names, with the rewards that are expected of new ones.

        *trust* is for how many rewards such an expectation counts.
        """
        for name, reward in expected.items():
            if name not in self.beliefs and len(self.beliefs) < MOST_EXPERTS:
                self.beliefs[name] = Belief(0.0, 0.0, min(0.98, max(0.02, reward)), trust)
        known = {name: belief for name in expected if (belief := self.beliefs.get(name))}
        doubt = self._doubt(known.values())
        drawn = {name: _draw(*belief.shape(doubt), rng) for name, belief in known.items()}
        return max(drawn, key=drawn.__getitem__) if drawn else next(iter(expected))

    def learn(self, expert: str, reward: float) -> None:
        """What came of following *expert*: *reward* from 0 to 1."""
        belief = self.beliefs.get(expert)
        if belief is None:
            return
        for each in self.beliefs.values():
            each.good *= _KEEP
            each.bad *= _KEEP
            each.trust *= _KEEP
        reward = min(1.0, max(0.0, reward))
        belief.good += reward
        belief.bad += 1.0 - reward

    def mean(self, expert: str) -> float | None:
        """The reward that is expected of *expert*."""
        belief = self.beliefs.get(expert)
        if belief is None:
            return None
        good, bad = belief.shape(self._doubt([belief]))
        return good / (good + bad)

    def packed(self) -> dict[str, Any]:
        """As JSON."""
        return {
            name: [round(number, 6) for number in (belief.good, belief.bad, belief.expected, belief.trust)]
            for name, belief in self.beliefs.items()
        }

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> Bandit:
        """From JSON; what is no belief is left out."""
        found = {}
        for name, numbers in list(packed.items())[:MOST_EXPERTS]:
            belief = _belief(numbers)
            if belief is not None:
                found[name] = belief
        return cls(found)

    @staticmethod
    def _doubt(beliefs: Iterable[Belief]) -> float:
        worst = max((belief.surprise for belief in beliefs), default=0.0)
        return max(1.0, worst / SURPRISING) ** 2


def explored(candidates: Sequence[str], floor: float, rng: Random) -> str | None:
    """A target that is asked whatever is believed, each with the share *floor* of the requests; None: nobody."""
    if not candidates or rng.random() >= min(1.0, floor * len(candidates)):
        return None
    return candidates[int(rng.random() * len(candidates))]


def _draw(good: float, bad: float, rng: Random) -> float:
    return rng.betavariate(max(good * BOLD, LEAST), max(bad * BOLD, LEAST))


def _belief(numbers: object) -> Belief | None:
    """A belief of its numbers; the first two alone are one of before expectations were kept apart."""
    if not isinstance(numbers, list) or len(numbers) not in (2, 4):
        return None
    if any(isinstance(number, bool) or not isinstance(number, int | float) or number < 0 for number in numbers):
        return None
    belief = Belief(*map(float, numbers))
    return belief if 0.0 < belief.expected < 1.0 and belief.good + belief.bad + belief.trust > 0 else None
