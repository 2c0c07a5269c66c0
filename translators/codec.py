"""JSON in and out: one strict decoder, one encoder, and edits that leave every other byte alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

_WIDE: Final = re.compile(r"\d{19}")
"""Digits of a whole number that may not fit into 64 bits."""
MAX_DEPTH: Final = 64
"""Nesting beyond this is refused: no vendor needs it and recursion is not free."""


class JsonError(ValueError):
    """The bytes are not the JSON that was expected; the message says where."""


def loads(data: bytes | str) -> Any:
    """Parse strict JSON (no NaN, no Infinity, valid UTF-8).

    Raises:
        JsonError: the text is not JSON; names line and column.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise JsonError(f"not valid JSON: {error}") from error


def loads_exact(data: str) -> Any:
    """The same with whole numbers of any length, of which `loads` makes rounded ones: a tool's arguments hold ids.

    Raises:
        JsonError: the text is not JSON.
    """
    value = loads(data)
    return json.loads(data) if _WIDE.search(data) else value


def loads_object(data: bytes | str) -> dict[str, Any]:
    """Parse JSON that must be an object.

    Raises:
        JsonError: it is not JSON, or not an object, or nested deeper than MAX_DEPTH.
    """
    value = loads(data)
    if not isinstance(value, dict):
        raise JsonError(f"expected a JSON object, found {type_name(value)}")
    if _brackets(data) > MAX_DEPTH and depth_over(value, MAX_DEPTH):
        raise JsonError(f"nested deeper than {MAX_DEPTH} levels")
    return value


def dumps(value: Any) -> bytes:
    """Compact JSON. Keys keep their order."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        if "64-bit" not in str(error):
            raise
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def dumps_text(value: Any) -> str:
    """Compact JSON as text."""
    return dumps(value).decode()


def canonical(value: Any) -> bytes:
    """Compact JSON with sorted keys: equal values give equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _brackets(data: bytes | str) -> int:
    """How many objects and arrays *data* opens, at most: fewer than a depth means that it cannot be that deep."""
    if isinstance(data, str):
        return data.count("{") + data.count("[")
    return data.count(b"{") + data.count(b"[")


def depth_over(value: Any, limit: int) -> bool:
    """Whether *value* is nested deeper than *limit* containers."""
    level: list[Any] = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def type_name(value: Any) -> str:
    """JSON's word for the type of *value*."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list() | tuple():
            return "an array"
        case _:
            return "an object"


class Removed:
    """The mark of a key to be removed by `splice`."""


REMOVED: Final = Removed()

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_LITERAL = re.compile(rb"[^\s,{}\[\]\":]+")
_BLANKS = re.compile(rb"[ \t\r\n]*")


def splice(body: bytes, changes: Mapping[str, Any]) -> bytes:
    """*body*, a JSON object, with the top-level keys of *changes* set, added or removed; all other bytes as they are.

    A new key is appended at the end. A key that occurs twice is changed at each place, since readers differ on
    which one counts. A value of REMOVED removes the key.

    Raises:
        JsonError: *body* is not a JSON object.
    """
    spans = _member_spans(body)
    wanted = dict(changes)
    seen: set[str] = set()
    head = body[: spans[0][1]] if spans else b"{"
    pieces = [head]
    before = 0
    """Where the member before ended: what stands between two members stays, comma and blanks."""
    for key, key_start, value_start, value_end in spans:
        seen.add(key)
        if not isinstance(wanted.get(key), Removed):
            between = body[before:key_start] if len(pieces) > 1 else b""
            if key in wanted:
                pieces.append(between + body[key_start:value_start] + orjson.dumps(wanted[key]))
            else:
                pieces.append(between + body[key_start:value_end])
        before = value_end
    for key, value in wanted.items():
        if key not in seen and not isinstance(value, Removed):
            pieces.append((b"," if len(pieces) > 1 else b"") + orjson.dumps(key) + b":" + orjson.dumps(value))
    pieces.append(body[before:] if spans else b"}")
    return b"".join(pieces)


def _member_spans(body: bytes) -> list[tuple[str, int, int, int]]:
    """(key, start of key, start of value, end of value) of each top-level member."""
    spans: list[tuple[str, int, int, int]] = []
    at = _after(body, _after(body, 0), b"{")
    while body[at : at + 1] != b"}":
        if spans:
            at = _after(body, at, b",")
        key = _STRING.match(body, at)
        if key is None:
            raise JsonError(f"expected a JSON object: no key at byte {at}")
        value_start = _after(body, _after(body, key.end()), b":")
        end = _value_end(body, value_start)
        spans.append((loads(key.group()), at, value_start, end))
        at = _after(body, end)
    if _after(body, at + 1) != len(body):
        raise JsonError(f"expected a JSON object: it ends at byte {at} and more follows")
    return spans


def _after(body: bytes, at: int, mark: bytes = b"") -> int:
    """The offset of the next token after *mark*, which has to stand at *at*."""
    if not body.startswith(mark, at):
        raise JsonError(f"expected a JSON object: no {mark.decode()!r} at byte {at}")
    blanks = _BLANKS.match(body, at + len(mark))
    return blanks.end() if blanks else at + len(mark)


def _value_end(body: bytes, start: int) -> int:
    """The offset after the value that begins at *start*."""
    if body[start : start + 1] not in (b"{", b"["):
        value = _STRING.match(body, start) or _LITERAL.match(body, start)
        if value is None:
            raise JsonError(f"expected a JSON object: no value at byte {start}")
        return value.end()
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body, start):
        first = body[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
            if not depth:
                return token.end()
    raise JsonError(f"expected a JSON object: the value at byte {start} has no end")
