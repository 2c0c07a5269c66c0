"""Tools for Gemini: names it takes, declarations, and how they may be called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from translators.dialect import Rules
from translators.gemini.merging import merged, nested
from translators.json_schema import gemini_tool_schema, openapi_subset
from translators.losses import Loss, native_losses, tool_parameters, tool_place
from translators.neutral import Request, Tool, ToolCall, ToolChoice, ToolResult
from translators.toolbox import Written, written_once
from translators.written import WrittenSchema

_MAX_NAME: Final = 128
_LEGAL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")

RENAMED: Final = "Gemini takes letters, digits and _.:- in a tool's name"
"""Why a loss is told of a name that was changed."""

_NAMING: Final = (ToolCall, ToolResult)
_NAMERS: Final = ("assistant", "tool")
"""The roles whose messages hold them."""

CUSTOM_PARAMETERS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}
"""A free-form tool as a function: its text is the one parameter."""


class ToolNames:
    """The client's tool names as Gemini takes them, one to one.

    A name starts with a letter or underscore and has at most 128 of `a-zA-Z0-9_.:-`.
    (google-genai types, FunctionDeclaration.name)
    """

    def __init__(self, names: Iterable[str]) -> None:
        wanted = dict.fromkeys(names)
        illegal = [name for name in wanted if not _LEGAL.fullmatch(name)]
        self._legal: dict[str, str] = {}
        self.renamed: dict[str, str] = {}
        """Names that were changed: Gemini's to the client's."""
        if not illegal:
            return
        taken = wanted.keys() - illegal
        for name in illegal:
            legal = self._legal[name] = _legal_name(name, taken)
            self.renamed[legal] = name
            taken.add(legal)

    def __getitem__(self, name: str) -> str:
        return self._legal.get(name, name)


def _legal_name(name: str, taken: set[str]) -> str:
    """A legal name for *name* that is not in *taken*, the same whenever it is asked for."""
    cleaned = re.sub(r"[^A-Za-z0-9_.:-]", "_", name)
    if not re.match(r"[A-Za-z_]", cleaned):
        cleaned = "_" + cleaned
    if len(cleaned) <= _MAX_NAME and cleaned not in taken:
        return cleaned
    for salt in range(len(taken) + 1):
        digest = hashlib.sha256(f"{salt}{name}".encode()).hexdigest()[:8]
        candidate = f"{cleaned[: _MAX_NAME - 9]}_{digest}"
        if candidate not in taken:
            break
    return candidate


def tool_names(request: Request) -> ToolNames:
    """All function names that *request* mentions: tools, the choice, calls and results of its history."""
    names = [tool.name for tool in request.tools if tool.kind != "native"]
    if request.tool_choice is not None:
        names.extend(request.tool_choice.names)
    for message in request.messages:
        if message.role in _NAMERS:
            names.extend([part.name for part in message.parts if isinstance(part, _NAMING) and part.name is not None])
    return ToolNames(names)


def render_tools(request: Request, rules: Rules, names: ToolNames, losses: list[Loss]) -> list[dict[str, Any]]:
    """`tools`: all functions in one entry, Gemini's own tools each in its own."""
    how = None if names.renamed else ("gemini", request.dialect, rules.tool_schema_field)
    tools, told = written_once(request.tools, how, lambda: _written(request, rules, names))
    losses.extend(told)
    return tools


def _written(request: Request, rules: Rules, names: ToolNames) -> Written:
    losses: list[Loss] = []
    declarations: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    for position, tool in enumerate(request.tools):
        place = tool_place(tool, position, request.dialect)
        if tool.kind == "native":
            if "gemini" in tool.native:
                own.append(dict(tool.native["gemini"]))
            else:
                losses.append(Loss(place, "dropped", f"Gemini has no tool {tool.name}"))
            continue
        if tool.native:
            losses.extend(native_losses(place, tool.native, "gemini", request.dialect))
        schema_place = tool_parameters(request.dialect, place, tool)
        declarations.append(_declaration(tool, (place, schema_place), rules, names, losses))
    return [*([{"functionDeclarations": declarations}] if declarations else []), *own], losses


