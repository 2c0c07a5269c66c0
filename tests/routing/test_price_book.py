"""Which price is in force, what it is called, and what a request can cost at most."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from routing.errors import BadRow
from routing.pricing import Price, PriceBook, Tariff, observed, shipped_ids, usage_of_row
from routing.pricing.rates import Rate
from translators.neutral import Choice, Opaque, Response, Text, Usage

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
PLAIN = Price.of({"input": "1", "output": "2"})
DEAR = Price.of({"input": "9", "output": "9"})


def nanousd(book: PriceBook, provider: str, model: str, usage: Usage, at: datetime = AT, **served: str) -> int | None:
    cost = book.cost(provider, model, usage, at, served)
    return cost and cost.nanousd


@pytest.mark.parametrize(
    ("model", "amount"), [("gpt-4o", 3000), ("gpt-4.1", 1000), ("gpt-4o-mini", 1000), ("o3", 2000), ("O3", None)]
)
def test_a_name_comes_before_globs_and_globs_count_in_their_order(model: str, amount: int | None) -> None:
    book = PriceBook(
        {
            ("p", "gpt-4*"): Price.of({"input": "1"}),
            ("p", "gpt-4o*"): Price.of({"input": "8"}),
            ("p", "gpt-4o"): Price.of({"input": "3"}),
            ("p", "o?"): Price.of({"input": "2"}),
        }
    )

    assert nanousd(book, "p", model, Usage(1)) == amount


def test_a_tier_holds_for_the_whole_answer() -> None:
    tiers = [{"above": 500, "input": "4"}, {"above": 100, "input": "2", "output": "20"}]
    price = Price.of({"input": "1", "output": "10", "tiers": tiers})
    costs = [price.nanousd(Usage(tokens, 1)) for tokens in (100, 101, 500, 501)]

    assert costs == [100_000 + 10_000, 202_000 + 20_000, 1_000_000 + 20_000, 2_004_000 + 20_000]


@pytest.mark.parametrize(
    ("tiers", "said"),
    [
        ([{"above": 5, "output": "1"}], "price.tiers: output needs a rate below the first tier"),
        ([{"above": 0, "input": "1"}], "price.tiers[0].above: expected a number of input tokens, found 0"),
        ([{"input": "1"}], "found None"),
        ([{"above": 5, "input": "one"}], "price.tiers[0].input: expected dollars"),
    ],
)
def test_a_wrong_tier_is_named(tiers: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(BadRow) as raised:
        Price.of({"input": "1", "tiers": tiers})

    assert said in str(raised.value)


def test_a_configured_price_has_dates() -> None:
    """The latest that has begun; before the first there is none."""
    first, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    book = PriceBook({("p", "*"): (Tariff(DEAR, since=second), Tariff(PLAIN, since=first))})
    moments = (first - timedelta(seconds=1), first, second - timedelta(seconds=1), second)

    assert [nanousd(book, "p", "m", Usage(1), at) for at in moments] == [None, 1000, 1000, 9000]


def test_a_configured_price_has_ways_of_being_served() -> None:
    """A factor is for tokens alone; rates that are not given are the standard ones; dearer ones are not guessed."""
    served = {"batch": Decimal("0.5"), "priority": Price.of({"input": "4"})}
    standard = Price.of({"input": "1", "output": "2", "request": "1"})
    book = PriceBook({("p", "*"): (Tariff(standard, served),)})
    usage = Usage(10, 10)

    assert nanousd(book, "p", "m", usage) == 30_000 + 1_000_000
    assert nanousd(book, "p", "m", usage, service_tier="batch") == 15_000 + 1_000_000
    assert nanousd(book, "p", "m", usage, processing="batch") == 15_000 + 1_000_000
    assert nanousd(book, "p", "m", usage, service_tier="PRIORITY") == 60_000 + 1_000_000
    assert nanousd(book, "p", "m", usage, service_tier="flex") == 30_000 + 1_000_000
    assert nanousd(book, "p", "m", usage, service_tier="fast") is None
    assert nanousd(book, "p", "m", usage, service_tier="priority", speed="fast") is None


WORDS_OF_VENDORS = [
    # what answers say of how they were served, and whether the list price of the model tells its cost
    *(("openai", "gpt-5.2", {"service_tier": word}, True) for word in ("default", "auto", "flex", "priority", "fast")),
    *(("openai", "gpt-5.2", {"service_tier": word}, False) for word in ("scale", "ultrafast", "of tomorrow")),
    *(("anthropic", "claude-opus-5", {"service_tier": word}, True) for word in ("standard", "priority", "batch")),
    ("anthropic", "claude-opus-5", {"service_tier": "standard_only"}, True),
    *(("anthropic", "claude-opus-5", {"speed": word}, True) for word in ("standard", "fast", "FAST")),
    *(("anthropic", "claude-opus-5", {"speed": word}, False) for word in ("ultrafast", "slow")),
    *(("gemini", "gemini-2.5-pro", {"serviceTier": word}, True) for word in ("STANDARD", "flex")),
    *(("gemini", "gemini-2.5-pro", {"serviceTier": word}, False) for word in ("priority", "deferred")),
    ("vertex", "gemini-2.5-pro", {"trafficType": "ON_DEMAND"}, True),
    ("vertex", "gemini-2.5-pro", {"trafficType": "PROVISIONED_THROUGHPUT"}, False),
    *(("groq", "openai/gpt-oss-120b", {"service_tier": word}, True) for word in ("on_demand", "flex", "auto")),
    ("groq", "openai/gpt-oss-120b", {"service_tier": "performance"}, False),
    *(("openai", "gpt-5.2", {"service_tier": word}, True) for word in (None, "", 7)),
]


@pytest.mark.parametrize(("provider", "model", "raw", "known"), WORDS_OF_VENDORS)
def test_a_way_of_being_served_that_no_rate_is_known_of_is_not_priced_as_the_standard(
    provider: str, model: str, raw: dict[str, Any], known: bool
) -> None:
    cost = PriceBook().cost(provider, model, Usage(1000, 100, raw=raw), AT)

    assert (cost is not None) is known


def test_a_configured_price_may_say_what_an_unusual_tier_costs() -> None:
    served = {"scale": Decimal(0)}
    book = PriceBook({("p", "*"): (Tariff(Price.of({"input": "1", "output": "2"}), served),)})

    assert nanousd(book, "p", "m", Usage(10, 10), service_tier="scale") == 0
    assert nanousd(book, "p", "m", Usage(10, 10), service_tier="reserved") is None


def test_what_is_free_is_free_however_it_is_served() -> None:
    book = PriceBook({("p", "*"): Price.of({"input": "0", "output": "0"})})
    usage = Usage(5, 5, 1, 2, raw={"service_tier": "priority", "server_tool_use": {"web_search_requests": 3}})

    assert nanousd(book, "p", "m", usage) == 0


@pytest.mark.parametrize(("off", "amount"), [("0.2", 1400), ("-0.1", 1925), ("1", 0)])
def test_a_discount_is_taken_off_the_base_alone(off: str, amount: int) -> None:
    book = PriceBook({("openai", "mine"): PLAIN}, discounts={"openai": Decimal(off)})
    cost = book.cost("openai", "gpt-5.2", Usage(1), AT)

    assert cost
    assert (cost.nanousd, off in cost.version) == (amount, True)
    assert nanousd(book, "openai", "mine", Usage(1)) == 1000
    assert nanousd(book, "anthropic", "claude-opus-5", Usage(1)) == 5000


def test_the_base_can_be_switched_off() -> None:
    assert nanousd(PriceBook(shipped=False), "openai", "gpt-5.2", Usage(1)) is None


@pytest.mark.parametrize(
    ("when", "model", "amount"),
    [
        ("never", "gpt-5.2", 1750), ("never", "unknown", None),
        ("when_unknown", "gpt-5.2", 1750), ("when_unknown", "unknown", 7000),
        ("always", "gpt-5.2", 7000), ("always", "unknown", 7000),
    ],
)  # fmt: skip
def test_a_vendors_own_word_counts_when_it_is_to(when: Any, model: str, amount: int | None) -> None:
    book = PriceBook(vendor_cost=when, reporters=frozenset({"openai"}))
    usage = Usage(1, raw={"cost": 0.000007})
    cost = book.cost("openai", model, usage, AT)

    assert (cost and cost.nanousd) == amount
    assert cost is None or cost.source == ("vendor" if amount == 7000 else "genai-prices")
    assert nanousd(book, "groq", "unknown", usage) is None


def test_a_version_says_exactly_which_rates() -> None:
    """However they are written; another rate, tier or discount is another version."""
    same = Price.of({"output": "2.0", "input": "1.00"})
    others = [
        Price.of({"input": "1", "output": "2.1"}),
        Price.of({"input": "1", "output": "2", "request": "0"}),
        Price.of({"input": "1", "output": "2", "tiers": [{"above": 9, "input": "1"}]}),
    ]

    assert same.version == PLAIN.version
    assert len({PLAIN.version, *(price.version for price in others)}) == 4
    assert all(price.version.startswith("config #") for price in others)


def test_a_kept_price_is_the_price() -> None:
    price = Price.of({"input": "0.3", "output": "2.5", "tiers": [{"above": 9, "input": "0.60"}]})
    kept = Price.kept(json.loads(json.dumps(price.table())), price.source, price.version)

    assert kept == price


def row(usage: Usage, book: PriceBook, provider: str, model: str, context: Mapping[str, str] = {}) -> dict[str, Any]:
    """An attempt as the ledger has it, with the cost that *book* gives it."""
    cost = book.cost(provider, model, usage, AT, context)
    assert cost
    us = int(AT.timestamp() * 1_000_000)
    return {
        "provider": provider, "model": model, "started_us": us, "ended_us": us + 5_000_000,
        "input_tokens": usage.input_tokens, "cached_input_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_tokens, "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens, "raw_usage": json.dumps(usage.raw) if usage.raw else None,
        "estimated": usage.estimated, "cost_nanousd": cost.nanousd, "price_source": cost.source,
        "price_version": cost.version,
    }  # fmt: skip


RAW = {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 300}}
USED = Usage(1000, 100, 300, raw=RAW)


def test_a_booked_cost_is_recomputed_with_the_price_that_it_names() -> None:
    """Also one that only the answer beside the usage had told (its tier), and one that is no longer in force."""
    kept: dict[str, Price] = {}
    book = PriceBook({("p", "*"): PLAIN}, on_new=lambda price: kept.__setitem__(price.version, price))
    standard, flex = (
        row(USED, book, "openai", "gpt-5.2"),
        row(USED, book, "openai", "gpt-5.2", {"service_tier": "flex"}),
    )
    own = row(USED, book, "p", "m")
    later = PriceBook({("p", "*"): DEAR}, discounts={"openai": Decimal("0.5")})

    for booked in (standard, flex, own):
        again = book.recompute(booked)
        assert again
        assert again.nanousd == booked["cost_nanousd"]
        assert later.recompute(booked) is None
        assert later.recompute(booked, kept.get) == again


def test_a_changed_count_shows_when_it_is_recomputed() -> None:
    book = PriceBook({("p", "*"): PLAIN})
    booked = row(USED, book, "p", "m")
    forged = {**booked, "raw_usage": json.dumps({**RAW, "prompt_tokens": 2000})}
    cost = book.recompute(forged)

    assert cost
    assert cost.nanousd == booked["cost_nanousd"] + 1_000_000
    assert usage_of_row(forged).input_tokens == 2000


def test_an_estimate_is_recomputed_from_what_was_booked() -> None:
    """The vendor's last word was a part; the rest was estimated."""
    book = PriceBook({("p", "*"): PLAIN})
    for usage in (Usage(1000, 400, raw=RAW, estimated=True), Usage(1000, 400, estimated=True)):
        booked = row(usage, book, "p", "m")
        cost = book.recompute(booked)

        assert cost
        assert cost.nanousd == booked["cost_nanousd"] == 1_000_000 + 400 * 2000


