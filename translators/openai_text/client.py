"""The side of the older completions that faces clients, under the names that every dialect has for it."""

from translators.openai_chat.error import render_error
from translators.openai_text.chunks import StreamRenderer
from translators.openai_text.relay import StreamRelay, relay_request, relay_response
from translators.openai_text.request import parse_request
from translators.openai_text.response import render_response
from translators.openai_text.unshown import unshown

__all__ = [
    "StreamRelay",
    "StreamRenderer",
    "parse_request",
    "relay_request",
    "relay_response",
    "render_error",
    "render_response",
    "unshown",
]
