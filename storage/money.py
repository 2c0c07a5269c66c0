"""Money: an integer of billionths of a US dollar inside, a decimal string outside."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

NANO = 1_000_000_000
MOST_USD: Final = 1_000_000_000
AMOUNT: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")
"""An amount as people write it. What `Decimal` takes besides (`1_000`, `1e3`, other digits) may be a slip."""
EXPECTED: Final = 'US dollars such as "12.50": digits and a point, nothing else'
EXPECTED_RANGE: Final = "US dollars from 0 to a billion, with at most nine decimals"
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def usd(nanousd: int) -> str:
    """*nanousd* in dollars, exactly, with nine decimals: 12345000 is `0.012345000`."""
    whole, rest = divmod(abs(nanousd), NANO)
    return f"{'-' if nanousd < 0 else ''}{whole}.{rest:09d}"


def nanousd(amount: str | float) -> int:
    """*amount* of dollars in nano-dollars: a decimal string, or a number as JSON and TOML have it.

    Raises:
        ValueError: it is none, or not from 0 to MOST_USD. Its text is what was expected.
    """
    text = amount if isinstance(amount, str) else format(Decimal(str(amount)), "f")
    if not _NUMBER.fullmatch(text):
        raise ValueError(EXPECTED)
    if not AMOUNT.fullmatch(text) or Decimal(text) > MOST_USD:
        raise ValueError(EXPECTED_RANGE)
    return int(Decimal(text) * NANO)