def test_every_price_that_is_used_is_told_once() -> None:
    told: list[Price] = []
    book = PriceBook({("p", "*"): PLAIN}, on_new=told.append)
    for _ in range(3):
        book.cost("p", "m", USED, AT)
        book.cost("openai", "gpt-5.2", USED, AT)
        book.cost("openai", "gpt-5.2", USED, AT, {"service_tier": "flex"})

    assert len(told) == len({price.version for price in told}) == 3


# --- the worst case


def test_nothing_costs_more_than_the_worst_case() -> None:
    """Random usage of every model that has a price, however it is served, within the next hour."""
    from genai_prices.data_snapshot import get_snapshot

    rng, book, seen = Random(11), PriceBook(), 0
    for provider, theirs in shipped_ids().items():
        models = next(each for each in get_snapshot().providers if each.id == theirs).models
        for model in rng.sample(models, min(len(models), 40)):
            sent, made = rng.choice((900, 190_000, 260_000, 400_000)), rng.randint(1, 60_000)
            worst = book.worst_nanousd(provider, model.id, sent, made, at=AT)
            for way in ({}, *book.ways(provider, model.id, AT), {"inference_geo": "us", "speed": "fast"}):
                raw = {**way, "cache_creation": {"ephemeral_1h_input_tokens": rng.randint(0, sent)}}
                cached, written = rng.randint(0, sent // 2), rng.randint(0, sent // 2)
                usage = Usage(sent, made, cached, written, made // 2, sent // 3, made // 3, raw=raw)
                at = AT + timedelta(seconds=rng.randint(0, 3600))
                cost = book.cost(provider, model.id, usage, at, way)
                if cost is not None and worst is not None:
                    assert cost.nanousd <= worst, (provider, model.id, way)
                    seen += 1
    assert seen > 500


def test_what_is_asked_narrows_the_worst_case() -> None:
    """Nobody gets the fast mode who does not ask for it; the tier may be the vendor's choice."""
    book = PriceBook()

    def worst(provider: str, model: str, asked: Mapping[str, str] | None) -> int | None:
        return book.worst_nanousd(provider, model, 0, 1000, at=AT, asked=asked)

    standard = 1000 * 25_000
    assert worst("anthropic", "claude-opus-5", None) == standard * 2 * 11 // 10
    assert worst("anthropic", "claude-opus-5", {}) == standard * 11 // 10
    assert worst("anthropic", "claude-opus-5", {"speed": "fast"}) == standard * 2 * 11 // 10
    assert worst("openai", "gpt-5.2", {}) == 2 * 14_000_000
    assert worst("openai", "gpt-5.2", {"service_tier": "default"}) == 14_000_000
    assert worst("openai", "gpt-5.2", {"service_tier": "flex"}) == 14_000_000
    assert worst("openai", "gpt-audio", {"service_tier": "priority"}) is None


@pytest.mark.parametrize(
    ("rates", "sent", "made", "searches", "amount"),
    [
        ({"input": "1", "output": "2"}, 10, 10, 0, 30_000),
        ({"input": "1", "output": "2", "cache_write": "3"}, 10, 10, 0, 50_000),
        ({"input": "1", "output": "2", "tiers": [{"above": 100, "input": "5"}]}, 95, 0, 0, 475_000),
        ({"input": "1", "output": "2", "tiers": [{"above": 100, "input": "5"}]}, 90, 0, 0, 90_000),
        ({"input": "1", "output": "2", "request": "5"}, 0, 0, 0, 5_000_000),
        ({"input": "1", "output": "2", "web_search": "10"}, 0, 0, 3, 30_000_000),
        ({"input": "1", "output": "2"}, 0, 0, 3, None),
        ({"input": "1"}, 10, 10, 0, None),
        ({"input": "1", "output": "1", "minute": "1"}, 10, 10, 0, None),
        ({"input": "0.0001", "output": "0"}, 1, 0, 0, 1),
        ({"input": "0", "output": "0"}, 10, 10, 0, 0),
    ],
)
def test_the_worst_case_by_hand(rates: dict[str, Any], sent: int, made: int, searches: int, amount: int | None) -> None:
    book = PriceBook({("p", "*"): Price.of(rates)})

    assert book.worst_nanousd("p", "m", sent, made, at=AT, searches=searches) == amount


def test_the_worst_case_knows_of_a_price_that_is_about_to_rise() -> None:
    """DeepSeek's day begins at 0:30 UTC."""
    book = PriceBook()
    costs = [
        book.worst_nanousd("deepseek", "deepseek-chat", 1000, 0, at=datetime(2026, 11, 21, hour, minute, tzinfo=UTC))
        for hour, minute in ((20, 0), (23, 45), (12, 0))
    ]

    assert costs == [135_000, 270_000, 270_000]


# --- what stands beside the usage


def test_what_is_billed_beside_the_usage_is_put_into_its_raw_object() -> None:
    raw = {"input_tokens": 5, "output_tokens": 1}
    calls = [
        Opaque("openai_responses", "web_search_call", {"action": {"type": "search"}}),
        Opaque("openai_responses", "web_search_call", {"action": {"type": "find_in_page"}}),
        Opaque("openai_responses", "file_search_call", {}),
    ]
    native = {"openai_responses": {"service_tier": "flex"}}
    response = Response("r", "m", 0, (Choice((*calls, Text("x")), "stop"),), Usage(5, 1, raw=raw), native=native)
    seen = observed(Usage(5, 1, raw=raw), response)

    assert seen.raw == {**raw, "x_modelport": {"service_tier": "flex", "web_search": 1, "storage_search": 1}}
    assert raw == {"input_tokens": 5, "output_tokens": 1}
    assert observed(Usage(5, 1, raw=raw), None).raw is raw


def test_the_highest_rate_of_any_tier_within_reach_counts() -> None:
    rate = Rate(Decimal(3), ((100, Decimal(1)), (200, Decimal(5))))

    assert [rate.worst(tokens) for tokens in (0, 150, 182, 300)] == [3, 3, 5, 5]