def _declaration(
    tool: Tool, places: tuple[str, str], rules: Rules, names: ToolNames, losses: list[Loss]
) -> dict[str, Any]:
    """*places*: the tool's own and its schema's."""
    place, schema_place = places
    name = names[tool.name]
    declaration: dict[str, Any] = {"name": name}
    if name != tool.name:
        losses.append(Loss(f"{place}.name", "renamed", RENAMED))
    if tool.description is not None:
        declaration["description"] = tool.description
    parameters = tool.parameters
    if tool.kind == "custom":
        parameters = CUSTOM_PARAMETERS
        losses.append(Loss(place, "emulated", "Gemini has no free-form tools: a function with one text parameter"))
    if isinstance(parameters, WrittenSchema) and parameters.field in ("parameters", rules.tool_schema_field):
        declaration[parameters.field] = parameters.value
    elif parameters is not None:
        translate = gemini_tool_schema if rules.tool_schema_field == "parametersJsonSchema" else openapi_subset
        schema, schema_losses = translate(parameters, schema_place)
        losses.extend(schema_losses)
        if rules.tool_schema_field == "parametersJsonSchema" or schema.get("properties"):
            declaration[rules.tool_schema_field] = schema
    if "gemini" not in tool.native:
        return declaration
    own = nested(tool.native["gemini"])
    return merged(declaration, own.get("functionDeclarations", own))


def render_tool_choice(
    request: Request, rules: Rules, names: ToolNames, losses: list[Loss], *, field: str, thinking: bool
) -> dict[str, Any] | None:
    """`functionCallingConfig`; None when there is nothing to say. *field* is the client's name of the choice."""
    if all(tool.kind == "native" for tool in request.tools):
        if request.tool_choice is not None and request.tool_choice.kind != "auto":
            losses.append(Loss(field, "dropped", "there is no function to choose"))
        return None
    choice = request.tool_choice
    unforced = rules.forced_tools == "never" or (rules.forced_tools == "not_while_thinking" and thinking)
    if choice is not None and unforced and _is_forced(choice):
        losses.append(Loss(field, "emulated", "the model cannot be forced to call a tool: it may"))
        choice = ToolChoice("allowed", choice.names) if choice.names else ToolChoice("auto")
    if choice is not None and choice.kind == "allowed" and not _is_forced(choice) and "strict" in rules.refuses:
        losses.append(Loss(field, "dropped", "the model cannot be kept to some of its tools"))
        choice = ToolChoice("auto")
    mode = _mode(choice, held=_held_to_schemas(request, choice, rules, losses))
    if mode is None:
        return None
    allowed = {"allowedFunctionNames": [names[name] for name in choice.names]} if choice and choice.names else {}
    return {"mode": mode, **allowed}


def _is_forced(choice: ToolChoice) -> bool:
    return choice.kind in ("required", "named") or (choice.kind == "allowed" and choice.mode == "required")


def _mode(choice: ToolChoice | None, *, held: bool) -> str | None:
    """The mode for *choice*; *held*: a call that the model makes by its own choice has to fit its tool's schema."""
    if choice is None:
        return "VALIDATED" if held else None
    if choice.kind == "none":
        return "NONE"
    if _is_forced(choice):
        return "ANY"
    # VALIDATED is the one mode that takes names and leaves the call to the model.
    return "VALIDATED" if held or choice.kind == "allowed" else "AUTO"


def _held_to_schemas(request: Request, choice: ToolChoice | None, rules: Rules, losses: list[Loss]) -> bool:
    """Whether the mode has to say what `strict` of a tool asks for.

    ANY holds calls to their schemas as VALIDATED does, and without calls there is nothing to hold.
    (ai.google.dev, function calling modes, 2026-11; VALIDATED is known to Gemini 2.5 and later: pydantic-ai#6353)
    """
    strict = [(position, tool) for position, tool in enumerate(request.tools) if tool.strict]
    if not strict or (choice is not None and (choice.kind == "none" or _is_forced(choice))):
        return False
    if "strict" not in rules.refuses:
        return True
    losses.extend(
        Loss(f"{tool_place(tool, position, request.dialect)}.strict", "dropped", "the model checks no arguments")
        for position, tool in strict
    )
    return False
