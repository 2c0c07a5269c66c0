"""Rates, prices and costs: the arithmetic, in nano-dollars."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from routing.errors import BadRow
from routing.pricing.counting import counted, of_text_alone
from routing.pricing.kinds import (
    DEARER_THAN_WHOLE,
    INPUT_KINDS,
    KINDS,
    LONGEST_WRITES,
    NANO_PER,
    OUTPUT_KINDS,
    PART_OF,
    SEARCHES,
    TOKEN_KINDS,
    Kind,
)
from translators.neutral import Usage

UNBOUNDED: Final[tuple[Kind, ...]] = ("minute", "page", "character", "image")
NEAR: Final = Decimal("1.1")
"""A tier that begins within a tenth above an estimate may be the one that is billed."""
_PLAIN: Final[tuple[Kind, ...]] = ("input", "cached_input", "output")
_TOLD_APART: Final[frozenset[Kind]] = frozenset({"reasoning", "request", "minute"})
"""Kinds that have a part in answers of text alone, where a price knows them."""
_AMOUNT: Final = re.compile(r"[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars; *tiers* are (input tokens, dollars), ascending: above the number the dollars apply."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, input_tokens: int) -> Decimal:
        """The rate for an answer to this much input."""
        dollars = self.base
        for start, tier in self.tiers:
            if input_tokens > start:
                dollars = tier
        return dollars

    def worst(self, input_tokens: int) -> Decimal:
        """The most that it can be for an answer to about this much input."""
        if not self.tiers:
            return self.base
        near = input_tokens * NEAR
        return max((self.base, *(tier for start, tier in self.tiers if near > start)))

    def times(self, factor: Decimal) -> Rate:
        """Every number times *factor*."""
        return Rate(self.base * factor, tuple((start, tier * factor) for start, tier in self.tiers))

    @property
    def free(self) -> bool:
        """Whether it is 0 at every length."""
        return not self.base and not any(tier for _, tier in self.tiers)


@dataclass(frozen=True, slots=True)
class Price:
    """Rates by kind, where they come from, and in which version (a name and a hash of the rates)."""

    rates: Mapping[Kind, Rate]
    source: str = "config"
    version: str = ""
    plain: tuple[int, int, int] | None = field(init=False, compare=False, repr=False)
    """Nano-dollars for a token of input, of cached input and of output; None where that is not all there is to it.

    Then `nanousd` of an answer of text alone is the sum of the products.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", self._plain())

    @classmethod
    def made(cls, rates: Mapping[Kind, Rate], source: str, label: str) -> Price:
        """A price whose version is *label* and the hash of its rates."""
        return cls(rates, source, f"{label} #{fingerprint(rates)}")

    @classmethod
    def of(cls, texts: Mapping[str, Any], place: str = "price") -> Price:
        """A price from decimal strings by kind, as configuration holds them.

        `tiers` may hold a list of such tables, each with `above`: input tokens beyond which its rates apply.

        Raises:
            BadRow: an unknown kind, or something that is not a number of at least 0.
        """
        tables = [(0, place, {name: text for name, text in texts.items() if name != "tiers"})]
        for number, tier in enumerate(texts.get("tiers") or ()):
            where = f"{place}.tiers[{number}]"
            above = tier.get("above")
            if not isinstance(above, int) or isinstance(above, bool) or above < 1:
                raise BadRow(f"{where}.above: expected a number of input tokens, found {above!r}")
            tables.append((above, where, {name: text for name, text in tier.items() if name != "above"}))
        found: dict[Kind, list[tuple[int, Decimal]]] = {}
        for above, where, table in sorted(tables, key=lambda entry: entry[0]):
            for name, text in table.items():
                found.setdefault(_kind(name, where), []).append((above, _dollars(text, f"{where}.{name}")))
        rates = {}
        for kind, steps in found.items():
            if steps[0][0]:
                raise BadRow(f"{place}.tiers: {kind} needs a rate below the first tier, too")
            rates[kind] = Rate(steps[0][1], tuple(steps[1:]))
        return cls.made(rates, "config", "config")

    def rate(self, kind: Kind) -> Rate | None:
        """The rate of *kind*, its own or the one it falls back to; None when it is unknown."""
        own = self.rates.get(kind)
        if own is not None:
            return own
        if kind in SEARCHES:
            return Rate(Decimal(0)) if all(rate.free for rate in self.rates.values()) else None
        wider = PART_OF.get(kind)
        fallback = self.rate(wider) if wider else None
        if fallback is None or fallback.free:
            return fallback
        if kind in LONGEST_WRITES or (self.source == "config" and kind in DEARER_THAN_WHOLE):
            return None
        return fallback

    def times(self, factor: Decimal) -> dict[Kind, Rate]:
        """The rates of tokens times *factor*, the others as they are."""
        return {kind: rate.times(factor) if kind in TOKEN_KINDS else rate for kind, rate in self.rates.items()}

    def nanousd(self, usage: Usage) -> int | None:
        """What *usage* costs, rounded half-even once; None when a kind that was used has no rate."""
        if self.plain is not None and of_text_alone(usage, self.rates):
            plain, cached, output = self.plain
            fresh = usage.input_tokens - usage.cached_input_tokens
            return fresh * plain + usage.cached_input_tokens * cached + usage.output_tokens * output
        total = Decimal(0)
        for kind, count in counted(usage, self.rates).items():
            rate = self.rates.get(kind) or self.rate(kind)
            if rate is None:
                return None
            dollars = rate.at(usage.input_tokens) if rate.tiers else rate.base
            total += dollars * (count * NANO_PER[kind])
        return int(total.to_integral_value(ROUND_HALF_EVEN))

    def _plain(self) -> tuple[int, int, int] | None:
        if not _TOLD_APART.isdisjoint(self.rates):
            return None
        found: list[int] = []
        for kind in _PLAIN:
            rate = self.rate(kind)
            nano = None if rate is None or rate.tiers else rate.base * NANO_PER[kind]
            if nano is None or nano != int(nano):
                return None
            found.append(int(nano))
        plain, cached, output = found
        return plain, cached, output

    def table(self) -> dict[str, Any]:
        """The rates as decimal strings, to be kept beside what they priced; `Price.kept` reads them."""
        return {
            kind: [str(rate.base), *([start, str(tier)] for start, tier in rate.tiers)]
            for kind, rate in sorted(self.rates.items())
        }

    @classmethod
    def kept(cls, table: Mapping[str, Any], source: str, version: str) -> Price:
        """The price whose `table` that was."""
        rates: dict[Kind, Rate] = {}
        for name, (base, *tiers) in table.items():
            rates[_kind(name, "kept")] = Rate(Decimal(base), tuple((start, Decimal(tier)) for start, tier in tiers))
        return cls(rates, source, version)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The dearest rates of some prices, by side. A side without a rate is empty."""

    sent: tuple[Rate, ...]
    made: tuple[Rate, ...]
    requests: tuple[Rate, ...]
    searches: tuple[Rate, ...]

    @classmethod
    def over(cls, prices: Sequence[Price]) -> Ceiling | None:
        """Over all of *prices*; None when no count of tokens bounds one of them: a sound's length, a document's."""
        if any(not rate.free for price in prices for kind in UNBOUNDED if (rate := price.rates.get(kind))):
            return None
        sides: tuple[Iterable[Kind], ...] = (INPUT_KINDS, OUTPUT_KINDS, ("request",), SEARCHES)
        return cls(
            *(_dearest(price.rates[kind] for price in prices for kind in side if kind in price.rates) for side in sides)
        )

    def nanousd(self, input_tokens: int, output_tokens: int, searches: int = 0) -> int | None:
        """The most that so many tokens can cost, rounded up; None when a side has no rate."""
        if (input_tokens and not self.sent) or (output_tokens and not self.made) or (searches and not self.searches):
            return None
        total = _worst(self.sent, input_tokens) * input_tokens + _worst(self.made, input_tokens) * output_tokens
        total += (_worst(self.requests, input_tokens) + _worst(self.searches, input_tokens) * searches) * 1000
        return int((total * 1000).to_integral_value(ROUND_CEILING))


@dataclass(frozen=True, slots=True)
class Cost:
    """Billionths of a US dollar, and the price behind them."""

    nanousd: int
    source: str
    version: str


def _dearest(rates: Iterable[Rate]) -> tuple[Rate, ...]:
    """Those that may be the dearest at some length."""
    found = set(rates)
    flat = max((rate.base for rate in found if not rate.tiers), default=None)
    return (*(rate for rate in found if rate.tiers), *(() if flat is None else (Rate(flat),)))


def _worst(rates: tuple[Rate, ...], input_tokens: int) -> Decimal:
    return max((rate.worst(input_tokens) for rate in rates), default=Decimal(0))


def fingerprint(rates: Mapping[Kind, Rate]) -> str:
    """Twelve hexadecimal digits that stand for exactly these rates, however their numbers are written."""
    plain = {
        kind: [str(rate.base.normalize()), *([start, str(tier.normalize())] for start, tier in rate.tiers)]
        for kind, rate in rates.items()
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def _kind(name: str, place: str) -> Kind:
    kind = next((kind for kind in KINDS if kind == name), None)
    if kind is None:
        raise BadRow(f"{place}.{name}: not a kind of price; choose {', '.join(KINDS)}")
    return kind


def _dollars(text: Any, place: str) -> Decimal:
    if not isinstance(text, str) or not _AMOUNT.fullmatch(text):
        raise BadRow(f"{place}: expected dollars as a decimal string of at least 0, found {text!r}")
    return Decimal(text)
