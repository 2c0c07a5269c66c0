"""Costs, checked by hand and against genai-prices' own arithmetic."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from random import Random
from typing import Any

import pytest

from routing.errors import BadRow
from routing.pricing import Price, PriceBook, shipped_ids
from routing.pricing.base import look_up
from translators.neutral import Usage

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOOK = PriceBook()


def written(minutes5: int, hour1: int) -> dict[str, Any]:
    return {"cache_creation": {"ephemeral_5m_input_tokens": minutes5, "ephemeral_1h_input_tokens": hour1}}


@pytest.mark.parametrize(
    ("provider", "model", "usage", "nanousd"),
    [
        # claude-opus-5-5: 4 in, 20 out, 0.20 cached, 5 written, 8 written for an hour; USD per million
        ("anthropic", "claude-opus-5-5", Usage(1000, 500), 1000 * 4000 + 500 * 20_000),
        ("anthropic", "claude-opus-5-5", Usage(1000, 500, 600), 400 * 4000 + 600 * 200 + 500 * 20_000),
        ("anthropic", "claude-opus-5-5", Usage(1000, 0, 600, 300), 100 * 4000 + 600 * 200 + 300 * 5000),
        (
            "anthropic",
            "claude-opus-5-5",
            Usage(1000, 0, 600, 300, raw=written(100, 200)),
            100 * 4000 + 600 * 200 + 100 * 5000 + 200 * 8000,
        ),
        # thinking tokens are output tokens: counted once, at the output rate
        ("anthropic", "claude-opus-5-5", Usage(0, 500, reasoning_tokens=400), 500 * 20_000),
        ("anthropic", "claude-opus-5-5", Usage(), 0),
        ("anthropic", "anthropic/claude-opus-5.5", Usage(1000, 0), 1000 * 4000),
        # web searches: 10 per thousand
        (
            "anthropic",
            "claude-opus-5-5",
            Usage(0, 1, raw={"server_tool_use": {"web_search_requests": 3}}),
            20_000 + 3 * 10_000_000,
        ),
        # claude-haiku-5-5: 0.10 and 0.50 up to 100,000 tokens of input, 0.50 and 2.50 above, for the whole answer
        ("anthropic", "claude-haiku-5-5", Usage(100_000, 10), 100_000 * 100 + 10 * 500),
        ("anthropic", "claude-haiku-5-5", Usage(100_001, 10), 100_001 * 500 + 10 * 2500),
        ("anthropic", "claude-haiku-5-5", Usage(100_001, 0, 100_001), 100_001 * 50),
        # gpt-5.2: 1.75 in, 14 out, 0.175 cached
        ("openai", "gpt-5.2", Usage(2000, 100, 1024, reasoning_tokens=64), 976 * 1750 + 1024 * 175 + 100 * 14_000),
        # gemini-2.5-flash: 0.30 in, 2.50 out, 0.03 cached, 1.00 audio in
        ("gemini", "models/gemini-2.5-flash", Usage(1000, 10, audio_input_tokens=400), 600 * 300 + 400_000 + 25_000),
        ("gemini", "gemini-2.5-pro", Usage(200_001, 1), 200_001 * 2500 + 15_000),
        # gemini-2.5-flash-image: pictures of the answer at 30
        (
            "gemini",
            "gemini-2.5-flash-image",
            Usage(0, 1300, raw={"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}),
            10 * 2500 + 1290 * 30_000,
        ),
    ],
)
def test_costs_by_hand(provider: str, model: str, usage: Usage, nanousd: int) -> None:
    cost = BOOK.cost(provider, model, usage, AT)

    assert cost is not None
    assert (cost.nanousd, cost.source) == (nanousd, "genai-prices")
    assert cost.version.startswith("genai-prices 0.")


def test_prices_are_those_of_the_day() -> None:
    """gemini-3.8-flash doubles on 2027-01-01; claude-opus-4-6 lost its long-context tier on 2026-03-13."""
    usage = Usage(300_000, 0)
    costs = [
        BOOK.cost(provider, model, usage, at)
        for provider, model, at in (
            ("gemini", "gemini-3.8-flash", AT),
            ("gemini", "gemini-3.8-flash", datetime(2027, 1, 1, tzinfo=UTC)),
            ("anthropic", "claude-opus-4-6", datetime(2026, 3, 12, tzinfo=UTC)),
            ("anthropic", "claude-opus-4-6", datetime(2026, 3, 13, tzinfo=UTC)),
        )
    ]

    assert [cost and cost.nanousd for cost in costs] == [225_000_000, 450_000_000, 3_000_000_000, 1_500_000_000]


def test_circumstances_choose_a_variant_of_the_price() -> None:
    """Fast Claude is dearer, a batch cheaper; the vendor's usage object says `speed`, or `service_tier`."""
    slow = BOOK.cost("anthropic", "claude-opus-5", Usage(1000, 0), AT)
    fast = BOOK.cost("anthropic", "claude-opus-5", Usage(1000, 0, raw={"speed": "fast"}), AT)
    batch = BOOK.cost("anthropic", "claude-opus-5", Usage(1000, 0), AT, {"processing": "batch"})
    plain = BOOK.cost("anthropic", "claude-opus-5", Usage(1000, 0, raw={"speed": "standard"}), AT)
    tiers = [
        BOOK.cost("openai", "gpt-5", Usage(1000, 0, raw={"service_tier": tier}), AT) for tier in ("default", "flex")
    ]

    assert [cost and cost.nanousd for cost in tiers] == [1_250_000, 625_000]
    assert slow
    assert fast
    assert batch
    assert batch.nanousd * 2 == slow.nanousd < fast.nanousd
    assert plain == slow


