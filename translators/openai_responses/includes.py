"""`include`: what an answer is to hold beyond the usual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from translators.dialect import Rules
from translators.losses import Loss

ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"


def taken_includes(include: Sequence[Any], rules: Rules) -> tuple[list[Any], list[Loss]]:
    """The client's *include* without the entries that the target of *rules* refuses, and a loss for each of these."""
    if not include:
        return [], []
    refused = [isinstance(name, str) and name in rules.refuses for name in include]
    losses = [Loss(f"include[{at}]", "dropped", "the target refuses it") for at, gone in enumerate(refused) if gone]
    return [name for name, gone in zip(include, refused, strict=True) if not gone], losses
