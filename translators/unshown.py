"""What of an answer its client's dialect has no place for: the losses of the way back.

Renderers of answers write bytes and nothing else. What they leave out, or tell in other words, is said by the function
`unshown` of each dialect's `client`, which looks at the whole answer when it has come. The places are those of the
client's own answer: `content[1]`, `choices[0].message.audio`, `candidates[0].content.parts[2]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from translators.arguments import is_object
from translators.losses import Loss
from translators.neutral import (
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Response,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

_NAMES: dict[type[Part], str] = {
    Image: "picture",
    Audio: "sound",
    Document: "document",
    ToolResult: "result of a tool",
    Thinking: "thought",
    ToolCall: "call of a tool",
    Opaque: "block",
    Text: "text",
    Refusal: "refusal",
}


def described(part: Part) -> str:
    """*part* in a few words: `a picture (image/png)`."""
    kind = None
    match part:
        case Image() | Audio() | Document():
            kind = part.source.media_type
        case Opaque():
            kind = f"{part.dialect} {part.type}".strip()
        case _:
            pass
    name = f"a {_NAMES[type(part)]}"
    return f"{name} ({kind})" if kind else name


def dropped(place: str, part: Part) -> Loss:
    """*part* is left out."""
    return Loss(place, "dropped", f"answers have no place for {described(part)}")


def without_address(place: str, part: Part) -> Loss:
    """*part* is shown, but nothing that leads to its content."""
    return Loss(place, "dropped", f"{described(part)} is kept by its vendor, under a name that means nothing here")


def is_elsewhere(source: Source) -> bool:
    """Whether neither the data nor an address of it is known."""
    return source.data is None and source.url is None


def more_choices(response: Response, place: str) -> Iterator[Loss]:
    """The choices after the first, for a dialect that has one."""
    if (more := len(response.choices) - 1) > 0:
        yield Loss(place, "dropped", f"an answer has one choice; {more} more came")


def broken_calls(parts: Iterable[Part], reason: str) -> Iterator[Loss]:
    """Calls whose arguments are no JSON object, for a dialect that has nothing else for them."""
    for part in parts:
        if isinstance(part, ToolCall) and part.kind == "function" and not is_object(part.arguments):
            yield Loss(f"{part.name}.arguments", "emulated", reason)
