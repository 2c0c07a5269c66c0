"""A client's Messages request, read into the neutral form.

Types are strict and every error names its place. Fields that only Anthropic knows are kept where they stood, in
`native["anthropic"]`; of an object that is half known (`metadata`, `output_config`) the unknown half.
`render_request` of what is read here gives an equivalent body.

Source: anthropic.types.MessageCreateParams and anthropic.types.beta, 2.11.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from translators.anthropic.incoming_blocks import (
    CONTENT,
    assistant_parts,
    native_of,
    object_at,
    system_parts,
    user_parts,
)
from translators.anthropic.response import NAME
from translators.codec import JsonError, loads
from translators.fields import PROXY_FIELDS, Fields
from translators.neutral import (
    NO_NATIVE,
    Effort,
    Message,
    Native,
    OutputFormat,
    Part,
    Reasoning,
    Request,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from translators.toolbox import read_tools

_EFFORTS: Final[Mapping[str, Effort]] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_VISIBLE: Final = {"summarized": True, "omitted": False}
_TIERS: Final = {"standard_only": "default"}
_ROLES: Final = ("user", "assistant", "system")
_EFFORT_ALONE: Final[Mapping[str, str]] = {"reasoning": "output_config.effort"}
"""What the client calls its reasoning where it sends no `thinking`."""


def parse_request(body: Mapping[str, Any]) -> Request:
    """*body* in the neutral form.

    Raises:
        BadRequest: a field is missing or has the wrong type; *param* is its place.
    """
    request = parse_count_request(body)
    if request.max_output_tokens is None:
        raise Fields(body).wrong("max_tokens", "a whole number of at least 0")
    return request


def parse_count_request(body: Mapping[str, Any]) -> Request:
    """The same for `count_tokens`, which needs no `max_tokens`."""
    fields = Fields(body)
    model = fields.needed_text("model")
    if not model:
        raise fields.wrong("model", "a model's name")
    messages = fields.items("messages")
    if not messages:
        raise fields.wrong("messages", "an array with at least one message")
    said: dict[str, Any] = {}
    halves: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in _READ_APART:
            continue
        if (read := _READERS.get(name)) is not None:
            read(fields, said, halves)
        else:
            rest[name] = value
    places = _EFFORT_ALONE
    if not _ABOUT_THINKING.isdisjoint(body):
        places = _read_output_and_thinking(fields, said, halves)
    return Request(
        NAME,
        model,
        (*_system(body.get("system"), fields), *_messages(messages)),
        include_usage=True,
        native=native_of({**halves, **rest}) if halves or rest else NO_NATIVE,
        places=places,
        **said,
    )


def _read_output_and_thinking(fields: Fields, said: dict[str, Any], halves: dict[str, Any]) -> Mapping[str, str]:
    """The three fields that say how to think and what to answer; what the client called them."""
    said["output"] = _output(fields, halves)
    places: dict[str, str] = {}
    said["reasoning"] = _reasoning(fields, halves, places)
    if said["output"] is not None and fields.value.get("output_format") is not None:
        places |= {"output": "output_format", "output.schema": "output_format.schema"}
    return places


def _read_user(fields: Fields, said: dict[str, Any], halves: dict[str, Any]) -> None:
    """Who asks. Claude Code writes an object with ids of device and session there, which names nobody (WIRE 70)."""
    metadata = fields.object("metadata")
    if metadata is None:
        return
    user = metadata.text("user_id")
    rest = metadata.rest()
    if user is not None and _is_object(user):
        rest, user = {"user_id": user, **rest}, None
    if rest:
        halves["metadata"] = rest
    said["user"] = user


def _is_object(text: str) -> bool:
    try:
        return text.lstrip().startswith("{") and isinstance(loads(text), dict)
    except JsonError:
        return False


# --- thinking and output -------------------------------------------------------------------------


def _reasoning(fields: Fields, native: dict[str, Any], places: dict[str, str]) -> Reasoning | None:
    """See `thinking.py` for what stands in the native fields."""
    thinking, config = fields.object("thinking"), fields.object("output_config")
    word = config.text("effort") if config is not None else None
    effort = _EFFORTS.get(word) if word is not None else None
    if word is not None and effort is None:
        native["output_config"] = {"effort": word, **native.get("output_config", {})}
    if thinking is None:
        places["reasoning"] = "output_config.effort"
        return None if effort is None else Reasoning(effort, native={NAME: {}})
    kind = thinking.needed_text("type")
    if kind == "disabled":
        places["reasoning.effort"] = "thinking.type"
    budget = thinking.integer("budget_tokens", 0)
    display = thinking.text("display")
    own = thinking.rest()
    if display is not None and display not in _VISIBLE:
        own["display"] = display
    visible = _VISIBLE.get(display) if display is not None else None
    if budget is not None and kind not in ("enabled", "disabled"):
        own["budget_tokens"] = budget
    match kind:
        case "disabled":
            if effort is not None:
                native["output_config"] = {"effort": effort, **native.get("output_config", {})}
            return Reasoning("none", visible=visible, native=native_of(own))
        case "enabled":
            if budget is None:
                raise thinking.wrong("budget_tokens", "a whole number")
            if effort is not None:
                return Reasoning(effort, visible=visible, native=native_of({"budget_tokens": budget, **own}))
            return Reasoning(budget_tokens=budget, visible=visible, native=native_of(own))
        case "adaptive" if effort is not None:
            return Reasoning(effort, visible=visible, native=native_of(own))
        case "adaptive" | "between_tools":
            return Reasoning(effort, visible=visible, native=native_of({"type": kind, **own}))
        case _:
            native["thinking"] = thinking.value
            return None if effort is None else Reasoning(effort, native={NAME: {}})


def _output(fields: Fields, native: dict[str, Any]) -> OutputFormat | None:
    """The schema of `output_config.format`, or of the older `output_format`."""
    config = fields.object("output_config")
    wanted = config.object("format") if config is not None else None
    if config is not None:
        config.get("effort")
        if rest := config.rest():
            native["output_config"] = rest
    older = fields.object("output_format")
    wanted = wanted or older
    if wanted is None:
        return None
    if wanted.text("type") == "json_schema":
        schema = wanted.mapping("schema")
        if schema is None:
            raise wanted.wrong("schema", "a JSON Schema")
        if (rest := wanted.rest()) and wanted is older:
            native["output_format"] = rest
        elif rest:
            native["output_config"] = {**native.get("output_config", {}), "format": rest}
        return OutputFormat("json_schema", schema)
    if wanted is older:
        native["output_format"] = wanted.value
    else:
        native["output_config"] = {**native.get("output_config", {}), "format": wanted.value}
    return None


# --- tools ---------------------------------------------------------------------------------------


def _read_tools(fields: Fields, said: dict[str, Any], halves: dict[str, Any]) -> None:
    del halves
    said["tools"] = read_tools(fields, _tools)


def _tools(body: Fields) -> list[Tool]:
    return [
        _plain_tool(tool, place := f"tools[{at}]") or _tool(object_at(tool, place))
        for at, tool in enumerate(body.items("tools") or ())
    ]


def _plain_tool(tool: Any, place: str) -> Tool | None:
    """A tool of name, description and schema alone, as most are; any other is None and read with care."""
    if not isinstance(tool, dict) or len(tool) != 3:
        return None
    name, description, schema = tool.get("name"), tool.get("description"), tool.get("input_schema")
    if not (isinstance(name, str) and name and isinstance(description, str) and isinstance(schema, dict)):
        return None
    return Tool(name, description, schema, None, "function", NO_NATIVE, place)


def _tool(tool: Fields) -> Tool:
    kind = tool.text("type")
    if kind not in (None, "custom"):
        return Tool(kind, kind="native", native={NAME: tool.value}, place=tool.place)
    name, schema = tool.needed_text("name"), tool.mapping("input_schema")
    if not name:
        raise tool.wrong("name", "a tool's name")
    if schema is None:
        raise tool.wrong("input_schema", "a JSON Schema")
    description, strict = tool.text("description"), tool.flag("strict")
    own = tool.rest()
    tool.mapping("cache_control")
    return Tool(name, description, schema, strict, native=native_of(own), place=tool.place)


def _read_tool_choice(fields: Fields, said: dict[str, Any], halves: dict[str, Any]) -> None:
    choice = fields.object("tool_choice")
    if choice is None:
        return
    kind = choice.needed_text("type")
    one_by_one = choice.flag("disable_parallel_tool_use")
    match kind:
        case "auto" | "none":
            found = ToolChoice(kind)
        case "any":
            found = ToolChoice("required")
        case "tool":
            found = ToolChoice("named", (choice.needed_text("name"),))
        case _:
            halves["tool_choice"] = choice.value
            return
    if rest := choice.rest():
        halves["tool_choice"] = rest
    said["tool_choice"] = found
    said["parallel_tool_calls"] = None if one_by_one is None else not one_by_one


# --- messages ------------------------------------------------------------------------------------


def _system(content: Any, fields: Fields) -> Iterator[Message]:
    if content is None:
        return
    if not isinstance(content, CONTENT):
        raise fields.wrong("system", "a string or an array of blocks")
    if parts := tuple(system_parts(content, "system")):
        yield Message("system", parts, None, NO_NATIVE, "system")


def _messages(messages: list[Any]) -> list[Message]:
    found: list[Message] = []
    called: dict[str, str] = {}
    for at, message in enumerate(messages):
        place = f"messages[{at}]"
        role, content, native = _head(message, place)
        where = place + ".content"
        if role == "user":
            found += _user_turn(user_parts(content, where, called), native, place)
        elif role == "assistant":
            parts = assistant_parts(content, where)
            called.update([(part.id, part.name) for part in parts if isinstance(part, ToolCall)])
            found.append(Message("assistant", tuple(parts), None, native, place))
        else:
            found.append(Message("system", tuple(system_parts(content, where)), None, native, place))
    return found


def _head(message: Any, place: str) -> tuple[str, str | list[Any], Native]:
    """Role, content and unknown fields of a message; role and content alone, as most are, at once."""
    if isinstance(message, dict) and len(message) == 2:
        role, content = message.get("role"), message.get("content")
        if isinstance(role, str) and role in _ROLES and isinstance(content, CONTENT):
            return role, content, NO_NATIVE
    fields = object_at(message, place)
    known = fields.choice("role", _ROLES)
    if known is None:
        raise fields.wrong("role", "user, assistant or system")
    content = fields.get("content")
    if not isinstance(content, CONTENT):
        raise fields.wrong("content", "a string or an array of blocks")
    return known, content, native_of(fields.rest())


def _user_turn(parts: list[Part], native: Native, place: str) -> list[Message]:
    """One turn; tool results come as a message of their own before the rest."""
    results = tuple([part for part in parts if isinstance(part, ToolResult)])
    if not results:
        return [Message("user", tuple(parts), None, native, place)]
    if len(results) == len(parts):
        return [Message("tool", results, None, native, place)]
    rest = tuple([part for part in parts if not isinstance(part, ToolResult)])
    return [Message("tool", results, None, NO_NATIVE, place), Message("user", rest, None, native, place)]


# --- fields of the body --------------------------------------------------------------------------

_Reader = Callable[[Fields, dict[str, Any], dict[str, Any]], None]
"""Reads one field of the body into the Request's fields and, where it is half known, the unknown half."""


