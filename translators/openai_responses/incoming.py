"""A client's Responses request, read into the neutral form.

Items become messages by these rules:

| item | becomes |
|---|---|
| `message` (the easy form, too) of user, system, developer | one message of its own |
| what a model puts out: `message` of the assistant, `reasoning`, calls | parts of one assistant message |
| `function_call_output`, `custom_tool_call_output` | one tool message each |
| every other item | an Opaque, in its place |

The state of an item and the id of what a user wrote say nothing to a model and are left out. The ids of the model's
own items stand in their parts' `native["openai_responses"]`: equal ids belong to one item.
The message that was `instructions` has that as its place.
Reasoning whose `encrypted_content` the proxy sealed is its own vendor's again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as fields_of
from dataclasses import replace
from operator import attrgetter
from types import NoneType
from typing import Any, Final, NamedTuple, get_args

from translators.codec import type_name
from translators.errors import BadRequest
from translators.fields import PROXY_FIELDS, Fields
from translators.neutral import (
    NO_NATIVE,
    Audio,
    Document,
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
from translators.openai_chat.parts import document_of_file, native_of_extra, objects_in, source_of_url
from translators.sealed import unseal
from translators.toolbox import read_tools

DIALECT: Final = "openai_responses"
EFFORTS: Final[tuple[str, ...]] = get_args(Effort)

SERVED_FIELDS: Final = frozenset({"previous_response_id", "store", "background", "conversation"})
"""Fields that ask the server to remember something; the proxy does so itself, whatever the backend."""


def _conversation(fields: Fields, name: str) -> Any:
    conversation = fields.get(name)
    if not isinstance(conversation, str | dict):
        raise fields.wrong(name, "an id or an object with an id")
    return conversation


_Reader = Callable[[Fields, str], Any]
_NATIVE: Final[Mapping[str, _Reader]] = {
    "access_programs": Fields.mapping,
    "background": Fields.flag,
    "background_options": Fields.mapping,
    "context_management": Fields.items,
    "conversation": _conversation,
    "image": Fields.mapping,
    "include": Fields.texts,
    "max_tool_calls": Fields.integer,
    "moderation": Fields.mapping,
    "previous_response_id": Fields.text,
    "prompt": Fields.mapping,
    "prompt_cache_key": Fields.text,
    "prompt_cache_options": Fields.mapping,
    "prompt_cache_retention": Fields.text,
    "safety_identifier": Fields.text,
    "store": Fields.flag,
    "stream_options": Fields.mapping,
    "truncation": Fields.text,
}
"""OpenAI's own fields that no other dialect has: checked, then kept in native."""
_NEUTRAL: Final[Mapping[str, _Reader]] = {
    "max_output_tokens": lambda fields, name: fields.integer(name, 0),
    "metadata": Fields.mapping,
    "parallel_tool_calls": Fields.flag,
    "service_tier": Fields.text,
    "temperature": lambda fields, name: fields.number(name, 0, 2),
    "top_logprobs": lambda fields, name: fields.integer(name, 0, 20),
    "top_p": Fields.number,
    "user": Fields.text,
}
"""Fields that the neutral form has under the same name."""
_READ_APART: Final = frozenset(
    {"input", "instructions", "model", "reasoning", "stream", "text", "tool_choice", "tools", *PROXY_FIELDS}
)
_INPUT: Final = "a string or an array of items"
_EARLIER: Final = ("prompt", "previous_response_id", "conversation")
"""What may stand in the place of an input."""

_SERVED_INCLUDES: Final = frozenset({"reasoning.encrypted_content", "message.output_text.logprobs"})
"""What answers to a Responses client contain anyway, whoever gives them."""

_IDLE_VALUES: Final[Mapping[str, tuple[Any, ...]]] = {
    "background": (False,),
    "context_management": ([],),
    "store": (True, False),
    "stream_options": ({}, {"include_obfuscation": False}),
    "truncation": ("disabled",),
}

_NAMES: Final = frozenset({"id"})
_TOLD_BY_THOUGHT: Final = frozenset({"id", "summary", "content"})
_REASONING_FIELDS: Final = frozenset({"id", "encrypted_content", "summary", "content"})
_MODEL_ITEMS: Final = frozenset({"compaction", "item_reference", "mcp_approval_request", "mcp_list_tools", "program"})
"""Items of the model's own turn whose type does not end in `_call`."""


