"""JSON in and out, and edits that leave every other byte alone."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from translators.codec import (
    REMOVED,
    JsonError,
    canonical,
    depth_over,
    dumps,
    dumps_text,
    loads,
    loads_exact,
    loads_object,
    repeated_name,
    splice,
    type_name,
)

KEYS = st.sampled_from(["model", "a", "b", 'q"uote', "é", "back\\slash", "{[,:"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8) | st.floats(-9, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)
CHANGES = st.dictionaries(KEYS, VALUES | st.just(REMOVED), max_size=4)


def updated(value: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {**value, **changes}
    return {key: item for key, item in merged.items() if item is not REMOVED}


@given(OBJECTS, CHANGES, st.booleans())
@settings(max_examples=120, deadline=None)
def test_splice_means_the_same_as_updating_the_object(
    value: dict[str, Any], changes: dict[str, Any], indented: bool
) -> None:
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indented else 0)

    spliced = orjson.loads(splice(body, changes))

    assert splice(body, changes, value) == splice(body, changes)

    assert spliced == updated(value, changes)
    assert list(spliced) == list(updated(value, changes))


@given(OBJECTS, st.dictionaries(KEYS, st.integers(-9, 9), min_size=1, max_size=2))
@settings(max_examples=60, deadline=None)
def test_splice_keeps_the_bytes_of_every_other_member(value: dict[str, Any], changes: dict[str, Any]) -> None:
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2)

    spliced = splice(body, changes)

    for key, item in value.items():
        if key not in changes:
            indented = orjson.dumps({key: item}, option=orjson.OPT_INDENT_2)
            assert indented[1:-1].strip() in spliced


@pytest.mark.parametrize(
    ("body", "changes", "spliced"),
    [
        (b'{"model":"a","x":1.0e2,"u":"\\u00e9"}', {"model": "b"}, b'{"model":"b","x":1.0e2,"u":"\\u00e9"}'),
        (b'{"a":1,"a":2}', {"a": 3}, b'{"a":3,"a":3}'),
        (b'{"a":1,"a":2,"b":3}', {"a": REMOVED}, b'{"b":3}'),
        (b"{}", {"a": 1}, b'{"a":1}'),
        (b'{"a":1}', {"a": REMOVED}, b"{}"),
        (b' { "a" : [1, {"b": "]}"}] , "c" : 2 } ', {"c": 3}, b' { "a" : [1, {"b": "]}"}] , "c" : 3 } '),
        (b'{"a": 1, "b": 2, "c": 3}', {"b": REMOVED, "d": 4}, b'{"a": 1, "c": 3,"d":4}'),
        (b'{"a": 1, "b": 2}', {"b": REMOVED}, b'{"a": 1}'),
        (b'{"a": 1, "b": 2}', {"a": REMOVED}, b'{"b": 2}'),
        (b'{"\\u006dodel":"a"}', {"model": "b"}, b'{"\\u006dodel":"b"}'),
        (rb'{"a":"\\\"}","b\"":["\"]\\"],"c":1}', {"c": 2}, rb'{"a":"\\\"}","b\"":["\"]\\"],"c":2}'),
        (b'{"a":36893488147419103232,"b":1}', {"b": 2**65}, b'{"a":36893488147419103232,"b":36893488147419103232}'),
    ],
)
def test_splice_by_example(body: bytes, changes: dict[str, Any], spliced: bytes) -> None:
    assert splice(body, changes) == spliced
    assert splice(body, changes, loads_object(body)) == spliced


def test_splice_does_not_believe_what_the_body_does_not_say() -> None:
    """A body that was parsed and changed since keeps its own bytes."""
    assert splice(b'{"a":1,"b":2}', {"b": 3}, {"a": 9, "b": 2}) == b'{"a":1,"b":3}'


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b'{"a":1', b'{"a":[1}', b'{"a" 1}', b"{} {}", b"{a:1}", b'{"a":}'])
def test_splice_refuses_what_is_not_an_object(body: bytes) -> None:
    with pytest.raises(JsonError):
        splice(body, {"b": 1})


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"[1,]", b'"\xff"', b"{'a':1}"])
def test_only_strict_json_is_read(text: bytes) -> None:
    with pytest.raises(JsonError, match="not valid JSON"):
        loads(text)


@pytest.mark.parametrize(("text", "found"), [(b"[]", "an array"), (b"null", "null"), (b'"x"', "a string")])
def test_the_error_names_what_stands_in_place_of_an_object(text: bytes, found: str) -> None:
    with pytest.raises(JsonError, match=found):
        loads_object(text)


@pytest.mark.parametrize(("levels", "is_refused"), [(64, False), (65, True), (500, True)])
def test_deep_nesting_is_refused(levels: int, is_refused: bool) -> None:
    value: Any = 0
    for _ in range(levels):
        value = {"a": value}

    assert depth_over(value, 64) is is_refused


def test_canonical_bytes_do_not_depend_on_the_order_of_keys() -> None:
    assert canonical({"b": 1, "a": {"d": 1, "c": 2}}) == canonical({"a": {"c": 2, "d": 1}, "b": 1})
    assert dumps({"b": 1, "a": 2}) == b'{"b":1,"a":2}'
    assert dumps_text(["é"]) == '["é"]'


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ("", "a string"),
        ([], "an array"),
        ({}, "an object"),
    ],
)
def test_types_have_their_json_names(value: Any, name: str) -> None:
    assert type_name(value) == name


def test_wide_numbers_of_a_tools_arguments_stay_exact() -> None:
    """An id of 24 digits must not reach the tool as another number."""
    text = '{"id":123456789012345678901234,"x":1.5}'

    assert dumps(loads_exact(text)).decode() == text
    assert loads_exact('{"a":[1]}') == {"a": [1]}


@pytest.mark.parametrize(
    "number", ["36893488147419103232", "-9223372036854775809", "18446744073709551615", "9" * 308, "-1", "1.5"]
)
def test_numbers_of_requests_stay_exact(number: str) -> None:
    """A schema's `maximum` beyond 64 bits must not come out as a rounded float."""
    text = f'{{"tools":[{{"maximum":{number}}}],"s":"{"7" * 30}"}}'

    assert dumps(loads_object(text)) == text.encode()
    assert dumps(loads_object(text.encode())) == text.encode()
    assert loads_exact(canonical(loads_object(text)).decode()) == loads_exact(text)


