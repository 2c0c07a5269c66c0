"""Training data: both forms are read, and what is wrong is named with its line."""

from __future__ import annotations

import json

import pytest

from routing.auto.errors import BadSamples
from routing.auto.features import Traits
from routing.auto.samples import Outcome, Sample, read_samples

LONG = {
    "text": "2 + 2?",
    "system": "Be brief.",
    "tools": ["calculate"],
    "outcomes": {"a/x": {"quality": 1, "cost_usd": 0.002, "seconds": 0.4}, "b/y": 0.5},
}


def test_outcomes_by_name() -> None:
    found = read_samples([json.dumps(LONG), "", "  "])

    outcomes = {"a/x": Outcome(1.0, 0.002, 0.4), "b/y": Outcome(0.5)}
    assert found == [Sample(Traits("2 + 2?", "Be brief.", ("calculate",)), outcomes)]


def test_lists_in_the_order_of_the_first_line() -> None:
    found = read_samples(
        ['{"meta": {"models": ["x", "y"]}}', '{"text": "a", "y": [1, null], "c": [2000, 5], "t": [0.5, null]}']
    )

    assert found == [Sample(Traits("a"), {"x": Outcome(1.0, 0.002, 0.5)})]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "no JSON"),
        ("[1]", "expected an object"),
        ('{"outcomes": {"a": 1}}', "text"),
        ('{"text": "a"}', "outcomes"),
        ('{"text": "a", "outcomes": {"a": 2}}', "outcomes.a.quality"),
        ('{"text": "a", "outcomes": {"a": "good"}}', "outcomes.a.quality"),
        ('{"text": "a", "outcomes": {"a": {"quality": 1, "price": 2}}}', "quality, cost_usd and seconds"),
        ('{"text": "a", "outcomes": {"a": {"quality": 1, "cost_usd": -1}}}', "cost_usd"),
        ('{"text": "a", "tools": "b", "outcomes": {"a": 1}}', "tools"),
        ('{"text": "a", "y": [1]}', "meta.models"),
        ('{"meta": {"models": "x"}}', "meta.models"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(line: str, told: str) -> None:
    with pytest.raises(BadSamples, match=r"line 2: ") as caught:
        read_samples([json.dumps(LONG), line])
    assert told in str(caught.value)
