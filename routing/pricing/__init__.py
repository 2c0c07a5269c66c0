"""What an attempt costs: prices of the configuration over those of genai-prices, in nano-dollars.

    kinds     what is billed for              counting   how much of it an answer used, by the vendor's usage object
    rates     rates, prices, the arithmetic   reading    usage objects that the ledger keeps, read again
    base      genai-prices' data              sources    what is known of vendors' ways of charging
    book      which price is in force

A Price has a rate for each kind of thing that is counted. Rates may rise with the length of the input: past a tier's
start the whole answer pays the tier's rate.

A kind without a rate of its own is priced as the kind that it is part of. In genai-prices' data that is what a
missing rate means. A configured price is trusted less far: `cached_input` falls back to `input` (never too little),
but cache writes and audio, which cost more than plain input, only when the input is free. What then has no rate
makes the whole cost unknown (None): a silent zero would hide spending. A configured rate of 0 is a known price.

A price's version is a name and a hash of its rates, so that it says exactly what was used.
"""

from __future__ import annotations

from routing.pricing.book import PriceBook, Tariff, VendorCost
from routing.pricing.counting import counted, observed, vendor_nanousd
from routing.pricing.kinds import KINDS, Kind
from routing.pricing.rates import Cost, Price, Rate
from routing.pricing.reading import usage_of_raw, usage_of_row
from routing.pricing.sources import shipped_ids

__all__ = [
    "KINDS",
    "Cost",
    "Kind",
    "Price",
    "PriceBook",
    "Rate",
    "Tariff",
    "VendorCost",
    "counted",
    "observed",
    "shipped_ids",
    "usage_of_raw",
    "usage_of_row",
    "vendor_nanousd",
]
