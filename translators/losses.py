"""Losses: what a target cannot express, said instead of swallowed.

A Loss is a value that a renderer returns beside the body; it never logs and never raises. It speaks the client's
language: `field_of`, `placed`, `part_field`, `tool_place` and `native_field` say what the client called a thing, and
where it wrote it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final, Literal
from urllib.parse import quote

from translators.neutral import (
    Message,
    Native,
    Part,
    Refusal,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from translators.values import value
from translators.written import WrittenSchema

LossAction = Literal["dropped", "clamped", "renamed", "emulated"]


@value(frozen=True, slots=True)
class Loss:
    """One field that did not reach the target as it was sent.

    *field* is the name in the client's dialect, with its place (`messages[2].content[0].detail`) where it has one.
    *reason* is one short clause that names the target's rule.
    """

    field: str
    action: LossAction
    reason: str


# --- fields of a request ---------------------------------------------------------------------------

_CLIENT_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "openai_chat": {
        "max_output_tokens": "max_completion_tokens",
        "reasoning": "reasoning_effort",
        "reasoning.effort": "reasoning_effort",
        "reasoning.budget_tokens": "thinking.budget_tokens",
        "reasoning.visible": "include_reasoning",
        "output": "response_format",
        "output.schema": "response_format.json_schema.schema",
        "output.strict": "response_format.json_schema.strict",
        "output.description": "response_format.json_schema.description",
        "output.name": "response_format.json_schema.name",
        "include_usage": "stream_options.include_usage",
    },
    "openai_completions": {
        "messages": "prompt",
        "max_output_tokens": "max_tokens",
        "top_logprobs": "logprobs",
        "include_usage": "stream_options.include_usage",
    },
    "openai_responses": {
        "messages": "input",
        "logprobs": "include",
        "reasoning.visible": "reasoning.summary",
        "output": "text.format",
        "output.schema": "text.format.schema",
        "output.strict": "text.format.strict",
        "output.description": "text.format.description",
        "output.name": "text.format.name",
        "verbosity": "text.verbosity",
    },
    "anthropic": {
        "max_output_tokens": "max_tokens",
        "stop": "stop_sequences",
        "reasoning": "thinking",
        "reasoning.effort": "output_config.effort",
        "reasoning.budget_tokens": "thinking.budget_tokens",
        "reasoning.visible": "thinking.display",
        "output": "output_config.format",
        "output.schema": "output_config.format.schema",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "user": "metadata.user_id",
    },
    "gemini": {
        "messages": "contents",
        "tool_choice": "toolConfig.functionCallingConfig",
        "max_output_tokens": "generationConfig.maxOutputTokens",
        "temperature": "generationConfig.temperature",
        "top_p": "generationConfig.topP",
        "top_k": "generationConfig.topK",
        "presence_penalty": "generationConfig.presencePenalty",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "seed": "generationConfig.seed",
        "stop": "generationConfig.stopSequences",
        "n": "generationConfig.candidateCount",
        "logprobs": "generationConfig.responseLogprobs",
        "top_logprobs": "generationConfig.logprobs",
        "reasoning": "generationConfig.thinkingConfig",
        "reasoning.effort": "generationConfig.thinkingConfig.thinkingLevel",
        "reasoning.budget_tokens": "generationConfig.thinkingConfig.thinkingBudget",
        "reasoning.visible": "generationConfig.thinkingConfig.includeThoughts",
        "output": "generationConfig.responseJsonSchema",
        "output.schema": "generationConfig.responseJsonSchema",
        "modalities": "generationConfig.responseModalities",
        "metadata": "labels",
        "service_tier": "serviceTier",
    },
}


def client_field(request_dialect: str, neutral_name: str) -> str:
    """What a client of *request_dialect* calls the Request field *neutral_name*; the neutral name where both agree."""
    return _CLIENT_FIELDS.get(request_dialect, {}).get(neutral_name, neutral_name)


def field_of(request: Request, neutral_name: str) -> str:
    """What the client called the field *neutral_name* in this very request (`max_tokens`, `functions`)."""
    return request.places.get(neutral_name) or client_field(request.dialect, neutral_name)


def field_of_wire(request: Request, target: str, wire: str) -> str:
    """What the client called the field that the dialect *target* calls *wire*."""
    if request.dialect == target:
        return wire
    return field_of(request, neutral_of_wire(target, wire) or wire)


_OURS: Final = frozenset({"dialect", "native", "places"})
_NEUTRAL_NAMES: Final = frozenset(item.name for item in dataclasses.fields(Request)) - _OURS
_WIRE_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    # The first of two neutral names that a dialect calls the same is the wider one.
    dialect: {word: name for name, word in reversed([*words.items()])}
    for dialect, words in _CLIENT_FIELDS.items()
}


def neutral_of_wire(dialect: str, wire: str) -> str | None:
    """The neutral name of the field that *dialect* calls *wire*; None when there is none."""
    known = _WIRE_FIELDS.get(dialect, {}).get(wire)
    if known is not None:
        return known
    renamed = wire in _CLIENT_FIELDS.get(dialect, {})
    return wire if wire in _NEUTRAL_NAMES and not renamed else None


# --- places of messages, parts and tools -------------------------------------------------------------


def message_place(message: Message, position: int) -> str:
    """Where the client wrote the message that stands at *position* of the neutral form."""
    return message.place or f"messages[{position}]"


def placed(message: Message, position: int, dialect: str) -> list[tuple[str, Part]]:
    """Each part of *message* with the place where the client of *dialect* wrote it."""
    known = [(part.place, part) for part in message.parts if part.place]
    if len(known) == len(message.parts):
        return known
    return list(_guessed(message, message_place(message, position), dialect))


def result_placed(result: ToolResult, place: str, dialect: str) -> list[tuple[str, Part]]:
    """The same for the parts of *result*, which stands at *place*."""
    parts = result.parts
    known = [(part.place, part) for part in parts if part.place]
    if len(known) == len(parts):
        return known
    plain = len(parts) == 1 and isinstance(parts[0], Text) and dialect != "anthropic"
    return [
        (part.place or (f"{place}.content" if plain else f"{place}.content[{at}]"), part)
        for at, part in enumerate(parts)
    ]


def _guessed(message: Message, place: str, dialect: str) -> Iterator[tuple[str, Part]]:
    """Places of parts that no client wrote, as its dialect would have them.

    OpenAI's chat messages keep calls, refusal and reasoning beside the content, others have one list. A single text is
    what its clients send as a plain string.
    """
    chat = dialect == "openai_chat"
    content = sum(not isinstance(part, _BESIDE_PARTS) for part in message.parts) if chat else len(message.parts)
    calls = at = 0
    for part in message.parts:
        if part.place:
            yield part.place, part
        elif chat and isinstance(part, ToolResult):
            yield place, part
        elif chat and isinstance(part, _BESIDE_PARTS):
            name = f"tool_calls[{calls}]" if isinstance(part, ToolCall) else _BESIDE[type(part)]
            calls += isinstance(part, ToolCall)
            yield f"{place}.{name}", part
        else:
            plain = content == 1 and isinstance(part, Text) and dialect != "gemini"
            inside = "parts" if dialect == "gemini" else "content"
            yield f"{place}.content" if plain else f"{place}.{inside}[{at}]", part
            at += 1


_BESIDE_PARTS: Final = (ToolCall, Refusal, Thinking)
_BESIDE: Final[Mapping[type, str]] = {Refusal: "refusal", Thinking: "reasoning_content"}

_PART_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "openai_chat": {
        "detail": "image_url.detail",
        "filename": "file.filename",
        "arguments": "function.arguments",
        "input": "custom.input",
        "call_id": "tool_call_id",
    },
    "openai_responses": {},
    "anthropic": {
        "filename": "title",
        "arguments": "input",
        "call_id": "tool_use_id",
        "annotations": "citations",
    },
    "gemini": {
        "filename": "inlineData.displayName",
        "arguments": "functionCall.args",
        "input": "functionCall.args",
        "call_id": "functionResponse.id",
        "is_error": "functionResponse.response.error",
    },
}
_BESIDE_CONTENT: Final[Mapping[str, frozenset[str]]] = {
    "openai_chat": frozenset({"annotations", "extra_content", "reasoning_details"}),
    "openai_responses": frozenset({"phase"}),
}
"""What stands beside the content of a message, although it belongs to a part."""
_CONTENT: Final = re.compile(r"\.(content|reasoning_content|reasoning|refusal)(\[\d+\])?$")


def part_field(dialect: str, place: str, name: str) -> str:
    """The full name of a part's field *name* for a client of *dialect* who wrote the part at *place*."""
    word = _PART_FIELDS.get(dialect, {}).get(name, name)
    if place.endswith(".function_call"):
        word = word.removeprefix("function.")
    return _under(dialect, place, word)


