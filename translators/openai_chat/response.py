"""Whole answers, read from any server that calls itself compatible and written as OpenAI would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from translators.codec import dumps_text, type_name
from translators.errors import BadAnswer
from translators.made_ids import new_call_id
from translators.neutral import (
    Audio,
    Choice,
    Document,
    FinishReason,
    Image,
    Native,
    Opaque,
    Part,
    Refusal,
    Response,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from translators.openai_chat.parts import (
    DIALECT,
    audio_of_answer,
    blocks_in,
    choice_index,
    created_s,
    details_only_opaque,
    extra_content,
    image_of_answer,
    joined_texts,
    lone_text,
    merged_details,
    native_of,
    native_of_extra,
    objects_in,
    parse_logprobs,
    reasoning_text,
    render_logprobs,
    spoken_parts,
    thinking_block,
    thinking_of_block,
    url_of_source,
)
from translators.openai_chat.reasoning_items import (
    RESPONSES,
    call_extra,
    details_of,
    message_entry,
    sorted_citations,
)
from translators.openai_chat.usage import render_usage, usage_in

FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_length": "length",
    "refusal": "content_filter",
    "safety": "content_filter",
}
"""OpenAI's words and those that others use in their place, in lower case."""

OUTWARD_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})

_TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
_TIERS_LIKE_DEFAULT: Final = frozenset({"on_demand", "standard"})

_RESPONSE_FIELDS: Final = frozenset({"id", "object", "created", "model", "choices", "usage"})
_CHOICE_FIELDS: Final = frozenset({"index", "message", "delta", "finish_reason", "logprobs", "text", "extra_content"})
_MESSAGE_FIELDS: Final = frozenset(
    {
        "role",
        "content",
        "refusal",
        "annotations",
        "audio",
        "images",
        "tool_calls",
        "function_call",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "thinking_blocks",
        "extra_content",
    }
)


def finish_reason(word: Any, *, has_calls: bool) -> FinishReason:
    """A server's finish word. With tool calls pending a natural stop is `tool_calls`, an unknown word too."""
    reason = FINISH_REASONS.get(word.lower()) if isinstance(word, str) else None
    if has_calls and reason in (None, "stop"):
        return "tool_calls"
    return reason or "stop"


def mend_tier(body: dict[str, Any]) -> bool:
    """Another vendor's `service_tier` out of the way of OpenAI's closed list, in place; whether there was one."""
    tier = body.get("service_tier")
    if tier is None or (isinstance(tier, str) and tier in _TIERS):
        return False
    body["vendor_service_tier"] = tier
    body["service_tier"] = "default" if isinstance(tier, str) and tier in _TIERS_LIKE_DEFAULT else None
    return True


# --- reading -------------------------------------------------------------------------------------


