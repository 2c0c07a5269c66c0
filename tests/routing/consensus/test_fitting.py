"""The mathematics underneath."""

from __future__ import annotations

import random
from typing import Any

import pytest

from routing.consensus.answers import ABSENT, Answer, Mark
from routing.consensus.calibration import TAUGHT, UNTAUGHT, calibrate
from routing.consensus.fitting import Case, fit, shares, solve
from routing.consensus.history import History
from routing.consensus.schemas import Schema


def test_solve_undoes_the_product() -> None:
    matrix = [[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]]
    wanted = [1.0, -2.0, 3.0]
    right = [sum(a * b for a, b in zip(row, wanted, strict=True)) for row in matrix]

    assert solve(matrix, right) == pytest.approx(wanted)


def test_shares_are_probabilities_even_for_large_scores() -> None:
    assert sum(shares([800.0, -800.0], 0.0)) == pytest.approx(1)
    assert shares([], 0.0) == [1.0]


def test_fit_without_cases_stays_at_the_prior() -> None:
    assert fit([], [1.0, -1.0], [1.0, 1.0]) == [1.0, -1.0]


def test_fit_finds_where_the_slope_is_flat() -> None:
    """One vote right in 75 of 100 polls, with next to no pull: its weight is the log-odds."""
    right, wrong = (True, False), (False, True)
    cases = [Case((((0, 1.0),),), right, 75), Case((((0, 1.0),),), wrong, 25)]

    weight, none = fit(cases, [0.0, 0.0], [1e-6, 1e6])

    assert weight == pytest.approx(1.0986, abs=1e-3)
    assert none == pytest.approx(0, abs=1e-3)


def test_copies_share_one_weight() -> None:
    """Two voters that always agree get half of what one alone gets."""
    cases = [Case((((0, 1.0), (1, 1.0)),), (True, False), 75), Case((((0, 1.0), (1, 1.0)),), (False, True), 25)]

    one, other, _ = fit(cases, [0.0, 0.0, 0.0], [1e-3, 1e-3, 1e6])

    assert one == pytest.approx(other)
    assert one + other == pytest.approx(1.0986, abs=1e-2)


def test_calibration_keeps_order_and_mends_overconfidence() -> None:
    rng = random.Random(4)
    cases = [(0.99, rng.random() < 0.8) for _ in range(3000)] + [(0.6, rng.random() < 0.55) for _ in range(3000)]

    found = calibrate(cases, UNTAUGHT)

    assert found(0.2) < found(0.6) < found(0.99)
    assert found(0.99) == pytest.approx(0.8, abs=0.06)


def test_calibration_without_cases_changes_nothing() -> None:
    assert calibrate([]) == TAUGHT
    assert TAUGHT(0.7) == pytest.approx(0.7)


SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": ["string", "null"]},
        "b": {"anyOf": [{"$ref": "#/$defs/colour"}, {"type": "null"}]},
        "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}},
    },
    "$defs": {
        "colour": {"enum": ["red", "blue"]},
        "row": {"type": "object", "properties": {"c": {"type": "string"}, "again": {"$ref": "#/$defs/row"}}},
        "loop": {"$ref": "#/$defs/loop"},
    },
}


@pytest.mark.parametrize(
    ("name", "null", "enumeration"),
    [
        ("a", True, False),
        ("b", True, True),
        ("rows[].c", False, False),
        ("rows[].again.c", False, False),
        ("unknown", False, False),
        ("", False, False),
    ],
)
def test_schema_tells_null_and_enumerations(name: str, null: bool, enumeration: bool) -> None:
    schema = Schema(SCHEMA)

    assert (schema.allows_null(name), schema.is_enumeration(name)) == (null, enumeration)


def test_schema_that_refers_to_itself_ends() -> None:
    assert not Schema({"$ref": "#"}).allows_null("")


TYPED = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["wars", "art"]},
        "year": {"type": "integer"},
        "rate": {"type": ["number", "null"]},
        "note": {"type": "string", "nullable": True},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "table": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"c": {}}, "required": ["c"]}},
    },
    "required": ["kind"],
}


@pytest.mark.parametrize(
    ("name", "value", "out"),
    [
        ("kind", "wars", False),
        ("kind", "Europe", True),
        ("kind", ABSENT, True),
        ("year", ABSENT, False),
        ("year", 1990, False),
        ("year", 1990.0, False),
        ("year", 1990.5, True),
        ("year", "1990", True),
        ("year", True, True),
        ("rate", None, False),
        ("rate", "5 %", True),
        ("note", None, False),
        ("either", 3, False),
        ("either", 3.5, True),
        ("table", [[1, 2], [3]], False),
        ("table", [1, 2, 3], True),
        ("table", Mark.LIST, False),
        ("table", Mark.OBJECT, True),
        ("rows[].c", ABSENT, True),
        ("unknown", "anything", False),
        ("", {}, False),
        ("", [], True),
    ],
)
def test_schema_tells_what_cannot_stand_there(name: str, value: Any, out: bool) -> None:
    assert Schema(TYPED).rules_out(name, value) == out
    assert not Schema(None).rules_out(name, value)


def test_questions_that_all_answer_alike_say_little_of_a_target() -> None:
    """It is wrong in half of what is disputed, however many easy questions there were besides."""
    history = History()
    for at in range(120):
        odd = "wrong" if at < 20 else f"right {at}"
        told = [Answer("t0", {"a": f"right {at}"}), Answer("t1", {"a": f"right {at}"}), Answer("odd", {"a": odd})]
        history.observe(told)
    history.refit()
    reliability = history.learned.reliability

    assert reliability.of("t0") > 0.95
    assert reliability.of("odd") < 0.75
