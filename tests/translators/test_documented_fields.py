"""Nothing is lost in silence: every documented field of every request type reaches the target or is named.

The fields come from the installed SDKs' own types, so a new version of an SDK that documents a new field fails here
until somebody has decided what becomes of it. A field counts as named when a loss or a refusal says its place or the
place of something that it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from typing import Any, Final, Literal, Required, TypedDict

import pytest
from anthropic.types import message_create_params as anthropic_messages
from anthropic.types.beta import message_create_params as anthropic_beta
from google.genai import Client
from google.genai import _common as gemini_common
from google.genai import models as gemini_models
from google.genai import types as gemini_types
from openai.types import completion_create_params as openai_text
from openai.types import embedding_create_params as openai_embeddings
from openai.types.chat import completion_create_params as openai_chat
from openai.types.responses import response_create_params as openai_responses

from tests.translators.documented import DATA, MARK, Leaf, Walk, changes
from translators import embeddings
from translators.codec import dumps, loads
from translators.custom_tools import as_functions, custom_names
from translators.dialect import Rules
from translators.dialects import BACKENDS
from translators.errors import BadRequest
from translators.losses import Loss, client_field
from translators.neutral import Request
from translators.outward import for_others
from translators.wishes import real_wishes

URL: Final = f"https://{MARK}.test/a.png"
SCHEMA: Final = {"type": "object", "properties": {MARK: {"type": "string"}}, "required": [MARK]}
FUNCTION: Final = {"type": "object", "properties": {"a": {"type": "string"}}}
ARGUMENTS: Final = f'{{"a":"{MARK}"}}'

IDLE: Final[Mapping[str, Mapping[str, str]]] = {
    "openai_chat": {
        "model": "the route decides which model is asked",
        "stream": "how the answer travels is between the client and the proxy",
        "stream_options.include_usage": "the proxy reports usage itself, from whatever the vendor tells",
        "logprobs=False": "the default",
        "messages.content.image_url.detail=auto": "the default",
        "modalities=text": "every target answers in text",
        "parallel_tool_calls=True": "the default",
        "response_format.json_schema.name -> llamacpp": "a label; a grammar has no words",
        "response_format.json_schema.strict": "targets hold to a schema as well as they can; what they cannot is told",
        "response_format.type=text": "the default",
        "service_tier=auto": "the default",
        "service_tier=default": "the only one where there are no tiers",
        "store=False": "what other vendors do anyway",
        "tool_choice=auto": "the default",
        "function_call=auto": "the default",
        "tools.function.strict=False": "the default",
        "verbosity=medium": "the default",
    },
    "openai_text": {
        "model": "the route decides which model is asked",
        "stream": "how the answer travels is between the client and the proxy",
        "stream_options.include_usage": "the proxy reports usage itself, from whatever the vendor tells",
        "echo": "the proxy puts the prompt before the answer itself",
    },
    "anthropic": {
        "model": "the route decides which model is asked",
        "stream": "how the answer travels is between the client and the proxy",
        "messages.content.is_error=False": "the default",
        "service_tier=auto": "the default",
        "tool_choice.disable_parallel_tool_use=False": "the default",
        "tools.strict=False": "the default",
        "tools.type=custom": "the default",
        "thinking.type=disabled": "the default",
        "thinking.display=omitted -> openai_responses": "a summary comes only where one is asked for",
        "thinking.display=summarized -> gemini": "asked for with the thinking itself",
        "service_tier=standard_only -> llamacpp": "the only one where there are no tiers",
    },
    "openai_responses": {
        "model": "the route decides which model is asked",
        "stream": "how the answer travels is between the client and the proxy",
        "input.type=message": "the default",
        "input.status": "what an item has become, told by the vendor and not asked by the client",
        "input.id": "an item's name within OpenAI's own store",
        "parallel_tool_calls=True": "the default",
        "service_tier=auto": "the default",
        "service_tier=default": "the only one where there are no tiers",
        "text.format.name -> llamacpp": "a label; a grammar has no words",
        "text.format.strict": "targets hold to a schema as well as they can; what they cannot is told",
        "text.format.type=text": "the default",
        "text.verbosity=medium": "the default",
        "tool_choice=auto": "the default",
        "tools.strict=False": "the default",
        "truncation=disabled": "what other vendors do anyway",
        "background=False": "the default",
        "store": "the proxy keeps answers itself",
        "include=reasoning.encrypted_content": "answers have it anyway, sealed where another vendor made it",
        "stream_options.include_obfuscation=False": "nothing is obfuscated",
        "previous_response_id": "the proxy puts the earlier turns into the request itself",
    },
    "embeddings": {
        "model": "the route decides which model is asked",
        "encoding_format": "the proxy writes the answer in either form",
    },
    "gemini": {
        "model": "the route decides which model is asked",
        "serviceTier=unspecified": "the default",
        "serviceTier=standard": "the only one where there are no tiers",
        "systemInstruction.role": "Gemini itself does not read it",
        "generationConfig.responseLogprobs=False": "the default",
        "generationConfig.thinkingConfig.include_thoughts=False": "the default",
        "contents.parts.thought=False": "the default",
        "toolConfig.functionCallingConfig.mode=AUTO": "the default",
        "generationConfig.responseSchema.property_ordering": "the order of the properties says it",
        "tools.functionDeclarations.parameters.property_ordering": "the order of the properties says it",
        "tools.functionDeclarations.parameters.nullable": "beside no type every value fits, null too",
        "generationConfig.responseSchema.title -> llamacpp": "a label",
    },
}
"""Client dialect -> field or field=value, alone or for one target, that needs neither a place nor a loss -> why."""


class NotWire(Exception):
    """The SDK itself does not send this field."""


@dataclass(frozen=True, slots=True)
class Row:
    """One documented request type and the client dialect that reads it."""

    name: str
    dialect: str
    kind: Any
    walk: Walk
    parse: Callable[[Any], Any]
    body: Callable[[Any, str], dict[str, Any]] = lambda walked, _place: dict(walked)
    """The walked object as the body of a request, given the place of the field that is looked at."""
    targets: tuple[str, ...] = tuple(BACKENDS)
    endpoint: Literal["messages", "embeddings"] = "messages"

    def __str__(self) -> str:
        return self.name


# --- the rows ------------------------------------------------------------------------------------

_COMMON: Final = {"parameters": SCHEMA, "schema": SCHEMA, "arguments": ARGUMENTS}

_PLAIN: Final = {"function.parameters": FUNCTION, "schema": FUNCTION}


def _chat_body(body: dict[str, Any], place: str) -> dict[str, Any]:
    """With the tool that choices name and the call that results answer."""
    function = {"name": "f", "parameters": FUNCTION}
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = list(body.get("messages", ()))
    match messages:
        case [{"role": "tool" | "function"}]:
            messages = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}, *messages]
        case [{"role": "assistant", "tool_calls": [{"id": call_id}]}]:
            messages.append({"role": "tool", "tool_call_id": call_id, "content": "x"})
        case [{"role": "assistant", "function_call": {"name": name}}]:
            messages.append({"role": "function", "name": name, "content": "x"})
        case [{"role": "assistant" | "system" | "developer"}]:
            messages.append({"role": "user", "content": "x"})
    old = place.startswith("function")
    tools = {"functions": [function]} if old else {"tools": [{"type": "function", "function": function}]}
    return {**tools, **body, "messages": messages}


def _parse(module: str, *more: Any) -> Callable[[Any], Request]:
    def parse(body: dict[str, Any]) -> Request:
        request: Request = import_module(module).parse_request(body, *more)
        return request

    return parse


_ASSISTANT_BLOCKS: Final = ("tool_use", "thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use", "fallback")


def _anthropic_body(body: dict[str, Any], _place: str) -> dict[str, Any]:
    """With the call that a result answers, each block in a message of the role that may hold it."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    tool = {"name": "f", "input_schema": FUNCTION}
    user = {"role": "user", "content": "x"}
    messages = list(body.get("messages", ()))
    match messages:
        case [{"content": [{"type": "tool_result"}]}]:
            messages = [user, {"role": "assistant", "content": [call]}, *messages]
        case [{"content": [{"type": "tool_use", "id": call_id} as block]}]:
            result = {"type": "tool_result", "tool_use_id": call_id, "content": "x"}
            messages = [{"role": "assistant", "content": [block]}, {"role": "user", "content": [result]}]
        case [{"content": [{"type": kind}]} as message] if kind in _ASSISTANT_BLOCKS or kind.endswith("_tool_result"):
            messages = [{**message, "role": "assistant"}, user]
        case [{"role": "assistant" | "system"}]:
            messages.append(user)
    return {"tools": [tool], **body, "messages": messages}


