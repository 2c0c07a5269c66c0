"""How much of each kind an answer used, by whatever its vendor's usage object tells.

`counted` gives every token to one kind. What only some prices tell apart (reasoning, pictures, sounds read from a
cache) is split off where the price has a rate for it.

Some things that are billed stand beside the usage object: the tier that served the request, the searches that it
made. `observed` puts them into the raw object under `x_modelport`, so that the ledger's row has all that the cost was
computed from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from routing.pricing.kinds import Kind
from translators.neutral import Opaque, Response, Usage

OBSERVED: Final = "x_modelport"
_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details")
_WRITES: Final[Mapping[str, Kind]] = {
    "ephemeral_1h_input_tokens": "cache_write_1h",
    "ephemeral_24h_input_tokens": "cache_write_24h",
    "ttl_30m_tokens": "cache_write_30m",
    "ttl_12h_tokens": "cache_write_12h",
}
_SEARCHES: Final[Mapping[Kind, tuple[tuple[str, ...], ...]]] = {
    "web_search": (
        ("server_tool_use", "web_search_requests"),
        ("server_side_tool_usage_details", "web_search_calls"),
        (OBSERVED, "web_search"),
    ),
    "storage_search": (
        ("server_side_tool_usage_details", "file_search_calls"),
        (OBSERVED, "storage_search"),
    ),
}
_UNITS: Final[Mapping[Kind, tuple[tuple[str, ...], ...]]] = {
    "page": (("pages_processed",), ("usage_info", "pages_processed"), (OBSERVED, "page")),
    "image": (("images",), ("billed_units", "images"), ("generated_images",), (OBSERVED, "image")),
    "character": (("characters",), ("character_count",), (OBSERVED, "character")),
    "citation": (("citation_tokens",),),
}
_UNBILLED_ITERATIONS: Final = frozenset({"compaction"})
"""Entries of Anthropic's `usage.iterations` that its top-level counts leave out."""
_CALLS: Final[Mapping[str, Kind]] = {"web_search_call": "web_search", "file_search_call": "storage_search"}
_TIERS: Final = ("openai_chat", "openai_responses", "gemini")


def counted(usage: Usage, rates: Mapping[Kind, Any]) -> dict[Kind, int | Decimal]:
    """How much of each kind was used, every token once; kinds that were not used are left out."""
    raw = usage.raw
    amounts: dict[Kind, int | Decimal] = {}
    _count_input(amounts, usage, rates)
    _count_output(amounts, usage, rates)
    for compacted in _left_out(raw):
        for kind, count in compacted.items():
            amounts[kind] = amounts.get(kind, 0) + count
    if raw:
        for kind, paths in _SEARCHES.items():
            amounts[kind] = _first(raw, paths)
        if "web_search" in rates and not amounts["web_search"]:
            amounts["web_search"] = _number(raw, "num_search_queries")
        for kind, paths in _UNITS.items():
            if kind in rates:
                amounts[kind] = _first(raw, paths)
        if "minute" in rates:
            amounts["minute"] = _seconds(raw) / 60
    if "request" in rates:
        amounts["request"] = _number(raw, "billed_units", "search_units") or 1
    return {kind: count for kind, count in amounts.items() if count > 0}


def of_text_alone(usage: Usage, rates: Mapping[Kind, Any]) -> bool:
    """Whether tokens of input, of cached input and of output are all that *usage* has of what *rates* tell apart."""
    return (
        0 <= usage.cached_input_tokens <= usage.input_tokens
        and usage.output_tokens >= 0
        and not usage.cache_write_tokens
        and not usage.audio_input_tokens
        and not usage.audio_output_tokens
        and (not usage.raw or _BESIDE.isdisjoint(usage.raw))
        and _OF_PICTURES.isdisjoint(rates)
    )


