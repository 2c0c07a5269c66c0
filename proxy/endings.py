"""What is noted when a request has ended: its times for `/metrics`, and a line in the log where it was slow.

    ended --> durations, first events --> slow? a warning with its phases : a line at debug level
          --> telemetry, where it is on

A request that is neither slow nor looked at costs a look-up in a table of bounds and three comparisons.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxy.config.model import LoggingSettings
from storage.ledger import Status
from translators.neutral import Failure

if TYPE_CHECKING:
    from proxy.exchange import Attempt, Exchange
    from proxy.telemetry import Telemetry

log = logging.getLogger("modelport.requests")

BOUNDS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of what is counted together; what is longer has a count of its own."""
_BOUNDS_MS: Final = tuple(bound * 1000 for bound in BOUNDS_S)
MOST_ATTEMPTS: Final = 16
"""So many attempts of a slow request are told."""


@dataclass(slots=True)
class Durations:
    """How many durations lie below each of BOUNDS_S and above the one before; and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_ms: float = 0.0

    def add(self, duration_ms: float) -> None:
        """Count one."""
        self.counts[bisect_left(_BOUNDS_MS, duration_ms)] += 1
        self.total_ms += duration_ms


class Endings:
    """What has ended since the start. *telemetry* is who else is told."""

    def __init__(self) -> None:
        self.requests: dict[Status, Durations] = {}
        self.first_events = Durations()
        """Of streams of which anything came: from the request's arrival to their first content."""
        self.slow = 0
        self.telemetry: Telemetry | None = None
        self._slow_ms = self._slow_first_ms = float("inf")

    def configure(self, settings: LoggingSettings) -> None:
        """What counts as slow from now on."""
        self._slow_ms, self._slow_first_ms = settings.slow_s * 1000, settings.slow_first_event_s * 1000

    def are_ordinary(self, total_ms: float, first_ms: float = 0.0) -> bool:
        """Whether of a request that is answered so nothing is to be told but its durations, with `answered`.

        *first_ms*: of a stream, after how long its first content came.
        """
        slow = total_ms > self._slow_ms or first_ms > self._slow_first_ms
        return not (slow or self.telemetry is not None or log.isEnabledFor(logging.DEBUG))

    def answered(self, totals_ms: Iterable[float], firsts_ms: Iterable[float] = ()) -> None:
        """Ordinary requests were answered as they came. *firsts_ms*: of those that were streams."""
        durations = self._of("ok")
        for total_ms in totals_ms:
            durations.add(total_ms)
        for first_ms in firsts_ms:
            self.first_events.add(first_ms)

    def ended(self, exchange: Exchange, status: Status, total_ms: float, failure: Failure | None) -> None:
        """*exchange* has ended after *total_ms*, with *failure* or an answer."""
        self._of(status).add(total_ms)
        late = False
        if exchange.stream and (first_ms := exchange.first_event_ms) is not None:
            self.first_events.add(first_ms)
            late = first_ms > self._slow_first_ms
        if late or total_ms > self._slow_ms:
            self.slow += 1
            log.warning("slow request", extra={"fields": phases(exchange, status, total_ms, failure)})
        elif log.isEnabledFor(logging.DEBUG):
            log.debug("request", extra={"fields": phases(exchange, status, total_ms, failure)})
        if self.telemetry is not None:
            self.telemetry.ended(exchange, status, total_ms, failure)

    def _of(self, status: Status) -> Durations:
        durations = self.requests.get(status)
        if durations is None:
            durations = self.requests[status] = Durations()
        return durations


def phases(exchange: Exchange, status: Status, total_ms: float, failure: Failure | None) -> dict[str, Any]:
    """What happened when: milliseconds since the request came, of an attempt since that began.

    `queue_ms` is the time in queues: to be let in, and for places below providers' limits.
    """
    told: dict[str, Any] = {
        "status": status,
        "route": exchange.route,
        "target": exchange.target.name if exchange.target else None,
        "dialect": exchange.dialect,
        "stream": exchange.stream,
        "cache": exchange.cache,
        "reason": failure.kind if failure else None,
        "queue_ms": round(exchange.waited_s * 1000, 1),
        "first_event_ms": exchange.first_event_ms,
        "total_ms": total_ms,
    }
    told["attempts"] = [_attempt(exchange, each) for each in exchange.attempts[:MOST_ATTEMPTS]]
    return {name: value for name, value in told.items() if value is not None}


def _attempt(exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
    told: dict[str, Any] = {
        "target": attempt.target.name,
        "http_status": attempt.http_status,
        "reason": attempt.error_kind,
        "began_ms": round((attempt.started - exchange.started) * 1000, 1),
        "connect_ms": None if attempt.connect_s is None else round(attempt.connect_s * 1000, 1),
        "head_ms": _rounded(attempt.head_ms),
        "first_event_ms": attempt.first_event_ms,
        "total_ms": round(attempt.elapsed_ms(), 1),
    }
    return {name: value for name, value in told.items() if value is not None}


def _rounded(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(value_ms, 1)
