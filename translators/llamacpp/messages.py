"""Messages in the form that chat templates read: OpenAI's, with texts as plain strings wherever that is possible.

Templates know the roles system, user, assistant and tool. Most read only the first message as system, so leading ones
are joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from translators.dialect import Rules
from translators.errors import BadRequest, Unsupported
from translators.losses import Loss, message_place, native_losses
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

NAME = "llamacpp"
Wire = dict[str, Any]


def render_messages(messages: Sequence[Message], rules: Rules, losses: list[Loss]) -> list[Wire]:
    """*messages* for a template.

    Raises:
        BadRequest: there are none.
        Unsupported: a part that the model cannot take.
    """
    rendered: list[Wire] = []
    names: dict[str, str] = {}
    after_system = False
    for index, message in enumerate(messages):
        place = message_place(message, index)
        losses.extend(native_losses(place, message.native, NAME))
        if message.name is not None:
            losses.append(Loss(f"{place}.name", "dropped", "chat templates have no names of speakers"))
        if message.role == "tool":
            rendered.extend(_results(message, place, names, rules, losses))
            continue
        wire = _turn(message, place, rules, losses)
        for call in wire.get("tool_calls", ()):
            names[call["id"]] = call["function"]["name"]
        if wire["role"] == "system" and rendered and not after_system:
            rendered[-1]["content"] += "\n\n" + wire["content"]
            continue
        after_system = after_system or wire["role"] != "system"
        rendered.append(wire)
    if not rendered:
        raise BadRequest("messages: at least one message is needed", "messages", "invalid_value")
    if messages[-1].role == "assistant":
        place = message_place(messages[-1], len(messages) - 1)
        losses.append(Loss(place, "emulated", "the template closes this turn; the answer begins a new one"))
    return rendered


def _turn(message: Message, place: str, rules: Rules, losses: list[Loss]) -> Wire:
    """A message of any role but tool."""
    role = message.role
    if role == "developer":
        losses.append(Loss(f"{place}.role", "renamed", "chat templates call it system"))
        role = "system"
    blocks: list[Wire] = []
    calls: list[Wire] = []
    thoughts: list[str] = []
    for position, part in enumerate(message.parts):
        where = f"{place}.content[{position}]"
        match part:
            case ToolCall():
                losses.extend(native_losses(f"{place}.tool_calls[{len(calls)}]", part.native, NAME))
                calls.append(_call(part))
            case Thinking():
                thoughts.append(part.text)
            case _:
                blocks.extend(_blocks(part, where, rules, losses))
    wire: Wire = {"role": role, "content": _content(blocks)}
    if thoughts:
        if rules.reasoning_replay == "always" or (rules.reasoning_replay == "tool_turns" and calls):
            wire["reasoning_content"] = "".join(thoughts)
        else:
            losses.append(Loss(f"{place}.reasoning_content", "dropped", "templates want no earlier reasoning"))
    if calls:
        wire["tool_calls"] = calls
    return wire


def _results(
    message: Message, place: str, names: Mapping[str, str], rules: Rules, losses: list[Loss]
) -> Iterator[Wire]:
    """One tool message for each result; templates of several families want the function's name on it."""
    for part in message.parts:
        if not isinstance(part, ToolResult):
            raise BadRequest(f"{place}: a tool message holds results alone", place, "invalid_value")
        losses.extend(native_losses(place, part.native, NAME))
        blocks = [
            block
            for position, inner in enumerate(part.parts)
            for block in _blocks(inner, f"{place}.content[{position}]", rules, losses)
        ]
        content = _content(blocks)
        if part.is_error:
            losses.append(Loss(f"{place}.is_error", "emulated", "said in words"))
            content = f"Error: {content}" if isinstance(content, str) else [_text_block("Error:"), *content]
        wire: Wire = {"role": "tool", "tool_call_id": part.call_id, "content": content}
        name = part.name or names.get(part.call_id)
        yield {**wire, "name": name} if name else wire


def _call(part: ToolCall) -> Wire:
    arguments = part.arguments or "{}"
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": arguments}}


def _blocks(part: Part, place: str, rules: Rules, losses: list[Loss]) -> Iterator[Wire]:
    """*part* as content blocks."""
    match part:
        case Text() | Refusal():
            losses.extend(native_losses(place, part.native, NAME))
            if isinstance(part, Text) and part.annotations:
                losses.append(Loss(f"{place}.annotations", "dropped", "chat templates have no citations"))
            yield _text_block(part.text)
        case Image():
            yield _image_block(part, place, rules, losses)
        case Document(text=str(text)):
            losses.append(Loss(place, "emulated", "a text file is sent as text"))
            yield _text_block(f"{part.filename}:\n{text}" if part.filename else text)
        case Document() | Audio():
            kind = "document" if isinstance(part, Document) else "audio"
            raise Unsupported(f"{place}: a local model takes no {kind}", place, "unsupported_modality")
        case Opaque():
            losses.append(Loss(place, "dropped", f"only {part.dialect} knows {part.type}"))
        case Thinking() | ToolCall() | ToolResult():
            raise BadRequest(f"{place}: this cannot stand here", place, "invalid_value")


def _image_block(part: Image, place: str, rules: Rules, losses: list[Loss]) -> Wire:
    if "image" not in rules.modalities:
        raise Unsupported(
            f"{place}: this local model takes no images (it is configured without a projector)",
            place,
            "unsupported_modality",
        )
    if part.source.data is None:
        # The library would fetch the address itself, from inside this machine.
        raise Unsupported(f"{place}: a local model takes images as data, not by address", place, "unsupported_image")
    if part.detail is not None:
        losses.append(Loss(f"{place}.image_url.detail", "dropped", "the projector decides the size"))
    losses.extend(native_losses(place, part.native, NAME))
    url = f"data:{part.source.media_type or 'image/png'};base64,{part.source.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _text_block(text: str) -> Wire:
    return {"type": "text", "text": text}


def _content(blocks: Sequence[Wire]) -> str | list[Wire]:
    """Plain text unless there is a picture: many templates add strings only."""
    if all(block["type"] == "text" for block in blocks):
        return "".join(block["text"] for block in blocks)
    return list(blocks)
