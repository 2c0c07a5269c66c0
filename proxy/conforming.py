"""Answers that have to be JSON of a schema, from targets that do not see to it themselves.

whole answer --fits--> as it is
             --wrapped in fences or prose--> unwrapped, and said so
             --wrong--> asked once more, if that is wanted; what is still wrong is said
stream       --------> as it is; what is wrong stands in the closing receipt
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from proxy.prepare import Prepared
from proxy.structured import answer_text, enforced, fenced, problems
from translators.codec import JsonError, loads
from translators.losses import Loss, field_of
from translators.neutral import Choice, Part, Request, Response, Text, ToolCall

WORST: Final = 200
"""Characters of the first problem that a loss repeats."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer after the look at it. *wrong* is what is still wrong with the first choice that does not fit."""

    response: Response
    wrong: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()


def must_be_checked(request: Request, prepared: Prepared) -> bool:
    """Whether the answer of this target may have another form than the one that was asked for."""
    return request.output is not None and not enforced(request, prepared.rules, prepared.losses)


def judged(response: Response, request: Request) -> Judged:
    """*response* with every choice unwrapped where that makes it fit."""
    schema = request.output.schema if request.output else None
    place = field_of(request, "output")
    choices: list[Choice] = []
    wrong: list[str] = []
    unwrapped = False
    for choice in response.choices:
        text = answer_text(choice)
        found = problems(schema, text) if text is not None else []
        if text is not None and found and (inner := fenced(text)) is not None and not problems(schema, inner):
            choices.append(replace(choice, parts=tuple(_with_text(choice, inner))))
            unwrapped = True
            continue
        choices.append(choice)
        wrong = wrong or found
    losses = (Loss(place, "emulated", "the JSON stood in other text and was taken out of it"),) if unwrapped else ()
    if unwrapped:
        response = replace(response, choices=tuple(choices))
    return Judged(response, tuple(wrong), losses)


def broken_calls(response: Response) -> tuple[Loss, ...]:
    """What is said of calls whose arguments are no JSON object, to a client whose dialect has nothing else for them."""
    parts = [part for choice in response.choices for part in choice.parts]
    return tuple(
        Loss(f"{part.name}.arguments", "emulated", "the model wrote no JSON object; what could be read of it is told")
        for part in parts
        if isinstance(part, ToolCall) and part.kind == "function" and not _is_object(part.arguments)
    )


def _is_object(text: str) -> bool:
    try:
        return not text.strip() or isinstance(loads(text), dict)
    except JsonError:
        return False


def not_fitting(request: Request, wrong: tuple[str, ...]) -> Loss:
    """What is said of an answer that does not have the form that was asked for."""
    place = field_of(request, "output")
    return Loss(place, "dropped", f"the answer does not fit: {wrong[0][:WORST]}")


def asked_again(request: Request) -> Loss:
    """What is said of an answer that took a second question."""
    place = field_of(request, "output")
    return Loss(place, "emulated", "the first answer did not fit; the target was asked once more")


def _with_text(choice: Choice, text: str) -> Iterator[Part]:
    """The parts of *choice* with *text* in place of all its texts."""
    written = False
    for part in choice.parts:
        if not isinstance(part, Text):
            yield part
        elif not written:
            written = True
            yield Text(text)
