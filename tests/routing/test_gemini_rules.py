"""What the models behind Gemini's API take beside the conversation."""

from __future__ import annotations

import pytest

from routing.catalog import rules_for


@pytest.mark.parametrize(
    ("models", "instruction", "tools", "held"),
    [
        ("gemini-3-pro gemini-3.8-flash gemini-2.5-flash gemini-4-argon gemini-flash-latest", True, True, True),
        ("gemini-2.0-flash gemini-1.5-pro gemma-4-31b-it", True, True, False),
        ("gemma-3-27b-it gemma-3n-e4b-it gemma-2-9b-it", False, False, True),
        ("gemini-2.5-flash-preview-tts gemini-3.1-flash-tts-preview", False, False, True),
    ],
)
def test_who_takes_instructions_tools_and_validated(models: str, instruction: bool, tools: bool, held: bool) -> None:
    """WIRE 71, 85. *held*: whether calls can be held to the schemas of their tools; without tools there are none."""
    for model in models.split():
        rules = rules_for("gemini", model)

        found = (rules.system_instruction, "tools" not in rules.refuses, "strict" not in rules.refuses)
        assert found == (instruction, tools, held), model
