"""Tool definitions and the tool choice, with names and call ids that Anthropic takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from translators.anthropic.marks import cache_mark, unread_native
from translators.anthropic.response import NAME
from translators.dialect import Rules
from translators.errors import BadRequest, Unsupported
from translators.json_schema import anthropic_output_schema
from translators.losses import Loss, field_of, renamed_in_history, tool_parameters, tool_place
from translators.neutral import Request, Tool, ToolCall
from translators.toolbox import Written, written_once

# "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'" (the API's own 400, 2026)
_LEGAL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_LEGAL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_ILLEGAL_CHARACTER = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME: Final = 128
MAX_STRICT_TOOLS: Final = 20
"""More are answered with 400 (recorded: "The maximum number of strict tools supported is 20")."""


class ToolNames:
    """A bijection between the client's tool names and legal ones; legal names keep themselves."""

    def __init__(self, request: Request) -> None:
        names = dict.fromkeys(_all_names(request))
        illegal = [name for name in names if not _LEGAL_NAME.fullmatch(name)]
        self._wire: dict[str, str] = {}
        self.restored: dict[str, str] = {}
        """Renamed tools: legal name to the client's."""
        if not illegal:
            return
        taken = names.keys() - illegal
        for name in illegal:
            wire = _unused(_ILLEGAL_CHARACTER.sub("_", name)[:_MAX_NAME] or "tool", taken)
            taken.add(wire)
            self._wire[name], self.restored[wire] = wire, name

    def wire(self, name: str) -> str:
        """What the target is told."""
        return self._wire.get(name, name)


def _all_names(request: Request) -> list[str]:
    defined = [tool.name if tool.kind != "native" else _spoken_name(tool) for tool in request.tools]
    called = [
        part.name
        for message in request.messages
        if message.role == "assistant"
        for part in message.parts
        if isinstance(part, ToolCall)
    ]
    chosen = request.tool_choice.names if request.tool_choice is not None else ()
    return [*defined, *called, *chosen]


def _spoken_name(tool: Tool) -> str:
    """What a tool choice calls *tool*: one of the vendor's own has a name beside its type."""
    return str(tool.native.get(NAME, {}).get("name", tool.name)) if tool.kind == "native" else tool.name


def _unused(wanted: str, taken: set[str]) -> str:
    candidate, number = wanted, 2
    while candidate in taken:
        suffix = f"_{number}"
        candidate, number = wanted[: _MAX_NAME - len(suffix)] + suffix, number + 1
    return candidate


@dataclass(slots=True)
class CallIds:
    """Safe, unique ids for tool calls, and which call of the current turn a result answers.

    Anthropic wants ids of `[a-zA-Z0-9_-]+`, each once in a conversation; some servers number every turn from 0.
    """

    used: set[str] = field(default_factory=set)
    open: dict[str, list[str]] = field(default_factory=dict)

    def begin_turn(self) -> None:
        """Results answer the calls of the turn before them only."""
        self.open = {}

    def call(self, client_id: str) -> str:
        """The safe id of a new call."""
        safe = client_id if _LEGAL_ID.fullmatch(client_id) else _ILLEGAL_CHARACTER.sub("_", client_id) or "call"
        if safe in self.used:
            safe = _unused(safe, self.used)
        self.used.add(safe)
        if client_id in self.open:
            self.open[client_id].append(safe)
        else:
            self.open[client_id] = [safe]
        return safe

    def result(self, client_id: str) -> str | None:
        """The safe id of the call that is answered, of equal ids the first that is open; None when unknown."""
        waiting = self.open.get(client_id)
        if not waiting:
            return None
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


def render_tools(
    request: Request, rules: Rules, names: ToolNames, thinking_on: bool, losses: list[Loss]
) -> dict[str, Any]:
    """The body's `tools` and `tool_choice`."""
    if not request.tools and request.parallel_tool_calls is False:
        losses.append(Loss(field_of(request, "parallel_tool_calls"), "dropped", "the request has no tools"))
    kept = _kept(request, losses)
    how = None if names.restored or len(kept) < len(request.tools) else (NAME, request.dialect)
    definitions, told = written_once(request.tools, how, lambda: _definitions(request, kept, names))
    losses.extend(told)
    if names.restored:
        offered = {tool.name for _, tool in kept}
        losses.extend(_renaming(place, wire) for place, wire in renamed_in_history(request, offered, names.wire))
    if not definitions:
        return _tools_of_history(request, names, losses)
    wire_choice = _choice(request, rules, names, thinking_on, losses)
    if request.parallel_tool_calls is False:
        wire_choice = wire_choice or {"type": "auto"}
        if wire_choice["type"] != "none":
            wire_choice["disable_parallel_tool_use"] = True
    return {"tools": definitions, "tool_choice": wire_choice} if wire_choice else {"tools": definitions}


