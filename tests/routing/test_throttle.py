"""Limits that are exact to the request: no minute, wherever it begins, holds more than was allowed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.throttle import WINDOW_S, Granted, Room, Throttle, Wait
from tests.routing.conftest import Clock


def _throttle(clock: Clock, requests: int | None = None, tokens: int | None = None, running: int | None = None):
    return Throttle(requests, tokens, running, clock)


def test_without_limits_everything_is_granted(clock: Clock) -> None:
    throttle = _throttle(clock)

    assert all(isinstance(throttle.take(10**9), Granted) for _ in range(100))
    assert throttle.room() == {}


def test_as_many_requests_a_minute_as_the_limit_says_and_not_one_more(clock: Clock) -> None:
    throttle = _throttle(clock, requests=3)
    granted = []
    for _ in range(5):
        granted.append(isinstance(throttle.take(), Granted))
        clock.advance(1)

    assert granted == [True, True, True, False, False]


def test_a_refusal_tells_to_the_moment_when_there_is_room_again(clock: Clock) -> None:
    throttle = _throttle(clock, requests=2)
    throttle.take()
    clock.advance(10)
    throttle.take()
    clock.advance(5)
    refused = throttle.take()
    assert refused == Wait("requests_per_minute", 45.0)
    clock.advance(44.999)
    early = throttle.take()
    clock.advance(0.001)

    assert isinstance(early, Wait)
    assert isinstance(throttle.take(), Granted)


def test_only_what_runs_counts_as_concurrent(clock: Clock) -> None:
    throttle = _throttle(clock, running=1)
    first = throttle.take()
    assert isinstance(first, Granted)
    second = throttle.take()
    first.release()
    first.release()

    assert isinstance(second, Wait)
    assert (second.limit, isinstance(throttle.take(), Granted), throttle.running) == ("concurrent", True, 1)


def test_tokens_are_reserved_and_corrected(clock: Clock) -> None:
    throttle = _throttle(clock, tokens=100)
    first = throttle.take(90)
    assert isinstance(first, Granted)
    assert throttle.take(20) == Wait("tokens_per_minute", 60.0)
    first.settle(30)

    assert isinstance(throttle.take(70), Granted)
    assert isinstance(throttle.take(1), Wait)


def test_what_was_used_beyond_the_reservation_counts_from_the_moment_it_is_known(clock: Clock) -> None:
    throttle = _throttle(clock, tokens=100)
    long = throttle.take(10)
    assert isinstance(long, Granted)
    clock.advance(WINDOW_S + 30)
    long.settle(100)

    assert throttle.room()["tokens_per_minute"] == Room(100, 10, 60.0)
    assert throttle.take(50) == Wait("tokens_per_minute", 60.0)


def test_more_can_be_reserved_for_a_request_that_was_granted(clock: Clock) -> None:
    throttle = _throttle(clock, tokens=100)
    granted = throttle.take()
    assert isinstance(granted, Granted)

    assert [granted.reserve(60), granted.reserve(60)] == [None, Wait("tokens_per_minute", 60.0)]
    assert granted.reserve(40) is None


def test_what_is_more_than_the_limit_by_itself_never_fits(clock: Clock) -> None:
    assert _throttle(clock, tokens=10).take(11) == Wait("tokens_per_minute", None)
    assert _throttle(clock, requests=0).take() == Wait("requests_per_minute", None)
    assert _throttle(clock, running=0).take() == Wait("concurrent", None)


@pytest.mark.parametrize("tokens", [0, 40])
def test_a_cancelled_request_was_never_asked(clock: Clock, tokens: int) -> None:
    throttle = _throttle(clock, 1, 50, 1)
    fresh = throttle.room()
    granted = throttle.take(tokens)
    assert isinstance(granted, Granted)
    granted.cancel()
    granted.cancel()

    assert {name: room.remaining for name, room in throttle.room().items()} == {
        name: room.remaining for name, room in fresh.items()
    }
    assert isinstance(throttle.take(tokens), Granted)


def test_a_refusal_leaves_no_trace(clock: Clock) -> None:
    throttle = _throttle(clock, 5, 50, 5)
    for _ in range(20):
        assert isinstance(throttle.take(51), Wait)

    assert [room.remaining for room in throttle.room().values()] == [5, 50, 5]


def test_a_changed_limit_holds_for_what_was_asked_before(clock: Clock) -> None:
    throttle = _throttle(clock, requests=5)
    for _ in range(3):
        throttle.take()
    throttle.requests_per_minute = 2
    refused = throttle.take()
    throttle.requests_per_minute = 4

    assert refused == Wait("requests_per_minute", 60.0)
    assert isinstance(throttle.take(), Granted)


@dataclass
class _Model:
    """The same by counting everything anew each time."""

    requests: list[float] = field(default_factory=list)
    tokens: list[tuple[float, Granted]] = field(default_factory=list)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(0, 70)),
        st.tuples(st.just("take"), st.integers(0, 12)),
        st.tuples(st.just("settle"), st.integers(0, 25)),
        st.tuples(st.just("release"), st.integers(0, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=300)
@given(_STEPS, st.integers(1, 5), st.integers(5, 20), st.integers(1, 4))
def test_the_windows_hold_what_a_plain_count_says(steps, requests: int, tokens: int, running: int) -> None:
    """Whatever happens: grants are those that a full count of the last minute allows, and sums never run off."""
    clock = Clock()
    throttle = Throttle(requests, tokens, running, clock)
    asked: list[tuple[float, Granted]] = []
    cancelled: set[int] = set()
    live: list[Granted] = []

    def counted() -> tuple[int, int]:
        recent = sum(clock() - at < WINDOW_S and id(one) not in cancelled for at, one in asked)
        used = sum(held.amount for _, one in asked for held in one.held if clock() - held.at < WINDOW_S)
        return recent, used

    for step, amount in steps:
        recent, used = counted()
        if step == "advance":
            clock.advance(amount)
        elif step == "take":
            # What asks for no tokens (the count of a request, before its size is known) is held by no limit of them.
            fits = recent < requests and len(live) < running and (not amount or used + amount <= tokens)
            found = throttle.take(amount)
            assert isinstance(found, Granted) == fits
            if isinstance(found, Granted):
                asked.append((clock(), found))
                live.append(found)
            elif found.wait_s is not None and found.limit != "concurrent":
                assert 0 < found.wait_s <= WINDOW_S
        elif step == "settle" and asked:
            one = asked[amount % len(asked)][1]
            if id(one) not in cancelled:
                one.settle(amount)
                assert sum(held.amount for held in one.held) == amount
        elif live:
            one = live.pop(amount % len(live))
            if step == "cancel":
                one.cancel()
                cancelled.add(id(one))
            else:
                one.release()
        recent, used = counted()
        room = throttle.room()
        assert room["requests_per_minute"].remaining == requests - recent
        assert room["tokens_per_minute"].remaining == max(0, tokens - used)
        assert room["concurrent"].remaining == running - len(live)
