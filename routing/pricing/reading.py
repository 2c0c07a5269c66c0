"""Usage objects as the ledger keeps them, read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from translators.codec import loads_object
from translators.counts import detail_count, main_counts
from translators.neutral import Usage

Reading = Callable[[Mapping[str, Any]], Usage | None]

_GEMINI: Final = ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")
_CHAT: Final = ("prompt_tokens", "completion_tokens")
_RESPONSES: Final = ("total_tokens", "input_tokens_details", "input_token_details")
_UNITS: Final = ("seconds", "pages_processed", "usage_info", "characters", "images")
"""Names that tell the vendor's convention, in the order in which they are asked about."""


def usage_of_raw(raw: Mapping[str, Any], dialect: str = "") -> Usage | None:
    """A vendor's usage object in neutral terms; None when its counts are missing or cannot be any.

    The object's own names tell the convention; *dialect* is only asked where they do not.
    """
    return _reading(raw, dialect)(raw)


def usage_of_row(row: Mapping[str, Any]) -> Usage:
    """What an attempt's row in the ledger says was used.

    The vendor's object counts; the columns do where there is none, or where its counts were completed by an estimate.
    """
    raw = row["raw_usage"]
    raw = loads_object(raw.encode()) if isinstance(raw, str) else raw or {}
    counts = {name: row[name] for name in COUNTS}
    read: Usage | None = None
    for reading in (_reading(raw, ""), _chat, _anthropic, _responses) if raw else ():
        found = reading(raw)
        read = read or found
        if found is not None and all(getattr(found, name) == count for name, count in counts.items()):
            return found
    if read is None or row["estimated"]:
        return replace(read or Usage(raw=raw), **counts, estimated=bool(row["estimated"]))
    return read


COUNTS: Final = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


# The translators are imported as they are needed: a command that only asks the server has no use for them.


def _chat(raw: Mapping[str, Any]) -> Usage | None:
    from translators.openai_chat.usage import parse_usage

    return parse_usage(raw)


def _responses(raw: Mapping[str, Any]) -> Usage | None:
    from translators.openai_responses.usage import parse_usage

    return parse_usage(raw)


def _anthropic(raw: Mapping[str, Any]) -> Usage | None:
    from translators.anthropic.response import usage_of

    return usage_of(raw)


def _gemini(raw: Mapping[str, Any]) -> Usage | None:
    from translators.gemini.chunks import parse_usage

    return parse_usage(dict(raw))


def _reading(raw: Mapping[str, Any], dialect: str) -> Reading:
    if any(name in raw for name in _GEMINI):
        return _gemini
    if isinstance(raw.get("billed_units"), Mapping) or isinstance(raw.get("tokens"), Mapping):
        return _cohere
    if any(name in raw for name in _CHAT):
        return _chat
    if any(name in raw for name in _RESPONSES):
        return _tokens
    if "input_tokens" in raw or "output_tokens" in raw:
        return _responses if dialect == "openai_responses" else _anthropic
    return _units


def _tokens(raw: Mapping[str, Any]) -> Usage | None:
    """The Responses API's, and what OpenAI's other endpoints make of it; a total alone is input (rerankers)."""
    if "input_tokens" not in raw and "output_tokens" not in raw:
        counts = main_counts(raw, ("total_tokens",), ())
        return None if counts is None else Usage(input_tokens=counts[0], raw=raw)
    found = _responses(raw)
    if found is None or found.audio_input_tokens:
        return found
    heard = detail_count(raw.get("input_token_details"), "audio_tokens")  # transcriptions spell it so
    return replace(found, audio_input_tokens=heard) if heard else found


def _cohere(raw: Mapping[str, Any]) -> Usage | None:
    """Cohere's: what was billed, else what was counted."""
    for name in ("billed_units", "tokens"):
        units = raw.get(name)
        counts = main_counts(units, ("input_tokens",), ("output_tokens",)) if isinstance(units, Mapping) else None
        if counts is not None:
            return Usage(*counts, raw=raw)
    return _units(raw)


def _units(raw: Mapping[str, Any]) -> Usage | None:
    """What is not billed by tokens at all."""
    return Usage(raw=raw) if any(name in raw for name in (*_UNITS, "billed_units")) else None
