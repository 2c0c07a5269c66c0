"""Quirks: fields of `translators.dialect.Rules` as a table of the configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError


class BadQuirk(Exception):
    """A quirk has the wrong kind of value. The message says what kind is right."""


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
        raise BadQuirk(error.errors(include_url=False, include_input=False)[0]["msg"].lower()) from error


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_hints()[name])


@cache
def _hints() -> dict[str, Any]:
    from translators.dialect import Rules  # here, so that `modelport status` starts without the translators

    return get_type_hints(Rules)
