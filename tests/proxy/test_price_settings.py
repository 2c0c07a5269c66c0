"""Prices in the configuration: what may be said, what it means, and how a mistake is named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.config import ConfigError, load
from proxy.providers import providers
from proxy.setup import new_prices
from routing.pricing import PriceBook
from translators.neutral import Usage

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
WHOLE = """
[prices]
vendor_cost = "never"
[providers.openai]
discount = "0.2"
[providers.openai.price."gpt-5*"]
input = "1"
output = "2"
tiers = [{ above = 1000, input = "2" }]
served = { batch = "0.5", priority = { input = "3", output = "4" } }
changes = [
    { valid_from = 2027-01-01, input = "9", output = "9", served = { batch = "0.1" } },
    { valid_from = "2027-06-01T12:00:00+02:00", input = "0", output = "0" },
]
[providers.openrouter]
price = { "a/*" = { minute = "0.006" }, "b" = { page = "4", request = "1" } }
"""


def book(folder: Path, text: str) -> PriceBook:
    (folder / "modelport.toml").write_text(text, encoding="utf-8")
    settings = load(folder=folder, environ={}).settings
    return new_prices(providers(settings, {}), settings.prices)


@pytest.mark.parametrize(
    ("model", "usage", "at", "served", "nanousd"),
    [
        ("gpt-5.2", Usage(1000, 10), AT, {}, 1000 * 1000 + 10 * 2000),
        ("gpt-5.2", Usage(1001, 10), AT, {}, 1001 * 2000 + 10 * 2000),
        ("gpt-5.2", Usage(1001, 10), AT, {"service_tier": "batch"}, 1001 * 1000 + 10 * 1000),
        ("gpt-5.2", Usage(1001, 10), AT, {"service_tier": "priority"}, 1001 * 3000 + 10 * 4000),
        ("gpt-5.2", Usage(1001, 10), AT, {"service_tier": "fast"}, None),
        ("gpt-5.2", Usage(10, 0, 0, 5), AT, {}, None),
        ("gpt-5.2", Usage(10, 10), datetime(2027, 1, 1, tzinfo=UTC), {}, 20 * 9000),
        ("gpt-5.2", Usage(10, 10), datetime(2027, 1, 1, tzinfo=UTC), {"service_tier": "batch"}, 20 * 900),
        ("gpt-5.2", Usage(10, 10), datetime(2027, 6, 1, 10, tzinfo=UTC), {}, 0),
        ("gpt-4o", Usage(1000), AT, {}, 1000 * 2500 * 8 // 10),
    ],
)
def test_a_whole_price(
    tmp_path: Path, model: str, usage: Usage, at: datetime, served: dict[str, str], nanousd: int | None
) -> None:
    cost = book(tmp_path, WHOLE).cost("openai", model, usage, at, served)

    assert (cost and cost.nanousd) == nanousd


def test_what_is_not_billed_by_tokens(tmp_path: Path) -> None:
    prices = book(tmp_path, WHOLE)
    heard = prices.cost("openrouter", "a/voice", Usage(raw={"seconds": 30}), AT)
    read = prices.cost("openrouter", "b", Usage(raw={"pages_processed": 2}), AT)
    reported = prices.cost("openrouter", "c", Usage(1, raw={"cost": 1}), AT)

    assert [cost and cost.nanousd for cost in (heard, read, reported)] == [3_000_000, 9_000_000, None]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('price = { input = "1", tiers = [{ above = 5, output = "1" }] }', "price.tiers: found a list"),
        ('price = { input = "1", tiers = [{ input = "1" }] }', "price.tiers[0].above: found no value"),
        ('price = { input = "1", changes = [{ input = "1" }] }', "price.changes[0].valid_from: found no value"),
        ('price = { input = "1", changes = [{ valid_from = "soon", input = "1" }] }', "found 'soon', expected a day"),
        ('price = { input = "1", served = { turbo = "1" } }', "one of batch, flex, priority, fast, ultrafast"),
        ('price = { input = "1", served = { batch = 0.5 } }', "price.served.batch: found 0.5"),
        ('price = { inptu = "1" }', "did you mean input?"),
        ("price = {}", "expected at least one rate"),
        ('discount = "2"', "discount: found '2', expected a part of the price"),
        ("discount = 0.2", "discount: found 0.2"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        book(tmp_path, f"[providers.openai]\n{text}\n")

    assert told in str(raised.value)
