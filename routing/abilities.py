"""What a request needs that not every target has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from routing.errors import LacksAbilities
from routing.targets import Target
from translators.dialect import Rules
from translators.losses import placed
from translators.neutral import Audio, Document, Image, Part, Request, ToolResult

MEDIA: Final[tuple[tuple[str, type], ...]] = (("image", Image), ("audio", Audio), ("document", Document))
ALL_MEDIA: Final = frozenset(name for name, _ in MEDIA)
CAN_BE_EMULATED: Final = frozenset({"schema"})
"""Lacking these, a target still serves when no other candidate is left: the renderer puts them into words."""


def missing(request: Request, rules: Rules) -> list[str]:
    """What *request* needs and a target with *rules* lacks: image, audio, document, tools, schema, in this order."""
    lacking = [] if rules.modalities >= ALL_MEDIA else _missing_media(request, rules)
    if request.tools and "tools" in rules.refuses:
        lacking.append("tools")
    if request.output is not None and request.output.kind == "json_schema":
        with_tools = rules.schema_with_tools or not request.tools
        if not rules.structured_output or not with_tools or "output" in rules.refuses:
            lacking.append("schema")
    return lacking


def able(request: Request, candidates: Sequence[Target], rules_of: Callable[[Target], Rules]) -> list[Target]:
    """The candidates that lack nothing; if there are none, those that lack only what can be emulated.

    Raises:
        LacksAbilities: there are none of these either; names what each one lacks.
    """
    lacking = [(target, missing(request, rules_of(target))) for target in candidates]
    whole = [target for target, lacks in lacking if not lacks]
    if whole:
        return whole
    emulating = [target for target, lacks in lacking if CAN_BE_EMULATED.issuperset(lacks)]
    if emulating:
        return emulating
    raise LacksAbilities({target.name: lacks for target, lacks in lacking}, _place_of(request, lacking[0][1]))


def _place_of(request: Request, lacks: Sequence[str]) -> str | None:
    """Where the client wrote the first part of a kind that is lacking."""
    kinds = tuple(kind for name, kind in MEDIA if name in lacks)
    for index, message in enumerate(request.messages):
        for place, part in placed(message, index, request.dialect):
            inner = part.parts if isinstance(part, ToolResult) else (part,)
            if any(isinstance(each, kinds) for each in inner):
                return place
    return None


def _missing_media(request: Request, rules: Rules) -> list[str]:
    kinds = {type(part) for message in request.messages for part in _flat(message.parts)}
    return [name for name, kind in MEDIA if kind in kinds and name not in rules.modalities]


def _flat(parts: Iterable[Part]) -> Iterable[Part]:
    for part in parts:
        yield part
        if isinstance(part, ToolResult):
            yield from part.parts
