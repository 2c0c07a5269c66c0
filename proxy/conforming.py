"""Answers that have to be JSON of a schema, from targets that do not see to it themselves.

whole answer --fits--> as it is
             --wrapped in fences or prose--> unwrapped, and said so
             --wrong--> asked once more, if that is wanted, for each choice that is; what is still wrong is said
stream       --in a fence--> the fence is taken off on the way (`unfencing`), and said so
             --------> as it is; what is wrong stands in the closing receipt
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from proxy.asked import Asked
from proxy.prepare import Prepared
from proxy.structured import answer_text, enforced, fenced, problems
from proxy.whole import summed
from translators.losses import Loss, field_of
from translators.neutral import Choice, Part, Request, Response, Text

WORST: Final = 200
"""Characters of the first problem that a loss repeats."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer after the look at it. *found* is what is still wrong, choice by choice."""

    response: Response
    found: tuple[tuple[str, ...], ...] = ()
    losses: tuple[Loss, ...] = ()

    @property
    def wrong(self) -> tuple[str, ...]:
        """What is wrong with the first choice that does not fit."""
        return next((problems for problems in self.found if problems), ())

    @property
    def misfits(self) -> dict[int, tuple[str, ...]]:
        """What is wrong by the place of the choice, of those that do not fit."""
        return {place: problems for place, problems in enumerate(self.found) if problems}


def must_be_checked(request: Request, prepared: Prepared) -> bool:
    """Whether the answer of this target may have another form than the one that was asked for."""
    return request.output is not None and not enforced(request, prepared.rules, prepared.losses)


def judged(response: Response, request: Request) -> Judged:
    """*response* with every choice unwrapped where that makes it fit."""
    schema = request.output.schema if request.output else None
    choices: list[Choice] = []
    wrong: list[tuple[str, ...]] = []
    unwrapped = False
    for choice in response.choices:
        text = answer_text(choice)
        found = problems(schema, text) if text is not None else []
        if text is not None and found and (inner := fenced(text)) is not None and not problems(schema, inner):
            choices.append(replace(choice, parts=tuple(_with_text(choice, inner))))
            wrong.append(())
            unwrapped = True
            continue
        choices.append(choice)
        wrong.append(tuple(found))
    if unwrapped:
        response = replace(response, choices=tuple(choices))
    return Judged(response, tuple(wrong), (taken_out(request),) if unwrapped else ())


def taken_out(request: Request) -> Loss:
    """What is said of an answer whose JSON was wrapped."""
    return Loss(field_of(request, "output"), "emulated", "the JSON stood in other text and was taken out of it")


def unshown(asked: Asked, response: Response) -> tuple[Loss, ...]:
    """What is said of the parts of *response* that the client's dialect has no place for."""
    return tuple(asked.dialect.unshown(response, asked.reply_to()))


def fewer(request: Request, response: Response) -> tuple[Loss, ...]:
    """What is said where *response* has fewer answers than were asked for: many servers do not know `n`."""
    given, wanted = len(response.choices), request.n or 1
    if given >= wanted:
        return ()
    return (Loss(field_of(request, "n"), "dropped", f"the target gave {given} of {wanted} answers"),)


def not_fitting(request: Request, wrong: tuple[str, ...]) -> Loss:
    """What is said of an answer that does not have the form that was asked for."""
    place = field_of(request, "output")
    return Loss(place, "dropped", f"the answer does not fit: {wrong[0][:WORST]}")


def asked_again(request: Request, choices: int) -> Loss:
    """What is said of an answer that took a second question, in one choice or in several."""
    often = "once more" if choices == 1 else f"once more for {choices} choices"
    return Loss(field_of(request, "output"), "emulated", f"the first answer did not fit; the target was asked {often}")


def mended(response: Response, again: Mapping[int, Response]) -> Response:
    """*response* with the choices of *again*, by place, in place of its own; usage is that of all calls."""
    choices = tuple(
        replace(again[place].choices[0], index=choice.index) if place in again and again[place].choices else choice
        for place, choice in enumerate(response.choices)
    )
    usages = [each.usage for each in (response, *again.values())]
    known = [usage for usage in usages if usage is not None]
    usage = summed(known) if len(known) == len(usages) else None
    return replace(response, choices=choices, usage=usage)


def _with_text(choice: Choice, text: str) -> Iterator[Part]:
    """The parts of *choice* with *text* in place of all its texts."""
    written = False
    for part in choice.parts:
        if not isinstance(part, Text):
            yield part
        elif not written:
            written = True
            yield Text(text)
