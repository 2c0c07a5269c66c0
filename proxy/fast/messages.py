"""Plain messages of Anthropic's: conversations of words, and answers of text, thoughts and calls.

An answer is plain that the official SDK reads as it is, and that went on to its end. Its counts are read as the
careful way reads them: what is billed depends on the lifetimes of what was written to a cache, and on more.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from proxy.fast.plain import Count, Counts, Name, counts_in, counts_of
from translators.anthropic.response import usage_of
from translators.codec import MAX_DEPTH, JsonError, depth_over, loads_object
from translators.dialect import Rules


class _Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["user", "assistant"]
    content: str


class _Text(msgspec.Struct, tag="text", forbid_unknown_fields=True, gc=False):
    text: str
    citations: None = None


class _Call(msgspec.Struct, tag="tool_use", forbid_unknown_fields=True, gc=False):
    id: Name
    name: Name
    input: dict[str, Any]
    caller: dict[str, str] | None = None


class _Thinking(msgspec.Struct, tag="thinking", forbid_unknown_fields=True, gc=False):
    thinking: str
    signature: str


class _Redacted(msgspec.Struct, tag="redacted_thinking", forbid_unknown_fields=True, gc=False):
    data: str


class _Answer(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: Name
    type: Literal["message"]
    role: Literal["assistant"]
    model: Name
    content: list[_Text | _Call | _Thinking | _Redacted]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
    usage: msgspec.Raw
    stop_sequence: str | None = None
    stop_details: None = None
    container: None = None
    context_management: Any = None


class _Usage(msgspec.Struct, gc=False):
    """The counts that the SDK's type requires; others are read where they are needed."""

    input_tokens: Count
    output_tokens: Count


words: Final = msgspec.json.Decoder(list[_Said]).decode
_answer: Final = msgspec.json.Decoder(_Answer).decode
_usage: Final = msgspec.json.Decoder(_Usage).decode
_INSIDE: Final = 3
"""Levels around a call's input: the answer, its content, the block."""


def plain(payload: bytes, rules: Rules) -> Counts | None:
    """What a plain answer counts; None where *payload* is anything else."""
    del rules  # what they have mended is missing in none of these
    try:
        answer = _answer(payload)
        raw = bytes(answer.usage)
        _usage(raw)
        usage = loads_object(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, JsonError):
        return None
    content = answer.content
    if payload.count(b"{") + payload.count(b"[") > MAX_DEPTH and any(
        depth_over(block.input, MAX_DEPTH - _INSIDE) for block in content if type(block) is _Call
    ):
        return None
    thinks = any(type(block) in _THOUGHTS for block in content)
    return counts_of(usage_of(usage), thinks=thinks)


_THOUGHTS: Final = frozenset({_Thinking, _Redacted})
streamed: Final = counts_in
