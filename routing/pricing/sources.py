"""What is known of vendors' ways of charging, as shipped in `price_sources.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final

_TRAFFIC: Final[Mapping[str, str]] = {
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_FLEX": "flex",
    "PROVISIONED_THROUGHPUT": "provisioned_throughput",
}
"""Vertex' words."""


@cache
def _document() -> Mapping[str, Any]:
    return tomllib.loads(files("routing").joinpath("data/price_sources.toml").read_text("utf-8"))


@cache
def shipped_ids() -> Mapping[str, str]:
    """Our provider names to genai-prices' ids."""
    ids: dict[str, str] = _document()["genai_prices"]
    return ids


@cache
def cost_reporters() -> frozenset[str]:
    """Providers whose usage object says in US dollars what an answer cost."""
    return frozenset(_document()["vendor_cost"]["providers"])


def circumstances(raw: Mapping[str, Any], observed: Mapping[str, Any], context: Mapping[str, str]) -> dict[str, str]:
    """How a request was served, as far as that has prices of its own; *context* over *observed* over *raw*."""
    found: dict[str, str] = {}
    tier = (
        context.get("service_tier")
        or observed.get("service_tier")
        or raw.get("service_tier")
        or raw.get("serviceTier")
        or _TRAFFIC.get(str(raw.get("trafficType")))
    )
    if isinstance(tier, str):
        found["service_tier"] = tier.lower()
        if tier.lower() == "batch":
            found["processing"] = "batch"
    for name in ("speed", "inference_geo"):
        value = raw.get(name)
        if isinstance(value, str):
            found[name] = value.lower()
    found.update((name, value) for name, value in context.items() if name != "service_tier")
    return found


def apart(provider: str, served: Mapping[str, str]) -> list[tuple[str, str]]:
    """What of *served* cannot be booked at the standard rates: it costs more than those, or nobody knows what."""
    known = _document()
    prepaid = known["prepaid"].get(provider, ())
    return [
        (name, value)
        for name, standard in known["standard"].items()
        if (value := served.get(name, ""))
        and value not in standard
        and value not in known["cheaper"].get(name, ())
        and value not in prepaid
    ]


def surcharge(provider: str, served: Mapping[str, str]) -> Decimal:
    """The factor on the rates of tokens."""
    factor = Decimal(1)
    for row in _surcharges(provider):
        if served.get(row["field"]) == row["value"]:
            factor *= Decimal(row["factor"])
    return factor


def every_surcharge(provider: str) -> Mapping[str, str]:
    """What would have to be served for all of them to apply."""
    return {row["field"]: row["value"] for row in _surcharges(provider)}


@cache
def _surcharges(provider: str) -> tuple[Mapping[str, str], ...]:
    return tuple(row for row in _document()["surcharges"] if row["provider"] == provider)