@pytest.mark.parametrize(
    ("provider", "model"),
    [("corner", "qwen3"), ("openai", "gpt-nobody-knows"), ("nvidia", "gpt-5.2"), ("anthropic", "")],
)
def test_an_unknown_price_is_none(provider: str, model: str) -> None:
    assert BOOK.cost(provider, model, Usage(1, 1), AT) is None
    assert BOOK.cost(provider, model, Usage(1, 1), AT) is None


def test_the_configuration_comes_before_the_base() -> None:
    book = PriceBook(
        {
            ("anthropic", "claude-opus-5-5"): Price.of({"input": "1", "output": "2"}),
            ("corner", "*"): Price.of({"input": "0", "output": "0"}),
            ("corner", "dear"): Price.of({"input": "9", "output": "9"}),
        },
        {"reseller": "openai"},
    )

    def nanousd(provider: str, model: str, usage: Usage) -> int | None:
        cost = book.cost(provider, model, usage, AT)
        return cost and cost.nanousd

    assert nanousd("anthropic", "claude-opus-5-5", Usage(10, 10)) == 30_000
    assert nanousd("anthropic", "claude-haiku-5-5", Usage(10, 0)) == 1000
    assert nanousd("corner", "dear", Usage(1, 0)) == 9000
    assert nanousd("reseller", "gpt-5.2", Usage(1, 0)) == 1750
    free = book.cost("corner", "anything", Usage(9, 9, 3, 3, audio_input_tokens=2), AT)
    assert free
    assert (free.nanousd, free.source) == (0, "config")


@pytest.mark.parametrize(
    ("rates", "usage", "nanousd"),
    [
        ({"input": "1", "output": "2"}, Usage(100, 10, 40), 120_000),  # cached at most at the full rate
        ({"input": "1", "output": "2", "cached_input": "0.1"}, Usage(100, 10, 40), 60_000 + 4_000 + 20_000),
        ({"input": "1", "output": "2"}, Usage(100, 10, 0, 40), None),  # writing costs more than input
        ({"input": "1", "output": "2", "cache_write": "3"}, Usage(100, 0, 0, 40, raw=written(0, 40)), 180_000),
        ({"input": "1", "output": "2"}, Usage(100, 10, audio_input_tokens=1), None),
        ({"input": "1", "output": "2"}, Usage(100, 10, audio_output_tokens=1), None),
        ({"input": "1", "output": "2", "output_audio": "4"}, Usage(0, 10, audio_output_tokens=10), 40_000),
        ({"input": "1"}, Usage(100, 1), None),
        ({"input": "1"}, Usage(100, 0), 100_000),
        ({"output": "1"}, Usage(1, 1), None),
        ({"input": "1", "output": "2", "reasoning": "3"}, Usage(0, 10, reasoning_tokens=4), 12_000 + 12_000),
        ({"input": "1", "output": "2", "request": "5"}, Usage(0, 0), 5_000_000),
        ({}, Usage(), 0),
        # an inconsistent report never makes a negative amount
        ({"input": "1", "output": "1"}, Usage(10, 0, 20), 20_000),
        ({"input": "1", "output": "1"}, Usage(10, 5, reasoning_tokens=50), 15_000),
    ],
)
def test_what_has_no_rate_is_unknown_and_never_silently_free(
    rates: dict[str, str], usage: Usage, nanousd: int | None
) -> None:
    assert Price.of(rates).nanousd(usage) == nanousd


