"""Prices for choosing: by tier, remembered for a minute."""

from __future__ import annotations

from datetime import UTC, datetime

from routing.pricing import Price, PriceBook, Tariff
from routing.rate_card import REMEMBERED_S, RateCard, Rates
from routing.targets import Target

A = Target("a", "m")
TIERED = Price.of({"input": "1", "cached_input": "0.1", "output": "4", "tiers": [{"above": 100, "input": "2"}]})


def card(clock, *tariffs: Tariff) -> RateCard:
    return RateCard(PriceBook({("a", "m"): tariffs}, shipped=False), clock)


def test_rates_are_nano_dollars_a_token_in_the_tier_of_the_prompt(clock) -> None:
    rates = card(clock, Tariff(TIERED))

    assert rates.of(A, 100) == Rates(1_000, 100, 4_000)
    assert rates.of(A, 101) == Rates(2_000, 100, 4_000)
    assert rates.of(A, 100).cost_nanousd(10, 2) == 18_000


def test_what_has_no_price_has_no_rates(clock) -> None:
    assert card(clock, Tariff(TIERED)).of(Target("b", "m"), 1) is None


def test_a_price_that_changes_is_seen_within_a_minute(clock) -> None:
    later = Price.of({"input": "9", "output": "9"})
    since = datetime.fromtimestamp(clock() + 10, UTC)
    rates = card(clock, Tariff(TIERED), Tariff(later, since=since))
    rates.of(A, 1)
    clock.advance(REMEMBERED_S + 1)

    assert rates.of(A, 1).input == 9_000
