"""A client's generateContent request, read into the neutral form.

Google takes camelCase and snake_case alike, and the SDKs differ: both are read everywhere, places in errors are
camelCase. What only Gemini has is kept where it stood, in `native["gemini"]`.

Model and stream flag stand in the URL. Calls without an id get one that depends on nothing but the conversation up to
there, so that it is the same in the next turn. SDKs that record streams send the model's turn back in as many pieces as
it came in: neighbouring pieces of text, and of thought, become one part again, signed by the last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, get_args

from translators.codec import dumps, dumps_text
from translators.errors import BadRequest
from translators.fields import PROXY_FIELDS, Fields
from translators.gemini.merging import paths
from translators.gemini.schema import camel, written
from translators.neutral import (
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
    Request,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from translators.sealed import unseal
from translators.written import SchemaField

DIALECT: Final = "gemini"
DECLARATIONS: Final = "functionDeclarations"
_EFFORTS: Final = frozenset(get_args(Effort))
_SIDE_FIELDS: Final = ("videoMetadata", "mediaResolution", "partMetadata", "mediaProcessing", "speechMetadata")
"""Beside the one field that says what a part is; any other `...Metadata` too."""
_TIERS: Final = {"standard": "default", "unspecified": "auto"}
_MODALITIES: Final = {word.upper(): word for word in ("text", "image", "audio", "video")}
_FILES: Final = ("https://generativelanguage.googleapis.com/", "gs://", "files/")
"""URIs that only Google can read."""
_CALLING: Final = "functionCallingConfig"
_URL_SAFE: Final = str.maketrans("-_", "+/")


def parse_request(body: Mapping[str, Any], model: str, stream: bool) -> Request:
    """*body* of generateContent, or of streamGenerateContent (*stream*), for *model*.

    Raises:
        BadRequest: a field is missing or has the wrong type; *param* is its place.
    """
    fields = _fields(body)
    for name in (*PROXY_FIELDS, "model"):
        fields.get(name)
    conversation = _Conversation()
    system = conversation.system(fields)
    messages = (*system, *conversation.messages(fields))
    native: dict[str, Any] = {}
    places: dict[str, str] = {}
    config = _object(fields, "generationConfig")
    sampling = _sampling(config, native, places) if config is not None else {}
    if config is not None and (rest := config.rest()):
        native |= paths("generationConfig", rest)
    choice = _tool_choice(fields, native)
    tools = tuple(_tools(fields))
    labels = fields.mapping("labels")
    tier = fields.text("serviceTier")
    native.update(fields.rest())
    return Request(
        dialect=DIALECT,
        model=model,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        metadata=labels,
        service_tier=_TIERS.get(tier.lower(), tier.lower()) if tier else None,
        stream=stream,
        include_usage=stream,
        native={DIALECT: native} if native else {},
        places=places,
        **sampling,
    )


def parse_count_request(body: Mapping[str, Any], model: str) -> Request:
    """A body of countTokens: the request itself, or a whole one under `generateContentRequest`.

    Raises:
        BadRequest: a field is missing or has the wrong type; *param* is its place.
    """
    inner = _fields(body).mapping("generateContentRequest")
    return parse_request(body if inner is None else inner, model, stream=False)


def unsealed(signature: Any) -> Native | None:
    """What another vendor signed and this proxy packed into a thoughtSignature; None when Google made it.

    The official SDK decodes signatures and encodes them again, with the alphabet for URLs.
    """
    return unseal(signature.translate(_URL_SAFE)) if isinstance(signature, str) else None


def _fields(value: Mapping[str, Any], place: str = "") -> Fields:
    if any("_" in key for key in value):
        value = {camel(key): item for key, item in value.items()}
    return Fields(value, place)


def _object(fields: Fields, key: str) -> Fields | None:
    value = fields.mapping(key)
    return None if value is None else _fields(value, fields.at(key))


def _objects(fields: Fields, key: str) -> list[Fields]:
    """An array of objects; a lone object counts as an array of one, as it does for Google."""
    if isinstance(fields.get(key), dict):
        return [_fields(fields.value[key], f"{fields.at(key)}[0]")]
    return [_fields(item.value, item.place) for item in fields.objects(key)]


# --- generationConfig ------------------------------------------------------------------------------


def _sampling(config: Fields, native: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
    """The fields of Request that generationConfig says; what is Gemini's alone goes to *native*."""
    modalities = config.texts("responseModalities")
    return {
        "temperature": config.number("temperature"),
        "top_p": config.number("topP"),
        "top_k": config.integer("topK"),
        "n": config.integer("candidateCount", 1),
        "max_output_tokens": config.integer("maxOutputTokens", 0),
        "stop": tuple(config.texts("stopSequences") or ()),
        "presence_penalty": config.number("presencePenalty"),
        "frequency_penalty": config.number("frequencyPenalty"),
        "seed": config.integer("seed"),
        "logprobs": config.flag("responseLogprobs"),
        "top_logprobs": config.integer("logprobs", 0),
        "modalities": None if modalities is None else tuple(_MODALITIES.get(word.upper(), word) for word in modalities),
        "reasoning": _reasoning(config),
        "output": _output(config, native, places),
    }


