"""closed, open, half-open."""

from __future__ import annotations

from typing import get_args

import pytest

from routing.breaker import CLIENTS_DEADLINE, VERDICTS, Breaker, Breakers
from routing.targets import Target
from translators.neutral import ErrorKind, Failure


def failure(kind: ErrorKind) -> Failure:
    return Failure(kind, "", 500)


def test_five_failures_in_a_row_open_it(clock) -> None:
    breaker = Breaker(clock)
    for _ in range(4):
        breaker.failed()
    breaker.succeeded()
    for _ in range(4):
        breaker.failed()

    assert breaker.allows()
    breaker.failed()
    assert (breaker.state, breaker.allows(), breaker.cooldown_s) == ("open", False, 30.0)


def test_open_breaker_lets_one_probe_through_after_cooldown(clock) -> None:
    breaker = Breaker(clock, threshold=1)
    breaker.failed()
    clock.advance(29.9)
    assert not breaker.allows()
    clock.advance(0.1)

    assert breaker.state == "half_open"
    assert [breaker.allows(), breaker.allows()] == [True, False]


def test_the_probe_decides(clock) -> None:
    for answer, state in (("succeeded", "closed"), ("failed", "open")):
        breaker = Breaker(clock, threshold=3)
        for _ in range(3):
            breaker.failed()
        clock.advance(30)
        breaker.allows()
        getattr(breaker, answer)()

        assert breaker.state == state


def test_an_answer_that_begins_wipes_out_no_failure_and_one_that_ends_all(clock) -> None:
    """Five streams that break off open it, whatever came of them first."""
    breaker = Breaker(clock)
    for number in range(5):
        assert (breaker.state, breaker.well) == ("closed", number < 2)
        breaker.began()
        breaker.failed()
    assert breaker.state == "open"

    clock.advance(30)
    assert breaker.allows()
    breaker.began()
    assert (breaker.state, breaker.well, breaker.failures) == ("closed", False, 4)
    breaker.failed()
    assert breaker.state == "open"

    clock.advance(30)
    breaker.began()
    breaker.succeeded()
    assert breaker.well


def test_a_probe_that_is_cancelled_or_forgotten_gives_its_place_back(clock) -> None:
    breaker = Breaker(clock, threshold=1, probe_s=60)
    breaker.failed()
    clock.advance(30)
    assert breaker.allows()
    breaker.released()
    assert breaker.allows()
    clock.advance(59)
    assert not breaker.allows()
    clock.advance(1)

    assert breaker.allows()


def test_late_failures_do_not_prolong_the_cooldown(clock) -> None:
    breaker = Breaker(clock, threshold=1)
    breaker.failed()
    clock.advance(20)
    breaker.failed()

    assert breaker.cooldown_s == 10


@pytest.mark.parametrize("kind", get_args(ErrorKind))
def test_only_failures_that_speak_about_the_server_open_it(clock, kind: ErrorKind) -> None:
    breaker = Breaker(clock)
    for _ in range(10):
        breaker.judge(failure(kind))

    ill = kind in {"connection", "timeout", "server", "overloaded", "invalid_response"}
    assert breaker.state == ("open" if ill else "closed")


@pytest.mark.parametrize("kind", get_args(ErrorKind))
def test_any_answer_to_the_probe_closes_it_but_a_429_says_nothing(clock, kind: ErrorKind) -> None:
    breaker = Breaker(clock, threshold=1)
    breaker.failed()
    clock.advance(30)
    breaker.allows()
    breaker.judge(failure(kind))

    expected = {"failed": "open", "answered": "closed", "nothing": "half_open"}
    assert breaker.state == expected[VERDICTS[kind]]
    assert breaker.ready == (VERDICTS[kind] != "failed")


def test_a_target_has_one_breaker_whatever_its_weight(clock) -> None:
    breakers = Breakers(clock)

    assert breakers.of(Target("a", "m", 1)) is breakers.of(Target("a", "m", 5))
    assert breakers.of(Target("a", "m")) is not breakers.of(Target("a", "n"))


def test_the_number_of_breakers_is_bounded(clock) -> None:
    breakers = Breakers(clock, threshold=1, limit=2)
    kept = breakers.of(Target("a", "0"))
    for number in range(1, 9):
        newest = breakers.of(Target("a", str(number)))
        assert breakers.of(Target("a", str(number))) is newest
        assert breakers.of(Target("a", "0")) is kept


def test_a_provider_shows_its_worst_breaker_and_is_shut_when_all_are_open(clock) -> None:
    breakers = Breakers(clock, threshold=1)
    breakers.of(Target("a", "well"))
    breakers.of(Target("a", "ill")).failed()
    breakers.of(Target("b", "ill")).failed()

    assert (breakers.state("a"), breakers.shut("a")) == (("open", 30.0), False)
    assert breakers.shut("b")
    assert (breakers.state("c"), breakers.shut("c")) == (("closed", 0.0), False)


def test_every_change_is_told_with_its_reason(clock) -> None:
    told: list[tuple[str, ...]] = []
    breaker = Breakers(clock, 2, 30, told=lambda *change: told.append(change)).of(Target("a", "m"))
    failure = Failure("server", "secret words", 500)
    breaker.judge(failure)
    breaker.judge(failure)
    clock.advance(30)
    breaker.allows()
    breaker.judge(failure)
    clock.advance(30)
    breaker.allows()
    breaker.succeeded()
    breaker.succeeded()

    assert [(target, f"{before} -> {after}") for target, before, after, _ in told] == [
        ("a/m", "closed -> open"),
        ("a/m", "open -> half_open"),
        ("a/m", "half_open -> open"),
        ("a/m", "open -> half_open"),
        ("a/m", "half_open -> closed"),
    ]
    assert [why for *_, why in told] == [
        "500 server",
        "its cooldown is over, one request is let through",
        "500 server",
        "its cooldown is over, one request is let through",
        "it answered",
    ]


def test_an_answer_that_begins_is_told_and_a_failure_without_a_reason_has_one(clock) -> None:
    told: list[tuple[str, ...]] = []
    breaker = Breaker(clock, threshold=1, told=lambda *change: told.append(change))
    breaker.failed()
    clock.advance(30)
    breaker.began()

    assert told == [("closed", "open", "it failed"), ("half_open", "closed", "its answer has begun")]


def test_a_client_that_would_not_wait_speaks_for_nobody(clock) -> None:
    """Its probe gives the place back, and opens nothing."""
    impatient = Failure("timeout", "", 504, code=CLIENTS_DEADLINE)
    breaker = Breaker(clock, threshold=1)
    breaker.judge(impatient)
    assert breaker.state == "closed"

    breaker.failed()
    clock.advance(30)
    breaker.allows()
    breaker.judge(impatient)
    assert (breaker.state, breaker.ready) == ("half_open", True)


def test_what_nobody_configures(clock) -> None:
    """Five failures open it, for 30 s; a probe that is never reported is given up after 60 s."""
    target = Target("a", "m")
    breakers = Breakers(clock)
    for _ in range(5):
        assert breakers.of(target).state == "closed"
        breakers.of(target).failed()
    assert breakers.state("a") == ("open", 30.0)

    clock.advance(30)
    breakers.of(target).allows()
    clock.advance(59)
    assert not breakers.of(target).ready
    clock.advance(1)
    assert breakers.of(target).ready


def test_breakers_hand_their_cooldown_on(clock) -> None:
    breaker = Breakers(clock, threshold=1, cooldown_s=7).of(Target("a", "m"))
    breaker.failed()

    assert breaker.cooldown_s == 7
