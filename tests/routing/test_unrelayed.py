"""Which fields of a client's own bytes are no longer relayed after a refusal."""

# ruff: noqa: E501 -- vendors' sentences stay whole, one case a line

from __future__ import annotations

from typing import Any

import pytest

from routing.unrelayed import lasting, unrelayed
from translators.neutral import Failure

ADAPTIVE = {"thinking": {"type": "adaptive"}, "output_config.effort": "low"}
BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 10}}
LOUD = {"generationConfig": {}, "generationConfig.thinkingConfig": {"thinkingLevel": "LOUD"}}
WARM = {"temperature": 0.5, **BUDGET}

# (the vendor's words, what stood in the fields that differ, what is learned)
REFUSALS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "a form": ("adaptive thinking is not supported on this model", ADAPTIVE, ["thinking=adaptive"]),
    "its place": ('"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".', BUDGET, ["thinking=enabled"]),
    "a field": ("service_tier: Extra inputs are not permitted", {"service_tier": "auto"}, ["service_tier"]),
    "a word": ("Service tier 'auto' of service_tier is not supported.", {"service_tier": "auto"}, ["service_tier=auto"]),
    "no field": ("a message is not as it has to be", {"messages[].content[]": None}, ["messages[].content[]"]),
    "a place": ("messages.0.content.1.cache_control: Extra inputs are not permitted", {"messages[].content[].cache_control": None}, ["messages[].content[].cache_control"]),
    "advice after it": ("adaptive thinking is not supported on this model. Set a budget when you need it.", ADAPTIVE, ["thinking=adaptive"]),
    "too little": ("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024", BUDGET, []),
    "more than another": ("`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation", BUDGET, []),
    "only beside another": ("`temperature` may only be set to 1 when thinking is enabled.", WARM, []),
    "unset beside another": ("`top_k` must be unset when thinking is enabled.", {"top_k": 5}, []),
    "a combination": ("`temperature` and `thinking` are not supported together.", WARM, []),
    "no such word": ("Invalid value at 'generation_config.thinking_config.thinking_level', \"LOUD\"", LOUD, []),
    "far too much": ("The thinking budget 99999999 is invalid. Please choose a value between 128 and 32768.", LOUD, []),
    "a bound": ("temperature: range: 0..1", {"temperature": 1.5}, []),
    "blanks": ("stop_sequences: each stop sequence must contain non-whitespace", {"stop_sequences": [" "]}, []),
    "one of several": ("service_tier: Input should be 'auto' or 'standard_only'", {"service_tier": "gold"}, []),
    "nothing of what it does to it": ("temperature: no", {"temperature": 1.5}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_of_a_clients_bytes_teaches(name: str) -> None:
    """Neither a value nor a combination."""
    words, said, learned = REFUSALS[name]

    assert lasting(Failure("invalid_request", words, 400), said.keys(), said) == learned


@pytest.mark.parametrize(
    ("entry", "said", "concerned"),
    [
        ("thinking=adaptive", ADAPTIVE, True),
        ("thinking=adaptive", BUDGET, False),
        ("thinking", BUDGET, True),
        ("thinking", {"temperature": 1}, False),
        ("tools[].type=a", {"tools[].type": ["b", {"x": "a"}]}, True),
    ],
)
def test_a_lesson_with_a_word_speaks_of_requests_that_hold_it(
    entry: str, said: dict[str, Any], concerned: bool
) -> None:
    assert unrelayed([entry], said.keys(), said) == ({entry} if concerned else set())
    assert unrelayed([entry], [], said) == set()