def _tools_of_history(request: Request, names: ToolNames, losses: list[Loss]) -> dict[str, Any]:
    """Definitions for the calls of earlier turns, which Anthropic demands, with their use forbidden."""
    used = dict.fromkeys(
        part.name for message in request.messages for part in message.parts if isinstance(part, ToolCall)
    )
    if not used:
        return {}
    reason = "earlier tool calls need definitions; they are sent with tool choice none"
    losses.append(Loss(field_of(request, "tools"), "emulated", reason))
    return {
        "tools": [{"name": names.wire(name), "input_schema": _input_schema(None)} for name in used],
        "tool_choice": {"type": "none"},
    }


def _renaming(field_name: str, wire: str) -> Loss:
    return Loss(field_name, "renamed", f"the target takes {_LEGAL_NAME.pattern}: {wire}")


def _kept(request: Request, losses: list[Loss]) -> list[tuple[int, Tool]]:
    """The tools that the request's choice leaves, each with its position.

    Another vendor's own tools stay, for `_definitions` to report: a choice of functions says nothing of them.
    """
    tools, choice = list(enumerate(request.tools)), request.tool_choice
    if not tools or choice is None or not choice.names:
        return tools
    missing = set(choice.names) - {_spoken_name(tool) for tool in request.tools}
    if missing:
        place = field_of(request, "tool_choice")
        raise BadRequest(f"{place}: {', '.join(sorted(missing))} is not among the tools", place, "invalid_value")
    if choice.kind == "named" and len(choice.names) == 1:
        return tools
    kept = [(index, tool) for index, tool in tools if _spoken_name(tool) in choice.names or _is_foreign(tool)]
    if len(kept) < len(tools):
        losses.append(Loss(field_of(request, "tool_choice"), "emulated", "the other tools were left out"))
    return kept


def _is_foreign(tool: Tool) -> bool:
    return tool.kind == "native" and NAME not in tool.native


def _definitions(request: Request, kept: list[tuple[int, Tool]], names: ToolNames) -> Written:
    losses: list[Loss] = []
    definitions: list[dict[str, Any]] = []
    strict_tools = 0
    for index, tool in kept:
        place = tool_place(tool, index, request.dialect)
        if tool.kind == "custom":
            raise Unsupported(f"{place}: the target has no free-form tools, only functions", place, "unsupported_tool")
        if tool.kind == "native":
            if _is_foreign(tool):
                losses.append(Loss(place, "dropped", f"the target has no tool {tool.name}"))
            else:
                definitions.append(dict(tool.native[NAME]))
            continue
        if tool.native:
            losses.extend(unread_native(place, tool.native, request.dialect))
        if tool.strict:
            strict_tools += 1
            if strict_tools > MAX_STRICT_TOOLS:
                losses.append(
                    Loss(f"{place}.strict", "dropped", f"the target takes {MAX_STRICT_TOOLS} strict tools at most")
                )
                definitions.append(_definition(replace(tool, strict=None), place, request.dialect, names, losses))
                continue
        definitions.append(_definition(tool, place, request.dialect, names, losses))
    return definitions, losses


def _definition(tool: Tool, place: str, dialect: str, names: ToolNames, losses: list[Loss]) -> dict[str, Any]:
    name = names.wire(tool.name)
    if name != tool.name:
        losses.append(_renaming(f"{place}.name", name))
    schema = _input_schema(tool.parameters)
    if tool.strict and dialect != NAME:
        schema, found = anthropic_output_schema(schema, tool_parameters(dialect, place, tool))
        losses.extend(found)
    definition: dict[str, Any] = {"name": name, "input_schema": schema}
    if tool.description:
        definition["description"] = tool.description
    if tool.strict:
        definition["strict"] = True
    if not tool.native:
        return definition
    if (mark := cache_mark(tool.native, place, losses)) is not None:
        definition["cache_control"] = mark
    return {**tool.native.get(NAME, {}), **definition}


def _input_schema(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """An object schema; Anthropic wants `type` even where JSON Schema does not."""
    if not parameters:
        return {"type": "object", "properties": {}}
    return dict(parameters) if "type" in parameters else {"type": "object", **parameters}


def _choice(
    request: Request, rules: Rules, names: ToolNames, thinking_on: bool, losses: list[Loss]
) -> dict[str, Any] | None:
    choice = request.tool_choice
    if choice is None:
        return None
    match choice.kind:
        case "none":
            return {"type": "none"}
        case "named" if len(choice.names) == 1:
            wire: dict[str, Any] = {"type": "tool", "name": names.wire(choice.names[0])}
        case "required":
            wire = {"type": "any"}
        case "allowed" | "named" if choice.mode == "required":
            wire = {"type": "any"}
        case _:
            return {"type": "auto"}
    if rules.forced_tools == "never" or (rules.forced_tools == "not_while_thinking" and thinking_on):
        when = "while it thinks" if rules.forced_tools == "not_while_thinking" else "at all"
        name = field_of(request, "tool_choice")
        losses.append(Loss(name, "emulated", f"the model cannot be forced to call a tool {when}; auto is used"))
        return {"type": "auto"}
    return wire