def _responses_body(body: dict[str, Any], _place: str) -> dict[str, Any]:
    """With the call that an output answers."""
    tool = {"type": "function", "name": "f", "parameters": FUNCTION, "strict": False}
    items = body.get("input", "x")
    match items:
        case [{"type": "function_call_output"}]:
            items = [{"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}, *items]
        case [{"type": "custom_tool_call_output"}]:
            items = [{"type": "custom_tool_call", "call_id": "call_1", "name": "f", "input": ""}, *items]
        case [{"type": "function_call", "call_id": call_id}]:
            items = [*items, {"type": "function_call_output", "call_id": call_id, "output": "x"}]
    if isinstance(items, list):
        items = [*items, {"role": "user", "content": "x"}]
    return {"tools": [tool], **body, "input": items}


class _GeminiCall(TypedDict, total=False):
    """The arguments of generate_content that make up its body."""

    contents: Required[list[gemini_types.Content]]
    config: gemini_types.GenerateContentConfig


@cache
def _gemini_client() -> Any:
    return Client(api_key="none")._api_client


def _gemini_body(call: dict[str, Any], _place: str) -> dict[str, Any]:
    """The body that the SDK itself makes."""
    config = {"tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": FUNCTION}]}]}
    contents = list(call["contents"])
    match contents:
        case [{"parts": [{"function_response": _}]}]:
            part = {"function_call": {"id": "call_1", "name": "f", "args": {}}}
            contents = [{"role": "model", "parts": [part]}, *contents]
        case [{"parts": [{"function_call": {"name": name, **rest}} as part]}]:
            answer = {"name": name, "id": rest.get("id"), "response": {"output": "x"}}
            contents = [
                {"role": "model", "parts": [part]},
                {"role": "user", "parts": [{"function_response": answer}]},
            ]
    try:
        parameters = gemini_types._GenerateContentParameters(
            model="m", contents=contents, config={**config, **call.get("config", {})}
        )
        wire = gemini_models._GenerateContentParameters_to_mldev(_gemini_client(), parameters)
    except ValueError as error:
        raise NotWire(str(error)) from error
    wire.pop("_url", None)
    wire.pop("config", None)
    body: dict[str, Any] = gemini_common.encode_unserializable_types(gemini_common.convert_to_dict(wire))
    return body


