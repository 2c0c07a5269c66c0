"""Plain answers: a whole chat completion of one choice of text, which no SDK has trouble with.

Of such an answer nothing has to be mended, kept or translated: its bytes go to the client as they are, and its books
need no more than its counts. What is plain is said by types; a field that they do not name makes an answer not plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from routing.pricing.counting import OBSERVED
from translators.codec import dumps, loads_object

Count = Annotated[int, msgspec.Meta(ge=0, lt=10**9)]
"""Tokens. A larger count is a mistake, which the careful way judges."""
Name = Annotated[str, msgspec.Meta(min_length=1)]
Nothing = Annotated[list[Any], msgspec.Meta(max_length=0)]


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["assistant"]
    content: str
    refusal: None = None
    annotations: Nothing | None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    index: Literal[0]
    message: _Message
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class _Answer(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: Name
    object: Literal["chat.completion"]
    created: int
    model: Name
    choices: tuple[_Choice]
    usage: msgspec.Raw
    system_fingerprint: Any = None
    service_tier: Literal["default"] | None = None


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


_answer: Final = msgspec.json.Decoder(_Answer).decode
_usage: Final = msgspec.json.Decoder(_Usage).decode
_NO_INPUT: Final = _Input()
_NO_OUTPUT: Final = _Output()


class Counts(NamedTuple):
    """The tokens of a plain answer; its vendor's own counts as JSON; and the tier that it was served in."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    raw: bytes
    tier: str | None


def plain(payload: bytes) -> Counts | None:
    """What a plain answer counts; None where *payload* is anything else."""
    try:
        answer = _answer(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return counts_of(bytes(answer.usage), answer.service_tier)


def counts_of(raw: bytes, tier: str | None) -> Counts | None:
    """The tokens of an answer served in *tier* whose vendor tells *raw*, as JSON; None where that does not add up."""
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
        raw = dumps(_told(raw, tier))
    return Counts(prompt, cached, completion, reasoning, raw, tier)


def _told(raw: bytes, tier: str | None) -> Mapping[str, Any]:
    """What the ledger keeps of a vendor's own counts, and of the *tier* that it told."""
    counts = loads_object(raw)
    return counts if tier is None else {**counts, OBSERVED: {"service_tier": tier}}
