"""How much may be asked in a minute and at the same time, exact to the request.

    take --> Granted --reserve, settle--> counts for a minute --> forgotten
         \\-> Wait                release: it no longer runs

Requests and tokens are counted over a window that slides: what was granted at second t counts until t + 60, so that
no minute, wherever it begins, holds more than the limit. Tokens are reserved by estimate and corrected by `settle`;
what was used beyond the reservation counts from the moment at which it is known. A limit of None is none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

WINDOW_S: Final = 60.0
RUNNING_WAIT_S: Final = 1.0
"""What is told when all places are taken: nobody knows when one gets free."""

Limit = Literal["requests_per_minute", "tokens_per_minute", "concurrent"]


NewThrottle = Callable[[str], "Throttle"]
"""What makes the one that counts under a name, without limits yet."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now. *wait_s*: when it may be granted; None: never, as it is more than the limit by itself."""

    limit: Limit
    wait_s: float | None


class Room(NamedTuple):
    """What one limit has left. *reset_s*: until the window is empty, 0 when it is."""

    limit: int
    remaining: int
    reset_s: float


@dataclass(slots=True, eq=False)
class Counted:
    """A request, or tokens, from the moment *at* on. *inside*: whether it still counts."""

    at: float
    amount: int
    inside: bool = True


class Granted:
    """One request that may go on. `settle`, `release` and `cancel` may be called again."""

    __slots__ = ("_owner", "_running", "held", "request")

    def __init__(self, owner: Throttle, request: Counted) -> None:
        self._owner = owner
        self._running = True
        self.request = request
        self.held: list[Counted] = []
        """The tokens that are counted for it."""

    def reserve(self, tokens: int) -> Wait | None:
        """Set *tokens* more aside; None when there is room for them."""
        return self._owner.reserve(self, tokens)

    def settle(self, tokens: int) -> None:
        """*tokens* is what it took in all, instead of what was reserved."""
        self._owner.settle(self, tokens)

    def release(self) -> None:
        """It no longer runs."""
        if self._running:
            self._running = False
            self._owner.running -= 1

    def cancel(self) -> None:
        """As though it had never been asked for."""
        self.release()
        self.settle(0)
        self._owner.forget(self.request)


class Throttle:
    """The limits of one key or one provider. *now* is a monotonic clock in seconds."""

    shared = False
    """Whether others grant from it, and end what they were granted, unseen."""

    def __init__(
        self,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        concurrent: int | None,
        now: Callable[[], float],
    ) -> None:
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.concurrent = concurrent
        """The three may be changed at any time; what was granted still counts."""
        self.running = 0
        self._now = now
        self._requests: deque[Counted] = deque()
        self._tokens: deque[Counted] = deque()
        self._used = 0

    def take(self, tokens: int = 0) -> Granted | Wait:
        """Grant a request that may take *tokens*, or say when to come again. A refusal leaves no trace."""
        now = self._now()
        self._forget_old(now)
        if self.concurrent is not None and self.running >= self.concurrent:
            return Wait("concurrent", RUNNING_WAIT_S if self.concurrent else None)
        limit = self.requests_per_minute
        if limit is not None and len(self._requests) >= limit:
            leaving = self._requests[len(self._requests) - limit].at if limit else None
            return Wait("requests_per_minute", None if leaving is None else leaving + WINDOW_S - now)
        granted = Granted(self, Counted(now, 1))
        if tokens and (wait := self.reserve(granted, tokens)):
            return wait
        if limit is not None:
            self._requests.append(granted.request)
        self.running += 1
        return granted

    def reserve(self, granted: Granted, tokens: int) -> Wait | None:
        """Set *tokens* more aside for *granted*; None when there is room for them."""
        now = self._now()
        self._forget_old(now)
        limit = self.tokens_per_minute
        if limit is None:
            return None
        if self._used + tokens > limit:
            return Wait("tokens_per_minute", self._free_in_s(tokens, limit, now))
        self._count(granted, now, tokens)
        return None

    def tokens_free_in_s(self, tokens: int, before: int = 0) -> float | None:
        """Seconds until there is room for *tokens* behind *before* others that go first; None: there never is.

        A minute after anything is granted there is room for it again: each `tokens_per_minute` of them take one.
        """
        now, limit = self._now(), self.tokens_per_minute
        self._forget_old(now)
        if limit is None:
            return 0.0
        if tokens > limit:
            return None
        minutes, rest = divmod(max(0, before + tokens - 1), limit)
        wait_s = self._free_in_s(rest + 1, limit, now) if self._used + rest + 1 > limit else 0.0
        return None if wait_s is None else minutes * WINDOW_S + wait_s

    def settle(self, granted: Granted, tokens: int) -> None:
        """Count *tokens* for *granted* instead of what was reserved for it."""
        now = self._now()
        self._forget_old(now)
        more = tokens - sum(counted.amount for counted in granted.held)
        if more > 0 and self.tokens_per_minute is not None:
            self._count(granted, now, more)
        for counted in reversed(granted.held):
            less = min(counted.amount, max(0, -more))
            counted.amount -= less
            self._used -= less if counted.inside else 0
            more += less

    def forget(self, request: Counted) -> None:
        """A request that was granted is not counted any more."""
        if request in self._requests:
            self._requests.remove(request)

    def room(self) -> dict[Limit, Room]:
        """What is left of every limit that there is."""
        now = self._now()
        self._forget_old(now)
        found: dict[Limit, Room] = {}
        if self.requests_per_minute is not None:
            count = len(self._requests)
            found["requests_per_minute"] = self._room(self.requests_per_minute, count, self._requests, now)
        if self.tokens_per_minute is not None:
            found["tokens_per_minute"] = self._room(self.tokens_per_minute, self._used, self._tokens, now)
        if self.concurrent is not None:
            found["concurrent"] = Room(self.concurrent, max(0, self.concurrent - self.running), 0.0)
        return found

    @staticmethod
    def _room(limit: int, used: int, counted: deque[Counted], now: float) -> Room:
        reset_s = counted[-1].at + WINDOW_S - now if counted else 0.0
        return Room(limit, max(0, limit - used), max(0.0, reset_s))

    def _count(self, granted: Granted, now: float, tokens: int) -> None:
        counted = Counted(now, tokens)
        granted.held.append(counted)
        self._tokens.append(counted)
        self._used += tokens

    def _free_in_s(self, tokens: int, limit: int, now: float) -> float | None:
        """When enough has left the window for *tokens*."""
        if tokens > limit:
            return None
        excess = self._used + tokens - limit
        for counted in self._tokens:
            excess -= counted.amount
            if excess <= 0:
                return counted.at + WINDOW_S - now
        return WINDOW_S

    def _forget_old(self, now: float) -> None:
        while self._requests and now - self._requests[0].at >= WINDOW_S:
            self._requests.popleft()
        while self._tokens and now - self._tokens[0].at >= WINDOW_S:
            old = self._tokens.popleft()
            old.inside = False
            self._used -= old.amount
