"""A client's JSON objects, read with Google's names: camelCase and snake_case alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.codec import type_name
from translators.errors import BadRequest
from translators.fields import Fields
from translators.gemini.schema import camel
from translators.neutral import Native

DIALECT: Final = "gemini"


def fields_of(value: Mapping[str, Any], place: str = "") -> Fields:
    """The object *value*, which stands at *place*, with all names in camelCase."""
    if "_" in "".join(value):
        value = {camel(key): item for key, item in value.items()}
    return Fields(value, place)


def object_at(fields: Fields, key: str) -> Fields | None:
    """The object under *key*."""
    value = fields.mapping(key)
    return None if value is None else fields_of(value, fields.at(key))


def objects_at(fields: Fields, key: str) -> list[Fields]:
    """An array of objects; a lone object counts as an array of one, as it does for Google."""
    return [fields_of(item, place) for item, place in raw_objects_at(fields, key)]


def raw_objects_at(fields: Fields, key: str) -> list[tuple[dict[str, Any], str]]:
    """The same as they came, each with its place."""
    value = fields.get(key)
    if value is None:
        return []
    here = fields.at(key)
    if isinstance(value, dict):
        return [(value, f"{here}[0]")]
    if not isinstance(value, list):
        raise fields.wrong(key, "an array")
    found: list[tuple[dict[str, Any], str]] = []
    for position, item in enumerate(value):
        place = f"{here}[{position}]"
        if not isinstance(item, dict):
            raise BadRequest(f"{place}: expected an object, found {type_name(item)}", place, "invalid_type")
        found.append((item, place))
    return found


def kept(own: Mapping[str, Any]) -> Native:
    """What only Gemini reads, as native fields."""
    return {DIALECT: own} if own else {}
