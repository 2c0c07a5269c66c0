"""Conversations of more than words: tools, parts, thoughts. Read as the careful way reads them, by its own functions.

What is not said in text, calls, results and thoughts is left to the careful way: a picture may have to be fetched, or
be more than a target takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.errors import Refused
from proxy.question_json import question_json
from proxy.sizes import check_density
from translators.errors import BadRequest
from translators.neutral import Message, Part, Request, Text, Thinking, ToolCall, ToolResult

if TYPE_CHECKING:
    from proxy.config.model import BoundSettings
    from proxy.fast.shapes import Shape

_NEEDED: Final[Mapping[str, Any]] = {"model": "any", "max_tokens": 1}
"""What a request must have beside its conversation, in any dialect."""


class Read(NamedTuple):
    """The whole *request* in the neutral form, and its conversation as JSON: *wire*."""

    request: Request
    wire: Sequence[Mapping[str, Any]]

    @property
    def has_turns(self) -> bool:
        """Whether a model has spoken in it."""
        return any(message.role == "assistant" for message in self.request.messages)


def read(shape: Shape, raw: bytes, pieces: Sequence[bytes], bounds: BoundSettings) -> Read | None:
    """The request *raw* of *shape*, in which *pieces* stand; None where it is refused, or for the careful way."""
    asked, client = shape.asked, shape.manner.dialect.client
    try:
        check_density(raw, bounds)
        body = question_json(_object(asked.names, pieces), bounds)
        messages = client.parse_request({**_NEEDED, **body}).messages
    except (Refused, BadRequest):
        return None
    if not all(map(is_readable, messages)):
        return None
    return Read(replace(shape.request, messages=messages), body[asked.names[asked.place]])


def _object(names: Sequence[str], values: Sequence[bytes]) -> bytes:
    return b"{%b}" % b",".join([b'"%b":%b' % (name.encode(), value) for name, value in zip(names, values, strict=True)])


def is_readable(message: Message) -> bool:
    """Whether there is nothing in *message* that only the careful way looks at."""
    return all(map(_is_said, message.parts))


def _is_said(part: Part) -> bool:
    match part:
        case Text() | ToolCall() | Thinking():
            return True
        case ToolResult(parts=parts):
            return all(type(each) is Text for each in parts)
        case _:
            return False
