"""A client's chat completion request, read into the neutral form.

Types are strict and every error names its place. Bounds are checked only where all vendors agree, for a target may
allow more than OpenAI does. Unknown fields are kept where they stood, in `native["openai_chat"]`.

Beyond OpenAI's own fields are read: `cache_control` (Anthropic's mark) on messages, parts and tools; the reasoning
of earlier answers under any of its names; `thinking` and `reasoning` objects as routers take them; `top_k`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, get_args

from translators.codec import type_name
from translators.errors import BadRequest
from translators.fields import PROXY_FIELDS, Fields
from translators.neutral import (
    NO_NATIVE,
    Audio,
    Effort,
    Image,
    Message,
    Native,
    Opaque,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Request,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from translators.openai_chat.parts import (
    DIALECT,
    blocks_in,
    details_only_opaque,
    document_of_file,
    native_of,
    native_of_extra,
    reasoning_text,
    sniffed_type,
    source_of_url,
    spoken_parts,
    thinking_of_block,
)
from translators.openai_chat.reasoning_items import RESPONSES, with_phases
from translators.toolbox import read_tools

EFFORTS: Final[tuple[str, ...]] = get_args(Effort)


def _top_k(fields: Fields, name: str) -> int | None:
    """vLLM and llama.cpp take -1 and 0 for "all tokens", which is what leaving it out means."""
    value = fields.integer(name)
    return value if value is not None and value > 0 else None


def _modalities(fields: Fields, name: str) -> tuple[str, ...]:
    return tuple(fields.texts(name) or ())


_Reader = tuple[Callable[..., Any], tuple[float, ...]]
_SCALARS: Final[Mapping[str, _Reader]] = {
    "parallel_tool_calls": (Fields.flag, ()),
    "temperature": (Fields.number, (0, 2)),
    "top_p": (Fields.number, ()),
    "top_k": (_top_k, ()),
    "presence_penalty": (Fields.number, ()),
    "frequency_penalty": (Fields.number, ()),
    "seed": (Fields.integer, ()),
    "n": (Fields.integer, (1,)),
    "logprobs": (Fields.flag, ()),
    "top_logprobs": (Fields.integer, (0, 20)),
    "verbosity": (Fields.text, ()),
    "modalities": (_modalities, ()),
    "metadata": (Fields.mapping, ()),
    "service_tier": (Fields.text, ()),
    "stream": (Fields.flag, ()),
}
"""Fields that the neutral form calls the same -> what they are, and their bounds."""
_NATIVE: Final[Mapping[str, Callable[[Fields, str], Any]]] = {
    "audio": Fields.mapping,
    "moderation": Fields.mapping,
    "prediction": Fields.mapping,
    "prompt_cache_key": Fields.text,
    "prompt_cache_options": Fields.mapping,
    "prompt_cache_retention": Fields.text,
    "store": Fields.flag,
    "web_search_options": Fields.mapping,
}
"""OpenAI's own fields that no other dialect has: checked, then kept in native."""


def parse_request(body: Mapping[str, Any]) -> Request:
    """*body* in the neutral form.

    Raises:
        BadRequest: a field is missing or has the wrong type; *param* is its place.
    """
    fields = Fields(body)
    model = fields.needed_text("model")
    if not model:
        raise fields.wrong("model", "a model's name")
    native: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    places: dict[str, str] = {}
    request: dict[str, Any] = {"messages": _messages(fields)}
    for name, value in body.items():
        if value is None or name in _READ_APART:
            continue
        if (scalar := _SCALARS.get(name)) is not None:
            request[name] = scalar[0](fields, name, *scalar[1])
        elif (composed := _COMPOSED.get(name)) is not None:
            target, read = composed
            if target not in request:
                request[target] = read(fields, native, places)
        elif (own := _NATIVE.get(name)) is not None:
            native[name] = own(fields, name)
        else:
            unknown[name] = value
    native.update(unknown)
    return Request(DIALECT, model, native=native_of(native), places=places, **request)


