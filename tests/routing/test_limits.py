"""Several keys per provider, taken in turn, resting after refusals."""

from __future__ import annotations

import pytest

from routing.limits import KeyRing
from translators.neutral import ErrorKind, Failure


def test_keys_go_in_turn(clock) -> None:
    ring = KeyRing(("a", "b", "c"), clock)

    assert [ring.take() for _ in range(4)] == [0, 1, 2, 0]


def test_a_provider_without_keys_has_the_anonymous_one(clock) -> None:
    ring: KeyRing[str] = KeyRing((), clock)

    assert (ring.keys, ring.take(), ring.total, ring.available) == ((None,), 0, 1, 1)


def test_a_resting_key_is_passed_over_until_its_time(clock) -> None:
    ring = KeyRing(("a", "b"), clock)
    ring.cool(0, 20)
    ring.cool(1, 5)

    assert (ring.take(), ring.available, ring.free_in_s()) == (None, 0, 5)
    clock.advance(5)
    assert (ring.take(), ring.available, ring.free_in_s()) == (1, 1, 0)


@pytest.mark.parametrize(
    ("kind", "asked", "seconds"),
    [
        ("authentication", None, 300),
        ("permission", None, 300),
        ("billing", None, 600),
        ("rate_limit", None, 10),
        ("rate_limit", 2.5, 2.5),
        ("rate_limit", 400, 400),
        ("server", None, 0),
        ("overloaded", 7, 0),
        ("invalid_request", None, 0),
    ],
)
def test_how_long_a_key_rests(clock, kind: ErrorKind, asked: float | None, seconds: float) -> None:
    ring = KeyRing(("a",), clock)
    ring.refused(0, Failure(kind, "", 400, retry_after_s=asked), "m")

    assert ring.free_in_s("m") == seconds


def test_repeated_429_without_retry_after_double_the_rest_up_to_two_minutes(clock) -> None:
    ring = KeyRing(("a",), clock)
    rests = []
    for _ in range(6):
        ring.refused(0, Failure("rate_limit", "", 429))
        rests.append(ring.free_in_s())
        clock.advance(200)
    ring.worked(0)
    ring.refused(0, Failure("rate_limit", "", 429))

    assert rests == [10, 20, 40, 80, 120, 120]
    assert ring.free_in_s() == 10


def test_a_403_rests_the_key_for_that_model_alone(clock) -> None:
    ring = KeyRing(("a",), clock)
    ring.refused(0, Failure("permission", "", 403), "forbidden")

    assert (ring.take("forbidden"), ring.take("allowed"), ring.available) == (None, 0, 0)


def test_a_429_rests_the_key_for_that_model_alone(clock) -> None:
    """Vendors limit rates for each model: the others are still served; health says when the rest is over."""
    ring = KeyRing(("a",), clock)
    ring.refused(0, Failure("rate_limit", "", 429, retry_after_s=7), "busy")

    assert (ring.take("busy"), ring.take("idle"), ring.available, ring.cooldown_s) == (None, 0, 0, 7)


def test_a_guessed_rest_can_be_broken_and_a_firm_one_cannot(clock) -> None:
    ring = KeyRing(("a", "b", "c"), clock)
    ring.refused(0, Failure("authentication", "", 401))
    ring.refused(1, Failure("rate_limit", "", 429, retry_after_s=1))
    ring.refused(2, Failure("rate_limit", "", 429))

    assert ring.take() is None
    assert ring.take_resting() == 2
    assert ring.take_resting(tried={2}) == 0
    assert ring.take_resting(tried={0, 2}) is None


def test_an_answer_ends_a_guessed_rest_but_not_a_firm_one(clock) -> None:
    ring = KeyRing(("a", "b"), clock)
    ring.refused(0, Failure("authentication", "", 401))
    ring.refused(1, Failure("rate_limit", "", 429, retry_after_s=9))
    ring.worked(0)
    ring.worked(1)

    assert ring.available == 1
    assert ring.take() == 0


def test_rests_are_bounded(clock) -> None:
    ring = KeyRing(("a",), clock)
    for number in range(3000):
        ring.refused(0, Failure("permission", "", 403), f"m{number}")

    assert len(ring._rests) <= 1024


@pytest.mark.parametrize(
    ("weights", "turns"),
    [
        ((), "abcabcabc"),
        ((1, 1, 1), "abcabcabc"),
        ((3, 1), "aabaaaba"),
        ((5, 1, 1), "aabacaa" * 2),
        ((1, 2, 3), "cbacbc" * 2),
    ],
)
def test_heavier_keys_go_more_often_and_not_all_at_once(clock, weights: tuple[int, ...], turns: str) -> None:
    ring = KeyRing("abc"[: len(weights) or 3], clock, weights)
    names = [ring.keys[ring.take()] for _ in turns]

    assert "".join(names) == turns


@pytest.mark.parametrize("weights", [(3, 1), (5, 1, 1), (7, 3, 2, 1), (1000, 1)])
def test_every_round_of_turns_has_each_key_as_often_as_it_weighs(clock, weights: tuple[int, ...]) -> None:
    ring = KeyRing(range(len(weights)), clock, weights)

    for _ in range(3):
        turns = [ring.take() for _ in range(sum(weights))]
        assert tuple(turns.count(index) for index in range(len(weights))) == weights


def test_while_a_heavy_key_rests_the_others_share_its_turns_and_then_it_goes_on(clock) -> None:
    ring = KeyRing("abc", clock, (8, 1, 1))
    ring.cool(0, 10)
    resting = [ring.take() for _ in range(4)]
    clock.advance(10)
    after = [ring.take() for _ in range(10)]

    assert sorted(resting) == [1, 1, 2, 2]
    assert [after.count(index) for index in range(3)] == [8, 1, 1]


def test_a_key_that_was_tried_in_vain_is_passed_over_whatever_it_weighs(clock) -> None:
    ring = KeyRing("ab", clock, (100, 1))

    assert [ring.take("m", {0}), ring.take("m", {0, 1}), ring.take("m", {1})] == [1, None, 0]


def test_a_preferred_key_that_is_free_is_taken_and_costs_nobody_a_turn(clock) -> None:
    ring = KeyRing(["a", "b"], clock)

    assert [ring.take("m", (), 1) for _ in range(5)] == [1] * 5
    assert sorted([ring.take("m"), ring.take("m")]) == [0, 1]
    assert ring.take("m", {1}, 1) == 0
    ring.cool(1, 30)
    assert ring.take("m", (), 1) == 0
