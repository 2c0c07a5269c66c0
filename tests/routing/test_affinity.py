"""A conversation stays with the cache that holds its beginning while that is cheaper."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing.affinity import LEAST_TOKENS, Affinity, Held, keep_to_caches, lifetime_s, prefix_of, tokens_held
from routing.rate_card import Rates
from routing.targets import Target
from translators.neutral import Image, Message, Request, Source, Text, Tool

A, B, C = Target("a", "m"), Target("b", "m"), Target("c", "m")
SYSTEM = Message("system", (Text("Be brief."),))
FIRST = Message("user", (Text("Tell me of Oslo."),))
REPLY = Message("assistant", (Text("A city."),))
SECOND = Message("user", (Text("And Bergen?"),))
START = Request("openai_chat", "m", (SYSTEM, FIRST), (Tool("f", "finds", {"type": "object"}),))


def test_later_turns_have_the_prefix_of_the_first() -> None:
    assert prefix_of(replace(START, messages=(SYSTEM, FIRST, REPLY, SECOND))) == prefix_of(START)


@pytest.mark.parametrize(
    ("changed", "common", "conversation"),
    [
        (replace(START, messages=(SYSTEM, SECOND)), True, False),
        (replace(START, messages=(FIRST,)), False, False),
        (replace(START, tools=()), False, False),
        (replace(START, temperature=1.0), True, True),
        (
            replace(START, messages=(SYSTEM, Message("user", (*FIRST.parts, Image(Source(url="u")))))),
            True,
            False,
        ),
    ],
)
def test_what_makes_another_beginning(changed: Request, common: bool, conversation: bool) -> None:
    first, other = prefix_of(START), prefix_of(changed)

    assert (first.common == other.common) is common
    assert (first.conversation == other.conversation) is conversation


def test_tenants_have_beginnings_of_their_own() -> None:
    assert prefix_of(START, "one") != prefix_of(START, "two")


def test_large_files_are_told_apart_without_being_hashed_whole() -> None:
    one, two = (
        replace(START, messages=(Message("user", (Image(Source("image/png", "a" * 10**6 + end)),)),))
        for end in ("x", "yy")
    )

    assert prefix_of(one).conversation != prefix_of(two).conversation


def test_a_holder_is_known_by_conversation_and_by_what_is_common_for_a_lifetime(clock) -> None:
    affinity = Affinity(clock)
    prefix = replace(prefix_of(START), common_tokens=2_000)
    affinity.answered(prefix, A, 1, 5_000)
    sibling = replace(prefix, conversation=b"another")

    assert affinity.held(prefix, A) == Held(1, 5_000, clock())
    assert affinity.held(sibling, A) == Held(1, 2_000, clock())
    assert affinity.held(prefix, B) is None
    clock.advance(lifetime_s(A))
    assert affinity.held(prefix, A) is None


def test_short_prompts_are_not_held(clock) -> None:
    affinity = Affinity(clock)
    affinity.answered(prefix_of(START), A, 0, LEAST_TOKENS - 1)

    assert affinity.held(prefix_of(START), A) is None


def test_the_oldest_beginnings_are_forgotten(clock) -> None:
    affinity = Affinity(clock, kept=4)
    for name in (b"1", b"2", b"3"):
        affinity.answered(replace(prefix_of(START), common=b"c" + name, conversation=name), A, 0, 5_000)

    held = [affinity.held(replace(prefix_of(START), common=b"", conversation=name), A) for name in (b"1", b"2", b"3")]
    assert [one is not None for one in held] == [False, True, True]


@pytest.mark.parametrize(("dialect", "held"), [("openai_chat", 9_000), ("anthropic", 700)])
def test_what_a_server_holds_after_an_answer(dialect: str, held: int) -> None:
    """Anthropic keeps what is marked; the others keep the prompt by themselves."""
    assert tokens_held(dialect, 9_000, 500, 200) == held


CHEAP, DEAR = Rates(100, 100, 0), Rates(400, 40, 0)
"""10,000 tokens: 1.0m nano-dollars, and 4.0m of which a whole cache saves 3.6m."""


@pytest.mark.parametrize(
    ("tokens", "first"),
    [(0, CHEAP), (8_000, CHEAP), (8_334, DEAR), (10_000, DEAR)],
)
def test_the_holder_goes_first_while_its_saving_outweighs_what_it_costs_more(tokens: int, first: Rates) -> None:
    """3,000,000 more: outweighed from 8,334 cached tokens on, at 360 each."""
    rates = {A: CHEAP, B: DEAR, C: None}
    held = {B: Held(2, tokens, 0.0)} if tokens else {}
    kept = keep_to_caches(
        [A, B, C],
        held.get,
        rates.__getitem__,
        lambda target: None if (known := rates[target]) is None else known.cost_nanousd(10_000, 0),
        10_000,
    )

    assert rates[kept.order[0]] is first
    assert sorted(kept.order, key=lambda target: target.name) == [A, B, C]
    assert kept.prefer == ({B: 2} if tokens else {})
    assert kept.moved is (first is DEAR)


def test_the_first_ones_own_cache_counts_as_well() -> None:
    """Both hold it: the choice of the policy stays."""
    held = Held(0, 10_000, 0.0)
    kept = keep_to_caches([B, A], lambda _: held, lambda _: DEAR, lambda _: 4e6, 10_000)

    assert list(kept.order) == [B, A]
    assert kept.prefer == {A: 0, B: 0}


def test_without_prices_only_the_key_is_kept() -> None:
    kept = keep_to_caches([A, B], {B: Held(3, 9_000, 0.0)}.get, lambda _: None, lambda _: None, 10_000)

    assert (list(kept.order), kept.prefer, kept.savings) == ([A, B], {B: 3}, {})