def uses_functions(body: Mapping[str, Any]) -> bool:
    """Whether the client speaks the older `functions` form and so expects `function_call` in the answer."""
    return bool(body.get("functions")) and not body.get("tools")


def _include_usage(fields: Fields, native: dict[str, Any], _places: dict[str, str]) -> bool:
    stream_options = fields.object("stream_options")
    if stream_options is None:
        return False
    include_usage = bool(stream_options.flag("include_usage"))
    if rest := stream_options.rest():
        native["stream_options"] = rest
    return include_usage


def _max_output_tokens(fields: Fields, native: dict[str, Any], places: dict[str, str]) -> int | None:
    """The newer name counts where both are given; another number under the older one stays the vendor's to read."""
    newer, older = fields.integer("max_completion_tokens", 0), fields.integer("max_tokens", 0)
    if newer is None and older is not None:
        places["max_output_tokens"] = "max_tokens"
    elif older is not None and older != newer:
        native["max_tokens"] = older
    return older if newer is None else newer


def _user(fields: Fields, native: dict[str, Any], places: dict[str, str]) -> str | None:
    user, safety_identifier = fields.text("user"), fields.text("safety_identifier")
    if user is not None and safety_identifier is not None:
        native["safety_identifier"] = safety_identifier
    elif safety_identifier is not None:
        places["user"] = "safety_identifier"
    return user if user is not None else safety_identifier


def _stop(fields: Fields, _native: dict[str, Any], _places: dict[str, str]) -> tuple[str, ...]:
    value = fields.get("stop")
    if isinstance(value, str):
        return (value,)
    if value is not None and not isinstance(value, list):
        raise fields.wrong("stop", "a string or an array of strings")
    return tuple(fields.texts("stop") or ())


def _logit_bias(fields: Fields, _native: dict[str, Any], _places: dict[str, str]) -> Mapping[str, float] | None:
    bias = fields.mapping("logit_bias")
    if bias is None:
        return None
    inner = Fields(bias, "logit_bias")
    return {token: value for token in bias if (value := inner.number(token)) is not None}


def _reasoning(fields: Fields, native: dict[str, Any], places: dict[str, str]) -> Reasoning | None:
    """OpenAI's effort word, or what routers (`reasoning`) and Anthropic-like servers (`thinking`) take for it."""
    reasoning = _read_reasoning(fields, native)
    if reasoning is not None and fields.value.get("reasoning_effort") is None:
        places["reasoning"] = "reasoning" if isinstance(fields.value.get("reasoning"), dict) else "thinking"
        routed = places["reasoning"] == "reasoning"
        places["reasoning.effort"] = "reasoning.effort" if routed else "thinking.type"
        places["reasoning.budget_tokens"] = "reasoning.max_tokens" if routed else "thinking.budget_tokens"
        if fields.value.get("include_reasoning") is None:
            places["reasoning.visible"] = "reasoning.exclude" if routed else "thinking.display"
        elif not routed and fields.value.get("thinking") is None:
            places["reasoning"] = "include_reasoning"
    return reasoning


def _read_reasoning(fields: Fields, native: dict[str, Any]) -> Reasoning | None:
    effort = fields.text("reasoning_effort")
    if effort is not None and effort not in EFFORTS:
        native["reasoning_effort"] = effort
        effort = None
    budget: int | None = None
    visible = fields.flag("include_reasoning")
    routed = fields.object("reasoning")
    if routed is not None:
        word = routed.text("effort")
        effort = effort or (word if word in EFFORTS else None)
        budget = routed.integer("max_tokens", 0)
        if routed.flag("enabled") is False:
            effort = effort or "none"
        if (exclude := routed.flag("exclude")) is not None:
            visible = not exclude
    thinking = fields.object("thinking") if isinstance(fields.get("thinking"), dict) else None
    if thinking is not None:
        kind = thinking.text("type")
        budget = thinking.integer("budget_tokens", 0) if budget is None else budget
        display = thinking.text("display")
        visible = {"summarized": True, "omitted": False}.get(display or "", visible)
        if kind == "disabled":
            effort = effort or "none"
        elif budget is None and effort is None:
            native["thinking"] = thinking.value
    elif (other := fields.get("thinking")) is not None:
        native["thinking"] = other
    if effort is None and budget is None and visible is None:
        return None
    return Reasoning(
        effort=effort,  # type: ignore[arg-type]  # membership in EFFORTS is checked above
        budget_tokens=None if effort is not None else budget,
        visible=visible,
    )


