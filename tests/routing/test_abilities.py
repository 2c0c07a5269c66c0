"""Targets that cannot take a request are passed over; when none can, the error says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing.abilities import Fit, able, fit, fits, lost, missing, ranks, refuse
from routing.errors import LacksAbilities, TooLong
from routing.targets import Target
from translators.dialect import Rules
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    Request,
    Source,
    Text,
    Tool,
    ToolResult,
)

TEXT = Request("openai_chat", "m", (Message("user", (Text("hi"),)),))
IMAGE = replace(TEXT, messages=(Message("user", (Text("hi"), Image(Source(url="https://x/y.png")))),))
AUDIO = replace(TEXT, messages=(*TEXT.messages, Message("user", (Audio(Source("audio/wav", "")),))))
PDF = replace(TEXT, messages=(Message("user", (Document(Source("application/pdf", "")),)),))
SHOWN = replace(TEXT, messages=(Message("tool", (ToolResult("1", (Image(Source(url="u")),)),)),))
TOOLS = replace(TEXT, tools=(Tool("f"),))
SCHEMA = replace(TEXT, output=OutputFormat("json_schema", {}))
JSON = replace(TEXT, output=OutputFormat("json_object"))
TOOLS_SCHEMA = replace(TOOLS, output=SCHEMA.output)

ALL = Rules()
BLIND = Rules(modalities=frozenset({"text"}))
PLAIN = Rules(structured_output=False, refuses=frozenset({"tools"}))
EITHER = Rules(schema_with_tools=False)
THINKS = replace(TEXT, reasoning=Reasoning(effort="high"))
BUDGET = replace(TEXT, reasoning=Reasoning(budget_tokens=2_000))
QUIET = replace(TEXT, reasoning=Reasoning(effort="none"))
LONG_ANSWER = replace(TEXT, max_output_tokens=9_000)


@pytest.mark.parametrize(
    ("request_", "rules", "lacking"),
    [
        (TEXT, BLIND, []),
        (IMAGE, ALL, []),
        (IMAGE, BLIND, ["image"]),
        (AUDIO, BLIND, ["audio"]),
        (PDF, BLIND, ["document"]),
        (SHOWN, BLIND, ["image"]),
        (AUDIO, Rules(modalities=frozenset({"text", "image"})), ["audio"]),
        (TOOLS, PLAIN, ["tools"]),
        (SCHEMA, PLAIN, ["schema"]),
        (JSON, PLAIN, []),
        (TOOLS_SCHEMA, PLAIN, ["tools", "schema"]),
        (TOOLS_SCHEMA, EITHER, ["schema"]),
        (SCHEMA, EITHER, []),
        (THINKS, Rules(thinking="none"), ["reasoning"]),
        (BUDGET, Rules(refuses=frozenset({"reasoning"})), ["reasoning"]),
        (THINKS, Rules(thinking="budget"), []),
        (QUIET, Rules(thinking="none"), []),
        (LONG_ANSWER, Rules(max_output_tokens=8_999), ["output limit"]),
        (LONG_ANSWER, Rules(max_output_tokens=9_000), []),
    ],
)
def test_what_is_missing(request_: Request, rules: Rules, lacking: list[str]) -> None:
    assert missing(request_, rules) == lacking


def test_able_targets_are_kept_in_order_and_emulation_is_a_last_resort() -> None:
    rules = {Target("blind", "m"): BLIND, Target("all", "m"): ALL, Target("either", "m"): EITHER}
    chain = list(rules)

    assert able(IMAGE, chain, rules.__getitem__) == chain[1:]
    assert able(TOOLS_SCHEMA, chain, rules.__getitem__) == chain
    assert able(TOOLS_SCHEMA, chain[::-1], rules.__getitem__) == [chain[1], chain[0], chain[2]]
    assert able(TOOLS_SCHEMA, chain[2:], rules.__getitem__) == chain[2:]


def test_when_no_target_is_able_the_error_names_what_each_lacks() -> None:
    with pytest.raises(LacksAbilities, match="blind/m takes no audio"):
        able(AUDIO, [Target("blind", "m")], lambda _: BLIND)


@pytest.mark.parametrize(
    ("changes", "rules", "fields"),
    [
        ({"seed": 1, "top_k": 3}, Rules(refuses=frozenset({"seed", "top_p"})), ("seed",)),
        ({"temperature": 1.5}, Rules(temperature_max=1.0), ("temperature",)),
        ({"temperature": 0.5}, Rules(temperature_max=1.0), ()),
        ({"stop": ("x",)}, Rules(refuses=frozenset({"stop"})), ("stop",)),
        ({"logprobs": False}, Rules(refuses=frozenset({"logprobs"})), ()),
        ({"top_p": 0.5}, Rules(refuses_while_thinking=frozenset({"top_p"})), ()),
        ({"top_p": 0.5}, Rules(refuses_while_thinking=frozenset({"top_p"}), thinks_by_default=True), ("top_p",)),
        ({"stop": ("x",), "dialect": "anthropic"}, Rules(refuses=frozenset({"stop"})), ("stop_sequences",)),
    ],
)
def test_what_would_be_lost_is_read_off_the_rules(changes: dict, rules: Rules, fields: tuple[str, ...]) -> None:
    assert lost(replace(TEXT, **changes), rules) == fields


def test_a_target_that_gets_the_clients_own_bytes_loses_no_field() -> None:
    rules = Rules(refuses=frozenset({"seed"}))
    seeded, target = replace(TEXT, seed=1), Target("a", "m")

    assert fit(seeded, target, rules).loses == ("seed",)
    assert fit(seeded, target, rules, relayed=True).loses == ()


@pytest.mark.parametrize(
    ("tokens", "room", "lacks", "serves"),
    [
        (None, 1_000, (), True),
        (1_000, 1_000, (), True),
        (1_001, 1_000, ("context (near)",), True),  # estimates err by a fifth
        (1_250, 1_000, ("context (near)",), True),
        (1_251, 1_000, ("context",), False),
        (10**9, None, (), True),
    ],
)
def test_a_request_is_too_long_only_when_that_is_sure(
    tokens: int | None, room: int | None, lacks: tuple[str, ...], serves: bool
) -> None:
    found = fit(TEXT, Target("a", "m"), Rules(context_tokens=room), tokens)

    assert (found.lacks, found.serves) == (lacks, serves)


def test_the_best_fit_goes_first_and_with_strict_every_field_counts() -> None:
    rules = {
        Target("mute", "m"): Rules(thinking="none"),
        Target("seedless", "m"): Rules(refuses=frozenset({"seed"})),
        Target("all", "m"): ALL,
        Target("blind", "m"): Rules(thinking="none", modalities=frozenset({"text"})),
    }
    mute, seedless, whole, blind = rules
    found = fits(replace(THINKS, seed=1), list(rules), rules.__getitem__)

    assert ranks(found) == [[seedless, whole], [mute, blind]]
    assert ranks(found, strict=True) == [[whole], [mute, seedless, blind]]


def test_the_error_says_by_how_much_each_target_is_too_short() -> None:
    small, blind = Target("small", "m"), Target("blind", "m")
    found = [Fit(small, ("context",), (), 10_000, 4_096), Fit(blind, ("image",))]

    with pytest.raises(TooLong) as error:
        refuse(TEXT, found)
    assert str(error.value) == (
        "messages: too long for every target: small/m takes 4,096 tokens, 5,904 fewer than the about 10,000 of this"
        " request; blind/m takes no image"
    )


def test_a_target_that_lacks_more_than_room_is_not_too_short() -> None:
    with pytest.raises(LacksAbilities, match="takes no image, context"):
        refuse(TEXT, [Fit(Target("a", "m"), ("image", "context"), (), 10_000, 4_096)])