def idle(native: Native) -> frozenset[str]:
    """The request's fields in *native* that ask for what happens anyway, at any target: no loss when left out."""
    fields = native.get(DIALECT)
    if not fields:
        return frozenset()
    names = [name for name in fields.keys() & _IDLE_VALUES if fields[name] in _IDLE_VALUES[name]]
    if "include" in fields and _SERVED_INCLUDES.issuperset(fields["include"]):
        names.append("include")
    return frozenset(names)


def without_idle(request: Request) -> Request:
    """*request* for a target of another dialect: without idle fields, and without the names of earlier items."""
    changes: dict[str, Any] = {}
    if names := idle(request.native):
        changes["native"] = _without(request.native, names)
    if _has_own_fields(request.messages):
        changes["messages"] = tuple(_without_names(message) for message in request.messages)
    return _with(request, changes) if changes else request


_POSITIONS: Final = {each.name: position for position, each in enumerate(fields_of(Request))}
_all_values: Final = attrgetter(*_POSITIONS)


def _with(request: Request, changes: Mapping[str, Any]) -> Request:
    """`dataclasses.replace`, which takes four times as long for a class of so many fields."""
    values = list(_all_values(request))
    for name, value in changes.items():
        values[_POSITIONS[name]] = value
    return Request(*values)


def _has_own_fields(messages: Iterable[Message]) -> bool:
    """Whether any part has fields beside the neutral ones."""
    for message in messages:
        for part in message.parts:
            if not isinstance(part, Opaque) and part.native:
                return True
    return False


def _without(native: Native, names: frozenset[str]) -> Native:
    own = {name: value for name, value in native[DIALECT].items() if name not in names}
    if own or len(native) > 1:
        others = {dialect: fields for dialect, fields in native.items() if dialect != DIALECT}
        return own_native(own, **others)
    return NO_NATIVE


def _without_names(message: Message) -> Message:
    parts = tuple(_without_name(part) for part in message.parts)
    unchanged = all(one is other for one, other in zip(parts, message.parts, strict=True))
    return message if unchanged else replace(message, parts=parts)


def _without_name(part: Part) -> Part:
    """*part* without the id of its item, which only its server knows, and what its text tells already."""
    if not isinstance(part, Text | Refusal | ToolCall | Thinking) or DIALECT not in part.native:
        return part
    names = _TOLD_BY_THOUGHT if isinstance(part, Thinking) else _NAMES
    return replace(part, native=_without(part.native, names))


def parse_request(body: Mapping[str, Any]) -> Request:
    """*body* in the neutral form. Earlier answers that it only names by id are not in it: see `items.chained`.

    Raises:
        BadRequest: a field is missing or has the wrong type; *param* is its place.
    """
    fields = Fields(body)
    native: dict[str, Any] = {}
    request: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in body.items():
        if value is None:
            continue
        if name in _NEUTRAL:
            request[name] = _NEUTRAL[name](fields, name)
        elif name in _NATIVE:
            native[name] = _NATIVE[name](fields, name)
        elif name not in _READ_APART:
            unknown[name] = value
    model = fields.needed_text("model")
    if not model:
        raise fields.wrong("model", "a model's name")
    if "conversation" in native and "previous_response_id" in native:
        told = "conversation: expected it or previous_response_id, found both"
        raise BadRequest(told, "conversation", "mutually_exclusive_parameters")
    if request.get("top_logprobs") or "message.output_text.logprobs" in native.get("include", ()):
        request["logprobs"] = True
    if "text" in body:
        request["output"], request["verbosity"] = _text_config(fields, native)
    if "reasoning" in body:
        request["reasoning"] = _reasoning(fields)
        request["places"] = _reasoning_places(body["reasoning"])
    if "tools" in body:
        request["tools"] = read_tools(fields, _tools)
    if "tool_choice" in body:
        request["tool_choice"] = _tool_choice(fields, native)
    native.update(unknown)
    return Request(
        dialect=DIALECT,
        model=model,
        messages=(*_instructions(fields), *_messages(fields)),
        stream=fields.flag("stream") is True,
        include_usage=True,
        native={DIALECT: native} if native else NO_NATIVE,
        **request,
    )


def own_native(own: Mapping[str, Any], **others: Mapping[str, Any]) -> Native:
    """A Native of this dialect's fields *own* and those of *others*, without empty ones."""
    native = {dialect: fields for dialect, fields in {DIALECT: own, **others}.items() if fields}
    return native or NO_NATIVE


