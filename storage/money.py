"""Money: an integer of billionths of a US dollar inside, a decimal string outside."""

from __future__ import annotations

NANO = 1_000_000_000


def usd(nanousd: int) -> str:
    """*nanousd* in dollars, exactly, with nine decimals: 12345000 is `0.012345000`."""
    whole, rest = divmod(abs(nanousd), NANO)
    return f"{'-' if nanousd < 0 else ''}{whole}.{rest:09d}"
