"""Dollars are printed and read exactly."""

from __future__ import annotations

import pytest

from storage.money import nanousd, usd


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


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("0", 0),
        ("12.50", 12_500_000_000),
        ("0.000000001", 1),
        ("1000000000", 10**18),
        (12, 12_000_000_000),
        (12.5, 12_500_000_000),
        (1e-7, 100),
    ],
)
def test_an_amount_is_read_exactly(amount: str | float, expected: int) -> None:
    assert nanousd(amount) == expected


@pytest.mark.parametrize(
    "text",
    ["", "1_000", "1e3", " 1", "1 ", "+1", ".5", "1.", "1,5", "0x1", "NaN", "inf", "\u0661\u0662", "\uff11", "1\n"],
)
def test_what_is_not_written_in_digits_is_refused(text: str) -> None:
    """Whatever else Python's decimals would take."""
    with pytest.raises(ValueError, match=r'^US dollars such as "12.50"'):
        nanousd(text)


@pytest.mark.parametrize("amount", ["-1", -1, "1000000000.000000001", "0.0000000001", 0.1 + 0.2, 10**9 + 1, 1e300])
def test_an_amount_out_of_range_is_refused(amount: str | float) -> None:
    with pytest.raises(ValueError, match=r"^US dollars from 0 to a billion"):
        nanousd(amount)
