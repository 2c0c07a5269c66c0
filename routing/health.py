"""How providers and targets have been doing, from the attempts themselves: nobody is asked.

Counts run since the start (and what was restored); rates and percentiles look at the newest *window* attempts.
A request that the vendor found wrong (400, 404, 413, 422) is the client's fault and no error of the provider.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from routing.breaker import Breakers, State
from routing.limits import KeyRing

Status = Literal["healthy", "degraded", "unhealthy", "unknown"]

CLIENTS_FAULTS: Final = frozenset({400, 404, 413, 422})
RECENT: Final = 20
"""How many of the newest attempts decide about the status."""
ENOUGH: Final = 3
"""Fewer recent attempts than this do not make a provider unhealthy."""
TARGETS_KEPT: Final = 1024


class Seen(NamedTuple):
    """One finished attempt, as it happens or as a row of the ledger. *at* is Unix time; *error* holds no secrets."""

    provider: str
    model: str
    ok: bool
    at: float
    status: int | None = None
    latency_ms: float | None = None
    first_event_ms: float | None = None
    error: str | None = None

    @property
    def is_error(self) -> bool:
        """Whether it speaks against the provider."""
        return not self.ok and self.status not in CLIENTS_FAULTS


@dataclass(slots=True)
class Record:
    """What is known of one provider or target."""

    window: deque[Seen]
    requests: int = 0
    errors: int = 0
    last_success: float | None = None
    last_failure: float | None = None
    last_error: str | None = None

    def add(self, seen: Seen) -> None:
        """Take in the newest attempt."""
        self.window.append(seen)
        self.requests += 1
        if seen.ok:
            self.last_success = seen.at
        elif seen.is_error:
            self.errors += 1
            self.last_failure = seen.at
            self.last_error = seen.error or (f"status {seen.status}" if seen.status else "failed")

    def success_rate(self, newest: int | None = None) -> float | None:
        """The share of attempts without error, over the window or its *newest*; None when there were none."""
        looked_at = list(self.window)[-newest:] if newest else self.window
        if not looked_at:
            return None
        return sum(not seen.is_error for seen in looked_at) / len(looked_at)

    def latency_ms(self) -> dict[str, float | None]:
        """p50 and p95 of whole answers, in milliseconds."""
        return percentiles([seen.latency_ms for seen in self.window if seen.ok and seen.latency_ms is not None])

    def first_event_ms(self) -> dict[str, float | None]:
        """p50 and p95 until the first content event, in milliseconds."""
        return percentiles([seen.first_event_ms for seen in self.window if seen.ok and seen.first_event_ms is not None])


@dataclass(slots=True)
class Health:
    """The records of all providers and of the most recently used targets."""

    window: int = 256
    _providers: dict[str, Record] = field(default_factory=dict)
    _targets: OrderedDict[tuple[str, str], Record] = field(default_factory=OrderedDict)

    @property
    def providers(self) -> Mapping[str, Record]:
        """The records of those that were asked, by name."""
        return self._providers

    def record(self, seen: Seen) -> None:
        """Take in one attempt, newest last."""
        self.provider(seen.provider).add(seen)
        self._target(seen.provider, seen.model).add(seen)

    def answered(self, provider: str, model: str, times_ms: Sequence[tuple[float, float]], at: float) -> None:
        """Take in attempts that were answered with status 200: of each, how long all and the first of it took."""
        seen = [Seen(provider, model, True, at, 200, *times) for times in times_ms[-self.window :]]
        for record in (self.provider(provider), self._target(provider, model)):
            record.window.extend(seen)
            record.requests += len(times_ms)
            record.last_success = at

    def restore(self, rows: Iterable[Seen]) -> None:
        """Take in the ledger's newest attempts, in any order."""
        for seen in sorted(rows, key=lambda row: row.at):
            self.record(seen)

    def _target(self, provider: str, model: str) -> Record:
        """The record of a target, which is kept."""
        key = (provider, model)
        record = self._targets.get(key)
        if record is None:
            record = self._targets[key] = self._empty()
            if len(self._targets) > TARGETS_KEPT:
                self._targets.popitem(last=False)
        else:
            self._targets.move_to_end(key)
        return record

    def provider(self, name: str) -> Record:
        """The record of a provider; an empty one when it was never asked."""
        record = self._providers.get(name)
        if record is None:
            record = self._providers[name] = self._empty()
        return record

    def target(self, provider: str, model: str) -> Record:
        """The record of a target; an empty one, which is not kept, when it was never asked."""
        return self._targets.get((provider, model)) or self._empty()

    def snapshot(self, provider: str, breakers: Breakers, keys: KeyRing[Any]) -> dict[str, Any]:
        """The entry of `/health` for *provider*.

        - `unknown`: no attempt yet.
        - `unhealthy`: the breakers of all its targets are open, or half of the newest 20 attempts (at least 3) failed.
        - `degraded`: a breaker is not closed, a key rests, the newest attempt failed, or more than 1 in 20 did.
        - `healthy`: anything else.

        `breaker` is the worst of the provider's targets; `cooldown_s` is the time until it, or the first key, is free.
        """
        record = self.provider(provider)
        breaker, breaker_s = breakers.state(provider)
        available = keys.available
        rate = record.success_rate()
        return {
            "name": provider,
            "status": self.status_of(provider, breakers, keys),
            "breaker": breaker,
            "requests": record.requests,
            "errors": record.errors,
            "success_rate": None if rate is None else round(rate, 3),
            "latency_ms": record.latency_ms(),
            "first_event_ms": record.first_event_ms(),
            "last_success": iso(record.last_success),
            "last_failure": iso(record.last_failure),
            "last_error": record.last_error,
            "cooldown_s": round(max(breaker_s, keys.cooldown_s), 1),
            "keys": {"total": keys.total, "available": available},
        }

    def status_of(self, provider: str, breakers: Breakers, keys: KeyRing[Any]) -> Status:
        """The status that `snapshot` tells."""
        breaker, _ = breakers.state(provider)
        resting = keys.total - keys.available
        return status(self.provider(provider), breaker, resting, shut=breakers.shut(provider))

    def _empty(self) -> Record:
        return Record(deque(maxlen=self.window))


def status(record: Record, breaker: State, resting_keys: int, *, shut: bool) -> Status:
    """The status that `Health.snapshot` describes."""
    recent = record.success_rate(RECENT)
    if recent is None:
        return "unknown"
    if shut or (recent <= 0.5 and len(record.window) >= ENOUGH):
        return "unhealthy"
    if breaker != "closed" or resting_keys or recent < 0.95 or record.window[-1].is_error:
        return "degraded"
    return "healthy"


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50 and p95 by nearest rank, rounded to a tenth; None when there are no values."""
    ranked = sorted(values)
    return {
        name: round(ranked[math.ceil(share * len(ranked)) - 1], 1) if ranked else None
        for name, share in (("p50", 0.5), ("p95", 0.95))
    }


def iso(at: float | None) -> str | None:
    """Unix time as ISO 8601 in UTC, to the second."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
