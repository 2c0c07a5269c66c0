"""Cache marks of other dialects as OpenAI's `prompt_cache_breakpoint`, in chat completions and in Responses alike.

Anthropic's `cache_control` becomes one where the model knows breakpoints; the nearest lifetime of OpenAI's stands for
Anthropic's. A breakpoint that a client of the other of OpenAI's two dialects wrote stays what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.losses import Loss, native_field
from translators.neutral import Native

BREAKPOINT: Final = "prompt_cache_breakpoint"
_MARK: Final = "cache_control"
_OPENAI: Final = ("openai_chat", "openai_responses")
_LIFETIMES: Final[Mapping[str, str]] = {"5m": "30m", "1h": "12h"}


def marked(
    native: Native, place: str, client: str, losses: list[Loss], *, taken: bool
) -> tuple[dict[str, Any], Native]:
    """(the breakpoint as a field, empty when there is none; what of *native* is still unread).

    *taken*: the target knows breakpoints; *place* is where the client, who speaks *client*, wrote the part.
    """
    for dialect in _OPENAI:
        if isinstance(found := native.get(dialect, {}).get(BREAKPOINT), dict):
            return ({BREAKPOINT: found}, _without(native, dialect, BREAKPOINT)) if taken else ({}, native)
    mark = native.get("anthropic", {}).get(_MARK)
    if not taken or not isinstance(mark, dict):
        return {}, native
    written = {"mode": "explicit"}
    lifetime = mark.get("ttl")
    if isinstance(lifetime, str) and lifetime in _LIFETIMES:
        written["ttl"] = _LIFETIMES[lifetime]
        field = native_field(client, place, "anthropic", _MARK)
        losses.append(Loss(f"{field}.ttl", "clamped", f"the target keeps a prefix for {written['ttl']}"))
    return {BREAKPOINT: written}, _without(native, "anthropic", _MARK)


def _without(native: Native, dialect: str, name: str) -> Native:
    return {**native, dialect: {field: value for field, value in native[dialect].items() if field != name}}