def _under(dialect: str, place: str, word: str) -> str:
    head = word.partition(".")[0]
    if head in _BESIDE_CONTENT.get(dialect, ()):
        place = _CONTENT.sub("", place)
    elif dialect == "openai_chat" and word == "cache_control":
        place = place.removesuffix(".function").removesuffix(".custom")
    return f"{place}.{word}" if place else word


def tool_place(tool: Tool, position: int, dialect: str) -> str:
    """Where the client of *dialect* wrote the definition of the tool at *position*."""
    if tool.place or dialect != "openai_chat" or tool.kind == "native":
        return tool.place or f"tools[{position}]"
    return f"tools[{position}].{tool.kind}"


def renamed_in_history(
    request: Request, told: Iterable[str], wire: Callable[[str], str], *, results: bool = False
) -> Iterator[tuple[str, str]]:
    """(where a name stands first, what *wire* makes of it) of each function of earlier turns that is called otherwise.

    Without those of *told*, which are said elsewhere. With *results* the name beside a result counts, too.
    """
    known = set(told)
    kinds = (ToolCall, ToolResult) if results else (ToolCall,)
    for position, message in enumerate(request.messages):
        for place, part in placed(message, position, request.dialect):
            if not isinstance(part, kinds) or part.name is None or part.name in known:
                continue
            known.add(part.name)
            if (changed := wire(part.name)) != part.name:
                yield _name_place(request.dialect, place, part), changed