def _output_format(fields: Fields, native: dict[str, Any], _places: dict[str, str]) -> OutputFormat | None:
    chosen = fields.object("response_format")
    if chosen is None:
        return None
    kind = chosen.needed_text("type")
    if kind == "text":
        _keep_rest(native, "response_format", chosen)
        return None
    if kind == "json_object":
        # llama.cpp and Together take a schema beside json_object.
        schema = chosen.mapping("schema")
        _keep_rest(native, "response_format", chosen)
        return OutputFormat("json_object") if schema is None else OutputFormat("json_schema", schema)
    if kind == "json_schema":
        inner = chosen.object("json_schema") or chosen
        schema = inner.mapping("schema")
        if schema is None and inner is chosen:
            raise chosen.wrong("json_schema", "an object")
        output = OutputFormat(
            "json_schema", schema or {}, inner.text("name"), inner.text("description"), inner.flag("strict")
        )
        _keep_rest(native, "response_format", chosen, **({} if inner is chosen else {"json_schema": inner}))
        return output
    native["response_format"] = chosen.value
    return None


def _keep_rest(native: dict[str, Any], name: str, half_read: Fields, **inside: Fields) -> None:
    """Put into *native* what of the object *name* was not read, with what was not of those *inside* it."""
    rest = half_read.rest()
    for inner, fields in inside.items():
        _keep_rest(rest := dict(rest), inner, fields)
    if rest:
        native[name] = rest


# --- tools ---------------------------------------------------------------------------------------


def _tools(fields: Fields, _native: dict[str, Any], places: dict[str, str]) -> tuple[Tool, ...]:
    """The tools, and the older `functions`."""
    tools = read_tools(fields, _listed_tools)
    if functions := fields.objects("functions"):
        if not tools:
            places["tools"] = "functions"
        return (*tools, *[_function(function, None) for function in functions])
    return tools


def _listed_tools(body: Fields) -> list[Tool]:
    return [
        _plain_function(item, place := f"tools[{at}]") or _tool(Fields(item, place))
        for at, item in enumerate(body.dicts("tools"))
    ]


_FUNCTION: Final = frozenset({"name", "description", "parameters", "strict"})
_TEXT_OR_NONE: Final = (str, type(None))
_FLAG_OR_NONE: Final = (bool, type(None))


def _plain_function(tool: Mapping[str, Any], place: str) -> Tool | None:
    """What `_tool` makes of a function without anything unknown in it, at a fraction of the time; None for another."""
    if len(tool) != 2 or tool.get("type") != "function":
        return None
    inner = tool.get("function")
    if not isinstance(inner, dict) or not _FUNCTION.issuperset(inner):
        return None
    name, description = inner.get("name"), inner.get("description")
    parameters, strict = inner.get("parameters"), inner.get("strict")
    if not isinstance(name, str) or not name or not isinstance(parameters, dict):
        return None
    if not isinstance(description, _TEXT_OR_NONE) or not isinstance(strict, _FLAG_OR_NONE):
        return None
    return Tool(name, description, parameters, strict, place=f"{place}.function")


def _tool(tool: Fields) -> Tool:
    kind = tool.text("type") or "function"
    if kind == "function":
        inner = tool.object("function")
        if inner is None:
            raise tool.wrong("function", "an object")
        return _function(inner, tool)
    if kind == "custom":
        inner = tool.object("custom")
        if inner is None:
            raise tool.wrong("custom", "an object")
        name, description = inner.needed_text("name"), inner.text("description")
        marks = _cache_marks(tool)
        own = {**inner.rest(), **tool.rest()}
        return Tool(name, description, kind="custom", native=native_of(own, **marks), place=inner.place)
    return Tool(kind, kind="native", native=native_of(tool.value), place=tool.place)