def _text_config(fields: Fields, native: dict[str, Any]) -> tuple[OutputFormat | None, str | None]:
    """`text.format` and `text.verbosity`."""
    text = fields.object("text")
    if text is None:
        return None, None
    verbosity = text.text("verbosity")
    chosen = text.object("format")
    output: OutputFormat | None = None
    rest: dict[str, Any] = {}
    match chosen.needed_text("type") if chosen is not None else "text":
        case "json_object":
            output = OutputFormat("json_object")
        case "json_schema" if chosen is not None:
            schema = chosen.mapping("schema")
            if schema is None:
                raise chosen.wrong("schema", "a JSON Schema")
            name, description = chosen.text("name"), chosen.text("description")
            output = OutputFormat("json_schema", schema, name, description, chosen.flag("strict"))
        case "text":
            pass
        case _ if chosen is not None:
            rest["format"] = chosen.value
    if chosen is not None and "format" not in rest and (unknown := chosen.rest()):
        rest["format"] = unknown
    if rest := {**rest, **text.rest()}:
        native["text"] = rest
    return output, verbosity


def _reasoning(fields: Fields) -> Reasoning | None:
    asked = fields.object("reasoning")
    if asked is None:
        return None
    native: dict[str, Any] = {}
    effort = asked.text("effort")
    if effort is not None and effort not in EFFORTS:
        native["effort"] = effort
        effort = None
    summary = asked.text("summary") or asked.text("generate_summary")
    if summary not in (None, "auto"):
        native["summary"] = summary
    native.update(asked.rest())
    if effort is None and summary is None and not native:
        return None
    return Reasoning(
        effort=effort,  # type: ignore[arg-type]  # membership in EFFORTS is checked above
        visible=True if summary is not None else None,
        native=own_native(native),
    )


def _reasoning_places(asked: Any) -> dict[str, str]:
    """The older name of `reasoning.summary`, where that is what the client wrote."""
    older = isinstance(asked, dict) and asked.get("summary") is None and "generate_summary" in asked
    return {"reasoning.visible": "reasoning.generate_summary"} if older else {}


# --- tools ---------------------------------------------------------------------------------------

_TEXT: Final = (str, NoneType)
_FLAG: Final = (bool, NoneType)
_OBJECT: Final = (dict, NoneType)
_FUNCTION_FIELDS: Final = frozenset({"type", "name", "description", "parameters", "strict"})


def parse_tools(body: Mapping[str, Any], place: str = "") -> Iterator[Tool]:
    """The tools in *body*, which stands at *place*."""
    return _tools(Fields(body, place))


def _tools(fields: Fields) -> Iterator[Tool]:
    for position, value in enumerate(fields.items("tools") or ()):
        place = f"{fields.at('tools')}[{position}]"
        if plain := _plain_function(value, place):
            yield plain
            continue
        tool = _object(value, place)
        match tool.needed_text("type"):
            case "function":
                yield _function(tool)
            case "custom":
                name, description = tool.needed_text("name"), tool.text("description")
                marks = _cache_marks(tool)
                yield Tool(name, description, kind="custom", native=own_native(tool.rest(), **marks), place=tool.place)
            case kind:
                if kind == "namespace":
                    tool.needed_text("name")
                    tuple(_tools(tool))  # `namespaces` reads them when they are needed; errors are told now
                yield Tool(kind, kind="native", native=own_native(tool.value), place=tool.place)


def _plain_function(tool: Any, place: str) -> Tool | None:
    """A function with the usual fields alone; None for any other tool, and for what is wrong."""
    if not isinstance(tool, dict) or tool.get("type") != "function" or not tool.keys() <= _FUNCTION_FIELDS:
        return None
    name, description, parameters = tool.get("name"), tool.get("description"), tool.get("parameters")
    strict = tool.get("strict")
    if not (isinstance(name, str) and name and isinstance(description, _TEXT) and isinstance(parameters, _OBJECT)):
        return None
    return Tool(name, description, parameters, strict, place=place) if isinstance(strict, _FLAG) else None


def _function(tool: Fields) -> Tool:
    # Clients written for chat completions nest the definition.
    inner = tool.object("function") or tool
    name = inner.needed_text("name")
    if not name:
        raise inner.wrong("name", "a function's name")
    marks = _cache_marks(tool)
    description, parameters, strict = inner.text("description"), inner.mapping("parameters"), inner.flag("strict")
    own = inner.rest() if inner is tool else {**inner.rest(), **tool.rest()}
    return Tool(name, description, parameters, strict, native=own_native(own, **marks), place=inner.place)


