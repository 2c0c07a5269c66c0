"""Events as the chunks of a chat completion stream.

Every chunk has the id, model and time of the first. The constant head is rendered once, and a text delta is
spliced into it, so that the common chunk costs one JSON string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from translators.codec import dumps
from translators.neutral import (
    Audio,
    Event,
    Failure,
    Finish,
    Image,
    Native,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    ResponseNative,
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageReport,
)
from translators.openai_chat.error import error_envelope
from translators.openai_chat.parts import DIALECT, extra_content, render_logprobs, shifted, thinking_block
from translators.openai_chat.reasoning_items import RESPONSES, call_extra, message_entry, sorted_citations
from translators.openai_chat.response import (
    choice_extra,
    mend_tier,
    outward_reason,
    reasoning_details,
    render_audio,
    render_image,
)
from translators.openai_chat.usage import render_usage
from translators.sse import comment, frame

DONE = b"data: [DONE]\n\n"
_TEXT_FIELD: Mapping[type[Part], bytes] = {
    Text: b'{"content":',
    Thinking: b'{"reasoning_content":',
    Refusal: b'{"refusal":',
}


@dataclass(slots=True)
class _OpenPart:
    part: Part
    ordinal: int = 0
    """Of a tool call, among the choice's calls."""
    filled: bool = False
    thought: list[str] = field(default_factory=list)
    native: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class _OpenChoice:
    parts: dict[int, _OpenPart] = field(default_factory=dict)
    calls: int = 0
    characters: int = 0
    """Of all texts so far; a text's annotations count from where it began."""
    text_begins: dict[int, int] = field(default_factory=dict)
    listed: dict[str, int] = field(default_factory=dict)
    """How many entries each of the extension lists has had."""

    def numbered(self, name: str, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """*entries* with the `index` by which the official SDK joins the lists of several deltas."""
        first = self.listed.get(name, 0)
        self.listed[name] = first + len(entries)
        return [{**entry, "index": first + at} for at, entry in enumerate(entries)]


class StreamRenderer:
    """Renders events for one client; see `translators.dialect.StreamRenderer`.

    *fallback_id*, *fallback_model* and *created* (Unix seconds) stand in for what the vendor did not say.
    *legacy_functions* writes calls as `function_call`, for clients that asked with `functions`.
    """

    def __init__(
        self,
        *,
        include_usage: bool,
        fallback_id: str,
        fallback_model: str,
        created: int,
        legacy_functions: bool = False,
    ) -> None:
        self._include_usage = include_usage
        self._fallback = Start(fallback_id, fallback_model, created)
        self._legacy_functions = legacy_functions
        self._head = b""
        self._late: dict[str, Any] = {}
        self._text_heads: dict[tuple[int, type[Part]], bytes] = {}
        self._choices: dict[int, _OpenChoice] = {}
        self._usage: Usage | None = None

    def render(self, events: Sequence[Event]) -> bytes:
        """The frames for *events*; empty when they have no visible form yet."""
        frames: list[bytes] = []
        for event in events:
            match event:
                case PartDelta():
                    self._delta(event, frames)
                case PartStart():
                    self._part_start(event, frames)
                case PartEnd():
                    self._part_end(event, frames)
                case Finish():
                    self._finish(event, frames)
                case Start():
                    self._start(event)
                case UsageReport():
                    self._usage = event.usage
                case ResponseNative():
                    self._keep(event.native)
                case Failure():
                    continue
        return b"".join(frames)

    def fail(self, failure: Failure) -> bytes:
        """The error as a frame; no terminator follows it."""
        return frame(dumps(error_envelope(failure)))

    def close(self, receipt: bytes | None = None) -> bytes:
        """The usage chunk where it was asked for, *receipt* as a comment, and `[DONE]`."""
        frames: list[bytes] = []
        if self._include_usage and self._usage is not None:
            frames.append(self._frame_of([], usage=render_usage(self._usage)))
        if receipt is not None:
            frames.append(comment(b"modelport " + receipt))
        frames.append(DONE)
        return b"".join(frames)

    def _start(self, event: Start) -> None:
        own = dict(event.native.get(DIALECT, {}))
        mend_tier(own)
        head = {
            "id": event.id or self._fallback.id,
            "object": "chat.completion.chunk",
            "created": event.created or self._fallback.created,
            "model": event.model or self._fallback.model,
        }
        for name in ("service_tier", "system_fingerprint"):
            if own.get(name) is not None:
                head[name] = own.pop(name)
        if self._include_usage:
            head["usage"] = None
        self._head = dumps(head)[:-1]
        self._text_heads.clear()
        self._keep({**event.native, DIALECT: own})

    def _keep(self, native: Native) -> None:
        """Fields of the answer as a whole; they go out with the next chunk that is not a plain text delta."""
        self._late.update(native.get(DIALECT, {}))
        mend_tier(self._late)
        if extra := extra_content(native):
            self._late["extra_content"] = {**self._late.get("extra_content", {}), **extra}

    # --- chunks ---

    def _frame_of(self, choices: list[dict[str, Any]], usage: Mapping[str, Any] | None = None) -> bytes:
        if not self._head:
            self._start(self._fallback)
        late, self._late = self._late, {}
        tail: dict[str, Any] = {"choices": choices}
        head = self._head
        if usage is not None:
            head = head.removesuffix(b',"usage":null')
            tail["usage"] = usage
        tail.update((key, value) for key, value in late.items() if b'"' + key.encode() + b'":' not in head)
        return frame(head + b"," + dumps(tail)[1:])

    def _chunk(self, number: int, delta: Mapping[str, Any], **fields: Any) -> bytes:
        return self._frame_of([{"index": number, "delta": delta, "logprobs": None, "finish_reason": None, **fields}])

    def _choice(self, number: int, frames: list[bytes]) -> _OpenChoice:
        # The SDK expects the choices to begin in order, whichever speaks first.
        for new in range(len(self._choices), number + 1):
            self._choices[new] = _OpenChoice()
            frames.append(self._chunk(new, {"role": "assistant", "content": ""}))
        return self._choices[number]

    def _part_start(self, event: PartStart, frames: list[bytes]) -> None:
        choice = self._choice(event.choice, frames)
        number = event.choice
        open_part = choice.parts[event.index] = _OpenPart(event.part)
        match event.part:
            case ToolCall() as call:
                open_part.ordinal = choice.calls
                choice.calls += 1
                open_part.filled = bool(call.arguments)
                if self._shows(open_part):
                    frames.append(self._chunk(number, self._call_delta(call, open_part.ordinal)))
            case Text() as part:
                choice.text_begins[event.index] = choice.characters
                open_part.native = _native_dict(part.native)
                if part.text:
                    self._text(number, part, part.text, frames)
            case Thinking() | Refusal() as part:
                open_part.native = _native_dict(part.native)
                if part.text:
                    self._text(number, part, part.text, frames)
                    open_part.thought.append(part.text)
            case Audio() as part:
                frames.append(self._chunk(number, {"audio": render_audio(part)}))
            case Image() as part:
                frames.append(self._chunk(number, {"images": choice.numbered("images", [render_image(part)])}))
            case Opaque() as part:
                blocks = choice.numbered(part.dialect, [part.value])
                frames.append(self._chunk(number, {"extra_content": {part.dialect: {"blocks": blocks}}}))
            case _:
                return

    def _shows(self, open_part: _OpenPart) -> bool:
        """Whether a call has a place: of several, `function_call` holds the first."""
        return not self._legacy_functions or open_part.ordinal == 0

    def _call_delta(self, call: ToolCall, ordinal: int) -> dict[str, Any]:
        if self._legacy_functions:
            return {"function_call": {"name": call.name, "arguments": call.arguments}}
        delta: dict[str, Any] = {"index": ordinal, "id": call.id, "type": call.kind}
        if call.kind == "custom":
            delta["custom"] = {"name": call.name, "input": call.arguments}
        else:
            delta["function"] = {"name": call.name, "arguments": call.arguments}
        if extra := call_extra(call.native):
            delta["extra_content"] = extra
        return {"tool_calls": [delta]}

    def _delta(self, event: PartDelta, frames: list[bytes]) -> None:
        choice = self._choices[event.choice]
        open_part = choice.parts[event.index]
        part = open_part.part
        if event.native:
            _merge(open_part.native, event.native)
        if isinstance(part, ToolCall):
            if event.text and self._shows(open_part):
                open_part.filled = True
                frames.append(self._arguments(event.choice, open_part, event.text))
            return
        if isinstance(part, Thinking):
            open_part.thought.append(event.text)
        if event.logprobs is None and not event.annotations:
            if event.text:
                self._text(event.choice, part, event.text, frames)
            return
        delta: dict[str, Any] = {}
        if event.text or not event.annotations:
            delta["refusal" if isinstance(part, Refusal) else "content"] = event.text
        if event.annotations:
            citations, files = sorted_citations(shifted(event.annotations, choice.text_begins.get(event.index, 0)))
            if citations:
                delta["annotations"] = choice.numbered("annotations", citations)
            if files:
                delta["extra_content"] = {RESPONSES: {"annotations": choice.numbered("files", files)}}
        if isinstance(part, Text):
            choice.characters += len(event.text)
        logprobs = render_logprobs(event.logprobs, refusal=isinstance(part, Refusal)) if event.logprobs else None
        if isinstance(part, Thinking):
            delta = {"reasoning_content": event.text}
        frames.append(self._chunk(event.choice, delta, logprobs=logprobs))

    def _text(self, number: int, part: Part, text: str, frames: list[bytes]) -> None:
        kind = type(part)
        if kind is Text:
            self._choices[number].characters += len(text)
        if self._late:
            name = _TEXT_FIELD[kind][2:-2].decode()
            frames.append(self._chunk(number, {name: text}))
            return
        head = self._text_heads.get((number, kind))
        if head is None:
            head = b"data: %b,%b" % (self._head, b'"choices":[{"index":%d,"delta":%b' % (number, _TEXT_FIELD[kind]))
            self._text_heads[number, kind] = head
        frames.append(head + dumps(text) + b'},"logprobs":null,"finish_reason":null}]}\n\n')

    def _arguments(self, number: int, open_part: _OpenPart, text: str) -> bytes:
        if self._legacy_functions:
            return self._chunk(number, {"function_call": {"arguments": text}})
        part = open_part.part
        inner = {"custom": {"input": text}} if isinstance(part, ToolCall) and part.kind == "custom" else None
        return self._chunk(
            number, {"tool_calls": [{"index": open_part.ordinal, **(inner or {"function": {"arguments": text}})}]}
        )

    def _part_end(self, event: PartEnd, frames: list[bytes]) -> None:
        choice = self._choices[event.choice]
        open_part = choice.parts[event.index]
        if event.native:
            _merge(open_part.native, event.native)
        match open_part.part:
            case ToolCall() as call:
                if not open_part.filled and call.kind == "function" and self._shows(open_part):
                    frames.append(self._arguments(event.choice, open_part, "{}"))
                if (extra := call_extra(open_part.native)) and not self._legacy_functions:
                    delta = {"tool_calls": [{"index": open_part.ordinal, "extra_content": extra}]}
                    frames.append(self._chunk(event.choice, delta))
            case Text() | Thinking() as part:
                characters = choice.characters - choice.text_begins.get(event.index, 0)
                if delta := _closing_delta(part, open_part, choice, characters):
                    frames.append(self._chunk(event.choice, delta))
            case _:
                return

    def _finish(self, event: Finish, frames: list[bytes]) -> None:
        self._choice(event.choice, frames)
        own = {key: value for key, value in event.native.get(DIALECT, {}).items() if key != "message"}
        fields: dict[str, Any] = {"finish_reason": outward_reason(event.reason, self._legacy_functions)}
        if extra := choice_extra(event.reason, event.native):
            fields["extra_content"] = extra
        frames.append(self._chunk(event.choice, {}, **{**own, **fields}))


def _closing_delta(part: Text | Thinking, open_part: _OpenPart, choice: _OpenChoice, characters: int) -> dict[str, Any]:
    """What the end of a text (of *characters*) or thought brings: signatures, signed blocks, details, the phase."""
    delta: dict[str, Any] = {}
    native = open_part.native
    if isinstance(part, Thinking):
        block = thinking_block(Thinking("".join(open_part.thought), native))
        if block is not None:
            delta["thinking_blocks"] = choice.numbered("thinking_blocks", [block])
        if details := reasoning_details(native):
            delta["reasoning_details"] = choice.numbered("reasoning_details", details)
    elif entry := message_entry(native.get(RESPONSES, {}), characters):
        delta["extra_content"] = {RESPONSES: {"messages": choice.numbered("messages", [entry])}}
    if signature := native.get("gemini", {}).get("thoughtSignature"):
        delta.setdefault("extra_content", {})["google"] = {"thought_signature": signature}
    return delta


def _native_dict(native: Native) -> dict[str, dict[str, Any]]:
    return {dialect: dict(fields) for dialect, fields in native.items()}


def _merge(native: dict[str, dict[str, Any]], more: Native) -> None:
    for dialect, fields in more.items():
        native.setdefault(dialect, {}).update(fields)