def _reasoning(config: Fields) -> Reasoning | None:
    """thinkingConfig. Of a level and a budget the level counts; a budget of -1 leaves it to the model."""
    thinking = _object(config, "thinkingConfig")
    if thinking is None:
        return None
    level, budget = thinking.text("thinkingLevel"), thinking.integer("thinkingBudget")
    visible = thinking.flag("includeThoughts")
    own = thinking.rest()
    effort: Any = level.lower() if level else None
    if effort == "thinking_level_unspecified":
        effort = None
    if effort is not None and effort not in _EFFORTS:
        own["thinkingLevel"], effort = level, None
    if effort is not None and budget is not None:
        own["thinkingBudget"], budget = budget, None
    if effort is None and budget is None and visible is None and not own:
        return None
    return Reasoning(effort, budget, visible, {DIALECT: own} if own else {})


def _output(config: Fields, native: dict[str, Any], places: dict[str, str]) -> OutputFormat | None:
    kind = config.text("responseMimeType")
    schemas: tuple[SchemaField, ...] = ("responseJsonSchema", "responseSchema")
    found: dict[str, Any] = {name: schema for name in schemas if (schema := config.mapping(name)) is not None}
    if kind not in (None, "application/json", "text/plain"):
        # `text/x.enum` and what may come: no other vendor has it.
        native |= paths("generationConfig", {"responseMimeType": kind, **found})
        return None
    for name in schemas:
        if name in found and kind != "text/plain":
            places |= {"output": config.at(name), "output.schema": config.at(name)}
            return OutputFormat("json_schema", written(name, found[name]))
    if kind != "application/json":
        return None
    places["output"] = config.at("responseMimeType")
    return OutputFormat("json_object")


# --- tools -----------------------------------------------------------------------------------------


def _tools(fields: Fields) -> Iterator[Tool]:
    """Functions, and each of Google's own tools by its field's name."""
    for entry in _objects(fields, "tools"):
        for declaration in _objects(entry, DECLARATIONS):
            yield _function(declaration)
        for name, definition in entry.rest().items():
            yield Tool(name, kind="native", native={DIALECT: {name: definition}}, place=entry.at(name))


def _function(declaration: Fields) -> Tool:
    name, description = declaration.needed_text("name"), declaration.text("description")
    parameters = None
    fields: tuple[SchemaField, ...] = ("parametersJsonSchema", "parameters")
    for field_name in fields:
        schema = declaration.mapping(field_name)
        if schema is not None and parameters is None:
            parameters = written(field_name, schema)
    native = _kept(paths(DECLARATIONS, declaration.rest()))
    return Tool(name, description, parameters, native=native, place=declaration.place)


def _tool_choice(fields: Fields, native: dict[str, Any]) -> ToolChoice | None:
    config = _object(fields, "toolConfig")
    if config is None:
        return None
    native |= paths("toolConfig", {name: value for name, value in config.rest().items() if name != _CALLING})
    calling = _object(config, _CALLING)
    if calling is None:
        return None
    mode, names = (calling.text("mode") or "").upper(), tuple(calling.texts("allowedFunctionNames") or ())
    choice = _choice(mode, names)
    if choice is None and mode not in ("", "MODE_UNSPECIFIED"):
        # VALIDATED lets the model choose, as other vendors do unasked, but holds it to the schema.
        native[f"toolConfig.{_CALLING}.mode"] = mode
    if choice is None and names:
        native[f"toolConfig.{_CALLING}.allowedFunctionNames"] = list(names)
    native |= paths(f"toolConfig.{_CALLING}", calling.rest())
    return choice


def _choice(mode: str, names: tuple[str, ...]) -> ToolChoice | None:
    match mode:
        case "ANY" if len(names) == 1:
            return ToolChoice("named", names)
        case "ANY" if names:
            return ToolChoice("allowed", names, "required")
        case "ANY":
            return ToolChoice("required")
        case "NONE":
            return ToolChoice("none")
        case "AUTO" | "VALIDATED" if names:
            return ToolChoice("allowed", names)
        case "AUTO":
            return ToolChoice("auto")
        case _:
            return None


