"""Vendors' lists of models, read."""

# ruff: noqa: E501 -- one entry of a list, one line

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from routing.catalog import Known, Overlay, checked, rules_for
from routing.vendor_models import ModelFacts, next_page, parse_models


def yes(**inner: Any) -> dict[str, Any]:
    return {"supported": True, **inner}


NO = {"supported": False}
CLAUDE = {
    "type": "model",
    "id": "claude-opus-5-5",
    "display_name": "Claude Opus 5.5",
    "created_at": "2026-10-21T00:00:00Z",
    "lifecycle": "deprecated",
    "retires_at": "2027-11-01T00:00:00Z",
    "max_input_tokens": 1_000_000,
    "max_tokens": 128_000,
    "capabilities": {
        "effort": yes(low=yes(), medium=yes(), high=yes(), xhigh=yes(), max=yes()),
        "image_input": yes(),
        "pdf_input": NO,
        "structured_outputs": yes(),
        "thinking": yes(types={"adaptive": yes(), "enabled": NO, "disabled": NO, "between_tools": yes()}),
    },
}


def one(dialect: str, entry: dict[str, Any]) -> ModelFacts:
    (facts,) = parse_models(dialect, {"data": [entry]})
    checked(facts.rules, "facts")
    return facts


def test_anthropic_tells_everything() -> None:
    """WIRE 7 and 2.3: limits, efforts, thinking and modalities come from the models endpoint."""
    facts = one("anthropic", CLAUDE)

    assert (facts.id, facts.title, facts.created) == ("claude-opus-5-5", "Claude Opus 5.5", 1_792_540_800)
    assert (facts.context, facts.max_output_tokens, facts.modalities) == (1_000_000, 128_000, {"text", "image"})
    assert facts.retires_at == "2027-11-01T00:00:00Z"
    assert facts.rules == {
        "thinking": "adaptive",
        "efforts": ["low", "medium", "high", "xhigh", "max"],
        "structured_output": True,
        "modalities": ["image", "text"],
        "max_output_tokens": 128_000,
        "context_tokens": 1_000_000,
    }


@pytest.mark.parametrize(
    ("thinking", "rules"),
    [
        (NO, {"thinking": "none"}),
        (yes(types={"adaptive": NO, "enabled": yes(), "disabled": yes()}), {"thinking": "budget"}),
        (yes(types={"adaptive": yes(), "enabled": yes()}), {"thinking": "adaptive"}),
        (yes(types={"adaptive": yes(), "disabled": yes()}), {"thinking": "adaptive", "efforts": ["none", "low"]}),
        (yes(), {}),
        (None, {}),
    ],
)
def test_claudes_way_of_thinking(thinking: Any, rules: dict[str, Any]) -> None:
    """A list that does not speak of `disabled` says nothing of effort none."""
    entry = {"id": "claude-x", "capabilities": {"thinking": thinking, "effort": yes(low=yes(), max=NO)}}

    assert one("anthropic", entry).rules == rules


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            {
                "name": "models/gemini-2.5-flash",
                "displayName": "Gemini 2.5 Flash",
                "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
                "maxTemperature": 2,
                "thinking": True,
            },
            ModelFacts(
                "gemini-2.5-flash",
                "Gemini 2.5 Flash",
                1_048_576,
                65_536,
                rules={"temperature_max": 2.0, "max_output_tokens": 65_536, "context_tokens": 1_048_576},
            ),
        ),
        (
            {"name": "models/gemini-2.5-flash-image", "supportedGenerationMethods": ["generateContent"]},
            ModelFacts("gemini-2.5-flash-image", rules={"thinking": "none"}),
        ),
        (
            {"name": "models/veo-3", "inputTokenLimit": 480, "supportedGenerationMethods": ["predictLongRunning"]},
            ModelFacts("veo-3", context=480, chats=False),
        ),
    ],
)
def test_gemini(entry: dict[str, Any], expected: ModelFacts) -> None:
    assert parse_models("gemini", {"models": [entry]}) == [expected]


