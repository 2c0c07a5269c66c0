"""Neutral answers as Anthropic's messages: whole ones, and the pieces of which streams are made too.

| neutral | message |
|---|---|
| Text | `text`, its web citations as `web_search_result_location`, whose index says that the proxy made it |
| Thinking | `thinking` with Anthropic's signature, or another vendor's sealed; `redacted_thinking` |
| ToolCall | `tool_use`, its arguments as an object, repaired where they are none |
| Refusal | the last block of text, unless `stop_details` explains the refusal in Anthropic's own words |
| Image, Audio, Document | a text: the transcript, the link, or what it was |
| Opaque | the block itself; another dialect's in `extra_content.{dialect}.blocks` of the message |

`extra_content.{dialect}` of the message also holds what other vendors say of the answer as a whole.
Whitespace is kept, empty texts are left out: Anthropic sends none and takes none back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from translators.anthropic.response import NAME
from translators.arguments import object_of
from translators.codec import JsonError
from translators.dialect import ReplyTo
from translators.neutral import (
    Audio,
    Choice,
    Document,
    FinishReason,
    Image,
    Native,
    Opaque,
    Part,
    Refusal,
    Response,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from translators.sealed import seal

ID_PREFIX: Final = "msg_"
_STOP_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "pause": "pause_turn",
}
_STOP_WORDS: Final = ("stop_sequence", "stop_reason", "matched_stop", "stopping_word")
"""Where servers tell the stop sequence that they met: Anthropic, vLLM, SGLang, llama.cpp."""
_NO_CHOICE: Final = Choice((), None)


def render_response(response: Response, to: ReplyTo) -> dict[str, Any]:
    """*response* as a Message. The dialect has one choice: the first."""
    choice = response.choices[0] if response.choices else _NO_CHOICE
    refusal = refusal_text(choice.parts)
    has_calls = any(isinstance(part, ToolCall) for part in choice.parts)
    content = [block for part in choice.parts if (block := block_of(part)) is not None]
    if refusal and not explains_refusal(choice.native):
        content.append({"type": "text", "text": refusal})
    body = {
        **message_head(response.id, response.model, to),
        "content": content,
        **stop_fields(choice.finish_reason, choice.native, refusal, to, has_calls=has_calls),
        "usage": render_usage(response.usage, to),
    }
    for name, value in response.native.get(NAME, {}).items():
        body.setdefault(name, value)
    if extra := extra_content((response.native, choice.native), choice.parts):
        body["extra_content"] = extra
    return body


def message_head(vendor_id: str, model: str, to: ReplyTo) -> dict[str, Any]:
    """The fields before the content; an id that is none of Anthropic's is replaced."""
    return {
        "id": vendor_id if vendor_id.startswith(ID_PREFIX) else ID_PREFIX + to.id,
        "type": "message",
        "role": "assistant",
        "model": model or to.request.model,
    }


# --- blocks --------------------------------------------------------------------------------------


def block_of(part: Part) -> dict[str, Any] | None:
    """*part* as a whole block; None for what says nothing or stands elsewhere (refusals, foreign blocks)."""
    match part:
        case Text(text, annotations, native):
            if not text:
                return None
            citations = citations_of(annotations, native)
            return {"type": "text", "text": text, **own(native), **({"citations": citations} if citations else {})}
        case Thinking(text, native):
            return thinking_block(text, native)
        case ToolCall():
            return {**call_head(part), "input": call_input(part)}
        case Opaque(dialect, _, value):
            return dict(value) if dialect == NAME else None
        case Image() | Audio() | Document():
            return {"type": "text", "text": instead_of(part)}
        case Refusal() | ToolResult():
            return None


def own(native: Native) -> Mapping[str, Any]:
    """This dialect's fields in *native*."""
    return native.get(NAME, {})


def citations_of(annotations: Iterable[Mapping[str, Any]], native: Native) -> list[Mapping[str, Any]]:
    """Anthropic's own citations, else the annotations of web pages as citations.

    What the page says there is not known, so `cited_text` is empty.
    """
    if citations := own(native).get("citations"):
        return list(citations)
    made: list[Mapping[str, Any]] = []
    for annotation in annotations:
        cited = annotation.get("url_citation")
        if isinstance(cited, dict) and isinstance(cited.get("url"), str):
            title = cited.get("title")
            made.append(
                {
                    "type": "web_search_result_location",
                    "cited_text": "",
                    "encrypted_index": seal({}),
                    "title": title if isinstance(title, str) else None,
                    "url": cited["url"],
                }
            )
    return made