def _tool_choice(fields: Fields, native: dict[str, Any]) -> ToolChoice | None:
    """The choice; one that names a tool of OpenAI's own stays as it is, in *native*."""
    choice = fields.get("tool_choice")
    match choice:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case {"type": "function" | "custom"}:
            return ToolChoice("named", (_chosen_name(Fields(choice, "tool_choice")),))
        case {"type": "allowed_tools"}:
            allowed = Fields(choice, "tool_choice")
            mode = allowed.choice("mode", ("auto", "required"))
            tools = allowed.objects("tools")
            if all(tool.value.get("type") in ("function", "custom") for tool in tools):
                names = tuple(_chosen_name(tool) for tool in tools)
                return ToolChoice("allowed", names, "required" if mode == "required" else "auto")
        case {"type": str()}:
            pass
        case _:
            raise fields.wrong("tool_choice", "none, auto, required, or an object with a type")
    native["tool_choice"] = choice
    return None


def _chosen_name(choice: Fields) -> str:
    inner = choice.object(choice.needed_text("type"))
    return (inner or choice).needed_text("name")


def _cache_marks(fields: Fields) -> dict[str, dict[str, Any]]:
    """Anthropic's `cache_control`, which some clients put beside the content."""
    mark = fields.mapping("cache_control")
    return {"anthropic": {"cache_control": mark}} if mark is not None else {}


# --- input ---------------------------------------------------------------------------------------


def _instructions(fields: Fields) -> Iterator[Message]:
    text = fields.text("instructions")
    if text:
        yield Message("system", (Text(text, place="instructions"),), place="instructions")


def _messages(fields: Fields) -> list[Message]:
    asked = fields.get("input")
    if asked in (None, "", []) and not any(fields.value.get(name) for name in _EARLIER):
        told = f"input: missing or empty; expected {_INPUT}, or one of {', '.join(_EARLIER)}"
        raise BadRequest(told, "input", "missing_required_parameter")
    if isinstance(asked, str):
        return [Message("user", (Text(asked, place="input"),), place="input")]
    if asked is not None and not isinstance(asked, list):
        raise fields.wrong("input", _INPUT)
    found: list[Message] = []
    called: dict[str, str] = {}
    turn: list[Part] = []
    begun = ""
    for position, value in enumerate(asked or ()):
        place = f"input[{position}]"
        read = _plain_item(value, place, called)
        if read is None:
            item = _object(value, place)
            read = _said(item) or _asked(item, called)
        if not isinstance(read, Message):
            begun = begun or place
            turn += read.parts
            for part in read.parts:
                if isinstance(part, ToolCall):
                    called[part.id] = part.name
            continue
        if turn:
            found.append(Message("assistant", tuple(turn), place=begun))
            turn, begun = [], ""
        found.append(read)
    if turn:
        found.append(Message("assistant", tuple(turn), place=begun))
    return found


def _object(value: Any, place: str) -> Fields:
    if not isinstance(value, dict):
        raise BadRequest(f"{place}: expected an object, found {type_name(value)}", place, "invalid_type")
    return Fields(value, place)


class _Said(NamedTuple):
    """What an item that a model put out adds to the turn of the assistant."""

    parts: Sequence[Part]


_MESSAGE_FIELDS: Final = frozenset({"type", "role", "content"})
_CALL_FIELDS: Final = frozenset({"type", "id", "status", "call_id", "name", "arguments"})
_OUTPUT_FIELDS: Final = frozenset({"type", "id", "status", "call_id", "output"})
_ENDED: Final = (None, "completed")
"""What the status of an output says nothing by."""
_SPEAKERS: Final = frozenset({"user", "system", "developer"})


def _plain_item(item: Any, place: str, called: Mapping[str, str]) -> Message | _Said | None:
    """An item of the usual fields and plain text; None for any other, and for what is wrong."""
    if not isinstance(item, dict):
        return None
    kind = item.get("type", "message")
    if kind == "message" and _MESSAGE_FIELDS.issuperset(item):
        return _plain_message(item, place)
    if kind == "function_call" and _CALL_FIELDS.issuperset(item):
        return _plain_call(item, place)
    if kind == "function_call_output" and _OUTPUT_FIELDS.issuperset(item) and item.get("status") in _ENDED:
        call_id, output = item.get("call_id"), item.get("output")
        if isinstance(call_id, str) and isinstance(output, str):
            text = Text(output, (), NO_NATIVE, f"{place}.output")
            result = ToolResult(call_id, (text,), False, called.get(call_id) or None, NO_NATIVE, place)
            return Message("tool", (result,), None, NO_NATIVE, place)
    return None


