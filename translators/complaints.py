"""What a vendor complains of, in the words of the client who has to mend it.

A vendor's 400 names a field of its own dialect: as `param` (OpenAI), or at the head of its message (Anthropic's
`messages.0.content: ...`, Gemini's `* GenerateContentRequest.contents: ...`). A client of another dialect never wrote
that. Where it is known what the client did write, that becomes the `param`; else there is none, and the vendor's word
stays in the message. Positions count in the vendor's request, in which messages may be merged or moved: they are left
out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from translators.losses import field_of, message_place, neutral_of_wire
from translators.neutral import ErrorKind, Failure, Request

_ABOUT_FIELDS: Final[frozenset[ErrorKind]] = frozenset({"invalid_request", "context_length", "too_large"})
_HEAD: Final = re.compile(r"(?:\* )?(?:GenerateContentRequest\.)?([a-zA-Z_]+(?:\[\d+\]|\.\w+)*): ")
_POSITION: Final = re.compile(r"\[\d*\]|\.\d+(?=\.|$)")
_SNAKE: Final = re.compile(r"_([a-z])")
_SPEAKS_LIKE: Final[Mapping[str, str]] = {"llamacpp": "openai_chat"}
_MORE_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "openai_chat": {
        "max_tokens": "max_output_tokens",
        "safety_identifier": "user",
        "thinking": "reasoning",
        "functions": "tools",
        "function_call": "tool_choice",
    },
    "openai_responses": {"instructions": "system", "safety_identifier": "user", "text.format": "output"},
    "anthropic": {"system": "system"},
    "gemini": {
        "systemInstruction": "system",
        "toolConfig": "tool_choice",
        "generationConfig.responseSchema": "output.schema",
        "generationConfig.responseMimeType": "output",
    },
}
"""Words that a renderer writes for a neutral field, beside its dialect's usual one; `system`: the system message."""


def in_clients_words(failure: Failure, request: Request, target: str) -> Failure:
    """*failure* of a server that was asked *request* in the dialect *target*, with the client's name for its param."""
    named = failure.param
    if named is None and failure.kind in _ABOUT_FIELDS and request.dialect != target:
        head = _HEAD.match(failure.message)
        named = head.group(1) if head else None
    if named is None:
        return failure
    if request.dialect == target:
        # What the client wrote, unless the target's rules have given it another name (`max_tokens`).
        neutral = _neutral(named, target)
        return replace(failure, param=request.places.get(neutral or "", named))
    param = _written(named, request, target)
    left = failure.message if named in failure.message else f"{failure.message} ({named})"
    return replace(failure, param=param, message=failure.message if param == named else left)


def _written(named: str, request: Request, target: str) -> str | None:
    """What the client wrote where *target*'s vendor read *named*; None where that is not known, or it wrote nothing."""
    for wire in _shorter(_words(named, target)):
        neutral = _neutral(wire, target)
        if neutral == "system":
            return next(_system_places(request), None)
        if neutral is not None:
            return _said(neutral, request)
    return None


def _words(named: str, target: str) -> str:
    """*named* without positions, spelled as the dialect's own clients do."""
    plain = _POSITION.sub("", named)
    return _SNAKE.sub(lambda found: found.group(1).upper(), plain) if target == "gemini" else plain


def _shorter(wire: str) -> Iterator[str]:
    """`a.b.c`, `a.b`, `a`."""
    while wire:
        yield wire
        wire = wire.rpartition(".")[0]


def _neutral(wire: str, target: str) -> str | None:
    dialect = _SPEAKS_LIKE.get(target, target)
    return _MORE_WORDS.get(dialect, {}).get(wire) or neutral_of_wire(dialect, wire)


def _said(neutral: str, request: Request) -> str | None:
    """The client's word for the field, if the client used it."""
    root = neutral.partition(".")[0]
    if getattr(request, root) in (None, ()):
        return None
    if root == "reasoning" and request.reasoning is not None and neutral != "reasoning.visible":
        if request.reasoning.effort is not None:
            neutral = "reasoning.effort"
        elif request.reasoning.budget_tokens is not None:
            neutral = "reasoning.budget_tokens"
    return field_of(request, neutral)


def _system_places(request: Request) -> Iterator[str]:
    return (
        message_place(message, position)
        for position, message in enumerate(request.messages)
        if message.role in ("system", "developer")
    )
