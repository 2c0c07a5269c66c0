"""genai-prices as the base: list prices of vendors by model, day and tier, turned into ours.

It costs half a second and 30 MB to load: only once a base price is needed, or by `warm` in a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Final

from routing.catalog import plain
from routing.pricing.kinds import Kind
from routing.pricing.rates import Price, Rate

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

GENAI_KINDS: Final[Mapping[str, Kind]] = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_audio_read_mtok": "cached_audio",
    "cache_image_read_mtok": "cached_image",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "input_image_mtok": "input_image",
    "input_video_mtok": "input_video",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
    "output_video_mtok": "output_video",
    "output_citation_mtok": "citation",
    "web_searches_kcount": "web_search",
    "storage_searches_kcount": "storage_search",
    "requests_kcount": "request",
    "input_document_kpages": "page",
    "input_mchars": "character",
}
HOURLY: Final = ("input_audio_hours", "audio_hours")
"""The same thing under two names; a minute is a sixtieth."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One model of genai-prices."""

    provider: Provider
    model: ModelInfo
    version: str

    def at(self, moment: datetime) -> ModelPrice:
        """Its standard price at *moment*, theirs."""
        return self.model.get_prices(moment)

    def served(self, moment: datetime, served: Mapping[str, str]) -> Price:
        """Its price for a request that was *served* so."""
        return turned(self.model.get_prices(moment, dict(served) if self._varies else None), self.version)

    def knows(self, moment: datetime, name: str, value: str) -> bool:
        """Whether it has rates of its own for requests that were served with *name* = *value*."""
        return any(when.get(name) == value for when in self.variants(moment))

    def variants(self, moment: datetime) -> Iterator[Mapping[str, str]]:
        """Every way of being served that has rates of its own at *moment*."""
        for variant in (self.model.price_variants or ()) if self._varies else ():
            if variant.constraint is None or variant.constraint.active(moment):
                yield variant.when

    @property
    def _varies(self) -> bool:
        """Whether it has variants, and they are those of its provider, not of one that it resells."""
        return bool(self.model.price_variants) and any(self.model is own for own in self.provider.models)


def look_up(provider_id: str, model: str) -> Listed | None:
    """The model of that name at genai-prices' provider of that id."""
    from genai_prices.data_snapshot import get_snapshot  # half a second: only once a base price is needed

    snapshot = get_snapshot()
    # The vendor's own spelling first; resellers' ids contain slashes that are part of the name.
    for spelling in dict.fromkeys((model, model.rpartition("/")[2], plain(model))):
        try:
            return Listed(*snapshot.find_provider_model(spelling, None, provider_id, None), base_version())
        except LookupError:
            continue
    return None


def turned(prices: ModelPrice, version: str) -> Price:
    """genai-prices' price as ours. What we do not count (messages of a voice, annotated pages) is left out."""
    rates: dict[Kind, Rate] = {}
    for name, kind in GENAI_KINDS.items():
        value = prices.__dict__.get(name)
        if isinstance(value, Decimal):
            rates[kind] = Rate(value)
        elif value is not None:
            rates[kind] = Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))
    for name in HOURLY:
        hourly = prices.__dict__.get(name)
        if isinstance(hourly, Decimal):
            rates["minute"] = Rate(hourly / 60)
            break
    return Price.made(rates, "genai-prices", version)


@cache
def base_version() -> str:
    """Name and version of the base; loads it."""
    import genai_prices
    from genai_prices.data_snapshot import get_snapshot

    get_snapshot()
    return f"genai-prices {genai_prices.__version__}"
