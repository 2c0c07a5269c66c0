"""What a failure means, and how long to wait."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random
from typing import get_args

import pytest

from routing.retry import ACTIONS, Patience, RetryBudget, action_for
from translators.neutral import ErrorKind, Failure


def test_every_kind_has_an_action() -> None:
    assert set(ACTIONS) == set(get_args(ErrorKind))


@pytest.mark.parametrize(
    ("kind", "status", "action"),
    [
        ("invalid_request", 400, "stop"),
        ("not_found", 404, "stop"),
        ("too_large", 413, "stop"),
        ("invalid_request", 422, "stop"),
        ("context_length", 400, "stop"),
        ("content_filter", 400, "stop"),
        ("authentication", 401, "next_key"),
        ("billing", 402, "next_key"),
        ("permission", 403, "next_key"),
        ("rate_limit", 429, "next_key"),
        ("timeout", 408, "again"),
        ("invalid_request", 408, "again"),
        ("invalid_request", 409, "again"),
        ("invalid_request", 425, "again"),
        ("server", 500, "again"),
        ("server", 502, "again"),
        ("overloaded", 503, "again"),
        ("overloaded", 529, "again"),
        ("connection", 502, "again"),
        ("timeout", 504, "again"),
        ("invalid_response", 502, "again"),
        ("invalid_response", 302, "elsewhere"),
        ("invalid_request", 307, "elsewhere"),
        ("too_large", 502, "elsewhere"),
    ],
)
def test_the_fault_matrix(kind: ErrorKind, status: int, action: str) -> None:
    assert action_for(Failure(kind, "", status)) == action


def test_a_route_may_go_on_after_what_stops_others() -> None:
    long = Failure("context_length", "", 400)

    assert action_for(long, {"context_length"}) == "elsewhere"
    assert action_for(Failure("invalid_request", "", 400), {"context_length"}) == "stop"


def test_backoff_has_full_jitter_and_grows_to_its_limit() -> None:
    patience, rng = Patience(), Random(1)
    for repeat, most in ((0, 0.5), (1, 1.0), (4, 8.0), (9, 8.0)):
        waits = [patience.wait_s(Failure("server", "", 500), repeat, rng) for _ in range(500)]
        assert min(waits) < most * 0.05
        assert most * 0.95 < max(waits) <= most


@pytest.mark.parametrize(
    ("failure", "low", "high"),
    [
        (Failure("rate_limit", "", 429, retry_after_s=3), 3, 3.3),
        (Failure("overloaded", "", 529, retry_after_s=30), 30, 33),
        (Failure("rate_limit", "", 429, retry_after_s=31), None, None),
        (Failure("rate_limit", "", 429), None, None),
        (Failure("authentication", "", 401), None, None),
        (Failure("invalid_response", "", 302), None, None),
        (Failure("invalid_request", "", 400), None, None),
    ],
)
def test_retry_after_is_honoured_unless_it_is_too_long(failure: Failure, low: float, high: float) -> None:
    wait = Patience().wait_s(failure, 0, Random(2))

    assert wait is None if low is None else low <= wait <= high


def test_a_chain_gets_three_attempts_or_one_per_target() -> None:
    assert [Patience().attempts(length) for length in (1, 3, 7)] == [3, 3, 7]
    assert Patience(max_attempts=2).attempts(7) == 2


@pytest.mark.parametrize(("requests", "granted"), [(1, 3), (15, 3), (20, 4), (100, 20)])
def test_at_most_a_fifth_of_the_recent_requests_are_tried_again_but_always_three(
    clock, requests: int, granted: int
) -> None:
    budget = RetryBudget(clock)
    for _ in range(requests):
        with budget.request():
            clock.advance(1 / 50)

    assert sum(budget.repeat() for _ in range(100)) == granted


def test_what_is_long_ago_counts_for_nothing(clock) -> None:
    budget = RetryBudget(clock, window_s=10)
    for _ in range(100):
        with budget.request():
            pass
    before = [budget.repeat() for _ in range(30)].count(True)
    clock.advance(11)

    assert (before, [budget.repeat() for _ in range(30)].count(True)) == (20, 3)


def test_requests_that_still_run_are_recent_however_old(clock) -> None:
    budget = RetryBudget(clock, window_s=10)
    with ExitStack() as running:
        for _ in range(50):
            running.enter_context(budget.request())
        clock.advance(60)

        assert [budget.repeat() for _ in range(30)].count(True) == 10