_ANTHROPIC_WALK: Final = Walk(
    given={
        **_COMMON,
        "url": URL,
        "data": DATA,
        "temperature": 0.3719,
        "top_p": 0.3719,
        "input_schema": SCHEMA,
        "tool_use.input": {"a": MARK},
    },
    minimal={
        "model": "m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "x"}],
        "messages.role": "user",
        "tool_use_id": "toolu_1",
        "input_schema": FUNCTION,
        "tool_choice.name": "f",
        "source.data": "QUFB",
        "url": "https://a.test/b.png",
        "schema": FUNCTION,
    },
)

ROWS: Final = [
    Row(
        "openai chat completions",
        "openai_chat",
        openai_chat.CompletionCreateParamsNonStreaming,
        Walk(
            given={
                **_COMMON,
                "image_url.url": URL,
                "input_audio.data": DATA,
                "file.file_data": f"data:application/pdf;base64,{DATA}",
                "temperature": 0.3719,
                "top_p": 0.3719,
                "n": 7,
                "top_logprobs": 7,
                "logit_bias": {"4217": 7},
                "audio.id": MARK,
            },
            minimal={
                **_PLAIN,
                "messages": [{"role": "user", "content": "x"}],
                "file.file_data": "data:application/pdf;base64,QUFB",
                "function_call.name": "f",
                "tool_call_id": "call_1",
                "messages.name": "f",
                "tool_calls.id": "call_1",
                "tool_calls.function.arguments": "{}",
                "tool_calls.function.name": "f",
                "tool_choice.function.name": "f",
                "image_url.url": "https://a.test/b.png",
                "input_audio.data": "QUFB",
            },
        ),
        _parse("translators.openai_chat"),
        body=_chat_body,
    ),
    Row(
        "openai completions",
        "openai_text",
        openai_text.CompletionCreateParamsNonStreaming,
        Walk(given={"temperature": 0.3719, "top_p": 0.3719, "n": 7, "best_of": 7, "logprobs": 3}, minimal={}),
        _parse("translators.openai_text"),
    ),
    Row(
        "anthropic messages",
        "anthropic",
        anthropic_messages.MessageCreateParamsNonStreaming,
        _ANTHROPIC_WALK,
        _parse("translators.anthropic.client"),
        _anthropic_body,
    ),
    Row(
        "anthropic beta messages",
        "anthropic",
        anthropic_beta.MessageCreateParamsNonStreaming,
        _ANTHROPIC_WALK,
        _parse("translators.anthropic.client"),
        _anthropic_body,
    ),
    Row(
        "openai responses",
        "openai_responses",
        openai_responses.ResponseCreateParamsNonStreaming,
        Walk(
            given={
                **_COMMON,
                "image_url": URL,
                "file_data": f"data:application/pdf;base64,{DATA}",
                "file_url": URL,
                "temperature": 0.3719,
                "top_p": 0.3719,
                "top_logprobs": 7,
            },
            minimal={
                **_PLAIN,
                "input": "x",
                "model": "m",
                "call_id": "call_1",
                "tool_choice.name": "f",
                "arguments": "{}",
            },
        ),
        _parse("translators.openai_responses.client"),
        _responses_body,
    ),
    Row(
        "gemini generateContent",
        "gemini",
        _GeminiCall,
        Walk(
            given={
                "parameters_json_schema": SCHEMA,
                "response_json_schema": SCHEMA,
                "file_uri": URL,
                "mime_type": "image/png",
                "temperature": 0.3719,
                "top_p": 0.3719,
                "candidate_count": 7,
                "config.logprobs": 7,
                "contents.role": "user",
            },
            minimal={
                "contents.role": "user",
                "parts.function_response.name": "f",
                "parts.function_response.id": "call_1",
                "parts.function_response.response": {},
                "parts.function_call.name": "f",
                "mime_type": "image/png",
                "function_declarations.name": "f",
                "contents": [{"role": "user", "parts": [{"text": "x"}]}],
            },
            skipped=("http_options", "should_return_http_response", "automatic_function_calling"),
            kinds={
                "config.tools": list[gemini_types.Tool],
                "config.system_instruction": gemini_types.Content,
                "config.response_schema": gemini_types.Schema,
                "config.speech_config": gemini_types.SpeechConfig,
            },
        ),
        _parse("translators.gemini.client", "m", False),
        _gemini_body,
    ),
    Row(
        "openai embeddings",
        "embeddings",
        openai_embeddings.EmbeddingCreateParams,
        Walk(given={"dimensions": 37}, minimal={"model": "m", "input": "x"}),
        embeddings.parse_request,
        targets=tuple(embeddings.EMBEDDERS),
        endpoint="embeddings",
    ),
]


