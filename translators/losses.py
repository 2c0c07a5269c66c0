"""Losses: what a target cannot express, said instead of swallowed.

A Loss is a value that a renderer returns beside the body; it never logs and never raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

from translators.neutral import Message, Native, Request

LossAction = Literal["dropped", "clamped", "renamed", "emulated"]


@dataclass(frozen=True, slots=True)
class Loss:
    """One field that did not reach the target as it was sent.

    *field* is the name in the client's dialect, with its place (`messages[2].content[0].detail`) where it has one.
    *reason* is one short clause that names the target's rule.
    """

    field: str
    action: LossAction
    reason: str


_CLIENT_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "openai_chat": {
        "max_output_tokens": "max_completion_tokens",
        "reasoning": "reasoning_effort",
        "output": "response_format",
        "include_usage": "stream_options.include_usage",
    },
    "openai_completions": {
        "messages": "prompt",
        "max_output_tokens": "max_tokens",
        "top_logprobs": "logprobs",
        "include_usage": "stream_options.include_usage",
    },
    "openai_responses": {
        "messages": "input",
        "output": "text.format",
        "verbosity": "text.verbosity",
    },
    "anthropic": {
        "max_output_tokens": "max_tokens",
        "stop": "stop_sequences",
        "reasoning": "thinking",
        "output": "output_config.format",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "user": "metadata.user_id",
        "annotations": "citations",
    },
    "gemini": {
        "messages": "contents",
        "tool_choice": "toolConfig.functionCallingConfig",
        "max_output_tokens": "generationConfig.maxOutputTokens",
        "temperature": "generationConfig.temperature",
        "top_p": "generationConfig.topP",
        "top_k": "generationConfig.topK",
        "presence_penalty": "generationConfig.presencePenalty",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "seed": "generationConfig.seed",
        "stop": "generationConfig.stopSequences",
        "n": "generationConfig.candidateCount",
        "logprobs": "generationConfig.responseLogprobs",
        "top_logprobs": "generationConfig.logprobs",
        "reasoning": "generationConfig.thinkingConfig",
        "output": "generationConfig.responseJsonSchema",
        "modalities": "generationConfig.responseModalities",
        "metadata": "labels",
        "service_tier": "serviceTier",
    },
}


def client_field(request_dialect: str, neutral_name: str) -> str:
    """What a client of *request_dialect* calls the Request field *neutral_name*; the neutral name where both agree."""
    return _CLIENT_FIELDS.get(request_dialect, {}).get(neutral_name, neutral_name)


def message_place(message: Message, position: int) -> str:
    """Where the client wrote the message that stands at *position* of the neutral form."""
    return message.place or f"messages[{position}]"


def native_losses(place: str, native: Native, target: str) -> Iterator[Loss]:
    """What in *native* the dialect *target* cannot read: one loss for each field of each other dialect."""
    prefix = f"{place}." if place else ""
    for dialect, fields in native.items():
        if dialect != target:
            for name in fields:
                yield Loss(prefix + name, "dropped", f"{target} has no such field")


def request_native_losses(request: Request, target: str) -> list[Loss]:
    """The losses of the request's own unknown fields, without those of its messages and tools."""
    return list(native_losses("", request.native, target))


def header_value(losses: tuple[Loss, ...] | list[Loss]) -> str:
    """`x-modelport-losses`: `field=reason` pairs, percent-encoded, comma-separated."""
    return ",".join(f"{quote(loss.field, safe='[].')}={quote(f'{loss.action}: {loss.reason}')}" for loss in losses)
