"""A schema in the client's own words, beside its meaning as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

SchemaField = Literal["parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"]


class WrittenSchema(dict[str, Any]):
    """A JSON Schema that a Gemini client wrote: as *value* under the name *field*.

    It is that schema for every reader; Gemini's renderer sends *value* back as it came.
    """

    __slots__ = ("field", "value")

    def __init__(self, schema: Mapping[str, Any], field: SchemaField, value: Mapping[str, Any]) -> None:
        super().__init__(schema)
        self.field: SchemaField = field
        self.value = value
