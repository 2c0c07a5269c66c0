"""JSON in and out: one strict decoder, one encoder, and edits that leave every other byte alone.

Whole numbers of requests, schemas and tools' arguments stay exact, however many digits they have: orjson, which would
round those beyond 64 bits, does the work where there is none, and Python's own reader and writer where there is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson

from translators.long_texts import LONG, loads_long, without_escapes

MAX_DEPTH: Final = 64
"""Nesting beyond this is refused: no vendor needs it and recursion is not free."""
_DIGITS: Final = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
"""Every byte as what it is: a digit, or anything else. Strings are not told apart."""
_WIDE: Final = b"0" * 19
"""Digits of a whole number that may not fit into 64 bits."""
_QUOTE_IN_DISGUISE: Final = b"\\u0022"
_STEP: Final = 6
"""Whoever looks at every sixth byte sees at least three of any 19 in a row."""


class JsonError(ValueError):
    """The bytes are not the JSON that was expected; the message says where."""


def loads(data: bytes | str) -> Any:
    """Parse strict JSON (no NaN, no Infinity, valid UTF-8).

    Raises:
        JsonError: the text is not JSON; names line and column.
    """
    try:
        return loads_long(data) if len(data) > LONG and isinstance(data, bytes) else orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise JsonError(f"not valid JSON: {error}") from error


def loads_exact(data: str) -> Any:
    """The same with whole numbers of any length, of which `loads` makes rounded ones: a tool's arguments hold ids.

    Raises:
        JsonError: the text is not JSON, or too deeply nested for such a number in it.
    """
    value = loads(data)
    if len(data) < len(_WIDE) or not _may_hold_wide(data.encode()):
        return value
    try:
        return json.loads(data)
    except RecursionError as error:
        raise JsonError("nested too deeply") from error


def _may_hold_wide(data: bytes) -> bool:
    """Whether somewhere in *data* stand digits of a whole number that may not fit into 64 bits.

    A few of the bytes are looked at first: nearly always they show that there is no such number.
    """
    return b"000" in data[::_STEP].translate(_DIGITS) and _WIDE in data.translate(_DIGITS)


def loads_object(data: bytes | str, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Parse JSON that must be an object; whole numbers of any length stay exact.

    Raises:
        JsonError: it is not JSON, or not an object, or nested deeper than *depth*.
    """
    value = loads(data)
    if not isinstance(value, dict):
        raise JsonError(f"expected a JSON object, found {type_name(value)}")
    if isinstance(data, str):
        data = data.encode()
    # No more containers than that cannot be nested deeper.
    if data.count(b"{") + data.count(b"[") > depth and (
        _nested_over(data, depth) if len(data) <= LONG else depth_over(value, depth)
    ):
        raise JsonError(f"nested deeper than {depth} levels")
    return json.loads(data) if _may_hold_wide(data) else value


def may_hold(data: bytes, containers: int, values: int) -> bool:
    """Whether *data*, JSON or not, has at most so many objects and lists, and about so many values at all.

    Texts may say what they like: it is looked at where they end only when there are that many marks in all.
    """
    opened = data.count(b"{") + data.count(b"[")
    if opened <= containers and opened + data.count(b",") <= values:
        return True
    plain = without_escapes(data)
    opened = commas = at = 0
    for text in _STRING.finditer(plain):
        opened += plain.count(b"{", at, text.start()) + plain.count(b"[", at, text.start())
        commas += plain.count(b",", at, text.start())
        if opened > containers or opened + commas > values:
            return False
        at = text.end()
    opened += plain.count(b"{", at) + plain.count(b"[", at)
    return opened <= containers and opened + commas + plain.count(b",", at) <= values


def dumps(value: Any) -> bytes:
    """Compact JSON. Keys keep their order."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        return _written_exactly(value, error)


def dumps_text(value: Any) -> str:
    """Compact JSON as text."""
    return dumps(value).decode()


def canonical(value: Any) -> bytes:
    """Compact JSON with sorted keys: equal values give equal bytes."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        return _written_exactly(value, error, sort_keys=True)


