"""OpenAI's chat completions, as a client's dialect and as a server's.

What OpenAI has no field for travels by these conventions, which clients may send back as they came:

| where | field | what |
|---|---|---|
| message, delta | `reasoning_content` | readable reasoning, whatever the vendor calls it |
| message, delta | `thinking_blocks` | Anthropic's signed thinking, in order; on the delta that ends a block |
| message, delta | `reasoning_details` | signed or encrypted reasoning in OpenRouter's form, OpenAI's own too |
| message, delta | `extra_content.openai_responses.messages` | `phase` and length of the messages that `content` joins |
| message, delta | `extra_content.openai_responses.annotations` | citations of files |
| message, delta | `extra_content.google.thought_signature` | Gemini's signature on a text or thought |
| tool call | `extra_content.google.thought_signature` | Gemini's signature on the call |
| message, delta | `extra_content.{dialect}.blocks` | blocks that only that dialect understands, in order |
| choice | `extra_content.{dialect}` | what belongs to the end: `stop_sequence`, `stop_details`, ... |
| choice | `extra_content.modelport.finish_reason` | `pause`: the vendor wants the turn sent again |
| message, delta | `images` | pictures in answers (OpenRouter's form) |
| answer, chunk | `extra_content.{dialect}` | the vendor's own fields of the answer as a whole |

In streams every entry of such a list has an `index`, because the official SDK joins deltas by it.
In requests also: `cache_control` on messages, parts and tools; `is_error` on tool messages; `thinking`,
`reasoning`, `include_reasoning` and `top_k` at the top.
"""

from typing import Final

from translators.openai_chat.chunks import StreamRenderer
from translators.openai_chat.error import error_envelope, error_in, parse_error, render_error
from translators.openai_chat.outgoing import render_request
from translators.openai_chat.relay import StreamRelay, relay_request, relay_response
from translators.openai_chat.request import parse_request, uses_functions
from translators.openai_chat.response import parse_response, render_response
from translators.openai_chat.stream import StreamParser
from translators.openai_chat.usage import parse_usage, render_usage, usage_in

TAKES_N: Final = True
"""Whether one request can ask for several choices."""

TAKES_CUSTOM_TOOLS: Final = True
"""Whether it has tools whose input is plain text."""

__all__ = [
    "TAKES_CUSTOM_TOOLS",
    "TAKES_N",
    "StreamParser",
    "StreamRelay",
    "StreamRenderer",
    "error_envelope",
    "error_in",
    "parse_error",
    "parse_request",
    "parse_response",
    "parse_usage",
    "relay_request",
    "relay_response",
    "render_error",
    "render_request",
    "render_response",
    "render_usage",
    "usage_in",
    "uses_functions",
]
