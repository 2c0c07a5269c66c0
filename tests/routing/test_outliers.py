"""Targets that do worse than the others of their route."""

from __future__ import annotations

from itertools import product

import pytest

from routing.outliers import EJECTED_S, Outliers
from routing.targets import Target

A, B, C, D = (Target(name, "m") for name in "abcd")


def fed(
    clock, *targets: Target, rates: dict[str, float], ms: dict[str, float] | None = None, count: int = 100
) -> Outliers:
    """Outliers that have seen *count* attempts of each target, with these shares of failures and first events."""
    told = Outliers(clock)
    for number in range(count):
        for target in targets:
            share = rates.get(target.provider, 0.0)
            failed = int((number + 1) * share) > int(number * share)
            time_ms = (ms or {}).get(target.provider, 100.0)
            told.seen(target.provider, "m", failed=failed, first_event_ms=None if failed else time_ms)
        clock.advance(0.05)
    return told


def test_a_target_that_fails_more_than_the_others_goes_last_for_a_time(clock) -> None:
    told = fed(clock, A, B, C, rates={"a": 0.3})

    assert told.order([A, B, C]) == [B, C, A]
    assert "30% of its attempts fail" in told.why(A)
    clock.advance(EJECTED_S + 1)
    assert told.order([A, B, C]) == [A, B, C]


def test_where_all_fail_alike_nobody_is_out_of_line(clock) -> None:
    told = fed(clock, A, B, C, rates={"a": 0.5, "b": 0.5, "c": 0.45})

    assert told.order([A, B, C]) == [A, B, C]


@pytest.mark.parametrize(("count", "bad"), list(product((2, 3, 4), (1, 2, 3))))
def test_at_most_half_are_ejected_and_never_the_last(clock, count: int, bad: int) -> None:
    targets = [A, B, C, D][:count]
    told = fed(clock, *targets, rates={target.provider: 0.5 + place / 10 for place, target in enumerate(targets[:bad])})
    ordered = told.order(targets)
    out = sum(told.ejected(target) > 0 for target in targets)

    assert sorted(ordered, key=lambda target: target.provider) == targets
    assert out <= count // 2
    assert told.order([A]) == [A]


def test_few_attempts_say_nothing(clock) -> None:
    assert fed(clock, A, B, rates={"a": 1.0}, count=4).order([A, B]) == [A, B]


def test_a_target_that_becomes_slow_goes_last_and_one_that_always_was_does_not(clock) -> None:
    told = fed(clock, A, B, C, rates={}, ms={"a": 200, "b": 200, "c": 3000})
    for _ in range(60):
        told.seen("a", "m", failed=False, first_event_ms=4000)
        told.seen("b", "m", failed=False, first_event_ms=200)
        told.seen("c", "m", failed=False, first_event_ms=3000)
        clock.advance(0.5)

    assert told.order([C, A, B]) == [C, B, A]
    assert "times as slow as it usually is" in told.why(A)


@pytest.mark.parametrize(("late_before", "order"), [(False, [B, A]), (True, [A, B])])
def test_who_streams_as_a_rule_and_then_sends_all_at_once_was_slow_to_begin(
    clock, late_before: bool, order: list[Target]
) -> None:
    """Of who always sends all at once it says how long the answers are."""
    told = Outliers(clock)
    for late, ms in ((late_before, 200), (True, 4000)):
        for _ in range(60):
            told.seen("a", "m", failed=False, first_event_ms=ms, late=late)
            told.seen("b", "m", failed=False, first_event_ms=200)
            clock.advance(0.5)

    assert told.order([A, B]) == order


def test_where_all_become_slow_nobody_is_out_of_line(clock) -> None:
    told = fed(clock, A, B, C, rates={}, ms={"a": 200, "b": 200, "c": 200})
    for _ in range(60):
        for name in "abc":
            told.seen(name, "m", failed=False, first_event_ms=4000)
        clock.advance(0.5)

    assert told.order([A, B, C]) == [A, B, C]


def test_who_is_ejected_again_stays_out_longer(clock) -> None:
    said: list[float] = []
    told = Outliers(clock, lambda _name, for_s, _why: said.append(for_s))
    for _ in range(3):
        for _ in range(40):
            told.seen("a", "m", failed=True)
            told.seen("b", "m", failed=False)
        told.order([A, B])
        clock.advance(told.ejected(A) + 1)

    assert said == [EJECTED_S, 2 * EJECTED_S, 4 * EJECTED_S]


def test_under_strain_those_that_fail_least_go_first(clock) -> None:
    told = fed(clock, A, B, C, rates={"a": 0.3, "b": 0.3})

    assert told.order([A, B, C], strained=True)[0] == C


def test_streams_that_are_given_up_show_that_a_target_has_become_slow(clock) -> None:
    """Whoever loses each race is never measured to its first event."""
    told = fed(clock, A, B, rates={}, ms={"a": 200.0, "b": 200.0})
    for _ in range(40):
        told.cut_short("a", "m", 2_000.0)
        told.seen("b", "m", failed=False, first_event_ms=200.0)
        clock.advance(1)

    assert told.order([A, B]) == [B, A]
    assert "times as slow" in told.why(A)


def test_streams_that_are_given_up_early_say_nothing(clock) -> None:
    told = fed(clock, A, B, rates={}, ms={"a": 900.0, "b": 900.0})
    for _ in range(50):
        told.cut_short("a", "m", 100.0)
        clock.advance(1)

    assert told.order([A, B]) == [A, B]
    assert told.ejected_of("a") == []
