"""Answers laid over one another."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.consensus.align import lay_out, matched_rows
from routing.consensus.answers import ABSENT, SILENT, Mark

LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.text("abc", max_size=4)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.sampled_from("xyz"), below, max_size=3),
    max_leaves=12,
)


def places(*values: Any) -> dict[str, list[Any]]:
    return {place.path: place.values for place in lay_out(values).places}


def test_members_go_by_name_and_a_missing_one_is_absent() -> None:
    assert places({"a": 1, "b": {"c": 2}}, {"a": 3}) == {"a": [1, 3], "b": [Mark.OBJECT, ABSENT], "b.c": [2, SILENT]}


def test_rows_are_matched_by_content_whatever_their_order() -> None:
    lines = [{"name": "copper pipe", "count": 3}, {"name": "oak plank", "count": 5}, {"name": "hinge", "count": 3}]
    turned = [{"name": "Oak plank", "count": 6}, {"name": "hinge", "count": 3}, {"name": "coper pipe", "count": 3}]

    assert sorted(matched_rows([lines, turned])) == [[0, 2], [1, 0], [2, 1]]


def test_a_row_without_a_partner_is_a_row_of_its_own() -> None:
    assert matched_rows([[{"a": "x"}], [{"a": "x"}, {"a": "quite different"}]]) == [[0, 0], [None, 1]]


def test_a_text_list_that_differs_in_length_is_a_set() -> None:
    assert places({"tags": ["red", "blue"]}, {"tags": ["Blue"]}) == {
        "tags[0]": ["red", ABSENT],
        "tags[1]": ["blue", "Blue"],
    }


@pytest.mark.parametrize(
    "lists", [([1, 2], [1, 3]), (["a", "b"], ["a", "c"]), (["a", "a"], ["a"]), ([[1], [2]], [[1]]), ([], [])]
)
def test_any_other_list_is_one_value(lists: tuple[list[Any], ...]) -> None:
    assert places(*({"list": one} for one in lists)) == {"list": list(lists)}


def test_what_stands_at_a_place_is_decided_before_what_is_below_it() -> None:
    layout = lay_out([{"a": {"b": 1}}, {"a": None}, {"a": None}])

    assert [place.path for place in layout.places] == ["a", "a.b"]
    assert layout.build([None, 1]) == {"a": None}
    assert layout.build([layout.places[0].values[0], 1]) == {"a": {"b": 1}}


@given(DOCUMENTS, st.integers(1, 3))
def test_equal_answers_build_themselves(document: Any, count: int) -> None:
    layout = lay_out([document] * count)

    assert layout.build([place.values[0] for place in layout.places]) == document


@given(st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_every_place_has_a_value_of_every_answer(documents: list[Any]) -> None:
    assert all(len(place.values) == len(documents) for place in lay_out(documents).places)


def test_rows_are_found_again_under_noise_and_disorder() -> None:
    """Of ten lines in random order with one wrong member each, all are matched."""
    rng = random.Random(7)
    lines = [{"name": f"{word} {word[::-1]}", "count": at, "price": at * 1.5} for at, word in enumerate(WORDS)]
    order = rng.sample(range(len(lines)), len(lines))
    other = [{**lines[at], rng.choice(("count", "price")): -1} for at in order]

    assert sorted(matched_rows([lines, other])) == [[at, order.index(at)] for at in range(len(lines))]


WORDS = ("copper", "walnut", "hinge", "gravel", "window", "plaster", "mortar", "ladder", "socket", "varnish")
