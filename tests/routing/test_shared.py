"""`routing.shared`: the limits of `routing.throttle` in memory that several workers count in."""

from __future__ import annotations

from random import Random

import pytest

from routing.shared import CELLS, SLOTS, STEP_S, TABLE_BYTES, Table
from routing.throttle import WINDOW_S, Granted, Throttle, Wait


class Clock:
    """What time it is, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Guard:
    """A lock that nobody else wants; it knows whether it is given back."""

    def __init__(self) -> None:
        self.held: set[int] = set()

    def hold(self, place: int) -> None:
        assert place not in self.held
        self.held.add(place)

    def leave(self, place: int) -> None:
        self.held.remove(place)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workers(clock: Clock) -> list[Table]:
    """Two of them."""
    memory, guard = memoryview(bytearray(TABLE_BYTES)), Guard()
    return [Table(memory, number, guard, clock) for number in range(2)]


def limited(table: Table, name: str = "key", **limits: int) -> Throttle:
    throttle = table.throttle(name)
    for limit, value in limits.items():
        setattr(throttle, limit, value)
    return throttle


def test_no_minute_has_more_than_the_limit_and_none_waits_much_longer(workers: list[Table], clock: Clock) -> None:
    """Whoever asks, whenever: what was granted counts for a minute, and for STEP_S more at most."""
    rng, granted = Random(5), list[float]()
    both = [limited(each, requests_per_minute=20) for each in workers]
    for _ in range(4000):
        clock.now += rng.choice((0.0, 0.003, 0.05, 0.4, 2.0))
        found = rng.choice(both).take()
        counting = sum(clock.now - at < WINDOW_S for at in granted)
        late = sum(clock.now - at < WINDOW_S + STEP_S for at in granted)
        if isinstance(found, Granted):
            assert counting < 20
            granted.append(clock.now)
            found.release()
        else:
            assert late >= 20
            assert found.wait_s is not None
            assert found.wait_s > 0


@pytest.mark.parametrize("limits", [{"requests_per_minute": 2}, {"tokens_per_minute": 100}])
def test_a_wait_is_long_enough_and_hardly_longer(workers: list[Table], clock: Clock, limits: dict[str, int]) -> None:
    """After it there is room; two steps before it there was none."""
    first, second = (limited(each, **limits) for each in workers)
    first.take(60)
    clock.now += 7.03
    second.take(40)

    wait = first.take(30)

    assert isinstance(wait, Wait)
    assert wait.wait_s == pytest.approx(WINDOW_S - 7.03, abs=1.5 * STEP_S)
    clock.now += wait.wait_s - 2 * STEP_S
    assert isinstance(second.take(30), Wait)
    clock.now += 2 * STEP_S + 0.001
    assert isinstance(second.take(30), Granted)


def test_tokens_are_reserved_and_settled_for_all(workers: list[Table]) -> None:
    """What was not used is there for the other worker."""
    first, second = (limited(each, tokens_per_minute=100) for each in workers)
    granted = first.take(80)
    assert isinstance(granted, Granted)

    assert isinstance(second.take(30), Wait)
    granted.settle(50)
    assert isinstance(second.take(30), Granted)
    assert second.room()["tokens_per_minute"].remaining == 20
    granted.settle(95)
    assert first.room()["tokens_per_minute"].remaining == 0
    assert first.tokens_free_in_s(200) is None


def test_what_is_cancelled_leaves_no_trace(workers: list[Table]) -> None:
    """Neither request nor tokens nor place; twice is as good as once."""
    first, second = (limited(each, requests_per_minute=1, tokens_per_minute=9, concurrent=1) for each in workers)
    granted = first.take(9)
    assert isinstance(granted, Granted)
    assert isinstance(second.take(1), Wait)

    granted.cancel()
    granted.cancel()

    assert [room.remaining for room in second.room().values()] == [1, 9, 1]
    assert isinstance(second.take(9), Granted)


def test_places_of_a_worker_that_died_are_free_and_its_requests_count_on(workers: list[Table]) -> None:
    """And a sum that it had not written yet is made whole."""
    first, second = (limited(each, requests_per_minute=5, concurrent=3) for each in workers)
    for throttle in (first, first, second):
        assert isinstance(throttle.take(), Granted)
    slot = SLOTS + workers[0].find(first._mark) * CELLS  # type: ignore[attr-defined]  # what a kill leaves
    workers[0].cells[slot + 1] = 1

    workers[1].reclaim(0)

    assert {name: room.remaining for name, room in second.room().items()} == {"requests_per_minute": 2, "concurrent": 2}


def test_names_are_apart_and_an_idle_slot_is_given_away(clock: Clock) -> None:
    """Where all of them are taken, the one that lost its slot finds another."""
    table = Table(memoryview(bytearray(TABLE_BYTES)), 0, Guard(), clock)
    first = limited(table, "first", requests_per_minute=1)
    assert isinstance(first.take(), Granted)
    clock.now += 2 * WINDOW_S
    for place in range(SLOTS):
        if table.cells[place] == 0:
            table.cells[place] = place + 1
            table.cells[SLOTS + place * CELLS + 3] = 1  # something runs there

    second = limited(table, "second", requests_per_minute=1)
    assert isinstance(second.take(), Granted)
    assert isinstance(second.take(), Wait)
    table.cells[0], table.cells[SLOTS + 3] = 0, 0

    assert isinstance(first.take(), Granted)
    assert isinstance(first.take(), Wait)
