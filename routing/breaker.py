"""Circuit breaker for one target.

closed --threshold failures in a row--> open --after cooldown_s--> half_open
half_open --success, or any answer--> closed          half_open --failure--> open

A stream is a success at its end. Its beginning closes a half-open breaker, too, but wipes out no failure of before:
five streams in a row that break off open the breaker, and the first one after a cooldown opens it again.
Only failures that speak about the server count: VERDICTS says what each kind tells.
Half-open lets one probe through; a probe whose sender never reports gives its place back after probe_s.
After a restart, the newest attempts of the ledger put every breaker where it was (`Breakers.restore`).

Source: M. Nygard, Release It!, 2nd ed., ch. 5.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Literal, assert_never

from typing_extensions import override

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

CLIENTS_DEADLINE: Final = "client_deadline"
"""The code of a timeout that came because the client would not wait any longer: it speaks for nobody."""

SERVERS_FAULTS: Final[frozenset[str]] = frozenset(kind for kind, verdict in VERDICTS.items() if verdict == "failed")
"""Kinds of failures that say that the server is ill."""
AILING: Final = 2
"""Failures in a row from which a target is not taken to be well."""
WORST_FIRST: Final[tuple[State, ...]] = ("open", "half_open", "closed")

Told = Callable[[State, State, str], None]
"""Hears of a change: the state before, the one after, and why."""


class Breaker:
    """Counts failures in a row. *now* is a monotonic clock in seconds."""

    __slots__ = ("_cooldown_s", "_failures", "_now", "_opened_at", "_probe_at", "_probe_s", "_threshold", "told")

    def __init__(
        self,
        now: Callable[[], float],
        threshold: int = 5,
        cooldown_s: float = 30.0,
        probe_s: float = 60.0,
        told: Told | None = None,
    ) -> None:
        self._now = now
        self._threshold = threshold
        self._cooldown_s = cooldown_s
        self._probe_s = probe_s
        self.told = told
        self._failures = 0
        self._opened_at: float | None = None
        self._probe_at: float | None = None

    @property
    def failures(self) -> int:
        """How many failures in a row it counts."""
        return self._failures

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
    def well(self) -> bool:
        """Whether nothing speaks against it: it is closed, and did not fail twice in a row."""
        return self._opened_at is None and self._failures < AILING

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
            self._tell("open", "half_open", "its cooldown is over, one request is let through")
        return True

    def succeeded(self) -> None:
        """An answer came."""
        if self._opened_at is not None:
            self._tell(self.state, "closed", "it answered")
        self._failures = 0
        self._opened_at = self._probe_at = None

    def began(self) -> None:
        """The first of an answer came; what comes of it, `succeeded` or `judge` is told later."""
        if self._opened_at is not None:
            self._tell(self.state, "closed", "its answer has begun")
            self._failures = self._threshold - 1
            self._opened_at = self._probe_at = None

    def failed(self, why: str = "it failed", at: float | None = None) -> None:
        """The server failed, at the moment *at*, else now.

        While open this changes nothing: late news must not prolong the cooldown.
        """
        at = self._now() if at is None else at
        if self._opened_at is not None and at < self._opened_at + self._cooldown_s:
            return
        self._failures += 1
        if self._opened_at is not None or self._failures >= self._threshold:
            self._tell("closed" if self._opened_at is None else "half_open", "open", why)
            self._opened_at = at
            self._probe_at = None

    def released(self) -> None:
        """The request ended without news of the server (cancelled, rate limited)."""
        self._probe_at = None

    def judge(self, failure: Failure, at: float | None = None) -> None:
        """Take in what *failure* tells of the server; *at* is when it came, if not now."""
        match "nothing" if failure.code == CLIENTS_DEADLINE else VERDICTS[failure.kind]:
            case "failed":
                self.failed(f"{failure.status} {failure.kind}", at)
            case "answered" if self._opened_at is not None:
                self.succeeded()
            case "answered" | "nothing":
                self.released()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """While it lasts, nobody is told of changes."""
        told, self.told = self.told, None
        try:
            yield
        finally:
            self.told = told

    def _tell(self, before: State, after: State, why: str) -> None:
        if self.told is not None:
            self.told(before, after, why)


Word = Literal["failed", "succeeded", "began", "probes"]
"""What one worker says to the others: it saw a failure or an answer, or lets a request through to see."""


class SpokenBreaker(Breaker):
    """A breaker that *say*s what it sees, as far as it matters to the others over the same target."""

    __slots__ = ("say",)

    def __init__(self, *given: Any, say: Callable[[Word], None], **named: Any) -> None:
        super().__init__(*given, **named)
        self.say = say

    @override
    def allows(self) -> bool:
        allowed = super().allows()
        if allowed and self._opened_at is not None:
            self.say("probes")
        return allowed

    @override
    def succeeded(self) -> None:
        if self._failures or self._opened_at is not None:
            self.say("succeeded")
        super().succeeded()

    @override
    def began(self) -> None:
        if self._opened_at is not None:
            self.say("began")
        super().began()

    @override
    def failed(self, why: str = "it failed", at: float | None = None) -> None:
        self.say("failed")
        super().failed(why, at)

    @contextmanager
    @override
    def silent(self) -> Iterator[None]:
        say, self.say = self.say, _nobody
        try:
            with super().silent():
                yield
        finally:
            self.say = say

    def heard(self, word: Word) -> None:
        """Another worker said *word*."""
        with self.silent():
            match word:
                case "failed":
                    self.failed()
                case "succeeded":
                    self.succeeded()
                case "began":
                    self.began()
                case "probes":
                    self.allows()
                case _:
                    assert_never(word)


def _nobody(_word: Word) -> None:
    """Nobody is told."""


class Breakers:
    """One breaker per target, made on first use. At most *limit* are kept: the longest unused goes first.

    *told* hears of every change, after `provider/model`. *say* tells other workers what was seen of a target.
    """

    def __init__(
        self,
        now: Callable[[], float],
        threshold: int = 5,
        cooldown_s: float = 30.0,
        limit: int = 4096,
        told: Callable[[str, State, State, str], None] | None = None,
        *,
        say: Callable[[Target, Word], None] | None = None,
    ) -> None:
        self._now = now
        self._threshold = threshold
        self._cooldown_s = cooldown_s
        self._limit = limit
        self._told = told
        self._say = say
        self._kept: OrderedDict[tuple[str, str], Breaker] = OrderedDict()

    def of(self, target: Target) -> Breaker:
        """The breaker of *target*, whatever its weight."""
        key = (target.provider, target.model)
        breaker = self._kept.get(key)
        if breaker is None:
            told = partial(self._told, target.name) if self._told else None
            breaker = self._kept[key] = self._new(target, told)
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return breaker

    def _new(self, target: Target, told: Told | None) -> Breaker:
        if self._say is None:
            return Breaker(self._now, self._threshold, self._cooldown_s, told=told)
        say = partial(self._say, target)
        return SpokenBreaker(self._now, self._threshold, self._cooldown_s, told=told, say=say)

    def heard(self, target: Target, word: Word) -> None:
        """Another worker said *word* of *target*."""
        breaker = self.of(target)
        if isinstance(breaker, SpokenBreaker):
            breaker.heard(word)

    def restore(self, target: Target, failure: Failure | None, ago_s: float) -> None:
        """Take in an attempt of before the start, oldest first; *failure* is None for one that was answered.

        Nobody is told of the changes: they have been told of when they happened.
        """
        breaker = self.of(target)
        with breaker.silent():
            if failure is None:
                breaker.succeeded()
            else:
                breaker.judge(failure, self._now() - ago_s)

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
