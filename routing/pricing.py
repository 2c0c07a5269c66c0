"""What an attempt costs: prices of the configuration over those of genai-prices, in nano-dollars.

A Price has a rate per kind of thing that is counted, USD per million tokens (per thousand of `web_search` and
`request`). Rates may rise with the length of the input: past a tier's start the whole answer pays the tier's rate.

    input ── cached_input, cache_write ── cache_write_1h, input_audio        output ── reasoning, output_audio, ...

A kind without a rate of its own is priced as the kind that it is part of. In genai-prices' data that is what a
missing rate means. A configured price is trusted less far: `cached_input` falls back to `input` (never too little),
but cache writes and audio, which cost more than plain input, only when the input is free. What then has no rate
makes the whole cost unknown (None): a silent zero would hide spending. A configured rate of 0 is a known price.

genai-prices costs half a second and 30 MB to load. `PriceBook.warm` loads it, in a thread; a cost that is asked for
earlier loads it on the spot.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from routing.catalog import plain
from routing.errors import BadRow
from translators.neutral import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

Kind = Literal[
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "output",
    "output_audio",
    "output_image",
    "reasoning",
    "citation",
    "web_search",
    "request",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

PART_OF: Final[Mapping[Kind, Kind]] = {
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "reasoning": "output",
    "output_audio": "output",
    "output_image": "output",
}
INPUT_KINDS: Final[tuple[Kind, ...]] = ("input", "cached_input", "cache_write", "cache_write_1h", "input_audio")
OUTPUT_KINDS: Final[tuple[Kind, ...]] = ("output", "reasoning", "output_audio", "output_image")
DEARER_THAN_WHOLE: Final = frozenset({"cache_write", "input_audio", "output_audio", "output_image"})
"""Kinds for which the wider kind's rate would be too little."""

GENAI_KINDS: Final[Mapping[str, Kind]] = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_mtok": "output",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
    "output_reasoning_mtok": "reasoning",
    "output_citation_mtok": "citation",
    "web_searches_kcount": "web_search",
    "requests_kcount": "request",
}
NANO_PER: Final[Mapping[Kind, int]] = {
    kind: 1_000_000 if kind in {"web_search", "request"} else 1_000 for kind in KINDS
}
"""Nano-dollars per unit at a rate of one dollar (per thousand, or per million tokens)."""
REMEMBERED: Final = 2048
VARIANT_KEYS: Final = ("service_tier", "speed")
"""Fields of a vendor's usage object that choose a variant of the price (Anthropic reports both)."""


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


@dataclass(frozen=True, slots=True)
class Price:
    """Rates by kind, where they come from, and in which version."""

    rates: Mapping[Kind, Rate]
    source: str = "config"
    version: str = "config"

    @classmethod
    def of(cls, texts: Mapping[str, str | int | Decimal], place: str = "price") -> Price:
        """A price from decimal strings by kind, as configuration holds them.

        Raises:
            BadRow: an unknown kind, or something that is not a number of at least 0.
        """
        rates: dict[Kind, Rate] = {}
        for name, text in texts.items():
            kind = next((kind for kind in KINDS if kind == name), None)
            if kind is None:
                raise BadRow(f"{place}.{name}: not a kind of price; choose {', '.join(KINDS)}")
            try:
                dollars = Decimal(text)
            except InvalidOperation:
                dollars = Decimal("NaN")
            if not dollars.is_finite() or dollars < 0:
                raise BadRow(f"{place}.{name}: expected dollars as a decimal string of at least 0, found {text!r}")
            rates[kind] = Rate(dollars)
        return cls(rates)

    def rate(self, kind: Kind) -> Rate | None:
        """The rate of *kind*, its own or the one it falls back to; None when it is unknown."""
        own = self.rates.get(kind)
        wider = PART_OF.get(kind)
        if own is not None or wider is None:
            return own
        fallback = self.rate(wider)
        if self.source == "config" and kind in DEARER_THAN_WHOLE and fallback is not None and fallback.base > 0:
            return None
        return fallback

    def nanousd(self, usage: Usage) -> int | None:
        """What *usage* costs, rounded half-even once; None when a kind that was used has no rate."""
        counts = counted(usage, self.rates)
        total = Decimal(0)
        for kind, count in counts.items():
            rate = self.rate(kind)
            if rate is None:
                return None
            total += rate.at(usage.input_tokens) * (count * NANO_PER[kind])
        return int(total.to_integral_value(ROUND_HALF_EVEN))

    def worst_nanousd(self, input_tokens: int, output_tokens: int) -> int | None:
        """The most that so many tokens can cost; None when a side has no rate."""
        sent = [rate.at(input_tokens) for kind in INPUT_KINDS if (rate := self.rates.get(kind))]
        made = [rate.at(input_tokens) for kind in OUTPUT_KINDS if (rate := self.rates.get(kind))]
        if (input_tokens and not sent) or (output_tokens and not made):
            return None
        total = max(sent, default=Decimal(0)) * input_tokens + max(made, default=Decimal(0)) * output_tokens
        if (flat := self.rates.get("request")) is not None:
            total += flat.at(input_tokens) * 1000
        return int((total * 1_000).to_integral_value(ROUND_CEILING))