def renamed_functions(request: Request, wire: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """The same of all that *request* names: its tools, where they are defined, then earlier calls of others."""
    offered = [tool.name for tool in request.tools if tool.kind != "native"]
    for position, tool in enumerate(request.tools):
        if tool.kind != "native" and (changed := wire(tool.name)) != tool.name:
            yield f"{tool_place(tool, position, request.dialect)}.name", changed
    yield from renamed_in_history(request, offered, wire)


def _name_place(dialect: str, place: str, part: ToolCall | ToolResult) -> str:
    """Where the name of *part* stands: every dialect writes a call's beside its arguments, a result's beside its id."""
    if isinstance(part, ToolResult):
        beside = part_field(dialect, place, "call_id")
    else:
        beside = part_field(dialect, place, "input" if part.kind == "custom" else "arguments")
    return f"{beside.rpartition('.')[0]}.name"


def tool_parameters(dialect: str, place: str, tool: Tool) -> str:
    """The full name of the schema of *tool*, which stands at *place*."""
    match dialect:
        case "anthropic":
            return f"{place}.input_schema"
        case "gemini":
            written = tool.parameters
            return f"{place}.{written.field if isinstance(written, WrittenSchema) else 'parametersJsonSchema'}"
        case _:
            return f"{place}.parameters"


# --- what one dialect alone reads --------------------------------------------------------------------

_SIGNATURES: Final[Mapping[str, frozenset[str]]] = {
    "anthropic": frozenset({"signature", "redacted_data"}),
    "gemini": frozenset({"thoughtSignature"}),
    "openai_responses": frozenset({"encrypted_content"}),
    "openai_chat": frozenset({"reasoning_details"}),
}
_CARRIERS: Final[Mapping[str, str]] = {
    "anthropic": "signature",
    "gemini": "thoughtSignature",
    "openai_responses": "encrypted_content",
}
"""The field in which a client of a dialect brings another vendor's fields: `translators.sealed`."""
_NAMES_ONLY: Final[Mapping[str, frozenset[str]]] = {"openai_responses": frozenset({"id"})}
"""What its server calls a thing that it stored: nothing that another could be told."""
_HALF_KNOWN: Final = frozenset(
    {
        "file",
        "image_url",
        "input_audio",
        "metadata",
        "output_config",
        "response_format",
        "source",
        "text",
        "tool_choice",
    }
)
"""Objects of which the native fields hold the unknown half."""
_INSIDE: Final = {"response_format": "json_schema", "text": "format"}
"""Those with another one inside of them, of which that is true as well."""


GIVEN_TWICE: Final = "max_completion_tokens counts where both are given"
"""Why a chat client's `max_tokens` is left out beside another number under the newer name."""


def is_signature(dialect: str, name: str) -> bool:
    """Whether the native field *name* holds what only its maker can read."""
    return name in _SIGNATURES.get(dialect, ())


def native_field(client: str, place: str, dialect: str, name: str) -> str:
    """The full name of the field *name* of *dialect* for a client of *client*; *place* is where its part stands."""
    return _under(client, place, _native_word(client, dialect, name))


def _native_word(client: str, dialect: str, name: str) -> str:
    if client == dialect or name == "cache_control" or (client == "openai_chat" and dialect == "anthropic"):
        # A tool's native fields in Gemini count from the entry that its declaration stands in.
        return "data" if name == "redacted_data" else name.removeprefix("functionDeclarations.")
    if client == "openai_chat":
        signed = dialect == "gemini" and name == "thoughtSignature"
        return "extra_content.google.thought_signature" if signed else f"extra_content.{dialect}.{name}"
    return _CARRIERS.get(client, name)


def native_losses(place: str, native: Native, target: str, client: str = "") -> Iterator[Loss]:
    """What in *native* the dialect *target* cannot read: one loss for each field of each other dialect.

    *client* is the dialect of whoever wrote it at *place*.
    """
    for dialect, fields in native.items():
        if dialect != target:
            for name, value in fields.items():
                if name in _NAMES_ONLY.get(dialect, ()) and place:
                    continue
                if dialect == "openai_chat" and name == "max_tokens":
                    yield Loss(name, "dropped", GIVEN_TWICE)
                    continue
                if dialect == "anthropic" and name == "search_result":
                    yield Loss(place, "emulated", "a search result is sent as text")
                    continue
                stands_there = place.endswith(f".{name}")
                full = place if stands_there else native_field(client or dialect, place, dialect, name)
                for field in unknown_halves(full, name, value):
                    yield Loss(field, "dropped", f"{target} has no such field")


def unknown_halves(full: str, name: str, value: Any) -> list[str]:
    """The places of what is unknown in the native field *name*, which the client calls *full*."""
    if name not in _HALF_KNOWN or not isinstance(value, dict) or "type" in value:
        return [full]
    places: list[str] = []
    for inner, found in value.items():
        if _INSIDE.get(name) == inner and isinstance(found, dict) and "type" not in found:
            places += [f"{full}.{inner}.{word}" for word in found]
        else:
            places.append(f"{full}.{inner}")
    return places


def both_halves(known: Mapping[str, Any], unknown: Mapping[str, Any]) -> dict[str, Any]:
    """An object as its client wrote it: what was read of it, and the rest that its native fields hold."""
    whole = dict(known)
    for name, rest in unknown.items():
        mine = whole.get(name)
        if isinstance(mine, Mapping) and isinstance(rest, Mapping):
            whole[name] = both_halves(mine, rest)
        else:
            whole.setdefault(name, rest)
    return whole


def request_native_losses(request: Request, target: str) -> list[Loss]:
    """The losses of the request's own unknown fields, without those of its messages and tools."""
    return list(native_losses("", request.native, target, request.dialect))


_BESIDE_SCHEMA: Final = frozenset({"name", "title", "description", "default", "example", "examples"})
"""What speaks to the model and holds it to nothing."""


def weakens_output(request: Request, loss: Loss) -> bool:
    """Whether *loss* leaves the target held to less than the form that *request* asks its answer to have."""
    places = (field_of(request, "output"), field_of(request, "output.schema"))
    return loss.field.startswith(places) and loss.field.rpartition(".")[2] not in _BESIDE_SCHEMA


def distinct(*losses: Iterable[Loss]) -> tuple[Loss, ...]:
    """All of *losses* in their order, each told once."""
    return tuple(dict.fromkeys(chain(*losses)))


def header_value(losses: Iterable[Loss]) -> str:
    """`x-modelport-losses`: `field=reason` pairs, percent-encoded, comma-separated."""
    return ",".join(
        f"{quote(loss.field, safe='[].')}={quote(f'{loss.action}: {loss.reason}')}" for loss in distinct(losses)
    )
