"""A schema in the client's own words, beside its meaning as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

SchemaField = Literal["parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"]


_GOOGLES: Final[Mapping[str, str]] = {"$ref": "ref", "$defs": "defs", "examples": "example"}


def keyword_at(place: str, keyword: str) -> str:
    """What a client who wrote a schema at *place* calls *keyword*: Google's own Schema has some words of its own."""
    googles = place.endswith(".responseSchema") or (".functionDeclarations[" in place and place.endswith(".parameters"))
    return _GOOGLES.get(keyword, keyword) if googles else keyword


class WrittenSchema(dict[str, Any]):
    """A JSON Schema that a Gemini client wrote: as *value* under the name *field*.

    It is that schema for every reader; Gemini's renderer sends *value* back as it came.
    """

    __slots__ = ("field", "value")

    def __init__(self, schema: Mapping[str, Any], field: SchemaField, value: Mapping[str, Any]) -> None:
        super().__init__(schema)
        self.field: SchemaField = field
        self.value = value
