"""Regular expressions as llama-cpp-python's grammar converter can take them.

The converter (llama_cpp/llama_grammar.py, 0.3.36) copies what it does not know into the grammar: `\\d` and `\\w` become
escapes that llama.cpp cannot read, `a|b` leaves the quotes of the JSON string, and `.` matches a quote. So a pattern is
written anew, with classes in which neither quote nor backslash can occur; what has no such form is given up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_REPEAT: Final = 100
"""Repetitions are written out in the grammar."""

_SHORT: Final = {"d": "0-9", "w": "A-Za-z0-9_", "s": " "}
_ANY: Final = r'[^"\\\x00-\x1F\x7F]'
_REPEAT: Final = re.compile(r"\{(\d+)(,?)(\d*)\}")
_PLAIN_IN_CLASS: Final = re.compile(r"[^\\\]\[^\"\x00-\x1f]")


class _NoForm(Exception):
    """A piece of the pattern that a grammar cannot say."""


def grammar_pattern(pattern: str) -> str | None:
    """*pattern* as the converter takes it; None when it has no form there.

    Only patterns of the whole text are taken: `^...$`.
    """
    if not (pattern.startswith("^") and pattern.endswith("$")) or pattern.endswith("\\$"):
        return None
    writer = _Writer(pattern[1:-1])
    try:
        written = writer.alternatives()
    except (_NoForm, IndexError):
        return None
    if writer.at < len(writer.text):
        return None
    return f"^({written})$" if "|" in written else f"^{written}$"


@dataclass(slots=True)
class _Writer:
    text: str
    at: int = 0

    def alternatives(self) -> str:
        """`a|b|c`, up to the end or a closing bracket."""
        branches = [self._sequence()]
        while self._next("|"):
            branches.append(self._sequence())
        if len(branches) > 1 and not all(branches):
            raise _NoForm
        return "|".join(branches)

    def _next(self, mark: str) -> bool:
        if self.text.startswith(mark, self.at):
            self.at += len(mark)
            return True
        return False

    def _sequence(self) -> str:
        pieces: list[str] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            pieces.append(self._atom() + self._quantifier())
        return "".join(pieces)

    def _atom(self) -> str:
        mark = self.text[self.at]
        self.at += 1
        match mark:
            case "(":
                if not self._next("?:") and self.text.startswith("?", self.at):
                    raise _NoForm
                inner = self.alternatives()
                if not inner or not self._next(")"):
                    raise _NoForm
                return f"({inner})"
            case "[":
                return self._class()
            case ".":
                return _ANY
            case "\\":
                return self._escaped()
            case "^" | "$" | "*" | "+" | "?" | "{" | "}" | "]":
                raise _NoForm
            case _:
                return _one(mark)

    def _escaped(self) -> str:
        mark = self.text[self.at]
        self.at += 1
        if mark in _SHORT:
            return f"[{_SHORT[mark]}]"
        if mark.isalnum():
            raise _NoForm
        return _one(mark)

    def _class(self) -> str:
        negated = self._next("^")
        inside: list[str] = []
        while not self._next("]"):
            mark = self.text[self.at]
            self.at += 1
            if mark == "\\":
                mark = self.text[self.at]
                self.at += 1
                if mark in _SHORT:
                    inside.append(_SHORT[mark])
                    continue
                if mark.isalnum() or mark in '"\\':
                    raise _NoForm
                inside.append(_hex(mark))
            elif _PLAIN_IN_CLASS.fullmatch(mark):
                inside.append(mark)
            else:
                raise _NoForm
        if not inside:
            raise _NoForm
        # A range over quote or backslash would let the text leave its JSON string.
        if not negated and re.search(r"[ !]-|#-(?!$)|[A-Z\[]-[\]^_`a-z]", "".join(inside)):
            raise _NoForm
        return _ANY.replace("[^", "[^" + "".join(inside)) if negated else f"[{''.join(inside)}]"

    def _quantifier(self) -> str:
        found = ""
        if self.at < len(self.text) and self.text[self.at] in "*+?":
            found = self.text[self.at]
            self.at += 1
        elif repeat := _REPEAT.match(self.text, self.at):
            if max(int(number or 0) for number in repeat.group(1, 3)) > MAX_REPEAT:
                raise _NoForm
            found = repeat.group()
            self.at = repeat.end()
        if found and self.at < len(self.text) and self.text[self.at] in "*+?{":
            raise _NoForm  # lazy, possessive or doubled
        return found


def _one(mark: str) -> str:
    """One character for itself."""
    if mark in '"\\' or ord(mark) < 0x20:
        raise _NoForm
    return mark if mark.isalnum() or mark in " _-" else f"[{_hex(mark)}]"


def _hex(mark: str) -> str:
    """*mark* so that it means nothing else in a class of a grammar."""
    return mark if ord(mark) > 0x7E else f"\\x{ord(mark):02X}"
