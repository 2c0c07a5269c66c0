"""Arguments of tool calls, as models leave them, read as objects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.anthropic.arguments import LiveArguments
from translators.arguments import object_of
from translators.codec import JsonError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "value", "repaired"),
    [
        ("", {}, False),
        (" ", {}, False),
        ("null", {}, False),
        ('{"a": 1}', {"a": 1}, False),
        ('{"a": 1', {"a": 1}, True),
        ('{"a": "b', {"a": "b"}, True),
        ('{"a": "b\\', {"a": "b"}, True),
        ('{"a": 1, "b', {"a": 1}, True),
        ('{"a": 1, "b":', {"a": 1}, True),
        ('{"a": 1,', {"a": 1}, True),
        ('{"a": tru', {}, True),
        ('{"a": [1, {"b": 2', {"a": [1, {"b": 2}]}, True),
        ('{"a": "\\u00', {}, True),
        ('{"a": "one\ntwo"}', {"a": "one\ntwo"}, True),
        ('"{\\"a\\": 1}"', {"a": 1}, True),
    ],
)
def test_arguments_become_an_object(text: str, value: object, repaired: bool) -> None:
    assert object_of(text) == (value, repaired)


@pytest.mark.parametrize("text", ["[1]", "5", "hello", '{"a": 1}}', "}", '"text"', '{"a": NaN}x'])
def test_what_is_no_object_raises(text: str) -> None:
    with pytest.raises(JsonError):
        object_of(text)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4), st.data())
def test_an_object_cut_anywhere_gives_a_part_of_it(value: dict[str, object], data: st.DataObject) -> None:
    """A cut loses members or the end of a value, and never invents a key."""
    whole = json.dumps(value)
    cut = data.draw(st.integers(1, len(whole)))

    found, repaired = object_of(whole[:cut])

    assert repaired == (cut < len(whole))
    assert set(found) <= set(value)


@given(st.text('{}[]":, \n\\a1', max_size=30), st.integers(1, 6))
def test_live_arguments_do_not_depend_on_the_pieces(text: str, size: int) -> None:
    once, cut = LiveArguments(), LiveArguments()

    told = "".join(cut.feed(text[at : at + size]) for at in range(0, len(text), size)) + cut.close()

    assert told == once.feed(text) + once.close()


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.booleans())), st.integers(1, 9))
def test_live_arguments_that_are_an_object_go_out_as_they_are(value: dict[str, Any], size: int) -> None:
    text = json.dumps(value, indent=1)
    arguments = LiveArguments()

    told = [arguments.feed(text[at : at + size]) for at in range(0, len(text), size)]

    assert ("".join(told), arguments.close()) == (text, "")
