"""When a second target is asked beside the first one that is late, and how often that may be.

A hedge is asked after the time in which 95 of 100 first events of the target came. Where the 99th percentile would
fall noticeably further if it were asked earlier, because more than one in twenty is slow or the tail is long, it is
asked as early as can be paid for. What is cut short by a faster target counts as having taken at least as long as it
was waited for: otherwise every hedge would make the next one come earlier.

Each request earns a *share* of a hedge, and a hedge is paid from what has been earned, so that over time there are at
most that many; an outage of the first target, when everything is late, does not double the traffic.

Source: J. Dean, L. A. Barroso, The Tail at Scale, CACM 56 (2013): hedged requests.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

WINDOW: Final = 1024
"""First events that are remembered of a target."""
ENOUGH: Final = 20
"""Fewer say nothing of a 95th percentile."""
RANK: Final = 0.95
WORTH: Final = 0.96
"""Calls that come earlier than the 95th percentile have to bring the 99th down to this part."""
SLOW: Final = 0.01
"""The share of answers that are looked at as slow."""
SPENT: Final = 0.95
"""How much of what requests earn is planned to be spent."""
UNKNOWN_MS: Final = 2000.0
"""How long a target is waited for of which too little is known."""
EARNED_AT_MOST: Final = 10.0
"""Hedges that quiet times can save up."""
KEPT: Final = 1024


@dataclass(slots=True)
class Purse:
    """What the requests of one route have earned, in hedges. It begins with one."""

    earned: float = 1.0

    def request(self, share: float) -> None:
        """A request earns *share* of a hedge."""
        self.earned = min(EARNED_AT_MOST, self.earned + share)

    def pays(self) -> bool:
        """Whether there is enough for a hedge, which is taken out then."""
        # Ten tenths are not quite one.
        if self.earned < 1.0 - 1e-9:
            return False
        self.earned -= 1.0
        return True


@dataclass(slots=True)
class FirstEvents:
    """What is remembered of one target, and what follows from it, looked at again after every thirtieth part is new."""

    seen: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    fresh: int = 0
    known: dict[float, float] = field(default_factory=dict)

    def add(self, first_event_ms: float) -> None:
        """One more."""
        self.seen.append(first_event_ms)
        self.fresh += 1
        if self.fresh * 30 >= len(self.seen):
            self.fresh = 0
            self.known.clear()

    def late_after_ms(self, share: float) -> float | None:
        """See `Hedging.late_after_ms`."""
        if len(self.seen) < ENOUGH:
            return None
        if share not in self.known:
            self.known[share] = late_after_ms(sorted(self.seen), share)
        return self.known[share]


@dataclass(slots=True)
class Hedging:
    """First events by target and form of the answer (streamed or whole), and a purse for each route."""

    _first_events: OrderedDict[tuple[str, bool], FirstEvents] = field(default_factory=OrderedDict)
    _purses: OrderedDict[str, Purse] = field(default_factory=OrderedDict)

    def purse(self, route: str) -> Purse:
        """The purse of *route*."""
        return _kept(self._purses, route, Purse)

    def came(self, target: str, first_event_ms: float, *, stream: bool) -> None:
        """*target*'s first event came after so long."""
        _kept(self._first_events, (target, stream), FirstEvents).add(first_event_ms)

    def gave_up(self, target: str, waited_ms: float, *, stream: bool, share: float) -> None:
        """*target* was not waited for any more. What was given up early says nothing."""
        known = self.late_after_ms(target, stream=stream, share=share)
        if known is not None and waited_ms >= known:
            self.came(target, waited_ms, stream=stream)

    def late_after_ms(self, target: str, *, stream: bool, share: float) -> float | None:
        """When *target* is late, where a request earns *share* of a hedge; None while too little is known of it."""
        seen = self._first_events.get((target, stream))
        return seen.late_after_ms(share) if seen else None


def late_after_ms(ranked: Sequence[float], share: float) -> float:
    """When a target is late whose first events took *ranked*, in ascending order."""
    usual = percentile(ranked, RANK)
    early = min(usual, percentile(ranked, 1 - SPENT * share))
    return early if hedged_ms(ranked, early) <= WORTH * hedged_ms(ranked, usual) else usual


def hedged_ms(ranked: Sequence[float], delay_ms: float) -> float:
    """The 99th percentile with a second request after *delay_ms*, if both are as *ranked* and know nothing of another.

    Both are slower than x as often as the one is slower than x and the other than what is left of x after the delay.
    """

    def slower(than_ms: float) -> float:
        return 1 - bisect_right(ranked, than_ms) / len(ranked)

    low, high = delay_ms, max(delay_ms, ranked[-1])
    while high - low > 0.005 * high:
        middle = (low + high) / 2
        if slower(middle) * slower(middle - delay_ms) > SLOW:
            low = middle
        else:
            high = middle
    return high


def percentile(ranked: Sequence[float], rank: float) -> float:
    """By nearest rank."""
    return ranked[max(0, math.ceil(rank * len(ranked)) - 1)]


def _kept(store: OrderedDict[K, V], key: K, new: Callable[[], V]) -> V:
    """What *store* has for *key*, made where it is missing; what was used longest ago makes room."""
    found = store.pop(key, None)
    store[key] = found = new() if found is None else found
    if len(store) > KEPT:
        store.popitem(last=False)
    return found
