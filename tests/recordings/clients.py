"""The clients: each reads an answer as its official SDK does and checks its form on the way.

A reader fills a Got: the facts, and in *wrong* what a client of the dialect would stumble over.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, get_args

from anthropic.types import Message, RawMessageStreamEvent
from google.genai import models as genai_models
from google.genai.types import GenerateContentResponse
from jiter import from_json
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, ValidationError

from tests.recordings import recorded
from tests.recordings.facts import Call, Said

_INSTEAD = re.compile(r"\[(image|audio|document|video)\b[^\]]*\]")
"""What stands for a part that Anthropic's answers cannot hold."""


@dataclass(slots=True)
class Got:
    """The client's view, accumulated as the official SDK does."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    choices: dict[int, Said] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    total_tokens: int | None = None
    wrong: list[str] = field(default_factory=list)
    error: Any = None
    wants_usage: bool = True
    aside: str = ""
    """What the client was told beside the answer: of calls that it cannot be shown."""


Reader = Callable[[Got, str, bool], None]
"""Got, the body, whether it is a stream."""


def check_type(got: Got, kind: type[BaseModel] | None, value: Any) -> None:
    """Note what *kind* refuses."""
    if kind is None:
        got.wrong.append(f"no type of the SDK is {value.get('type')!r}")
        return
    try:
        kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        got.wrong.append(f"not a {kind.__name__}: {'.'.join(map(str, first['loc']))}: {first['msg']}")


@cache
def _by_word(union: Any) -> Mapping[str, type[BaseModel]]:
    """The members of a union by their `type`, which is how the SDKs choose."""
    members = get_args(get_args(union)[0] if hasattr(union, "__metadata__") else union)
    return {word: kind for kind in members for word in get_args(kind.model_fields["type"].annotation)}


def frames_of(got: Got, text: str) -> list[str]:
    """The frames of an event stream, which must end with a blank line."""
    if not text.endswith(("\n\n", "\r\n\r\n")):
        got.wrong.append("the last frame has no end")
    return [frame for frame in text.replace("\r\n", "\n").split("\n\n") if frame.strip()]


def check_receipt(got: Got, frames: Sequence[str], last: str) -> None:
    """*last* begins the last frame, and the receipt stands before it."""
    if not frames or not frames[-1].startswith(last):
        got.wrong.append(f"the last frame is {frames[-1][:80]!r}" if frames else "no frame at all")
    receipt = next((frame for frame in reversed(frames) if frame.startswith(": modelport ")), "")
    before = next((frame for frame in reversed(frames[:-1]) if frame != "data: [DONE]"), "")
    if not receipt or receipt not in (before, *frames[-2:-1]):
        got.wrong.append(f"no receipt before the terminator but {before[:80]!r}")
        return
    check_told(got, json.loads(receipt.removeprefix(": modelport ")))


def check_told(got: Got, told: Mapping[str, Any]) -> None:
    """What a receipt has to tell."""
    if told.get("attempts") != 1 or not isinstance(told.get("losses", []), list) or "cost_usd" not in told:
        got.wrong.append(f"receipt {told}")


def check_ids(got: Got, ids: Sequence[Any]) -> None:
    """Every call has an id of its own."""
    if not all(ids) or len(set(ids)) != len(ids):
        got.wrong.append(f"tool call ids {ids}")


def _total(got: Got, usage: Mapping[str, Any]) -> None:
    got.total_tokens = usage.get("total_tokens")


# --- chat completions ------------------------------------------------------------------------------


def _read_chat(got: Got, text: str, stream: bool) -> None:
    """A ChatCompletion or its chunks."""
    if stream:
        _chat_stream(got, text)
    else:
        _chat_whole(got, json.loads(text))


def _chat_whole(got: Got, value: Any) -> None:
    check_type(got, ChatCompletion, value)
    if value.get("object") != "chat.completion":
        got.wrong.append(f"object is {value.get('object')!r}")
    for choice in value["choices"]:
        message = choice["message"]
        if "content" not in message:
            got.wrong.append("message has no content key")
        said = got.choices.setdefault(choice["index"], Said())
        recorded.add_chat(said, {}, _outward(message))
        calls = message.get("tool_calls") or []
        check_ids(got, [call["id"] for call in calls])
        said.calls = [Call(*recorded.called(call), "custom" in call) for call in calls]
        said.finish = {choice["finish_reason"]}
    _chat_usage(got, value.get("usage"))


def _outward(message: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a client reads: reasoning has one name here."""
    return {**message, "tool_calls": None, "reasoning": None, "reasoning_details": None}


def _chat_usage(got: Got, usage: Any) -> None:
    if usage:
        got.usage = recorded.chat_usage(usage)
        _total(got, usage)


