"""The side of the older completions that faces servers, under the names that every dialect has for it.

Only requests of this dialect go to such a server, and those as they came; `render_request` is never needed.
"""

from __future__ import annotations

from typing import Final

from translators.dialect import Rendered, Rules
from translators.errors import Unsupported
from translators.neutral import Request
from translators.openai_chat.error import error_in, parse_error
from translators.openai_chat.usage import usage_in
from translators.openai_text.response import parse_response
from translators.openai_text.stream import StreamParser

TAKES_N: Final = True
TAKES_CUSTOM_TOOLS: Final = False

__all__ = [
    "TAKES_CUSTOM_TOOLS",
    "TAKES_N",
    "StreamParser",
    "error_in",
    "parse_error",
    "parse_response",
    "render_request",
    "usage_in",
]


def render_request(request: Request, rules: Rules) -> Rendered:
    """Raises Unsupported: a conversation is no text to be continued."""
    raise Unsupported(f"{request.model}: the completions endpoint takes no {request.dialect} request", "model")
