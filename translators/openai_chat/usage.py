"""Token counts, in and out.

What vendors write beside OpenAI's own fields: `prompt_cache_hit_tokens` (DeepSeek), `cached_tokens` at the top
(Moonshot), `num_cached_tokens` (Mistral), `cache_read_input_tokens` and `cache_creation_input_tokens` (routers in
front of Anthropic), `reasoning_tokens` at the top (Perplexity), `x_groq.usage` in place of `usage` (Groq).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from translators.counts import detail_count, main_counts
from translators.neutral import Usage

_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens", "cache_read_input_tokens")
_INPUTS, _OUTPUTS = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")


def usage_in(body: Mapping[str, Any]) -> Usage | None:
    """The usage of an answer or a chunk; None when it has none that can be read."""
    raw = raw_usage(body)
    return parse_usage(raw) if raw else None


def raw_usage(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The server's own object, wherever it stands."""
    raw = body.get("usage")
    if not isinstance(raw, dict):
        groq = body.get("x_groq")
        raw = groq.get("usage") if isinstance(groq, dict) else None
    return raw if isinstance(raw, dict) and raw else None


def parse_usage(raw: Mapping[str, Any]) -> Usage | None:
    """*raw* in neutral terms; None when its counts are missing or cannot be any.

    A few servers leave reasoning or audio out of `completion_tokens` and `prompt_tokens`; `total_tokens` gives
    them away, and they are added where they belong.
    """
    counts = main_counts(raw, _INPUTS, _OUTPUTS)
    if counts is None:
        return None
    prompt, completion = counts
    prompt_details, completion_details = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    reasoning = detail_count(completion_details, "reasoning_tokens") or detail_count(raw, "reasoning_tokens")
    audio_in = detail_count(prompt_details, "audio_tokens")
    missing = detail_count(raw, "total_tokens") - prompt - completion
    if missing > 0 and missing == reasoning:
        completion += missing
    elif missing > 0 and missing == audio_in:
        prompt += missing
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cached_input_tokens=min(_cached(raw, prompt_details), prompt),
        cache_write_tokens=detail_count(prompt_details, "cache_write_tokens")
        or detail_count(raw, "cache_creation_input_tokens"),
        reasoning_tokens=reasoning,
        audio_input_tokens=audio_in,
        audio_output_tokens=detail_count(completion_details, "audio_tokens"),
        raw=raw,
    )


def _cached(raw: Mapping[str, Any], details: Any) -> int:
    inner = details if isinstance(details, dict) else {}
    for name in _CACHED:
        if (inner.get(name) or raw.get(name)) and (count := detail_count(inner, name) or detail_count(raw, name)):
            return count
    return 0


def render_usage(usage: Usage) -> dict[str, Any]:
    """*usage* as OpenAI writes it; details of other modalities only where there were any."""
    prompt_details = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens}
    completion_details = {"reasoning_tokens": usage.reasoning_tokens}
    if usage.audio_input_tokens:
        prompt_details["audio_tokens"] = usage.audio_input_tokens
    if usage.audio_output_tokens:
        completion_details["audio_tokens"] = usage.audio_output_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }
