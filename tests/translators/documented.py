"""Requests out of an SDK's own type definitions: for each field one request in which it has a value that can be found.

A *leaf* is a field whose value is text, a number, a flag, one of a few words, or free JSON. `leaves` walks TypedDicts
and pydantic models through lists, unions and nested objects; every object on the way has its required fields only.
"""

from __future__ import annotations

import datetime as dt
import enum
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import pydantic
import typing_extensions
from typing_extensions import is_typeddict

MARK: Final = "m4rk7f3a"
NUMBER: Final = 4217
FRACTION: Final = 0.3719
DATA: Final = "bTRyazdmM2E="
"""MARK in base64."""
MAX_DEPTH: Final = 12

Kind = Literal["text", "number", "choice"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value of one field. *make* gives the whole object with another value, or without the field for ABSENT."""

    place: str
    kind: Kind
    value: Any
    make: Callable[[Any], Any]
    small: Any
    """What a required field has when it is not the one looked at; ABSENT for a field that may be left out."""


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Walk:
    """How types become values. *given* has the values that fields must have, by the end of their place."""

    given: Mapping[str, Any]
    minimal: Mapping[str, Any]
    """The same for required fields that are not the one looked at."""
    skipped: Collection[str] = ()
    kinds: Mapping[str, Any] = field(default_factory=dict)
    """Types of fields that the SDK declares too loosely."""

    def leaves(self, kind: Any, place: str = "", seen: tuple[Any, ...] = ()) -> Iterator[Leaf]:
        """Every leaf below *kind*."""
        if len(seen) > MAX_DEPTH:
            return
        if is_object(kind):
            if kind not in seen:
                yield from self._object(kind, place, seen)
            return
        if (value := _ending(self.given, place)) is not None:
            values = value if isinstance(value, tuple) else (value,)
            yield from (Leaf(place, _kind_of(one), one, _identity, ABSENT) for one in values)
            return
        for alternative in alternatives(kind):
            item = item_of(alternative)
            if is_object(alternative):
                if alternative not in seen:
                    yield from self._object(alternative, place, seen)
            elif item is not None:
                for leaf in self.leaves(item, f"{place}[0]", seen):
                    yield _wrapped(leaf, _listed)
            else:
                yield from _scalar(alternative, place)

    def _object(self, kind: Any, place: str, seen: tuple[Any, ...]) -> Iterator[Leaf]:
        base = self.small_object(kind, place, seen)
        for name, (annotation, required) in fields_of(kind).items():
            inner = f"{place}.{name}" if place else name
            if _matches(self.skipped, inner) or (required and _is_one_word(annotation)):
                continue
            annotation = _ending(self.kinds, inner) or annotation  # noqa: PLW2901  the SDK's own says less
            for leaf in self.leaves(annotation, inner, (*seen, kind)):
                outer = _wrapped(leaf, _put_into(base, name))
                if leaf.place == inner:
                    outer = replace(outer, small=base[name] if required else ABSENT)
                yield outer

    def small_object(self, kind: Any, place: str, seen: tuple[Any, ...] = ()) -> dict[str, Any]:
        """An object with its required fields only."""
        small: dict[str, Any] = {}
        for name, (annotation, required) in fields_of(kind).items():
            inner = f"{place}.{name}" if place else name
            given = _ending(self.minimal, inner)
            if given is not None:
                small[name] = given
            elif required:
                small[name] = self.small(_ending(self.kinds, inner) or annotation, inner, (*seen, kind))
        return {name: value for name, value in small.items() if value is not ABSENT}

    def small(self, kind: Any, place: str, seen: tuple[Any, ...] = ()) -> Any:
        """The least value of *kind*."""
        if (given := _ending(self.minimal, place)) is not None:
            return given
        if (given := _ending(self.given, place)) is not None:
            return given[0] if isinstance(given, tuple) else given
        for alternative in alternatives(kind):
            if is_object(alternative):
                if alternative not in seen:
                    return self.small_object(alternative, place, seen)
                continue
            if (item := item_of(alternative)) is not None:
                least = self.small(item, f"{place}[0]", seen)
                return [] if least is ABSENT else [least]
            for leaf in _scalar(alternative, place):
                return {MARK: "x", NUMBER: 1, FRACTION: 1}.get(leaf.value, leaf.value) if _plain(leaf) else leaf.value
        return ABSENT


def _plain(leaf: Leaf) -> bool:
    return isinstance(leaf.value, str | int | float) and not isinstance(leaf.value, bool)


def _identity(value: Any) -> Any:
    return value


def _listed(value: Any) -> Any:
    return [] if value is ABSENT else [value]


def _put_into(base: Mapping[str, Any], name: str) -> Callable[[Any], Any]:
    def put(value: Any) -> dict[str, Any]:
        rest = {key: old for key, old in base.items() if key != name}
        return rest if value is ABSENT else {**rest, name: value}

    return put


def _wrapped(leaf: Leaf, outside: Callable[[Any], Any]) -> Leaf:
    inside = leaf.make
    return Leaf(leaf.place, leaf.kind, leaf.value, lambda value: outside(inside(value)), leaf.small)


def _is_one_word(kind: Any) -> bool:
    """Whether *kind* only says what kind of object it stands in (`type: "text"`)."""
    return get_origin(kind) is Literal and len(get_args(kind)) == 1


def _scalar(kind: Any, place: str) -> Iterator[Leaf]:
    def leaf(shape: Kind, value: Any) -> Leaf:
        return Leaf(place, shape, value, _identity, ABSENT)

    if get_origin(kind) is Literal:
        yield from (leaf("choice", value) for value in get_args(kind))
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        yield from (leaf("choice", member.value) for member in kind if "UNSPECIFIED" not in str(member.value))
    elif kind is bool:
        yield from (leaf("choice", value) for value in (True, False))
    elif kind is int:
        yield leaf("number", NUMBER)
    elif kind is float:
        yield leaf("number", FRACTION)
    elif kind is bytes:
        yield leaf("text", MARK.encode())
    elif kind is dt.datetime:
        yield leaf("text", dt.datetime(2031, 4, 5, 6, 7, 8, tzinfo=dt.UTC))
    elif kind in (str, object, Any):
        yield leaf("text", MARK)
    elif get_origin(kind) in (dict, Mapping, types.MappingProxyType) or kind is dict:
        inner = get_args(kind)[1] if get_args(kind) else str
        numeric = inner in (int, float)
        yield leaf("text", {MARK: NUMBER if numeric else MARK})


def _kind_of(value: Any) -> Kind:
    if isinstance(value, bool):
        return "choice"
    return "number" if isinstance(value, int | float) else "text"


def _ending(table: Mapping[str, Any], place: str) -> Any:
    """The entry of *table* whose name is the longest end of *place*."""
    plain = place.replace("[0]", "")
    parts = plain.split(".")
    for start in range(len(parts)):
        if (value := table.get(".".join(parts[start:]))) is not None:
            return value
    return None


def _matches(names: Collection[str], place: str) -> bool:
    plain = place.replace("[0]", "")
    return any(plain == name or plain.endswith("." + name) for name in names)


# --- types ---------------------------------------------------------------------------------------


def is_object(kind: Any) -> bool:
    """Whether *kind* has named fields."""
    return is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, pydantic.BaseModel))


@cache
def fields_of(kind: Any) -> Mapping[str, tuple[Any, bool]]:
    """Name to (annotation, whether it is required)."""
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        return {name: (field.annotation, field.is_required()) for name, field in kind.model_fields.items()}
    found: dict[str, tuple[Any, bool]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        bare, required = hint, name in kind.__required_keys__
        while get_origin(bare) in (typing_extensions.Required, typing_extensions.NotRequired, Annotated):
            if get_origin(bare) is not Annotated:
                required = get_origin(bare) is typing_extensions.Required
            bare = get_args(bare)[0]
        found[name] = (bare, required)
    return found


def alternatives(kind: Any) -> Iterator[Any]:
    """The members of a union, without None."""
    if get_origin(kind) is Annotated:
        yield from alternatives(get_args(kind)[0])
    elif get_origin(kind) in (Union, types.UnionType):
        for member in get_args(kind):
            yield from alternatives(member)
    elif isinstance(kind, typing_extensions.TypeAliasType):
        yield from alternatives(kind.__value__)
    elif kind is not type(None):
        yield kind


def item_of(kind: Any) -> Any:
    """What a list-like *kind* holds, else None."""
    origin = get_origin(kind)
    arguments = get_args(kind)
    if len(arguments) == 1 and isinstance(origin, type) and issubclass(origin, Iterable) and origin is not Literal:
        return arguments[0]
    return str if getattr(kind, "__name__", "") == "SequenceNotStr" else _protocol_item(kind)


def _protocol_item(kind: Any) -> Any:
    origin = get_origin(kind)
    return get_args(kind)[0] if getattr(origin, "__name__", "") == "SequenceNotStr" else None


# --- differences ---------------------------------------------------------------------------------


def changes(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """(place, new value) of whatever *new* says otherwise than *old*, as deep as it can be told."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            inner = f"{place}.{name}" if place else name
            yield from changes(old.get(name, ABSENT), new.get(name, ABSENT), inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from changes(before, after, f"{place}[{position}]")
    elif old is ABSENT and isinstance(new, dict) and new:
        for name, value in new.items():
            yield from changes(ABSENT, value, f"{place}.{name}")
    elif old is ABSENT and isinstance(new, list) and new:
        for position, value in enumerate(new):
            yield from changes(ABSENT, value, f"{place}[{position}]")
    elif old is not new and (type(old) is not type(new) or old != new):
        yield place, new