def _function(inner: Fields, outer: Fields | None) -> Tool:
    name = inner.needed_text("name")
    if not name:
        raise inner.wrong("name", "a function's name")
    marks = _cache_marks(inner) or (_cache_marks(outer) if outer else {})
    description, parameters, strict = inner.text("description"), inner.mapping("parameters"), inner.flag("strict")
    own = {**inner.rest(), **(outer.rest() if outer else {})}
    return Tool(name, description, parameters, strict, native=native_of(own, **marks), place=inner.place)


def _tool_choice(fields: Fields, _native: dict[str, Any], places: dict[str, str]) -> ToolChoice | None:
    choice = fields.get("tool_choice")
    if choice is None:
        older = _function_call_choice(fields)
        if older is not None:
            places["tool_choice"] = "function_call"
        return older
    match choice:
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case "any":  # Mistral's word
            return ToolChoice("required")
        case {"type": "function" | "custom"}:
            return ToolChoice("named", (_chosen_name(Fields(choice, fields.at("tool_choice"))),))
        case {"type": "allowed_tools"}:
            return _allowed_tools(Fields(choice, fields.at("tool_choice")))
        case _:
            raise fields.wrong("tool_choice", "none, auto, required, or an object with a known type")


def _chosen_name(choice: Fields) -> str:
    kind = choice.needed_text("type")
    inner = choice.object(kind)
    return inner.needed_text("name") if inner is not None else choice.needed_text("name")


def _allowed_tools(choice: Fields) -> ToolChoice:
    allowed = choice.object("allowed_tools") or choice
    names = tuple(_chosen_name(tool) for tool in allowed.objects("tools"))
    mode = allowed.choice("mode", ("auto", "required"))
    return ToolChoice("allowed", names, "required" if mode == "required" else "auto")


def _function_call_choice(fields: Fields) -> ToolChoice | None:
    """The older `function_call`."""
    match fields.get("function_call"):
        case None:
            return None
        case "auto" | "none" as word:
            return ToolChoice(word)
        case {"name": str(name)}:
            return ToolChoice("named", (name,))
        case _:
            raise fields.wrong("function_call", "none, auto, or an object with a name")


def _cache_marks(fields: Fields) -> dict[str, dict[str, Any]]:
    """Anthropic's `cache_control`, which OpenAI-shaped clients put beside the content."""
    mark = fields.mapping("cache_control")
    return {"anthropic": {"cache_control": mark}} if mark is not None else {}


# --- messages ------------------------------------------------------------------------------------


def _messages(fields: Fields) -> tuple[Message, ...]:
    found = fields.dicts("messages")
    if not found:
        raise fields.wrong("messages", "an array with at least one message")
    here = fields.at("messages")
    called: dict[str, str] = {}
    messages: list[Message] = []
    for position, item in enumerate(found):
        place = f"{here}[{position}]"
        messages.append(_plain_message(item, place, called) or _message(Fields(item, place), position, called))
    return tuple(messages)


_PLAIN_ROLES: Final = ("user", "assistant", "system", "developer")
_CALLING: Final = frozenset({"role", "content", "tool_calls"})


