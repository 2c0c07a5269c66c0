"""A vendor's complaint names what the client wrote, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from translators.complaints import in_clients_words
from translators.dialects import CLIENTS
from translators.neutral import Failure, Request

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}],
    "max_tokens": 5,
    "stop": "a",
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "reasoning_effort": "low",
    "safety_identifier": "u",
}
ANTHROPIC: dict[str, Any] = {
    "model": "m",
    "system": "s",
    "messages": [{"role": "user", "content": "x"}],
    "max_tokens": 2000,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}
RESPONSES: dict[str, Any] = {"model": "m", "instructions": "s", "input": "x", "max_output_tokens": 5}
GEMINI: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "s"}]},
    "contents": [{"role": "user", "parts": [{"text": "x"}]}],
    "generationConfig": {"maxOutputTokens": 5},
}
BODIES = {"openai_chat": CHAT, "anthropic": ANTHROPIC, "openai_responses": RESPONSES, "gemini": GEMINI}


def asked(client: str) -> Request:
    parse: Any = CLIENTS[client].parse_request  # type: ignore[attr-defined]  # every dialect's own
    found = parse(BODIES[client], "m", False) if client == "gemini" else parse(BODIES[client])
    assert isinstance(found, Request)
    return found


def refused(param: str | None, message: str = "no") -> Failure:
    return Failure("invalid_request", message, 400, param=param)


@pytest.mark.parametrize(
    ("client", "target", "named", "told"),
    [
        ("openai_chat", "openai_responses", "max_output_tokens", "max_tokens"),
        ("openai_chat", "openai_responses", "input[1].content[0].text", "messages"),
        ("openai_chat", "openai_responses", "text.format.schema", "response_format.json_schema.schema"),
        ("openai_chat", "openai_responses", "reasoning.effort", "reasoning_effort"),
        ("openai_chat", "openai_responses", "instructions", "messages[0]"),
        ("openai_chat", "openai_responses", "safety_identifier", "safety_identifier"),
        ("openai_chat", "openai_responses", "truncation", None),
        ("openai_chat", "openai_responses", "temperature", None),
        ("openai_chat", "anthropic", "messages.0.content", "messages"),
        ("openai_chat", "anthropic", "stop_sequences", "stop"),
        ("openai_chat", "anthropic", "thinking.budget_tokens", "reasoning_effort"),
        ("openai_chat", "gemini", "generation_config.max_output_tokens", "max_tokens"),
        ("openai_chat", "gemini", "contents[0].parts[0].text", "messages"),
        ("openai_chat", "llamacpp", "max_completion_tokens", "max_tokens"),
        ("anthropic", "openai_chat", "max_completion_tokens", "max_tokens"),
        ("anthropic", "openai_chat", "reasoning_effort", "thinking.budget_tokens"),
        ("anthropic", "openai_chat", "messages.[0].content", "messages"),
        ("anthropic", "openai_responses", "instructions", "system"),
        ("openai_responses", "openai_chat", "messages[1].content", "input"),
        ("openai_responses", "anthropic", "max_tokens", "max_output_tokens"),
        ("gemini", "openai_chat", "max_tokens", "generationConfig.maxOutputTokens"),
        ("gemini", "openai_chat", "messages", "contents"),
        ("gemini", "openai_chat", "dialect", None),
    ],
)
def test_the_param_is_what_the_client_wrote(client: str, target: str, named: str, told: str | None) -> None:
    failure = in_clients_words(refused(named), asked(client), target)

    assert failure.param == told
    assert named in f"{failure.message} {failure.param}"


@pytest.mark.parametrize(
    ("client", "target", "message", "told"),
    [
        ("openai_chat", "anthropic", "messages.1.content.0: cache_control is not allowed here", "messages"),
        ("openai_chat", "anthropic", "max_tokens: 9 > 8", "max_tokens"),
        ("openai_responses", "anthropic", "max_tokens: 9 > 8", "max_output_tokens"),
        ("openai_chat", "gemini", "* GenerateContentRequest.contents: contents is not specified", "messages"),
        ("openai_chat", "anthropic", "Error: something else", None),
        ("openai_chat", "anthropic", "prompt is too long: 9 tokens > 8 maximum", None),
        ("anthropic", "anthropic", "max_tokens: 9 > 8", None),
    ],
)
def test_a_place_at_the_head_of_a_message_is_read(client: str, target: str, message: str, told: str | None) -> None:
    failure = in_clients_words(refused(None, message), asked(client), target)

    assert failure == refused(told, message)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("messages[1].content", "messages[1].content"),
        ("max_completion_tokens", "max_tokens"),
        ("max_tokens", "max_tokens"),
        ("unheard_of", "unheard_of"),
    ],
)
def test_a_vendor_of_the_clients_dialect_is_quoted_but_for_renamed_fields(named: str, told: str) -> None:
    assert in_clients_words(refused(named), asked("openai_chat"), "openai_chat") == refused(told)
