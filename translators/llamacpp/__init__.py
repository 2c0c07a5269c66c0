"""llama.cpp by way of llama-cpp-python: only a backend's dialect, no client speaks it.

A request is a JSON object of keyword arguments for `Llama.create_chat_completion` and one key of our own,
`modelport`: the Hints, which the backend gives back so that an answer can be read without its request.

    {"model", "messages", "tools"?, "response_format"?, "temperature"?, ..., "stream", "modelport": hints}

A whole answer is `create_chat_completion`'s with `usage` and `modelport`; a streamed one is a JSON object per line:

    {"modelport": {hints, "thinking"}}                      first
    {"id", "model", "created", "choices": [{"delta"}]}      the library's chunks
    {"usage": {...}, "timings": {...}}                      last

An error, in place of an answer or in mid-stream, is `{"error": {"kind", "message", "status", "code"?}}`.
"""

from typing import Final

from translators.llamacpp.answer import parse_response
from translators.llamacpp.error import error_in, parse_error
from translators.llamacpp.request import render_request
from translators.llamacpp.stream import StreamParser
from translators.openai_chat.usage import usage_in

TAKES_N: Final = False

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
