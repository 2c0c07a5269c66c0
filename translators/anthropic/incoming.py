"""A client's Messages request, read into the neutral form.

Types are strict and every error names its place. Fields that only Anthropic knows are kept where they stood, in
`native["anthropic"]`; of an object that is half known (`metadata`, `output_config`) the unknown half.
`render_request` of what is read here gives an equivalent body.

Source: anthropic.types.MessageCreateParams and anthropic.types.beta, 2.11.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from translators.anthropic.incoming_blocks import assistant_parts, content_blocks, native_of, system_parts, user_parts
from translators.anthropic.response import NAME
from translators.codec import JsonError, loads
from translators.fields import PROXY_FIELDS, Fields
from translators.neutral import (
    Effort,
    Message,
    OutputFormat,
    Reasoning,
    Request,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

_EFFORTS: Final[Mapping[str, Effort]] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_VISIBLE: Final = {"summarized": True, "omitted": False}
_TIERS: Final = {"standard_only": "default"}


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
    for name in PROXY_FIELDS:
        fields.get(name)
    model = fields.needed_text("model")
    if not model:
        raise fields.wrong("model", "a model's name")
    native: dict[str, Any] = {}
    tier = fields.text("service_tier")
    choice, parallel = _tool_choice(fields, native)
    output = _output(fields, native)
    places: dict[str, str] = {}
    reasoning = _reasoning(fields, native, places)
    if output is not None and fields.value.get("output_format") is not None:
        places |= {"output": "output_format", "output.schema": "output_format.schema"}
    return Request(
        dialect=NAME,
        model=model,
        messages=(*_system(fields), *_messages(fields)),
        tools=tuple(_tool(tool) for tool in fields.objects("tools")),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_output_tokens=fields.integer("max_tokens", 0),
        temperature=fields.number("temperature", 0),
        top_p=fields.number("top_p", 0),
        top_k=fields.integer("top_k", 0),
        stop=tuple(fields.texts("stop_sequences") or ()),
        reasoning=reasoning,
        output=output,
        user=_user(fields, native),
        service_tier=None if tier is None else _TIERS.get(tier, tier),
        stream=bool(fields.flag("stream")),
        include_usage=True,
        # The last, because all fields above have to be read before.
        native=native_of({**native, **fields.rest()}),
        places=places,
    )


def _user(fields: Fields, native: dict[str, Any]) -> str | None:
    """Who asks. Claude Code writes an object with ids of device and session there, which names nobody (WIRE 70)."""
    metadata = fields.object("metadata")
    if metadata is None:
        return None
    user = metadata.text("user_id")
    rest = metadata.rest()
    if user is not None and _is_object(user):
        rest, user = {"user_id": user, **rest}, None
    if rest:
        native["metadata"] = rest
    return user


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
    beside = {"effort": effort} if effort is not None else {}
    match kind:
        case "disabled":
            return Reasoning("none", visible=visible, native=native_of({**beside, **own}))
        case "enabled":
            if budget is None:
                raise thinking.wrong("budget_tokens", "a whole number")
            return Reasoning(budget_tokens=budget, visible=visible, native=native_of({**beside, **own}))
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
    tool.get("type")
    own = tool.rest()
    tool.mapping("cache_control")
    return Tool(name, description, schema, strict, native=native_of(own), place=tool.place)


def _tool_choice(fields: Fields, native: dict[str, Any]) -> tuple[ToolChoice | None, bool | None]:
    choice = fields.object("tool_choice")
    if choice is None:
        return None, None
    kind = choice.needed_text("type")
    one_by_one = choice.flag("disable_parallel_tool_use")
    parallel = None if one_by_one is None else not one_by_one
    match kind:
        case "auto" | "none":
            found = ToolChoice(kind)
        case "any":
            found = ToolChoice("required")
        case "tool":
            found = ToolChoice("named", (choice.needed_text("name"),))
        case _:
            native["tool_choice"] = choice.value
            return None, None
    if rest := choice.rest():
        native["tool_choice"] = rest
    return found, parallel


# --- messages ------------------------------------------------------------------------------------


def _system(fields: Fields) -> Iterator[Message]:
    if fields.get("system") is not None:
        parts = tuple(system_parts(content_blocks(fields, "system")))
        if parts:
            yield Message("system", parts, place="system")


def _messages(fields: Fields) -> Iterator[Message]:
    found = fields.objects("messages")
    if not found:
        raise fields.wrong("messages", "an array with at least one message")
    called: dict[str, str] = {}
    for message in found:
        yield from _message(message, called)


def _message(message: Fields, called: dict[str, str]) -> Iterator[Message]:
    """One turn; tool results come as a message of their own before the rest. *called* grows by the turn's calls."""
    role = message.choice("role", ("user", "assistant", "system"))
    blocks = content_blocks(message)
    native, place = native_of(message.rest()), message.place
    match role:
        case "user":
            parts = tuple(user_parts(blocks, called))
            results = tuple(part for part in parts if isinstance(part, ToolResult))
            rest = tuple(part for part in parts if not isinstance(part, ToolResult))
            if results:
                yield Message("tool", results, native={} if rest else native, place=place)
            if rest or not results:
                yield Message("user", rest, native=native, place=place)
        case "assistant":
            parts = tuple(assistant_parts(blocks))
            called.update({part.id: part.name for part in parts if isinstance(part, ToolCall)})
            yield Message("assistant", parts, native=native, place=place)
        case "system":
            yield Message("system", tuple(system_parts(blocks)), native=native, place=place)
        case _:
            raise message.wrong("role", "user, assistant or system")
