"""Cache marks and foreign native fields: what rides on a part, a tool or a message beside its content."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from translators.anthropic.response import NAME
from translators.losses import Loss, native_losses
from translators.neutral import Native

MARKS: Final = ("cache_control", "prompt_cache_breakpoint")
# OpenAI's lifetimes for a breakpoint and the nearest of Anthropic's.
_LIFETIMES: Final = {"30m": "5m", "12h": "1h"}


def cache_mark(native: Native, place: str, losses: list[Loss]) -> dict[str, Any] | None:
    """Anthropic's `cache_control`: its own, one that came as an extension, or OpenAI's `prompt_cache_breakpoint`."""
    if not native:
        return None
    for fields in (native.get(NAME, {}), *(fields for dialect, fields in native.items() if dialect != NAME)):
        if isinstance(control := fields.get("cache_control"), dict):
            return control
        if isinstance(breakpoint_ := fields.get("prompt_cache_breakpoint"), dict):
            mark: dict[str, Any] = {"type": "ephemeral"}
            lifetime = breakpoint_.get("ttl")
            if isinstance(lifetime, str) and lifetime in _LIFETIMES:
                mark["ttl"] = _LIFETIMES[lifetime]
                reason = f"the target keeps a prefix for {mark['ttl']}"
                losses.append(Loss(f"{place}.prompt_cache_breakpoint.ttl", "clamped", reason))
            return mark
    return None


def unread_native(place: str, native: Native, client: str) -> Iterable[Loss]:
    """The losses of other dialects' fields in *native*, without the cache marks that are read here."""
    if not native:
        return ()
    kept = {
        dialect: {name: value for name, value in fields.items() if name not in MARKS}
        for dialect, fields in native.items()
    }
    return native_losses(place, kept, NAME, client)
