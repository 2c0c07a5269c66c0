"""The prices in force: those of the configuration, else the base's; the vendor's own word where neither knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from routing.pricing.base import Listed, base_version, look_up
from routing.pricing.counting import OBSERVED, vendor_nanousd
from routing.pricing.kinds import Kind
from routing.pricing.rates import Ceiling, Cost, Price, Rate
from routing.pricing.reading import usage_of_raw, usage_of_row
from routing.pricing.sources import (
    apart,
    circumstances,
    cost_reporters,
    every_surcharge,
    shipped_ids,
    surcharge,
)
from translators.neutral import Usage

VendorCost = Literal["never", "when_unknown", "always"]
"""When the cost that a vendor reports is booked."""

REMEMBERED: Final = 2048
DRIFT: Final = timedelta(hours=1)
"""An answer may be priced so much later than it was reserved for."""
HOUR: Final = timedelta(hours=1)
STEPS: Final = 8
"""Prices change on quarters of an hour, if within a day."""
_WORDS: Final = ("processing", "service_tier", "speed")
"""Circumstances by whose value a configured price names rates of its own."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """A configured price from *since* on (None: always). *served*: factors or rates for `batch`, `priority`, ..."""

    price: Price
    served: Mapping[str, Decimal | Price] = field(default_factory=dict)
    since: datetime | None = None

    def rates(self, word: str | None) -> Mapping[Kind, Rate]:
        """The rates for a request that was served as *word* says."""
        own = self.served.get(word) if word else None
        if own is None:
            return self.price.rates
        return self.price.times(own) if isinstance(own, Decimal) else {**self.price.rates, **own.rates}


@dataclass(slots=True)
class PriceBook:
    """Prices by provider and model.

    *overrides*: (provider, model name or glob) -> the configuration's price, or several with their dates; an exact
    name comes before globs, globs count in their order. *provider_ids*: more lines for the table of our provider names
    and genai-prices' ids. *discounts*: what a provider takes off the base's prices (0.2 is a fifth; below 0 it is a
    surcharge). Configured prices are what is paid: no discount is taken off them.

    *on_new* is told every price that a cost is computed with, once.
    """

    overrides: Mapping[tuple[str, str], Price | Sequence[Tariff]] = field(default_factory=dict)
    provider_ids: Mapping[str, str] = field(default_factory=dict)
    discounts: Mapping[str, Decimal] = field(default_factory=dict)
    shipped: bool = True
    """Whether the base is asked at all."""
    vendor_cost: VendorCost = "when_unknown"
    reporters: frozenset[str] | None = None
    on_new: Callable[[Price], None] | None = None
    _found: dict[tuple[str, str], Sequence[Tariff] | Listed | None] = field(default_factory=dict)
    _made: dict[tuple[Any, ...], Price | None] = field(default_factory=dict)
    _ceilings: dict[tuple[Any, ...], Ceiling | None] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def warm(self) -> None:
        """Load the base prices; to be called in a thread, at any time and as often as one likes."""
        base_version()

    def cost(
        self,
        provider: str,
        model: str,
        usage: Usage,
        at: datetime,
        context: Mapping[str, str] | None = None,
    ) -> Cost | None:
        """What *usage* cost at *provider* at the time *at* (aware, or in UTC); None when that is unknown.

        How the request was served (batch, priority, fast, where) is read from the usage object, and from *context*
        over it.
        """
        if self.vendor_cost == "always" and (told := self._vendor_cost(provider, usage)):
            return told
        parts = [(model, usage), *_advice(usage)]
        nanousd, versions, source = 0, list[str](), ""
        for name, used in parts:
            price = self.price(provider, name, at, self._served(used, context))
            amount = price.nanousd(used) if price else None
            if price is None or amount is None:
                return self._vendor_cost(provider, usage) if self.vendor_cost != "never" else None
            self.tell(price)
            nanousd += amount
            versions.append(price.version)
            source = source or price.source
        return Cost(nanousd, source, " + ".join(versions))

    def recompute(self, row: Mapping[str, Any], kept: Callable[[str], Price | None] | None = None) -> Cost | None:
        """The cost of an attempt's row in the ledger, from its raw usage and the very price that it names.

        *kept* finds a price that was kept by its version; without it the prices of today are searched for that
        version. None: the price cannot be had any more, or the row has none.
        """
        usage, source, version = usage_of_row(row), row["price_source"], row["price_version"]
        if source == "vendor":
            told = vendor_nanousd(usage.raw)
            return None if told is None else Cost(told, source, version)
        if not version:
            return None
        nanousd = 0
        for (name, used), part in zip([(row["model"], usage), *_advice(usage)], version.split(" + "), strict=False):
            price = kept(part) if kept else None
            price = price or self._of_version(row, name, part, used)
            amount = price.nanousd(used) if price else None
            if amount is None:
                return None
            nanousd += amount
        return Cost(nanousd, source, version)

    def worst_nanousd(
        self,
        provider: str,
        model: str,
        input_tokens: int,
        output_tokens: int,
        *,
        at: datetime,
        asked: Mapping[str, str] | None = None,
        searches: int = 0,
    ) -> int | None:
        """The most that so many tokens can cost, each at the dearest rate of its side; None when that is unknown.

        Every way of being served counts that the request may get; *asked* narrows that down to what it asks for
        (`speed`, `service_tier`, ...: what it does not name is the standard, but for a tier that the vendor chooses).
        *searches*: how often its tools may search.
        """
        hour = (at if at.tzinfo else at.replace(tzinfo=UTC)).replace(minute=0, second=0, microsecond=0)
        key = (provider, model, hour, tuple(sorted(asked.items())) if asked is not None else None)
        if key not in self._ceilings:
            if len(self._ceilings) >= REMEMBERED:
                self._ceilings.clear()
            self._ceilings[key] = self._ceiling(provider, model, hour, asked)
        ceiling = self._ceilings[key]
        return None if ceiling is None else ceiling.nanousd(input_tokens, output_tokens, searches)

    def _ceiling(self, provider: str, model: str, hour: datetime, asked: Mapping[str, str] | None) -> Ceiling | None:
        """The dearest rates of every way of being served, from *hour* until DRIFT after its end."""
        prices: list[Price] = []
        for step in range(STEPS + 1):
            moment = hour + step * (DRIFT + HOUR) / STEPS
            standard = self.price(provider, model, moment)
            if standard is None:
                return None
            prices.append(standard)
            for served in self._ways(provider, model, moment, asked):
                price = self.price(provider, model, moment, served)
                if price is not None:
                    prices.append(price)
                elif asked and served.items() <= asked.items():
                    return None
        return Ceiling.over(prices)

    def price(self, provider: str, model: str, at: datetime, served: Mapping[str, str] | None = None) -> Price | None:
        """The price in force for a request that was *served* so; None when there is none."""
        found = self._find(provider, model)
        if found is None:
            return None
        served = served or {}
        moment = at if at.tzinfo else at.replace(tzinfo=UTC)
        if isinstance(found, Listed):
            key = (provider, model, id(found.at(moment)), moment.date() if served else None, *sorted(served.items()))
        else:
            tariff = _in_force(found, moment)
            if tariff is None:
                return None
            key = (provider, model, id(tariff), None, *sorted(served.items()))
        if key not in self._made:
            if len(self._made) >= REMEMBERED:
                self._made.clear()
            make = self._listed if isinstance(found, Listed) else self._configured
            self._made[key] = make(provider, found, moment, served)  # type: ignore[arg-type]  # of the same branch
        return self._made[key]

    def ways(self, provider: str, model: str, at: datetime) -> list[Mapping[str, str]]:
        """Every way of being served that has a price besides the standard one."""
        return list(self._ways(provider, model, at, None))

    def _configured(
        self, provider: str, tariffs: Sequence[Tariff], at: datetime, served: Mapping[str, str]
    ) -> Price | None:
        tariff = _in_force(tariffs, at)
        if tariff is None:
            return None
        word = next((value for name in _WORDS if (value := served.get(name)) in tariff.served), None)
        free = all(rate.free for rate in tariff.price.rates.values())
        if not free and any(value != word for _, value in apart(provider, served)):
            return None
        return tariff.price if word is None else Price.made(tariff.rates(word), "config", "config")

    def _listed(self, provider: str, listed: Listed, at: datetime, served: Mapping[str, str]) -> Price | None:
        if any(not listed.knows(at, name, value) for name, value in apart(provider, served)):
            return None
        price = listed.served(at, served)
        factor = surcharge(provider, served)
        off = self.discounts.get(provider, Decimal(0))
        if factor == 1 and not off:
            return price
        label = listed.version if not off else f"{listed.version} less {off:f}"
        return Price.made(price.times(factor * (1 - off)), price.source, label)

    def _find(self, provider: str, model: str) -> Sequence[Tariff] | Listed | None:
        key = (provider, model)
        if key in self._found:
            return self._found[key]
        own = self.overrides.get(key) or next(
            (price for (name, glob), price in self.overrides.items() if name == provider and fnmatchcase(model, glob)),
            None,
        )
        found: Sequence[Tariff] | Listed | None
        if own is not None:
            found = (Tariff(own),) if isinstance(own, Price) else own
        else:
            genai_id = self.provider_ids.get(provider) or shipped_ids().get(provider)
            found = look_up(genai_id, model) if genai_id and self.shipped else None
        if len(self._found) >= REMEMBERED:
            del self._found[next(iter(self._found))]
        self._found[key] = found
        return found

    def _served(self, usage: Usage, context: Mapping[str, str] | None) -> dict[str, str]:
        seen = usage.raw.get(OBSERVED) if usage.raw else None
        return circumstances(usage.raw, seen if isinstance(seen, Mapping) else {}, context or {})

    def _ways(
        self, provider: str, model: str, at: datetime, asked: Mapping[str, str] | None
    ) -> Iterator[Mapping[str, str]]:
        """Every way in which a request may be served besides the standard one."""
        found = self._find(provider, model)
        ways: list[Mapping[str, str]] = []
        if isinstance(found, Listed):
            ways.extend(found.variants(at))
        elif found:
            ways.extend({name: word} for tariff in found for word in tariff.served for name in ("service_tier",))
        if asked is not None:
            ways = [way for way in ways if _may_be(way, asked)]
            ways.append(asked)
        extra = every_surcharge(provider)
        yield from ways
        if extra:
            yield from ({**way, **extra} for way in ({}, *ways))

    def _of_version(self, row: Mapping[str, Any], model: str, version: str, usage: Usage) -> Price | None:
        """The price of that version among those that can be made today."""
        provider = row["provider"]
        for us in (row["started_us"], row["ended_us"]):
            if us is None:
                continue
            at = datetime.fromtimestamp(us / 1_000_000, UTC)
            for served in (self._served(usage, None), {}, *self._ways(provider, model, at, None)):
                price = self.price(provider, model, at, served)
                if price is not None and price.version == version:
                    return price
        return None

    def _vendor_cost(self, provider: str, usage: Usage) -> Cost | None:
        reporters = cost_reporters() if self.reporters is None else self.reporters
        told = vendor_nanousd(usage.raw) if usage.raw and provider in reporters else None
        return None if told is None else Cost(told, "vendor", "vendor")

    def tell(self, price: Price) -> None:
        """A cost is being computed with *price*."""
        if self.on_new is not None and price.version not in self._told:
            if len(self._told) >= REMEMBERED:
                self._told.clear()
            self._told.add(price.version)
            self.on_new(price)


def _in_force(tariffs: Sequence[Tariff], at: datetime) -> Tariff | None:
    """The one with the latest beginning that is not after *at*."""
    begun = [tariff for tariff in tariffs if tariff.since is None or tariff.since <= at]
    return max(begun, key=lambda tariff: tariff.since or datetime.min.replace(tzinfo=UTC), default=None)


def _may_be(way: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    """Whether a request that asks for *asked* may be served in that *way*: only a tier may be the vendor's choice."""
    return all(
        asked[name] in (value, "auto") if name in asked else name == "service_tier" for name, value in way.items()
    )


def _advice(usage: Usage) -> list[tuple[str, Usage]]:
    """What other models were asked inside the answer (Anthropic's advisor), which the counts leave out."""
    iterations = usage.raw.get("iterations") if usage.raw else None
    found: list[tuple[str, Usage]] = []
    for entry in iterations if isinstance(iterations, list) else ():
        if isinstance(entry, Mapping) and entry.get("type") == "advisor_message":
            used = usage_of_raw(entry, "anthropic")
            found.append((str(entry.get("model")), used or Usage(raw=entry)))
    return found
