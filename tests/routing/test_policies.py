"""Orders of targets."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from routing.breaker import Breakers
from routing.health import Health
from routing.policies import POLICIES, View
from routing.pricing import PriceBook
from routing.targets import Target
from translators.neutral import Request

REQUEST = Request("openai_chat", "m", ())
TARGETS = (Target("a", "m", 5), Target("b", "m", 3), Target("c", "m", 2), Target("d", "m", 0))


@pytest.fixture
def view(clock) -> View:
    return View(Random(7), clock, Breakers(clock), {}, Health(), PriceBook())


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_gives_back_each_candidate_once(view: View, name: str) -> None:
    for _ in range(50):
        assert sorted(POLICIES[name](REQUEST, TARGETS, view), key=lambda target: target.provider) == list(TARGETS)
    assert POLICIES[name](REQUEST, (), view) == []


def test_failover_keeps_the_order(view: View) -> None:
    assert POLICIES["failover"](REQUEST, TARGETS, view) == list(TARGETS)


def test_weighted_draws_without_replacement_in_proportion(view: View) -> None:
    """P(first a) = 5/10, P(second b | first a) = 3/5; weight 0 comes last."""
    orders = [tuple(target.provider for target in POLICIES["weighted"](REQUEST, TARGETS, view)) for _ in range(20_000)]
    first = Counter(order[0] for order in orders)
    after_a = Counter(order[1] for order in orders if order[0] == "a")

    assert first["a"] / 20_000 == pytest.approx(0.5, abs=0.02)
    assert first["b"] / 20_000 == pytest.approx(0.3, abs=0.02)
    assert after_a["b"] / first["a"] == pytest.approx(0.6, abs=0.03)
    assert {order[-1] for order in orders} == {"d"}


def test_targets_of_weight_0_come_last_as_written(view: View) -> None:
    idle = [Target("x", str(number), 0) for number in range(5)]
    order = POLICIES["weighted"](REQUEST, [*idle, Target("a", "m")], view)

    assert order[0].provider == "a"
    assert all(int(left.model) < int(right.model) for left, right in pairwise(order[1:]))
