"""Which tool must be called, in front of a target that lacks some of the tools.

A vendor's own tools are left out of requests to others. A choice that names one of them, or that has nothing left to
choose from, would be answered with 400: it goes too, and is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from translators.losses import Loss, field_of
from translators.neutral import Request, Tool


def without_unmet_choice(request: Request, takes: Callable[[Tool], bool], losses: list[Loss]) -> Request:
    """*request* with its tool choice as far as the target, which *takes* some vendors' own tools, can meet it."""
    choice = request.tool_choice
    if choice is None or choice.kind in ("auto", "none"):
        return request
    lacking = [tool for tool in request.tools if tool.kind == "native" and not takes(tool)]
    place = field_of(request, "tool_choice")
    if len(lacking) == len(request.tools):
        losses.append(Loss(place, "dropped", "there is no tool left that could be called"))
        return replace(request, tool_choice=None)
    if not lacking or not choice.names:
        return request
    gone = {name for tool in lacking for name in _names(tool)}
    gone -= {name for tool in request.tools if tool not in lacking for name in _names(tool)}
    names = tuple(name for name in choice.names if name not in gone)
    if names == choice.names:
        return request
    told = ", ".join(name for name in choice.names if name in gone)
    losses.append(Loss(place, "clamped" if names else "dropped", f"the target has no tool {told}"))
    return replace(request, tool_choice=replace(choice, names=names) if names else None)


def _names(tool: Tool) -> Iterator[str]:
    """What a choice may call *tool*: one of a vendor's own has a name beside its type."""
    yield tool.name
    yield from (name for fields in tool.native.values() if isinstance(name := fields.get("name"), str))
