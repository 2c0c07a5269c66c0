"""The side of Anthropic Messages that faces clients, under the names that every dialect has for it."""

from __future__ import annotations

from translators.anthropic.answer import render_count, render_response
from translators.anthropic.error import render_error
from translators.anthropic.events import StreamRenderer
from translators.anthropic.incoming import parse_count_request, parse_request
from translators.anthropic.relay import StreamRelay, changed_messages, relay_request, relay_response
from translators.anthropic.unshown import unshown

__all__ = [
    "StreamRelay",
    "StreamRenderer",
    "changed_messages",
    "parse_count_request",
    "parse_request",
    "relay_request",
    "relay_response",
    "render_count",
    "render_error",
    "render_response",
    "unshown",
]