def _plain_message(item: Mapping[str, Any], place: str) -> Message | _Said | None:
    content, role = item.get("content"), item.get("role")
    if not isinstance(content, str) or not isinstance(role, str):
        return None
    parts = (Text(content, (), NO_NATIVE, f"{place}.content"),)
    if role in _SPEAKERS:
        return Message(role, parts, None, NO_NATIVE, place)  # type: ignore[arg-type]  # one of the three
    return _Said(parts if content else ()) if role == "assistant" else None


def _plain_call(item: Mapping[str, Any], place: str) -> _Said | None:
    call_id, name, arguments = item.get("call_id"), item.get("name"), item.get("arguments")
    if not (isinstance(call_id, str) and isinstance(name, str) and isinstance(arguments, str)):
        return None
    item_id = item.get("id")
    native = NO_NATIVE if item_id is None else {DIALECT: {"id": item_id}}
    return _Said((ToolCall(call_id, name, arguments, native=native, place=place),))


def _type(item: Fields) -> str:
    kind = item.text("type")
    if kind is None:
        # The type is optional in the easy form of a message and in a reference.
        if "role" not in item.value and "id" not in item.value:
            raise item.wrong("type", "an item's type")
        kind = "message" if "role" in item.value else "item_reference"
    return kind


def _said(item: Fields) -> _Said | None:
    """The parts of an item that a model put out; None for one that was put in."""
    match _type(item):
        case "message" if item.value.get("role") == "assistant":
            return _Said(_assistant_parts(item))
        case "reasoning":
            return _Said((_thinking(item),))
        case "function_call":
            return _Said((_call(item, "arguments"),))
        case "custom_tool_call":
            return _Said((_call(item, "input"),))
        case kind if kind.endswith("_call") or kind in _MODEL_ITEMS:
            return _Said((Opaque(DIALECT, kind, item.value, item.place),))
        case _:
            return None


def _assistant_parts(item: Fields) -> list[Part]:
    for name in ("role", "status"):
        item.get(name)
    content = _content(item, "content")
    own = item.rest()
    return [_owned(part, own) for part in content if not isinstance(part, Text) or part.text]


def _owned(part: Part, own: Mapping[str, Any]) -> Part:
    """*part* with the fields of the item that it stands in."""
    if not own or not isinstance(part, Text | Refusal | Image | Audio | Document):
        return part
    fields = {**part.native.get(DIALECT, {}), **own}
    return replace(part, native={**part.native, DIALECT: fields})


def _thinking(item: Fields) -> Thinking:
    """Reasoning, readable or not. What the proxy sealed for another vendor has that vendor's fields alone."""
    summary, content = item.objects("summary"), item.objects("content")
    text = "\n\n".join(piece.text("text") or "" for piece in summary or content)
    encrypted = item.text("encrypted_content")
    if encrypted and (native := unseal(encrypted)) is not None:
        return Thinking(text, native or NO_NATIVE, item.place)
    item.get("status")
    own = {name: value for name, value in item.value.items() if name in _REASONING_FIELDS and value is not None}
    return Thinking(text, own_native({**own, **item.rest()}), item.place)


def _call(item: Fields, field: str) -> ToolCall:
    call_id, name, arguments = item.needed_text("call_id"), item.needed_text("name"), item.needed_text(field)
    item.get("status")
    extra = native_of_extra(item.mapping("extra_content"))
    native = own_native(item.rest(), **extra)
    return ToolCall(call_id, name, arguments, "custom" if field == "input" else "function", native, item.place)


def _asked(item: Fields, called: Mapping[str, str]) -> Message:
    """The message of an item that was put in. *called* maps the ids of earlier calls to their functions' names."""
    match _type(item):
        case "message":
            role = item.choice("role", ("user", "system", "developer"))
            if role is None:
                raise item.wrong("role", "user, assistant, system or developer")
            for name in ("id", "status"):
                item.get(name)
            parts = tuple(_content(item, "content"))
            return Message(role, parts, native=own_native(item.rest()), place=item.place)  # type: ignore[arg-type]  # one of the three
        case "function_call_output" | "custom_tool_call_output":
            return _tool_message(item, called)
        case kind:
            role = item.value.get("role")
            return Message(
                "developer" if role == "developer" else "user",
                (Opaque(DIALECT, kind, item.value, item.place),),
                place=item.place,
            )


