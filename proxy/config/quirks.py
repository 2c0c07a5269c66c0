"""Quirks: fields of `translators.dialect.Rules` as a table of the configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_type_hints

from pydantic import AfterValidator, TypeAdapter, ValidationError

from proxy.config.model import expected

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Modality = Literal["text", "image", "audio", "document", "video"]
EarlierAnswer = Literal["reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "extra_content"]

_NEARLY: Final = 0.88
"""How alike a name has to be to a known one to be taken for its misspelling (difflib's ratio)."""


class BadQuirk(Exception):
    """A quirk has the wrong kind of value. *errors* are pydantic's, their places counted from the value."""

    def __init__(self, errors: list[ErrorDetails]) -> None:
        super().__init__(errors[0]["msg"])
        self.errors = errors


@cache
def names() -> tuple[str, ...]:
    """What may stand in `quirks`. The dialect has its own key."""
    return tuple(name for name in _hints() if name != "dialect")


def quirks(table: Mapping[str, Any]) -> dict[str, Any]:
    """*table* with the types that Rules has: lists become tuples or sets. Raises BadQuirk."""
    return {name: quirk(name, value) for name, value in table.items()}


def quirk(name: str, value: Any) -> Any:
    """One value with the type that Rules has. Raises BadQuirk."""
    try:
        return _adapter(name).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        raise BadQuirk(error.errors(include_url=False)) from error


def _refusable(name: str) -> str:
    """*name*, which may be a server's own word, unless it is a misspelling of one of ours."""
    from translators.neutral import Request  # as below

    known = [item.name for item in fields(Request)]
    written = name.replace("-", "_")
    if name not in known and (near := get_close_matches(written, known, n=1, cutoff=_NEARLY)):
        raise expected(f"a field of the request, such as {near[0]}")
    return name


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_hints()[name])


@cache
def _hints() -> dict[str, Any]:
    from translators.dialect import Rules  # here, so that `modelport status` starts without the translators

    refusals = frozenset[Annotated[str, AfterValidator(_refusable)]]
    return {
        **get_type_hints(Rules),
        "refuses": refusals,
        "refuses_while_thinking": refusals,
        "modalities": frozenset[Modality],
        "takes_back": frozenset[EarlierAnswer],
    }
