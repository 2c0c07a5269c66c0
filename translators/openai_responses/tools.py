"""Tool definitions and the tool choice, one level flatter than in chat completions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, assert_never

from translators.losses import Loss, native_losses, tool_place
from translators.neutral import Tool, ToolChoice
from translators.openai_chat.outgoing import ToolNames, strict_obstacle
from translators.openai_responses.items import DIALECT
from translators.toolbox import Written

_Json = dict[str, Any]

OWN_TOOLS: Final = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "namespace",
        "programmatic_tool_calling",
        "shell",
        "tool_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)
"""Tools that the API runs or defines itself (openai 3.52.0, ToolParam)."""


def render_tools(tools: Iterable[tuple[int, Tool]], names: ToolNames, client: str) -> Written:
    """The entries of `tools`, of which each comes with its position in the request of a client of *client*.

    For another dialect's client `strict` is always said.
    """
    losses: list[Loss] = []
    foreign = client != DIALECT
    rendered: list[_Json] = []
    for position, tool in tools:
        place = tool_place(tool, position, client)
        if tool.kind == "native":
            if (own := own_tool(tool)) is None:
                losses.append(Loss(place, "dropped", f"{tool.name} is another vendor's own tool"))
            else:
                rendered.append(own)
            continue
        if tool.native:
            losses.extend(native_losses(place, _unread(tool), DIALECT, client))
        if tool.strict and (obstacle := strict_obstacle(client, tool.parameters)) is not None:
            losses.append(Loss(f"{place}.strict", "dropped", obstacle))
            tool = replace(tool, strict=None)  # noqa: PLW2901  the same tool, as the target takes it
        rendered.append(_custom(tool, names) if tool.kind == "custom" else _function(tool, names, foreign))
    return rendered, losses


def own_tool(tool: Tool) -> dict[str, Any] | None:
    """A tool of OpenAI's own, also where a chat client named it as this API does."""
    if (own := tool.native.get(DIALECT)) is not None:
        return dict(own)
    named = tool.native.get("openai_chat")
    return dict(named) if named is not None and named.get("type") in OWN_TOOLS else None


def _unread(tool: Tool) -> dict[str, Mapping[str, Any]]:
    """What of the tool's native fields nothing here reads."""
    unread = dict(tool.native)
    if tool.kind == "custom" and "openai_chat" in unread:
        unread["openai_chat"] = {name: value for name, value in unread["openai_chat"].items() if name != "format"}
    return unread


def _function(tool: Tool, names: ToolNames, foreign: bool) -> dict[str, Any]:
    strict = bool(tool.strict) if foreign else tool.strict
    written: dict[str, Any] = {"type": "function", "name": names[tool.name]}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.parameters is not None:
        written["parameters"] = tool.parameters
    elif foreign:
        written["parameters"] = {"type": "object", "properties": {}}
        if strict:
            written["parameters"] |= {"required": [], "additionalProperties": False}
    if strict is not None:
        written["strict"] = strict
    return {**written, **tool.native.get(DIALECT, {})} if tool.native else written


def _custom(tool: Tool, names: ToolNames) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "custom", "name": names[tool.name]}
    if tool.description is not None:
        written["description"] = tool.description
    chosen = tool.native.get("openai_chat", {}).get("format")
    if isinstance(chosen, dict):
        grammar = chosen.get("grammar")
        flat = {name: value for name, value in chosen.items() if name != "grammar"}
        written["format"] = {**flat, **grammar} if isinstance(grammar, dict) else dict(chosen)
    return {**written, **tool.native.get(DIALECT, {})}


def chat_web_search(options: Mapping[str, Any]) -> dict[str, Any]:
    """Chat's `web_search_options` as the tool that does the same."""
    tool: dict[str, Any] = {"type": "web_search", **options}
    location = tool.get("user_location")
    if isinstance(location, dict) and isinstance(place := location.get("approximate"), dict):
        tool["user_location"] = {"type": "approximate", **place}
    return tool


def tool_choice(choice: ToolChoice, tools: Sequence[Tool], names: ToolNames) -> Any:
    """`tool_choice` in the API's form."""
    kinds = {tool.name: tool.kind for tool in tools}

    def reference(name: str) -> dict[str, Any]:
        if kinds.get(name) == "native":
            return {"type": name}
        return {"type": "custom" if kinds.get(name) == "custom" else "function", "name": names[name]}

    match choice.kind:
        case "auto" | "none" | "required":
            return choice.kind
        case "named" if len(choice.names) == 1:
            return reference(choice.names[0])
        case "named" | "allowed":
            mode = "required" if choice.kind == "named" else choice.mode
            return {"type": "allowed_tools", "mode": mode, "tools": [reference(name) for name in choice.names]}
        case _:
            assert_never(choice.kind)
