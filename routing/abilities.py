"""What a request needs that not every target has: who can serve it, and who serves it best.

Each target's *fit* says what it lacks and which fields it would lose, read off its rules and without rendering:

    lacks       image, audio, document, tools, context              it cannot serve
                schema, reasoning, output limit, context (near)     it serves with a loss; who lacks none goes first
    loses       fields that its rules refuse                        counts where equals are to be told apart, and
                                                                    where the client takes no losses

- A schema is emulated, an effort of reasoning dropped, and an output limit beyond the model's clamped.
- A request is too long when even four fifths of its estimated tokens (SURE) are more than the model takes; estimates
  err by about a fifth. Between that and the limit a target stands behind those with room.
- A target that is relayed the client's own bytes loses no field that way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from routing.errors import LacksAbilities, TooLong
from routing.targets import Target
from translators.dialect import Rules
from translators.losses import field_of, placed
from translators.neutral import Audio, Document, Image, Part, Request, ToolResult

MEDIA: Final[tuple[tuple[str, type], ...]] = (("image", Image), ("audio", Audio), ("document", Document))
ALL_MEDIA: Final = frozenset(name for name, _ in MEDIA)
SOFT: Final = frozenset({"schema", "reasoning", "output limit", "context (near)"})
"""Lacking these, a target still serves, behind those that lack nothing."""
SURE: Final = 0.8
"""The part of an estimate that is certainly there."""

Relays = Callable[[Target], bool]


def _never(_target: Target) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Fit:
    """How well *target* can take a request.

    *tokens* is the request's estimated length, *room* the longest that the model takes; 0: not known.
    """

    target: Target
    lacks: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    tokens: int = 0
    room: int = 0

    @property
    def serves(self) -> bool:
        """Whether it can take it at all."""
        return SOFT.issuperset(self.lacks)

    @property
    def too_long(self) -> bool:
        """Whether room is all that is missing."""
        return "context" in self.lacks and SOFT.issuperset(set(self.lacks) - {"context"})


def missing(request: Request, rules: Rules) -> list[str]:
    """What *request* needs and a target with *rules* lacks, its length aside."""
    lacking = [] if rules.modalities >= ALL_MEDIA else _missing_media(request, rules)
    if request.tools and "tools" in rules.refuses:
        lacking.append("tools")
    if request.output is not None and request.output.kind == "json_schema":
        with_tools = rules.schema_with_tools or not request.tools
        if not rules.structured_output or not with_tools or "output" in rules.refuses:
            lacking.append("schema")
    if _thinks(request) and (rules.thinking == "none" or "reasoning" in rules.refuses):
        lacking.append("reasoning")
    if rules.max_output_tokens is not None and (request.max_output_tokens or 0) > rules.max_output_tokens:
        lacking.append("output limit")
    return lacking


def lost(request: Request, rules: Rules) -> tuple[str, ...]:
    """The fields of *request*, as the client calls them, that a target with *rules* would drop or clamp."""
    refused = rules.refuses
    if not refused and not rules.refuses_while_thinking and rules.temperature_max is None:
        return ()
    if rules.refuses_while_thinking and (rules.thinks_by_default or _thinks(request)):
        refused = refused | rules.refuses_while_thinking
    found = [name for name in _ASKED if name in refused and getattr(request, name) not in (None, (), False)]
    if (
        rules.temperature_max is not None
        and "temperature" not in found
        and (request.temperature or 0) > rules.temperature_max
    ):
        found.append("temperature")
    return tuple(field_of(request, name) for name in found)


_ASKED: Final = (
    "temperature",
    "top_p",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "parallel_tool_calls",
    "verbosity",
    "modalities",
    "service_tier",
)
"""Fields whose loss changes an answer."""


def fit(request: Request, target: Target, rules: Rules, tokens: int | None = None, *, relayed: bool = False) -> Fit:
    """How well *target* can take *request* of *tokens*; None: its length does not matter."""
    lacks = missing(request, rules)
    room = rules.context_tokens or 0
    if tokens is not None and room and tokens > room:
        lacks.append("context" if tokens * SURE > room else "context (near)")
    return Fit(target, tuple(lacks), () if relayed else lost(request, rules), tokens or 0, room)


def fits(
    request: Request,
    candidates: Sequence[Target],
    rules_of: Callable[[Target], Rules],
    tokens_of: Callable[[Target], int | None] = lambda _: None,
    relays: Relays = _never,
) -> list[Fit]:
    """The fit of each of *candidates*, in their order. *tokens_of* estimates the request as a target counts."""
    return [fit(request, target, rules_of(target), tokens_of(target), relayed=relays(target)) for target in candidates]


def ranks(found: Sequence[Fit], *, strict: bool = False) -> list[list[Target]]:
    """The targets that serve, in groups, best fit first; within a group in their order.

    With *strict* the client takes no losses, so that every field counts.
    """
    groups: dict[int, list[Target]] = {}
    for each in found:
        if each.serves:
            groups.setdefault(len(each.lacks) + (len(each.loses) if strict else 0), []).append(each.target)
    return [groups[count] for count in sorted(groups)]


def refuse(request: Request, found: Sequence[Fit]) -> NoReturn:
    """Say why none of *found* serves.

    Raises:
        TooLong: one of them lacks nothing but room.
        LacksAbilities: otherwise.
    """
    lacking = {each.target.name: [name for name in each.lacks if name not in SOFT] for each in found}
    if any(each.too_long for each in found):
        lengths = {each.target.name: (each.tokens, each.room) for each in found if "context" in each.lacks}
        others = {name: lacks for name, lacks in lacking.items() if name not in lengths}
        raise TooLong(lengths, others, field_of(request, "messages"))
    raise LacksAbilities(lacking, _place_of(request, found[0].lacks if found else ()))


def able(request: Request, candidates: Sequence[Target], rules_of: Callable[[Target], Rules]) -> list[Target]:
    """The candidates that can serve *request*, whatever its length; those that lose nothing first.

    Raises:
        LacksAbilities: there are none; names what each one lacks.
    """
    found = fits(request, candidates, rules_of)
    groups = ranks(found)
    if not groups:
        refuse(request, found)
    return [target for group in groups for target in group]


def _thinks(request: Request) -> bool:
    """Whether the client asks for reasoning."""
    wanted = request.reasoning
    return wanted is not None and (wanted.effort not in (None, "none") or bool(wanted.budget_tokens))


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
    kinds: set[type] = set()
    for message in request.messages:
        kinds.update(map(type, message.parts))
        if ToolResult in kinds:
            kinds.update([type(part) for part in _flat(message.parts)])
    return [name for name, kind in MEDIA if kind in kinds and name not in rules.modalities]


def _flat(parts: Iterable[Part]) -> Iterable[Part]:
    for part in parts:
        yield part
        if isinstance(part, ToolResult):
            yield from part.parts
