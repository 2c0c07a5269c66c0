"""The same as `client`, for clients that take a stream as one JSON array: those that do not say `alt=sse`."""

from __future__ import annotations

from translators.gemini.client import (
    relay_request,
    relay_response,
    render_error,
    render_response,
    unshown,
)
from translators.gemini.frames import ArrayRenderer as StreamRenderer
from translators.gemini.relay import ArrayRelay as StreamRelay

__all__ = [
    "StreamRelay",
    "StreamRenderer",
    "relay_request",
    "relay_response",
    "render_error",
    "render_response",
    "unshown",
]
