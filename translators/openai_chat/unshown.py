"""What of an answer a chat completion has no place for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from translators.losses import Loss
from translators.neutral import Audio, Choice, Document, Image, Response, Text, ToolCall, ToolResult
from translators.unshown import dropped, is_elsewhere, without_address


def unshown(response: Response, *, legacy_functions: bool) -> Iterator[Loss]:
    """See `translators.unshown`. With *legacy_functions* a message has one call."""
    for choice in response.choices:
        if any(not isinstance(part, Text) for part in choice.parts):
            yield from _of_choice(choice, legacy_functions=legacy_functions)


def _of_choice(choice: Choice, *, legacy_functions: bool) -> Iterator[Loss]:
    place = f"choices[{choice.index}].message"
    images = calls = 0
    sounds = [part for part in choice.parts if isinstance(part, Audio)]
    yield from _of_sounds(f"{place}.audio", sounds)
    for part in choice.parts:
        match part:
            case Image():
                if is_elsewhere(part.source):
                    yield without_address(f"{place}.images[{images}]", part)
                images += 1
            case ToolCall():
                calls += 1
                if legacy_functions and calls > 1:
                    yield Loss(f"{place}.function_call", "dropped", f"a message has one; {part.name} is left out")
            case Document() | ToolResult():
                yield dropped(f"{place}.content", part)
            case _:
                continue


def _of_sounds(place: str, sounds: Sequence[Audio]) -> Iterator[Loss]:
    for _ in sounds[:-1]:
        yield Loss(place, "dropped", "a message has one sound, the last")
    for source in [part.source for part in sounds[-1:]]:
        if source.data is None and source.url is not None:
            yield Loss(place, "dropped", "a message has no place for the address of a sound")
        elif source.data is not None and ";" in (source.media_type or ""):
            # The client knows the format that it asked for, which says nothing of the rate.
            yield Loss(f"{place}.data", "dropped", f"a message has no place for the type of it ({source.media_type})")
