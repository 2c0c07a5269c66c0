"""The limits of a provider and of its keys, and whose turn it is."""

from __future__ import annotations

from random import Random

import pytest

from routing.queueing import FairQueue, Gate, Place, Rates, Ticket, tokens_needed
from routing.throttle import Wait

FEW = tokens_needed(10, 10)


def nothing() -> None:
    """Nobody is woken."""


def ticket(tenant: str) -> Ticket:
    return Ticket(tenant, nothing)


def places(gate: Gate, count: int, keys: tuple[int, ...] = (0,)) -> list[Place]:
    taken = [gate.take(keys, FEW) for _ in range(count)]
    assert all(isinstance(each, Place) for each in taken)
    return [each for each in taken if isinstance(each, Place)]


def test_tenants_take_turns_and_each_is_served_in_its_order() -> None:
    queue = FairQueue(10)
    tickets = {name: ticket(name[0]) for name in ("a1", "a2", "a3", "b1", "b2", "c1")}
    for each in tickets.values():
        assert queue.join(each)
    order = []
    while (head := queue.head) is not None:
        order.append(next(name for name, each in tickets.items() if each is head))
        queue.served(head)

    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_the_queue_is_bounded_and_the_longest_line_makes_room() -> None:
    queue = FairQueue(3)
    crowd = [ticket("a") for _ in range(3)]

    assert [queue.join(each) for each in crowd] == [True, True, True]
    assert not queue.join(ticket("a"))
    assert queue.join(ticket("b"))
    assert ([each.pushed_out for each in crowd], len(queue)) == ([False, False, True], 3)


def test_random_comings_and_goings_leave_nobody_behind() -> None:
    rng, queue, waiting = Random(4), FairQueue(50), []
    for _ in range(5000):
        if rng.random() < 0.5:
            new = ticket(rng.choice("abcdef"))
            if queue.join(new):
                waiting.append(new)
        elif waiting and rng.random() < 0.3:
            queue.leave(waiting.pop(rng.randrange(len(waiting))))
        elif (head := queue.head) is not None:
            queue.served(head)
            waiting.remove(head)
        waiting = [each for each in waiting if not each.pushed_out]
        assert len(queue) == len(waiting) <= 50


def test_a_minute_holds_no_more_than_the_limit(clock) -> None:
    gate = Gate(Rates(requests_per_minute=3), Rates(), 1, clock)
    places(gate, 3)

    assert gate.take((0,), FEW) == Wait("requests_per_minute", 60.0)
    clock.advance(60)
    places(gate, 3)


def test_a_key_that_is_used_up_makes_way_for_the_next(clock) -> None:
    gate = Gate(Rates(), Rates(requests_per_minute=1), 2, clock)

    assert [place.key_index for place in places(gate, 2, (0, 1))] == [0, 1]
    assert isinstance(gate.take((0, 1), FEW), Wait)


def test_a_key_without_room_takes_nothing_from_its_provider(clock) -> None:
    gate = Gate(Rates(requests_per_minute=2), Rates(concurrent=1), 2, clock)
    places(gate, 1, (0,))
    for _ in range(5):
        assert isinstance(gate.take((0,), FEW), Wait)

    assert places(gate, 1, (1,))


def test_tokens_count_as_they_were_used(clock) -> None:
    gate = Gate(Rates(tokens_per_minute=100), Rates(), 1, clock)
    place = places(gate, 1)[0]
    assert gate.take((0,), tokens_needed(90, 0)) == Wait("tokens_per_minute", 60.0)
    place.settle(5)

    assert isinstance(gate.take((0,), tokens_needed(90, 0)), Place)


def test_a_generous_bound_of_the_answer_keeps_no_request_out_but_a_prompt_that_is_too_long_does(clock) -> None:
    gate = Gate(Rates(tokens_per_minute=100), Rates(), 1, clock)

    assert gate.take((0,), tokens_needed(101, 0)) == Wait("tokens_per_minute", None)
    assert isinstance(gate.take((0,), tokens_needed(50, 100_000)), Place)


def test_who_waits_goes_before_who_comes(clock) -> None:
    gate = Gate(Rates(concurrent=1), Rates(), 1, clock)
    running = places(gate, 1)[0]
    first = ticket("a")
    gate.queue.join(first)
    running.free()

    assert isinstance(gate.take((0,), FEW), Wait)
    assert isinstance(gate.take((0,), FEW, first), Place)


def test_whose_turn_it_is_is_woken_when_a_place_is_free(clock) -> None:
    gate, woken = Gate(Rates(concurrent=1), Rates(), 1, clock), []
    running = places(gate, 1)[0]
    for name in "ab":
        gate.queue.join(Ticket(name, lambda name=name: woken.append(name)))
    running.free()

    assert woken == ["a"]


def test_new_limits_hold_at_once_for_what_was_granted_before(clock) -> None:
    gate = Gate(Rates(concurrent=1, requests_per_minute=5), Rates(), 1, clock)
    places(gate, 1)
    gate.configure(Rates(concurrent=2, requests_per_minute=2), Rates(), queue=5, queue_s=1)
    places(gate, 1)

    assert gate.take((0,), FEW) == Wait("concurrent", 1.0)


def test_without_limits_nothing_is_counted(clock) -> None:
    gate = Gate(Rates(), Rates(), 2, clock)

    assert not gate.limited
    places(gate, 1000)


TOKENS_FREE: list[tuple[Rates, Rates, list[int], int, float | None]] = [
    (Rates(tokens_per_minute=100), Rates(), [], 20, 0.0),
    (Rates(tokens_per_minute=100), Rates(), [], 50, 40.0),
    (Rates(tokens_per_minute=100), Rates(), [30], 50, 50.0),
    (Rates(tokens_per_minute=100), Rates(), [30, 60], 20, 60.0),
    (Rates(tokens_per_minute=100), Rates(), [100, 30], 50, 110.0),
    (Rates(tokens_per_minute=100), Rates(), [], 101, None),
    (Rates(), Rates(tokens_per_minute=100), [60], 20, 40.0),
]
"""Of the provider, of each of two keys, what waits already, what is asked for, seconds.

At 0 s 40 tokens were granted, at 10 s 40 more, by each key; now it is 20 s.
"""


@pytest.mark.parametrize(("whole", "each_key", "waiting", "tokens", "free_in_s"), TOKENS_FREE)
def test_tokens_behind_a_queue_are_free_when_those_before_have_had_theirs(
    whole: Rates, each_key: Rates, waiting: list[int], tokens: int, free_in_s: float | None
) -> None:
    clock = [0.0]
    gate = Gate(whole, each_key, 2, lambda: clock[0])
    for now in (0.0, 10.0):
        clock[0] = now
        for key in (0, 1) if each_key else (0,):
            assert isinstance(gate.take((key,), lambda _limit: 40), Place)
    clock[0] = 20.0
    tickets = [Ticket(str(number), nothing, tokens=amount) for number, amount in enumerate(waiting)]
    for each in tickets:
        assert gate.queue.join(each)

    assert gate.tokens_free_in_s(tokens) == free_in_s
    for each in tickets:
        gate.leave(each)
    assert gate.queue.tokens == 0
