"""What asks for nothing is nothing lost."""

from __future__ import annotations

from typing import Any

import pytest

from routing.catalog import rules_for
from translators.dialect import Rules
from translators.dialects import BACKENDS
from translators.openai_chat import parse_request
from translators.wishes import real_wishes

PLAIN = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 5}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
IDLE: list[dict[str, Any]] = [
    {"n": 1},
    {"logprobs": False},
    {"logprobs": False, "top_logprobs": 0},
    {"store": False},
    {"metadata": {}},
    {"logit_bias": {}},
    {"tool_choice": "auto"},
    {"tool_choice": "none"},
    {"parallel_tool_calls": True},
    {"service_tier": "auto"},
    {"verbosity": "medium"},
    {"presence_penalty": 0, "frequency_penalty": 0.0},
]
REAL: list[dict[str, Any]] = [
    {"logprobs": True},
    {"store": True},
    {"metadata": {"a": "b"}},
    {"verbosity": "low"},
    {"tool_choice": "auto", "tools": [TOOL]},
    {"n": 2},
]


@pytest.mark.parametrize("dialect", ["anthropic", "gemini", "llamacpp"])
@pytest.mark.parametrize("fields", IDLE, ids=str)
def test_a_field_that_asks_for_nothing_costs_no_loss(fields: dict[str, Any], dialect: str) -> None:
    rules = rules_for(dialect, "m")
    plain = BACKENDS[dialect].render_request(real_wishes(parse_request(PLAIN)), rules)
    rendered = BACKENDS[dialect].render_request(real_wishes(parse_request({**PLAIN, **fields})), rules)

    assert rendered.losses == plain.losses
    assert rendered.body == plain.body


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (None, None),
        (Rules(dialect="openai_chat", conformant=True), "medium"),
        (Rules(dialect="openai_responses", conformant=True), "medium"),
        (Rules(dialect="openai_chat", conformant=True, refuses=frozenset({"verbosity"})), None),
        (Rules(dialect="openai_chat"), None),
        (Rules(dialect="anthropic", conformant=True), None),
    ],
)
def test_the_usual_verbosity_is_kept_where_the_vendor_has_the_field(rules: Rules | None, kept: str | None) -> None:
    request = parse_request({**PLAIN, "verbosity": "medium"})

    assert real_wishes(request, rules).verbosity == kept


def test_not_to_reason_is_no_wish_of_a_model_that_cannot() -> None:
    plain = BACKENDS["openai_chat"].render_request(parse_request(PLAIN), Rules(thinking="none"))
    rendered = BACKENDS["openai_chat"].render_request(
        parse_request({**PLAIN, "reasoning_effort": "none"}), Rules(thinking="none")
    )

    assert (rendered.body, rendered.losses) == (plain.body, ())


@pytest.mark.parametrize("fields", REAL, ids=str)
def test_a_real_wish_stays(fields: dict[str, Any]) -> None:
    request = parse_request({**PLAIN, **fields})

    assert real_wishes(request) == request
