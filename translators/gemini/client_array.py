"""The same as `client`, for clients that take a stream as one JSON array: those that do not say `alt=sse`."""

from __future__ import annotations

from translators.gemini.client import (
    ARGUMENTS_ARE_OBJECTS,
    relay_request,
    relay_response,
    render_error,
    render_response,
)
from translators.gemini.frames import ArrayRenderer as StreamRenderer
from translators.gemini.relay import ArrayRelay as StreamRelay

__all__ = [
    "ARGUMENTS_ARE_OBJECTS",
    "StreamRelay",
    "StreamRenderer",
    "relay_request",
    "relay_response",
    "render_error",
    "render_response",
]
