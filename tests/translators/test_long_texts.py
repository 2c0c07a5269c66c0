"""Long JSON is read in short goes, and says the same as when it is read in one."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson
import pytest

from translators.codec import REMOVED, JsonError, loads, repeated_name, splice
from translators.long_texts import LONG, loads_long, without_escapes

TEXT: Final = "x y " * (LONG // 2)
VALUES: Final[dict[str, Any]] = {
    "a text": TEXT,
    "a text in an object": {"a": 1, "text": TEXT, "b": "short"},
    "several texts": {"a": [TEXT, "é" * LONG, {"c": "中" * LONG}], "b": ["x", TEXT]},
    "letters of four bytes": {"a": "😀" * (LONG // 2)},
    "lines": {"a": "a line of a text\n" * (LONG // 8)},
    "a text of quotes": {"a": '"' * LONG * 2},
    "a text of backslashes": {"a": "\\" * LONG, "b": TEXT},
    "a long name": {TEXT: "short", "b": TEXT},
    "long, and no text": {"a": "short", "b": [10**15] * (LONG // 8), "c": 'a "word"', "d": TEXT},
    "a text that looks like JSON": {"a": ':,[{}]"' + TEXT + '",:', "b": "~^`|\x7f" + TEXT},
    "every mark, in a spelling of its own": {"a": TEXT, "b": "\x7f", "c": "~", "d": "^"},
}
WRITINGS: Final[dict[str, dict[str, Any]]] = {
    "ascii": {},
    "letters": {"ensure_ascii": False, "separators": (",", ":")},
    "spaced": {"ensure_ascii": False, "indent": 3},
}


@pytest.mark.parametrize("writing", WRITINGS)
@pytest.mark.parametrize("name", VALUES)
def test_long_json_says_what_it_says(name: str, writing: str) -> None:
    body = json.dumps(VALUES[name], **WRITINGS[writing]).encode()

    assert loads_long(body) == VALUES[name]
    if isinstance(VALUES[name], dict):
        assert list(loads_long(body)) == list(VALUES[name])


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"%b","b":"\\u007f","c":"\\u007F","d":"~","e":"\\u005E","f":"`"}' % TEXT.encode(),
        b'{"a":"%b","a":1,"b":"%b"}' % (TEXT.encode(), b"y " * LONG),
        b'["%b"%b,"%b"]' % (TEXT.encode(), b" " * LONG, TEXT.encode()),
    ],
    ids=["marks as escapes", "a name twice", "a long blank"],
)
def test_it_is_read_as_orjson_reads_it(body: bytes) -> None:
    assert loads_long(body) == orjson.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"%b' % TEXT.encode(),
        b'{"a":"%b"' % TEXT.encode(),
        b'{"a":"%b\xff"}' % TEXT.encode(),
        b'{"a":"%b\n"}' % TEXT.encode(),
        b'{"a":"%b\\ud83d"}' % TEXT.encode(),
        b'{"a":%b}' % TEXT.encode(),
    ],
    ids=["no end", "an open object", "no UTF-8", "a line break", "half a pair", "no quotes"],
)
def test_an_error_names_the_place(body: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError) as error:
        orjson.loads(body)

    with pytest.raises(JsonError, match=str(error.value).partition(":")[0]):
        loads(body)


@pytest.mark.parametrize("before", range(-2, 3))
@pytest.mark.parametrize("row", [1, 2, 3])
def test_an_escape_is_not_cut(before: int, row: int) -> None:
    """Wherever rows of backslashes stand, the quotes that are left begin and end the strings."""
    value = {"a": "x" * (LONG + before) + "\\" * row + '"', "b": "y", "c": "\\" * (LONG + before)}
    body = json.dumps(value).encode()

    assert without_escapes(body).count(b'"') == 12
    assert splice(body, {"b": 1}) == json.dumps({**value, "b": 1}).encode()


SPLICED: Final[list[tuple[bytes, dict[str, Any], bytes]]] = [
    (b'{"m":"a","x":1.0e2,"pad":%b,"u":"\\u00e9"}', {"m": "b"}, b'{"m":"b","x":1.0e2,"pad":%b,"u":"\\u00e9"}'),
    (b'{"a":1,"pad":%b,"a":2}', {"a": 3}, b'{"a":3,"pad":%b,"a":3}'),
    (b'{"a":1,"a":2,"pad":%b}', {"a": REMOVED}, b'{"pad":%b}'),
    (b' { "a" : [1, {"b": "]}"}] , "pad" : %b } ', {"c": 3}, b' { "a" : [1, {"b": "]}"}] , "pad" : %b,"c":3 } '),
    (rb'{"a":"\\\"}","b\"":["\"]\\"],"pad":%b,"c":1}', {"c": 2}, rb'{"a":"\\\"}","b\"":["\"]\\"],"pad":%b,"c":2}'),
]
PADS: Final = {
    "text": b'"%b"' % (b"x" * LONG),
    "list": b'["%b",[{}],"%b"]' % (b"]" * LONG, b'\\"}' * LONG),
    "numbers": b"[%b1]" % (b"12345," * (LONG // 4)),
    "words": b"[%b{}]" % (b'"a",' * (LONG // 3)),
}


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("at", range(len(SPLICED)))
def test_long_bodies_are_spliced_alike(at: int, pad: str) -> None:
    body, changes, spliced = SPLICED[at]
    body, spliced = body % PADS[pad], spliced % PADS[pad]

    assert splice(body, changes) == splice(body, changes, loads(body)) == spliced


@pytest.mark.parametrize("end", [b"", b'"', b'"}, ]'])
def test_a_long_body_that_is_no_object_is_refused(end: bytes) -> None:
    with pytest.raises(JsonError):
        splice(b'{"a":["%b%b' % (b"x" * LONG, end), {"b": 1})


@pytest.mark.parametrize(
    ("rest", "name"),
    [
        (b'"a":1', None),
        (b'"a":1,"a":2', "a"),
        (b'"a":{"n":1,"n":2}', "a.n"),
        (b'"a":1,"\\u0061":2', "a"),
        (b'"a":["\\u0022",{"n":1,"n":"\\u0022"}]', "a[1].n"),
        (b'"pad":1', "pad"),
        (b'"a":"\\"a\\":1"', None),
    ],
)
@pytest.mark.parametrize("pad", ["text", "list"])
def test_a_name_twice_is_found_in_long_bodies(pad: str, rest: bytes, name: str | None) -> None:
    body = b'{"pad":%b,%b}' % (PADS[pad], rest)

    assert repeated_name(body, loads(body)) == name
