"""How large a question may be besides its bytes: nesting, members, lists, and the lengths of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.config.model import BoundSettings
from proxy.errors import Refused, refused
from translators.codec import may_hold

_MESSAGES: Final = ("messages", "contents", "input")
"""Where a dialect has the turns of a conversation."""
_USERS: Final = (("user",), ("safety_identifier",), ("metadata", "user_id"))
"""Where a dialect says who asks."""


def check_density(raw: bytes, bounds: BoundSettings) -> None:
    """Look at how many values *raw*, a question that is not parsed yet, has: a short one takes far more than its bytes.

    Raises:
        Refused: 400 for more than there may be.
    """
    if len(raw) <= bounds.json_containers or may_hold(raw, bounds.json_containers, bounds.json_values):
        return
    told = (
        f"the request body: more than {bounds.json_values} values ([limits] json_values), or more than"
        f" {bounds.json_containers} objects and lists ([limits] json_containers)"
    )
    raise refused(400, told, code="too_many")


def check_sizes(raw: bytes, body: Mapping[str, Any], bounds: BoundSettings) -> None:
    """Look at the sizes in *raw*, a question, which says *body*.

    Raises:
        Refused: 400 that names the first that is too large.
    """
    # An object has no more members than there are colons.
    if raw.count(b":") > bounds.json_members:
        _check_members(body, bounds.json_members)
    for name in _MESSAGES:
        if isinstance(found := body.get(name), list) and len(found) > bounds.messages:
            raise _too_many(name, len(found), bounds.messages, "messages")
    if "tools" in body and (count := sum(_tools(body["tools"]))) > bounds.tools:
        raise _too_many("tools", count, bounds.tools, "tools")
    for name, model in _models(body):
        check_model(model, bounds, name)
    for path in _USERS:
        if path[0] in body:
            _check_user(body, path, bounds.user_chars)


def check_model(model: str, bounds: BoundSettings, name: str = "model") -> None:
    """Raises Refused: 400 for a name of a model that is too long."""
    if len(model) > bounds.model_chars:
        raise _too_long(name, len(model), bounds.model_chars, "model_chars")


def _models(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    several = body.get("models")
    chain = several if isinstance(several, list) else ()
    for name, value in (("model", body.get("model")), *(("models", each) for each in chain)):
        if isinstance(value, str):
            yield name, value


def _tools(tools: Any) -> Iterator[int]:
    """How many each member stands for: in Gemini's dialect one holds any number of functions."""
    for tool in tools if isinstance(tools, list) else ():
        held = (tool.get("functionDeclarations") or tool.get("function_declarations")) if isinstance(tool, dict) else ()
        yield len(held) if isinstance(held, list) and held else 1


def _check_user(body: Mapping[str, Any], path: tuple[str, ...], most: int) -> None:
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    if isinstance(value, str) and len(value) > most:
        raise _too_long(".".join(path), len(value), most, "user_chars")


def _check_members(body: Mapping[str, Any], most: int) -> None:
    level: list[Any] = [body]
    while level:
        for node in level:
            if isinstance(node, dict) and len(node) > most:
                told = f"an object of {len(node)} members: more than {most} ([limits] json_members)"
                raise refused(400, told, code="too_many")
        children = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in children if isinstance(child, dict | list)]


def _too_many(name: str, count: int, most: int, setting: str) -> Refused:
    return refused(400, f"{name}: {count} are more than {most} ([limits] {setting})", param=name, code="too_many")


def _too_long(name: str, count: int, most: int, setting: str) -> Refused:
    told = f"{name}: {count} characters are more than {most} ([limits] {setting})"
    return refused(400, told, param=name, code="too_long")
