"""What the document says of one operation. Summary and text are the handler's docstring where nothing is said here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

Schema = type[BaseModel] | Mapping[str, Any]
"""A model, or a JSON Schema as it is."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the query string."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True)
class Media:
    """An answer. Several media types of one status are several of them."""

    schema: Schema
    type: str = "application/json"
    description: str = ""
    example: Any = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. *path* is its template, where it is not the row's; a row that ends in `{}` may have several.

    *answers* are by status; the envelope of errors is added to all of them. *methods* are those of a row with `*`.
    """

    tag: str
    answers: Mapping[int, Media | tuple[Media, ...]]
    path: str = ""
    body: Schema | None = None
    body_type: str = "application/json"
    body_required: bool = True
    example: Any = None
    query: tuple[Parameter, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What the placeholders of *path* stand for."""
    summary: str = ""
    description: str = ""
    methods: tuple[str, ...] = ()


Row = tuple[str, str]
"""Method and path of a row of the table of routes."""
Operations = Mapping[Row, tuple[Operation, ...]]

ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object", "additionalProperties": True}
EVENTS: Final = "text/event-stream"


def ok(schema: Schema, description: str = "", *, example: Any = None, status: int = 200) -> Mapping[int, Media]:
    """The answers of an operation that gives one JSON object."""
    return {status: Media(schema, description=description, example=example)}
