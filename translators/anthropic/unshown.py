"""What of an answer a Message has no place for."""

from __future__ import annotations

from collections.abc import Iterator

from translators.anthropic.answer import block_of, citations_of
from translators.dialect import ReplyTo
from translators.losses import Loss
from translators.neutral import Audio, Choice, Document, Image, Response, Text, Thinking, ToolCall, ToolResult
from translators.unshown import broken_calls, described, dropped, more_choices

_USUAL = (Text, Thinking, ToolCall)
_BROKEN = "the model wrote no JSON object; what could be read of it is told"


def unshown(response: Response, to: ReplyTo) -> Iterator[Loss]:
    """See `translators.unshown`."""
    del to  # a message has the same places for everybody
    yield from more_choices(response, "content")
    for choice in response.choices[:1]:
        yield from broken_calls(choice.parts, _BROKEN)
        if choice.logprobs:
            yield Loss("content", "dropped", "a message has no place for log probabilities")
        yield from _of_parts(choice)


def _of_parts(choice: Choice) -> Iterator[Loss]:
    if all(isinstance(part, _USUAL) and not getattr(part, "annotations", ()) for part in choice.parts):
        return
    block = 0
    for part in choice.parts:
        place = f"content[{block}]"
        match part:
            case Image() | Audio() | Document():
                yield Loss(place, "emulated", f"a message has no place for {described(part)}: a text says so")
            case ToolResult():
                yield dropped("content", part)
            case Text(annotations=annotations, native=native) if annotations:
                if part.text and len(annotations) > len(citations_of(annotations, native)):
                    yield Loss(f"{place}.citations", "dropped", "a text has no place for citations but those of pages")
            case _:
                pass
        block += block_of(part) is not None