def _plain_message(message: Mapping[str, Any], place: str, called: dict[str, str]) -> Message | None:
    """What `_message` makes of a message of one text, a tool's result or calls without anything unknown in them.

    Most messages are of that kind, and this takes a fraction of the time; None for another.
    """
    role, content = message.get("role"), message.get("content")
    if isinstance(content, str):
        text: tuple[Part, ...] = (Text(content, (), NO_NATIVE, f"{place}.content"),)
        if len(message) == 2 and role in _PLAIN_ROLES:
            return Message(role, text if content or role != "assistant" else ())
        if len(message) == 3 and role == "tool" and isinstance(call_id := message.get("tool_call_id"), str):
            return Message("tool", (ToolResult(call_id, text, False, called.get(call_id), NO_NATIVE, place),))
    elif content is not None:
        return None
    if role != "assistant" or not _CALLING.issuperset(message) or not isinstance(message.get("tool_calls"), list):
        return None
    calls = [_plain_call(call, f"{place}.tool_calls[{at}]") for at, call in enumerate(message["tool_calls"])]
    plain = [call for call in calls if call is not None]
    if len(plain) < len(calls):
        return None
    called.update([(call.id, call.name) for call in plain])
    return Message("assistant", (*text, *plain) if content else tuple(plain))


_CALL: Final = frozenset({"id", "type", "function"})


def _plain_call(call: Any, place: str) -> ToolCall | None:
    if not isinstance(call, dict) or call.get("type") != "function" or not _CALL.issuperset(call):
        return None
    inner = call.get("function")
    if not isinstance(inner, dict) or len(inner) != 2:
        return None
    call_id, name, arguments = call.get("id"), inner.get("name"), inner.get("arguments")
    if not isinstance(call_id, str) or not isinstance(name, str) or not isinstance(arguments, str):
        return None
    return ToolCall(call_id, name, arguments, place=place)


def _message(message: Fields, position: int, called: dict[str, str]) -> Message:
    """One message. *called* maps the ids of earlier calls to their functions' names and grows."""
    role = message.choice("role", ("system", "developer", "user", "assistant", "tool", "function"))
    match role:
        case "system" | "developer" | "user":
            parts = _marked(_content(message), message)
            return Message(role, tuple(parts), message.text("name"), native_of(message.rest()))
        case "assistant":
            return _assistant(message, position, called)
        case "tool":
            call_id = message.needed_text("tool_call_id")
            return _tool_message(message, call_id, called)
        case "function":
            name = message.needed_text("name")
            ids = [call_id for call_id, function in called.items() if function == name]
            return _tool_message(message, ids[-1] if ids else f"call_of_{name}", called)
        case _:
            raise message.wrong("role", "a role")


def _tool_message(message: Fields, call_id: str, called: Mapping[str, str]) -> Message:
    name, function = message.text("name"), called.get(call_id)
    is_error = bool(message.flag("is_error"))
    marks = _cache_marks(message)
    parts = tuple(_content(message))
    own = message.rest()
    if name and function and name != function:
        own = {**own, "name": name}
    result = ToolResult(call_id, parts, is_error, function or name, native_of(own, **marks), message.place)
    return Message("tool", (result,))


def _content(message: Fields, *, optional: bool = False) -> list[Part]:
    content = message.get("content")
    if isinstance(content, str):
        return [Text(content, place=message.at("content"))]
    if content is None and optional:
        return []
    if not isinstance(content, list):
        raise message.wrong("content", "a string or an array of parts")
    parts: list[Part] = []
    for position, item in enumerate(content):
        place = f"{message.at('content')}[{position}]"
        if isinstance(item, str):  # vLLM takes bare strings among the parts
            parts.append(Text(item, place=place))
            continue
        if not isinstance(item, dict):
            raise BadRequest(f"{place}: expected an object, found {type_name(item)}", place, "invalid_type")
        if len(item) == 2 and item.get("type") == "text" and isinstance(text := item.get("text"), str):
            parts.append(Text(text, place=place))
            continue
        parts.append(_part(Fields(item, place)))
    return parts


