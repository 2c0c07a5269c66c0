"""Typed reading: what is right is read, what is wrong is named with its place."""

from typing import Any

import pytest

from translators.errors import BadRequest
from translators.fields import Fields


@pytest.mark.parametrize(
    ("method", "value", "read"),
    [
        ("text", "x", "x"),
        ("text", None, None),
        ("number", 1.5, 1.5),
        ("integer", 3.0, 3),
        ("flag", False, False),
        ("mapping", {"a": 1}, {"a": 1}),
        ("items", [1], [1]),
        ("texts", ["a"], ["a"]),
    ],
)
def test_a_right_value_is_read(method: str, value: Any, read: Any) -> None:
    assert getattr(Fields({"k": value}), method)("k") == read


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("text", 1, "k: expected a string, found 1"),
        ("needed_text", None, "k: expected a string, found null"),
        ("number", True, "k: expected a number, found True"),
        ("number", "1", "k: expected a number, found '1'"),
        ("integer", 1.5, "k: expected a whole number, found 1.5"),
        ("flag", 0, "k: expected a boolean, found 0"),
        ("mapping", [], "k: expected an object, found an array"),
        ("items", {}, "k: expected an array, found an object"),
        ("texts", ["a", 1], "k[1]: expected a string, found a number"),
        ("objects", [{}, 1], "k[1]: expected an object, found a number"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(method: str, value: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        getattr(Fields({"k": value}), method)("k")

    assert caught.value.message == message
    assert caught.value.param == message.partition(":")[0]


@pytest.mark.parametrize(
    ("method", "value", "low", "high", "expected"),
    [
        ("number", 2.5, 0, 2, "a number from 0 to 2"),
        ("number", -1, 0, None, "a number of at least 0"),
        ("integer", 21, 0, 20, "a whole number from 0 to 20"),
        ("integer", 0, 1, None, "a whole number of at least 1"),
    ],
)
def test_bounds_are_named(method: str, value: float, low: int, high: int | None, expected: str) -> None:
    with pytest.raises(BadRequest, match=expected):
        getattr(Fields({"k": value}), method)("k", low, high)


def test_places_grow_with_depth() -> None:
    message = Fields({"messages": [{}, {"content": {"type": 1}}]}).objects("messages")[1]
    content = message.object("content")

    assert content is not None
    with pytest.raises(BadRequest) as caught:
        content.text("type")
    assert caught.value.param == "messages[1].content.type"


def test_a_missing_field_is_said_to_be_missing() -> None:
    with pytest.raises(BadRequest, match="model: missing; expected a string") as caught:
        Fields({}).needed_text("model")

    assert caught.value.code == "missing_required_parameter"


def test_a_choice_lists_what_would_be_right() -> None:
    with pytest.raises(BadRequest, match="expected one of low, high, found 'mid'"):
        Fields({"k": "mid"}).choice("k", ("low", "high"))


def test_the_rest_is_what_nobody_asked_for() -> None:
    fields = Fields({"a": 1, "z": None, "c": 3, "b": 2})
    fields.get("a")

    assert list(fields.rest().items()) == [("c", 3), ("b", 2)]