# --- what becomes of a field ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """A request as the target would get it, or what was refused in it."""

    body: dict[str, Any] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    """Places that losses or the refusal name."""
    words: str = ""
    """What the refusal says."""


def asked(row: Row, body: dict[str, Any], target: str) -> Outcome:
    """*body* on its way to *target*, as `proxy.prepare` goes it."""
    dialect = BACKENDS[target]
    outward: list[Loss] = []
    try:
        request = row.parse(body)
        if request.dialect != target:
            request, outward = for_others(real_wishes(request))
        fan_out = not dialect.TAKES_N and (request.n or 1) > 1
        custom = frozenset() if dialect.TAKES_CUSTOM_TOOLS else custom_names(request)
        request, custom_losses = as_functions(request) if custom else (request, [])
        rendered = dialect.render_request(replace(request, model="m", n=None if fan_out else request.n), Rules(target))
    except BadRequest as error:
        return Outcome(named=(error.param,) if error.param else (), words=error.message)
    named = [loss.field for loss in (*outward, *custom_losses, *rendered.losses)]
    return Outcome(rendered.body, (*named, *((client_field(request.dialect, "n"),) if fan_out else ())))


def embedded(row: Row, body: dict[str, Any], target: str) -> Outcome:
    """*body*, which asks for embeddings, on its way to *target*."""
    try:
        rendered = embeddings.EMBEDDERS[target].render(row.parse(body), embeddings.EmbeddingRules(), "m")
    except BadRequest as error:
        return Outcome(named=(error.param,) if error.param else (), words=error.message)
    calls = [call.body for call in rendered.calls]
    return Outcome({"calls": calls}, tuple(loss.field for loss in rendered.losses))


@cache
def _remembered(row_name: str, written: bytes, target: str) -> Outcome:
    row = next(row for row in ROWS if row.name == row_name)
    render = embedded if row.endpoint == "embeddings" else asked
    return render(row, loads(written), target)


def _parts(place: str) -> list[str]:
    return re.sub(r"\[\d+\]", "", place).split(".")


