"""OpenAI's older completions (`/v1/completions`): a client's dialect, and a server's only in the verbatim way.

A prompt is one user message; a server of another dialect answers it as one turn of a conversation. What has no
counterpart there (`suffix`, `best_of`, unknown fields) stands in `native["openai_completions"]` and becomes a loss.
`echo` is done here, by writing the prompt before the answer; together with `logprobs` only a server can do it.

    split(body) -> [body, ...], one text in each         parse_request(body) -> Request, for each of them
    joined([answer, ...]) -> answer                      render_response(response, to) -> answer

A server that has the endpoint takes the client's bytes as they are, with any number of prompts.
In an answer of such a server `native["openai_completions"]` is never empty: that marks texts that need no echo.
"""

from typing import Final

from translators.openai_chat.error import error_in, parse_error
from translators.openai_text.parts import DIALECT
from translators.openai_text.request import parse_request, prompts, split
from translators.openai_text.response import joined, parse_response, render_response
from translators.openai_text.stream import StreamParser

PATH: Final = "/completions"
"""The call's path after the base URL."""

__all__ = [
    "DIALECT",
    "PATH",
    "StreamParser",
    "error_in",
    "joined",
    "parse_error",
    "parse_request",
    "parse_response",
    "prompts",
    "render_response",
    "split",
]
