"""What a failure means for the rest of a chain, how long to wait, and how many waits are allowed at once.

stop        the request itself is wrong: every vendor would say so
next_key    the key is refused: another key of this provider, then the next target
again       the server failed: the next target, or the last target once more after a pause
elsewhere   the next target, never this one again (a redirect will not go away)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from translators.neutral import ErrorKind, Failure

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
    if 300 <= failure.status < 400:
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
    """At most a *share* of the requests in flight may be repeats at any moment, but always *minimum*."""

    __slots__ = ("_minimum", "_share", "in_flight", "repeating")

    def __init__(self, share: float = 0.2, minimum: int = 3) -> None:
        self._share = share
        self._minimum = minimum
        self.in_flight = 0
        self.repeating = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request while it runs."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    @contextmanager
    def repeat(self) -> Iterator[bool]:
        """Whether one more request may pause and repeat; it holds its place until the block ends."""
        granted = self.repeating < max(self._minimum, int(self._share * self.in_flight))
        self.repeating += granted
        try:
            yield granted
        finally:
            self.repeating -= granted
