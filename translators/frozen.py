"""The neutral form as JSON and back: how an answer lies in the cache.

Every dataclass becomes an object with its class name under `is` and the fields that differ from their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from typing import Any, Final

from translators import neutral
from translators.codec import dumps, loads

_CLASSES: Final[Mapping[str, Callable[..., Any]]] = {
    kind.__name__: kind
    for kind in (
        neutral.Response,
        neutral.Choice,
        neutral.Usage,
        neutral.TokenLogprob,
        neutral.Source,
        neutral.Text,
        neutral.Image,
        neutral.Audio,
        neutral.Document,
        neutral.Thinking,
        neutral.Refusal,
        neutral.ToolCall,
        neutral.ToolResult,
        neutral.Opaque,
    )
}


def freeze(response: neutral.Response) -> bytes:
    """*response* as JSON."""
    return dumps(_out(response))


def thaw(data: bytes) -> neutral.Response:
    """The response that `freeze` wrote.

    Raises:
        ValueError: these bytes are not a frozen response (an older version's, or damaged).
    """
    try:
        found = _in(loads(data))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a frozen response: {error!r}") from error
    if not isinstance(found, neutral.Response):
        raise ValueError("not a frozen response")  # noqa: TRY004  the bytes are wrong, not a type in our code
    return found


_NOT_IN_ANSWER: Final = frozenset(
    {"stream_options", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "store"}
)
"""Fields that change how an answer travels or what the vendor keeps, but not the answer."""


def described(request: neutral.Request) -> dict[str, Any]:
    """*request* as plain JSON, equal for requests that ask the same, whatever the dialect and way of delivery."""
    native = {
        dialect: {name: value for name, value in fields.items() if name not in _NOT_IN_ANSWER}
        for dialect, fields in request.native.items()
    }
    plain: dict[str, Any] = _out(
        replace(
            request,
            dialect="",
            stream=False,
            include_usage=False,
            native={dialect: fields for dialect, fields in native.items() if fields},
        )
    )
    return plain


def _out(value: Any) -> Any:
    kind: Any = type(value)
    if (members := _members(kind)) is not None:
        found: dict[str, Any] = {"is": kind.__name__}
        for name, default in members:
            member = getattr(value, name)
            if member is not default and member != default:
                found[name] = _out(member)
        return found
    if isinstance(value, tuple):
        return [_out(item) for item in value]
    return value


@cache
def _members(kind: type) -> tuple[tuple[str, Any], ...] | None:
    """The fields of a dataclass that say something, with their defaults; None of any other *kind*."""
    if not is_dataclass(kind):
        return None
    return tuple(
        (slot.name, slot.default_factory() if slot.default_factory is not MISSING else slot.default)
        for slot in fields(kind)
        if slot.compare  # not where the client wrote it
    )


def _in(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_in(item) for item in value)
    if isinstance(value, dict) and (kind := _CLASSES.get(value.get("is", ""))):
        raw = {"native", "raw", "value", "annotations"}
        return kind(
            **{
                name: (tuple(member) if name == "annotations" else member) if name in raw else _in(member)
                for name, member in value.items()
                if name != "is"
            }
        )
    return value
