"""Messages in the form that chat templates read: OpenAI's, with texts as plain strings wherever that is possible.

Templates know the roles system, user, assistant and tool. Most read only the first message as system, so leading ones
are joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from translators.dialect import Rules
from translators.errors import BadRequest, Unsupported
from translators.losses import (
    Loss,
    LossAction,
    client_field,
    message_place,
    native_losses,
    part_field,
    placed,
    result_placed,
)
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Native,
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


def render_messages(messages: Sequence[Message], rules: Rules, losses: list[Loss], client: str) -> list[Wire]:
    """*messages* of a client of *client* for a template.

    Raises:
        BadRequest: there are none.
        Unsupported: a part that the model cannot take.
    """
    writer = _Writer(rules, losses, client)
    rendered: list[Wire] = []
    names: dict[str, str] = {}
    after_system = False
    for index, message in enumerate(messages):
        place = message_place(message, index)
        writer.natives(place, message.native)
        if message.name is not None:
            losses.append(Loss(f"{place}.name", "dropped", "chat templates have no names of speakers"))
        if message.role == "tool":
            rendered.extend(writer.results(message, index, names))
            continue
        wire = writer.turn(message, index)
        for call in wire.get("tool_calls", ()):
            names[call["id"]] = call["function"]["name"]
        if wire["role"] == "system" and rendered and not after_system:
            rendered[-1]["content"] += "\n\n" + wire["content"]
            continue
        after_system = after_system or wire["role"] != "system"
        rendered.append(wire)
    if not rendered:
        name = client_field(client, "messages")
        raise BadRequest(f"{name}: at least one message is needed", name, "invalid_value")
    if messages[-1].role == "assistant":
        place = message_place(messages[-1], len(messages) - 1)
        losses.append(Loss(place, "emulated", "the template closes this turn; the answer begins a new one"))
    return rendered


@dataclass(slots=True)
class _Writer:
    """Writes the messages of one request; what that costs goes to *losses*, in the words of *client*."""

    rules: Rules
    losses: list[Loss]
    client: str

    def lose(self, field: str, action: LossAction, reason: str) -> None:
        """One more loss."""
        self.losses.append(Loss(field, action, reason))

    def natives(self, place: str, native: Native) -> None:
        """The losses of what other dialects alone read."""
        if native:
            self.losses.extend(native_losses(place, native, NAME, self.client))

    def turn(self, message: Message, index: int) -> Wire:
        """A message of any role but tool."""
        role = message.role
        if role == "developer":
            self.lose(f"{message_place(message, index)}.role", "renamed", "chat templates call it system")
            role = "system"
        blocks: list[Wire] = []
        calls: list[Wire] = []
        thoughts: list[tuple[str, Thinking]] = []
        for where, part in placed(message, index, self.client):
            match part:
                case ToolCall():
                    self.natives(where, part.native)
                    calls.append(_call(part))
                case Thinking():
                    thoughts.append((where, part))
                case _:
                    blocks.extend(self.blocks(part, where))
        wire: Wire = {"role": role, "content": _content(blocks)}
        if thoughts:
            replay = self.rules.reasoning_replay
            if replay == "always" or (replay == "tool_turns" and calls):
                wire["reasoning_content"] = "".join(thought.text for _, thought in thoughts)
                for where, thought in thoughts:
                    self.natives(where, thought.native)
            else:
                for where, _ in thoughts:
                    self.lose(where, "dropped", "templates want no earlier reasoning")
        if calls:
            wire["tool_calls"] = calls
        return wire

    def results(self, message: Message, index: int, names: Mapping[str, str]) -> Iterator[Wire]:
        """One tool message for each result; templates of several families want the function's name on it."""
        for place, part in placed(message, index, self.client):
            if not isinstance(part, ToolResult):
                raise BadRequest(f"{place}: a tool message holds results alone", place, "invalid_value")
            self.natives(place, part.native)
            inner = result_placed(part, place, self.client)
            blocks = [block for where, found in inner for block in self.blocks(found, where)]
            content = _content(blocks)
            if part.is_error:
                self.lose(part_field(self.client, place, "is_error"), "emulated", "said in words")
                content = f"Error: {content}" if isinstance(content, str) else [_text_block("Error:"), *content]
            wire: Wire = {"role": "tool", "tool_call_id": part.call_id, "content": content}
            name = part.name or names.get(part.call_id)
            yield {**wire, "name": name} if name else wire

    def blocks(self, part: Part, place: str) -> Iterator[Wire]:
        """*part* as content blocks."""
        match part:
            case Text() | Refusal():
                self.natives(place, part.native)
                cited = isinstance(part, Text) and part.annotations
                if cited and "citations" not in part.native.get("anthropic", {}):
                    name = part_field(self.client, place, "annotations")
                    self.lose(name, "dropped", "chat templates have no citations")
                yield _text_block(part.text)
            case Image():
                yield self.image_block(part, place)
            case Document(text=str(text)):
                self.natives(place, part.native)
                self.lose(place, "emulated", "a text file is sent as text")
                yield _text_block(f"{part.filename}:\n{text}" if part.filename else text)
            case Document() | Audio():
                kind = "document" if isinstance(part, Document) else "audio"
                raise Unsupported(f"{place}: a local model takes no {kind}", place, "unsupported_modality")
            case Opaque():
                self.lose(place, "dropped", f"only {part.dialect} knows {part.type}")
            case Thinking() | ToolCall() | ToolResult():
                raise BadRequest(f"{place}: this cannot stand here", place, "invalid_value")

    def image_block(self, part: Image, place: str) -> Wire:
        """A picture as data."""
        if "image" not in self.rules.modalities:
            raise Unsupported(
                f"{place}: this local model takes no images (it is configured without a projector)",
                place,
                "unsupported_modality",
            )
        if part.source.data is None:
            # The library would fetch the address itself, from inside this machine.
            raise Unsupported(
                f"{place}: a local model takes images as data, not by address", place, "unsupported_image"
            )
        if part.detail is not None:
            self.lose(part_field(self.client, place, "detail"), "dropped", "the projector decides the size")
        self.natives(place, part.native)
        url = f"data:{part.source.media_type or 'image/png'};base64,{part.source.data}"
        return {"type": "image_url", "image_url": {"url": url}}


def _call(part: ToolCall) -> Wire:
    arguments = part.arguments or "{}"
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": arguments}}


def _text_block(text: str) -> Wire:
    return {"type": "text", "text": text}


def _content(blocks: Sequence[Wire]) -> str | list[Wire]:
    """Plain text unless there is a picture: many templates add strings only."""
    if all(block["type"] == "text" for block in blocks):
        return "".join(block["text"] for block in blocks)
    return list(blocks)