def parse_response(body: Mapping[str, Any], new_id: Callable[[], str] = new_call_id) -> Response:
    """*body* in the neutral form. *new_id* makes the ids of calls that have none.

    Raises:
        BadAnswer: *body* has no choices, or one without a message.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadAnswer(f"choices: expected an array with a choice, found {type_name(choices)}")
    return Response(
        id=_text(body.get("id")),
        model=_text(body.get("model")),
        created=created_s(body.get("created")),
        choices=tuple([_choice(choice, position, new_id) for position, choice in enumerate(choices)]),
        usage=usage_in(body),
        native=native_of(_rest(body, _RESPONSE_FIELDS)),
    )


def _choice(choice: Any, position: int, new_id: Callable[[], str]) -> Choice:
    if not isinstance(choice, dict):
        raise BadAnswer(f"choices[{position}]: expected an object, found {type_name(choice)}")
    message = choice.get("message")
    if not isinstance(message, dict):
        # Azure leaves the message out when its filter took it; a few servers answer like /v1/completions.
        text = choice.get("text")
        filtered = finish_reason(choice.get("finish_reason"), has_calls=False) == "content_filter"
        if not isinstance(text, str) and not filtered:
            raise BadAnswer(f"choices[{position}].message: expected an object, found {type_name(message)}")
        message = {"content": text}
    own: dict[str, Any] = _rest(choice, _CHOICE_FIELDS)
    content = message.get("content")
    if content and isinstance(content, str) and _is_text_alone(message):
        parts: tuple[Part, ...] = (Text(content),)
    else:
        parts = tuple(_parts(message, new_id))
        if unknown := _rest(message, _MESSAGE_FIELDS):
            own["message"] = unknown
    return Choice(
        parts=parts,
        finish_reason=finish_reason(
            choice.get("finish_reason"), has_calls=bool([part for part in parts if isinstance(part, ToolCall)])
        ),
        index=choice_index(choice.get("index"), position),
        logprobs=parse_logprobs(choice.get("logprobs")),
        native=native_of(own, **native_of_extra(choice.get("extra_content"))),
    )


def _is_text_alone(message: Mapping[str, Any]) -> bool:
    """Whether nothing stands beside the content, as in most answers."""
    for name, value in message.items():
        if value is not None and name not in ("role", "content") and not (value == [] and name in _MESSAGE_FIELDS):
            return False
    return True


def _parts(message: Mapping[str, Any], new_id: Callable[[], str]) -> Iterator[Part]:
    extra = native_of_extra(message.get("extra_content"))
    blocks = {dialect: blocks_in(fields) for dialect, fields in extra.items()}
    yield from _thinking(message)
    for dialect, found in blocks.items():
        yield from (Opaque(dialect, str(block.get("type", "")), block) for block in found)
    signatures: Native = {dialect: fields for dialect, fields in extra.items() if fields}
    content = message.get("content")
    annotations = tuple(objects_in(message.get("annotations")))
    if isinstance(content, list):
        for is_reasoning, text in spoken_parts(content):
            yield Thinking(text) if is_reasoning else Text(text, annotations)
            annotations = annotations if is_reasoning else ()
    elif isinstance(content, str) and content:
        yield Text(content, annotations, signatures)
        signatures = {}
    if signatures:
        yield Thinking("", signatures)
    if refusal := _text(message.get("refusal")):
        yield Refusal(refusal)
    if isinstance(audio := message.get("audio"), dict):
        yield audio_of_answer(audio)
    images = message.get("images")
    for item in images if isinstance(images, list) else ():
        if (image := image_of_answer(item)) is not None:
            yield image
    yield from _tool_calls(message, new_id)


def _thinking(message: Mapping[str, Any]) -> Iterator[Thinking]:
    if blocks := objects_in(message.get("thinking_blocks")):
        yield from (thinking_of_block(block) for block in blocks)
        return
    text = reasoning_text(message)
    details = message.get("reasoning_details")
    own = {"reasoning_details": merged_details(details)} if details_only_opaque(details) else {}
    if text or own:
        yield Thinking(text, native_of(own))


def _tool_calls(message: Mapping[str, Any], new_id: Callable[[], str]) -> Iterator[ToolCall]:
    calls = message.get("tool_calls")
    for call in objects_in(calls):
        call_id = _text(call.get("id")) or new_id()
        extra = native_of_extra(call.get("extra_content"))
        if isinstance(custom := call.get("custom"), dict):
            yield ToolCall(
                call_id, _text(custom.get("name")), _text(custom.get("input")), "custom", native_of({}, **extra)
            )
            continue
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        yield ToolCall(
            call_id,
            _text(function.get("name")),
            _argument_text(function.get("arguments")),
            native=native_of({}, **extra),
        )
    legacy = message.get("function_call")
    # llama-cpp-python writes every call twice, in the older form too.
    if isinstance(legacy, dict) and legacy.get("name") and not calls:
        yield ToolCall(new_id(), _text(legacy["name"]), _argument_text(legacy.get("arguments")))


def _argument_text(arguments: Any) -> str:
    """Arguments as JSON text; Ollama-like servers send the object itself."""
    if isinstance(arguments, str):
        return arguments or "{}"
    return dumps_text(arguments) if isinstance(arguments, dict) else "{}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _rest(value: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    if known.issuperset(value):
        return {}
    return {key: item for key, item in value.items() if key not in known and item is not None}


# --- writing -------------------------------------------------------------------------------------


def render_response(
    response: Response, *, fallback_id: str, fallback_model: str, created: int, legacy_functions: bool = False
) -> dict[str, Any]:
    """*response* as a ChatCompletion. What the vendor left out (id, model, time) comes from the arguments.

    *legacy_functions* writes a call as `function_call`, for clients that asked with `functions`.
    """
    own = response.native.get(DIALECT, {})
    body: dict[str, Any] = {
        "id": response.id or fallback_id,
        "object": "chat.completion",
        "created": response.created or created,
        "model": response.model or fallback_model,
        "choices": [_render_choice(choice, legacy_functions) for choice in response.choices],
    }
    if response.usage is not None:
        body["usage"] = render_usage(response.usage)
    body.update((key, value) for key, value in own.items() if key not in body)
    if extra := extra_content(response.native):
        body["extra_content"] = extra
    mend_tier(body)
    return body


def outward_reason(reason: FinishReason | None, legacy_functions: bool) -> str:
    """The finish word of an answer. A `pause` has no word of its own and stands in `extra_content`."""
    match reason:
        case None | "pause":
            return "stop"
        case "tool_calls" if legacy_functions:
            return "function_call"
        case _:
            return reason


def choice_extra(reason: FinishReason | None, native: Native) -> dict[str, Any]:
    """`extra_content` of a choice."""
    extra = extra_content(native)
    if reason == "pause":
        extra["modelport"] = {"finish_reason": "pause"}
    return extra


def _render_choice(choice: Choice, legacy_functions: bool) -> dict[str, Any]:
    message = _render_message(choice.parts, legacy_functions)
    rendered: dict[str, Any] = {
        "index": choice.index,
        "message": message,
        "logprobs": None,
        "finish_reason": outward_reason(choice.finish_reason, legacy_functions),
    }
    if choice.logprobs:
        is_refusal = any(isinstance(part, Refusal) for part in choice.parts) and not message["content"]
        rendered["logprobs"] = render_logprobs(choice.logprobs, refusal=is_refusal)
    if own := choice.native.get(DIALECT):
        message.update((key, value) for key, value in own.get("message", {}).items() if key not in message)
        rendered.update((key, value) for key, value in own.items() if key not in rendered)
    if extra := choice_extra(choice.finish_reason, choice.native):
        rendered["extra_content"] = extra
    return rendered


def _render_message(parts: Sequence[Part], legacy_functions: bool) -> dict[str, Any]:
    if (text := lone_text(parts)) is not None:
        return {"role": "assistant", "content": text, "refusal": None}
    content, annotations = joined_texts([part for part in parts if isinstance(part, Text)])
    refusal = "".join(part.text for part in parts if isinstance(part, Refusal))
    calls = [part for part in parts if isinstance(part, ToolCall)]
    audios = [part for part in parts if isinstance(part, Audio)]
    silent = not content and (calls or refusal or audios)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if silent else content,
        "refusal": refusal or None,
    }
    citations, files = sorted_citations(annotations)
    if citations:
        message["annotations"] = citations
    message.update(render_reasoning(parts))
    if audios:
        message["audio"] = render_audio(audios[-1])
    if images := [render_image(part) for part in parts if isinstance(part, Image)]:
        message["images"] = images
    if calls and legacy_functions:
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments or "{}"}
    elif calls:
        message["tool_calls"] = [render_tool_call(call) for call in calls]
    extra = _message_extra(parts)
    if files:
        extra.setdefault(RESPONSES, {})["annotations"] = files
    if extra:
        message["extra_content"] = extra
    return message


def render_reasoning(parts: Sequence[Part]) -> dict[str, Any]:
    """The reasoning fields of a message: text under its one outward name, signed blocks beside it."""
    thoughts = [part for part in parts if isinstance(part, Thinking)]
    fields: dict[str, Any] = {}
    if not thoughts:
        return fields
    if text := "".join(part.text for part in thoughts):
        fields["reasoning_content"] = text
    if blocks := [block for part in thoughts if (block := thinking_block(part)) is not None]:
        fields["thinking_blocks"] = blocks
    if details := [item for part in thoughts for item in reasoning_details(part.native)]:
        fields["reasoning_details"] = [{"index": at, **item} for at, item in enumerate(details)]
    return fields


def reasoning_details(native: Native) -> list[dict[str, Any]]:
    """The `reasoning_details` of one thought: a router's as they came, the Responses API's in the router's form."""
    return [*native.get(DIALECT, {}).get("reasoning_details", ()), *details_of(native.get(RESPONSES, {}))]


