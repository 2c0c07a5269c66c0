"""The limits of one provider and of its keys, and who waits for a place below them.

    Gate.take --> Place (it may go) --free--> its server is done with it --settle--> its tokens are known
         `------> Wait  --join--> Ticket --its turn--> take --> Place, served
                                         `--given up--> leave

Tenants take turns: a thousand requests of one do not keep the single one of another waiting. Within a tenant who came
first goes first. Nobody overtakes: as long as somebody waits, only the one whose turn it is gets a place. The queue
is bounded, and where it is full the tenant with the most tickets makes room for one with fewer. Waiting itself is the
caller's business: a ticket's *wake* is called whenever it may be worth a look.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, Literal

from routing.throttle import Granted, Limit, NewThrottle, Throttle, Wait

Need = Callable[[int], int]
"""The tokens that a request may take, given how many the limit allows; it is asked for only where there is one."""

RUNNING_S: Final = 1.0
"""What a request that runs is taken to last on, where somebody has to be told when to come again."""
MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What may be asked of one provider, or with one key. None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None

    def __bool__(self) -> bool:
        return (self.requests_per_minute, self.tokens_per_minute, self.concurrent) != (None, None, None)


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that waits, and whose it is."""

    tenant: str
    wake: Callable[[], None]
    pushed_out: bool = False
    """Whether it had to make room, and waits no more."""
    tokens: int = 0
    """What it may take of a minute's tokens."""


class FairQueue:
    """Who waits: a line for each tenant, and tenants in turn. At most *size* tickets."""

    __slots__ = ("_lines", "count", "size", "tokens")

    def __init__(self, size: int) -> None:
        self.size = size
        self._lines: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self.count = 0
        """How many tickets there are."""
        self.tokens = 0
        """Of all tickets together."""

    def __len__(self) -> int:
        return self.count

    @property
    def head(self) -> Ticket | None:
        """Whose turn it is; it stays so until it is served or leaves."""
        return next(iter(self._lines.values()))[0] if self._lines else None

    def join(self, ticket: Ticket) -> bool:
        """Whether there was room for *ticket*, or somebody made room."""
        if self.count >= self.size and not self._make_room(ticket):
            return False
        self._lines.setdefault(ticket.tenant, deque()).append(ticket)
        self.count += 1
        self.tokens += ticket.tokens
        return True

    def takes(self, tenant: str) -> bool:
        """Whether there is room for one more of *tenant*, or somebody would make room."""
        return self.count < self.size or self._longer_line(tenant) is not None

    def _longer_line(self, tenant: str) -> deque[Ticket] | None:
        longest = max(self._lines.values(), key=len, default=None)
        if longest is None or len(longest) <= len(self._lines.get(tenant, ())) + 1:
            return None
        return longest

    def _make_room(self, ticket: Ticket) -> bool:
        longest = self._longer_line(ticket.tenant)
        if longest is None:
            return False
        last = longest[-1]
        self.leave(last)
        last.pushed_out = True
        last.wake()
        return True

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._lines.get(ticket.tenant, ())

    def served(self, ticket: Ticket) -> None:
        """*ticket* got its place: the next tenant's turn."""
        if self.leave(ticket) and ticket.tenant in self._lines:
            self._lines.move_to_end(ticket.tenant)

    def leave(self, ticket: Ticket) -> bool:
        """*ticket* waits no more. Whether it did."""
        line = self._lines.get(ticket.tenant, ())
        if ticket not in line or not isinstance(line, deque):
            return False
        line.remove(ticket)
        self.count -= 1
        self.tokens -= ticket.tokens
        if not line:
            del self._lines[ticket.tenant]
        return True


Refusal = Literal["too_large", "too_long", "full", "pushed_out", "too_late"]
"""More than the limit by itself; its turn would come too late; the queue was full; others of its tenant made it leave;
its turn did not come in time."""


@dataclass(slots=True)
class Turns:
    """What came of those that had to wait: *served* after *waited_s* in all, *left* by themselves, or refused."""

    served: int = 0
    waited_s: float = 0.0
    left: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)


class Place:
    """One request below the limits. Every method may be called again."""

    __slots__ = ("_gate", "_granted", "key_index")

    def __init__(self, gate: Gate, key_index: int, granted: tuple[Granted, ...]) -> None:
        self._gate = gate
        self._granted = granted
        self.key_index = key_index

    def settle(self, tokens: int) -> None:
        """It took so many tokens in all."""
        for granted in self._granted:
            granted.settle(tokens)
        self._gate.wake()

    def free(self) -> None:
        """Its server is done with it."""
        for granted in self._granted:
            granted.release()
        self._gate.wake()

    def cancel(self) -> None:
        """As though it had never been asked for: nothing was sent."""
        for granted in self._granted:
            granted.cancel()
        self._gate.wake()


