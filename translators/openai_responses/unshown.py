"""What of an answer a Response has no place for."""

from __future__ import annotations

from collections.abc import Iterator

from translators.dialect import ReplyTo
from translators.losses import Loss
from translators.neutral import Audio, Choice, Document, Image, Response, Text, ToolResult
from translators.unshown import described, dropped, is_elsewhere, more_choices, without_address

_PLACE = "output"


def unshown(response: Response, to: ReplyTo) -> Iterator[Loss]:
    """See `translators.unshown`."""
    del to  # an answer has the same places for everybody
    yield from more_choices(response, _PLACE)
    for choice in response.choices[:1]:
        yield from _of_choice(choice)


def _of_choice(choice: Choice) -> Iterator[Loss]:
    speaks = False
    for part in choice.parts:
        match part:
            case Text():
                speaks = True
            case Audio(transcript=str(transcript)) if transcript:
                speaks = True
                yield Loss(_PLACE, "emulated", f"an output has no place for {described(part)}: its transcript is told")
            case Image() if is_elsewhere(part.source):
                yield without_address(_PLACE, part)
            case Audio() | Document() | ToolResult():
                yield dropped(_PLACE, part)
            case _:
                continue
    if choice.logprobs and not speaks:
        yield Loss(f"{_PLACE}[].content[].logprobs", "dropped", "they are told of texts alone, and there is none")