LISTED: dict[str, tuple[dict[str, Any], ModelFacts]] = {
    "openai": (
        {"id": "gpt-6-sol", "object": "model", "created": 1_790_000_000, "owned_by": "openai", "shutdown_date": "2027-01-14"},
        ModelFacts("gpt-6-sol", created=1_790_000_000, retires_at="2027-01-14"),
    ),
    "openrouter": (
        {
            "id": "openai/gpt-x",
            "name": "GPT X",
            "created": 1,
            "context_length": 400_000,
            "top_provider": {"context_length": 400_000, "max_completion_tokens": 128_000, "is_moderated": True},
            "architecture": {"input_modalities": ["text", "image", "file"], "output_modalities": ["text"]},
            "supported_parameters": ["tools", "seed", "reasoning", "response_format", "top_p", "stop"],
            "reasoning": {"supported_efforts": ["high", "low"]},
            "pricing": {"prompt": "0.000001"},
        },
        ModelFacts(
            "openai/gpt-x",
            "GPT X",
            400_000,
            128_000,
            frozenset({"text", "image", "document"}),
            {
                "refuses": ["frequency_penalty", "logprobs", "presence_penalty", "temperature", "top_k", "top_logprobs"],
                "efforts": ["low", "high"],
                "modalities": ["document", "image", "text"],
                "max_output_tokens": 128_000,
                "context_tokens": 400_000,
            },
            1,
        ),
    ),
    "groq": (
        {
            "id": "llama-3.3-70b-versatile",
            "context_window": 131_072,
            "max_completion_tokens": 32_768,
            "input_modalities": ["text"],
            "output_modalities": ["text"],
            "supported_features": ["tools", "json_mode"],
        },
        ModelFacts(
            "llama-3.3-70b-versatile",
            "",
            131_072,
            32_768,
            frozenset({"text"}),
            {
                "structured_output": False,
                "thinking": "none",
                "modalities": ["text"],
                "max_output_tokens": 32_768,
                "context_tokens": 131_072,
            },
        ),
    ),
    "groq, speech": ({"id": "whisper", "output_modalities": ["transcription"]}, ModelFacts("whisper", chats=False)),
    "mistral": (
        {
            "id": "codestral-x",
            "max_context_length": 256_000,
            "deprecation": "2027-02-01T00:00:00Z",
            "capabilities": {"completion_chat": True, "function_calling": False, "vision": False},
        },
        ModelFacts(
            "codestral-x",
            "",
            256_000,
            None,
            frozenset({"text"}),
            {"refuses": ["tools"], "modalities": ["text"], "context_tokens": 256_000},
            None,
            "2027-02-01T00:00:00Z",
        ),
    ),
    "mistral, embeddings": (
        {"id": "mistral-embed", "capabilities": {"completion_chat": False}},
        ModelFacts("mistral-embed", chats=False),
    ),
    "copilot, at Responses alone": (
        {
            "id": "gpt-5.5",
            "name": "GPT-5.5",
            "capabilities": {
                "type": "chat",
                "limits": {"max_context_window_tokens": 400_000, "max_output_tokens": 128_000, "max_prompt_tokens": 272_000},
                "supports": {"reasoning_effort": ["none", "low"], "tool_calls": True, "vision": True},
            },
            "supported_endpoints": ["/responses", "ws:/responses"],
        },
        ModelFacts(
            "gpt-5.5",
            "GPT-5.5",
            272_000,
            128_000,
            frozenset({"text", "image"}),
            {
                "modalities": ["document", "image", "text"],
                "efforts": ["none", "low"],
                "responses": "always",
                "max_output_tokens": 128_000,
                "context_tokens": 272_000,
            },
        ),
    ),
    "venice": (
        {
            "id": "m",
            "type": "text",
            "model_spec": {
                "name": "M",
                "availableContextTokens": 32_000,
                "maxCompletionTokens": 8_000,
                "capabilities": {"supportsVision": False, "supportsReasoning": False, "supportsResponseSchema": False},
            },
        },
        ModelFacts(
            "m",
            "M",
            32_000,
            8_000,
            frozenset({"text"}),
            {
                "structured_output": False,
                "thinking": "none",
                "modalities": ["text"],
                "max_output_tokens": 8_000,
                "context_tokens": 32_000,
            },
        ),
    ),
    "vllm": ({"id": "q", "max_model_len": 32_768}, ModelFacts("q", context=32_768, rules={"context_tokens": 32_768})),
    "llama-server": (
        {"id": "q", "created": 0, "meta": {"n_ctx": 4096, "n_ctx_train": 40_960}},
        ModelFacts("q", context=4096, rules={"context_tokens": 4096}),
    ),
    "ollama": ({"id": "gemma3:1b", "object": "model", "created": 5, "owned_by": "library"}, ModelFacts("gemma3:1b", created=5)),
    "together": (
        {"id": "t", "type": "chat", "display_name": "T", "context_length": 8192},
        ModelFacts("t", "T", 8192, rules={"context_tokens": 8192}),
    ),
    "together, pictures": ({"id": "flux", "type": "image"}, ModelFacts("flux", chats=False)),
    "cohere": (
        {"name": "command-a", "endpoints": ["chat", "rerank"], "context_length": 256_000.0, "supports_vision": True},
        ModelFacts(
            "command-a",
            "",
            256_000,
            None,
            frozenset({"text", "image"}),
            {"modalities": ["document", "image", "text"], "context_tokens": 256_000},
        ),
    ),
    "cohere, embeddings": ({"name": "embed-v5", "endpoints": ["embed"]}, ModelFacts("embed-v5", chats=False)),
    "xai": (
        {"id": "grok-4.6", "input_modalities": ["text", "image"], "output_modalities": ["text"]},
        ModelFacts(
            "grok-4.6", modalities=frozenset({"text", "image"}), rules={"modalities": ["image", "text"]}
        ),
    ),
    "nonsense in place of numbers": (
        {"id": "q", "context_length": "many", "max_model_len": -1, "max_output_tokens": True, "created": "soon"},
        ModelFacts("q"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTED)
def test_lists_in_openais_form(name: str) -> None:
    entry, expected = LISTED[name]
    (facts,) = parse_models("openai_chat", {"object": "list", "data": [entry]})

    assert facts == expected
    checked(facts.rules, "facts")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"data": [{"id": "a"}, {"id": "b"}]}, ["a", "b"]),
        ({"models": [{"name": "a"}]}, ["a"]),
        ({"data": [{"id": "a"}], "models": [{"name": "again"}]}, ["a"]),
        ([{"id": "a"}], ["a"]),
        ({"id": "a", "object": "model"}, ["a"]),
        ({"data": [{}, {"id": ""}, {"id": 5}, "x", None, {"id": "a"}]}, ["a"]),
        ({"error": {"message": "no"}}, []),
        ({"data": None}, []),
        (None, []),
        ("text", []),
    ],
)
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini", "llamacpp"])
def test_whatever_a_server_sends_is_a_list_of_what_can_be_read(dialect: str, body: Any, names: list[str]) -> None:
    assert [facts.id for facts in parse_models(dialect, body)] == names


