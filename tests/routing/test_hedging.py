"""When a second target is asked, and what that does to slow answers; on a simulated clock."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from routing.hedging import EARNED_AT_MOST, ENOUGH, UNKNOWN_MS, Hedging, Purse

REQUESTS = 6000
SHARE = 0.1


def _lognormal(rng: random.Random) -> float:
    return rng.lognormvariate(6.0, 1.0)


def _pareto(rng: random.Random) -> float:
    return 200 * rng.paretovariate(1.2)


def _stragglers(rng: random.Random) -> float:
    return rng.gauss(400, 40) * (10 if rng.random() < 0.03 else 1)


def _many_stragglers(rng: random.Random) -> float:
    return rng.gauss(400, 40) * (10 if rng.random() < 0.07 else 1)


def _raced(latency_ms: Callable[[random.Random], float], seed: int) -> tuple[float, float, float]:
    """p99 of the first target alone, p99 of the race, and the share of extra calls."""
    rng, hedging = random.Random(seed), Hedging()
    purse = hedging.purse("route")
    alone, raced, hedges = [], [], 0
    for _ in range(REQUESTS):
        purse.request(SHARE)
        first = latency_ms(rng)
        known = hedging.late_after_ms("a", stream=True, share=SHARE)
        late_ms = UNKNOWN_MS if known is None else known
        alone.append(first)
        if first <= late_ms or not purse.pays():
            hedging.came("a", first, stream=True)
            raced.append(first)
            continue
        hedges += 1
        second = late_ms + latency_ms(rng)
        if first <= second:
            hedging.came("a", first, stream=True)
        else:
            hedging.gave_up("a", second, stream=True, share=SHARE)
        raced.append(min(first, second))
    return _p99(alone), _p99(raced), hedges / REQUESTS


def _p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * len(values))]


@pytest.mark.parametrize("latency_ms", [_lognormal, _pareto, _stragglers, _many_stragglers])
@pytest.mark.parametrize("seed", range(3))
def test_the_slowest_answers_of_heavy_tails_come_much_earlier(
    latency_ms: Callable[[random.Random], float], seed: int
) -> None:
    """p99 falls by 40 % at least, for at most one call more in ten."""
    alone, raced, extra = _raced(latency_ms, seed)

    assert raced <= 0.6 * alone, f"seed {seed}: {raced:.0f} ms instead of {alone:.0f}"
    assert extra <= 0.1, f"seed {seed}"


def test_the_time_to_wait_does_not_shrink_with_every_hedge() -> None:
    """What was cut short counts as having taken as long as it was waited for."""
    rng, hedging = random.Random(1), Hedging()
    delays = []
    for _ in range(4000):
        first = rng.lognormvariate(6.0, 1.0)
        known = hedging.late_after_ms("a", stream=True, share=SHARE)
        if known is not None:
            delays.append(known)
        if known is not None and first > known:
            hedging.gave_up("a", known + 50, stream=True, share=SHARE)
        else:
            hedging.came("a", first, stream=True)

    assert sum(delays[-1000:]) / 1000 == pytest.approx(sum(delays[:1000]) / 1000, rel=0.5)
    assert min(delays[-1000:]) > 1000


def test_little_is_known_of_a_target_that_was_rarely_asked() -> None:
    hedging = Hedging()
    for _ in range(ENOUGH - 1):
        hedging.came("a", 10.0, stream=True)

    assert hedging.late_after_ms("a", stream=True, share=SHARE) is None


def test_streams_and_whole_answers_are_told_apart() -> None:
    hedging = Hedging()
    for at in range(100):
        hedging.came("a", float(at), stream=True)
        hedging.came("a", 1000.0 + at, stream=False)

    streamed, whole = (hedging.late_after_ms("a", stream=stream, share=SHARE) for stream in (True, False))
    assert streamed is not None
    assert whole is not None
    assert streamed < 100 < 1000 <= whole


def test_what_was_given_up_early_says_nothing() -> None:
    hedging = Hedging()
    for at in range(100):
        hedging.came("a", 100.0 + at, stream=True)
    for _ in range(100):
        hedging.gave_up("a", 5.0, stream=True, share=SHARE)

    known = hedging.late_after_ms("a", stream=True, share=SHARE)
    assert known is not None
    assert known >= 190.0


def test_an_outage_does_not_double_the_traffic() -> None:
    """Everything is late, and yet hedges stay within what requests have earned."""
    purse = Purse()
    paid = 0
    for _ in range(1000):
        purse.request(SHARE)
        paid += purse.pays()

    assert paid <= 1 + SHARE * 1000


def test_a_quiet_time_saves_up_a_few_hedges_and_no_more() -> None:
    purse = Purse()
    for _ in range(1000):
        purse.request(SHARE)

    assert sum(purse.pays() for _ in range(100)) == EARNED_AT_MOST
