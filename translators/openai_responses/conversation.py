"""Items of earlier answers and of the request at hand, as a server that remembers them needs them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from translators.codec import canonical

_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "image_generation_call": "ig",
}
_NOT_SENT_BACK: Final = frozenset({"parsed", "parsed_arguments"})
"""What the SDK adds to items for its users."""


def items_of(response_body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The output of a whole answer as items that can be sent as input: without nulls, which the API refuses there."""
    output = response_body.get("output")
    return [_sendable(item) for item in output if isinstance(item, dict)] if isinstance(output, list) else []


def _sendable(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if value is not None and name not in _NOT_SENT_BACK}


def input_items(body: Mapping[str, Any], seed: str = "") -> list[dict[str, Any]]:
    """The request's input in full form, each item with an id, oldest first.

    Ids follow from *seed*, place and content, so that asking twice gives the same.
    """
    return [
        _full(item, f"{seed}:{position}") for position, item in enumerate(_input_of(body)) if isinstance(item, dict)
    ]


def chained(previous_items: Iterable[Mapping[str, Any]], body: Mapping[str, Any]) -> dict[str, Any]:
    """*body* with *previous_items* before its own input, and without the id that named them."""
    chain = {
        "input": [*previous_items, *_input_of(body)],
    }
    merged = {**body, **chain}
    merged.pop("previous_response_id", None)
    return merged


def _input_of(body: Mapping[str, Any]) -> list[Any]:
    asked = body.get("input")
    if isinstance(asked, str):
        return [{"role": "user", "content": asked}]
    return asked if isinstance(asked, list) else []


def _full(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    prefix = _PREFIXES.get(kind, "item") if isinstance(kind, str) else "item"
    digest = hashlib.sha256(place.encode() + canonical(item)).hexdigest()[:32]
    full: dict[str, Any] = {"id": item.get("id") or f"{prefix}_{digest}", "type": kind}
    if kind == "message":
        full |= {"role": item.get("role"), "status": "completed"}
        full["content"] = _full_content(item)
    return {**full, **{name: value for name, value in item.items() if name not in full and value is not None}}


def _full_content(item: Mapping[str, Any]) -> list[Any]:
    content = item.get("content")
    if not isinstance(content, str):
        return content if isinstance(content, list) else []
    if item.get("role") == "assistant":
        return [{"type": "output_text", "text": content, "annotations": []}]
    return [{"type": "input_text", "text": content}]