def _part(part: Fields) -> Part:
    kind = part.needed_text("type")
    match kind:
        case "text" | "input_text" | "output_text":
            text = part.needed_text("text")
            return Text(text, native=_part_native(part), place=part.place)
        case "image_url":
            return _image(part)
        case "input_audio":
            return _audio(part)
        case "file":
            file = part.object("file")
            if file is None:
                raise part.wrong("file", "an object")
            for name in ("file_id", "file_data", "filename"):
                file.text(name)
            if not file.value.get("file_id") and not file.value.get("file_data"):
                raise file.wrong("file_data", "base64 data, a data URL or a file_id")
            return replace(document_of_file(file.value, _part_native(part, file=file)), place=part.place)
        case "refusal":
            return Refusal(part.needed_text("refusal"), native=_part_native(part), place=part.place)
        case "thinking" if isinstance(part.get("thinking"), str):
            return replace(thinking_of_block(part.value), place=part.place)
        case "thinking":
            return Thinking("".join(text for _, text in spoken_parts([part.value])), place=part.place)
        case "redacted_thinking":
            return replace(thinking_of_block(part.value), place=part.place)
        case _:
            return Opaque(DIALECT, kind, part.value, part.place)


def _image(part: Fields) -> Image:
    value = part.get("image_url")
    detail: str | None = None
    inside: dict[str, Fields] = {}
    if isinstance(value, str):
        url = value
    else:
        inner = part.object("image_url")
        if inner is None:
            raise part.wrong("image_url", "an object with a url")
        url, detail = inner.needed_text("url"), inner.text("detail")
        inside["image_url"] = inner
    if not url:
        raise part.wrong("image_url", "a URL")
    return Image(source_of_url(url, "image/png"), detail, _part_native(part, **inside), part.place)


def _audio(part: Fields) -> Audio:
    value = part.get("input_audio")
    if isinstance(value, str):  # Mistral: base64 or a URL as it is
        if value[:8].lower().startswith(("http://", "https://", "data:")):
            return Audio(source_of_url(value, "audio/wav"), native=_part_native(part), place=part.place)
        return Audio(Source(sniffed_type(value, "audio/wav"), value), native=_part_native(part), place=part.place)
    inner = part.object("input_audio")
    if inner is None:
        raise part.wrong("input_audio", "an object with data and format")
    data = inner.needed_text("data")
    source = Source(f"audio/{inner.needed_text('format')}", data)
    return Audio(source, native=_part_native(part, input_audio=inner), place=part.place)


def _part_native(part: Fields, **inside: Fields) -> Native:
    """What was not read of *part*, and of the objects *inside* it."""
    marks = _cache_marks(part)
    own = part.rest()
    for name, inner in inside.items():
        if rest := inner.rest():
            own = {**own, name: rest}
    return native_of(own, **marks)


def _marked(parts: list[Part], message: Fields) -> list[Part]:
    """*parts* with a message-level `cache_control` on the last one."""
    marks = _cache_marks(message)
    if marks and parts and isinstance(last := parts[-1], Text | Image | Audio):
        return [*parts[:-1], _with_native(last, marks)]
    return parts


def _with_native(part: Part, native: Mapping[str, Mapping[str, Any]]) -> Part:
    if isinstance(part, Text | Thinking | Image | Audio):
        return replace(part, native={**part.native, **native})
    return part


def _assistant(message: Fields, position: int, called: dict[str, str]) -> Message:
    content = _content(message, optional=True)
    if isinstance(message.get("content"), str):
        content = [part for part in content if not isinstance(part, Text) or part.text]
    annotations = tuple(item for item in message.items("annotations") or () if isinstance(item, dict))
    if annotations and len(content) == 1 and isinstance(text := content[0], Text):
        content = [replace(text, annotations=annotations)]
    thinking = _earlier_thinking(message)
    calls = list(_tool_calls(message, position))
    called.update({call.id: call.name for call in calls})
    extra = native_of_extra(message.mapping("extra_content"))
    responses = extra.get(RESPONSES, {})
    responses.pop("annotations", None)
    content = _phased(content, responses.pop("messages", None))
    blocks = [
        Opaque(dialect, str(block.get("type", "")), block, message.at(f"extra_content.{dialect}.blocks[{at}]"))
        for dialect, fields in extra.items()
        for at, block in enumerate(blocks_in(fields))
    ]
    parts = [*thinking, *blocks, *content]
    if refusal := message.text("refusal"):
        parts.append(Refusal(refusal, place=message.at("refusal")))
    if (audio := message.object("audio")) is not None:
        parts.append(Audio(Source(), id=audio.needed_text("id"), place=audio.place))
    parts = _marked(parts, message)
    signed = {dialect: fields for dialect, fields in extra.items() if fields}
    parts = _signed(parts, signed, message.at("extra_content"))
    return Message("assistant", (*parts, *calls), message.text("name"), native_of(message.rest()))


