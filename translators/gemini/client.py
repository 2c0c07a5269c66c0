"""The side of Gemini's generateContent that faces clients, under the names that every dialect has for it.

`ArrayRenderer` and `ArrayRelay` stand beside their SSE twins for clients that do not say `alt=sse`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from translators.gemini.answer import render_response
from translators.gemini.error import render_error
from translators.gemini.frames import ArrayRenderer, StreamRenderer
from translators.gemini.incoming import parse_count_request, parse_request
from translators.gemini.relay import ArrayRelay, StreamRelay, relay_request, relay_response
from translators.gemini.unshown import unshown

__all__ = [
    "ArrayRelay",
    "ArrayRenderer",
    "StreamRelay",
    "StreamRenderer",
    "parse_count_request",
    "parse_request",
    "relay_request",
    "relay_response",
    "render_count",
    "render_error",
    "render_model",
    "render_models",
    "render_response",
    "unshown",
]

METHODS = ("generateContent", "streamGenerateContent", "countTokens")
"""What every model can be asked for here."""


def render_count(tokens: int) -> dict[str, Any]:
    """The answer of countTokens."""
    return {"totalTokens": tokens}


def render_model(
    name: str,
    display: str | None = None,
    input_limit: int | None = None,
    output_limit: int | None = None,
    methods: Sequence[str] = METHODS,
) -> dict[str, Any]:
    """One model as Google lists it; a limit that is not known is left out."""
    model: dict[str, Any] = {"name": f"models/{name}", "version": "001", "displayName": display or name}
    if input_limit is not None:
        model["inputTokenLimit"] = input_limit
    if output_limit is not None:
        model["outputTokenLimit"] = output_limit
    return {**model, "supportedGenerationMethods": list(methods)}


def render_models(models: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The list of models, on one page."""
    return {"models": list(models)}
