"""A whole Anthropic message as a neutral Response.

One content block is one part, in order. `native["anthropic"]` keeps what OpenAI's form has no place for:
signatures, redacted thinking, citations, callers, the exact stop reason. Server tool blocks and block types that
are not known here are Opaque.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from translators.anthropic.error import error_in
from translators.codec import dumps_text, type_name
from translators.counts import detail_count, main_counts
from translators.errors import BadAnswer
from translators.neutral import (
    NO_NATIVE,
    Choice,
    FinishReason,
    Native,
    Opaque,
    Part,
    Refusal,
    Response,
    Text,
    Thinking,
    ToolCall,
    Usage,
)

NAME: Final = "anthropic"

# anthropic.types.StopReason; `compaction` is beta and, like pause_turn, expects the turn to be sent again.
_FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
    "compaction": "pause",
}
_MESSAGE_FIELDS: Final = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "usage"}
)


def parse_response(body: Mapping[str, Any]) -> Response:
    """The message *body* as a Response with one choice; `created` is 0, since Anthropic sends no time.

    Raises:
        BadAnswer: it is not a message, or ended in a way that is unknown here without saying anything.
    """
    failure = error_in(body)
    if failure is not None:
        raise BadAnswer(f"expected a message, found an error: {failure.message}")
    content = body.get("content")
    if not isinstance(content, list):
        raise BadAnswer(f"content: expected an array of blocks, found {type_name(content)}")
    blocks = [block for block in content if isinstance(block, dict)]
    if len(blocks) != len(content):
        raise BadAnswer("content: expected an array of blocks, found something that is not an object")
    parts = [part_of(block) for block in blocks]
    reason = finish_reason(body.get("stop_reason"), parts)
    if (refusal := refusal_of(body)) is not None:
        parts.append(refusal)
    return Response(
        id=_text(body.get("id")),
        model=_text(body.get("model")),
        created=0,
        choices=(Choice(parts=tuple(parts), finish_reason=reason, native=finish_native(body)),),
        usage=usage_in(body),
        native=message_native(body),
    )


def part_of(block: Mapping[str, Any]) -> Part:
    """One whole content block."""
    match block.get("type"):
        case "text":
            text = _text(block.get("text"))
            if len(block) == 2 and "text" in block:
                return Text(text, (), NO_NATIVE)
            citations: list[Mapping[str, Any]] = [
                item for item in block.get("citations") or () if isinstance(item, dict)
            ]
            return Text(text, annotations_of(citations, text), text_native(citations, block))
        case "thinking":
            return Thinking(_text(block.get("thinking")), thinking_native(block))
        case "redacted_thinking":
            return Thinking("", {NAME: {"redacted_data": _text(block.get("data"))}})
        case "tool_use":
            arguments = block.get("input")
            return ToolCall(
                id=_text(block.get("id")),
                name=_text(block.get("name")),
                arguments=arguments if isinstance(arguments, str) else dumps_text(arguments or {}),
                native=tool_native(block),
            )
        case other:
            return Opaque(NAME, _text(other), block)


def annotations_of(citations: Iterable[Mapping[str, Any]], text: str) -> tuple[Mapping[str, Any], ...]:
    """The citations of web pages in OpenAI's form; each covers the whole *text* of its block."""
    return tuple(
        {
            "type": "url_citation",
            "url_citation": {
                "url": citation["url"],
                "title": citation.get("title") or "",
                "start_index": 0,
                "end_index": len(text),
            },
        }
        for citation in citations
        if isinstance(citation.get("url"), str)
    )


def thinking_native(block: Mapping[str, Any]) -> Native:
    """The signature; an empty one signs nothing."""
    return _native({name: value for name, value in block.items() if value != ""}, "thinking")


def tool_native(block: Mapping[str, Any]) -> Native:
    """Who may have called the tool (`caller`) and the toolset it belongs to."""
    return _native(block, "id", "name", "input")


def text_native(citations: list[Mapping[str, Any]], block: Mapping[str, Any] = NO_NATIVE) -> Native:
    """All citations as they came: replay needs their encrypted indexes, and not all are of web pages."""
    fields = {**_rest(block, "text", "citations"), **({"citations": citations} if citations else {})}
    return {NAME: fields} if fields else NO_NATIVE


def finish_reason(stop_reason: Any, parts: Sequence[Part]) -> FinishReason:
    """The neutral word for *stop_reason*.

    Raises:
        BadAnswer: the reason is not known and nothing was said, so that no reading of it is safe.
    """
    reason = _FINISH_REASONS.get(stop_reason) if isinstance(stop_reason, str) else None
    if reason is None and not parts:
        raise BadAnswer(f"an empty answer with the stop reason {stop_reason!r}")
    if reason is not None and reason != "stop":
        return reason
    return "tool_calls" if [part for part in parts if isinstance(part, ToolCall)] else "stop"


def finish_native(message: Mapping[str, Any]) -> Native:
    """How the message ended, in Anthropic's words."""
    fields = {
        name: message[name]
        for name in ("stop_reason", "stop_sequence", "stop_details")
        if message.get(name) is not None
    }
    return {NAME: fields} if fields else NO_NATIVE


def refusal_of(message: Mapping[str, Any]) -> Refusal | None:
    """The vendor's explanation of a refusal, else its category; None when it gave neither or did not refuse."""
    if message.get("stop_reason") != "refusal" or not isinstance(details := message.get("stop_details"), dict):
        return None
    text = _text(details.get("explanation")) or _text(details.get("category"))
    return Refusal(text) if text else None


def message_native(message: Mapping[str, Any]) -> Native:
    """The fields of the message as a whole that have no neutral place (container, diagnostics, ...)."""
    if _MESSAGE_FIELDS.issuperset(message):
        return NO_NATIVE
    fields = {name: value for name, value in message.items() if name not in _MESSAGE_FIELDS and value is not None}
    return {NAME: fields} if fields else NO_NATIVE


def usage_in(body: Mapping[str, Any]) -> Usage | None:
    """The usage of a message; None when it has none that can be read."""
    raw = body.get("usage")
    return usage_of(raw) if isinstance(raw, dict) else None


def usage_of(raw: Mapping[str, Any]) -> Usage | None:
    """*raw* in neutral terms; None when its counts are missing or cannot be any.

    Anthropic counts cached tokens beside `input_tokens`, the neutral form within.
    """
    counts = main_counts(raw, ("input_tokens",), ("output_tokens",))
    if counts is None:
        return None
    cached = detail_count(raw, "cache_read_input_tokens")
    written = detail_count(raw, "cache_creation_input_tokens")
    by_ttl = raw.get("cache_creation")
    if not written and isinstance(by_ttl, dict):
        written = sum(detail_count(by_ttl, lifetime) for lifetime in by_ttl)
    return Usage(
        input_tokens=counts[0] + cached + written,
        output_tokens=counts[1],
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=detail_count(raw.get("output_tokens_details"), "thinking_tokens"),
        raw=raw,
    )


def _native(block: Mapping[str, Any], *known: str) -> Native:
    fields = _rest(block, *known)
    return {NAME: fields} if fields else NO_NATIVE


def _rest(block: Mapping[str, Any], *known: str) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != "type" and name not in known and value is not None}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