@dataclass(frozen=True, slots=True)
class Cost:
    """Billionths of a US dollar, and the price behind them."""

    nanousd: int
    source: str
    version: str


def counted(usage: Usage, rates: Mapping[Kind, Rate]) -> dict[Kind, int]:
    """How much of each kind was used, every token once; kinds that were not used are left out.

    Kinds that only a few prices tell apart (reasoning, searches) are split off only where *rates* has them.
    """
    raw = usage.raw
    written_1h = min(usage.cache_write_tokens, _number(raw, "cache_creation", "ephemeral_1h_input_tokens"))
    plain_input = max(0, usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens)
    # Cached audio is counted as cached input: the cheaper of its two halves is what the vendors bill.
    audio = min(plain_input, usage.audio_input_tokens)
    output, audio_out = usage.output_tokens, min(usage.output_tokens, usage.audio_output_tokens)
    images = min(output - audio_out, _image_output(raw)) if "output_image" in rates else 0
    thought = min(output - audio_out - images, usage.reasoning_tokens) if "reasoning" in rates else 0
    amounts: dict[Kind, int] = {
        "input": plain_input - audio,
        "cached_input": usage.cached_input_tokens,
        "cache_write": usage.cache_write_tokens - written_1h,
        "cache_write_1h": written_1h,
        "input_audio": audio,
        "output": output - audio_out - images - thought,
        "output_audio": audio_out,
        "output_image": images,
        "reasoning": thought,
    }
    if "citation" in rates:
        amounts["citation"] = _number(raw, "citation_tokens")
    if "web_search" in rates:
        amounts["web_search"] = _number(raw, "server_tool_use", "web_search_requests")
    if "request" in rates:
        amounts["request"] = 1
    return {kind: count for kind, count in amounts.items() if count > 0}


def _number(raw: Mapping[str, Any], *path: str) -> int:
    """The whole number at *path* of a vendor's usage object, 0 when there is none."""
    value: Any = raw
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0


def _image_output(raw: Mapping[str, Any]) -> int:
    """Tokens of pictures in the answer. (Gemini candidatesTokensDetails; OpenAI completion_tokens_details)."""
    details = raw.get("candidatesTokensDetails")
    if isinstance(details, list):
        return sum(
            _number(entry, "tokenCount")
            for entry in details
            if isinstance(entry, Mapping) and entry.get("modality") == "IMAGE"
        )
    return _number(raw, "completion_tokens_details", "image_tokens")


