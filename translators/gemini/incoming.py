"""A client's generateContent request, read into the neutral form; its contents are read by `conversation`.

Google takes camelCase and snake_case alike, and the SDKs differ: both are read everywhere, places in errors are
camelCase. What only Gemini has is kept where it stood, in `native["gemini"]`. Model and stream flag stand in the URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, get_args

from translators.fields import PROXY_FIELDS, Fields
from translators.gemini.conversation import Conversation
from translators.gemini.merging import paths
from translators.gemini.reading import DIALECT, fields_of, kept, object_at, objects_at, raw_objects_at
from translators.gemini.schema import written
from translators.neutral import Effort, OutputFormat, Reasoning, Request, Tool, ToolChoice
from translators.toolbox import read_tools
from translators.written import SchemaField

DECLARATIONS: Final = "functionDeclarations"
_EFFORTS: Final = frozenset(get_args(Effort))
_TIERS: Final = {"standard": "default", "unspecified": "auto"}
_MODALITIES: Final = {word.upper(): word for word in ("text", "image", "audio", "video")}
_CALLING: Final = "functionCallingConfig"
_KNOWN: Final = frozenset(
    {"systemInstruction", "contents", "generationConfig", "toolConfig", "tools", "labels", "serviceTier"}
    | {*PROXY_FIELDS, "model"}
)
_OUTPUT: Final = ("responseMimeType", "responseJsonSchema", "responseSchema")
_SCHEMAS: Final[tuple[SchemaField, ...]] = ("responseJsonSchema", "responseSchema")
_PLAIN_FUNCTION: Final = ("name", "description", "parametersJsonSchema")
_PARAMETERS: Final[tuple[SchemaField, ...]] = ("parametersJsonSchema", "parameters")


def parse_request(body: Mapping[str, Any], model: str, stream: bool) -> Request:
    """*body* of generateContent, or of streamGenerateContent (*stream*), for *model*.

    Raises:
        BadRequest: a field is missing or has the wrong type; *param* is its place.
    """
    fields = fields_of(body)
    conversation = Conversation()
    system = conversation.system(fields)
    messages = (*system, *conversation.messages(fields))
    native: dict[str, Any] = {}
    places: dict[str, str] = {}
    config = object_at(fields, "generationConfig")
    sampling = _sampling(config, native, places) if config is not None else {}
    choice = _tool_choice(fields, native) if "toolConfig" in fields.value else None
    tools = read_tools(fields, _tools)
    labels = fields.mapping("labels")
    tier = fields.text("serviceTier")
    if not _KNOWN.issuperset(fields.value):
        native |= {name: value for name, value in fields.value.items() if name not in _KNOWN and value is not None}
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
        native=kept(native),
        places=places,
        **sampling,
    )


def parse_count_request(body: Mapping[str, Any], model: str) -> Request:
    """A body of countTokens: the request itself, or a whole one under `generateContentRequest`.

    Raises:
        BadRequest: a field is missing or has the wrong type; *param* is its place.
    """
    inner = fields_of(body).mapping("generateContentRequest")
    return parse_request(body if inner is None else inner, model, stream=False)


# --- generationConfig ------------------------------------------------------------------------------


def _sampling(config: Fields, native: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
    """The fields of Request that generationConfig says; what is Gemini's alone goes to *native*."""
    said: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for key, value in config.value.items():
        if value is None or key in _OUTPUT:
            continue
        reader = _CONFIG.get(key)
        if reader is None:
            unknown[key] = value
        else:
            name, read = reader
            said[name] = read(config)
    if not config.value.keys().isdisjoint(_OUTPUT):
        said["output"] = _output(config, native, places)
    if unknown:
        native |= paths("generationConfig", unknown)
    return said


def _modalities(config: Fields) -> tuple[str, ...]:
    return tuple(_MODALITIES.get(word.upper(), word) for word in config.texts("responseModalities") or ())


def _reasoning(config: Fields) -> Reasoning | None:
    """thinkingConfig. Of a level and a budget the level counts; a budget of -1 leaves it to the model."""
    thinking = object_at(config, "thinkingConfig")
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
    return Reasoning(effort, budget, visible, kept(own))


