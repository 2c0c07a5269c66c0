"""Targets that do markedly worse than the other targets of their route: ejected for a time, asked last meanwhile.

in order --out of line with the others--> ejected for EJECTED_S, twice as long the next time --time is over--> in order

Two things are out of line. By errors: its share of failed attempts lies GAP above that of the middle one of the others.
By latency: it has become SLOWER times as slow as it usually is, and the others have not; that a large model is always
slower than a small one is no fault. At most half of a route's targets are ejected, the worst first, and never the
last. An ejected target is not lost: it goes behind the others.

While many requests need a second try (`RetryBudget.strained`), the order is by errors alone, whatever the policy.

Source: Envoy, outlier detection (success rate); medians in the place of deviations, as routes have few targets.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from routing.targets import Target

HALF_LIFE_S: Final = 15.0
"""How fast the recent past fades."""
USUAL_HALF_LIFE_S: Final = 1800.0
ENOUGH: Final = 8.0
"""Recent attempts, by weight, before a share of errors is believed."""
ENOUGH_USUAL: Final = 20.0
GAP: Final = 0.15
SLOWER: Final = 3.0
TAMED: Final = 2.0
"""No single answer counts for more than this many times the usual in what is usual."""
SLOWER_BY_MS: Final = 500.0
"""A target that is slower by less is left alone, however many times that is."""
EJECTED_S: Final = 30.0
LONGEST_S: Final = 300.0
KEPT: Final = 1024


@dataclass(slots=True)
class Faded:
    """A mean of what came, older parts counting less."""

    half_life_s: float
    weight: float = 0.0
    value: float = 0.0
    at: float = -math.inf

    def add(self, value: float, now: float, count: int = 1) -> None:
        """Take in one more, or *count* of the same."""
        self.weight = self.left(now) + count
        self.at = max(now, self.at)
        self.value += (value - self.value) * count / self.weight

    def left(self, now: float) -> float:
        """The weight of all that came, by now."""
        return float(self.weight * 0.5 ** (max(0.0, now - self.at) / self.half_life_s))


@dataclass(slots=True)
class Record:
    """One target: its share of errors, how slow it is of late and usually, and until when it is ejected."""

    errors: Faded = field(default_factory=lambda: Faded(HALF_LIFE_S))
    recent_ms: Faded = field(default_factory=lambda: Faded(HALF_LIFE_S))
    usual_ms: Faded = field(default_factory=lambda: Faded(USUAL_HALF_LIFE_S))
    until: float = 0.0
    ejections: int = 0
    why: str = ""

    def took(self, first_event_ms: float, at: float) -> None:
        """Take in how long a first event took."""
        self.recent_ms.add(first_event_ms, at)
        usual = self.usual_ms
        if (self.slowdown(at) or 1.0) < SLOWER:  # an hour of slowness must not become what is usual
            most = TAMED * usual.value if usual.weight >= ENOUGH_USUAL else first_event_ms
            usual.add(min(first_event_ms, most), at)

    def error_rate(self, now: float) -> float | None:
        """None while too few attempts tell."""
        return self.errors.value if self.errors.left(now) >= ENOUGH else None

    def slowdown(self, now: float) -> float | None:
        """How many times as slow as usual it is; None while nobody knows what is usual, or how it is now."""
        if self.usual_ms.weight < ENOUGH_USUAL or self.recent_ms.left(now) < ENOUGH / 2 or not self.usual_ms.value:
            return None
        if self.recent_ms.value - self.usual_ms.value < SLOWER_BY_MS:
            return 1.0
        return self.recent_ms.value / self.usual_ms.value


class Outliers:
    """The records of the most recently used targets. *now* is a monotonic clock.

    *told* hears of an ejection: the target, for how long, and why.
    """

    def __init__(self, now: Callable[[], float], told: Callable[[str, float, str], None] | None = None) -> None:
        self._now = now
        self._told = told
        self._kept: OrderedDict[tuple[str, str], Record] = OrderedDict()
        self.ejections: Counter[str] = Counter()
        """Since the start, by provider."""

    def seen(
        self,
        provider: str,
        model: str,
        *,
        failed: bool,
        first_event_ms: float | None = None,
        late: bool = False,
        ago_s: float = 0.0,
        count: int = 1,
    ) -> None:
        """An attempt, or *count*, ended; *first_event_ms* only of streams, where it says how fast the server is.

        *late*: the stream came all at once. Of a server that always sends so that says how long its answers are; only
        of one that is known to stream it says that it was slow to begin.
        """
        record, at = self._record(provider, model), self._now() - ago_s
        record.errors.add(1.0 if failed else 0.0, at, count)
        if first_event_ms is not None and not failed and (not late or record.usual_ms.weight >= ENOUGH_USUAL):
            record.took(first_event_ms, at)

    def cut_short(self, provider: str, model: str, waited_ms: float) -> None:
        """A stream was given up before its first event: it took at least *waited_ms*, which tells if that is long."""
        record = self._record(provider, model)
        if waited_ms > record.usual_ms.value > 0:
            record.took(waited_ms, self._now())

    def ejected(self, target: Target) -> float:
        """For how many seconds *target* is ejected; 0 when it is not."""
        record = self._kept.get((target.provider, target.model))
        return max(0.0, record.until - self._now()) if record else 0.0

    def why(self, target: Target) -> str:
        """Why it was ejected last."""
        record = self._kept.get((target.provider, target.model))
        return record.why if record else ""

    def ejected_of(self, provider: str) -> list[tuple[str, float, str]]:
        """The models of *provider* that are ejected, for how many seconds more, and why."""
        now = self._now()
        return [
            (model, record.until - now, record.why)
            for (name, model), record in self._kept.items()
            if name == provider and record.until > now
        ]

    def order(self, targets: Sequence[Target], *, strained: bool = False) -> list[Target]:
        """*targets* with the ejected ones last; *strained*: those that fail least go first."""
        if len(targets) < 2:
            return list(targets)
        now = self._now()
        records = [self._kept.get((target.provider, target.model)) for target in targets]
        self._judge(targets, records, now)
        out = [record is not None and record.until > now for record in records]
        if not strained and not any(out):
            return list(targets)

        def rank(place: int) -> tuple[bool, float, int]:
            record = records[place]
            rate = (record.error_rate(now) or 0.0) if strained and record is not None else 0.0
            return out[place], round(rate, 1), place

        return [targets[place] for place in sorted(range(len(targets)), key=rank)]

    def _judge(self, targets: Sequence[Target], records: Sequence[Record | None], now: float) -> None:
        """Eject those of a route that are out of line, the worst first."""
        distinct = {id(record): record for record in records if record is not None}
        room = len({(target.provider, target.model) for target in targets}) // 2
        room -= sum(record.until > now for record in distinct.values())
        if room <= 0 or len(distinct) < 2:
            return
        found: list[tuple[float, str, Record]] = []
        for record in distinct.values():
            if record.until > now:
                continue
            others = [other for other in distinct.values() if other is not record]
            if (reason := _out_of_line(record, others, now)) is not None:
                found.append((reason[0], reason[1], record))
        for _, why, record in sorted(found, key=lambda each: -each[0])[:room]:
            self._eject(record, why, now)

    def _eject(self, record: Record, why: str, now: float) -> None:
        record.ejections = 1 if now - record.until > LONGEST_S else record.ejections + 1
        for_s = min(LONGEST_S, EJECTED_S * 2 ** (record.ejections - 1))
        record.until, record.why = now + for_s, why
        record.errors, record.recent_ms = Faded(HALF_LIFE_S), Faded(HALF_LIFE_S)
        key = next(key for key, kept in self._kept.items() if kept is record)
        self.ejections[key[0]] += 1
        if self._told is not None:
            self._told("/".join(key), for_s, why)

    def _record(self, provider: str, model: str) -> Record:
        key = (provider, model)
        record = self._kept.get(key)
        if record is None:
            record = self._kept[key] = Record()
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return record


def _out_of_line(record: Record, others: Sequence[Record], now: float) -> tuple[float, str] | None:
    """How badly *record* does beside *others*, and in words; None when it does not."""
    rate = record.error_rate(now)
    rates = [other for each in others if (other := each.error_rate(now)) is not None]
    middle = median(rates) if rates else 0.0
    if rate is not None and rate - middle >= GAP:
        return 1.0 + rate, f"{rate:.0%} of its attempts fail, of the others {middle:.0%}"
    slowdown = record.slowdown(now)
    slowdowns = [other for each in others if (other := each.slowdown(now)) is not None]
    usual = median(slowdowns) if slowdowns else 1.0
    if slowdown is not None and slowdown >= SLOWER * max(1.0, usual):
        return slowdown / (1.0 + slowdown), f"it has become {slowdown:.1f} times as slow as it usually is"
    return None