@pytest.mark.parametrize(
    ("dialect", "body", "parameters"),
    [
        ("anthropic", {"data": [], "has_more": True, "last_id": "claude-x"}, {"after_id": "claude-x"}),
        ("anthropic", {"data": [], "has_more": False, "last_id": "claude-x"}, None),
        ("anthropic", {"data": [], "has_more": True, "last_id": None}, None),
        ("gemini", {"models": [], "nextPageToken": "t"}, {"pageToken": "t"}),
        ("gemini", {"models": []}, None),
        ("openai_chat", {"models": [], "next_page_token": "t"}, {"page_token": "t"}),
        ("openai_chat", {"data": [], "next_page_token": ""}, None),
        ("openai_chat", [], None),
    ],
)
def test_the_next_page(dialect: str, body: Any, parameters: Any) -> None:
    assert next_page(dialect, body) == parameters


def test_facts_become_rules_below_the_quirks() -> None:
    """What the user says of a server counts more than what the server says of itself."""
    overlay = Overlay()
    overlay.put_facts("venice", "m", {"max_output_tokens": 8_000, "context_tokens": 32_000, "refuses": ["seed"]})

    rules = rules_for("openai_chat", "m", {"max_output_tokens": 100, "refuses": ["n"]}, overlay.of("venice", "m"))

    assert (rules.max_output_tokens, rules.context_tokens, rules.refuses) == (100, 32_000, {"seed", "n"})
    assert overlay.of("venice", "other") is overlay.of("other", "m")


# --- recorded --------------------------------------------------------------------------------------

SHARED = Path(os.environ.get("MODELPORT_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "recordings"


def recorded_lists() -> list[tuple[str, str]]:
    if not SHARED.is_dir():
        return []
    rows = [json.loads(line) for line in (SHARED / "index.jsonl").read_text("utf-8").splitlines()]
    return [(row["provider"], row["id"]) for row in rows if row["api"] == "models" and row["status"] == 200]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not here")
def test_recorded_lists_are_read_whole_and_make_rules() -> None:
    counts = {}
    for provider, name in recorded_lists():
        body = json.loads((SHARED / provider / f"{name}.json").read_text("utf-8"))["response"]["body"]
        dialect = {"anthropic": "anthropic", "gemini": "gemini"}.get(provider, "openai_chat")
        found = parse_models(dialect, body)
        for facts in found:
            rules = rules_for(dialect, facts.id, known=Known(facts=checked(facts.rules, facts.id)))
            assert not facts.chats or rules.context_tokens == facts.context
            assert not facts.max_output_tokens or not facts.chats or rules.max_output_tokens == facts.max_output_tokens
        counts[provider] = (len(found), sum(facts.chats for facts in found))

    assert counts == {
        "anthropic": (9, 9),
        "copilot": (39, 35),
        "gemini": (52, 36),
        "groq": (15, 11),
        "llamacpp": (1, 1),
        "openai": (1, 1),
        "venice": (108, 108),
    }
