"""Namespaces of tools, in front of a backend that knows none.

A `namespace` tool holds functions whose calls name both. Elsewhere they become functions called `{namespace}__{name}`;
`home` says which of an answer's calls are theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from translators.losses import Loss
from translators.neutral import Message, Part, Request, Tool, ToolCall
from translators.openai_responses.incoming import DIALECT, parse_tools

_BETWEEN: Final = "__"


def expanded(request: Request) -> tuple[Request, list[Loss]]:
    """*request* with the functions of its namespaces as tools of their own, and earlier calls of them accordingly."""
    if not _has_namespaces(request):
        return request, []
    tools: list[Tool] = []
    losses: list[Loss] = []
    for position, tool in enumerate(request.tools):
        if not _is_namespace(tool):
            tools.append(tool)
            continue
        name = tool.native[DIALECT]["name"]
        losses.append(Loss(f"tools[{position}]", "emulated", f"the target has no namespaces; {name} leads the names"))
        tools.extend(replace(inner, name=_flat(name, inner.name)) for inner in _inner_tools(tool, position))
    messages = tuple(_with_flat_calls(message) for message in request.messages)
    return replace(request, tools=tuple(tools), messages=messages), losses


def home(request: Request) -> Mapping[str, tuple[str, str]]:
    """Flat name -> (namespace, name), for every function of the request's namespaces."""
    found: dict[str, tuple[str, str]] = {}
    if not _has_namespaces(request):
        return found
    for position, tool in enumerate(request.tools):
        if _is_namespace(tool):
            name = tool.native[DIALECT]["name"]
            for inner in _inner_tools(tool, position):
                found[_flat(name, inner.name)] = (name, inner.name)
    return found


def sent_home(call: ToolCall, names: Mapping[str, tuple[str, str]]) -> ToolCall:
    """*call* with the namespace that its flat name tells, by *names* of `home`."""
    known = names.get(call.name)
    if known is None:
        return call
    namespace, name = known
    own = {**call.native.get(DIALECT, {}), "namespace": namespace}
    return replace(call, name=name, native={**call.native, DIALECT: own})


def _has_namespaces(request: Request) -> bool:
    return any(_is_namespace(tool) for tool in [tool for tool in request.tools if tool.kind == "native"])


def _is_namespace(tool: Tool) -> bool:
    own = tool.native.get(DIALECT, {})
    return tool.kind == "native" and tool.name == "namespace" and isinstance(own.get("name"), str)


def _inner_tools(tool: Tool, position: int) -> Iterator[Tool]:
    return parse_tools(tool.native[DIALECT], f"tools[{position}]")


def _flat(namespace: str, name: str) -> str:
    return namespace + name if namespace.endswith(_BETWEEN) else namespace + _BETWEEN + name


def _with_flat_calls(message: Message) -> Message:
    if not any(_namespace_of(part) for part in message.parts):
        return message
    return replace(message, parts=tuple(_with_flat_name(part) for part in message.parts))


def _namespace_of(part: Part) -> str:
    if not isinstance(part, ToolCall):
        return ""
    namespace = part.native.get(DIALECT, {}).get("namespace")
    return namespace if isinstance(namespace, str) else ""


def _with_flat_name(part: Part) -> Part:
    namespace = _namespace_of(part)
    if not namespace or not isinstance(part, ToolCall):
        return part
    own = {name: value for name, value in part.native[DIALECT].items() if name != "namespace"}
    others = {dialect: fields for dialect, fields in part.native.items() if dialect != DIALECT}
    return replace(part, name=_flat(namespace, part.name), native={**others, **({DIALECT: own} if own else {})})
