"""Learning from one outcome for each request, on streams that stay, drift, break, or lie in wait."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest

from routing.auto.bandit import MODEL, MOST_TRUST, TRUST, Bandit, explored

T = 10_000
Stream = Callable[[Random, int], list[float]]


def coins(*chances: Callable[[int], float]) -> Stream:
    return lambda rng, at: [float(rng.random() < chance(at)) for chance in chances]


def fixed(chance: float) -> Callable[[int], float]:
    return lambda _at: chance


def breaking(before: float, after: float, share: float) -> Callable[[int], float]:
    return lambda at: before if at < share * T else after


STREAMS: dict[str, Stream] = {
    "far apart": coins(fixed(0.9), fixed(0.6), fixed(0.3)),
    "near": coins(fixed(0.8), fixed(0.78), fixed(0.7)),
    "equal": coins(fixed(0.7), fixed(0.7), fixed(0.7)),
    "rare": coins(fixed(0.05), fixed(0.95), fixed(0.5)),
    "drifting": coins(*(lambda at, k=k: 0.7 + 0.2 * math.sin(at / 1500 + 2 * k) for k in range(3))),
    "the best one breaks": coins(breaking(0.9, 0.3, 0.4), breaking(0.6, 0.8, 0.4)),
    "a late riser": coins(breaking(0.8, 0.6, 0.5), breaking(0.4, 0.95, 0.5)),
    "taking turns": lambda _rng, at: [float(at % 2 == 0), float(at % 2 == 1)],
    "in blocks": coins(*(lambda at, k=k: 0.85 if at // 250 % 2 == k else 0.6 for k in range(2))),
}


def share_of_best(stream: Stream, seed: int, expected: float = 0.5) -> float:
    rng, bandit, earned = Random(seed), Bandit(), 0.0
    alone: list[float] = []
    for at in range(T):
        rewards = stream(rng, at)
        alone = [a + b for a, b in zip(alone or [0.0] * len(rewards), rewards, strict=True)]
        names = {str(arm): expected for arm in range(len(rewards))}
        expert = bandit.pick(names, rng)
        earned += rewards[int(expert)]
        bandit.learn(expert, rewards[int(expert)])
    return earned / max(alone)


@pytest.mark.parametrize("name", STREAMS)
def test_hardly_less_is_earned_than_by_the_best_target_in_hindsight(name: str) -> None:
    shares = [share_of_best(STREAMS[name], seed) for seed in range(2)]

    assert min(shares) > 0.98, shares
    assert sum(shares) / len(shares) > 0.985, shares


def test_a_start_is_what_was_expected() -> None:
    """Expected to be better by far, an expert gets nearly all of the first requests."""
    picks = [Bandit().pick({"good": 0.9, "bad": 0.3}, Random(seed)) for seed in range(200)]

    assert picks.count("good") > 195


def _short(chances: list[float], expected: list[float], trust: float, seed: int, length: int) -> float:
    """What is earned on a short stream, by what its best target earns; the experts are expected to be so good."""
    rng, bandit, earned = Random(seed), Bandit(), 0.0
    alone = [0.0] * len(chances)
    for _ in range(length):
        rewards = [float(rng.random() < chance) for chance in chances]
        alone = [a + b for a, b in zip(alone, rewards, strict=True)]
        expert = bandit.pick({str(at): each for at, each in enumerate(expected)}, rng, trust)
        earned += rewards[int(expert)]
        bandit.learn(expert, rewards[int(expert)])
    return earned / max(alone)


def test_what_was_measured_before_makes_a_short_stream_a_good_one() -> None:
    true = [0.8, 0.7, 0.6]
    measured = [_short(true, true, MOST_TRUST, seed, 400) for seed in range(30)]
    unmeasured = [_short(true, [0.5] * 3, TRUST, seed, 400) for seed in range(30)]

    assert sum(measured) / 30 > 0.985
    assert sum(measured) > sum(unmeasured)


@pytest.mark.parametrize("expected", [[0.6, 0.7, 0.8], [0.5, 0.9, 0.5]])
def test_expectations_that_come_true_for_nobody_are_soon_forgotten(expected: list[float]) -> None:
    shares = [_short([0.8, 0.7, 0.6], expected, MOST_TRUST, seed, 4000) for seed in range(8)]

    assert sum(shares) / 8 > 0.97


def test_beliefs_of_before_expectations_were_kept_apart_are_read() -> None:
    assert Bandit.unpacked({"a": [6.0, 2.0]}).mean("a") == pytest.approx(0.75)


def test_an_outcome_of_an_unknown_expert_teaches_nothing() -> None:
    bandit = Bandit()
    bandit.learn("nobody", 1.0)

    assert bandit.packed() == {}


def test_beliefs_survive_packing_and_what_is_none_is_left_out() -> None:
    bandit = Bandit()
    for _ in range(50):
        bandit.learn(bandit.pick({MODEL: 0.6, "a": 0.5}, Random(1)), 1.0)
    packed = bandit.packed()

    assert Bandit.unpacked(packed).packed() == packed
    assert Bandit.unpacked({**packed, "x": "y", "z": [1], "n": [-1, 2], "o": [0, 0]}).packed() == packed


@pytest.mark.parametrize("floor", [0.0, 0.05, 0.5])
def test_each_target_gets_its_floor(floor: float) -> None:
    rng = Random(3)
    tried = [explored(["a", "b"], floor, rng) for _ in range(10_000)]

    for name in ("a", "b"):
        assert tried.count(name) / 10_000 == pytest.approx(min(floor, 0.5), abs=0.02)
    assert explored([], floor, rng) is None
