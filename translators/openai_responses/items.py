"""Items of a Responses conversation and the neutral parts that they mean.

| item | part |
|---|---|
| `message` | one Text or Refusal for each content part; native: the item's `id` and `phase`, the same for all of them |
| `reasoning` | one Thinking: its summary, else its text; native: the item's fields as they came |
| `function_call`, `custom_tool_call` | a ToolCall with the `call_id`; native: the item's `id` and what else it has |
| any other | Opaque, whole |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from translators.made_ids import new_call_id
from translators.neutral import (
    NO_NATIVE,
    Native,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
)
from translators.openai_chat.parts import objects_in, parse_logprobs
from translators.openai_responses.incoming import inward_annotation

DIALECT: Final = "openai_responses"
PARAGRAPHS: Final = "\n\n"
"""What stands between the parts of a reasoning summary."""
CALLS: Final[Mapping[str, str]] = {"function_call": "arguments", "custom_tool_call": "input"}
"""Items that are calls, and the field with their text."""
_USUAL: Final = ("completed", "in_progress")


def own(fields: Mapping[str, Any]) -> Native:
    """*fields* as a Native of this dialect."""
    return {DIALECT: fields} if fields else NO_NATIVE


def text_in(value: Any) -> str:
    """*value* if it is text, else nothing."""
    return value if isinstance(value, str) else ""


def parts_of(item: Mapping[str, Any]) -> list[Part]:
    """The parts of one whole item of an answer."""
    match item.get("type"):
        case "message":
            native = message_native(item)
            return [content_part(content, native) for content in objects_in(item.get("content"))]
        case "reasoning":
            return [Thinking(reasoning_text(item), own(reasoning_native(item)))]
        case "function_call" | "custom_tool_call":
            return [call_of(item)]
        case kind:
            return [Opaque(DIALECT, text_in(kind), item)]


# --- messages ------------------------------------------------------------------------------------


def message_native(item: Mapping[str, Any]) -> dict[str, Any]:
    """What of a `message` item belongs to each of its parts: id, phase, and what is not known here."""
    return _rest(item, "content", "role")


def content_part(content: Mapping[str, Any], native: Mapping[str, Any]) -> Part:
    """One content part of a message whose own fields are *native*."""
    match content.get("type"):
        case "refusal":
            return Refusal(text_in(content.get("refusal")), own(native))
        case "output_text" | "text":
            return Text(text_in(content.get("text")), inward_annotations(content.get("annotations")), own(native))
        case kind:
            return Opaque(DIALECT, text_in(kind), content)


def inward_annotations(annotations: Any) -> tuple[Mapping[str, Any], ...]:
    """Annotations in the neutral form: citations of web pages nested, citations of files as they are."""
    return tuple(map(inward_annotation, objects_in(annotations)))


def outward_annotations(annotations: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The reverse of `inward_annotations`."""
    nested = "url_citation"
    return [
        {"type": nested, **inner} if isinstance(inner := annotation.get(nested), dict) else annotation
        for annotation in annotations
    ]


def logprobs_of(entries: Any) -> tuple[TokenLogprob, ...] | None:
    """`logprobs` of a text or a delta; None when there are none."""
    return parse_logprobs({"content": entries}) if entries else None


# --- reasoning and calls -------------------------------------------------------------------------


def reasoning_text(item: Mapping[str, Any]) -> str:
    """The readable reasoning of an item: its summary, else the reasoning itself (open-weight models)."""
    return joined(item.get("summary")) or joined(item.get("content"))


def joined(texts: Any) -> str:
    """The texts in a list of `summary_text` or `reasoning_text`, as paragraphs."""
    return PARAGRAPHS.join(found for entry in objects_in(texts) if (found := text_in(entry.get("text"))))


def reasoning_native(item: Mapping[str, Any]) -> dict[str, Any]:
    """A `reasoning` item without its type: it goes back as it came."""
    return _rest(item)


def call_of(item: Mapping[str, Any]) -> ToolCall:
    """A whole call; with an id of its own where the server gives none."""
    kind = text_in(item.get("type"))
    arguments = text_in(item.get(CALLS[kind]))
    call_id = text_in(item.get("call_id")) or text_in(item.get("id")) or new_call_id()
    native = own(_rest(item, "call_id", "name", CALLS[kind]))
    return ToolCall(
        call_id, text_in(item.get("name")), arguments, "custom" if kind == "custom_tool_call" else "function", native
    )


def _rest(item: Mapping[str, Any], *known: str) -> dict[str, Any]:
    """The fields of *item* that say something more; whether it runs still or is completed goes without saying."""
    return {
        name: value
        for name, value in item.items()
        if name != "type" and name not in known and value is not None and not (name == "status" and value in _USUAL)
    }