@dataclass(slots=True)
class PriceBook:
    """Prices by provider and model.

    *overrides*: (provider, model or "*") -> price, the configuration's. *provider_ids*: more lines for the table
    of our provider names and genai-prices' ids, for providers of the configuration that resell known models.
    """

    overrides: Mapping[tuple[str, str], Price] = field(default_factory=dict)
    provider_ids: Mapping[str, str] = field(default_factory=dict)
    _found: dict[tuple[str, str], _Base | None] = field(default_factory=dict)

    def warm(self) -> None:
        """Load the base prices; to be called in a thread, at any time and as often as one likes."""
        _genai_version()

    def cost(
        self,
        provider: str,
        model: str,
        usage: Usage,
        at: datetime,
        context: Mapping[str, str] | None = None,
    ) -> Cost | None:
        """What *usage* cost at *provider* at the time *at* (aware, or in UTC); None when that is unknown.

        *context* names circumstances with prices of their own (`processing: batch`, `service_tier: priority`);
        `service_tier` and `speed` of the vendor's usage object are looked at besides.
        """
        price = self.price(provider, model, at, _circumstances(usage, context))
        if price is None:
            return None
        nanousd = price.nanousd(usage)
        return None if nanousd is None else Cost(nanousd, price.source, price.version)

    def worst_nanousd(
        self, provider: str, model: str, input_tokens: int, output_tokens: int, *, at: datetime
    ) -> int | None:
        """The most that so many tokens can cost, each at the dearest rate of its side; None when that is unknown."""
        price = self.price(provider, model, at)
        return None if price is None else price.worst_nanousd(input_tokens, output_tokens)

    def price(self, provider: str, model: str, at: datetime, context: Mapping[str, str] | None = None) -> Price | None:
        """The price in force; None when there is none."""
        own = self.overrides.get((provider, model)) or self.overrides.get((provider, "*"))
        if own is not None:
            return own
        key = (provider, model)
        if key in self._found:
            base = self._found[key]
        else:
            if len(self._found) >= REMEMBERED:
                del self._found[next(iter(self._found))]
            base = self._found[key] = self._look_up(provider, model)
        return None if base is None else base.price(at, context or {})

    def _look_up(self, provider: str, model: str) -> _Base | None:
        ids = {**shipped_ids(), **self.provider_ids}
        if provider not in ids:
            return None
        from genai_prices.data_snapshot import get_snapshot  # half a second: only once a base price is needed

        snapshot = get_snapshot()
        # The vendor's own spelling first; resellers' ids contain slashes that are part of the name.
        for spelling in dict.fromkeys((model, model.rpartition("/")[2], plain(model))):
            try:
                return _Base(*snapshot.find_provider_model(spelling, None, ids[provider], None), _genai_version())
            except LookupError:
                continue
        return None


@dataclass(slots=True)
class _Base:
    """One model of genai-prices, with the prices that were already turned into ours."""

    provider: Provider
    model: ModelInfo
    version: str
    _turned: dict[int, Price] = field(default_factory=dict)

    def price(self, at: datetime, context: Mapping[str, str]) -> Price:
        """The price in force at *at*."""
        if self.model.price_variants and context and any(self.model is own for own in self.provider.models):
            return turned(self.model.get_prices(at, context), self.version)
        standard = self.model.get_prices(at)
        known = self._turned.get(id(standard))
        if known is None:
            known = self._turned[id(standard)] = turned(standard, self.version)
        return known


def turned(prices: ModelPrice, version: str) -> Price:
    """genai-prices' price as ours. What we do not count (pages, pictures, minutes) is left out."""
    rates: dict[Kind, Rate] = {}
    for name, kind in GENAI_KINDS.items():
        value = prices.__dict__.get(name)
        if isinstance(value, Decimal):
            rates[kind] = Rate(value)
        elif value is not None:
            rates[kind] = Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))
    return Price(rates, "genai-prices", version)


@cache
def shipped_ids() -> Mapping[str, str]:
    """Our provider names to genai-prices' ids."""
    document = tomllib.loads(files("routing").joinpath("data/price_sources.toml").read_text("utf-8"))
    ids: dict[str, str] = document["genai_prices"]
    return ids


@cache
def _genai_version() -> str:
    import genai_prices
    from genai_prices.data_snapshot import get_snapshot

    get_snapshot()
    return f"genai-prices {genai_prices.__version__}"


def _circumstances(usage: Usage, context: Mapping[str, str] | None) -> Mapping[str, str]:
    told = {key: value for key in VARIANT_KEYS if isinstance(value := usage.raw.get(key), str)}
    return {**told, **context} if context else told
