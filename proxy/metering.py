"""What one request takes of the limits of its key, and of the keys that made it.

A request is counted when it has come in, before its body is read; its tokens are reserved when it is about to be
asked and counted as they were used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import Refused, refused
from routing.throttle import Granted, Limit, Throttle, Wait
from storage.ledger import Status
from translators.neutral import Failure

if TYPE_CHECKING:
    from proxy.budgeting import Load
    from proxy.exchange import Attempt

Seen = Callable[["Attempt", Status, Failure | None], None]

_UNITS: Final[dict[Limit, tuple[str, str]]] = {
    "requests_per_minute": ("requests", "requests a minute"),
    "tokens_per_minute": ("tokens", "tokens a minute"),
    "concurrent": ("concurrent", "requests at the same time"),
}


def _template(name: str, *more: str) -> str:
    told = ("limit: %d", "remaining: %d", *more)
    return "".join(f"x-modelport-ratelimit-{each.replace(':', f'-{name}:')}\r\n" for each in told)


_LINES: Final[dict[Limit, str]] = {
    "requests_per_minute": _template("requests", "reset: %.3f"),
    "tokens_per_minute": _template("tokens", "reset: %.3f"),
    "concurrent": _template("concurrent"),
}


@dataclass(frozen=True, slots=True)
class Meter:
    """The limits of one key. *who* is what messages call it."""

    who: str
    throttle: Throttle


class Metered:
    """One request on its meters. Without any, every method does nothing."""

    __slots__ = ("_granted", "_known", "_used")

    def __init__(self, meters: Sequence[Meter] = ()) -> None:
        """Raises Refused, 429 with the time to wait, when one of *meters* has no room; then none has counted it."""
        self._granted: list[tuple[Meter, Granted]] = []
        self._used = 0
        self._known = False
        for meter in meters:
            found = meter.throttle.take()
            if isinstance(found, Wait):
                self.cancel()
                raise _refused(meter, found)
            self._granted.append((meter, found))

    def reserve(self, load: Load) -> None:
        """Set aside the tokens that an exchange may take: its prompt, and its answer as far as that has a bound.

        A bound on the answer that is larger than the limit does not by itself keep a request out.

        Raises:
            Refused: 429, one of the limits has no room for them; the request is not counted then.
        """
        for meter, granted in self._granted:
            limit = meter.throttle.tokens_per_minute
            if limit is None or load.free:
                continue
            prompt = load.input_tokens()
            tokens = max(prompt, min(limit, prompt + (load.output_tokens or 0) * load.choices))
            if wait := granted.reserve(tokens):
                error = _refused(meter, wait, tokens)
                self.cancel()
                raise error

    def watch(self, seen: Seen) -> Seen:
        """*seen*, which hears of every attempt that ends; what it took is counted."""
        if not self._granted:
            return seen

        def watched(attempt: Attempt, status: Status, failure: Failure | None) -> None:
            self._known = True
            if attempt.usage is not None:
                self._used += attempt.usage.input_tokens + attempt.usage.output_tokens
            for _, granted in self._granted:
                granted.settle(self._used)
            seen(attempt, status, failure)

        return watched

    def took(self, tokens: int) -> None:
        """An attempt that nobody else speaks of took so many."""
        self._known = True
        self._used += tokens
        for _, granted in self._granted:
            granted.settle(self._used)

    def close(self, *, free: bool) -> None:
        """The answer has gone out. *free*: nothing was asked for it; else what is reserved stays until it is known."""
        for _, granted in self._granted:
            granted.release()
            if free and not self._known:
                granted.settle(0)

    def cancel(self) -> None:
        """As though the request had never come."""
        for _, granted in self._granted:
            granted.cancel()
        self._granted.clear()

    def headers(self) -> dict[str, str]:
        """How the key's own limits stand, as vendors tell theirs; times are seconds."""
        return told(self._granted[0][0].throttle) if self._granted else {}

    def lines(self) -> bytes:
        """The same as lines of a head."""
        return _lines(self._granted[0][0].throttle).encode() if self._granted else b""


UNMETERED: Final = Metered()
"""Any request of a key without limits."""


def told(throttle: Throttle) -> dict[str, str]:
    """The `x-modelport-ratelimit-*` headers."""
    return dict(line.split(": ") for line in _lines(throttle).splitlines())


def _lines(throttle: Throttle) -> str:
    """The lines of a head that say how its limits stand. *reset* is in seconds."""
    return "".join([_LINES[limit] % room[: _LINES[limit].count("%")] for limit, room in throttle.room().items()])


def _refused(meter: Meter, wait: Wait, tokens: int = 0) -> Refused:
    limit = getattr(meter.throttle, wait.limit)
    said = f"{meter.who} may make {limit} {_UNITS[wait.limit][1]}"
    if wait.limit == "tokens_per_minute":
        said = f"{meter.who} may use {limit} tokens a minute, and this request may take {tokens}"
    again = "it will never fit" if wait.wait_s is None else f"there is room again in {max(wait.wait_s, 0.001):.3g} s"
    if wait.limit == "concurrent" and wait.wait_s is not None:
        again = "wait for one of them to end"
    error = refused(429, f"{said}; {again}", kind="rate_limit", code="rate_limit_exceeded", retry_after_s=wait.wait_s)
    error.headers.update(told(meter.throttle))
    if wait.wait_s is None:
        error.headers["x-should-retry"] = "false"
    return error
