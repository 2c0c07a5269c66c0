"""Typed reading of a client's JSON: a wrong type becomes an error that names its place.

fields = Fields(body)
fields.number("temperature", low=0, high=2)     # BadRequest: temperature: expected a number ...
for message in fields.objects("messages"):
    message.text("role")                        # BadRequest: messages[3].role: ...
fields.rest()                                   # what nobody asked for: unknown fields, in their order
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from translators.codec import type_name
from translators.errors import BadRequest

PROXY_FIELDS: Final = ("modelport", "models")
"""Body fields that speak to the proxy and never go upstream."""


WIDEST: Final = 2**63
"""JSON's readers and writers take no whole number that is wider."""


class Fields:
    """A JSON object that remembers where it stands and which of its keys were read. `null` counts as absent."""

    __slots__ = ("_read", "place", "value")

    def __init__(self, value: Mapping[str, Any], place: str = "") -> None:
        self.value = value
        self.place = place
        self._read: set[str] = set()

    def at(self, key: str) -> str:
        """The full place of *key*: `messages[2].content`."""
        return f"{self.place}.{key}" if self.place else key

    def get(self, key: str) -> Any:
        """The raw value, None when absent."""
        self._read.add(key)
        return self.value.get(key)

    def wrong(self, key: str, expected: str) -> BadRequest:
        """The error that says what stands at *key* and what should."""
        place = self.at(key)
        found = self.value.get(key)
        shown = repr(found)[:60] if isinstance(found, str | int | float | bool) else type_name(found)
        if key not in self.value:
            return BadRequest(f"{place}: missing; expected {expected}", place, "missing_required_parameter")
        return BadRequest(f"{place}: expected {expected}, found {shown}", place, "invalid_type")

    def text(self, key: str) -> str | None:
        """A string."""
        self._read.add(key)
        value = self.value.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self.wrong(key, "a string")

    def needed_text(self, key: str) -> str:
        """A string that must be there."""
        self._read.add(key)
        value = self.value.get(key)
        if isinstance(value, str):
            return value
        raise self.wrong(key, "a string")

    def choice(self, key: str, allowed: Iterable[str]) -> str | None:
        """A string out of *allowed*."""
        value = self.text(key)
        if value is None or value in (allowed := tuple(allowed)):
            return value
        raise self.wrong(key, "one of " + ", ".join(allowed))

    def number(self, key: str, low: float | None = None, high: float | None = None) -> float | None:
        """A number within [low, high]."""
        self._read.add(key)
        value = self.value.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "a number")
        if (low is not None and value < low) or (high is not None and value > high):
            raise self.wrong(
                key, f"a number from {low} to {high}" if high is not None else f"a number of at least {low}"
            )
        return value

    def integer(self, key: str, low: int | None = None, high: int | None = None) -> int | None:
        """A whole number within [low, high]; `3.0` counts as 3."""
        value = self.number(key)
        if value is None:
            return None
        if value != int(value) or abs(value) >= WIDEST:
            raise self.wrong(key, "a whole number" if abs(value) < WIDEST else "a whole number below 2^63")
        if (low is not None and value < low) or (high is not None and value > high):
            raise self.wrong(
                key, f"a whole number from {low} to {high}" if high is not None else f"a whole number of at least {low}"
            )
        return int(value)

    def flag(self, key: str) -> bool | None:
        """A boolean."""
        self._read.add(key)
        value = self.value.get(key)
        if value is None or isinstance(value, bool):
            return value
        raise self.wrong(key, "a boolean")

    def mapping(self, key: str) -> dict[str, Any] | None:
        """A JSON object, as it is."""
        self._read.add(key)
        value = self.value.get(key)
        if value is None or isinstance(value, dict):
            return value
        raise self.wrong(key, "an object")

    def object(self, key: str) -> Fields | None:
        """A JSON object, to be read further."""
        value = self.mapping(key)
        return Fields(value, self.at(key)) if value is not None else None

    def items(self, key: str) -> list[Any] | None:
        """A JSON array, as it is."""
        value = self.get(key)
        if value is None or isinstance(value, list):
            return value
        raise self.wrong(key, "an array")

    def objects(self, key: str) -> list[Fields]:
        """An array of objects, to be read further; empty when absent."""
        here = self.at(key)
        return [Fields(item, f"{here}[{position}]") for position, item in enumerate(self.dicts(key))]

    def dicts(self, key: str) -> list[dict[str, Any]]:
        """An array of objects, as they are; empty when absent."""
        values = self.items(key) or []
        for position, item in enumerate(values):
            if not isinstance(item, dict):
                place = f"{self.at(key)}[{position}]"
                raise BadRequest(f"{place}: expected an object, found {type_name(item)}", place, "invalid_type")
        return values

    def texts(self, key: str) -> list[str] | None:
        """An array of strings."""
        values = self.items(key)
        for position, item in enumerate(values or ()):
            if not isinstance(item, str):
                place = f"{self.at(key)}[{position}]"
                raise BadRequest(f"{place}: expected a string, found {type_name(item)}", place, "invalid_type")
        return values

    def rest(self) -> dict[str, Any]:
        """The fields that were never read and are not null, in their order."""
        if self._read.issuperset(self.value):
            return {}
        return {key: value for key, value in self.value.items() if key not in self._read and value is not None}
