"""Learning whom to ask from what came of it, one outcome for one request.

Experts compete: each target alone, and the model with its choice by request (`MODEL`). For each request every expert
draws a number from what is believed of its rewards, and the highest draw is followed, so that what is uncertain is
tried and what is bad is left alone. Beliefs fade with a half-life in requests, so that a drift is noticed and no past
is too long to be outweighed. A start is safe: at first each expert is believed to be what was expected of it.
With `floor` each target gets at least that share of the requests, whatever is believed.

Source: W. R. Thompson, Biometrika 25, 1933; V. Raj, S. Kalyani, Taming non-stationary bandits, 2017 (fading).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

MODEL: Final = "model"
HALF_LIFE: Final = 4000
"""Rewards after which an old one counts half."""
TRUST: Final = 5.0
"""Rewards that an expectation at the start counts for."""
BOLD: Final = 2.0
"""How much surer than its evidence a belief is taken to be: less is lost by trying, a little is noticed later."""
LEAST: Final = 0.05
MOST_EXPERTS: Final = 256

_KEEP: Final[float] = 0.5 ** (1 / HALF_LIFE)


@dataclass(slots=True)
class Belief:
    """Rewards seen, faded: *good* and *bad* sum up to how many they are."""

    good: float
    bad: float


@dataclass(slots=True)
class Bandit:
    """The beliefs of one route, by the name of an expert."""

    beliefs: dict[str, Belief] = field(default_factory=dict)

    def pick(self, expected: Mapping[str, float], rng: Random) -> str:
        """The expert to follow among *expected*: their names, with the rewards that are expected of new ones."""
        for name, reward in expected.items():
            if name not in self.beliefs and len(self.beliefs) < MOST_EXPERTS:
                sure = min(0.98, max(0.02, reward)) * TRUST
                self.beliefs[name] = Belief(sure, TRUST - sure)
        drawn = {name: _draw(belief, rng) for name in expected if (belief := self.beliefs.get(name))}
        return max(drawn, key=drawn.__getitem__) if drawn else next(iter(expected))

    def learn(self, expert: str, reward: float) -> None:
        """What came of following *expert*: *reward* from 0 to 1."""
        belief = self.beliefs.get(expert)
        if belief is None:
            return
        for each in self.beliefs.values():
            each.good *= _KEEP
            each.bad *= _KEEP
        reward = min(1.0, max(0.0, reward))
        belief.good += reward
        belief.bad += 1.0 - reward

    def mean(self, expert: str) -> float | None:
        """The reward that is expected of *expert*."""
        belief = self.beliefs.get(expert)
        return belief.good / (belief.good + belief.bad) if belief else None

    def packed(self) -> dict[str, Any]:
        """As JSON."""
        return {name: [round(belief.good, 6), round(belief.bad, 6)] for name, belief in self.beliefs.items()}

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> Bandit:
        """From JSON; what is no belief is left out."""
        found = {}
        for name, pair in list(packed.items())[:MOST_EXPERTS]:
            match pair:
                case [int() | float() as good, int() | float() as bad] if good >= 0 and bad >= 0 and good + bad > 0:
                    found[name] = Belief(float(good), float(bad))
        return cls(found)


def explored(candidates: Sequence[str], floor: float, rng: Random) -> str | None:
    """A target that is asked whatever is believed, each with the share *floor* of the requests; None: nobody."""
    if not candidates or rng.random() >= min(1.0, floor * len(candidates)):
        return None
    return candidates[int(rng.random() * len(candidates))]


def _draw(belief: Belief, rng: Random) -> float:
    return rng.betavariate(max(belief.good * BOLD, LEAST), max(belief.bad * BOLD, LEAST))