def _chat_stream(got: Got, text: str) -> None:
    chunks = list(recorded.events_of(text))
    calls: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
    finishes: Counter[int] = Counter()
    for chunk in chunks:
        if "error" in chunk:
            got.error = chunk
            return
        check_type(got, ChatCompletionChunk, chunk)
        if chunk.get("usage"):
            _chat_usage(got, chunk["usage"])
            if not got.wants_usage and not chunk["choices"]:
                got.wrong.append("a usage chunk that nobody asked for")
        for choice in chunk["choices"]:
            _chat_chunk(got, choice, calls[choice["index"]], finishes)
    check_receipt(got, frames_of(got, text), "data: [DONE]")
    for index, by_index in calls.items():
        told = [call for _, call in sorted(by_index.items())]
        got.choices[index].calls = [Call(call["name"], call["arguments"], call["custom"]) for call in told]
        if sorted(by_index) != list(range(len(by_index))):
            got.wrong.append(f"tool call indexes {sorted(by_index)}")
        check_ids(got, [call["id"] for call in told])
    _check_constant(got, chunks, ("id", "created", "model", "object"))
    if bad := {index: finishes[index] for index in got.choices if finishes[index] != 1}:
        got.wrong.append(f"finish reasons by choice: {bad}")


def _check_constant(got: Got, chunks: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    for name in names:
        values = {json.dumps(chunk.get(name)) for chunk in chunks}
        if len(values) != 1 or values & {'""', "null"}:
            got.wrong.append(f"{name} of the chunks: {sorted(values)[:3]}")


def _chat_chunk(got: Got, choice: Mapping[str, Any], calls: dict[int, dict[str, Any]], finishes: Counter[int]) -> None:
    index, delta = choice["index"], choice["delta"]
    if index not in got.choices and delta.get("role") != "assistant":
        got.wrong.append(f"choice {index} begins without its role")
    said = got.choices.setdefault(index, Said())
    recorded.add_chat(said, {}, _outward(delta))
    for fragment in delta.get("tool_calls") or []:
        name, arguments = recorded.called(fragment)
        if fragment["index"] not in calls:
            kind = fragment.get("type")
            calls[fragment["index"]] = {"id": "", "name": "", "arguments": "", "custom": kind == "custom"}
            if kind not in {"function", "custom"}:
                got.wrong.append(f"a call begins with type {kind!r}")
        call = calls[fragment["index"]]
        call["id"] += fragment.get("id") or ""
        call["name"] += name
        call["arguments"] += arguments
    if choice.get("finish_reason"):
        finishes[index] += 1
        said.finish.add(choice["finish_reason"])


# --- completions -----------------------------------------------------------------------------------


def _read_completions(got: Got, text: str, stream: bool) -> None:
    """A Completion, or several that make a stream."""
    values = list(recorded.events_of(text)) if stream else [json.loads(text)]
    for value in values:
        if "error" in value:
            got.error = value
            return
        # OpenAI's own streams have null there, which the type leaves out.
        check_type(got, Completion, _with_reasons(value) if stream else value)
        if value.get("object") != "text_completion":
            got.wrong.append(f"object is {value.get('object')!r}")
        if value.get("usage"):
            _chat_usage(got, value["usage"])
            if not got.wants_usage and not value["choices"]:
                got.wrong.append("a usage chunk that nobody asked for")
        for choice in value["choices"]:
            said = got.choices.setdefault(choice["index"], Said())
            said.text += choice["text"]
            if choice.get("finish_reason"):
                said.finish.add(choice["finish_reason"])
    if stream:
        check_receipt(got, frames_of(got, text), "data: [DONE]")
        _check_constant(got, values, ("id", "created", "model"))


def _with_reasons(value: Mapping[str, Any]) -> dict[str, Any]:
    choices = [{**choice, "finish_reason": choice.get("finish_reason") or "stop"} for choice in value["choices"]]
    return {**value, "choices": choices}


# --- Anthropic -------------------------------------------------------------------------------------


def _read_messages(got: Got, text: str, stream: bool) -> None:
    """A Message, or the events that make one."""
    if not stream:
        value = json.loads(text)
        check_type(got, Message, value)
        if (value.get("type"), value.get("role")) != ("message", "assistant"):
            got.wrong.append(f"type {value.get('type')!r}, role {value.get('role')!r}")
        _message(got, value["content"], value["stop_reason"], value["usage"])
        return
    blocks: list[dict[str, Any]] = []
    open_index, reason = None, None
    usage: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for frame in frames_of(got, text):
        value = next(recorded.events_of(frame), None)
        if value is None:
            continue
        kind = value["type"]
        if f"event: {kind}" not in frame.splitlines() and f"event:{kind}" not in frame.splitlines():
            got.wrong.append(f"the frame of {kind} is named otherwise: {frame[:60]!r}")
        if kind == "error":
            got.error = value
            return
        if not seen and kind != "message_start":
            got.wrong.append(f"the stream begins with {kind}")
        seen[kind] += 1
        check_type(got, _by_word(RawMessageStreamEvent).get(kind), value) if kind != "ping" else None
        match kind:
            case "message_start":
                usage = dict(value["message"]["usage"])
            case "content_block_start":
                if open_index is not None or value["index"] != len(blocks):
                    got.wrong.append(f"block {value['index']} begins while {open_index} is open, after {len(blocks)}")
                open_index = value["index"]
                blocks.append({**value["content_block"], "json": ""})
            case "content_block_delta":
                if value["index"] != open_index:
                    got.wrong.append(f"a delta of block {value['index']} while {open_index} is open")
                _message_delta(blocks[value["index"]], value["delta"])
            case "content_block_stop":
                open_index = None
            case "message_delta":
                usage |= {name: n for name, n in value["usage"].items() if n is not None}
                reason = value["delta"].get("stop_reason")
    check_receipt(got, frames_of(got, text), "event: message_stop")
    if open_index is not None or seen["message_start"] != 1 or seen["message_delta"] != 1:
        got.wrong.append(f"block {open_index} is open at the end, or too few events: {dict(seen)}")
    for block in blocks:
        if block["json"]:
            # As the SDK does: of an input that was cut off there is what came.
            block["input"] = from_json(block["json"].encode(), partial_mode=reason == "max_tokens")
    _message(got, blocks, reason, usage)


def _message_delta(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] += delta["signature"]
        case "input_json_delta":
            block["json"] += delta["partial_json"]


def _message(got: Got, blocks: Sequence[Mapping[str, Any]], reason: Any, usage: Mapping[str, Any]) -> None:
    said = got.choices[0] = Said()
    for block in blocks:
        match block["type"]:
            case "text":
                said.media += _INSTEAD.findall(block["text"])
                said.text += _INSTEAD.sub("", block["text"])
            case "thinking":
                said.reasoning += block["thinking"]
                if not block.get("signature"):
                    got.wrong.append("thinking without a signature")
            case "tool_use":
                said.calls.append(Call(block["name"], json.dumps(block["input"])))
    check_ids(got, [block["id"] for block in blocks if block["type"] == "tool_use"])
    said.finish = {recorded.ANTHROPIC_FINISH.get(reason, str(reason))}
    got.usage = recorded.anthropic_usage(usage)


# --- Gemini ----------------------------------------------------------------------------------------


def _read_gemini(got: Got, text: str, stream: bool) -> None:
    """A GenerateContentResponse, or several that make a stream."""
    values = list(recorded.events_of(text)) if stream else [json.loads(text)]
    reasons: dict[int, str] = {}
    if stream:
        frames_of(got, text)
        if any(not line.startswith("data: ") for line in text.splitlines() if line.strip()):
            got.wrong.append("a line that Google's client would read as JSON")
    for value in values:
        if "error" in value:
            got.error = value
            return
        _check_gemini_type(got, value)
        if usage := value.get("usageMetadata"):
            got.usage = recorded.gemini_usage(usage)
            got.total_tokens = usage.get("totalTokenCount")
        for candidate in value.get("candidates") or []:
            index = candidate.get("index") or 0
            recorded.add_gemini(got.choices.setdefault(index, Said()), candidate)
            reasons[index] = candidate.get("finishReason") or reasons.get(index, "")
            got.aside += candidate.get("finishMessage") or ""
        if (value.get("promptFeedback") or {}).get("blockReason"):
            got.choices[0] = Said(finish={"content_filter"})
    if stream and values:
        check_told(got, values[-1].get("modelport") or {})
        if any("modelport" in value for value in values[:-1]):
            got.wrong.append("a receipt before the end")
    for index, said in got.choices.items():
        if index in reasons:
            reason = reasons[index]
            known = "broken" if reason in recorded.GEMINI_FAILED else "content_filter"
            finish = recorded.GEMINI_FINISH.get(reason, known) if reason else "none"
            said.finish = {"tool_calls"} if said.calls and finish == "stop" else {finish}


def _check_gemini_type(got: Got, value: Any) -> None:
    """As the SDK does: it picks the fields that it knows, then leaves unknown ones of inner objects aside."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it warns of an enum's word that it does not know
            picked = genai_models._GenerateContentResponse_from_mldev(deepcopy(value))
            GenerateContentResponse._from_response(response=picked, kwargs={})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        got.wrong.append(f"not a GenerateContentResponse: {where}: {first['msg']}")
    except (AttributeError, UserWarning) as error:  # the SDK itself stumbles over an enum that is a number
        got.wrong.append(f"not a GenerateContentResponse: {error}")


# --- Responses -------------------------------------------------------------------------------------


def _read_responses(got: Got, text: str, stream: bool) -> None:
    """A Response object, or the events that build one up. What the events told must be what the object says."""
    if not stream:
        whole = json.loads(text)
        _response(got, whole)
        return
    events = list(recorded.events_of(text))
    for event in events:
        check_type(got, _by_word(ResponseStreamEvent).get(event["type"]), event)
        if event["type"] in ("error", "response.failed"):
            got.error = {"error": event.get("error") or event["response"]["error"]}
            return
    frames = frames_of(got, text)
    last = frames[-1] if frames and frames[-1] != "data: [DONE]" else frames[-2] if len(frames) > 1 else ""
    named = last.splitlines()[0] if last.startswith("event:") else "data:"
    check_receipt(got, [frame for frame in frames if frame != "data: [DONE]"], named)
    if not events or events[-1]["type"] not in ("response.completed", "response.incomplete"):
        got.wrong.append(f"the last event is {events[-1]['type'] if events else None}")
        return
    numbers = [event.get("sequence_number") for event in events]
    if numbers != list(range(len(events))):
        got.wrong.append(f"sequence numbers {numbers[:3]} ... {numbers[-1]} of {len(events)} events")
    if events[0]["type"] != "response.created":
        got.wrong.append(f"the first event is {events[0]['type']}")
    whole = events[-1]["response"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    if done and not whole["output"]:
        # ChatGPT's own backend: clients of it go by the items.
        got.wrong.append("the last event has no output")
        whole = {**whole, "output": done}
    _response(got, whole)
    told, said = _told_in_deltas(events), got.choices[0]
    for name in ("text", "reasoning", "refusal", "calls"):
        if _flat(getattr(told, name)) != _flat(getattr(said, name)):
            got.wrong.append(f"{name} of the deltas {getattr(told, name)!r:.80} and of the end {said!r:.80} differ")


def _flat(told: Any) -> Any:
    return "".join(told.split()) if isinstance(told, str) else told


def _response(got: Got, whole: Mapping[str, Any]) -> None:
    check_type(got, Response, whole)
    if whole.get("object") != "response":
        got.wrong.append(f"object is {whole.get('object')!r}")
    said = got.choices[0] = recorded.said_in_items(whole["output"])
    said.finish = {recorded.responses_finish(whole, bool(said.calls))}
    calls = [item for item in whole["output"] if item["type"] in ("function_call", "custom_tool_call")]
    check_ids(got, [item["call_id"] for item in calls])
    if whole.get("usage"):
        got.usage = recorded.responses_usage(whole["usage"])
        _total(got, whole["usage"])


def _told_in_deltas(events: Sequence[Mapping[str, Any]]) -> Said:
    """What a client has that looks at deltas alone."""
    texts: dict[tuple[Any, ...], list[Any]] = {}
    for event in events:
        kind = event["type"]
        if kind == "response.output_item.added" and event["item"]["type"] in ("function_call", "custom_tool_call"):
            texts[event["output_index"], "call"] = [event["item"]["name"], "", event["item"]["type"] != "function_call"]
        elif kind.endswith((".arguments.delta", "_arguments.delta", "custom_tool_call_input.delta")):
            texts[event["output_index"], "call"][1] += event["delta"]
        elif kind.endswith(".delta") and isinstance(event.get("delta"), str):
            texts.setdefault((event["output_index"], kind.split(".")[1]), [""])[0] += event["delta"]
    said = Said()
    for (_, kind), told in sorted(texts.items()):
        match kind:
            case "output_text":
                said.text += told[0]
            case "refusal":
                said.refusal += told[0]
            case "reasoning_summary_text" | "reasoning_text":
                said.reasoning += told[0]
            case "call":
                said.calls.append(Call(*told))
    return said


_READERS: Final[Mapping[str, Reader]] = {
    "openai_chat": _read_chat,
    "openai_completions": _read_completions,
    "anthropic": _read_messages,
    "gemini": _read_gemini,
    "openai_responses": _read_responses,
}


def read(got: Got, client: str, stream: bool) -> None:
    """Fill *got* with what its body says to *client*."""
    try:
        if got.status != 200:
            got.error = json.loads(got.body)
        else:
            _READERS[client](got, got.body.decode(), stream)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        got.wrong.append(f"unreadable answer: {error!r}: {got.body[:200]!r}")
