"""What of an answer a completion has no place for: all but its words."""

from __future__ import annotations

from collections.abc import Iterator

from translators.dialect import ReplyTo
from translators.losses import Loss
from translators.neutral import Refusal, Response, Text, Thinking
from translators.unshown import dropped


def unshown(response: Response, to: ReplyTo) -> Iterator[Loss]:
    """See `translators.unshown`."""
    del to  # whatever the client asked, it gets text
    for choice in response.choices:
        place = f"choices[{choice.index}].text"
        for part in choice.parts:
            match part:
                case Text():
                    if part.annotations:
                        yield Loss(place, "dropped", "answers have no place for citations")
                case Refusal():
                    continue
                case Thinking(text=""):
                    continue
                case _:
                    yield dropped(place, part)
