"""What the policy `auto` is given for one request: a model, the knob between cost and quality, what it learns by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from routing.auto.bandit import Bandit
from routing.auto.model import Model
from routing.targets import Target

KNOB: Final = 0.7
"""Where neither the request nor the route says how much quality counts."""


@dataclass(frozen=True, slots=True)
class Advice:
    """*knob*: 0 only cost counts, 1 only quality. *bandit* None: nothing is learnt from outcomes.

    *cascades*: two cheap targets are asked together, and the others where those disagree.
    """

    model: Model | None = None
    knob: float = KNOB
    bandit: Bandit | None = None
    floor: float = 0.0
    cascades: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """How `auto` has ordered targets. *expert* is whom the bandit followed, None without one.

    *penalty* is what the first target's cost takes from the reward that its outcome is worth.
    """

    order: tuple[Target, ...]
    why: str
    expert: str | None = None
    penalty: float = 0.0
    worths: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Expected quality and worth by the name of a target; empty without a model."""
    together: tuple[Target, ...] = ()
    """Who is asked at once, before all others; empty: everybody is asked alone."""
