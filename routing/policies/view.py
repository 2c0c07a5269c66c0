"""What a policy may look at besides the request: the state of the targets, prices, time and chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from routing.breaker import Breakers
from routing.health import Health
from routing.limits import KeyRing
from routing.pricing import PriceBook
from routing.targets import Target
from translators.neutral import Request


@dataclass(frozen=True, slots=True)
class View:
    """Look-ups, all of them live. *now* is a monotonic clock in seconds; *key_rings* is by provider."""

    rng: Random
    now: Callable[[], float]
    breakers: Breakers
    key_rings: Mapping[str, KeyRing[Any]]
    health: Health
    prices: PriceBook


Policy = Callable[[Request, Sequence[Target], View], list[Target]]
