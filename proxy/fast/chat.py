"""Plain chat completions: conversations of words, and answers of one choice of text or calls.

An answer is plain that no SDK has trouble with, so that nothing of it has to be mended, kept or translated. That is
said by types; a field that they do not name makes an answer not plain, unless it is null in all that were seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import msgspec

from proxy.fast.plain import Count, Counts, Name, Nothing, counts_in, counts_of
from routing.pricing.counting import OBSERVED
from translators.codec import JsonError, dumps, loads_object
from translators.dialect import Rules
from translators.neutral import Response
from translators.openai_chat.relay import mend_usage
from translators.openai_chat.usage import parse_usage
from translators.vaulted import only_words


class _Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "user", "assistant"]
    content: str


class _Function(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: Name


class _Call(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: Name
    type: Literal["function"]
    function: _Function
    index: int = 0


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["assistant"]
    content: str | None
    tool_calls: list[_Call] | None = None
    refusal: None = None
    annotations: Nothing | None = None
    audio: None = None
    function_call: None = None
    reasoning: None = None
    reasoning_content: None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    index: Literal[0]
    message: _Message
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: None = None
    stop_reason: None = None
    token_ids: None = None


class _Answer(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: Name
    object: Literal["chat.completion"]
    created: int
    model: Name
    choices: tuple[_Choice]
    usage: msgspec.Raw
    system_fingerprint: Any = None
    service_tier: Literal["default"] | None = None
    prompt_logprobs: None = None
    prompt_token_ids: None = None
    kv_transfer_params: None = None


class _Input(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    cached_tokens: Count = 0
    audio_tokens: Literal[0] = 0


class _Output(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    reasoning_tokens: Count = 0
    audio_tokens: Literal[0] = 0
    accepted_prediction_tokens: Count = 0
    rejected_prediction_tokens: Count = 0


class _Usage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: int
    prompt_tokens_details: _Input | None = None
    completion_tokens_details: _Output | None = None


words: Final = msgspec.json.Decoder(list[_Said]).decode
_answer: Final = msgspec.json.Decoder(_Answer).decode
_usage: Final = msgspec.json.Decoder(_Usage).decode
_NO_INPUT: Final = _Input()
_NO_OUTPUT: Final = _Output()
_NATIVE: Final = frozenset({"service_tier", "system_fingerprint"})
_ENDS: Final = frozenset({"stop", "length"})


def plain(payload: bytes, rules: Rules) -> Counts | None:
    """What a plain answer counts; None where *payload* is anything else."""
    try:
        answer = _answer(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    choice = answer.choices[0]
    if choice.message.tool_calls:
        ends_well = choice.finish_reason != "stop"
    else:
        ends_well = choice.finish_reason != "tool_calls" and choice.message.content is not None
    if not ends_well:
        return None
    raw, tier = bytes(answer.usage), answer.service_tier
    return _counts_told(raw, tier) or _counts_of_any(raw, tier, rules)


def _counts_told(raw: bytes, tier: str | None) -> Counts | None:
    """The tokens of an answer served in *tier* whose vendor tells *raw*, as JSON; None where that says more."""
    try:
        usage = _usage(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    cached = (usage.prompt_tokens_details or _NO_INPUT).cached_tokens
    reasoning = (usage.completion_tokens_details or _NO_OUTPUT).reasoning_tokens
    if usage.total_tokens != prompt + completion or cached > prompt or reasoning > completion:
        return None
    if tier is not None or b" " in raw or b"\n" in raw:
        raw = dumps(_told(loads_object(raw), tier))
    return Counts(prompt, cached, completion, reasoning, raw, tier)


def streamed(response: Response) -> Counts | None:
    """What an answer counts that was streamed; None where it is not plain."""
    return _words_streamed(response) or counts_in(response)


def _words_streamed(response: Response) -> Counts | None:
    usage, native = response.usage, response.native.get("openai_chat", {})
    tier = native.get("service_tier")
    if (
        usage is None
        or usage.estimated
        or response.failure is not None
        or len(response.choices) != 1
        or response.choices[0].finish_reason not in _ENDS
        or not response.native.keys() <= {"openai_chat"}
        or not native.keys() <= _NATIVE
        or not (tier is None or tier == "default")
        or not only_words(response)
    ):
        return None
    return _counts_told(dumps(usage.raw), tier)


def _counts_of_any(raw: bytes, tier: str | None, rules: Rules) -> Counts | None:
    """The tokens as the neutral form has them, of a server that tells more than OpenAI; None where that is mended."""
    try:
        usage = loads_object(raw)
    except JsonError:
        return None
    parsed = parse_usage(usage)
    if parsed is None or not (rules.conformant or not mend_usage({"usage": dict(usage)}, parsed)):
        return None
    told = tier if usage.get("service_tier") != tier else None
    return counts_of(replace(parsed, raw=_told(usage, told)))


def _told(counts: Mapping[str, Any], tier: str | None) -> Mapping[str, Any]:
    """What the ledger keeps of a vendor's own *counts*, and of the *tier* that it told."""
    return counts if tier is None else {**counts, OBSERVED: {"service_tier": tier}}