def _message_extra(parts: Sequence[Part]) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    for part in parts:
        match part:
            case Text() | Thinking() if signature := part.native.get("gemini", {}).get("thoughtSignature"):
                extra["google"] = {"thought_signature": signature}
            case Text() if entry := message_entry(part.native.get(RESPONSES, {}), len(part.text)):
                extra.setdefault(RESPONSES, {}).setdefault("messages", []).append(entry)
            case Opaque():
                extra.setdefault(part.dialect, {}).setdefault("blocks", []).append(part.value)
            case Document() | ToolResult():
                # No vendor answers with these outside of an Opaque; they have no place in a chat message.
                continue
            case _:
                continue
    return extra


def render_tool_call(call: ToolCall) -> dict[str, Any]:
    """A whole call; empty arguments are an empty object."""
    rendered: dict[str, Any] = {"id": call.id, "type": call.kind}
    if call.kind == "custom":
        rendered["custom"] = {"name": call.name, "input": call.arguments}
    else:
        rendered["function"] = {"name": call.name, "arguments": call.arguments or "{}"}
    if extra := call_extra(call.native):
        rendered["extra_content"] = extra
    return rendered


def render_audio(part: Audio) -> dict[str, Any]:
    """`message.audio`."""
    return {
        "id": part.id or "",
        "data": part.source.data or "",
        "expires_at": part.native.get(DIALECT, {}).get("expires_at", 0),
        "transcript": part.transcript or "",
    }


def render_image(part: Image) -> dict[str, Any]:
    """An entry of `message.images`, OpenRouter's place for pictures in answers."""
    return {"type": "image_url", "image_url": {"url": url_of_source(part.source) or ""}}