def _as(field: str, read: Callable[[Fields], Any]) -> _Reader:
    """The reader of a field that means the Request's *field*."""

    def reader(fields: Fields, said: dict[str, Any], halves: dict[str, Any]) -> None:
        del halves
        said[field] = read(fields)

    return reader


_READERS: Final[Mapping[str, _Reader]] = {
    "tools": _read_tools,
    "tool_choice": _read_tool_choice,
    "metadata": _read_user,
    "max_tokens": _as("max_output_tokens", lambda fields: fields.integer("max_tokens", 0)),
    "temperature": _as("temperature", lambda fields: fields.number("temperature", 0)),
    "top_p": _as("top_p", lambda fields: fields.number("top_p", 0)),
    "top_k": _as("top_k", lambda fields: fields.integer("top_k", 0)),
    "stop_sequences": _as("stop", lambda fields: tuple(fields.texts("stop_sequences") or ())),
    "service_tier": _as("service_tier", lambda fields: _TIERS.get(tier := fields.needed_text("service_tier"), tier)),
    "stream": _as("stream", lambda fields: bool(fields.flag("stream"))),
}
_ABOUT_THINKING: Final = frozenset({"thinking", "output_config", "output_format"})
_READ_APART: Final = frozenset({"model", "messages", "system", *_ABOUT_THINKING, *PROXY_FIELDS})
"""What is read before or after the others, or never."""
