"""Orders of targets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.breaker import Breakers
from routing.health import Health
from routing.latency import ENOUGH, HALF_LIFE_S, Latencies
from routing.policies import POLICIES, Caller, Options, View, Weights
from routing.policies.balanced import marks
from routing.policies.latency import UNTRIED
from routing.pricing import Price, PriceBook
from routing.rate_card import RateCard
from routing.targets import Target
from translators.dialect import Rules
from translators.neutral import Message, Request, Text

REQUEST = Request("openai_chat", "m", ())
TARGETS = (Target("a", "m", 5), Target("b", "m", 3), Target("c", "m", 2), Target("d", "m", 0))
A, B, C, D = TARGETS
NO_CHANCE = Options(exploration=0)


def price(sent: str, received: str) -> Price:
    return Price.of({"input": sent, "output": received})


def view_of(clock, prices: dict[str, Price] | None = None, **more) -> View:
    book = PriceBook({(provider, "m"): price for provider, price in (prices or {}).items()}, shipped=False)
    latencies = more.pop("latencies", None) or Latencies(clock)
    if (tokens := more.pop("input_tokens", None)) is not None:
        more["count"] = lambda: tokens
    made = View(Random(7), clock, Breakers(clock), {}, Health(), book, latencies, RateCard(book, clock))
    return replace(made, **more)


@pytest.fixture
def view(clock) -> View:
    return view_of(clock)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_gives_back_each_candidate_once(view: View, name: str) -> None:
    for _ in range(50):
        assert sorted(POLICIES[name](REQUEST, TARGETS, view), key=lambda target: target.provider) == list(TARGETS)
    assert POLICIES[name](REQUEST, (), view) == []


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Target], View, Request]:
    """Any targets with any prices, speeds, failures and weights."""

    def clock() -> float:
        return 5_000.0

    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8))
    targets = [Target(name, "m", draw(st.sampled_from([0, 0.5, 1, 7]))) for name in names]
    amounts = st.sampled_from(["0", "0.000001", "1", "999"])
    prices = {name: price(draw(amounts), draw(amounts)) for name in names if draw(st.booleans())}
    latencies = Latencies(clock)
    for name in names:
        for ms in draw(st.lists(st.floats(0, 1e5), max_size=3)):
            at = draw(st.sampled_from([0.0, 4_000.0, 5_000.0]))
            latencies.answered(name, "m", latency_ms=ms, first_event_ms=ms, input_tokens=10, output_tokens=5, at=at)
        if draw(st.booleans()):
            latencies.failed(name, "m")
    options = Options(
        Weights(*(draw(st.sampled_from([0.0, 0.3, 5.0])) for _ in range(4))),
        draw(st.sampled_from(["user", "key", "conversation"])),
        draw(st.sampled_from([0.0, 0.5, 1.0])),
        {target.name: 0.9 for target in targets[:1]},
    )
    caller = Caller(draw(st.sampled_from([None, "key_1"])), draw(st.sampled_from([None, "", "ann", "\ud800"])))
    request = Request(
        "openai_chat",
        "m",
        (Message("user", (Text(draw(st.text(max_size=5))),)),),
        max_output_tokens=draw(st.sampled_from([None, 1, 10**6])),
        n=draw(st.sampled_from([None, 3])),
        stream=draw(st.booleans()),
    )
    seed = draw(st.integers(0, 99))
    return (
        targets,
        view_of(clock, prices, latencies=latencies, options=options, caller=caller, rng=Random(seed)),
        request,
    )


@given(situations(), st.sampled_from(sorted(POLICIES)))
def test_in_any_situation_an_order_is_a_permutation(situation: tuple[list[Target], View, Request], name: str) -> None:
    targets, view, request = situation

    assert sorted(POLICIES[name](request, targets, view), key=targets.index) == targets


def test_failover_keeps_the_order(view: View) -> None:
    assert POLICIES["failover"](REQUEST, TARGETS, view) == list(TARGETS)


def test_weighted_draws_without_replacement_in_proportion(view: View) -> None:
    """P(first a) = 5/10, P(second b | first a) = 3/5; weight 0 comes last."""
    orders = [tuple(target.provider for target in POLICIES["weighted"](REQUEST, TARGETS, view)) for _ in range(20_000)]
    first = Counter(order[0] for order in orders)
    after_a = Counter(order[1] for order in orders if order[0] == "a")

    assert first["a"] / 20_000 == pytest.approx(0.5, abs=0.02)
    assert first["b"] / 20_000 == pytest.approx(0.3, abs=0.02)
    assert after_a["b"] / first["a"] == pytest.approx(0.6, abs=0.03)
    assert {order[-1] for order in orders} == {"d"}


def test_targets_of_weight_0_come_last_as_written(view: View) -> None:
    idle = [Target("x", str(number), 0) for number in range(5)]
    order = POLICIES["weighted"](REQUEST, [*idle, Target("a", "m")], view)

    assert order[0].provider == "a"
    assert all(int(left.model) < int(right.model) for left, right in pairwise(order[1:]))


# --- cost ----------------------------------------------------------------------------------------------

CHEAP_IN, CHEAP_OUT = price("1", "10"), price("5", "2")


@pytest.mark.parametrize(
    ("prices", "sent", "most", "order"),
    [
        ({"a": price("2", "2"), "b": price("1", "1")}, 100, None, "ba"),
        ({"a": CHEAP_IN, "b": CHEAP_OUT}, 10_000, 10, "ab"),  # 0.0101 and 0.05002
        ({"a": CHEAP_IN, "b": CHEAP_OUT}, 10, 10_000, "ba"),  # 0.10001 and 0.02005
        ({"a": CHEAP_IN, "b": CHEAP_OUT}, 10, None, "ba"),  # 500 out, as nothing tells
        ({"b": price("9", "9")}, 100, None, "ba"),  # unknown comes last
        ({}, 100, None, "ab"),  # nothing known: as written
        ({"a": price("1", "1"), "b": price("1", "1")}, 100, None, "ab"),  # equal: as written
        ({"a": price("1", "1"), "b": price("0", "0")}, 100, None, "ba"),
    ],
)
def test_cost_puts_the_cheapest_first(clock, prices: dict[str, Price], sent: int, most: int | None, order: str) -> None:
    view = view_of(clock, prices, input_tokens=sent)
    asked = replace(REQUEST, max_output_tokens=most)

    assert "".join(target.provider for target in POLICIES["cost"](asked, TARGETS[:2], view)) == order


def test_cost_learns_how_much_answers_have(clock) -> None:
    """100 tokens allowed and 2 ever written: input decides."""
    latencies = Latencies(clock)
    view = view_of(clock, {"a": CHEAP_IN, "b": CHEAP_OUT}, latencies=latencies, input_tokens=100)
    asked = replace(REQUEST, max_output_tokens=100)
    assert POLICIES["cost"](asked, TARGETS[:2], view) == [B, A]
    for _ in range(int(ENOUGH)):
        latencies.answered("a", "m", latency_ms=1, first_event_ms=1, output_tokens=2)

    assert POLICIES["cost"](asked, TARGETS[:2], view) == [A, B]


def test_cost_counts_no_more_output_than_the_model_can_write(clock) -> None:
    view = view_of(clock, {"a": CHEAP_OUT}, rules=lambda _: Rules(max_output_tokens=50), input_tokens=100)

    assert view.tokens_out(replace(REQUEST, max_output_tokens=10_000, n=2), A) == 100


def test_cost_takes_the_tier_of_the_prompt(clock) -> None:
    tiered = Price.of({"input": "1", "output": "1", "tiers": [{"above": 1_000, "input": "9", "output": "9"}]})
    prices = {"a": tiered, "b": price("2", "2")}

    short, long = (view_of(clock, prices, input_tokens=tokens) for tokens in (1_000, 1_001))
    assert POLICIES["cost"](REQUEST, TARGETS[:2], short) == [A, B]
    assert POLICIES["cost"](REQUEST, TARGETS[:2], long) == [B, A]


# --- latency -------------------------------------------------------------------------------------------


def told(clock, **ms: float) -> Latencies:
    """Targets that took so long for a whole answer, and a tenth of it until the first content."""
    latencies = Latencies(clock)
    for provider, value in ms.items():
        latencies.answered(provider, "m", latency_ms=value, first_event_ms=value / 10, input_tokens=10)
    return latencies


def test_latency_puts_the_fastest_first(clock) -> None:
    view = view_of(clock, latencies=told(clock, a=900, b=100, c=500, d=700), options=NO_CHANCE)

    assert POLICIES["latency"](REQUEST, TARGETS, view) == [B, C, D, A]


def test_a_stream_is_judged_by_its_first_content(clock) -> None:
    latencies = Latencies(clock)
    latencies.answered("a", "m", latency_ms=9_000, first_event_ms=100)
    latencies.answered("b", "m", latency_ms=1_000, first_event_ms=500)
    view = view_of(clock, latencies=latencies, options=NO_CHANCE)

    assert POLICIES["latency"](replace(REQUEST, stream=True), TARGETS[:2], view) == [A, B]
    assert POLICIES["latency"](REQUEST, TARGETS[:2], view) == [B, A]


def test_a_target_that_nobody_tried_is_measured_by_every_third_request(clock) -> None:
    view = view_of(clock, latencies=told(clock, a=100), options=NO_CHANCE)
    first = Counter(POLICIES["latency"](REQUEST, TARGETS[:2], view)[0] for _ in range(6_000))

    assert first[B] / 6_000 == pytest.approx(UNTRIED, abs=0.03)


def test_old_measurements_are_renewed_by_the_share_that_explores(clock) -> None:
    latencies = told(clock, a=100, b=900)
    clock.advance(4 * HALF_LIFE_S)
    latencies.answered("a", "m", latency_ms=100, first_event_ms=10, input_tokens=10)
    latencies.failed("b", "m")  # tried a moment ago
    view = view_of(clock, latencies=latencies, options=Options(exploration=0.1))
    first = Counter(POLICIES["latency"](REQUEST, TARGETS[:2], view)[0] for _ in range(6_000))

    assert first[B] / 6_000 == pytest.approx(0.1, abs=0.02)


def test_without_exploration_old_measurements_still_order(clock) -> None:
    latencies = told(clock, a=900, b=100)
    clock.advance(HALF_LIFE_S * 4)
    for provider in "ab":
        latencies.failed(provider, "m")

    assert POLICIES["latency"](REQUEST, TARGETS[:2], view_of(clock, latencies=latencies, options=NO_CHANCE)) == [B, A]


# --- balanced ------------------------------------------------------------------------------------------


def test_marks_are_shares_of_the_best(clock) -> None:
    """10,000 tokens at 1 and 2 dollars a million, 100 and 400 ms; b has failed once of two."""
    latencies = told(clock, a=100, b=400)
    latencies.failed("b", "m")
    options = Options(Weights(2, 1, 1, 0), exploration=0, quality={"a/m": 0.2, "b/m": 1.0})
    view = view_of(
        clock,
        {"a": price("1", "0"), "b": price("2", "0")},
        latencies=latencies,
        options=options,
        input_tokens=10_000,
    )
    first, second, unknown = marks(REQUEST, TARGETS[:3], view)

    assert (first.cost, first.latency, first.quality, first.reliability) == (1, 1, 0.2, 1)
    assert second.cost == pytest.approx(10_010 / 20_010, rel=1e-3)
    assert second.latency == 0.25
    assert second.reliability == pytest.approx(2 / 3)
    assert first.score == pytest.approx((2 + 1 + 0.2) / 4)
    assert unknown.cost == second.cost
    assert unknown.latency == pytest.approx((1 + 0.25) / 2)
    assert unknown.quality == 0.5


@pytest.mark.parametrize(
    ("weights", "first"),
    [(Weights(1, 0, 0, 0), A), (Weights(0, 1, 0, 0), B), (Weights(0, 0, 1, 0), C), (Weights(0, 0, 0, 1), D)],
)
def test_balanced_follows_its_weights(clock, weights: Weights, first: Target) -> None:
    latencies = told(clock, a=300, b=100, c=300, d=300)
    for provider in "abc":
        latencies.failed(provider, "m")
    prices = {"a": price("1", "1"), "b": price("2", "2"), "c": price("2", "2"), "d": price("2", "2")}
    options = Options(weights, exploration=0, quality={"c/m": 1.0})
    view = view_of(clock, prices, latencies=latencies, options=options, input_tokens=100_000)

    assert POLICIES["balanced"](REQUEST, TARGETS, view)[0] == first


def test_a_free_target_does_not_make_all_others_alike(clock) -> None:
    prices = {"a": price("0", "0"), "b": price("1", "1"), "c": price("100", "100")}
    view = view_of(clock, prices, input_tokens=100)
    free, cheap, dear = (mark.cost for mark in marks(REQUEST, TARGETS[:3], view))

    assert free == 1
    assert cheap > 10 * dear


# --- sticky --------------------------------------------------------------------------------------------


def sticky(view: View, user: str, targets: tuple[Target, ...] = TARGETS[:3]) -> Target:
    return POLICIES["sticky"](replace(REQUEST, user=user), targets, view)[0]


def test_a_caller_stays_and_shares_follow_the_weights(view: View) -> None:
    chosen = {f"user {number}": sticky(view, f"user {number}") for number in range(10_000)}
    shares = Counter(target.provider for target in chosen.values())

    assert all(sticky(view, user) is target for user, target in list(chosen.items())[:100])
    assert [shares[name] / 10_000 for name in "abc"] == pytest.approx([0.5, 0.3, 0.2], abs=0.02)


def test_a_target_that_is_added_takes_its_share_and_moves_nobody_else(view: View) -> None:
    """Of weight 5 beside 10: a third of the callers."""
    new = Target("new", "m", 5)
    before = [sticky(view, str(number)) for number in range(3_000)]
    after = [sticky(view, str(number), (*TARGETS[:3], new)) for number in range(3_000)]
    moved = [now for then, now in zip(before, after, strict=True) if then is not now]

    assert set(moved) == {new}
    assert len(moved) / 3_000 == pytest.approx(1 / 3, abs=0.03)


def test_the_order_in_which_targets_are_written_does_not_matter(view: View) -> None:
    for number in range(100):
        assert sticky(view, str(number)) is sticky(view, str(number), TARGETS[2::-1])


def test_routes_split_the_same_callers_independently(view: View) -> None:
    other = replace(view, route="other")
    same = sum(sticky(view, str(number)) is sticky(other, str(number)) for number in range(2_000))

    assert same / 2_000 == pytest.approx(0.5**2 + 0.3**2 + 0.2**2, abs=0.04)


FIRST = replace(REQUEST, messages=(Message("user", (Text("one"),)),))
LATER = replace(FIRST, messages=(*FIRST.messages, Message("assistant", (Text("1"),)), Message("user", (Text("2"),))))
OTHER = replace(FIRST, messages=(Message("user", (Text("two"),)),))


@pytest.mark.parametrize(
    ("by", "one", "other", "same"),
    [
        ("user", ("u", "k1", FIRST), ("u", "k2", OTHER), True),
        ("user", ("u", "k1", FIRST), ("v", "k1", FIRST), False),
        ("user", (None, "k1", FIRST), (None, "k1", OTHER), True),
        ("user", (None, None, FIRST), (None, None, LATER), True),
        ("key", ("u", "k1", FIRST), ("v", "k1", OTHER), True),
        ("key", ("u", "k1", FIRST), ("u", "k2", FIRST), False),
        ("key", ("u", None, FIRST), ("v", None, LATER), True),
        ("conversation", ("u", "k1", FIRST), ("v", "k2", LATER), True),
        ("conversation", ("u", "k1", FIRST), ("u", "k1", OTHER), False),
    ],
)
def test_who_counts_as_the_same_caller(view: View, by: str, one: tuple, other: tuple, same: bool) -> None:
    """Over 12 routes: equal callers always agree, others sometimes do not."""
    agreed = []
    for number in range(12):
        orders = []
        for user, key, request in (one, other):
            options = Options(sticky_by=by)  # type: ignore[arg-type]  # a word of the table
            seen = replace(view, options=options, caller=Caller(key, user), route=str(number))
            orders.append(POLICIES["sticky"](request, TARGETS, seen))
        agreed.append(orders[0] == orders[1])

    assert all(agreed) is same
