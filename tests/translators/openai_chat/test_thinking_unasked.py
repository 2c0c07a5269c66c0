"""Models that reason whenever a request says nothing about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routing.catalog import rules_for
from translators.openai_chat import parse_request
from translators.openai_chat.quirks import thinks
from translators.openai_chat.relay import relay_request

TOOLS = [{"type": "function", "function": {"name": "look"}}]


@pytest.mark.parametrize(
    ("model", "fields", "on"),
    [
        ("gpt-4o", {}, False),
        ("gpt-5.2", {}, False),
        ("gpt-5.2", {"reasoning_effort": "low"}, True),
        ("gpt-6-sol", {}, True),
        ("gpt-6-sol", {"reasoning_effort": "none"}, False),
        ("gpt-6-astra", {"reasoning_effort": "none"}, True),  # it has no effort none: the least is sent
        ("o3", {}, True),
        ("deepseek-v4-flash", {}, True),
        ("deepseek-v4-flash", {"thinking": {"type": "disabled"}}, False),
        ("deepseek-v4-flash", {"thinking": {"type": "enabled"}}, True),
        ("qwen3-32b", {"thinking": {"type": "enabled"}}, True),
    ],
)
def test_whether_a_model_will_think(model: str, fields: dict[str, Any], on: bool) -> None:
    assert thinks(asked(fields), rules_for("openai_chat", model)) is on


@pytest.mark.parametrize(
    ("fields", "kept"),
    [({}, False), ({"reasoning_effort": "none"}, True), ({"reasoning_effort": "low"}, False)],
)
def test_sampling_is_for_a_model_that_was_told_not_to_think(fields: dict[str, Any], kept: bool) -> None:
    """WIRE 106: a temperature reaches gpt-6-sol with effort none alone."""
    sent, losses = relayed("gpt-6-sol", {"temperature": 0.5, **fields})

    assert ("temperature" in sent) is kept
    assert [loss.field for loss in losses] == ([] if kept else ["temperature"])


def test_no_tool_is_forced_on_a_model_that_thinks_unasked() -> None:
    """DeepSeek: "Thinking mode does not support this tool_choice"."""
    forced = {"tools": TOOLS, "tool_choice": "required"}
    thinking, losses = relayed("deepseek-v4-flash", forced)
    quiet, none = relayed("deepseek-v4-flash", {**forced, "thinking": {"type": "disabled"}})

    assert (thinking["tool_choice"], [loss.field for loss in losses]) == ("auto", ["tool_choice"])
    assert (quiet["tool_choice"], none) == ("required", ())


def asked(fields: dict[str, Any]) -> Any:
    return parse_request(body_of(fields))


def body_of(fields: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}


def relayed(model: str, fields: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    body = body_of(fields)
    sent = relay_request(json.dumps(body).encode(), body, asked(fields), rules_for("openai_chat", model), "m")
    return json.loads(sent.body), sent.losses
