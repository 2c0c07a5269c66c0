"""Moving means fade, are told apart by size, and say when they know nothing."""

from __future__ import annotations

import pytest

from routing.latency import ENOUGH, HALF_LIFE_S, SIZES, Latencies, Mean, Pace, size_of
from routing.targets import Target

A = Target("a", "m")


@pytest.fixture
def latencies(clock) -> Latencies:
    return Latencies(clock)


def answered(latencies: Latencies, ms: float, tokens: int | None = 100, **more: float) -> None:
    latencies.answered("a", "m", latency_ms=ms * 10, first_event_ms=ms, input_tokens=tokens, **more)


@pytest.mark.parametrize(("tokens", "size"), [(0, 0), (999, 0), (1_000, 1), (8_000, 2), (31_999, 2), (32_000, 3)])
def test_sizes_of_requests(tokens: int, size: int) -> None:
    assert size_of(tokens) == size <= len(SIZES)


def test_what_was_measured_a_half_life_ago_counts_half(latencies: Latencies, clock) -> None:
    answered(latencies, 400)
    clock.advance(HALF_LIFE_S)
    answered(latencies, 100)

    assert latencies.pace(A, 100, whole=False).ms == pytest.approx((400 * 0.5 + 100) / 1.5)
    assert latencies.pace(A, 100, whole=True).ms == pytest.approx((4000 * 0.5 + 1000) / 1.5)


def test_news_that_come_late_count_as_old() -> None:
    mean = Mean()
    mean.add(100, at=600, half_life_s=600)
    mean.add(400, at=0, half_life_s=600)

    assert mean.value == pytest.approx((100 + 400 * 0.5) / 1.5)
    assert mean.at == 600


def test_sizes_have_their_own_means_and_borrow_from_all(latencies: Latencies) -> None:
    answered(latencies, 100, tokens=10)
    answered(latencies, 900, tokens=50_000)

    assert latencies.pace(A, 10, whole=False).ms == 100
    assert latencies.pace(A, 50_000, whole=False).ms == 900
    assert latencies.pace(A, 2_000, whole=False).ms == 500


def test_who_was_never_asked_is_unknown_and_what_is_old_is_stale(latencies: Latencies, clock) -> None:
    assert latencies.pace(A, 1, whole=True) == Pace()
    answered(latencies, 100)
    assert latencies.pace(A, 100, whole=False).fresh
    clock.advance(3 * HALF_LIFE_S)

    pace = latencies.pace(A, 100, whole=False)
    assert not pace.fresh
    assert (pace.ms, pace.tried_s) == (100, 3 * HALF_LIFE_S)


def test_a_timeout_counts_with_the_time_that_was_waited_other_failures_do_not(latencies: Latencies) -> None:
    latencies.failed("a", "m")
    assert latencies.pace(A, 1, whole=True) == Pace(None, 0.0, 0.0, 0.5)
    latencies.failed("a", "m", waited_ms=9_000)

    assert latencies.pace(A, 1, whole=True).ms == 9_000


def test_reliability_is_the_share_of_answers_with_one_more_added(latencies: Latencies, clock) -> None:
    assert latencies.reliability(A) == 1
    latencies.failed("a", "m")
    assert latencies.reliability(A) == 0.5
    answered(latencies, 1)
    assert latencies.reliability(A) == pytest.approx(2 / 3)
    clock.advance(100 * HALF_LIFE_S)

    assert latencies.reliability(A) == pytest.approx(1)


def test_output_is_believed_when_enough_answers_say_so(latencies: Latencies) -> None:
    for _ in range(int(ENOUGH) - 1):
        answered(latencies, 1, output_tokens=30)
    assert latencies.output_tokens(A) is None
    answered(latencies, 1, output_tokens=30)

    assert latencies.output_tokens(A) == pytest.approx(30)


# --- given up before the end -------------------------------------------------------------------------------


def given_up(latencies: Latencies, waited_ms: float, first_event_ms: float | None = None) -> None:
    latencies.cut_short("a", "m", waited_ms=waited_ms, first_event_ms=first_event_ms, input_tokens=100)


def test_what_is_given_up_counts_as_those_that_took_longer(latencies: Latencies) -> None:
    for ms in (100, 100, 100, 900):
        answered(latencies, ms)
    given_up(latencies, 400)

    assert latencies.pace(A, 100, whole=False).ms == pytest.approx((100 * 3 + 900 * 2) / 5)


def test_what_nothing_took_as_long_as_counts_as_twice_the_wait(latencies: Latencies) -> None:
    answered(latencies, 100)
    given_up(latencies, 700)

    assert latencies.pace(A, 100, whole=False).ms == pytest.approx((100 + 1400) / 2)


def test_what_was_not_waited_for_says_nothing(latencies: Latencies, clock) -> None:
    """Nor does it make old measurements fresh."""
    answered(latencies, 800)
    clock.advance(3 * HALF_LIFE_S)
    before = latencies.pace(A, 100, whole=False)
    given_up(latencies, 30)
    after = latencies.pace(A, 100, whole=False)

    assert (after.ms, after.fresh) == (before.ms, False) == (800, False)
    assert (after.tried_s, after.reliability) == (0, before.reliability)


def test_of_a_stream_that_had_begun_the_first_content_is_known(latencies: Latencies) -> None:
    answered(latencies, 100)  # and 1,000 to its end
    given_up(latencies, 5_000, first_event_ms=300)

    assert latencies.pace(A, 100, whole=False).ms == 200
    assert latencies.pace(A, 100, whole=True).ms == pytest.approx((1_000 + 10_000) / 2)


def test_a_target_whose_slow_answers_are_given_up_does_not_look_fast(latencies: Latencies) -> None:
    """Half of its answers take 100 ms, half take ten seconds; nobody waits for more than a second."""
    for _ in range(50):
        answered(latencies, 100)
        given_up(latencies, 1_000)

    assert latencies.pace(A, 100, whole=False).ms > 1_000
