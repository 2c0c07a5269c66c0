"""Circuit breaker for one target.

closed --threshold failures in a row--> open --after cooldown_s--> half_open
half_open --success, or any answer--> closed          half_open --failure--> open

Only failures that speak about the server count: VERDICTS says what each kind tells.
Half-open lets one probe through; a probe whose sender never reports gives its place back after probe_s.

Source: M. Nygard, Release It!, 2nd ed., ch. 5.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Literal

from routing.targets import Target
from translators.neutral import ErrorKind, Failure

State = Literal["closed", "open", "half_open"]
Verdict = Literal["failed", "answered", "nothing"]

VERDICTS: Final[Mapping[ErrorKind, Verdict]] = {
    "connection": "failed",
    "timeout": "failed",
    "server": "failed",
    "overloaded": "failed",
    "invalid_response": "failed",
    "invalid_request": "answered",
    "not_found": "answered",
    "too_large": "answered",
    "context_length": "answered",
    "content_filter": "answered",
    "authentication": "answered",
    "permission": "answered",
    "billing": "answered",
    "rate_limit": "nothing",
}
"""What a failure tells of the server: it is ill, it is alive, or nothing (429 is about the key)."""

WORST_FIRST: Final[tuple[State, ...]] = ("open", "half_open", "closed")


class Breaker:
    """Counts failures in a row. *now* is a monotonic clock in seconds."""

    __slots__ = ("_cooldown_s", "_failures", "_now", "_opened_at", "_probe_at", "_probe_s", "_threshold")

    def __init__(
        self, now: Callable[[], float], threshold: int = 5, cooldown_s: float = 30.0, probe_s: float = 60.0
    ) -> None:
        self._now = now
        self._threshold = threshold
        self._cooldown_s = cooldown_s
        self._probe_s = probe_s
        self._failures = 0
        self._opened_at: float | None = None
        self._probe_at: float | None = None

    @property
    def state(self) -> State:
        """Where it stands now."""
        if self._opened_at is None:
            return "closed"
        return "open" if self.cooldown_s > 0 else "half_open"

    @property
    def cooldown_s(self) -> float:
        """Seconds until it becomes half-open; 0 when it is not open."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._cooldown_s - self._now())

    @property
    def ready(self) -> bool:
        """Whether `allows` would say yes; takes no probe."""
        match self.state:
            case "closed":
                return True
            case "open":
                return False
            case "half_open":
                return self._probe_at is None or self._now() - self._probe_at >= self._probe_s

    def allows(self) -> bool:
        """Whether a request may go; in half-open the caller who hears yes is the probe and reports back."""
        if not self.ready:
            return False
        if self._opened_at is not None:
            self._probe_at = self._now()
        return True

    def succeeded(self) -> None:
        """An answer came."""
        self._failures = 0
        self._opened_at = self._probe_at = None

    def failed(self) -> None:
        """The server failed. While open this changes nothing: late news must not prolong the cooldown."""
        if self._opened_at is not None and self.cooldown_s > 0:
            return
        self._failures += 1
        if self._opened_at is not None or self._failures >= self._threshold:
            self._opened_at = self._now()
            self._probe_at = None

    def released(self) -> None:
        """The request ended without news of the server (cancelled, rate limited)."""
        self._probe_at = None

    def judge(self, failure: Failure) -> None:
        """Take in what *failure* tells of the server."""
        match VERDICTS[failure.kind]:
            case "failed":
                self.failed()
            case "answered" if self._opened_at is not None:
                self.succeeded()
            case "answered" | "nothing":
                self.released()


class Breakers:
    """One breaker per target, made on first use. At most *limit* are kept: the longest unused goes first."""

    def __init__(
        self, now: Callable[[], float], threshold: int = 5, cooldown_s: float = 30.0, limit: int = 4096
    ) -> None:
        self._now = now
        self._threshold = threshold
        self._cooldown_s = cooldown_s
        self._limit = limit
        self._kept: OrderedDict[tuple[str, str], Breaker] = OrderedDict()

    def of(self, target: Target) -> Breaker:
        """The breaker of *target*, whatever its weight."""
        key = (target.provider, target.model)
        breaker = self._kept.get(key)
        if breaker is None:
            breaker = self._kept[key] = Breaker(self._now, self._threshold, self._cooldown_s)
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return breaker

    def state(self, provider: str) -> tuple[State, float]:
        """The worst state of a provider's targets and the longest cooldown among them."""
        own = [breaker for (name, _), breaker in self._kept.items() if name == provider]
        states = {breaker.state for breaker in own}
        worst: State = next((state for state in WORST_FIRST if state in states), "closed")
        return worst, max((breaker.cooldown_s for breaker in own), default=0.0)

    def shut(self, provider: str) -> bool:
        """Whether every target of *provider* that has been used is open, so that nothing gets through."""
        states = [breaker.state for (name, _), breaker in self._kept.items() if name == provider]
        return bool(states) and all(state == "open" for state in states)