def _steps(place: str) -> list[str]:
    """The parts of *place*, `max_items` and `maxItems` alike."""
    return [part.replace("_", "").lower() for part in _parts(place)]


def _names(said: str, place: str) -> bool:
    """Whether *said* is *place*, or what it stands in or holds, or its name with fewer steps before it."""
    short, long = _steps(said), _steps(place)
    shared = min(len(short), len(long))
    if short[:shared] == long[:shared]:
        return True
    steps = iter(long)
    return short[-1] == long[-1] and all(step in steps for step in short)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, str):
        yield value


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _arrives(leaf: Leaf, told: list[tuple[str, Any]], outcome: Outcome, base: Outcome) -> bool:
    match leaf.kind:
        case "text":
            found = "\n".join(_strings(outcome.body))
            marks = {mark for _, value in told for text in _strings(value) for mark in (MARK, DATA) if mark in text}
            return all(mark in found for mark in marks) and outcome.body != base.body
        case "number":
            numbers = set(_numbers(outcome.body))
            return any(number in numbers for _, value in told for number in _numbers([value]))
        case "choice":
            return outcome.body != base.body


def _refused(place: str, outcome: Outcome, base: Outcome) -> bool:
    """Whether the refusal is this field's: without it nothing was refused, or what was is what it stands in."""
    if not outcome.words:
        return False
    return not base.words or any(_parts(said)[:1] == _parts(place)[:1] for said in outcome.named)


def _is_idle(idle: Mapping[str, str], plain: str, value: Any, target: str = "") -> bool:
    towards = f" -> {target}" if target else ""
    return f"{plain}{towards}" in idle or f"{plain}={value}{towards}" in idle


def _named(place: str, outcome: Outcome) -> bool:
    return any(_names(said, place) for said in outcome.named)


@dataclass(frozen=True, slots=True)
class Case:
    """A request with one field set, and the same without it."""

    place: str
    leaf: Leaf
    told: list[tuple[str, Any]]
    body: bytes
    without: bytes


@cache
def _cases(name: str) -> tuple[Case, ...]:
    """One case for each documented field of a row, without those that an earlier row of its dialect has."""
    row = next(row for row in ROWS if row.name == name)
    seen: set[tuple[str, bytes]] = set()
    for earlier in ROWS[: ROWS.index(row)]:
        if earlier.dialect == row.dialect:
            seen |= {(case.place, case.body) for case in _cases(earlier.name)}
    return tuple(_new_cases(row, seen))


def _new_cases(row: Row, seen: set[tuple[str, bytes]]) -> Iterator[Case]:
    idle = IDLE.get(row.dialect, {})
    for leaf in row.walk.leaves(row.kind):
        try:
            body, without = row.body(leaf.make(leaf.value), leaf.place), row.body(leaf.make(leaf.small), leaf.place)
        except NotWire:
            continue
        told = list(changes(without, body))
        if not told or _is_idle(idle, ".".join(_parts(told[0][0])), leaf.value):
            continue
        written = dumps(body)
        if (told[0][0], written) not in seen:
            seen.add((told[0][0], written))
            yield Case(told[0][0], leaf, told, written, dumps(without))


def silent(row: Row, target: str) -> Iterator[str]:
    """Every field of *row* that reaches neither *target* nor the losses."""
    idle = IDLE.get(row.dialect, {})
    for case in _cases(row.name):
        if _is_idle(idle, ".".join(_parts(case.place)), case.leaf.value, target):
            continue
        outcome = _remembered(row.name, case.body, target)
        base = _remembered(row.name, case.without, target)
        if _refused(case.place, outcome, base) or _named(case.place, outcome):
            continue
        if not outcome.body or not _arrives(case.leaf, case.told, outcome, base):
            yield f"{case.place} = {case.leaf.value!r}{f' ({outcome.words})' if outcome.words else ''}"


def _lost(row: Row, target: str) -> dict[str, str]:
    """Each lost field, without positions -> its first case."""
    lost: dict[str, str] = {}
    for said in silent(row, target):
        lost.setdefault(".".join(_parts(said.partition(" = ")[0])), said)
    return lost


@pytest.mark.parametrize(("row", "target"), [(row, target) for row in ROWS for target in row.targets], ids=str)
def test_every_documented_field_arrives_or_is_named(row: Row, target: str) -> None:
    lost = _lost(row, target)

    assert not lost, f"{row.name} -> {target}: neither in the request nor in the losses:\n" + "\n".join(lost.values())


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_row_has_fields(row: Row) -> None:
    assert _cases(row.name)
