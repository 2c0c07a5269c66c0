"""Long JSON, read in short goes: its long texts are cut out, read piece by piece, and put back.

Whoever reads JSON keeps all other threads of the interpreter waiting until it is done, which for the 60 MB of a film
is a quarter of a second. What is long in a request is nearly always a single text, or a few.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

LONG: Final = 1024 * 1024
"""Bytes that are looked at in one go."""
_BLOCK: Final = LONG // 2
"""A text that is longer than two of them has one in which there is no quote."""
_SPARSE: Final = 32
"""A body with more escaped quotes and backslashes than one in so many bytes is read in one go: to look past them takes
longer than to read it."""
_NEAR: Final = 64
"""How far a good place to cut a text is looked for."""
_UNICODE: Final = 6
"""Bytes of a letter's code in an escape."""
_HIGH: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")
"""The first half of a pair of surrogates."""
_MARKS: Final = (b"\x7f", b"~", b"^", b"`", b"|")
"""Of which one stands for a long text."""
_NAME: Final = re.compile(rb"[ \t\r\n]*:")


def loads_long(body: bytes) -> Any:
    """What *body*, strict JSON, says.

    Raises:
        JSONDecodeError: it is no JSON. (orjson's)
    """
    spans = list(_long_texts(body)) if body.count(b"\\\\") + body.count(b'\\"') < len(body) // _SPARSE else []
    mark = _mark_for(body) if spans else None
    if mark is None:
        return orjson.loads(body)
    pieces: list[bytes] = []
    before = 0
    for number, (start, end) in enumerate(spans, 1):
        pieces += (body[before:start], b'"%b"' % (mark * number))
        before = end
    try:
        short = orjson.loads(b"".join([*pieces, body[before:]]))
        texts = {mark.decode() * at: _text(body, start + 1, end - 1) for at, (start, end) in enumerate(spans, 1)}
    except orjson.JSONDecodeError:
        return orjson.loads(body)  # which names the place
    return _put_back(short, texts)


def without_escapes(body: bytes) -> bytes:
    """*body* with the escaped quotes and backslashes of its strings replaced: every quote left begins or ends one."""
    if b"\\" not in body:
        return body
    pieces, at = [], 0
    while at < len(body):
        piece = body[at : at + LONG]
        if len(piece) == LONG and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = piece[:-1]  # The escape that begins here ends in the next one.
        at += len(piece)
        pieces.append(piece.replace(b"\\\\", b"__").replace(b'\\"', b"__"))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _mark_for(body: bytes) -> bytes | None:
    """A letter that stands nowhere in *body*, in no spelling."""
    return next((mark for mark in _MARKS if not any(each in body for each in _spellings(mark))), None)


def _spellings(mark: bytes) -> tuple[bytes, bytes, bytes]:
    return mark, b"\\u%04x" % ord(mark), b"\\u%04X" % ord(mark)


def _long_texts(body: bytes) -> Iterator[tuple[int, int]]:
    """Where the long strings of *body* begin and end, quotes included, but for names of members."""
    plain = without_escapes(body)
    quotes = counted = at = 0
    while 0 <= at < len(plain) - _BLOCK:
        if plain.find(b'"', at, at + _BLOCK) >= 0:
            at += _BLOCK
            continue
        start, end = plain.rfind(b'"', 0, at), plain.find(b'"', at + _BLOCK)
        if start >= 0:
            quotes, counted = quotes + plain.count(b'"', counted, start), start
            # An even number of quotes before it: it begins a string. An odd one: it ends one.
            if quotes % 2 == 0 and end >= 0 and not _NAME.match(plain, end + 1):
                yield start, end + 1
        at = end


def _text(body: bytes, at: int, end: int) -> str:
    """The string of which body[at:end] is the inside."""
    pieces = []
    while at < end:
        cut = _cut(body, at, end)
        pieces.append(orjson.loads(b'"%b"' % body[at:cut]))
        at = cut
    return "".join(pieces)


def _cut(body: bytes, at: int, end: int) -> int:
    """Where a piece of the text body[at:end] may end; its end where that is nowhere near."""
    last = at + LONG
    if last >= end:
        return end
    return next((place for place in range(last, last - _NEAR, -1) if _may_cut(body, place)), end)


def _may_cut(body: bytes, place: int) -> bool:
    """Whether body[place] begins a letter or an escape, and not the second half of one."""
    if body[place] & 0xC0 == 0x80:
        return False
    escape = body.rfind(b"\\", place - _UNICODE + 1, place)
    if escape >= 0:
        run = escape + 1 - len(body[place - _NEAR : escape + 1].rstrip(b"\\")) - (place - _NEAR)
        if run == escape + 1 - (place - _NEAR):
            return False  # nothing but backslashes, as far as is looked
        begins = run % 2 == 1
        if begins and escape + (_UNICODE if body[escape + 1] == 0x75 else 2) > place:
            return False
    return not (body[place : place + 2] == b"\\u" and _HIGH.fullmatch(body, place - _UNICODE, place))


def _put_back(value: Any, texts: dict[str, str]) -> Any:
    """*value* with *texts* in the place of their marks."""
    if isinstance(value, str):
        return texts.get(value, value)
    left = [value]
    while left:
        node = left.pop()
        for place, each in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(each, str):
                if each in texts:
                    node[place] = texts[each]
            elif isinstance(each, dict | list):
                left.append(each)
    return value