# --- contents --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Conversation:
    """Reads contents in order; remembers the calls that have no result yet."""

    ids: set[str] = field(default_factory=set)
    waiting: list[tuple[str, str, bool]] = field(default_factory=list)
    """(id, name, whether the client gave the id) of each call without a result, in order."""

    def system(self, fields: Fields) -> tuple[Message, ...]:
        """`systemInstruction`, a content whose role says nothing."""
        value = fields.get("systemInstruction")
        if isinstance(value, str):
            place = "systemInstruction"
            return (Message("system", (Text(value, place=place),), place=place),) if value else ()
        content = _object(fields, "systemInstruction")
        if content is None:
            return ()
        content.text("role")
        parts = tuple(self._parts(content))
        return (Message("system", parts, native=_kept(content.rest()), place=content.place),) if parts else ()

    def messages(self, fields: Fields) -> tuple[Message, ...]:
        """`contents`, of which a mixed one becomes a `tool` message and a `user` message."""
        found: list[Message] = []
        contents = _objects(fields, "contents")
        if not contents:
            raise fields.wrong("contents", "an array of contents")
        for content in contents:
            role = content.text("role") or "user"
            if role not in ("user", "model", "function", "tool"):
                raise content.wrong("role", "user or model")
            parts = self._parts(content)
            native = _kept(content.rest())
            if role == "model":
                before = found.pop() if found and found[-1].role == "assistant" and not native else None
                told = _joined([*(before.parts if before else ()), *parts])
                if told or before:
                    place = before.place if before else content.place
                    found.append(Message("assistant", told, native=before.native if before else native, place=place))
                continue
            results = tuple(part for part in parts if isinstance(part, ToolResult))
            rest = tuple(part for part in parts if not isinstance(part, ToolResult))
            if results:
                found.append(Message("tool", results, native={} if rest else native, place=content.place))
            if rest:
                found.append(Message("user", rest, native=native, place=content.place))
        return tuple(found)

    def _parts(self, content: Fields) -> list[Part]:
        items = content.get("parts")
        if isinstance(items, list) and all(map(_is_plain, items)):
            place = content.at("parts")
            return [Text(item["text"], place=f"{place}[{at}]") for at, item in enumerate(items)]
        return [self._part(part) for part in _objects(content, "parts")]

    def _part(self, part: Fields) -> Part:
        native = _signature(part)
        if (opaque := _sealed_opaque(native, part.place)) is not None:
            return opaque
        thought = bool(part.flag("thought"))
        if (call := _object(part, "functionCall")) is not None:
            return self._call(part, call, native)
        if (response := _object(part, "functionResponse")) is not None:
            return self._result(part, response, native)
        blob = None if thought else _object(part, "inlineData")
        if blob is not None:
            return _media(_inline(blob), _own(part, native, inlineData=blob.rest()), part.place)
        file = None if thought else _object(part, "fileData")
        if file is not None:
            return _media(_file(file), _own(part, native, fileData=file.rest()), part.place)
        named = [name for name in part.rest() if name not in _SIDE_FIELDS and not name.endswith("Metadata")]
        if named and named != ["text"]:
            block = {key: value for key, value in part.value.items() if value is not None}
            return Opaque(DIALECT, named[0], block, part.place)
        text = part.text("text")
        if text is None and not native:
            raise BadRequest(f"{part.place}: expected text, inlineData, functionCall or another kind of part, "
                             "found none", part.place, "missing_required_parameter")  # fmt: skip
        if thought:
            # Google's own even when it is not signed, and so its renderer sends it back.
            return Thinking(text or "", _own(part, native or {DIALECT: {}}), part.place)
        return Text(text or "", native=_own(part, native), place=part.place)

    def _call(self, part: Fields, call: Fields, native: Native) -> ToolCall:
        name, args = call.needed_text("name"), dumps_text(call.mapping("args") or {})
        given = call.text("id")
        call_id = given or self._new_id(name, args)
        self.ids.add(call_id)
        self.waiting.append((call_id, name, bool(given)))
        return ToolCall(call_id, name, args, native=_own(part, native, functionCall=call.rest()), place=part.place)

    def _new_id(self, name: str, args: str) -> str:
        digest = hashlib.sha256(dumps([len(self.ids), name, args])).hexdigest()
        return f"call_{digest[:24]}"

    def _result(self, part: Fields, response: Fields, native: Native) -> ToolResult:
        name, told = response.needed_text("name"), response.mapping("response")
        given = response.text("id")
        call_id, function = self._answered(given, name)
        texts, is_error = _told(told or {})
        media = [self._part(inner) for inner in _objects(response, "parts")]
        rest = response.rest()
        if function != name:
            rest["name"] = name
        own = _own(part, native, functionResponse=rest)
        said = (Text(text, place=response.at("response")) for text in texts)
        return ToolResult(call_id, (*said, *media), is_error, function, own, part.place)

    def _answered(self, given: str | None, name: str) -> tuple[str, str]:
        """(id, name) of the call that a result belongs to: its own, else the first of that name without a result."""
        fits = [call for call in self.waiting if call[0] == given]
        if not fits:
            fits = [call for call in self.waiting if call[1] == name and not (given and call[2])]
        if not fits:
            return given or self._new_id(name, ""), name
        self.waiting.remove(fits[0])
        return fits[0][:2]