def _count_input(amounts: dict[Kind, int | Decimal], usage: Usage, rates: Mapping[Kind, Any]) -> None:
    raw, cached = usage.raw, usage.cached_input_tokens
    written = usage.cache_write_tokens
    if written:
        by_lifetime = _lifetimes(raw)
        for name, kind in _WRITES.items():
            of_kind = min(written, _number(by_lifetime, name))
            amounts[kind] = of_kind
            written -= of_kind
        amounts["cache_write"] = written
    plain = max(0, usage.input_tokens - cached - usage.cache_write_tokens)
    if usage.audio_input_tokens:
        cached_audio = min(cached, _cached_of(raw, "audio")) if cached else 0
        if "cached_audio" in rates:
            amounts["cached_audio"] = cached_audio
            cached -= cached_audio
        audio = min(plain, usage.audio_input_tokens - cached_audio)
        plain -= audio
        # A sound that is billed by its minutes is not billed by its tokens.
        amounts["input_audio"] = 0 if "minute" in rates and "input_audio" not in rates and _seconds(raw) else audio
    for kind, modality, cached_kind in _PICTURES:
        if kind in rates and (seen := _detail(raw, _INPUT_DETAILS, "promptTokensDetails", modality)):
            from_cache = min(cached, _cached_of(raw, modality)) if cached else 0
            if cached_kind in rates:
                amounts[cached_kind] = from_cache
                cached -= from_cache
            amounts[kind] = min(plain, max(0, seen - from_cache))
            plain -= int(amounts[kind])
    amounts["input"], amounts["cached_input"] = plain, cached


_PICTURES: Final[tuple[tuple[Kind, str, Kind], ...]] = (
    ("input_image", "image", "cached_image"),
    ("input_video", "video", "cached_input"),
)

_MADE: Final[tuple[tuple[Kind, str], ...]] = (("output_image", "image"), ("output_video", "video"))
_OF_PICTURES: Final = frozenset(kind for kind, *_ in (*_PICTURES, *_MADE))
_BESIDE: Final = frozenset(
    {"iterations", "num_search_queries"}
    | {path[0] for paths in (*_SEARCHES.values(), *_UNITS.values()) for path in paths}
)
"""Where a usage object tells of what is billed beside tokens."""


def _count_output(amounts: dict[Kind, int | Decimal], usage: Usage, rates: Mapping[Kind, Any]) -> None:
    rest = usage.output_tokens
    audio = min(rest, usage.audio_output_tokens)
    rest -= audio
    parts: dict[Kind, int] = {"output_audio": audio}
    for kind, modality in _MADE:
        if kind in rates:
            parts[kind] = min(rest, _detail(usage.raw, _OUTPUT_DETAILS, "candidatesTokensDetails", modality))
            rest -= parts[kind]
    if "reasoning" in rates:
        parts["reasoning"] = min(rest, usage.reasoning_tokens)
        rest -= parts["reasoning"]
    amounts.update(parts)
    amounts["output"] = rest


def _left_out(raw: Mapping[str, Any]) -> list[dict[Kind, int]]:
    """What iterations used that the top-level counts do not contain (Anthropic's compaction)."""
    iterations = raw.get("iterations") if raw else None
    found: list[dict[Kind, int]] = []
    for entry in iterations if isinstance(iterations, list) else ():
        if not isinstance(entry, Mapping) or entry.get("type") not in _UNBILLED_ITERATIONS:
            continue
        written = _number(entry, "cache_creation_input_tokens")
        hour = min(written, _number(entry, "cache_creation", "ephemeral_1h_input_tokens"))
        found.append(
            {
                "input": _number(entry, "input_tokens"),
                "cached_input": _number(entry, "cache_read_input_tokens"),
                "cache_write": written - hour,
                "cache_write_1h": hour,
                "output": _number(entry, "output_tokens"),
            }
        )
    return found


