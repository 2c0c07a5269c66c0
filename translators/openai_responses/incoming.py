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

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, get_args

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

DIALECT: Final = "openai_responses"
EFFORTS: Final[tuple[str, ...]] = get_args(Effort)

SERVED_FIELDS: Final = frozenset({"previous_response_id", "store", "background", "conversation"})
"""Fields that ask the server to remember something; the proxy does so itself, whatever the backend."""

_NATIVE_TYPES: Final = (
    ("access_programs", "mapping"),
    ("background", "flag"),
    ("background_options", "mapping"),
    ("context_management", "items"),
    ("image", "mapping"),
    ("include", "texts"),
    ("max_tool_calls", "integer"),
    ("moderation", "mapping"),
    ("previous_response_id", "text"),
    ("prompt", "mapping"),
    ("prompt_cache_key", "text"),
    ("prompt_cache_options", "mapping"),
    ("prompt_cache_retention", "text"),
    ("safety_identifier", "text"),
    ("store", "flag"),
    ("stream_options", "mapping"),
    ("truncation", "text"),
)
"""OpenAI's own fields that no other dialect has: checked, then kept in native."""

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
    fields = native.get(DIALECT, {})
    names = {name for name, values in _IDLE_VALUES.items() if name in fields and fields[name] in values}
    if _SERVED_INCLUDES.issuperset(fields.get("include") or ()):
        names.add("include")
    return frozenset(names & fields.keys())


def without_idle(request: Request) -> Request:
    """*request* for a target of another dialect: without idle fields, and without the names of earlier items."""
    changes: dict[str, Any] = {}
    if names := idle(request.native):
        changes["native"] = _without(request.native, names)
    messages = tuple(_without_names(message) for message in request.messages)
    if any(one is not other for one, other in zip(messages, request.messages, strict=True)):
        changes["messages"] = messages
    return replace(request, **changes) if changes else request


def _without(native: Native, names: frozenset[str]) -> Native:
    own = {name: value for name, value in native[DIALECT].items() if name not in names}
    others = {dialect: fields for dialect, fields in native.items() if dialect != DIALECT}
    return own_native(own, **others)


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
    for name in PROXY_FIELDS:
        fields.get(name)
    native = _known_native(fields)
    model = fields.needed_text("model")
    if not model:
        raise fields.wrong("model", "a model's name")
    output, verbosity = _text_config(fields, native)
    top_logprobs = fields.integer("top_logprobs", 0, 20)
    asked = fields.value.get("reasoning")
    older = isinstance(asked, dict) and asked.get("summary") is None and "generate_summary" in asked
    request: dict[str, Any] = {
        "messages": (*_instructions(fields), *_messages(fields)),
        "tools": tuple(_tools(fields)),
        "tool_choice": _tool_choice(fields, native),
        "parallel_tool_calls": fields.flag("parallel_tool_calls"),
        "max_output_tokens": fields.integer("max_output_tokens", 0),
        "temperature": fields.number("temperature", 0, 2),
        "top_p": fields.number("top_p"),
        "logprobs": True if top_logprobs or "message.output_text.logprobs" in native.get("include", ()) else None,
        "top_logprobs": top_logprobs,
        "reasoning": _reasoning(fields),
        "output": output,
        "verbosity": verbosity,
        "user": fields.text("user"),
        "metadata": fields.mapping("metadata"),
        "service_tier": fields.text("service_tier"),
        "stream": bool(fields.flag("stream")),
        "include_usage": True,
    }
    native.update(fields.rest())
    places = {"reasoning.visible": "reasoning.generate_summary"} if older else {}
    return Request(dialect=DIALECT, model=model, native=own_native(native), places=places, **request)


def own_native(own: Mapping[str, Any], **others: Mapping[str, Any]) -> Native:
    """A Native of this dialect's fields *own* and those of *others*, without empty ones."""
    native = {dialect: fields for dialect, fields in {DIALECT: own, **others}.items() if fields}
    return native or NO_NATIVE


def _known_native(fields: Fields) -> dict[str, Any]:
    found = {name: getattr(fields, kind)(name) for name, kind in _NATIVE_TYPES}
    conversation = fields.get("conversation")
    if conversation is not None and not isinstance(conversation, str | dict):
        raise fields.wrong("conversation", "an id or an object with an id")
    found["conversation"] = conversation
    return {name: value for name, value in found.items() if value is not None}


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


# --- tools ---------------------------------------------------------------------------------------


def parse_tools(body: Mapping[str, Any], place: str = "") -> Iterator[Tool]:
    """The tools in *body*, which stands at *place*."""
    return _tools(Fields(body, place))


def _tools(fields: Fields) -> Iterator[Tool]:
    for tool in fields.objects("tools"):
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


def _messages(fields: Fields) -> Iterator[Message]:
    asked = fields.get("input")
    if isinstance(asked, str):
        yield Message("user", (Text(asked, place="input"),), place="input")
        return
    if asked is None:
        if not any(fields.value.get(name) for name in ("prompt", "previous_response_id", "conversation")):
            raise fields.wrong("input", "a string or an array of items")
        return
    if not isinstance(asked, list):
        raise fields.wrong("input", "a string or an array of items")
    called: dict[str, str] = {}
    turn: list[Part] = []
    place = ""
    for item in fields.objects("input"):
        said = _said(item)
        if said is not None:
            place = place or item.place
            turn.extend(said)
            called.update({part.id: part.name for part in said if isinstance(part, ToolCall)})
            continue
        if turn:
            yield Message("assistant", tuple(turn), place=place)
        turn, place = [], ""
        yield _asked(item, called)
    if turn:
        yield Message("assistant", tuple(turn), place=place)


def _type(item: Fields) -> str:
    kind = item.text("type")
    if kind is None:
        # The type is optional in the easy form of a message and in a reference.
        if "role" not in item.value and "id" not in item.value:
            raise item.wrong("type", "an item's type")
        kind = "message" if "role" in item.value else "item_reference"
    return kind


def _said(item: Fields) -> list[Part] | None:
    """The parts of an item that a model put out; None for one that was put in."""
    match _type(item):
        case "message" if item.value.get("role") == "assistant":
            return _assistant_parts(item)
        case "reasoning":
            return [_thinking(item)]
        case "function_call":
            return [_call(item, "arguments")]
        case "custom_tool_call":
            return [_call(item, "input")]
        case kind if kind.endswith("_call") or kind in _MODEL_ITEMS:
            return [Opaque(DIALECT, kind, item.value, item.place)]
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
    for read in ("id", "status"):
        item.get(read)
    marks = _cache_marks(item)
    parts = tuple(_content(item, "output"))
    own, function = item.rest(), called.get(call_id)
    if name is not None and function is not None and name != function:
        own["name"] = name
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
        if not isinstance(value, dict):
            raise BadRequest(f"{place}: expected an object, found {type_name(value)}", place, "invalid_type")
        parts.append(_part(Fields(value, place)))
    return parts


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
