"""What of an answer a GenerateContentResponse has no place for."""

from __future__ import annotations

from collections.abc import Iterator

from translators.dialect import ReplyTo
from translators.gemini.answer import DIALECT, Told
from translators.losses import Loss
from translators.neutral import (
    Audio,
    Choice,
    Document,
    Image,
    Opaque,
    Part,
    Response,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from translators.unshown import broken_calls, described, dropped, is_elsewhere

_USUAL = (Text, Thinking, ToolCall)
_BROKEN = "the model wrote no JSON object; finishMessage tells it as it is"


def unshown(response: Response, to: ReplyTo) -> Iterator[Loss]:
    """See `translators.unshown`."""
    del to  # an answer has the same places for everybody
    for choice in response.choices:
        yield from broken_calls(choice.parts, _BROKEN)
        if any(not isinstance(part, _USUAL) for part in choice.parts):
            yield from _of_parts(choice)


def _of_parts(choice: Choice) -> Iterator[Loss]:
    place = f"candidates[{choice.index}].content.parts"
    told = Told()
    for part in choice.parts:
        told.add(part)
        yield from _of_part(f"{place}[{max(len(told.parts) - 1, 0)}]", part)


def _of_part(place: str, part: Part) -> Iterator[Loss]:
    match part:
        case ToolResult():
            yield dropped(place, part)
        case Audio(transcript=str(transcript)) if transcript and not is_elsewhere(part.source):
            yield Loss(place, "dropped", "a part has no place for the transcript of a sound")
        case Audio(transcript=str(transcript)) if transcript:
            yield Loss(place, "emulated", "only the transcript of the sound is told")
        case Document(text=str()):
            return
        case Image() | Audio() | Document() if is_elsewhere(part.source):
            yield Loss(place, "emulated", f"the name by which its vendor keeps {described(part)} is no address")
        case Opaque(dialect=dialect) if dialect != DIALECT:
            yield Loss(place, "emulated", f"{described(part)} is packed into a thoughtSignature, to be sent back")
        case _:
            return
