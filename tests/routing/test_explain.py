"""Every target is explained: place, score, reason."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from routing.abilities import Fit
from routing.affinity import Kept
from routing.breaker import Breakers
from routing.explain import SCORES, explain, why_out
from routing.health import Health
from routing.latency import Latencies
from routing.limits import KeyRing
from routing.policies import POLICIES, Options, View
from routing.pricing import Price, PriceBook
from routing.rate_card import RateCard
from routing.targets import Target
from translators.neutral import Failure, Message, Request, Text

A, B = Target("a", "m", 3), Target("b", "m")
REQUEST = Request("openai_chat", "m", (Message("user", (Text("Hi"),)),), max_output_tokens=100)
FITS = [Fit(A), Fit(B, ("reasoning",), ("seed",))]


@pytest.fixture
def view(clock) -> View:
    book = PriceBook({("a", "m"): Price.of({"input": "1", "output": "2"})}, shipped=False)
    latencies = Latencies(clock)
    latencies.answered("a", "m", latency_ms=1_234, first_event_ms=100)
    made = View(Random(1), clock, Breakers(clock, 1), {}, Health(), book, latencies, RateCard(book, clock))
    return replace(made, options=Options(exploration=0), count=lambda: 50, route="r")


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("failover", "as written"),
        ("weighted", "goes first for 75% of requests"),
        ("cost", "about $0.000250 for 50 tokens in and 100 out"),
        ("latency", "an answer after about 1,234 ms"),
        ("balanced", "cost 1.00, latency 1.00, quality 0.50, reliability 1.00"),
        ("sticky", "split by conversation; goes first for 75% of callers"),
        ("race", "asked at once"),
        ("consensus", "asked beside the others"),
        ("another", ""),
    ],
)
def test_the_reason_is_in_words_of_the_policy(view: View, policy: str, why: str) -> None:
    first, second = explain(policy, REQUEST, FITS, Kept([A, B], {}, {}), view)

    assert (first.place, first.why) == (1, why)
    assert second.place == 2
    assert second.why.endswith("behind the others: reasoning; would lose seed")
    assert (first.cost_nanousd, second.cost_nanousd) == (250_000, None)


def test_every_policy_is_explained() -> None:
    assert set(POLICIES) - set(SCORES) <= {"auto"}


def test_what_is_out_is_named_with_the_reason(view: View) -> None:
    out = Fit(B, ("image", "context"), (), 9_000, 4_096)
    _, last = explain("failover", REQUEST, [FITS[0], out], Kept([A], {}, {}), view)

    assert (last.place, last.why) == (None, "takes no image; takes 4,096 tokens, the request has about 9,000")
    assert why_out(Fit(B)) == "is not asked"


def test_a_cache_that_decides_is_said(view: View) -> None:
    first, _ = explain("failover", REQUEST, FITS, Kept([B, A], {B: 0}, {"b/m": 12.0}, moved=True), view)

    assert first.why.startswith("it holds the conversation in its cache; as written")
    assert first.saving_nanousd == 12


def test_what_would_be_passed_over_now_is_said(view: View, clock) -> None:
    view.breakers.of(A).judge(Failure("server", "no", 500))
    ring: KeyRing[str] = KeyRing(["k"], clock)
    ring.cool(0, 7)
    seen = replace(view, key_rings={"b": ring})
    first, second = explain("failover", REQUEST, FITS, Kept([A, B], {}, {}), seen)

    assert (first.breaker, first.held_up) == ("open", "its breaker is open for 30 s")
    assert second.held_up == "every key rests, the first for 7 s"
