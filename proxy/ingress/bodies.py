"""Bodies of administrative requests: JSON objects, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from proxy.config.explain import shown
from proxy.errors import Refused, refused
from proxy.server import Incoming, read_body
from proxy.spelling import check_repeated
from translators.codec import JsonError, loads_object

M = TypeVar("M", bound=BaseModel)

MAX_BODY: Final = 256 * 1024
_WORDS: Final[Mapping[object, str]] = {"str": "a text", "int": "a whole number", "float": "a number", "bool": "a flag"}
"""How pydantic calls the kinds that a field may be."""


async def read_model(incoming: Incoming, model: type[M], *, tell_values: bool = False) -> M:
    """The body as *model* has it; an empty body is an empty object.

    *tell_values*: no field of it is a secret, so that an error may say what was found.

    Raises:
        Refused: 400 that names the first field that is wrong, and what would be right.
    """
    raw = await read_body(incoming.http, MAX_BODY)
    try:
        body = loads_object(raw) if raw.strip() else {}
    except JsonError as error:
        raise refused(400, f"the body: {error}", code="invalid_json") from error
    if body:
        check_repeated(raw, body)
    return checked(body, model, tell_values=tell_values)


def checked(body: dict[str, Any], model: type[M], *, tell_values: bool = False) -> M:
    """*body* as *model* has it. Raises Refused as `read_model` does."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = sorted(error.errors(include_url=False, include_input=tell_values), key=_is_missing)
        raise _wrong(found[0], model, _kinds_wanted(found)) from error


def _is_missing(error: Any) -> bool:
    """Such an error comes last: a misspelt name explains it."""
    return bool(error["type"] == "missing")


def _kinds_wanted(errors: Sequence[Any]) -> list[str]:
    """What the first field that is wrong may be, where that are several kinds; pydantic tells an error of each."""
    place = errors[0]["loc"][:-1]
    last = [each["loc"][-1] for each in errors if each["loc"][:-1] == place]
    if len(last) < 2 or not all(kind in _WORDS for kind in last):
        return []
    return [_WORDS[kind] for kind in last if (kind, "float" in last) != ("int", True)]


def _wrong(error: Any, model: type[BaseModel], kinds: Sequence[str]) -> Refused:
    place = ".".join(str(part) for part in (error["loc"][:-1] if kinds else error["loc"]) if "[" not in str(part))
    told = f"expected {' or '.join(kinds)}" if kinds else error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        names = ", ".join(_fields(model, error["loc"][:-1]))
        told = f"unknown; there are {names}" if names else "unknown"
    elif error["type"] == "missing":
        told = "missing"
    elif "input" in error:
        told = f"{told}; found {shown(error['input'])}"
    return refused(400, f"{place}: {told}"[:1000], param=place[:200], code="invalid_parameter")


def _fields(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The names that there are in the object at *path* of *model*."""
    for step in path:
        field = model.model_fields.get(str(step))
        inner = [kind for kind in _kinds(field.annotation) if issubclass(kind, BaseModel)] if field else []
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _kinds(annotation: Any) -> list[type]:
    """The classes that *annotation* is made of."""
    if isinstance(annotation, type):
        return [annotation]
    return [kind for each in getattr(annotation, "__args__", ()) for kind in _kinds(each)]
