"""What a JSON schema says about one field: may it be null, is it an enumeration, which values are ruled out.

Fields are named as in `align` (`items[].name`). References are followed inside the schema (`#/$defs/...`); of `anyOf`,
`oneOf` and `allOf` every branch counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from routing.consensus.answers import ABSENT, Json, Mark

STEP = re.compile(r"\[\]|[^.\[]+")
DEEPEST: Final = 16
TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}
SHAPES: Final[Mapping[Mark, str]] = {Mark.OBJECT: "object", Mark.LIST: "array"}


@dataclass(frozen=True, slots=True)
class Schema:
    """A client's schema, None where it has none."""

    schema: Mapping[str, Any] | None

    def allows_null(self, name: str) -> bool:
        """Whether the schema says that the field may be null; without a word about the field it may not."""
        return any(
            part.get("type") == "null"
            or (isinstance(part.get("type"), list) and "null" in part["type"])
            or part.get("nullable") is True
            or (isinstance(part.get("enum"), list) and None in part["enum"])
            or ("const" in part and part["const"] is None)
            for part in self._at(name)
        )

    def is_enumeration(self, name: str) -> bool:
        """Whether only listed values are allowed there, so that a similar one is another one."""
        return any("enum" in part or "const" in part for part in self._at(name))

    def rules_out(self, name: str, value: Json | Mark) -> bool:
        """Whether no whole that has *value* there can hold: of another type, not listed, or required and left out.

        False where that is not certain.
        """
        if self.schema is None:
            return False
        if value is ABSENT:
            return self._is_required(name)
        if value is None and self.allows_null(name):
            return False
        parts = self._at(name)
        types = [part["type"] for part in parts if "type" in part]
        if types and not any(_is_of(value, said) for said in types):
            return True
        listed = [part["enum"] for part in parts if isinstance(part.get("enum"), list)]
        listed += [[part["const"]] for part in parts if "const" in part]
        if listed and not isinstance(value, Mark) and not any(value in choices for choices in listed):
            return True
        return isinstance(value, list) and any(self.rules_out(f"{name}[]", item) for item in value)

    def _is_required(self, name: str) -> bool:
        """Whether every branch that knows the member wants it."""
        *above, last = STEP.findall(name) or [""]
        knowing = [part for part in self._at(".".join(above)) if last in (part.get("properties") or ())]
        return bool(knowing) and all(last in (part.get("required") or ()) for part in knowing)

    def _at(self, name: str) -> list[Mapping[str, Any]]:
        if self.schema is None:
            return []
        found = list(self._branches(self.schema, 0))
        for step in STEP.findall(name):
            below = (_below(part, step) for part in found)
            found = [branch for part in below if part is not None for branch in self._branches(part, 0)]
        return found

    def _branches(self, part: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
        if depth > DEEPEST:
            return
        yield part
        reference = part.get("$ref")
        if isinstance(reference, str) and (target := self._referred(reference)) is not None:
            yield from self._branches(target, depth + 1)
        for word in ("anyOf", "oneOf", "allOf"):
            branches = part.get(word)
            for branch in branches if isinstance(branches, list) else ():
                if isinstance(branch, Mapping):
                    yield from self._branches(branch, depth + 1)

    def _referred(self, reference: str) -> Mapping[str, Any] | None:
        if not reference.startswith("#"):
            return None
        found: Any = self.schema
        for step in reference[1:].split("/")[1:]:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else None


def _below(part: Mapping[str, Any], step: str) -> Mapping[str, Any] | None:
    if step == "[]":
        items = part.get("items")
        return items if isinstance(items, Mapping) else None
    members = part.get("properties")
    member = members.get(step) if isinstance(members, Mapping) else None
    return member if isinstance(member, Mapping) else None


def _is_of(value: Json | Mark, said: object) -> bool:
    """Whether *value* is of the type, or of one of the types, that a schema names."""
    names = said if isinstance(said, list) else [said]
    if isinstance(value, Mark):
        return any(name not in TYPES or SHAPES.get(value, name) == name for name in names)
    return any(_is(value, name) for name in names)


def _is(value: Json, name: object) -> bool:
    if not isinstance(name, str) or name not in TYPES:
        return True
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[name])
