"""What vendors bill for, and how the kinds contain one another.

    input ── cached_input ── cached_audio, cached_image            output ── reasoning, output_audio, output_image, ...
      ├───── cache_write ─── cache_write_30m, _1h, _12h, _24h
      └───── input_audio, input_image, input_video

A kind without a rate of its own is priced as the kind that it is part of, unless that could be too little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

Kind = Literal[
    "input",
    "cached_input",
    "cached_audio",
    "cached_image",
    "cache_write",
    "cache_write_30m",
    "cache_write_1h",
    "cache_write_12h",
    "cache_write_24h",
    "input_audio",
    "input_image",
    "input_video",
    "output",
    "reasoning",
    "output_audio",
    "output_image",
    "output_video",
    "citation",
    "web_search",
    "storage_search",
    "request",
    "image",
    "page",
    "minute",
    "character",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

INPUT_KINDS: Final[tuple[Kind, ...]] = KINDS[: KINDS.index("output")]
OUTPUT_KINDS: Final[tuple[Kind, ...]] = ("output", "reasoning", "output_audio", "output_image", "output_video")
TOKEN_KINDS: Final = frozenset({*INPUT_KINDS, *OUTPUT_KINDS, "citation"})

PART_OF: Final[Mapping[Kind, Kind]] = {
    "cached_input": "input",
    "cached_audio": "cached_input",
    "cached_image": "cached_input",
    "cache_write": "input",
    "cache_write_30m": "cache_write",
    "cache_write_1h": "cache_write",
    "cache_write_12h": "cache_write",
    "cache_write_24h": "cache_write",
    "input_audio": "input",
    "input_image": "input",
    "input_video": "input",
    "reasoning": "output",
    "output_audio": "output",
    "output_image": "output",
    "output_video": "output",
}
DEARER_THAN_WHOLE: Final = frozenset(
    {"cache_write", "input_audio", "input_video", "output_audio", "output_image", "output_video"}
)
"""Kinds for which a configured rate of the wider kind would be too little."""
LONGEST_WRITES: Final = frozenset({"cache_write_12h", "cache_write_24h"})
"""Kinds for which nobody's rate of the wider kind is enough."""
SEARCHES: Final[frozenset[Kind]] = frozenset({"web_search", "storage_search"})
"""Kinds that cost something wherever tokens do."""

NANO_PER: Final[Mapping[Kind, int]] = {
    kind: {
        "web_search": 1_000_000,
        "storage_search": 1_000_000,
        "request": 1_000_000,
        "page": 1_000_000,
        "image": 1_000_000_000,
        "minute": 1_000_000_000,
    }.get(kind, 1_000)
    for kind in KINDS
}
"""Nano-dollars for one at a rate of one dollar.

Rates are dollars for a million tokens or characters, a thousand searches, requests or pages, one picture, one minute.
"""
