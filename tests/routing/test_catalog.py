"""Rules as data: layers, spellings, and what the shipped rows say."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from routing.catalog import NO_QUIRKS, base_of, checked, plain, read_rows, rows, rules_for
from routing.errors import BadRow
from translators.anthropic import render_request
from translators.openai_chat import parse_request

SAMPLING = {"temperature", "top_p", "top_k"}
OPENAI_SAMPLING = {
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "logit_bias",
}


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("claude-opus-5.5", "claude-opus-5-5"),
        ("anthropic/claude-opus-4.5", "claude-opus-4-5"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("Claude-Haiku-4-5-latest", "claude-haiku-4-5"),
        ("claude-3-5-sonnet-20241022", "claude-sonnet-3-5"),
        ("claude-3-5-sonnet-v2@20241022", "claude-sonnet-3-5"),
        ("claude-3.5-sonnet", "claude-sonnet-3-5"),
        ("claude-3-7-sonnet-latest", "claude-sonnet-3-7"),
        ("claude-3-opus-20240229", "claude-opus-3"),
        ("claude-4-sonnet-20250514", "claude-sonnet-4"),
        ("claude-4.5-haiku", "claude-haiku-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("anthropic.claude-3-sonnet-20240229-v1:0", "claude-sonnet-3"),
        ("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("openrouter/anthropic/claude-opus-4.1:thinking", "claude-opus-4-1"),
        ("models/gemini-2.5-flash", "gemini-2-5-flash"),
        ("google/gemini-2.5-flash-lite:free", "gemini-2-5-flash-lite"),
        ("publishers/google/models/gemini-3-pro-preview", "gemini-3-pro-preview"),
        ("gemini-pro-latest", "gemini-pro"),
        ("openai/gpt-5-2025-08-07", "gpt-5"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-5.6-sol", "gpt-5-6-sol"),
        ("deepseek-ai/DeepSeek-V4-Flash", "deepseek-v4-flash"),
        ("gemma3:1b", "gemma3:1b"),
        ("", ""),
        ("-latest", "-latest"),
    ],
)
def test_a_model_has_one_spelling(written: str, spelled: str) -> None:
    assert plain(written) == spelled


def facts(dialect: str, model: str, names: str) -> list[Any]:
    rules = rules_for(dialect, model)
    return [getattr(rules, name) for name in names.split()]


@pytest.mark.parametrize(
    ("model", "thinking", "refuses", "prefill", "system", "most"),
    [
        ("claude-2.1", "none", set(), True, False, 4_096),
        ("claude-3-haiku-20240307", "none", set(), True, False, 4_096),
        ("claude-3-5-haiku-latest", "none", set(), True, False, 8_192),
        ("claude-3-7-sonnet-20250219", "budget", set(), True, False, 64_000),
        ("claude-opus-4-20250514", "budget", set(), True, False, 32_000),
        ("claude-opus-4-1-20250805", "budget", set(), True, False, 32_000),
        ("claude-sonnet-4-0", "budget", set(), True, False, 64_000),
        ("claude-sonnet-4-5", "budget", set(), True, False, 64_000),
        ("claude-haiku-4-5-20251001", "budget", set(), True, False, 64_000),
        ("claude-opus-4-5", "budget", set(), True, False, 64_000),
        ("claude-opus-4-6", "adaptive", set(), False, False, 128_000),
        ("claude-sonnet-4.6", "adaptive", set(), False, False, 128_000),
        ("claude-opus-4-7", "adaptive", SAMPLING, False, False, 128_000),
        ("claude-opus-4-8", "adaptive", SAMPLING, False, True, 128_000),
        ("claude-opus-5", "adaptive", SAMPLING, False, True, 128_000),
        ("claude-opus-5-5", "adaptive", SAMPLING, False, True, 128_000),
        ("claude-sonnet-5", "adaptive", SAMPLING, False, True, 128_000),
        ("claude-haiku-5-5", "adaptive", SAMPLING, False, True, 128_000),
        ("claude-fable-5-2", "adaptive", SAMPLING, False, True, 128_000),
        ("claude-sonnet-7", "adaptive", SAMPLING, False, True, 128_000),  # unknown: taken for the newest
    ],
)
def test_claude(model: str, thinking: str, refuses: set[str], prefill: bool, system: bool, most: int) -> None:
    """WIRE 1, 2, 7, 11, 27, 28, 32."""
    found = facts("anthropic", model, "thinking refuses prefill system_in_messages max_output_tokens")

    assert found == [thinking, refuses, prefill, system, most]
    assert rules_for("anthropic", model).headers == {"anthropic-version": "2023-06-01"}
    assert rules_for("anthropic", model).temperature_max == 1.0
    assert "audio" not in rules_for("anthropic", model).modalities


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ("claude-3-7-sonnet-20250219", SAMPLING),
        ("claude-opus-4-1-20250805", SAMPLING),
        ("claude-sonnet-4-5", SAMPLING),
        ("claude-opus-4-6", SAMPLING),
        ("claude-3-5-sonnet-latest", set()),
    ],
)
def test_claude_that_thinks_takes_no_sampling(model: str, refused: set[str]) -> None:
    assert rules_for("anthropic", model).refuses_while_thinking == refused


@pytest.mark.parametrize(
    ("sampling", "sent", "lost"),
    [
        ({"temperature": 0.3}, {}, ["temperature"]),
        ({"temperature": 1}, {"temperature": 1}, []),
        ({"temperature": 1.4}, {}, ["temperature"]),
        ({"top_p": 0.9}, {}, ["top_p"]),
        ({"top_p": 0.97}, {"top_p": 0.97}, []),
        ({"top_k": 5}, {}, ["top_k"]),
        ({"temperature": 0.3, "reasoning_effort": "none"}, {"temperature": 0.3}, []),
        ({"temperature": 0.3, "top_k": 5, "reasoning_effort": None}, {"temperature": 0.3, "top_k": 5}, []),
    ],
)
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-sonnet-4-6"])
def test_claude_gets_the_sampling_that_it_takes_while_thinking(
    model: str, sampling: dict[str, Any], sent: dict[str, Any], lost: list[str]
) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
    request = parse_request({**body, "reasoning_effort": "high", **sampling})

    rendered = render_request(request, rules_for("anthropic", model))

    assert {name: value for name, value in rendered.body.items() if name in SAMPLING} == sent
    assert [loss.field for loss in rendered.losses if loss.field in SAMPLING] == lost


@pytest.mark.parametrize(
    ("model", "words", "cap", "forced", "one_of"),
    [
        ("claude-sonnet-4-5", "none minimal low medium high xhigh max", None, "not_while_thinking", True),
        ("claude-opus-4-6", "none low medium high max", None, "not_while_thinking", True),
        ("claude-opus-4-7", "none low medium high xhigh max", None, "not_while_thinking", False),
        ("claude-opus-5", "none low medium high xhigh max", "high", "not_while_thinking", False),
        ("claude-haiku-5-5", "none low medium high xhigh max", None, "not_while_thinking", False),
        ("claude-opus-5-5", "low medium high xhigh max", None, "never", False),
        ("claude-sonnet-5-5", "low medium high xhigh max", None, "never", False),
        ("claude-fable-5", "low medium high xhigh max", None, "never", False),
        ("claude-mythos-5-2", "low medium high xhigh max", None, "never", False),
        ("claude-3-5-sonnet-latest", "none", None, "not_while_thinking", False),
    ],
)
def test_claudes_efforts_and_tools(model: str, words: str, cap: str | None, forced: str, one_of: bool) -> None:
    """WIRE 4, 24, 26, 29."""
    found = facts("anthropic", model, "efforts effort_cap_without_thinking forced_tools one_of_temperature_top_p")

    assert found == [tuple(words.split()), cap, forced, one_of]


@pytest.mark.parametrize(
    ("model", "thinking", "words", "schema_with_tools", "most"),
    [
        ("gemini-1.5-flash-002", "none", "none", False, 8_192),
        ("gemini-2.0-flash-001", "none", "none", False, 8_192),
        ("models/gemini-2.5-flash", "budget", "none minimal low medium high xhigh max", False, 65_536),
        ("gemini-2.5-flash-lite-preview-06-17", "budget", "none minimal low medium high xhigh max", False, 65_536),
        ("gemini-2.5-pro", "budget", "low medium high xhigh max", False, 65_536),
        ("gemini-3-pro-preview", "level", "low high", True, 65_536),
        ("gemini-3.1-pro-preview", "level", "low medium high", True, 65_536),
        ("gemini-3-flash-preview", "level", "minimal low medium high", True, 65_536),
        ("gemini-3.1-flash-lite", "level", "minimal low medium high", True, 65_536),
        ("gemini-3.7-flash", "level", "minimal low medium high", True, 65_536),
        ("gemini-3.8-flash", "level", "low medium high", True, 65_536),
        ("gemini-4-argon", "level", "low medium high", True, 65_536),
    ],
)
def test_gemini(model: str, thinking: str, words: str, schema_with_tools: bool, most: int) -> None:
    """WIRE 84, 86, 91."""
    rules = rules_for("gemini", model)

    assert (rules.thinking, rules.efforts) == (thinking, tuple(words.split()))
    assert (rules.schema_with_tools, rules.max_output_tokens) == (schema_with_tools, most)
    assert rules.image_url_prefixes


@pytest.mark.parametrize(
    ("model", "thinking", "words", "always", "thinking_only"),
    [
        ("gpt-4o-mini-2024-07-18", "none", None, set(), set()),
        ("gpt-4.1", "none", None, set(), set()),
        ("gpt-5-chat-latest", "none", None, set(), set()),
        ("o3", "effort", "low medium high", OPENAI_SAMPLING | {"stop"}, set()),
        ("o4-mini-2025-04-16", "effort", "low medium high", OPENAI_SAMPLING | {"stop"}, set()),
        ("gpt-5-mini", "effort", "minimal low medium high", OPENAI_SAMPLING, set()),
        ("gpt-5-pro", "effort", "high", OPENAI_SAMPLING, set()),
        ("gpt-5.1", "effort", "none low medium high", set(), OPENAI_SAMPLING),
        ("gpt-5.1-codex-max", "effort", "low medium high xhigh", OPENAI_SAMPLING, set()),
        ("gpt-5.2", "effort", "none low medium high xhigh", set(), OPENAI_SAMPLING),
        ("gpt-5.4-mini", "effort", "none low medium high xhigh", set(), OPENAI_SAMPLING),
        ("openai/gpt-5.6-sol", "effort", "none low medium high xhigh max", set(), OPENAI_SAMPLING),
        ("gpt-6-sol", "effort", "none low medium high xhigh max", set(), OPENAI_SAMPLING),
        ("gpt-6-astra", "effort", "low medium high xhigh max", set(), OPENAI_SAMPLING),
        ("gpt-6.1-sol", "effort", "low medium high xhigh max", set(), OPENAI_SAMPLING),
        ("gpt-6.2-astra", "effort", "low medium high xhigh", set(), OPENAI_SAMPLING),
        ("openai/gpt-oss-120b", "effort", "low medium high", set(), set()),
    ],
)
def test_openai(model: str, thinking: str, words: str | None, always: set[str], thinking_only: set[str]) -> None:
    """WIRE 105, 106, 107."""
    rules = rules_for("openai_chat", model)

    assert (rules.thinking, rules.refuses, rules.refuses_while_thinking) == (thinking, always, thinking_only)
    if words:
        assert rules.efforts == tuple(words.split())


@pytest.mark.parametrize("model", ["gpt-4o-mini", "o3", "gpt-5-mini", "gpt-5.1", "gpt-5.4", "gpt-6-sol", "gpt-6.1-sol"])
def test_openais_models_are_the_same_at_both_endpoints(model: str) -> None:
    """But for sounds, which the Responses API does not take, and for where tools are taken."""
    names = "thinking efforts refuses refuses_while_thinking structured_output"

    assert facts("openai_responses", model, names) == facts("openai_chat", model, names)
    assert "audio" not in rules_for("openai_responses", model).modalities


@pytest.mark.parametrize(
    ("when", "models"),
    [
        ("never", "gpt-4o gpt-4.1-mini o1 o3 o4-mini gpt-5 gpt-5-mini gpt-5.1 gpt-5.2 gpt-5.2-pro qwen3-32b"),
        ("reasoning_with_tools", "gpt-5.4 gpt-5.4-nano gpt-5.5 gpt-5.6-sol gpt-6-sol gpt-6-luna"),
        ("tools", "gpt-6-astra gpt-6.1-sol gpt-6.1-terra gpt-6.2-sol gpt-6.2-astra"),
        ("always", "o1-pro-2025-03-19 o3-pro gpt-5-pro gpt-5.5-pro-2026-04-23 gpt-5-codex gpt-5.1-codex-max"),
        ("always", "gpt-5.3-codex computer-use-preview o4-mini-deep-research gpt-6-cyber gpt-6.2-astra-law"),
    ],
)
def test_which_endpoint_of_openais_takes_a_model(when: str, models: str) -> None:
    """WIRE 104, 105."""
    assert {model: rules_for("openai_chat", model).responses for model in models.split()} == dict.fromkeys(
        models.split(), when
    )


def test_models_that_openais_sdk_lists_for_responses_alone_are_asked_nowhere_else() -> None:
    sdk = pytest.importorskip("openai.types.shared.responses_model")
    only = {model for choice in get_args(sdk.ResponsesModel) for model in get_args(choice)} - set(
        get_args(sdk.ChatModel)
    )

    assert only
    assert {rules_for("openai_chat", model).responses for model in only} == {"always"}


def test_deepseek_wants_its_reasoning_back_on_tool_turns() -> None:
    """WIRE 123."""
    replay = {
        model: rules_for("openai_chat", model).reasoning_replay
        for model in ("deepseek-v4-pro", "deepseek-ai/DeepSeek-V4-Flash", "deepseek-chat", "qwen3-32b")
    }

    assert list(replay.values()) == ["tool_turns", "tool_turns", "never", "never"]


def test_signatures_go_back_to_the_models_that_made_them_behind_any_gateway() -> None:
    """WIRE 76, 78: Google's stand in `extra_content`, Anthropic's in `thinking_blocks`."""
    models = ("gemini-3.8-flash", "google/gemini-2.5-pro", "anthropic/claude-opus-5.5", "gpt-6-sol")
    taken = [rules_for("openai_chat", model).takes_back & {"extra_content", "thinking_blocks"} for model in models]

    assert taken == [{"extra_content"}, {"extra_content"}, {"thinking_blocks"}, set()]


def test_llamacpp_in_process_takes_text_and_pictures_that_come_with_the_request() -> None:
    """A model without a projector loses the pictures by its own quirks."""
    rules = rules_for("llamacpp", "tiny")

    assert (rules.modalities, rules.thinking, rules.image_urls) == ({"text", "image"}, "none", False)


@pytest.mark.parametrize(
    ("tuned", "base"),
    [
        ("ft:gpt-5.5:acme::x", "gpt-5.5"),
        ("ft:gpt-5.5-2026-04-23:acme:shop:7p4lURel", "gpt-5.5"),
        ("openai/ft:o4-mini-2025-04-16:acme::x", "o4-mini"),
        ("FT:GPT-4o-mini-2024-07-18:acme::x", "gpt-4o-mini"),
        ("gpt-4o-mini-2024-07-18.ft-0123456789abcdef0123456789abcdef", "gpt-4o-mini"),
    ],
)
def test_a_tuned_model_takes_what_its_base_takes(tuned: str, base: str) -> None:
    """Not at its base's price, which it does not have."""
    assert rules_for("openai_chat", tuned) == rules_for("openai_chat", base)
    assert rules_for("openai_chat", tuned) != rules_for("openai_chat", "unheard-of")
    assert plain(tuned) != plain(base)


