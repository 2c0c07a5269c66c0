"""OpenAI's Responses API.

As a backend: `render_request`, `parse_response`, `parse_error`, `error_in`, `usage_in`,
`StreamParser`. Towards clients: `client`.
How items become parts is said in `items`, what a foreign request becomes in `request`.
"""

from typing import Final

from translators.openai_responses.error import error_in, parse_error
from translators.openai_responses.request import render_request
from translators.openai_responses.response import parse_response
from translators.openai_responses.stream import StreamParser
from translators.openai_responses.usage import usage_in

TAKES_N: Final = False
"""Whether one request can ask for several choices."""

TAKES_CUSTOM_TOOLS: Final = True
"""Whether it has tools whose input is plain text."""

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
