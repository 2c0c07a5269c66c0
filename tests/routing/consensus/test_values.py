"""When two values are the same: exact, normal, similar."""

from __future__ import annotations

from typing import Any

import pytest

from routing.consensus.literals import read
from routing.consensus.values import exact, normal, similar

SAME_EXACTLY = [
    (1, 1.0),
    (0.1 + 0.2, 0.3),
    (" Oslo ", "Oslo"),
    ("[1, 2]", "[1,2]"),
    ("{'a': None}", '{"a": null}'),
    ("'ab'", '"ab"'),
    ("Cafe\u0301", "Caf\u00e9"),
    ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}),
]
SAME_WHEN_NORMAL = [
    ("Main St., 12", "main st 12"),
    ("'R'", "R"),
    ("1,200.50", 1200.5),
    ("7", 7),
    ("2024-01-31", "January 31, 2024"),
    ("31 Jan 2024", "31.01.2024"),
    ("2024-01-31T10:00:00Z", "2024-01-31 10:00"),
    ("2026-11-22T10:00:00Z", "2026-11-22T11:00:00+01:00"),
    ("2026-11-21T23:30:00-01:00", "2026-11-22 00:30"),
    ("$1,200.00", "$ 1200"),
    ("1.200 €", "€1.2"),
    ("3.0%", "3 %"),
    ("[(4, 1), (2, 3)]", "[[4, 1], [2, 3]]"),
    (["b", "a"], ["A", "B"]),
    ("true", True),
]
DIFFERENT = [
    (True, 1),
    ("1.10", "1.1.0"),
    ("03/04/2024", "04/03/2024"),
    ("-", "."),
    ("[1, 2]", "[2, 1]"),
    (["a", "a"], ["a"]),
    (None, ""),
    (None, False),
    ("31/02/2024", "02/31/2024"),
    ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00+01:00"),
    ("9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z"),
    ("$12", "€12"),
    ("3 %", "3"),
    ("$3%", "$3"),
    ("[1, 2", "[1, 2]"),
]


@pytest.mark.parametrize(("one", "other"), SAME_EXACTLY)
def test_same_exactly(one: Any, other: Any) -> None:
    assert exact(one) == exact(other)


@pytest.mark.parametrize(("one", "other"), SAME_WHEN_NORMAL)
def test_same_when_normal_but_not_exactly(one: Any, other: Any) -> None:
    assert exact(one) != exact(other)
    assert normal(one) == normal(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_at_every_level(one: Any, other: Any) -> None:
    assert exact(one) != exact(other)
    assert normal(one) != normal(other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("International Business Machines", "International Busines Machines", True),
        ("Oslo", "Paris", False),
        ("version 1.2", "version 1.3", False),
        ("May 3 2024 at noon", "May 4 2024 at noon", False),
        (12345, 12346, False),
    ],
)
def test_similar_texts_have_the_same_numbers_in_them(one: Any, other: Any, same: bool) -> None:
    assert similar(normal(one), normal(other), 0.85) is same


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(1,)", ("t", ("n", 1))),
        ("(1)", ("n", 1)),
        ("{1, 2}", ("e", frozenset({("n", 1), ("n", 2)}))),
        ("{}", ("d", frozenset())),
        (r"'a\n\x41'", ("s", "a\nA")),
        ("-1.5e3", ("n", -1500)),
        ("__import__('os')", None),
        ("[" * 5000, None),
        ("[1, 2] + [3]", None),
        ("{'a': 1, 2}", None),
        ("[1 2]", None),
        ("", None),
    ],
)
def test_literal_is_read_without_evaluating(text: str, value: object) -> None:
    assert read(text) == value
