"""What is known of single targets beyond the shipped rows."""

from __future__ import annotations

import pytest

from routing.catalog import NOTHING_KNOWN, Overlay, rules_for
from routing.errors import BadRow


def test_a_lesson_is_in_force_for_its_target_alone() -> None:
    overlay = Overlay()
    quirks = {"developer_role": False}

    before = rules_for("openai_chat", "m", quirks, overlay.of("here", "m"))
    overlay.put("here", "m", {"refuses": ["seed"]})
    after = rules_for("openai_chat", "m", quirks, overlay.of("here", "m"))

    assert (before.refuses, after.refuses, after.developer_role) == (frozenset(), {"seed"}, False)
    for provider, model in (("there", "m"), ("here", "n")):
        assert rules_for("openai_chat", model, quirks, overlay.of(provider, model)).refuses == frozenset()


def test_lessons_add_up() -> None:
    overlay = Overlay()
    overlay.put("here", "m", {"refuses": ["seed"], "efforts": ["low", "high"]})

    told = overlay.put("here", "m", {"refuses": ["n"], "efforts": ["low"]})

    rules = rules_for("openai_chat", "m", known=overlay.of("here", "m"))
    assert (rules.refuses, rules.efforts) == ({"seed", "n"}, ("low",))
    assert told == {"refuses": {"seed", "n"}, "efforts": ("low",)}


def test_layers_count_in_order() -> None:
    """Shipped rows, the vendor's list, the user's quirks, what the vendor refused."""
    overlay = Overlay()
    quirks = {"max_output_tokens": 3, "prefill": True, "refuses": ["n"]}
    overlay.put_facts("here", "gpt-4o", {"max_output_tokens": 2, "context_tokens": 2, "modalities": ["text"]})
    overlay.put("here", "gpt-4o", {"prefill": False, "refuses": ["seed"]})

    rules = rules_for("openai_chat", "gpt-4o", quirks, overlay.of("here", "gpt-4o"))

    assert (rules.thinking, rules.max_output_tokens, rules.context_tokens) == ("none", 3, 2)
    assert (rules.modalities, rules.prefill, rules.refuses) == ({"text"}, False, {"n", "seed"})


def test_newer_facts_replace_the_older_and_leave_the_lessons() -> None:
    overlay = Overlay()
    overlay.put("here", "m", {"prefill": False})
    overlay.put_facts("here", "m", {"max_output_tokens": 9, "context_tokens": 9})

    overlay.put_facts("here", "m", {"context_tokens": 8})

    rules = rules_for("openai_chat", "m", known=overlay.of("here", "m"))
    assert (rules.max_output_tokens, rules.context_tokens, rules.prefill) == (None, 8, False)


def test_what_is_forgotten_is_out_of_force() -> None:
    overlay = Overlay()
    overlay.put("here", "m", {"prefill": False})

    overlay.forget("here", "m")
    overlay.forget("here", "never known")

    assert overlay.of("here", "m") is NOTHING_KNOWN
    assert list(overlay) == []


@pytest.mark.parametrize("change", [{"prefil": False}, {"prefill": "no"}, {"efforts": ["huge"]}, {"refuses": "seed"}])
def test_a_lesson_of_another_version_is_refused_whole(change: dict[str, object]) -> None:
    """It would fail every request otherwise: rules are made on the way."""
    overlay = Overlay()
    overlay.put("here", "m", {"refuses": ["n"]})

    for put in (overlay.put, overlay.put_facts):
        with pytest.raises(BadRow, match="here/m"):
            put("here", "m", {"refuses": ["seed"], **change})

    assert rules_for("openai_chat", "m", known=overlay.of("here", "m")).refuses == {"n"}


def test_rules_are_looked_up_once_until_something_is_learned() -> None:
    overlay = Overlay()
    quirks = {"refuses": ["n"]}

    first = rules_for("openai_chat", "m", quirks, overlay.of("here", "m"))
    again = rules_for("openai_chat", "m", quirks, overlay.of("here", "m"))
    overlay.put("here", "m", {"prefill": False})
    learned = rules_for("openai_chat", "m", quirks, overlay.of("here", "m"))

    assert first is again
    assert learned is not first
    assert learned is rules_for("openai_chat", "m", quirks, overlay.of("here", "m"))


@pytest.mark.parametrize(
    ("dialect", "model", "context", "most"),
    [
        ("anthropic", "claude-opus-5-5", 1_000_000, 128_000),
        ("anthropic", "claude-sonnet-4-6", 1_000_000, 128_000),
        ("anthropic", "claude-opus-4-5-20251101", 200_000, 64_000),
        ("anthropic", "claude-haiku-4-5", 200_000, 64_000),
        ("anthropic", "claude-sonnet-4-5-20250929", 1_000_000, 64_000),
        ("anthropic", "claude-opus-4-1-20250805", 200_000, 32_000),
        ("anthropic", "claude-3-5-sonnet-20241022", 200_000, 8_192),
        ("gemini", "gemini-2.5-flash", 1_048_576, 65_536),
        ("gemini", "gemini-flash-latest", 1_048_576, 65_536),
        ("gemini", "gemini-3.1-flash-image", 65_536, 65_536),
        ("gemini", "gemini-2.5-flash-image", 32_768, 32_768),
        ("gemini", "gemini-3-pro-image-preview", 131_072, 32_768),
        ("gemini", "gemini-2.5-flash-preview-tts", 8_192, 16_384),
        ("gemini", "gemma-4-31b-it", 262_144, 32_768),
        ("openai_chat", "gpt-4o-mini", 128_000, 16_384),
        ("openai_chat", "gpt-4.1-nano", 1_047_576, 32_768),
        ("openai_chat", "o3", 200_000, 100_000),
        ("openai_chat", "gpt-5-mini-2025-08-07", 272_000, 128_000),
        ("openai_responses", "gpt-5.6-sol", 922_000, 128_000),
        ("openai_chat", "qwen3-32b", None, None),
    ],
)
def test_shipped_limits(dialect: str, model: str, context: int | None, most: int | None) -> None:
    """WIRE 7."""
    rules = rules_for(dialect, model)

    assert (rules.context_tokens, rules.max_output_tokens) == (context, most)
