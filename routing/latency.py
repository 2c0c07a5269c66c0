"""How long targets take, how much they write and how often they answer: moving means, by the size of the request.

A mean is weighted by age: what was measured *half_life_s* ago counts half. `weight` is what is left of all weights,
so it says how fresh a mean is: 1 for one answer right now, near 0 for an hour ago. Requests are told apart by their
input tokens (SIZES), because a long prompt takes longer; where a size has nothing fresh, all sizes together speak.
An attempt that ran into its timeout counts with the time that was waited for it. Other failures are no measure of
speed, they only say that the target was tried.

What is given up before its end (the loser of a race, a client that leaves) took at least as long as it was waited for.
It counts as the newest answers that took longer did on average, and where none did, as twice the wait: to leave it
out would let a target look fast whose slow answers nobody waits for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp2
from typing import Final, NamedTuple

from routing.targets import Target

HALF_LIFE_S: Final = 600.0
FRESH: Final = 0.25
"""A mean of less weight is stale: one answer of two half-lives ago."""
SIZES: Final = (1_000, 8_000, 32_000)
"""Input tokens at which the next size begins."""
ENOUGH: Final = 16.0
"""Answers that a mean of output tokens must rest on before it is believed."""
TARGETS_KEPT: Final = 1024
SEEN: Final = 32
"""The newest times that are remembered beside their mean."""
LONGER: Final = 2.0
"""What took longer than anything seen is taken to take so many times the wait."""


def size_of(input_tokens: int) -> int:
    """The size of a request: a position in SIZES, or one more."""
    return bisect_right(SIZES, input_tokens)


@dataclass(slots=True)
class Mean:
    """A mean whose parts fade. *at* is when the newest came."""

    weight: float = 0.0
    value: float = 0.0
    at: float = 0.0

    def add(self, value: float, at: float, half_life_s: float, count: int = 1) -> None:
        """Take in *value*, measured at *at*, or the mean of *count* of them; news that come late count less."""
        age_s = at - self.at
        if age_s >= 0:
            if age_s:
                self.weight *= exp2(-age_s / half_life_s)  # as `left` has it
            self.at, fresh = at, 1.0
        else:
            fresh = exp2(age_s / half_life_s)
        fresh *= count
        self.weight += fresh
        self.value += (value - self.value) * fresh / self.weight

    def left(self, now: float, half_life_s: float) -> float:
        """Its weight by now."""
        age_s = now - self.at
        return self.weight * exp2(-age_s / half_life_s) if age_s > 0 else self.weight


@dataclass(slots=True)
class Times(Mean):
    """A mean of times. *seen* are the newest of them, those that were measured to their end."""

    seen: list[float] = field(default_factory=list)

    def took(self, ms: float, at: float, half_life_s: float) -> None:
        """Take in one that was measured to its end."""
        self.seen.append(ms)
        if len(self.seen) > SEEN:
            del self.seen[0]
        self.add(ms, at, half_life_s)

    def took_all(self, times_ms: Sequence[float], at: float, half_life_s: float) -> None:
        """Take in some that were measured to their ends at the same moment."""
        self.seen.extend(times_ms)
        if len(self.seen) > SEEN:
            del self.seen[:-SEEN]
        self.add(sum(times_ms) / len(times_ms), at, half_life_s, len(times_ms))

    def outlasted(self, waited_ms: float, at: float, half_life_s: float) -> None:
        """Take in one that took longer than *waited_ms*; no news where all that were seen did."""
        longer = [ms for ms in self.seen if ms > waited_ms]
        if not longer:
            self.add(LONGER * waited_ms, at, half_life_s)
        elif len(longer) < len(self.seen):
            self.add(sum(longer) / len(longer), at, half_life_s)


@dataclass(slots=True)
class _Record:
    """Of one target: first events and whole answers in milliseconds, one more than there are sizes; the last is all."""

    first: list[Times] = field(default_factory=lambda: [Times() for _ in range(len(SIZES) + 2)])
    whole: list[Times] = field(default_factory=lambda: [Times() for _ in range(len(SIZES) + 2)])
    output: Mean = field(default_factory=Mean)
    answers: Mean = field(default_factory=Mean)
    tried_at: float | None = None


class Pace(NamedTuple):
    """What is known of a target's speed for one size of request. None: never measured.

    *weight* is that of the mean that speaks, *tried_s* how long ago it was last asked, whatever came of it.
    *reliability* is the share of its requests that it answered of late, one more answer added.
    """

    ms: float | None = None
    weight: float = 0.0
    tried_s: float | None = None
    reliability: float = 1.0

    @property
    def fresh(self) -> bool:
        """Whether it says something of today."""
        return self.ms is not None and self.weight >= FRESH


NOT_KNOWN: Final = Pace()


class Latencies:
    """The means of the most recently used targets. *now* is Unix time in seconds, as are the times that are told."""

    def __init__(self, now: Callable[[], float], half_life_s: float = HALF_LIFE_S) -> None:
        self._now = now
        self._half_life_s = half_life_s
        self._kept: OrderedDict[tuple[str, str], _Record] = OrderedDict()

    def answered(
        self,
        provider: str,
        model: str,
        *,
        latency_ms: float | None,
        first_event_ms: float | None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        at: float | None = None,
    ) -> None:
        """An answer came. Without *input_tokens* it counts for no size in particular."""
        record = self._record(provider, model)
        at = self._now() if at is None else at
        record.tried_at = max(at, record.tried_at or at)
        record.answers.add(1.0, at, self._half_life_s)
        self._took(record, input_tokens, latency_ms, first_event_ms, at)
        if output_tokens:
            record.output.add(output_tokens, at, self._half_life_s)

    def answered_together(
        self, provider: str, model: str, answers: Sequence[tuple[float, float, int, int]], at: float
    ) -> None:
        """Answers came at the same moment: milliseconds of the whole and of its first event, tokens in and out."""
        record, half_life_s = self._record(provider, model), self._half_life_s
        record.tried_at = max(at, record.tried_at or at)
        record.answers.add(1.0, at, half_life_s, len(answers))
        by_place = {-1: list(answers)}
        for answer in answers:
            by_place.setdefault(size_of(answer[2]), []).append(answer)
        for place, those in by_place.items():
            record.whole[place].took_all([whole_ms for whole_ms, *_ in those], at, half_life_s)
            record.first[place].took_all([first_ms for _, first_ms, *_ in those], at, half_life_s)
        if outputs := [output for *_, output in answers if output]:
            record.output.add(sum(outputs) / len(outputs), at, half_life_s, len(outputs))

    def failed(self, provider: str, model: str, *, waited_ms: float | None = None, at: float | None = None) -> None:
        """It gave none. *waited_ms*: how long somebody waited in vain, where that was what ended it."""
        record = self._record(provider, model)
        at = self._now() if at is None else at
        record.tried_at = max(at, record.tried_at or at)
        record.answers.add(0.0, at, self._half_life_s)
        self._took(record, None, waited_ms, waited_ms, at)

    def cut_short(
        self,
        provider: str,
        model: str,
        *,
        waited_ms: float,
        first_event_ms: float | None = None,
        input_tokens: int | None = None,
        at: float | None = None,
    ) -> None:
        """It was given up after *waited_ms*, its first content having come or not: neither an answer nor a failure."""
        record = self._record(provider, model)
        at = self._now() if at is None else at
        record.tried_at = max(at, record.tried_at or at)
        self._took(record, input_tokens, None, first_event_ms, at)
        for size in _places(input_tokens):
            record.whole[size].outlasted(waited_ms, at, self._half_life_s)
            if first_event_ms is None:
                record.first[size].outlasted(waited_ms, at, self._half_life_s)

    def pace(self, target: Target, input_tokens: int, *, whole: bool) -> Pace:
        """How fast *target* is for a request of that size: the first content, or with *whole* all of the answer."""
        return self.paces((target,), input_tokens, whole=whole)[0]

    def paces(self, targets: Sequence[Target], input_tokens: int, *, whole: bool) -> list[Pace]:
        """The same for each of *targets*."""
        now, half_life_s, size, kept = self._now(), self._half_life_s, size_of(input_tokens), self._kept
        found = []
        for target in targets:
            record = kept.get((target.provider, target.model))
            if record is None:
                found.append(NOT_KNOWN)
                continue
            means = record.whole if whole else record.first
            best = means[size]
            weight = best.weight * exp2(min(0.0, best.at - now) / half_life_s)  # as `left`, which costs a call
            if weight < FRESH:
                best = means[-1]
                weight = best.left(now, half_life_s)
            tried, answers = record.tried_at, record.answers
            asked = answers.weight * exp2(min(0.0, answers.at - now) / half_life_s)
            found.append(
                Pace(
                    best.value if best.weight else None,
                    weight,
                    None if tried is None else now - tried,
                    (answers.value * asked + 1.0) / (asked + 1.0),
                )
            )
        return found

    def output_tokens(self, target: Target) -> float | None:
        """How much *target* usually writes; None where too few answers say so."""
        return self.outputs((target,))[0]

    def outputs(self, targets: Sequence[Target]) -> list[float | None]:
        """The same for each of *targets*."""
        records = [self._kept.get((target.provider, target.model)) for target in targets]
        return [record.output.value if record and record.output.weight >= ENOUGH else None for record in records]

    def reliability(self, target: Target) -> float:
        """The share of its requests that it answered of late, one more answer added: 1 when nothing is known."""
        return self.pace(target, 0, whole=True).reliability

    def _took(
        self, record: _Record, input_tokens: int | None, whole_ms: float | None, first_ms: float | None, at: float
    ) -> None:
        for size in _places(input_tokens):
            if first_ms is not None:
                record.first[size].took(first_ms, at, self._half_life_s)
            if whole_ms is not None:
                record.whole[size].took(whole_ms, at, self._half_life_s)

    def _record(self, provider: str, model: str) -> _Record:
        key = (provider, model)
        record = self._kept.get(key)
        if record is None:
            record = self._kept[key] = _Record()
            if len(self._kept) > TARGETS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return record


def _places(input_tokens: int | None) -> tuple[int, ...]:
    """Where times are kept: with those of the request's size, and with all."""
    return (-1,) if input_tokens is None else (size_of(input_tokens), -1)
