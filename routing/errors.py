"""Errors of this package.

RoutingError
├── UnknownModel        no route, provider or model has this name: a 404 with the nearest names
├── NoProvider          the name is known but none of its providers is enabled: a 503
├── TooManyTargets      an ad-hoc chain is longer than allowed: a 400
├── LacksAbilities      no candidate can take what the request contains: a 400 that names it
├── TooLong             no candidate can take so much of it: a 400 that says by how much
├── BadRow              shipped or configured data is wrong (a rule, a price, a target): start-up stops
├── AttemptFailed       one attempt gave no answer; raised by the caller's attempt, consumed by the executor
│   └── NotSent         it was not even made: something of ours forbids it (a budget, a limit); another target may do
│       └── Unfit       the request cannot be put to this target, or not without a loss that its client refuses
└── ChainExhausted      no target answered: the status of `failure`, with every attempt
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from translators.neutral import Failure

if TYPE_CHECKING:
    from routing.executor import Attempted, Skipped


class RoutingError(Exception):
    """Anything that keeps a request from reaching an answer."""


class UnknownModel(RoutingError):
    """Nobody offers *model*; *nearest* are the names that resemble it, the closest first."""

    def __init__(self, model: str, nearest: Sequence[str] = ()) -> None:
        shown = model if len(model) <= 80 else model[:77] + "..."
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(f"no route, provider or model is called {shown!r}{hint}")
        self.model = model
        self.nearest = tuple(nearest)


class NoProvider(RoutingError):
    """*route* exists, but none of the *providers* that it names is enabled."""

    def __init__(self, route: str, providers: Sequence[str]) -> None:
        super().__init__(f"route {route!r} has no enabled provider; it needs one of {', '.join(providers)}")
        self.route = route
        self.providers = tuple(providers)


class TooManyTargets(RoutingError):
    """The body's `models` names more targets than one request may try."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"models: {count} names; at most {limit} make a chain")


class LacksAbilities(RoutingError):
    """No candidate takes the request. *missing* maps a target's name to what it lacks, *place* is where it stands."""

    def __init__(self, missing: dict[str, list[str]], place: str | None = None) -> None:
        listed = "; ".join(f"{name} takes no {', '.join(lacking)}" for name, lacking in missing.items())
        super().__init__(f"{place}: no target can take it: {listed}" if place else f"no target can take it: {listed}")
        self.missing = missing
        self.place = place


class TooLong(RoutingError):
    """No candidate takes a request of this length.

    *lengths* maps a target's name to the estimated tokens and the most that it takes, *missing* those of the others to
    what they lack instead; *place* is what the client calls its messages.
    """

    def __init__(self, lengths: dict[str, tuple[int, int]], missing: dict[str, list[str]], place: str) -> None:
        listed = [
            f"{name} takes {room:,} tokens, {tokens - room:,} fewer than the about {tokens:,} of this request"
            for name, (tokens, room) in lengths.items()
        ]
        listed += [f"{name} takes no {', '.join(lacking)}" for name, lacking in missing.items()]
        super().__init__(f"{place}: too long for every target: {'; '.join(listed)}")
        self.lengths = lengths
        self.missing = missing
        self.place = place


class BadRow(RoutingError):
    """A row of data is wrong; the message names the row, the field, the value and what would be right."""


class AttemptFailed(RoutingError):
    """One attempt ended without an answer that was committed to."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.status} {failure.kind}")
        self.failure = failure


class NotSent(AttemptFailed):
    """An attempt was not made, because of a rule of ours. It says nothing of the target; *failure* is the client's."""


class Unfit(NotSent):
    """The request cannot be put to this target as the client wants it. Asking it later is of no use.

    *answered* is what the target said when it was asked in vain before that was known.
    """

    def __init__(self, failure: Failure, answered: Failure | None = None) -> None:
        super().__init__(failure)
        self.answered = answered


class ChainExhausted(RoutingError):
    """No target answered.

    *failure* is the one to report. *attempts* were made, *skipped* were not (breaker open, keys cooling).
    The message carries statuses and reasons only, never a vendor's words: those may hold secrets.
    """

    def __init__(self, failure: Failure, attempts: Sequence[Attempted], skipped: Sequence[Skipped] = ()) -> None:
        self.failure = failure
        self.attempts = tuple(attempts)
        self.skipped = tuple(skipped)
        super().__init__(self.describe())

    def describe(self, clean: Callable[[str], str] | None = None) -> str:
        """Every attempt with target, status and reason; with *clean*, also what the vendor said, passed through it."""
        listed = [
            f"{made.target.name}: {made.failure.status} {made.failure.kind}"
            + (f" ({clean(made.failure.message)})" if clean and made.failure.message else "")
            for made in self.attempts
            if made.failure is not None
        ]
        listed += [f"{left.target.name}: not tried, {left.reason}" for left in self.skipped]
        count = len(self.attempts)
        head = "no attempt could be made" if count == 0 else f"{count} attempt{'s' if count > 1 else ''} failed"
        return f"{head}: {'; '.join(listed)}" if listed else f"{head}: {self.failure.kind}"
