"""Reads text that is itself a value: JSON or a Python literal.

Models write `[1, 2]`, `(1, 2)`, `{'a': None}` or `"text"` into a text field; such texts are equal when their values
are.
The reader evaluates nothing, has a limit on length and depth, and answers None for anything else.

A value comes back as nested tuples that can be hashed: `("n", number)`, `("b", bool)`, `("0",)` for null,
`("s", text)`, `("l", *items)`, `("t", *items)` for a tuple, `("e", frozenset)` for a set, `("d", frozenset of pairs)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias, TypeVar

Key: TypeAlias = tuple[object, ...]
T = TypeVar("T")

LONGEST: Final = 4096
DEEPEST: Final = 40
LONGEST_REMEMBERED: Final = 256
TOKEN = re.compile(
    r"""\s*(?:(?P<open>[\[({])|(?P<close>[\])}])|(?P<comma>,)|(?P<colon>:)
    |(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<word>True|False|None|true|false|null))""",
    re.VERBOSE,
)
WORDS: Final[dict[str, Key]] = {
    "True": ("b", True),
    "true": ("b", True),
    "False": ("b", False),
    "false": ("b", False),
    "None": ("0",),
    "null": ("0",),
}
PAIRS: Final = {"[": "]", "(": ")", "{": "}"}
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "a": "\a", "v": "\v"}


class _NotALiteral(Exception):
    """The text is something else."""


def remembered(function: Callable[[str], T]) -> Callable[[str], T]:
    """*function* with a memory for short texts; a memory of long ones would be a leak."""
    known = lru_cache(maxsize=8192)(function)
    return lambda text: known(text) if len(text) <= LONGEST_REMEMBERED else function(text)


@remembered
def read(text: str) -> Key | None:
    """The value that *text* writes out as a whole, or None."""
    text = text.strip()
    if not text or len(text) > LONGEST or text[0] not in "[({\"'+-.0123456789TFNtfn":
        return None
    tokens = []
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            return None
        tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
        at = found.end()
    try:
        value, rest = _value(tokens, 0, 0)
    except (_NotALiteral, IndexError):
        return None
    return value if rest == len(tokens) else None


def number(text: str) -> int | float:
    """The number that *text* writes, whole where it is."""
    if text.lstrip("+-").isdigit() and len(text) < 400:
        return int(text)
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _value(tokens: list[tuple[str, str]], at: int, depth: int) -> tuple[Key, int]:
    kind, token = tokens[at]
    match kind:
        case "number":
            return ("n", number(token)), at + 1
        case "text":
            return ("s", _unescaped(token[1:-1])), at + 1
        case "word":
            return WORDS[token], at + 1
        case "open" if depth < DEEPEST:
            return _container(tokens, at, depth)
        case _:
            raise _NotALiteral


def _container(tokens: list[tuple[str, str]], at: int, depth: int) -> tuple[Key, int]:
    opened, close = tokens[at][1], PAIRS[tokens[at][1]]
    items: list[Key] = []
    pairs: list[tuple[Key, Key]] = []
    commas = 0
    at += 1
    while tokens[at][1] != close or tokens[at][0] != "close":
        item, at = _value(tokens, at, depth + 1)
        if opened == "{" and tokens[at][0] == "colon":
            value, at = _value(tokens, at + 1, depth + 1)
            pairs.append((item, value))
        else:
            items.append(item)
        if tokens[at][0] == "comma":
            commas += 1
            at += 1
        elif tokens[at][0] != "close":
            raise _NotALiteral
    at += 1
    if pairs and items:
        raise _NotALiteral
    match opened:
        case "[":
            return ("l", *items), at
        case "(" if len(items) == 1 and not commas:
            return items[0], at
        case "(":
            return ("t", *items), at
        case _:
            return (("e", frozenset(items)) if items else ("d", frozenset(pairs))), at


def _unescaped(text: str) -> str:
    return ESCAPE.sub(_character, text) if "\\" in text else text


def _character(found: re.Match[str]) -> str:
    if found[4] is not None:
        return ESCAPED.get(found[4], found[4])
    code = int(found[1] or found[2] or found[3], 16)
    return chr(code) if code < 0x110000 else "\ufffd"