def _is_plain(part: Any) -> bool:
    """Whether *part* is text and nothing else: nearly all are."""
    return isinstance(part, dict) and len(part) == 1 and isinstance(part.get("text"), str)


def _kept(own: Mapping[str, Any]) -> Native:
    return {DIALECT: own} if own else {}


def _signature(part: Fields) -> Native:
    """thoughtSignature: Google's as it is, the proxy's own unpacked."""
    signature = part.text("thoughtSignature")
    if not signature:
        return {}
    packed = unsealed(signature)
    return {DIALECT: {"thoughtSignature": signature}} if packed is None else packed


def _sealed_opaque(native: Native, place: str) -> Opaque | None:
    """Another vendor's block, which travels as a thought without words."""
    for dialect, own in native.items():
        if isinstance(block := own.get("opaque"), dict):
            return Opaque(dialect, str(own.get("type", "")), block, place)
    return None


def _own(part: Fields, native: Native, **inner: Mapping[str, Any]) -> Native:
    """*native* with the unknown fields of *part*, and of the object *inner* in it."""
    own = part.rest()
    for name, rest in inner.items():
        own |= paths(name, rest)
    return {**native, DIALECT: {**native.get(DIALECT, {}), **own}} if own else native


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """*parts* of the model with the pieces of one text, or of one thought, put together.

    An empty text brings the signature of what stands before it, whichever of the two that is.
    """
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if (
            isinstance(part, Text | Thinking)
            and isinstance(last, Text | Thinking)
            and not any(last.native.values())
            and (type(last) is type(part) or not part.text)
        ):
            joined[-1] = replace(last, text=last.text + part.text, native=part.native or last.native)
        elif not (isinstance(part, Text) and not part.text and not part.native):
            joined.append(part)
    return tuple(joined)


def _told(response: Mapping[str, Any]) -> tuple[list[str], bool]:
    """(texts, whether they tell an error) of a function's response.

    Google's words for a text are `output` and `error`. Whatever else it is stays one JSON object as text, and so does
    a text that could be taken for one.
    """
    if len(response) == 1:
        key, value = next(iter(response.items()))
        texts = value if key == "output" and isinstance(value, list) and len(value) > 1 else [value]
        if key in ("output", "error") and all(_is_words(text) for text in texts):
            return texts, key == "error"
    is_error = bool(response.get("error")) and "output" not in response
    return [dumps_text(response)], is_error


def _is_words(value: Any) -> bool:
    return isinstance(value, str) and not value.lstrip().startswith("{")


# --- media -----------------------------------------------------------------------------------------


def _inline(blob: Fields) -> Source:
    data, kind = blob.needed_text("data"), blob.text("mimeType") or "application/octet-stream"
    if "-" in data or "_" in data:
        # Google takes the alphabet for URLs too; other vendors do not.
        data = data.translate(_URL_SAFE)
    return Source(kind, data + "=" * (-len(data) % 4))


def _file(file: Fields) -> Source:
    uri, kind = file.needed_text("fileUri"), file.text("mimeType")
    if uri.startswith(_FILES):
        return Source(kind, file_id=uri, vendor=DIALECT)
    return Source(kind, url=uri)


def _media(source: Source, native: Native, place: str) -> Image | Audio | Document:
    match (source.media_type or "").partition("/")[0]:
        case "image":
            return Image(source, native=native, place=place)
        case "audio":
            return Audio(source, native=native, place=place)
        case _:
            return Document(source, native=native, place=place)