class Gate:
    """What one provider is asked at most, by all its keys together and by each. *now* is a monotonic clock.

    *throttle* makes what counts for the provider of that *name*.
    """

    def __init__(
        self,
        whole: Rates,
        each_key: Rates,
        keys: int,
        now: Callable[[], float],
        *,
        queue: int = 256,
        queue_s: float = 30,
        name: str = "",
        throttle: NewThrottle | None = None,
    ) -> None:
        make = throttle or (lambda _: Throttle(None, None, None, now))
        self._now = now
        self._whole = _limited(make(f"provider {name}"), whole)
        self._keys = [_limited(make(f"provider {name} key {index}"), each_key) for index in range(keys)]
        self.limited = bool(whole) or bool(each_key)
        self.queue = FairQueue(queue)
        self.turns = Turns()
        self.queue_s = queue_s
        """How long one request waits at most."""

    def configure(self, whole: Rates, each_key: Rates, *, queue: int, queue_s: float) -> None:
        """Other limits from now on; what was granted still counts where it was counted."""
        self.limited = bool(whole) or bool(each_key)
        self.queue.size, self.queue_s = queue, queue_s
        _limited(self._whole, whole)
        for key in self._keys:
            _limited(key, each_key)
        self.wake()

    @property
    def shared(self) -> bool:
        """Whether places may become free unseen: who waits has to look again and again."""
        return self._whole.shared

    def take(self, keys: Collection[int], need: Need, ticket: Ticket | None = None) -> Place | Wait:
        """A place with the first of *keys* that has room; who waits has a *ticket*, and goes before who does not."""
        if not self.limited:
            return Place(self, next(iter(keys)), ())
        if ticket is not self.queue.head:
            return self._in_line(need)
        shortest: Wait | None = None
        for index in keys:
            found = self._take(index, need)
            if isinstance(found, Place):
                return found
            shortest = found if shortest is None else min(shortest, found, key=_soonest)
        return shortest or Wait("concurrent", RUNNING_S)

    def served(self, ticket: Ticket, waited_s: float = 0.0) -> None:
        """*ticket* has its place, after *waited_s*."""
        self.turns.served += 1
        self.turns.waited_s += waited_s
        self.queue.served(ticket)
        self.wake()

    def leave(self, ticket: Ticket) -> None:
        """*ticket* waits no more."""
        if self.queue.leave(ticket):
            self.wake()

    def wake(self) -> None:
        """Something has changed: whoever's turn it is looks again."""
        if (head := self.queue.head) is not None:
            head.wake()

    def tokens_free_in_s(self, tokens: int, ticket: Ticket | None = None) -> float | None:
        """Seconds until *tokens* are free behind those of all that wait, but for *ticket*'s own; None: never.

        As the reservations stand: whoever takes less than it has reserved makes it sooner.
        """
        waiting = self.queue.tokens - (ticket.tokens if ticket is not None and ticket in self.queue else 0)
        if self._whole.tokens_per_minute is not None:
            return self._whole.tokens_free_in_s(tokens, waiting)
        each = [key.tokens_free_in_s(tokens, waiting // len(self._keys)) for key in self._keys]
        return min((wait_s for wait_s in each if wait_s is not None), default=None)

    def bound(self, limit: Limit) -> int | None:
        """The number of that limit: the provider's own, else that of each key."""
        own: int | None = getattr(self._whole, limit)
        return own if own is not None else next((getattr(key, limit) for key in self._keys), None)

    def room(self) -> dict[str, int]:
        """What is left of each limit of the provider as a whole."""
        return {limit: room.remaining for limit, room in self._whole.room().items()}

    def _take(self, index: int, need: Need) -> Place | Wait:
        granted: list[Granted] = []
        for throttle in (self._whole, self._keys[index]):
            limit = throttle.tokens_per_minute
            found = throttle.take(need(limit) if limit is not None else 0)
            if isinstance(found, Wait):
                for taken in granted:
                    taken.cancel()
                return found
            granted.append(found)
        return Place(self, index, tuple(granted))

    def _in_line(self, need: Need) -> Wait:
        """What is told to somebody who would stand behind all that wait."""
        per_minute = self.bound("requests_per_minute")
        if per_minute is not None:
            return Wait("requests_per_minute", (len(self.queue) + 1) * MINUTE_S / per_minute)
        if self.bound("concurrent") is not None:
            return Wait("concurrent", RUNNING_S)
        bound = self.bound("tokens_per_minute")
        return Wait("tokens_per_minute", self.tokens_free_in_s(need(bound)) if bound is not None else RUNNING_S)


def _limited(throttle: Throttle, rates: Rates) -> Throttle:
    throttle.requests_per_minute = rates.requests_per_minute
    throttle.tokens_per_minute = rates.tokens_per_minute
    throttle.concurrent = rates.concurrent
    return throttle


def _soonest(wait: Wait) -> float:
    return float("inf") if wait.wait_s is None else wait.wait_s


def tokens_needed(prompt: int, answer: int) -> Need:
    """A prompt, and an answer as far as the limit allows: a generous bound by itself keeps no request out."""
    return lambda limit: max(prompt, min(limit, prompt + answer))
