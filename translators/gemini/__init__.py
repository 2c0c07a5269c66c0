"""Gemini's generateContent and streamGenerateContent, as the backend's dialect; the client's is in `client`."""

from typing import Final

from translators.gemini.chunks import usage_in
from translators.gemini.error import error_in, parse_error
from translators.gemini.request import render_request
from translators.gemini.response import parse_response
from translators.gemini.stream import StreamParser

TAKES_N: Final = True
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
