"""Answers of text alone are priced by three products, to the same nano-dollar as kind by kind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from routing.pricing import Price
from translators.neutral import Usage

PRICES = (
    Price.of({"input": "0.15", "output": "0.6"}),
    Price.of({"input": "0.8", "cached_input": "0.08", "cache_write": "1", "output": "4"}),
    Price.of({"input": "2.5", "output": "10", "output_image": "40"}),
    Price.of({"input": "1.25", "output": "10", "tiers": [{"above": 100, "input": "2.5", "output": "15"}]}),
    Price.of({"input": "0.0001", "output": "0.0002"}),
)
COUNTS = st.integers(0, 10**7)
KIND_BY_KIND = {"iterations": []}
"""A usage object that has to be looked at, and in which there is nothing."""


@given(st.sampled_from(PRICES), COUNTS, COUNTS, COUNTS, st.sampled_from([0, 3]))
def test_three_products_are_the_price(price: Price, prompt: int, cached: int, output: int, written: int) -> None:
    counts = {"input_tokens": prompt, "cached_input_tokens": cached, "output_tokens": output}
    short = Usage(**counts, cache_write_tokens=written, raw={"prompt_tokens": prompt})
    long = Usage(**counts, cache_write_tokens=written, raw={**short.raw, **KIND_BY_KIND})

    assert price.nanousd(short) == price.nanousd(long)