def test_wide_numbers_are_written_as_all_others() -> None:
    value = {"b": 2**64, "a": {"d": "é", "c": 1}}

    assert dumps(value).decode() == '{"b":18446744073709551616,"a":{"d":"é","c":1}}'
    assert canonical(value).decode() == '{"a":{"c":1,"d":"é"},"b":18446744073709551616}'


def test_only_wide_numbers_are_written_by_the_slower_writer() -> None:
    for write in (dumps, canonical):
        with pytest.raises(TypeError, match="object"):
            write({"a": object(), "b": 1})


def test_wide_numbers_in_deeply_nested_arguments_are_an_error() -> None:
    with pytest.raises(JsonError, match="nested"):
        loads_exact("[" * 1000 + "9" * 25 + "]" * 1000)


@pytest.mark.parametrize("before", range(19))
@pytest.mark.parametrize("digits", [17, 18, 19, 20, 40])
def test_a_number_is_exact_wherever_it_stands(digits: int, before: int) -> None:
    """Not every byte is looked at to find the wide ones: none of them may fall between."""
    number = int("9" * digits)
    text = f'{{"{"k" * before}":{number}}}'

    assert loads_object(text) == loads_exact(text) == {"k" * before: number}


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (r'{"model":"a","model":"b"}', "model"),
        (r'{"model": "a", "n": 1, "model" : "a"}', "model"),
        ('{\n "model"\n: "a",\n "model"\t: "b"\n}', "model"),
        (r'{"model":"a","mod\u0065l":"b"}', "model"),
        (r'{"mod\u0065l":"a","model":"b"}', "model"),
        (r'{"\u006dodel":"a","mode\u006C":"b"}', "model"),
        (r'{"max_tokens":1,"max\u005ftokens":2}', "max_tokens"),
        (r'{"max_tokens":1,"max\u005Ftokens":2}', "max_tokens"),
        (r'{"a/b":1,"a\/b":2}', "a/b"),
        (r'{"a\tb":1,"a\u0009b":2}', "a\tb"),
        (r'{"a\"":1,"a\"":2}', 'a"'),
        (r'{"é":1,"\u00e9":2}', "é"),
        (r'{"":1, "":2}', ""),
        (r'{"n":1,"n":1,"x":"\"n\":"}', "n"),
        (r'{"user": 1, "a": ["user", {"b": "user"}], "user": 2}', "user"),
        (r'{"messages": [{"role": "user"}], "model": "a", "stream": true, "messages": []}', "messages"),
        ("{" + ", ".join(f'"a{number}": 1' for number in range(40)) + ', "a7": 2}', "a7"),
        (r'{"model": "a", "tools": [{"model": "b"}], "text": "\u0065 \"model\": "}', None),
        (r'{"user": "user", "a": ["user"], "b": {"user": "user"}}', None),
        (r'{"a": {"model": 1, "model": 2}, "model": 3}', "a.model"),
        (r'{"a":{"model":1,"mod\u0065l":2},"b":{"n":1,"n":2}}', "a.model"),
        (r'{"a":[{"x":1},[{"y":{"n":"\"","n":"\u0022"}}]]}', "a[1][0].y.n"),
        (r'{"a":[{"n":1,"n":1}],"b":1,"b":2}', "b"),
        (r'{"a":{"n":1,"n":2},"x":"\u0022\u0022"}', "a.n"),
        (r'{"a":{"":{"":1,"":2}}}', "a.."),
        (r'{"text": "\u0022a\u0022: \\", "a": {"text": 1}}', None),
        (r'{"model": "a", "Model": "b"}', None),
        (r'{"number": 123456789012345678901234567890, "n": 1e5}', None),
        (r"{}", None),
    ],
)
def test_a_name_that_is_given_twice_is_found_in_every_spelling(body: str, name: str | None) -> None:
    raw = body.encode()

    assert repeated_name(raw, loads_object(raw)) == name


SPELT = st.sampled_from([r"model", r"mod\u0065l", r"n", r"\u006e", r"a\/b", r"a/b", r"\u00e9", "é", r"a\"", r"Model"])
SAID = st.sampled_from(["1", '"n"', r'"\"n\":"', '{"n":1}', '["model","n"]', r'"\u0022n\u0022:"', r'"\\u006e"'])


@given(st.lists(st.tuples(SPELT, st.sampled_from([":", ": ", " :", "\n:\n"]), SAID), max_size=5), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_repeated_name_is_found_as_a_reader_of_pairs_finds_it(
    members: list[tuple[str, str, str]], spaced: bool
) -> None:
    body = (", " if spaced else ",").join(f'"{name}"{colon}{value}' for name, colon, value in members)
    raw = b"{%b}" % body.encode()
    names = [name for name, _ in json.loads(raw, object_pairs_hook=list)]
    wanted = next((name for at, name in enumerate(names) if name in names[:at]), None)

    assert repeated_name(raw, loads_object(raw)) == wanted
    deep = b'{"x":[1, {"y" :%b}], "z\\u0022": "\\u0022"}' % raw
    assert repeated_name(deep, loads_object(deep)) == (None if wanted is None else f"x[1].y.{wanted}")
