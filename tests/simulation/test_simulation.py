"""An hour of traffic, outages and limits under every policy: what must hold whatever happens.

The number in a test's name is the seed; the same seed gives the same hour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from routing.policies import POLICIES
from routing.queueing import Rates
from tests.simulation.world import HOUR_S, Done, Trouble, Vendor, Wave, World, most_within, simulate

SEEDS = (1, 2)
CAUSED_BY_US = {"rate_limit", "overloaded"}


def vendors() -> list[Vendor]:
    """Three: each is ill for some minutes, never two at a time; two have limits of ours, one has its own."""
    return [
        Vendor(
            "a",
            0.8,
            troubles=[Trouble(600, 900), Trouble(1800, 1980, "timeout", hangs_s=5.0), Trouble(2700, 2880, errors=0.4)],
            limits=Rates(requests_per_minute=90, concurrent=12),
            price="3",
        ),
        Vendor(
            "b",
            0.5,
            troubles=[Trouble(1200, 1320, "connection"), Trouble(3000, 3120, slower=8.0, errors=0.0)],
            limits=Rates(tokens_per_minute=60_000),
            per_key=Rates(requests_per_minute=70, concurrent=8),
            keys=2,
            price="1",
        ),
        Vendor("c", 1.2, troubles=[Trouble(2200, 2300, "overloaded")], per_minute=150, price="2"),
    ]


def played(policy: str, seed: int, waves: Sequence[Wave], made: Callable[[], list[Vendor]] = vendors) -> World:
    """A world after its hour."""
    worlds: list[World] = []

    async def hour(now: Callable[[], float]) -> None:
        worlds.append(World(made(), policy, seed, now))
        await worlds[0].play(waves)

    simulate(hour)
    return worlds[0]


TRAFFIC = (Wave("large", 0.9), Wave("small", 0.1), Wave("large", 12.0, 1500, 1530))


@pytest.fixture(
    scope="module",
    params=[(policy, seed) for seed, policy in enumerate(POLICIES, 1)],
    ids=lambda it: f"{it[0]}-{it[1]}",
)
def hour(request: pytest.FixtureRequest) -> World:
    return played(request.param[0], request.param[1], TRAFFIC)


def test_no_limit_is_ever_exceeded(hour: World) -> None:
    a, b = hour.vendors["a"], hour.vendors["b"]

    assert most_within([(at, 1) for at, _ in a.calls]) <= 90
    assert a.most[None] <= 12
    assert most_within(b.tokens) <= 60_000
    for key in range(2):
        assert most_within([(at, 1) for at, used in b.calls if used == key]) <= 70
        assert b.most[key] <= 8


def test_no_request_is_lost_while_one_vendor_is_well(hour: World) -> None:
    """What is refused is refused for want of room, with the time to wait."""
    lost = [done for done in hour.done if done.error is not None and done.error not in CAUSED_BY_US]
    refused = [done for done in hour.done if done.error in CAUSED_BY_US]

    assert lost == []
    assert len(refused) <= 0.02 * len(hour.done)
    assert all(done.retry_after_s is not None for done in refused if done.error == "rate_limit")


def test_nobody_starves(hour: World) -> None:
    assert max(done.took_s for done in hour.done) <= 60
    small = [done for done in hour.done if done.tenant == "small"]

    assert sum(done.error is None for done in small) >= 0.99 * len(small)


def test_retries_are_a_small_part(hour: World) -> None:
    assert sum(done.attempts for done in hour.done) <= 1.2 * len(hour.done)
    assert worst_share(hour.done) <= 0.5


def worst_share(done: Sequence[Done], window_s: float = 60.0) -> float:
    """The largest share of second tries in any minute of the hour."""
    shares = []
    for minute in range(int(HOUR_S / window_s)):
        own = [each for each in done if minute * window_s <= each.at < (minute + 1) * window_s]
        extra = sum(max(0, each.attempts - 1) for each in own)
        shares.append(extra / len(own) if own else 0.0)
    return max(shares)


def test_every_breaker_recovers(hour: World) -> None:
    """No breaker is open minutes after the last trouble, and one that had opened has let its target answer again."""
    opened = {name for _, name, state in hour.told if state == "open"}
    for target in hour.targets:
        assert hour.breakers.of(target).state != "open"
    if hour.policy == "failover" and "a/m" in opened:
        assert any(900 <= at <= 940 for at in hour.vendors["a"].answered)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_tenant_is_not_held_up_by_a_large_one(seed: int) -> None:
    """One vendor, full: sixty requests a second of one tenant beside one every two seconds of another."""

    def full() -> list[Vendor]:
        return [Vendor("a", 0.5, spread=0.1, limits=Rates(concurrent=4))]

    world = played("failover", seed, (Wave("large", 60.0, 0, 60), Wave("small", 0.5, 5, 60)), full)
    small = [done for done in world.done if done.tenant == "small"]

    assert world.vendors["a"].most[None] == 4
    assert all(done.error is None for done in small)
    assert max(done.took_s for done in small) < 5


@pytest.mark.parametrize("seed", SEEDS)
def test_an_outage_of_everything_is_not_made_worse(seed: int) -> None:
    def dead() -> list[Vendor]:
        return [Vendor(name, 0.5, troubles=[Trouble(60, 240)]) for name in "abc"]

    world = played("failover", seed, (Wave("t", 5.0, 0, 400),), dead)
    meanwhile = [done for done in world.done if 60 <= done.at < 240]
    after = [done for done in world.done if done.at >= 280]

    assert sum(done.attempts for done in meanwhile) <= 1.2 * len(meanwhile)
    assert all(done.took_s < 5 for done in meanwhile)
    assert all(done.error is None for done in after)


@pytest.mark.parametrize("seed", [3])
def test_random_faults_of_two_in_three_lose_nothing(seed: int) -> None:
    """Ten thousand requests; two vendors fail three in ten."""

    def faulty() -> list[Vendor]:
        return [
            Vendor("a", 0.5, troubles=[Trouble(0, HOUR_S, errors=0.3)]),
            Vendor("b", 0.5, troubles=[Trouble(0, HOUR_S, errors=0.3)]),
            Vendor("c", 0.5),
        ]

    world = played("failover", seed, (Wave("t", 20.0, 0, 500),), faulty)

    assert len(world.done) > 9_000
    assert [done for done in world.done if done.error is not None] == []
    assert sum(done.attempts for done in world.done) <= 1.2 * len(world.done)
