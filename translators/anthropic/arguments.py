"""A tool call's arguments, on their way as the text of the object that Anthropic wants for `input`."""

from __future__ import annotations

import re
from typing import Final

from translators.arguments import object_of
from translators.codec import JsonError, dumps_text

_CONTROL: Final = re.compile(r"[\x00-\x1f]")


class LiveArguments:
    """`object_of` for arguments that come in pieces: what may go out at once, and what only their end decides.

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
