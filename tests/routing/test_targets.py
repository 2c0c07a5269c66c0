"""Names become routes in the contract's order."""

from __future__ import annotations

import pytest

from routing.errors import BadRow, NoProvider, TooManyTargets, UnknownModel
from routing.targets import AD_HOC, CHAIN_LIMIT, Names, Offer, Route, Target

OFFERS = (
    Offer("anthropic", ("claude-opus-5-5", "claude-haiku-5-5"), ("claude-*",)),
    Offer("groq", ("openai/gpt-oss-120b", "llama-3.3-70b-versatile")),
    Offer("together", ("meta-llama/Llama-3", "llama-3.3-70b-versatile"), ("meta-llama/*",)),
    Offer("openrouter", ("openai/gpt-6-sol",), ("*/*",)),
    Offer("corner", ("claude-odd",)),
)
ROUTES = (
    Route("fast", "weighted", (Target("groq", "llama-3.3-70b-versatile", 3), Target("anthropic", "claude-haiku-5-5"))),
    Route("claude-opus-5-5", "failover", (Target("corner", "claude-odd"),)),
    Route("half", "failover", (Target("azure", "gpt-6-sol"), Target("corner", "claude-odd"))),
    Route("off", "failover", (Target("azure", "gpt-6-sol"),)),
)


@pytest.fixture
def names() -> Names:
    return Names(ROUTES, OFFERS)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("fast", "fast"),
        ("claude-opus-5-5", "claude-opus-5-5"),  # a route hides a model of the same name
        ("anthropic/claude-opus-5-5", "anthropic/claude-opus-5-5"),
        ("anthropic/claude-of-tomorrow", "anthropic/claude-of-tomorrow"),  # any model of an enabled provider
        ("openrouter/meta-llama/x", "openrouter/meta-llama/x"),
        ("claude-haiku-5-5", "anthropic/claude-haiku-5-5"),
        ("claude-haiku-4-5-20251001", "anthropic/claude-haiku-4-5-20251001"),  # by pattern
        ("claude-odd", "corner/claude-odd"),  # exact before an earlier provider's pattern
        ("llama-3.3-70b-versatile", "groq/llama-3.3-70b-versatile"),  # first in configuration order
        ("meta-llama/Llama-3", "together/meta-llama/Llama-3"),  # a bare name with a slash
        ("meta-llama/Llama-4", "together/meta-llama/Llama-4"),  # the same by pattern
        ("openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),  # openai itself is not enabled
        ("openai/gpt-6-sol", "openrouter/openai/gpt-6-sol"),
    ],
)
def test_a_name_is_resolved(names: Names, asked: str, found: str) -> None:
    route = names.resolve(asked)

    assert found in {route.name, route.targets[0].name}


def test_a_slash_name_goes_to_the_provider_of_its_prefix_once_that_is_enabled() -> None:
    names = Names((), (*OFFERS, Offer("openai", ("gpt-6-sol",))))

    assert names.resolve("openai/gpt-oss-120b").targets == (Target("openai", "gpt-oss-120b"),)


def test_what_vendors_list_comes_after_everything_else() -> None:
    """In resolving and in listing, each name once."""
    told = Offer("first", ("own",), (), ("own", "by-pattern-1", "second-own", "told"))
    names = Names((), (told, Offer("second", ("second-own",), ("by-pattern-*",), ("told",))))

    found = {name: names.resolve(name).name for name in ("second-own", "by-pattern-1", "told")}

    assert found == {
        "second-own": "second/second-own", "by-pattern-1": "second/by-pattern-1", "told": "first/told",
    }  # fmt: skip
    assert names.listed == (
        "first/own", "second/second-own", "first/by-pattern-1", "first/second-own", "first/told", "second/told",
    )  # fmt: skip


@pytest.mark.parametrize("asked", ["", "gpt-6-sol-typo", "anthropic/", "x" * 300, "nobody"])
def test_a_name_that_nobody_offers_is_unknown(names: Names, asked: str) -> None:
    with pytest.raises(UnknownModel) as raised:
        names.resolve(asked)

    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("fasst", "fast"),
        ("lama-3.3-70b-versatile", "groq/llama-3.3-70b-versatile"),
        ("gpt-6-sol", "openrouter/openai/"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(names: Names, asked: str, nearest: str) -> None:
    with pytest.raises(UnknownModel) as raised:
        names.resolve(asked)

    assert any(name.startswith(nearest) for name in raised.value.nearest)
    assert raised.value.nearest[0] in str(raised.value)


def test_a_route_does_without_targets_whose_provider_is_off(names: Names) -> None:
    assert names.resolve("half").targets == (Target("corner", "claude-odd"),)
    with pytest.raises(NoProvider, match="azure"):
        names.resolve("off")


def test_a_chain_is_an_ad_hoc_failover_route_behind_the_model(names: Names) -> None:
    route = names.resolve(
        "corner/claude-odd", ["fast", "meta-llama/Llama-3", "corner/claude-odd", "groq/llama-3.3-70b-versatile"]
    )
    led = names.resolve("corner/other", ["fast"])

    assert (route.name, route.policy) == (AD_HOC, "failover")
    assert [target.name for target in route.targets] == [
        "groq/llama-3.3-70b-versatile",
        "anthropic/claude-haiku-5-5",
        "together/meta-llama/Llama-3",
        "corner/claude-odd",
    ]
    assert led.targets[0].name == "corner/other"


def test_a_chain_is_checked_whole(names: Names) -> None:
    with pytest.raises(UnknownModel, match="nowhere"):
        names.resolve("fast", ["fast", "nowhere"])
    with pytest.raises(TooManyTargets):
        names.resolve("fast", ["fast"] * (CHAIN_LIMIT + 1))


def test_resolving_is_remembered(names: Names) -> None:
    assert names.resolve("corner/anything") is names.resolve("corner/anything")


def test_listed_names_are_routes_then_concrete_models(names: Names) -> None:
    assert names.listed[:4] == ("fast", "claude-opus-5-5", "half", "off")
    assert "together/meta-llama/Llama-3" in names.listed


@pytest.mark.parametrize("text", ["gpt", "/gpt", "openai/", ""])
def test_a_target_is_written_provider_slash_model(text: str) -> None:
    with pytest.raises(BadRow, match="provider/model"):
        Target.parse(text)


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_a_weight_is_a_number_of_at_least_0(weight: float) -> None:
    with pytest.raises(BadRow, match="weight"):
        Target("a", "b", weight)


def test_near_names_are_found_among_thousands() -> None:
    names = Names((), [Offer(f"p{number}", tuple(f"model-{number}-{k}" for k in range(100))) for number in range(50)])

    with pytest.raises(UnknownModel) as raised:
        names.resolve("modle-42-77")

    assert "p42/model-42-77" in raised.value.nearest