def thinking_block(text: str, native: Native) -> dict[str, Any] | None:
    """Signed thinking; None when there is neither a thought nor a signature."""
    fields = own(native)
    if "redacted_data" in fields:
        return {"type": "redacted_thinking", "data": fields["redacted_data"]}
    if fields.get("signature"):
        return {"type": "thinking", "thinking": text, **fields}
    if not text and not native:
        return None
    return {"type": "thinking", "thinking": text, "signature": seal(native)}


def call_head(call: ToolCall) -> dict[str, Any]:
    """A call without its input."""
    return {"type": "tool_use", "id": call.id, "name": call.name, **own(call.native)}


def call_input(call: ToolCall) -> dict[str, Any]:
    """The arguments as an object, repaired where they have to be; what no repair makes an object of is `{}`."""
    if call.kind == "custom":
        return {"input": call.arguments}
    try:
        return object_of(call.arguments)[0]
    except JsonError:
        return {}


def instead_of(part: Image | Audio | Document) -> str:
    """The text that stands for a part that this dialect's answers cannot hold."""
    match part:
        case Audio(transcript=str(transcript)) if transcript:
            return transcript
        case Document(text=str(text)) if text:
            return text
        case _:
            kind = type(part).__name__.lower()
            where = part.source.url or "its data cannot be shown in this dialect"
            return f"[{part.source.media_type or kind}: {where}]"


def refusal_text(parts: Iterable[Part]) -> str:
    """All words of refusal."""
    return "".join(part.text for part in parts if isinstance(part, Refusal))


def extra_content(natives: Iterable[Native], parts: Iterable[Part]) -> dict[str, Any]:
    """What other dialects say of the answer as a whole, and their blocks."""
    extra: dict[str, dict[str, Any]] = {}
    for native in natives:
        for dialect, fields in native.items():
            if dialect != NAME and fields:
                extra.setdefault(dialect, {}).update(fields)
    for part in parts:
        if isinstance(part, Opaque) and part.dialect != NAME:
            extra.setdefault(part.dialect, {}).setdefault("blocks", []).append(part.value)
    return extra


# --- end and usage -------------------------------------------------------------------------------


def explains_refusal(native: Native) -> bool:
    """Whether Anthropic itself refused and says why."""
    return own(native).get("stop_reason") == "refusal"


def stop_fields(
    reason: FinishReason | None, native: Native, refusal: str, to: ReplyTo, *, has_calls: bool
) -> dict[str, Any]:
    """`stop_reason` and its company. Anthropic's own word stands; without any, the content decides."""
    said = own(native)
    if said.get("stop_reason"):
        fields = {"stop_reason": said["stop_reason"], "stop_sequence": said.get("stop_sequence")}
        return fields | ({"stop_details": said["stop_details"]} if said.get("stop_details") is not None else {})
    if refusal and reason in (None, "stop"):
        reason = "content_filter"
    word = _STOP_REASONS[reason or ("tool_calls" if has_calls else "stop")]
    sequence = matched_stop(native, to.request.stop) if word == "end_turn" else None
    fields = {"stop_reason": "stop_sequence" if sequence is not None else word, "stop_sequence": sequence}
    if word == "refusal":
        fields["stop_details"] = {"type": "refusal", "category": None, "explanation": refusal or None}
    return fields


def matched_stop(native: Native, stops: tuple[str, ...]) -> str | None:
    """The client's stop sequence that ended the answer, where the server tells it."""
    told = (fields.get(name) for fields in native.values() for name in _STOP_WORDS)
    return next((word for word in told if isinstance(word, str) and word in stops), None)


def render_usage(usage: Usage | None, to: ReplyTo) -> dict[str, Any]:
    """*usage* as Anthropic counts: cached tokens stand beside `input_tokens`. None: the estimate of the input.

    What Anthropic itself reported beyond the counts (by lifetime, of server tools, the tier) is kept.
    """
    if usage is None:
        usage = Usage(input_tokens=to.input_tokens)
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    counts: dict[str, Any] = {
        "input_tokens": max(usage.input_tokens - cached - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if "input_tokens" not in usage.raw or "total_tokens" in usage.raw:
        return counts
    details = usage.raw.get("output_tokens_details")
    if isinstance(details, dict) and "output_tokens_details" in counts:
        counts["output_tokens_details"] = details | counts["output_tokens_details"]
    return {**usage.raw, **counts}


def render_count(tokens: int) -> dict[str, Any]:
    """The answer to `count_tokens`."""
    return {"input_tokens": tokens}
