"""Gemini's finish reasons, by name or by number, and what they mean.

There is none for tool calls: STOP ends them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.neutral import FinishReason

# With `$alt=json;enum-encoding=int` a server sends numbers; these are Vertex's, the one that does.
_BY_NUMBER: Final[Mapping[int, str]] = {
    0: "FINISH_REASON_UNSPECIFIED",
    1: "STOP",
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    5: "OTHER",
    6: "BLOCKLIST",
    7: "PROHIBITED_CONTENT",
    8: "SPII",
    9: "MALFORMED_FUNCTION_CALL",
    10: "MODEL_ARMOR",
}

_REASONS: Final[Mapping[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "pause",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
}

BROKEN: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "NO_IMAGE",
        "OTHER",
        "FINISH_REASON_UNSPECIFIED",
    }
)
"""The answer is not what was asked for. Without any output it is a failure, else the output stands as it is."""
LOST_CALLS: Final = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"})
"""The model meant to call a tool, and the call is gone: a text that announces it is no answer. Other calls stand."""


def finish_name(value: Any) -> str | None:
    """The reason's name; None when there is none yet."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _BY_NUMBER.get(value, f"FINISH_REASON_{value}")
    return value if isinstance(value, str) and value else None


def finish_reason(name: str, called: bool) -> FinishReason:
    """What *name* means; *called*: the choice has a tool call. Reasons that nobody knows yet end like STOP."""
    reason = _REASONS.get(name, "stop")
    return "tool_calls" if reason == "stop" and called else reason
