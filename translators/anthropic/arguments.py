"""A tool call's arguments, JSON text, as the object that Anthropic wants for `input`.

Text that a model left unfinished (cut by a token limit, raw line breaks in strings) is repaired in one fixed way:
control characters are escaped, an open string and open brackets are closed, a member without a value is left out.
"""

from __future__ import annotations

import re
from typing import Any, Final

from translators.codec import JsonError, dumps_text, loads, loads_exact, type_name

_CLOSERS: Final = {"{": "}", "[": "]"}
_CONTROL: Final = re.compile(r"[\x00-\x1f]")


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
        value, repaired = _first_readable(_repairs(text), error), True
    if isinstance(value, str):
        # Some clients encode their arguments twice.
        value, repaired = loads(value), True
    if value is None:
        return {}, repaired
    if not isinstance(value, dict):
        raise JsonError(f"expected a JSON object, found {type_name(value)}")
    return value, repaired


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
    stack: list[str] = []
    complete: tuple[int, tuple[str, ...]] | None = None
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
            complete = len(out), tuple(stack)
        out.append(character)
        if character == '"':
            in_string = True
        elif character in _CLOSERS:
            stack.append(_CLOSERS[character])
            complete = len(out), tuple(stack)
        elif stack and character == stack[-1]:
            stack.pop()
    if escaped:
        out.pop()
    repairs = ["".join(out) + ('"' if in_string else "") + "".join(reversed(stack))]
    if complete is not None and (stack or in_string):
        end, open_brackets = complete
        repairs.append("".join(out[:end]) + "".join(reversed(open_brackets)))
    return repairs


class LiveArguments:
    """The same for arguments that come in pieces: what may go out at once, and what only their end decides.

    Text that begins with a brace goes out as it comes, with control characters in strings escaped; cut text stays cut,
    as Anthropic leaves it. Anything else (`null`, an object encoded twice, free text) waits for `close`.
    """

    def __init__(self, *, free_text: bool = False) -> None:
        self._free_text = free_text
        self._held: list[str] = []
        self._live = False
        self._undecided = not free_text
        self._in_string = self._escaped = False
        self._unscanned: list[str] = []

    def feed(self, text: str) -> str:
        """What of the arguments so far can be told after *text*; may be empty."""
        if not self._live:
            self._held.append(text)
            if not self._undecided or not (begun := "".join(self._held).lstrip()):
                return ""
            self._undecided = False
            if not begun.startswith("{"):
                return ""
            self._live, text = True, begun
        if _CONTROL.search(text) is None:
            self._unscanned.append(text)
            return text
        # Only now it matters whether a string is open here.
        for piece in self._unscanned:
            self._legal(piece)
        self._unscanned.clear()
        return self._legal(text)

    def close(self) -> str:
        """The rest."""
        text = "".join(self._held)
        if self._live:
            return ""
        if self._free_text:
            return dumps_text({"input": text})
        try:
            value, _ = object_of(text)
        except JsonError:
            return ""
        return dumps_text(value) if value else ""

    def _legal(self, text: str) -> str:
        """*text* with the control characters of its strings escaped; those between values are blanks."""
        out: list[str] = []
        for character in text:
            if self._in_string:
                out.append(dumps_text(character)[1:-1] if character < " " else character)
                self._in_string = self._escaped or character != '"'
                self._escaped = character == "\\" and not self._escaped
            else:
                out.append(character)
                self._in_string = character == '"'
        return "".join(out)
