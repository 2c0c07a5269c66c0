"""Plain answers: a whole chat completion of one choice of text, which no SDK has trouble with.

Of such an answer nothing has to be mended, kept or translated: its bytes go to the client as they are, and its books
need no more than its counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from translators.codec import JsonError, loads

_BODY: Final = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"})
_CHOICE: Final = frozenset({"index", "message", "finish_reason", "logprobs"})
_MESSAGE: Final = frozenset({"role", "content", "refusal", "annotations"})
_USAGE: Final = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)
_INPUT: Final = frozenset({"cached_tokens", "audio_tokens"})
_OUTPUT: Final = frozenset(
    {"reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"}
)
_ENDS: Final = frozenset({"stop", "length"})
_MOST: Final = 10**9
"""Tokens. A larger count is a mistake, which the careful way judges."""
_NOTHING: Final[Mapping[str, int]] = {}


class Counts(NamedTuple):
    """The tokens of a plain answer, as its vendor tells them in *raw*; and the tier that it was served in."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    raw: Mapping[str, Any]
    tier: str | None


def plain(payload: bytes) -> Counts | None:
    """What a plain answer counts; None where *payload* is anything else."""
    try:
        body = loads(payload)
    except JsonError:
        return None
    if type(body) is not dict or not body.keys() <= _BODY:
        return None
    choices, usage, tier = body.get("choices"), body.get("usage"), body.get("service_tier")
    if (
        body.get("object") != "chat.completion"
        or not _is_text(body.get("id"))
        or not _is_text(body.get("model"))
        or type(body.get("created")) is not int
        or not (tier is None or tier == "default")
        or type(choices) is not list
        or len(choices) != 1
        or not _is_plain_choice(choices[0])
        or type(usage) is not dict
    ):
        return None
    return _counts(usage, tier)


def _is_text(value: Any) -> bool:
    return type(value) is str and value != ""


def _is_plain_choice(choice: Any) -> bool:
    if type(choice) is not dict or not choice.keys() <= _CHOICE:
        return False
    index, message = choice.get("index"), choice.get("message")
    return (
        type(index) is int
        and index == 0
        and choice.get("finish_reason") in _ENDS
        and choice.get("logprobs") is None
        and type(message) is dict
        and message.keys() <= _MESSAGE
        and message.get("role") == "assistant"
        and type(message.get("content")) is str
        and message.get("refusal") is None
        and not message.get("annotations")
    )


def _counts(usage: Mapping[str, Any], tier: str | None) -> Counts | None:
    if not usage.keys() <= _USAGE:
        return None
    prompt: Any
    completion: Any
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    inputs: Any
    outputs: Any
    inputs, outputs = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    inputs, outputs = _NOTHING if inputs is None else inputs, _NOTHING if outputs is None else outputs
    if not (_is_count(prompt) and _is_count(completion) and usage.get("total_tokens") == prompt + completion):
        return None
    if not (_are_counts(inputs, _INPUT) and _are_counts(outputs, _OUTPUT)):
        return None
    cached, reasoning = inputs.get("cached_tokens", 0), outputs.get("reasoning_tokens", 0)
    if inputs.get("audio_tokens") or outputs.get("audio_tokens") or cached > prompt or reasoning > completion:
        return None
    return Counts(prompt, cached, completion, reasoning, usage, tier)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _are_counts(details: Any, names: frozenset[str]) -> bool:
    if type(details) is not dict and details is not _NOTHING:
        return False
    return details.keys() <= names and all(map(_is_count, details.values()))