def _written_exactly(value: Any, error: TypeError, *, sort_keys: bool = False) -> bytes:
    """*value*, which orjson refused with *error*, if a number of more than 64 bits was the reason."""
    if "64-bit" not in str(error):
        raise error
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys).encode()


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


def _nested_over(data: bytes, limit: int) -> bool:
    """The same of *data*, JSON, at a fraction of the time: each step takes the innermost containers away."""
    marks = b"".join(without_escapes(data).split(b'"')[::2]).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(limit):
        if not marks:
            return False
        marks = marks.replace(b"[]", b"")
    return bool(marks)


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

_STRING = re.compile(rb'"[^"]*+"')
"""A string without escapes."""
_TO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"[^"]*+"[^"{}\[\]]*+)*+([{}\[\]])?')
"""Everything up to the next bracket that is not in a string, and the bracket, as far as it is looked; likewise."""
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))
_LITERAL = re.compile(rb"[^\s,{}\[\]\":]+")
_BLANKS = re.compile(rb"[ \t\r\n]*")


def splice(body: bytes, changes: Mapping[str, Any], parsed: Mapping[str, Any] | None = None) -> bytes:
    """*body*, a JSON object, with the top-level keys of *changes* set, added or removed; all other bytes as they are.

    A new key is appended at the end. A key that occurs twice is changed at each place, since readers differ on
    which one counts. A value of REMOVED removes the key. *parsed* is what *body* says, where that is known: it saves
    time and changes nothing.

    Raises:
        JsonError: *body* is not a JSON object.
    """
    if parsed is not None and len(body) <= LONG and dumps(parsed) == body:
        # Written as `dumps` writes it, which most SDKs do: then it writes every other member again as it was.
        return dumps({key: value for key, value in {**parsed, **changes}.items() if value is not REMOVED})
    spans = _member_spans(body)
    wanted = dict(changes)
    seen: set[str] = set()
    view = memoryview(body)
    pieces: list[bytes | memoryview] = [view[: spans[0][1]] if spans else b"{"]
    kept = False
    before = 0
    """Where the member before ended: what stands between two members stays, comma and blanks."""
    for key, key_start, value_start, value_end in spans:
        seen.add(key)
        if wanted.get(key) is not REMOVED:
            start = before if kept else key_start
            if key in wanted:
                pieces += (view[start:value_start], dumps(wanted[key]))
            else:
                pieces.append(view[start:value_end])
            kept = True
        before = value_end
    for key, value in wanted.items():
        if key not in seen and value is not REMOVED:
            pieces.append((b"," if kept else b"") + dumps(key) + b":" + dumps(value))
            kept = True
    pieces.append(view[before:] if spans else b"}")
    return b"".join(pieces)


def member_span(body: bytes, name: str) -> tuple[int, int] | None:
    """Where the value of the top-level member *name* of *body*, a JSON object, begins and ends.

    None where it has none, or where any member stands in it twice.
    """
    spans = member_spans(body)
    return spans.get(name) if spans else None


def member_spans(body: bytes) -> dict[str, tuple[int, int]] | None:
    """Where the values of all top-level members of *body*, a JSON object, begin and end.

    None where any member stands in it twice.
    """
    found = _member_spans(body)
    spans = {key: (start, end) for key, _, start, end in found}
    return spans if len(spans) == len(found) else None


def repeated_name(body: bytes, parsed: Mapping[str, Any], among: Collection[str] | None = None) -> str | None:
    """Where in *body*, a JSON object, a name is given again, in whatever spelling: `tools[0].type`; None: none is.

    *parsed* is what *body* says to `loads_object`. With *among* only these names, at the top level, are looked for.
    """
    if _has_its_quotes(body, parsed):
        return None
    if among is None:
        return _repeated(json.loads(body, object_pairs_hook=_Members, parse_int=str, parse_float=str))
    names = [name for name, *_ in _member_spans(body) if name in among]
    return next((name for at, name in enumerate(names) if name in names[:at]), None)


