"""Anthropic Messages."""

from typing import Final

from translators.anthropic.error import error_in, parse_error
from translators.anthropic.request import render_request
from translators.anthropic.response import parse_response, usage_in
from translators.anthropic.stream import StreamParser

TAKES_N: Final = False
"""Whether one request can ask for several choices."""

TAKES_CUSTOM_TOOLS: Final = False
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
