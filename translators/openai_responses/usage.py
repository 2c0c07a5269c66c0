"""Token counts of the Responses API, in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.counts import detail_count, main_counts
from translators.neutral import Usage

_INPUT_DETAILS: Final[Mapping[str, str]] = {
    "cached_tokens": "cached_input_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "audio_tokens": "audio_input_tokens",
}
_OUTPUT_DETAILS: Final[Mapping[str, str]] = {
    "reasoning_tokens": "reasoning_tokens",
    "audio_tokens": "audio_output_tokens",
}
"""Details of a usage, by their neutral names."""


def usage_in(body: Mapping[str, Any]) -> Usage | None:
    """The usage of an answer; None when it has none that can be read."""
    raw = body.get("usage")
    return parse_usage(raw) if isinstance(raw, dict) and raw else None


def parse_usage(raw: Mapping[str, Any]) -> Usage | None:
    """*raw* in neutral terms; None when its counts are missing or cannot be any.

    Cached and written tokens are within `input_tokens`, reasoning within `output_tokens`, as in the neutral form.
    """
    counts = main_counts(raw, ("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))
    if counts is None:
        return None
    tokens_in, tokens_out = counts
    details: dict[str, Any] = {
        **_details(raw.get("input_tokens_details") or raw.get("prompt_tokens_details"), _INPUT_DETAILS),
        **_details(raw.get("output_tokens_details") or raw.get("completion_tokens_details"), _OUTPUT_DETAILS),
    }
    if details.get("cached_input_tokens", 0) > tokens_in:
        details["cached_input_tokens"] = tokens_in
    return Usage(tokens_in, tokens_out, **details, raw=raw)


def _details(fields: Any, names: Mapping[str, str]) -> dict[str, int]:
    """The counts in *fields* above 0, by their neutral names."""
    if not isinstance(fields, dict):
        return {}
    return {names[name]: count for name in fields if name in names and (count := detail_count(fields, name))}


def render_usage(usage: Usage) -> dict[str, Any]:
    """*usage* as the Responses API writes it."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