def _has_its_quotes(body: bytes, parsed: Mapping[str, Any]) -> bool:
    """Whether all quotes of *body* are in *parsed*, and none is written as an escape.

    What a reader leaves out takes its quotes along; nothing else does.
    """
    if len(body) > LONG:
        return _quotes(parsed) == body.count(b'"') and _QUOTE_IN_DISGUISE not in body
    written = dumps(parsed)
    return written == body or (written.count(b'"') == body.count(b'"') and _QUOTE_IN_DISGUISE not in body)


def _quotes(value: Any) -> int:
    """How many quotes there are in *value* as JSON, the escaped ones among them."""
    found, left = 0, [value]
    while left:
        match left.pop():
            case str(text):
                found += 2 + text.count('"')
            case dict(members):
                left += members
                left += members.values()
            case list(items):
                left += items
            case _:
                continue
    return found


class _Members(list[tuple[str, Any]]):
    """An object as it was written: each member, also one that is given again."""


def _repeated(value: Any, place: str = "") -> str | None:
    """Where in *value* a name is given again; in an object sooner than within its members."""
    if isinstance(value, _Members):
        seen: set[str] = set()
        for name, _ in value:
            if name in seen:
                return f"{place}{name}"
            seen.add(name)
        inner = ((each, f"{place}{name}") for name, each in value)
    elif isinstance(value, list):
        inner = ((each, f"{place.removesuffix('.')}[{at}]") for at, each in enumerate(value))
    else:
        return None
    return next((found for each, where in inner if (found := _repeated(each, f"{where}.")) is not None), None)


def _member_spans(body: bytes) -> list[tuple[str, int, int, int]]:
    """(key, start of key, start of value, end of value) of each top-level member."""
    spans: list[tuple[str, int, int, int]] = []
    plain = without_escapes(body)
    at = _after(plain, _after(plain, 0), b"{")
    while plain[at : at + 1] != b"}":
        if spans:
            at = _after(plain, at, b",")
        key_end = _string_end(plain, at)
        key = loads(body[at:key_end])
        value_start = _after(plain, _after(plain, key_end), b":")
        end = _value_end(plain, value_start)
        spans.append((key, at, value_start, end))
        at = _after(plain, end)
    if _after(plain, at + 1) != len(plain):
        raise JsonError(f"expected a JSON object: it ends at byte {at} and more follows")
    return spans


def _after(body: bytes, at: int, mark: bytes = b"") -> int:
    """The offset of the next token after *mark*, which has to stand at *at*."""
    if not body.startswith(mark, at):
        raise JsonError(f"expected a JSON object: no {mark.decode()!r} at byte {at}")
    at += len(mark)
    if body[at : at + 1] > b" ":
        return at
    blanks = _BLANKS.match(body, at)
    return blanks.end() if blanks else at


def _value_end(plain: bytes, start: int) -> int:
    """The offset after the value that begins at *start*."""
    first = plain[start : start + 1]
    if first == b'"':
        return _string_end(plain, start)
    if first not in (b"{", b"["):
        value = _LITERAL.match(plain, start)
        if value is None:
            raise JsonError(f"expected a JSON object: no value at byte {start}")
        return value.end()
    depth, at = 0, start
    while at < len(plain) and (found := _TO_BRACKET.match(plain, at, at + LONG)):
        at = found.end()
        if found.lastindex:
            depth += 1 if plain[at - 1] in b"{[" else -1
            if not depth:
                return at
        elif plain[at : at + 1] == b'"':
            at = _string_end(plain, at)
    raise JsonError(f"expected a JSON object: the value at byte {start} has no end")


def _string_end(plain: bytes, start: int) -> int:
    """The offset after the string that begins at *start*."""
    end = plain.find(b'"', start + 1) + 1 if plain[start : start + 1] == b'"' else 0
    if not end:
        raise JsonError(f"expected a JSON object: no string at byte {start}")
    return end
