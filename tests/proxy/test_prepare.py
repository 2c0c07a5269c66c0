"""What is made of a request for one target."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.prepare import Prepared, differences, ids_fit
from proxy.providers import ProviderSpec
from routing.targets import Target
from translators.codec import dumps
from translators.dialect import Rules
from translators.dialects import SPOKEN
from translators.losses import Loss
from translators.neutral import Message, Part, Request, ToolCall, ToolResult

SPEC = ProviderSpec("one", "One", "anthropic", "http")


def prepared(body: dict[str, Any], *lost: str) -> Prepared:
    losses = [Loss(field, "dropped", "no") for field in lost]
    rules = Rules(dialect="anthropic")
    return Prepared(Target("one", "m"), SPEC, rules, SPOKEN["anthropic"], "/v1/messages", dumps(body), losses)


DIFFERENCES: list[tuple[dict[str, Any], dict[str, Any], set[str]]] = [
    ({"top_k": 1}, {"top_k": 1}, set()),
    ({}, {"top_k": 1}, {"top_k"}),
    ({"top_k": 2}, {}, {"top_k"}),
    ({"thinking": {"type": "enabled"}}, {"thinking": {"type": "adaptive"}}, {"thinking"}),
    ({}, {"output_config": {"effort": "low"}}, {"output_config.effort"}),
    (
        {"generationConfig": {"seed": 1, "topK": 2}},
        {"generationConfig": {"seed": 1, "topK": 3}},
        {"generationConfig.topK"},
    ),
    ({"generationConfig": {}}, {}, set()),
    ({}, {"store": False, "stop_sequences": [], "metadata": None}, set()),
    ({"system": "x"}, {"system": [{"type": "text", "text": "x"}]}, set()),
    ({"model": "a", "messages": [1], "tools": []}, {"model": "b", "messages": [2], "stream": False}, set()),
]


@pytest.mark.parametrize(("rendered", "relayed", "told"), DIFFERENCES)
def test_requests_differ_in_what_they_ask_beside_the_conversation(
    rendered: dict[str, Any], relayed: dict[str, Any], told: set[str]
) -> None:
    assert differences(prepared(rendered), prepared(relayed)) == told


def test_requests_differ_in_what_only_the_rendered_one_has_lost() -> None:
    """By place, at whatever position."""
    rendered = prepared({}, "messages[3].content[0].cache_control", "messages[5].content[1].cache_control", "x")

    assert differences(rendered, prepared({}, "x")) == {"messages[].content[].cache_control"}


def turns(*ids: str) -> tuple[Message, ...]:
    """A turn with a call and its result for each of *ids*."""
    parts: list[Part] = [part for name in ids for part in (ToolCall(name, "f", "{}"), ToolResult(name, ()))]
    return tuple(Message("assistant" if isinstance(part, ToolCall) else "tool", (part,)) for part in parts)


@pytest.mark.parametrize(
    ("dialect", "ids", "fit"),
    [
        ("anthropic", ("call_0", "call_1"), True),
        ("anthropic", ("call_0", "call_0"), False),
        ("anthropic", ("functions.f:0",), False),
        ("openai_responses", ("call_0", "call_0"), True),
        ("openai_responses", ("c" * 65,), False),
        ("openai_chat", ("functions.f:0", "functions.f:0"), True),
    ],
)
def test_a_request_is_relayed_with_ids_of_calls_that_its_vendor_takes(
    dialect: str, ids: tuple[str, ...], fit: bool
) -> None:
    """Anthropic takes each once in a conversation, and servers that number every turn's calls from 0 repeat them."""
    assert ids_fit(Request(dialect, "m", turns(*ids))) is fit
