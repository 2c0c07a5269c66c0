"""What a restart keeps, and what vendors' headers tell."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from routing.breaker import Breakers
from routing.limits import KeyRing, rests_for_s
from routing.targets import Target
from translators.neutral import Failure

A = Target("a", "m")
DOWN = Failure("server", "", 500)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


def test_a_breaker_that_was_open_is_open_for_the_rest_of_its_time(clock) -> None:
    told: list[str] = []
    breakers = Breakers(clock, threshold=3, cooldown_s=30, told=lambda name, *_: told.append(name))
    for ago_s in (40, 25, 20):
        breakers.restore(A, DOWN, ago_s)
    breaker = breakers.of(A)

    assert (breaker.state, breaker.cooldown_s, told) == ("open", 10.0, [])
    clock.advance(10)
    assert (breaker.allows(), breaker.allows()) == (True, False)
    breaker.succeeded()
    assert (breaker.state, told) == ("closed", ["a/m", "a/m"])


def test_one_that_was_answered_since_is_closed(clock) -> None:
    breakers = Breakers(clock, threshold=2)
    for failure, ago_s in ((DOWN, 20), (DOWN, 19), (None, 5)):
        breakers.restore(A, failure, ago_s)

    assert breakers.of(A).state == "closed"


def test_failures_while_it_was_open_do_not_prolong_that(clock) -> None:
    breakers = Breakers(clock, threshold=2, cooldown_s=30)
    for ago_s in (29, 28, 27, 1):
        breakers.restore(A, DOWN, ago_s)

    assert breakers.of(A).cooldown_s == 2.0


def test_a_failure_after_the_cooldown_opens_it_anew(clock) -> None:
    breakers = Breakers(clock, threshold=2, cooldown_s=30)
    for ago_s in (60, 50, 10):
        breakers.restore(A, DOWN, ago_s)

    assert breakers.of(A).cooldown_s == 20.0


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "1", "x-ratelimit-reset-tokens": "120ms"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2m59.5s"}, 179.5),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:07Z",
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2026-11-21T12:00:09Z",
            },
            9.0,
        ),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "50"}, 50.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int((NOW + 3) * 1000))}, 3.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW + 3))}, 3.0),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2020-01-01T00:00:00Z"}, None),
        ({}, None),
    ],
)
def test_headers_tell_when_a_key_has_something_left_again(headers: dict[str, str], wait_s: float | None) -> None:
    found = rests_for_s(headers, NOW)

    assert found is None if wait_s is None else found == pytest.approx(wait_s)


def test_a_key_that_is_used_up_rests_although_it_has_just_answered(clock) -> None:
    ring = KeyRing(["k0", "k1"], clock)
    ring.used_up(0, 20, "m")
    ring.worked(0, "m")

    assert [ring.take("m"), ring.take("m"), ring.take("other", {1})] == [1, 1, 0]
    clock.advance(20)
    assert ring.take("m", {1}) == 0


def test_a_key_that_is_used_up_is_asked_all_the_same_when_nothing_else_is_left(clock) -> None:
    ring = KeyRing(["k0"], clock)
    ring.used_up(0, 3600, "m")

    assert (ring.take("m"), ring.take_resting("m"), ring.free_in_s("m")) == (None, 0, 60.0)
