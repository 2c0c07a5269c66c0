"""The side of the Responses API that faces clients, under the names that every dialect has for it."""

from translators.openai_chat.error import render_error
from translators.openai_responses.again import streamed_again
from translators.openai_responses.answer import render_input_tokens, render_response
from translators.openai_responses.conversation import chained, input_items, items_of
from translators.openai_responses.error import NOT_KNOWN, keeps_nothing
from translators.openai_responses.incoming import SERVED_FIELDS, idle, parse_request, without_idle
from translators.openai_responses.namespaces import expanded
from translators.openai_responses.relay import StreamRelay, relay_request, relay_response
from translators.openai_responses.renderer import StreamRenderer
from translators.openai_responses.unshown import unshown

__all__ = [
    "NOT_KNOWN",
    "SERVED_FIELDS",
    "StreamRelay",
    "StreamRenderer",
    "chained",
    "expanded",
    "idle",
    "input_items",
    "items_of",
    "keeps_nothing",
    "parse_request",
    "relay_request",
    "relay_response",
    "render_error",
    "render_input_tokens",
    "render_response",
    "streamed_again",
    "unshown",
    "without_idle",
]