_CONFIG: Final[Mapping[str, tuple[str, Callable[[Fields], Any]]]] = {
    "temperature": ("temperature", lambda config: config.number("temperature")),
    "topP": ("top_p", lambda config: config.number("topP")),
    "topK": ("top_k", lambda config: config.integer("topK")),
    "candidateCount": ("n", lambda config: config.integer("candidateCount", 1)),
    "maxOutputTokens": ("max_output_tokens", lambda config: config.integer("maxOutputTokens", 0)),
    "stopSequences": ("stop", lambda config: tuple(config.texts("stopSequences") or ())),
    "presencePenalty": ("presence_penalty", lambda config: config.number("presencePenalty")),
    "frequencyPenalty": ("frequency_penalty", lambda config: config.number("frequencyPenalty")),
    "seed": ("seed", lambda config: config.integer("seed")),
    "responseLogprobs": ("logprobs", lambda config: config.flag("responseLogprobs")),
    "logprobs": ("top_logprobs", lambda config: config.integer("logprobs", 0)),
    "responseModalities": ("modalities", _modalities),
    "thinkingConfig": ("reasoning", _reasoning),
}
"""Field of generationConfig -> (field of Request, how it is read)."""


def _output(config: Fields, native: dict[str, Any], places: dict[str, str]) -> OutputFormat | None:
    kind = config.text("responseMimeType")
    found: dict[str, Any] = {name: schema for name in _SCHEMAS if (schema := config.mapping(name)) is not None}
    if kind not in (None, "application/json", "text/plain"):
        # `text/x.enum` and what may come: no other vendor has it.
        native |= paths("generationConfig", {"responseMimeType": kind, **found})
        return None
    chosen = next((name for name in _SCHEMAS if name in found and kind != "text/plain"), None)
    # Google takes one schema, and none of a plain text: what else there is it has to refuse by itself.
    native |= paths("generationConfig", {name: schema for name, schema in found.items() if name != chosen})
    if chosen is not None:
        places |= {"output": config.at(chosen), "output.schema": config.at(chosen)}
        return OutputFormat("json_schema", written(chosen, found[chosen]))
    if kind != "application/json":
        return None
    places["output"] = config.at("responseMimeType")
    return OutputFormat("json_object")


# --- tools -----------------------------------------------------------------------------------------


def _tools(fields: Fields) -> Iterator[Tool]:
    """Functions, and each of Google's own tools by its field's name."""
    for entry in objects_at(fields, "tools"):
        for declaration, place in raw_objects_at(entry, DECLARATIONS):
            yield _plain_function(declaration, place) or _function(fields_of(declaration, place))
        for name, definition in entry.rest().items():
            yield Tool(name, kind="native", native={DIALECT: {name: definition}}, place=entry.at(name))


def _plain_function(declaration: Mapping[str, Any], place: str) -> Tool | None:
    """A function of name, description and JSON Schema, as most are; None of any other."""
    name, description, schema = map(declaration.get, _PLAIN_FUNCTION)
    if (
        len(declaration) != len(_PLAIN_FUNCTION)
        or not isinstance(name, str)
        or not isinstance(description, str)
        or not isinstance(schema, dict)
    ):
        return None
    return Tool(name, description, written("parametersJsonSchema", schema), place=place)


def _function(declaration: Fields) -> Tool:
    name, description = declaration.needed_text("name"), declaration.text("description")
    schemas: dict[str, Any] = {
        name: schema for name in _PARAMETERS if (schema := declaration.mapping(name)) is not None
    }
    chosen = next((name for name in _PARAMETERS if name in schemas), None)
    parameters = written(chosen, schemas.pop(chosen)) if chosen is not None else None
    rest = {**schemas, **declaration.rest()}
    native = kept(paths(DECLARATIONS, rest)) if rest else {}
    return Tool(name, description, parameters, native=native, place=declaration.place)


def _tool_choice(fields: Fields, native: dict[str, Any]) -> ToolChoice | None:
    config = object_at(fields, "toolConfig")
    if config is None:
        return None
    native |= paths("toolConfig", {name: value for name, value in config.rest().items() if name != _CALLING})
    calling = object_at(config, _CALLING)
    if calling is None:
        return None
    mode, names = (calling.text("mode") or "").upper(), tuple(calling.texts("allowedFunctionNames") or ())
    choice = _choice(mode, names)
    if mode == "VALIDATED" or (choice is None and mode not in ("", "MODE_UNSPECIFIED")):
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