def _tool_message(item: Fields, called: Mapping[str, str]) -> Message:
    name, call_id = item.text("name"), item.text("call_id")
    if call_id is None:
        ids = [earlier for earlier, function in called.items() if name is not None and function == name]
        if not ids:
            raise item.wrong("call_id", "the id of the call that this is the output of")
        call_id = ids[-1]
    item.get("id")
    status = item.text("status")
    marks = _cache_marks(item)
    parts = tuple(_content(item, "output"))
    own, function = item.rest(), called.get(call_id)
    if name is not None and function is not None and name != function:
        own["name"] = name
    if status not in _ENDED:
        own["status"] = status
    native = own_native(own, **marks)
    result = ToolResult(call_id, parts, name=function or name, native=native, place=item.place)
    return Message("tool", (result,), place=item.place)


def _content(item: Fields, field: str) -> list[Part]:
    content = item.get(field)
    if isinstance(content, str):
        return [Text(content, place=item.at(field))]
    if not isinstance(content, list):
        raise item.wrong(field, "a string or an array of parts")
    parts: list[Part] = []
    for position, value in enumerate(content):
        place = f"{item.at(field)}[{position}]"
        parts.append(_plain_text(value, place) or _part(_object(value, place)))
    return parts


_TEXT_FIELDS: Final = frozenset({"type", "text"})
_TEXT_TYPES: Final = frozenset({"input_text", "output_text", "text"})


def _plain_text(part: Any, place: str) -> Text | None:
    """A text and nothing beside; None for any other part, and for what is wrong."""
    if not isinstance(part, dict) or part.keys() != _TEXT_FIELDS:
        return None
    kind, text = part["type"], part["text"]
    known = isinstance(kind, str) and kind in _TEXT_TYPES and isinstance(text, str)
    return Text(text, place=place) if known else None


def _part(part: Fields) -> Part:
    kind = part.needed_text("type")
    match kind:
        case "input_text" | "output_text" | "text":
            text = part.needed_text("text")
            if not part.value.get("logprobs"):
                part.get("logprobs")
            annotations = objects_in(part.items("annotations"))
            return Text(text, tuple(map(inward_annotation, annotations)), _part_native(part), part.place)
        case "refusal":
            return Refusal(part.needed_text("refusal"), _part_native(part), part.place)
        case "input_image":
            return _image(part)
        case "input_file":
            return _file(part)
        case "input_audio":
            inner = part.object("input_audio")
            if inner is None:
                raise part.wrong("input_audio", "an object with data and format")
            source = Source(f"audio/{inner.needed_text('format')}", inner.needed_text("data"))
            return Audio(source, native=_part_native(part), place=part.place)
        case _:
            return Opaque(DIALECT, kind, part.value, part.place)


def inward_annotation(annotation: Mapping[str, Any]) -> Mapping[str, Any]:
    """A citation of a web page as chat completions nest it, which is the neutral form; other kinds as they are."""
    if annotation.get("type") != "url_citation" or "url_citation" in annotation:
        return annotation
    citation = {name: value for name, value in annotation.items() if name != "type"}
    return {"type": "url_citation", "url_citation": citation}


def _image(part: Fields) -> Image:
    url, file_id, detail = part.text("image_url"), part.text("file_id"), part.text("detail")
    if not url and not file_id:
        raise part.wrong("image_url", "a URL or a file_id")
    source = source_of_url(url, "image/png") if url else Source(file_id=file_id, vendor=DIALECT)
    return Image(source, detail, _part_native(part), part.place)


def _file(part: Fields) -> Document:
    """A file: its bytes as base64 or a data URL, or where it is."""
    data, url, file_id = part.text("file_data"), part.text("file_url"), part.text("file_id")
    filename = part.text("filename")
    native = _part_native(part)
    if data or url:
        found = document_of_file({"file_data": data or url, "filename": filename}, native)
        return replace(found, place=part.place)
    if not file_id:
        raise part.wrong("file_data", "base64 data, a data URL, a file_url or a file_id")
    return Document(Source(file_id=file_id, vendor=DIALECT), filename, native=native, place=part.place)


def _part_native(part: Fields) -> Native:
    extra = native_of_extra(part.mapping("extra_content"))
    marks = _cache_marks(part)
    return own_native(part.rest(), **{**extra, **marks})