@pytest.mark.parametrize("model", ["ft:", "ft:gpt-5.5", "soft:gpt-5.5:x", "gpt-5.5.ft-x", "left-ft:gpt-5.5:x"])
def test_what_only_looks_tuned_is_a_model_of_its_own(model: str) -> None:
    assert base_of(model) == model


def test_an_unknown_model_of_a_compatible_server_is_taken_for_conformant() -> None:
    rules = rules_for("openai_chat", "qwen3-32b")

    assert (rules.refuses, rules.structured_output, rules.developer_role) == (frozenset(), True, True)


def test_every_shipped_row_says_where_it_comes_from_and_changes_something() -> None:
    defaults, found = rows()

    assert set(defaults) == {"openai_chat", "openai_responses", "anthropic", "gemini", "llamacpp"}
    assert all(row.source and row.changes for row in found)


def test_quirks_come_last() -> None:
    """They add to refuses, restrict modalities, merge mappings and replace the rest."""
    quirks = {
        "refuses": ["seed"],
        "modalities": ["text", "audio"],
        "headers": {"x-a": "1"},
        "max_tokens_field": "max_tokens",
        "temperature_max": 2,
    }
    rules = rules_for("anthropic", "claude-opus-5-5", quirks)

    assert rules.refuses == SAMPLING | {"seed"}
    assert rules.modalities == {"text"}
    assert rules.headers == {"anthropic-version": "2023-06-01", "x-a": "1"}
    assert (rules.max_tokens_field, rules.temperature_max) == ("max_tokens", 2.0)


