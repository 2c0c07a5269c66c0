"""Values of the neutral form are declared frozen, and are in all but assignment what frozen dataclasses are."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from translators import neutral
from translators.neutral import ToolChoice
from translators.values import NOTHING, value


def test_every_value_of_the_neutral_form_is_declared_frozen() -> None:
    """The type checker takes `value` for `dataclass` and so refuses to assign to a field."""
    classes = [node for node in ast.parse(inspect.getsource(neutral)).body if isinstance(node, ast.ClassDef)]

    assert len(classes) > 20
    assert {ast.unparse(word) for found in classes for word in found.decorator_list} == {
        "value(frozen=True, slots=True)"
    }


@value(frozen=True, slots=True)
class Quick:
    name: str
    number: int = 0
    place: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    number: int = 0
    place: str = dataclasses.field(default="", compare=False)


def test_a_value_compares_hashes_and_matches_as_a_frozen_dataclass() -> None:
    one, other = Quick("a", 1, "here"), Quick("a", 1, "there")

    assert one == other
    assert one != Quick("a", 2)
    assert hash(one) == hash(other) == hash(Frozen("a", 1, "x"))
    assert repr(one) == repr(Frozen("a", 1, "here")).replace("Frozen", "Quick")
    assert dataclasses.replace(one, number=2) == Quick("a", 2)
    assert Quick.__match_args__ == Frozen.__match_args__
    assert dataclasses.asdict(one) == dataclasses.asdict(Frozen("a", 1, "here"))


def test_a_value_has_no_other_fields() -> None:
    with pytest.raises(AttributeError):
        setattr(ToolChoice("auto"), "other", 1)  # noqa: B010  the type checker refuses the plain form


def test_the_shared_empty_object_stays_empty() -> None:
    """Values that say nothing share it: whoever wrote into one would write into all."""
    shared: Any = NOTHING

    changes: list[Callable[[], Any]] = [
        lambda: shared.__setitem__("a", 1),
        lambda: shared.update(a=1),
        lambda: shared.setdefault("a", 1),
        lambda: shared.__ior__({"a": 1}),
    ]
    for change in changes:
        with pytest.raises(TypeError, match="make a new object"):
            change()
    assert shared == {}
    assert neutral.Text("x").native is neutral.Text("y").native is NOTHING
