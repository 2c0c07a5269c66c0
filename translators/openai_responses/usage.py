"""Token counts of the Responses API, in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from translators.counts import detail_count, main_counts
from translators.neutral import Usage


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
    details = raw.get("input_tokens_details") or raw.get("prompt_tokens_details")
    out_details = raw.get("output_tokens_details") or raw.get("completion_tokens_details")
    tokens_in, tokens_out = counts
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cached_input_tokens=min(detail_count(details, "cached_tokens"), tokens_in),
        cache_write_tokens=detail_count(details, "cache_write_tokens"),
        reasoning_tokens=detail_count(out_details, "reasoning_tokens"),
        audio_input_tokens=detail_count(details, "audio_tokens"),
        audio_output_tokens=detail_count(out_details, "audio_tokens"),
        raw=raw,
    )


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