def test_later_rows_win_field_by_field() -> None:
    base = {"dialect": "d", "source": "s", "date": "2026-11-21"}
    _, found = read_rows(
        {"rules": [{**base, "models": ["m-*"], "prefill": False}, {**base, "models": ["m-1.5*"], "thinking": "none"}]}
    )

    assert [row.is_of("m-1-5x") for row in found] == [True, True]
    assert [row.is_of("m-2") for row in found] == [True, False]


def test_a_row_of_several_dialects_is_a_row_of_each() -> None:
    row = {"dialect": ["d", "e"], "models": ["m"], "source": "s", "date": "2026-11-21", "prefill": False}

    _, found = read_rows({"rules": [row]})

    assert [(row.dialect, dict(row.changes)) for row in found] == [("d", {"prefill": False}), ("e", {"prefill": False})]


@pytest.mark.parametrize(
    ("quirks", "said"),
    [
        ({"temprature_max": 1}, "'temprature_max' is not a rule; did you mean temperature_max"),
        ({"dialect": "gemini"}, "'dialect' is not a rule"),
        ({"thinking": "much"}, "thinking: 'much' is not one of none, budget"),
        ({"efforts": ["low", "lots"]}, "efforts: 'lots' is not one of"),
        ({"refuses": "seed"}, "refuses: expected a list, found 'seed'"),
        ({"prefill": "no"}, "prefill: expected bool"),
        ({"max_output_tokens": True}, "max_output_tokens: expected int"),
        ({"max_output_tokens": "many"}, "max_output_tokens: expected int"),
        ({"headers": ["a"]}, "headers: expected a table"),
        ({"effort_cap_without_thinking": "top"}, "is not one of"),
    ],
)
def test_a_wrong_quirk_is_named(quirks: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRow, match="quirks of a gemini provider") as raised:
        rules_for("gemini", "gemini-3-pro", quirks)

    assert said in str(raised.value)


@pytest.mark.parametrize("key", ["dialect", "models", "source", "date"])
def test_a_row_without_its_origin_is_refused(key: str) -> None:
    row = {"dialect": "d", "models": ["m"], "source": "s", "date": "2026-11-21", "prefill": False}
    del row[key]

    with pytest.raises(BadRow, match=f"row 1.*{key} is missing"):
        read_rows({"rules": [row]})


def test_rules_are_remembered_by_model_and_quirks() -> None:
    quirks = {"prefill": False}

    assert rules_for("gemini", "g", quirks) is rules_for("gemini", "g", quirks)
    assert rules_for("gemini", "g", {"prefill": False}) is not rules_for("gemini", "g", NO_QUIRKS)
    assert [rules_for("gemini", "g", {"stream_options": flag}).stream_options for flag in (True, False) * 50] == [
        True,
        False,
    ] * 50


def test_optional_values_may_be_unset() -> None:
    assert checked({"max_output_tokens": None}, "here") == {"max_output_tokens": None}
