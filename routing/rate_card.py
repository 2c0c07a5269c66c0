"""Prices as policies need them: rough, fast, and only of plain text.

Looking a price up costs some microseconds and is done for every target of every request, so what was found is
remembered for a minute. Numbers are floats here: they choose a target, and nothing is booked with them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from routing.pricing import Price, PriceBook
from routing.targets import Target

REMEMBERED_S: Final = 60.0
REMEMBERED: Final = 4096


class Rates(NamedTuple):
    """Nano-dollars for one token sent, one read from the vendor's cache, one received, and for a request."""

    input: float
    cached: float
    output: float
    request: float = 0.0

    def cost_nanousd(self, input_tokens: float, output_tokens: float) -> float:
        """What a request of so many tokens costs."""
        return self.request + self.input * input_tokens + self.output * output_tokens


class _Line:
    """The rates of one target, one for each tier of the length of a prompt. *until*: when to look again."""

    __slots__ = ("rates", "starts", "until")

    def __init__(self, until: float, price: Price | None) -> None:
        self.until = until
        tiers = {start for rate in price.rates.values() for start, _ in rate.tiers} if price else set[int]()
        self.starts = tuple(sorted(tiers))
        self.rates = [_rates(price, start + 1) if price else None for start in (0, *self.starts)]

    def at(self, input_tokens: int) -> Rates | None:
        """The rates for a prompt of that length: past a tier's start, the tier's."""
        return self.rates[bisect_left(self.starts, input_tokens)] if self.starts else self.rates[0]


class RateCard:
    """The rates of *book*. *now* is Unix time in seconds."""

    def __init__(self, book: PriceBook, now: Callable[[], float]) -> None:
        self.book = book
        self._now = now
        self._lines: dict[tuple[str, str], _Line] = {}

    def of(self, target: Target, input_tokens: int) -> Rates | None:
        """The rates of *target* for a prompt of that length; None when they are not known."""
        return self.of_all((target,), input_tokens)[0]

    def of_all(self, targets: Sequence[Target], input_tokens: int) -> list[Rates | None]:
        """The same for each of *targets*."""
        now, lines = self._now(), self._lines
        found = []
        for target in targets:
            line = lines.get((target.provider, target.model))
            if line is None or line.until < now:
                line = self._look_up(target, now)
            found.append(line.at(input_tokens))
        return found

    def _look_up(self, target: Target, now: float) -> _Line:
        if len(self._lines) >= REMEMBERED:
            self._lines.clear()
        price = self.book.price(target.provider, target.model, datetime.fromtimestamp(now, UTC))
        line = self._lines[target.provider, target.model] = _Line(now + REMEMBERED_S, price)
        return line


def _rates(price: Price, input_tokens: int) -> Rates | None:
    sent, received, request = price.rate("input"), price.rate("output"), price.rates.get("request")
    if sent is None or received is None:
        return None
    cached = price.rate("cached_input") or sent
    return Rates(
        float(sent.at(input_tokens)) * 1_000,
        float(cached.at(input_tokens)) * 1_000,
        float(received.at(input_tokens)) * 1_000,
        float(request.at(input_tokens)) * 1_000_000 if request else 0.0,
    )
