"""A tool call's arguments, JSON text, as the object that many dialects want in its place.

Text that a model left unfinished (cut by a token limit, raw line breaks in strings) is repaired in one fixed way:
control characters are escaped, an open string and open brackets are closed, a member without a value is left out.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from translators.codec import JsonError, dumps_text, loads, loads_exact, type_name

REPAIRED: Final = "not a JSON object as sent; it was repaired"
"""Why a loss is told of arguments that had to be."""
MOST_REPAIRED: Final = 1_000_000
"""Characters. Longer ones are no model's, and every character is looked at."""
_CLOSERS: Final = {"{": "}", "[": "]"}


class _Open(NamedTuple):
    """A bracket that is open, as what would close it."""

    closer: str
    around: _Open | None


def object_of(text: str) -> tuple[dict[str, Any], bool]:
    """(the object that *text* means, whether it had to be repaired). Empty text and `null` mean `{}`.

    Raises:
        JsonError: no repair makes an object of it.
    """
    if not text.strip():
        return {}, False
    try:
        value, repaired = loads_exact(text), False
    except JsonError as error:
        if len(text) > MOST_REPAIRED:
            raise
        value, repaired = _first_readable(_repairs(text), error), True
    if isinstance(value, str):
        # Some clients encode their arguments twice.
        value, repaired = loads(value), True
    if value is None:
        return {}, repaired
    if not isinstance(value, dict):
        raise JsonError(f"expected a JSON object, found {type_name(value)}")
    return value, repaired


def is_object(text: str) -> bool:
    """Whether *text* is a JSON object as it stands; nothing counts as an empty one."""
    try:
        return not text.strip() or isinstance(loads(text), dict)
    except JsonError:
        return False


def _first_readable(candidates: list[str], error: JsonError) -> Any:
    for candidate in candidates:
        try:
            return loads(candidate)
        except JsonError:
            continue
    raise error


def _repairs(text: str) -> list[str]:
    """*text* closed where it ends and, if it was cut, closed after its last complete member."""
    out: list[str] = []
    innermost: _Open | None = None
    complete: tuple[int, _Open | None] | None = None
    in_string = escaped = False
    for character in text:
        if in_string:
            if character < " ":
                out.append(dumps_text(character)[1:-1])
            else:
                out.append(character)
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
            continue
        if character == ",":
            complete = len(out), innermost
        out.append(character)
        if character == '"':
            in_string = True
        elif character in _CLOSERS:
            innermost = _Open(_CLOSERS[character], innermost)
            complete = len(out), innermost
        elif innermost is not None and character == innermost.closer:
            innermost = innermost.around
    if escaped:
        out.pop()
    repairs = ["".join(out) + ('"' if in_string else "") + _closing(innermost)]
    if complete is not None and (innermost or in_string):
        end, then_open = complete
        repairs.append("".join(out[:end]) + _closing(then_open))
    return repairs


def _closing(innermost: _Open | None) -> str:
    """What closes *innermost* and all around it."""
    closers = []
    while innermost is not None:
        closers.append(innermost.closer)
        innermost = innermost.around
    return "".join(closers)
