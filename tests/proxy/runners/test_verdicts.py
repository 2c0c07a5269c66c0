"""From callers' words to the label that a route learns from."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.runners.verdicts import corrected, label_of, steps_of
from routing.consensus import Label

MERGED = {"city": "Bonn", "items": [{"name": "bread", "price": 2}]}
MINUTES = {"value": MERGED, "fields": [{"path": "city"}, {"path": "items[0].price"}], "tools": []}
CALL = {"value": {"weather": {"days": 3}}, "fields": [{"path": "weather.days"}], "tools": ["weather"]}


@pytest.mark.parametrize(
    ("verdicts", "label"),
    [
        ([{"correct": True}], Label(MERGED)),
        ([{"correct": False}], Label(right=False, merged=MERGED)),
        ([{"score": 0.5}], Label(MERGED)),
        ([{"score": 0.4}], Label(right=False, merged=MERGED)),
        ([{"target": "one/a", "correct": False}], Label(rights={"one/a": False})),
        (
            [{"target": "one/a", "correct": False}, {"target": "two/b", "score": 1}],
            Label(rights={"one/a": False, "two/b": True}),
        ),
        ([{"correct": False}, {"correct": True}], Label(MERGED)),
        ([{"correct": True}, {"value": {"city": "Graz"}}], Label({"city": "Graz"})),
        ([{"value": None}], Label(None)),
        ([{"fields": {"city": "Graz"}}], Label({**MERGED, "city": "Graz"})),
    ],
)
def test_the_label_of_several_verdicts(verdicts: list[dict[str, Any]], label: Label) -> None:
    assert label_of(verdicts, MINUTES) == label


@pytest.mark.parametrize(
    "said",
    [
        {"value": {"days": 4}},
        {"value": {"weather": {"days": 4}}},
        {"fields": {"days": 4}},
        {"fields": {"weather.days": 4}},
    ],
)
def test_the_one_tool_that_is_called_need_not_be_named(said: dict[str, Any]) -> None:
    assert label_of([said], CALL) == Label({"weather": {"days": 4}})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("items[0].price", {"city": "Bonn", "items": [{"name": "bread", "price": 9}]}),
        ("items[5].price", MERGED),
        ("city.part.more", MERGED),
        ("", 9),
    ],
)
def test_a_right_value_goes_where_its_path_leads(path: str, value: Any) -> None:
    assert corrected(MERGED, {path: 9}) == value


def test_paths_are_names_and_positions() -> None:
    assert steps_of("items[10].a_b[0].c d") == ["items", 10, "a_b", 0, "c d"]
