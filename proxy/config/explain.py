"""pydantic's errors in our own words: where, which key, what was found, what was expected.

A value that may be a secret is never shown: everything below a name of `PRIVATE`, unknown keys, and text that looks
like a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from proxy.config.errors import Problem, nearest
from proxy.config.sources import Layers, dotted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PRIVATE: Final = frozenset({"keys", "headers", "master_key", "secrets", "webhook", "webhook_secret"})
SHOWN: Final = 60
_LOOKS_SECRET = re.compile(r"(?=\S*\d)(?=\S*[A-Za-z])[A-Za-z0-9_\-+/=.]{20,}|(sk|pk|gsk|xai|hf|mp|AIza)[-_]?\S{6,}")
_USERINFO = re.compile(r"//[^/@\s]*@")
_QUERY = re.compile(r"(?<=://)([^\s?]*)\?\S*")

_KINDS: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "list_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
    "missing": "a value",
}


def explain(error: ErrorDetails, layers: Layers, schema: type[BaseModel]) -> Problem:
    """One of pydantic's errors as a Problem."""
    key, value = _locate(error["loc"], layers.tree)
    origin = layers.origin(key)
    found, wanted = _words(error, key, value, schema)
    return Problem(origin.where or origin.kind, dotted(key), found, wanted)


def shown(value: Any, key: Sequence[str | int] = ()) -> str:
    """*value* for an error message, without secrets."""
    private = any(name in PRIVATE for name in key)
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "nothing"
        case int() | float():
            return "a number" if private else str(value)
        case str() if private or _LOOKS_SECRET.fullmatch(value):
            return "text (not shown)"
        case str():
            text = _QUERY.sub(r"\1?…", without_userinfo(value))
            return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")
        case list():
            return f"a list of {len(value)}" if value else "an empty list"
        case dict():
            return "a table"
        case _:
            return type(value).__name__


def without_userinfo(text: str) -> str:
    """*text* whose addresses have no name and password."""
    return _USERINFO.sub("//…@", text)


def _locate(loc: tuple[int | str, ...], tree: Mapping[str, Any]) -> tuple[tuple[str | int, ...], Any]:
    """The key and its value. pydantic's location also names the branch of a union, which is no key."""
    node: Any = tree
    key: list[str | int] = []
    for place, step in enumerate(loc):
        if isinstance(node, dict) and step in node:
            node = node[str(step)]
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node = node[step]
        elif place == len(loc) - 1 and isinstance(node, dict):
            node = None
        else:
            continue
        key.append(step)
    return tuple(key), node


def _words(error: ErrorDetails, key: tuple[str | int, ...], value: Any, schema: type[BaseModel]) -> tuple[str, str]:
    context = error.get("ctx", {})
    found = shown(value, key)
    match error["type"]:
        case "extra_forbidden":
            names = known_keys(schema, tuple(str(step) for step in error["loc"][:-1]))
            return "an unknown key", f"one of {', '.join(names)}{nearest(str(key[-1]), names)}"
        case "choice":
            return found, f"one of {context['choices']}{nearest(str(value), context['names'])}"
        case "literal_error":
            names = re.findall(r"'([^']*)'", str(context["expected"]))
            return found, f"one of {', '.join(names)}{nearest(str(value), names)}"
        case "expected":
            return found, str(context["what"])
        case "missing":
            return "no value", _described(schema, error["loc"])
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            return found, _bound(context)
        case "too_short":
            return found, "at least one entry"
        case "string_too_short":
            return "empty text", "text that is not empty"
        case kind:
            return found, _KINDS.get(kind, error["msg"][:1].lower() + error["msg"][1:])


def _bound(context: Mapping[str, Any]) -> str:
    words = {"ge": "a number of at least", "gt": "a number above", "le": "a number of at most", "lt": "a number below"}
    limit, value = next((name, value) for name, value in context.items() if name in words)
    return f"{words[limit]} {value:g}"


def known_keys(schema: type[BaseModel], loc: tuple[str, ...]) -> list[str]:
    """The keys that may stand at *loc*, a location as pydantic gives it."""
    model = _model_at(schema, loc)
    return list(model.model_fields) if model else []


def _described(schema: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    model = _model_at(schema, tuple(str(step) for step in loc[:-1]))
    field = model.model_fields.get(str(loc[-1])) if model else None
    return f"a value ({(field.description or '').rstrip('.')})" if field else "a value"


def _model_at(schema: type[BaseModel], loc: tuple[str, ...]) -> type[BaseModel] | None:
    """The deepest section that *loc* leads through."""
    model: type[BaseModel] | None = schema
    for step in loc:
        if model and step in model.model_fields:
            found = sections(model.model_fields[step].annotation)
            model = found[0] if found else None
    return model


def sections(annotation: Any) -> list[type[BaseModel]]:
    """The models that *annotation* is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in sections(inner)]