@pytest.mark.parametrize(("rate", "nanousd"), [("0.0005", 0), ("0.0015", 2), ("0.0025", 2), ("0.00251", 3)])
def test_a_cost_is_rounded_once_half_to_even(rate: str, nanousd: int) -> None:
    """One token at 0.0005 USD per million is half a nano-dollar."""
    assert Price.of({"input": rate}).nanousd(Usage(1)) == nanousd
    assert Price.of({"input": rate}).nanousd(Usage(1000)) == Decimal(rate) * 1_000_000


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"inptu": "1"}, "price.inptu: not a kind of price; choose input"),
        ({"input": "-1"}, "price.input: expected dollars"),
        ({"input": "NaN"}, "price.input: expected dollars"),
        ({"input": "1 EUR"}, "'1 EUR'"),
        ({"input": "Infinity"}, "expected dollars"),
    ],
)
def test_a_wrong_price_is_named(texts: dict[str, str], said: str) -> None:
    with pytest.raises(BadRow) as raised:
        Price.of(texts)

    assert said in str(raised.value)


def test_every_provider_id_is_one_of_genai_prices() -> None:
    from genai_prices.data_snapshot import get_snapshot

    assert set(shipped_ids().values()) <= {provider.id for provider in get_snapshot().providers}


def test_our_arithmetic_is_that_of_genai_prices() -> None:
    """Every model of the big vendors that is priced by tokens, with random usage, to the nano-dollar."""
    from genai_prices import Usage as TheirUsage
    from genai_prices.data_snapshot import get_snapshot

    rng, compared = Random(5), 0
    for provider in get_snapshot().providers:
        ours = next((name for name, theirs in shipped_ids().items() if theirs == provider.id), None)
        for model in provider.models if ours and provider.id != "openrouter" else ():
            told = rng.randint(0, 400_000)
            cached, written_ = rng.randint(0, told), 0
            if "anthropic" in (ours or ""):
                written_ = rng.randint(0, told - cached)
            hour = rng.randint(0, written_)
            out = rng.randint(0, 9000)
            cost = BOOK.cost(
                ours or "",
                model.id,
                Usage(told, out, cached, written_, raw=written(written_ - hour, hour)),
                AT,
            )
            if cost is None:
                continue
            found = look_up(provider.id, model.id)
            assert found
            theirs = found.model.calc_price(
                TheirUsage(
                    input_tokens=told,
                    cache_read_tokens=cached,
                    cache_write_tokens=written_,
                    cache_write_1h_tokens=hour,
                    output_tokens=out,
                ),
                provider,
                genai_request_timestamp=AT,
            ).total_price
            assert cost.nanousd == int((theirs * 10**9).to_integral_value(ROUND_HALF_EVEN)), model.id
            compared += 1

    assert compared > 400


def test_nothing_is_loaded_before_it_is_needed() -> None:
    """Importing pricing, and configured prices, leave genai-prices alone; `warm` loads it."""
    code = (
        "import sys; from datetime import datetime, UTC;"
        "from routing.pricing import *; from translators.neutral import Usage;"
        "book = PriceBook({('a', '*'): Price.of({'input': '1'})});"
        "book.cost('a', 'm', Usage(1), datetime.now(UTC)); book.cost('b', 'm', Usage(1), datetime.now(UTC));"
        "assert 'genai_prices' not in sys.modules; book.warm(); assert 'genai_prices.data' in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