def _phased(content: list[Part], messages: Any) -> list[Part]:
    """*content* with the phases that the Responses API gave it."""
    texts = with_phases([part for part in content if isinstance(part, Text)], messages)
    return [*texts, *(part for part in content if not isinstance(part, Text))] if messages else content


def _signed(parts: list[Part], extra: Mapping[str, Mapping[str, Any]], place: str) -> list[Part]:
    """*parts* with the message's own signatures: on the last text, else the last thought, else on an empty one."""
    if not extra:
        return parts
    for kind in (Text, Thinking):
        for position in range(len(parts) - 1, -1, -1):
            if isinstance(parts[position], kind):
                return [*parts[:position], _with_native(parts[position], extra), *parts[position + 1 :]]
    return [Thinking("", extra, place), *parts]


def _earlier_thinking(message: Fields) -> list[Part]:
    """The reasoning of an earlier answer, from the most exact of the forms that it came in."""
    blocks = message.objects("thinking_blocks")
    for name in ("reasoning_content", "reasoning"):
        message.text(name)
    details = message.items("reasoning_details")
    if blocks:
        return [replace(thinking_of_block(block.value), place=block.place) for block in blocks]
    text = reasoning_text(message.value)
    own = {"reasoning_details": details} if details and details_only_opaque(details) else {}
    if not text and not own:
        return []
    names = ("reasoning_content", "reasoning")
    place = message.at(next((name for name in names if message.value.get(name)), "reasoning_details"))
    return [Thinking(text, native_of(own), place)]


def _tool_calls(message: Fields, position: int) -> Iterator[ToolCall]:
    for call in message.objects("tool_calls"):
        kind = call.text("type") or "function"
        inner = call.object(kind)
        if inner is None or kind not in ("function", "custom"):
            raise call.wrong(kind, f"an object (for a call of type {kind})")
        call_id, name = call.text("id") or "", inner.needed_text("name")
        arguments = inner.text("input" if kind == "custom" else "arguments") or ""
        extra = native_of_extra(call.mapping("extra_content"))
        marks = _cache_marks(call)
        call.get("index")  # stream deltas that a client stored as they were
        own = {**inner.rest(), **call.rest()}
        native = native_of(own, **{**extra, **marks})
        yield ToolCall(call_id, name, arguments, "custom" if kind == "custom" else "function", native, call.place)
    legacy = message.object("function_call")
    if legacy is not None:
        name, arguments = legacy.needed_text("name"), legacy.text("arguments") or ""
        yield ToolCall(f"call_of_message_{position}", name, arguments, place=legacy.place)


_Composed = tuple[str, Callable[[Fields, dict[str, Any], dict[str, str]], Any]]
_COMPOSED: Final[Mapping[str, _Composed]] = {
    **dict.fromkeys(("tools", "functions"), ("tools", _tools)),
    **dict.fromkeys(("tool_choice", "function_call"), ("tool_choice", _tool_choice)),
    **dict.fromkeys(("max_completion_tokens", "max_tokens"), ("max_output_tokens", _max_output_tokens)),
    **dict.fromkeys(("reasoning_effort", "include_reasoning", "reasoning", "thinking"), ("reasoning", _reasoning)),
    **dict.fromkeys(("user", "safety_identifier"), ("user", _user)),
    "response_format": ("output", _output_format),
    "stop": ("stop", _stop),
    "logit_bias": ("logit_bias", _logit_bias),
    "stream_options": ("include_usage", _include_usage),
}
"""What the client wrote -> the field of Request that it is a part of, and what reads all parts of that."""
_READ_APART: Final = frozenset({"model", "messages", *PROXY_FIELDS})