def _lifetimes(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The cache writes by lifetime. (Anthropic `cache_creation`; OpenAI `cache_write_tokens_details`)."""
    by_lifetime = raw.get("cache_creation")
    if isinstance(by_lifetime, Mapping):
        return by_lifetime
    for name in _INPUT_DETAILS:
        details = raw.get(name)
        by_lifetime = details.get("cache_write_tokens_details") if isinstance(details, Mapping) else None
        if isinstance(by_lifetime, Mapping):
            return by_lifetime
    return {}


def _cached_of(raw: Mapping[str, Any], modality: str) -> int:
    """Tokens of *modality* among those read from a cache."""
    if listed := _listed(raw, "cacheTokensDetails", modality):
        return listed
    for name in _INPUT_DETAILS:
        if count := _number(raw, name, "cached_tokens_details", f"{modality}_tokens"):
            return count
    return 0


def _detail(raw: Mapping[str, Any], names: tuple[str, ...], listed: str, modality: str) -> int:
    """Tokens of *modality*: OpenAI's `..._details.image_tokens`, or an entry of Gemini's list."""
    for name in names:
        if count := _number(raw, name, f"{modality}_tokens"):
            return count
    return _listed(raw, listed, modality)


def _listed(raw: Mapping[str, Any], name: str, modality: str) -> int:
    entries = raw.get(name)
    return sum(
        _number(entry, "tokenCount")
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping) and str(entry.get("modality")).lower() == modality
    )


def _first(raw: Mapping[str, Any], paths: tuple[tuple[str, ...], ...]) -> int:
    """The first number above 0 at one of *paths*."""
    for path in paths:
        if path[0] in raw and (count := _number(raw, *path)):
            return count
    return 0


def _number(raw: Mapping[str, Any], *path: str) -> int:
    """The whole number at *path* of a vendor's usage object, 0 when there is none."""
    value: Any = raw
    for key in path:
        if type(value) is not dict and not isinstance(value, Mapping):
            return 0
        value = value.get(key)
    return max(0, value) if type(value) is int else 0


def _seconds(raw: Mapping[str, Any]) -> Decimal:
    """How long a sound was."""
    for name in ("seconds", "prompt_audio_seconds"):
        if (found := money(raw.get(name))) is not None:
            return found
    return Decimal(0)


def money(value: Any) -> Decimal | None:
    """*value* as a finite number of at least 0; a float as the shortest decimal that is it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() and found >= 0 else None


def vendor_nanousd(raw: Mapping[str, Any]) -> int | None:
    """What the vendor itself says that the answer cost; None when it says nothing.

    `cost` (OpenRouter; without what an own key was billed elsewhere, which is added), `cost.total_cost` (Perplexity),
    `cost_in_usd_ticks` of a ten-billionth (xAI), `estimated_cost` (DeepInfra).
    """
    if (ticks := money(raw.get("cost_in_usd_ticks"))) is not None:
        return int((ticks / 10).to_integral_value())
    cost = raw.get("cost")
    told = money(cost.get("total_cost", cost.get("usd")) if isinstance(cost, Mapping) else cost)
    if told is None:
        told = money(raw.get("estimated_cost"))
    if told is None:
        return None
    details = raw.get("cost_details")
    if raw.get("is_byok") is True and isinstance(details, Mapping):
        told += money(details.get("upstream_inference_cost")) or 0
    return int((told * 1_000_000_000).to_integral_value())


def observed(usage: Usage, response: Response | None) -> Usage:
    """*usage*, with what *response* tells besides of what is billed."""
    if response is None:
        return usage
    seen: dict[str, Any] = {}
    for dialect in _TIERS:
        tier = (response.native.get(dialect) or {}).get("service_tier")
        if isinstance(tier, str) and usage.raw.get("service_tier") != tier:
            seen["service_tier"] = tier
    for choice in response.choices:
        for part in choice.parts:
            if isinstance(part, Opaque) and part.type in _CALLS and not _only_opened(part.value):
                kind = _CALLS[part.type]
                seen[kind] = seen.get(kind, 0) + 1
    return replace(usage, raw={**usage.raw, OBSERVED: seen}) if seen else usage


def _only_opened(item: Any) -> bool:
    """Whether a web search's call opened a page or looked into it, which is not billed."""
    action = item.get("action") if isinstance(item, Mapping) else None
    return isinstance(action, Mapping) and action.get("type") in {"open_page", "find", "find_in_page"}
