"""What a failure means for the rest of a chain, how long to wait, and how much may be retried at all.

stop        the request itself is wrong: every vendor would say so
next_key    the key is refused: another key of this provider, then the next target
again       the server failed: the next target, or the last target once more after a pause
elsewhere   the next target, never this one again (a redirect will not go away, a huge answer not shrink)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from translators.neutral import TOO_MUCH, ErrorKind, Failure

Action = Literal["stop", "next_key", "again", "elsewhere"]

ACTIONS: Final[Mapping[ErrorKind, Action]] = {
    "invalid_request": "stop",
    "not_found": "stop",
    "too_large": "stop",
    "context_length": "stop",
    "content_filter": "stop",
    "authentication": "next_key",
    "permission": "next_key",
    "billing": "next_key",
    "rate_limit": "next_key",
    "overloaded": "again",
    "server": "again",
    "timeout": "again",
    "connection": "again",
    "invalid_response": "again",
}
PASSING_STATUSES: Final = frozenset({408, 409, 425})
"""Statuses of the 4xx range that pass by themselves, whatever kind a vendor's body suggests."""


def action_for(failure: Failure, fallback_on: Collection[ErrorKind] = ()) -> Action:
    """What to do after *failure*; kinds in *fallback_on* go elsewhere instead of stopping."""
    if 300 <= failure.status < 400 or failure.code == TOO_MUCH:
        return "elsewhere"
    action = ACTIONS[failure.kind]
    if action == "stop" and failure.status >= 500:  # the vendor's own doing: an answer too large to take in, say
        return "elsewhere"
    if action == "stop" and failure.status in PASSING_STATUSES:
        return "again"
    if action == "stop" and failure.kind in fallback_on:
        return "elsewhere"
    return action


@dataclass(frozen=True, slots=True)
class Patience:
    """How hard one request tries. None for *max_attempts*: three, or as many as the chain has targets."""

    max_attempts: int | None = None
    repeats: int = 1
    """How often the last target is asked again after a pause."""
    longest_wait_s: float = 30.0
    """A longer Retry-After is handed to the client instead of waited for."""
    backoff_s: float = 0.5
    longest_backoff_s: float = 8.0

    def attempts(self, chain_length: int) -> int:
        """The number of attempts that a chain of this length may make."""
        return self.max_attempts if self.max_attempts is not None else max(3, chain_length)

    def wait_s(self, failure: Failure, repeat: int, rng: Random) -> float | None:
        """Seconds before the same target is asked again, None for: do not.

        The vendor's Retry-After counts, spread by up to a tenth so that waiting clients do not return as one;
        without it a server failure backs off with full jitter, and a 429 is not repeated at all.
        """
        if action_for(failure) != "again" and failure.kind != "rate_limit":
            return None
        if failure.retry_after_s is not None:
            if failure.retry_after_s > self.longest_wait_s:
                return None
            return failure.retry_after_s * (1 + rng.random() / 10)
        if failure.kind == "rate_limit":
            return None
        return rng.uniform(0, min(self.longest_backoff_s, self.backoff_s * 2.0**repeat))


class RetryBudget:
    """At most a *share* of the recent requests may be retries, but always *minimum* in a window.

    A retry is asking the same target again, or going on to one that is failing, too. Going on to a target that is well
    is always allowed: an outage of everything is not made worse, and nothing is lost to an outage of a part. Recent is
    what began in the last *window_s*, or still runs. *now* is a monotonic clock.
    """

    __slots__ = ("_minimum", "_now", "_parts", "_share", "_window_s", "denied", "hand_overs", "in_flight", "retries")

    def __init__(self, now: Callable[[], float], share: float = 0.2, minimum: int = 3, window_s: float = 10.0) -> None:
        self._now = now
        self._share = share
        self._minimum = minimum
        self._window_s = window_s
        self._parts: deque[_Part] = deque()
        self.in_flight = 0
        self.retries = self.hand_overs = self.denied = 0
        """Since the start: those that were made, on to targets that are well, and those that were not allowed."""

    def allow(self, share: float, minimum: int) -> None:
        """Go by these from now on."""
        self._share, self._minimum = share, minimum

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request; it is in flight while it runs."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """A request begins."""
        self._part().requests += 1
        self.in_flight += 1

    def leave(self, *, counted: bool = True) -> None:
        """A request that began ends; unless it is *counted*, somebody else counts it."""
        self.in_flight -= 1
        if not counted:
            self._part().requests -= 1

    def passed(self, count: int) -> None:
        """Requests came and ended, of which nothing was to be told meanwhile."""
        self._part().requests += count

    def repeat(self) -> bool:
        """Whether one more request may be retried; it is counted then."""
        granted = self.allows()
        if granted:
            self.went_on(well=False)
        return granted

    def went_on(self, *, well: bool) -> None:
        """A request goes on to its next target; *well*: that one does not fail."""
        if well:
            self._part().hand_overs += 1
            self.hand_overs += 1
        else:
            self._part().retries += 1
            self.retries += 1

    def allows(self) -> bool:
        """The same as `has_room`; a no is counted."""
        if self.has_room:
            return True
        self.denied += 1
        return False

    @property
    def has_room(self) -> bool:
        """Whether one more request may be retried."""
        return self.left > 0

    @property
    def left(self) -> int:
        """How many more requests may be retried now."""
        self._part()
        return max(0, max(self._minimum, int(self._share * self._requests)) - sum(part.retries for part in self._parts))

    @property
    def strained(self) -> bool:
        """Whether so many requests need a second target that fewer first ones had better fail."""
        self._part()
        second = sum(part.retries + part.hand_overs for part in self._parts)
        return second >= self._minimum and second > self._share / 2 * self._requests

    @property
    def _requests(self) -> int:
        return max(self.in_flight, sum(part.requests for part in self._parts))

    def _part(self) -> _Part:
        """That of the present second; those of before the window are forgotten."""
        second = int(self._now())
        while self._parts and self._parts[0].second <= second - self._window_s:
            self._parts.popleft()
        if not self._parts or self._parts[-1].second != second:
            self._parts.append(_Part(second))
        return self._parts[-1]


@dataclass(slots=True)
class _Part:
    """What happened in one second."""

    second: int
    requests: int = 0
    retries: int = 0
    hand_overs: int = 0
