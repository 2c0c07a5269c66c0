"""Dollars are printed exactly."""

from __future__ import annotations

import pytest

from storage.money import usd


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        (0, "0.000000000"),
        (1, "0.000000001"),
        (12_345_000, "0.012345000"),
        (1_000_000_000, "1.000000000"),
        (9_007_199_254_740_993, "9007199.254740993"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.500000000"),
    ],
)
def test_nine_decimals(nanousd: int, text: str) -> None:
    assert usd(nanousd) == text
