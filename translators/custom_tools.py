"""Tools as the client named and typed them, in front of a backend that wants them otherwise.

OpenAI's custom tools take plain text. For a dialect without them a custom tool becomes a function with the one string
parameter `input`; `Restorer` turns the calls back, and gives renamed tools their names back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from translators.codec import JsonError, dumps_text, loads
from translators.losses import Loss, tool_place
from translators.neutral import (
    Event,
    Message,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Request,
    Response,
    Tool,
    ToolCall,
)

PARAMETERS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input, as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}


def custom_names(request: Request) -> frozenset[str]:
    """The names of the request's custom tools."""
    return frozenset(tool.name for tool in request.tools if tool.kind == "custom")


def as_functions(request: Request) -> tuple[Request, list[Loss]]:
    """*request* with its custom tools, and earlier calls of them, as functions."""
    losses: list[Loss] = []
    tools: list[Tool] = []
    for position, tool in enumerate(request.tools):
        if tool.kind != "custom":
            tools.append(tool)
            continue
        place = tool_place(tool, position, request.dialect)
        native = {
            dialect: rest
            for dialect, fields in tool.native.items()
            if (rest := {name: value for name, value in fields.items() if name != "format"})
        }
        tools.append(Tool(tool.name, tool.description, PARAMETERS, native=native, place=place))
        losses.append(Loss(place, "emulated", "the target has functions only"))
        if any("format" in fields for fields in tool.native.values()):
            losses.append(Loss(f"{place}.format", "dropped", "the target enforces no grammar"))
    messages = tuple(_with_functions(message) for message in request.messages)
    return replace(request, tools=tuple(tools), messages=messages), losses


def _with_functions(message: Message) -> Message:
    if not any(isinstance(part, ToolCall) and part.kind == "custom" for part in message.parts):
        return message
    return replace(message, parts=tuple(_as_function(part) for part in message.parts))


def _as_function(part: Part) -> Part:
    if isinstance(part, ToolCall) and part.kind == "custom":
        return replace(part, kind="function", arguments=dumps_text({"input": part.arguments}))
    return part


@dataclass(slots=True)
class Restorer:
    """Gives tool calls of an answer the client's names and types back. One for each answer."""

    tool_names: Mapping[str, str] = field(default_factory=dict)
    custom: frozenset[str] = frozenset()
    _held: dict[tuple[int, int], list[str]] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to restore."""
        return not self.tool_names and not self.custom

    def events(self, events: Iterable[Event]) -> list[Event]:
        """*events* restored; the arguments of a custom call come in one piece at its end."""
        restored: list[Event] = []
        for event in events:
            match event:
                case PartStart(part=ToolCall() as call):
                    named = replace(call, name=self.tool_names.get(call.name, call.name))
                    if named.name in self.custom:
                        self._held[event.choice, event.index] = [named.arguments]
                        named = replace(named, kind="custom", arguments="")
                    restored.append(replace(event, part=named))
                case PartDelta() if (event.choice, event.index) in self._held:
                    self._held[event.choice, event.index].append(event.text)
                case PartEnd() if held := self._held.pop((event.choice, event.index), None):
                    restored += [PartDelta(event.index, plain_input("".join(held)), event.choice), event]
                case _:
                    restored.append(event)
        return restored

    def response(self, response: Response) -> Response:
        """The same for a whole answer."""
        if self.idle:
            return response
        choices = tuple(
            replace(choice, parts=tuple(self._part(part) for part in choice.parts)) for choice in response.choices
        )
        return replace(response, choices=choices)

    def _part(self, part: Part) -> Part:
        if not isinstance(part, ToolCall):
            return part
        named = replace(part, name=self.tool_names.get(part.name, part.name))
        if named.name not in self.custom:
            return named
        return replace(named, kind="custom", arguments=plain_input(named.arguments))


def plain_input(arguments: str) -> str:
    """The text that a call of an emulated custom tool carries; cut or foreign arguments stay as they are."""
    try:
        value = loads(arguments)
    except JsonError:
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments
