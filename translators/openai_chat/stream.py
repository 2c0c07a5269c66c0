"""A chat completion stream as events.

Tolerated, because real servers do it: chunks without choices anywhere, usage on any chunk, roles on all or none,
several choices interleaved, deltas that are null, calls without index, id or type, all parallel calls on index 0,
finish reasons that come twice, are empty or foreign or say `stop` after tool calls, reasoning under four names,
content as a list of parts, no `[DONE]`, an `error` key in a data line, names of calls in pieces or again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from translators.codec import JsonError, dumps_text, loads
from translators.dialect import Rules
from translators.made_ids import CallIds, new_call_id
from translators.neutral import (
    NO_NATIVE,
    Event,
    Failure,
    Finish,
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
    TokenLogprob,
    ToolCall,
    Usage,
    UsageReport,
)
from translators.openai_chat.error import error_in
from translators.openai_chat.parts import (
    DIALECT,
    audio_of_answer,
    blocks_in,
    choice_index,
    created_s,
    details_only_opaque,
    details_text,
    image_of_answer,
    joined_base64,
    merged_details,
    named_reasoning,
    native_of,
    native_of_extra,
    objects_in,
    parse_logprobs,
    spoken_parts,
    thinking_of_block,
)
from translators.openai_chat.response import finish_reason
from translators.openai_chat.think_tags import ThinkSplitter
from translators.openai_chat.usage import parse_usage, raw_usage
from translators.sse import SseDecoder, SseError, SseEvent

PADDING: Final = frozenset({"obfuscation", "p"})
"""Fields that only hide the length of a chunk (OpenAI, Mistral)."""
_CHUNK_FIELDS: Final = frozenset({"id", "object", "created", "model", "choices", "usage"}) | PADDING
_CHOICE_FIELDS: Final = frozenset({"index", "delta", "message", "finish_reason", "logprobs", "text", "extra_content"})


@dataclass(slots=True)
class _Call:
    """An open tool call: its part's index, and whether any argument text came."""

    index: int
    id: str
    name: str
    kind: Literal["function", "custom"]
    native: Native = NO_NATIVE
    begun: bool = False
    """Whether it was told: not before its name is whole."""
    filled: bool = False


@dataclass(slots=True)
class _OpenChoice:
    number: int
    call_ids: CallIds
    parts: int = 0
    current: type[Part] | None = None
    current_index: int = 0
    calls: dict[int, _Call] = field(default_factory=dict)
    """Wire index -> the call that stands there now."""
    all_calls: list[_Call] = field(default_factory=list)
    unnamed: _Call | None = None
    """The last call, while more of its name may come."""
    details: list[Any] = field(default_factory=list)
    audio: dict[str, Any] = field(default_factory=dict)
    audio_data: list[str] = field(default_factory=list)
    splitter: ThinkSplitter | None = None
    finish_word: str | None = None
    seen: bool = False
    reasoning_is_named: bool = False
    """Whether `reasoning` or `reasoning_content` came: the texts of `reasoning_details` then only repeat it."""
    native: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, dict[str, Any]] = field(default_factory=dict)
    logprobs: tuple[TokenLogprob, ...] | None = None


class ChunkReader:
    """Decoded chunks to events; what `StreamParser` and the relay share.

    A choice's Finish is held until its stream ends or another chunk shows that nothing follows, because calls and
    texts may come after the first finish reason.
    """

    __slots__ = ("_call_ids", "_choices", "_native", "_raw_usage", "_think_tags", "failed", "started", "usage")

    def __init__(self, think_tags: bool = False, call_ids: CallIds | None = None) -> None:
        self._call_ids = call_ids or CallIds()
        self.started = False
        self.failed = False
        self._choices: dict[int, _OpenChoice] = {}
        self._native: dict[str, Any] = {}
        self._think_tags = think_tags
        self._raw_usage: Mapping[str, Any] | None = None
        self.usage: Usage | None = None
        """The tokens that the server told last; None when they cannot be any."""

    @property
    def finished(self) -> bool:
        """Whether at least one choice came and each has its finish reason."""
        return bool(self._choices) and all(choice.finish_word is not None for choice in self._choices.values())

    def read(self, chunk: Mapping[str, Any]) -> list[Event]:
        """The events of one chunk."""
        choices = chunk.get("choices")
        events: list[Event] = []
        if self.started and (text := self._plain_text(chunk, choices)) is not None:
            events.append(text)
            if len(chunk) > 5 and (changed := self._keep_native(chunk)):
                events.append(ResponseNative(native_of(changed)))
            return events
        if not self.started:
            if not choices and not chunk.get("id") and not chunk.get("usage"):
                # Azure's first chunk has empty id and model; the next one knows them.
                self._keep_native(chunk)
                return events
            events.append(self._start(chunk))
        elif len(chunk) > 5 and (changed := self._keep_native(chunk)):
            events.append(ResponseNative(native_of(changed)))
        for position, choice in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(choice, dict):
                self._choice(choice, choice_index(choice.get("index"), position), events)
        if (raw := raw_usage(chunk)) is not None and raw != self._raw_usage:
            self._raw_usage, self.usage = raw, parse_usage(raw)
            events.append(UsageReport(self.usage))
        return events

    def _plain_text(self, chunk: Mapping[str, Any], choices: Any) -> PartDelta | None:
        """The event of a chunk that adds text to the open text and says nothing else; else None."""
        if type(choices) is not list or len(choices) != 1 or chunk.get("usage") is not None or "x_groq" in chunk:
            return None
        choice = choices[0]
        if type(choice) is not dict or len(choice) > 3 + ("logprobs" in choice):
            return None
        state, delta = self._choices.get(choice_index(choice.get("index"), 0)), choice.get("delta")
        if state is None or state.current is not Text or type(delta) is not dict or len(delta) != 1:
            return None
        content = delta.get("content")
        if type(content) is not str or not content or state.splitter is not None:
            return None
        if choice.get("finish_reason") is not None or choice.get("logprobs") is not None:
            return None
        return PartDelta(state.current_index, content, state.number)

    def _start(self, chunk: Mapping[str, Any]) -> Start:
        self.started = True
        self._keep_native(chunk)
        return Start(
            _text(chunk.get("id")),
            _text(chunk.get("model")),
            created_s(chunk.get("created")),
            native_of(dict(self._native)),
        )

    def _keep_native(self, chunk: Mapping[str, Any]) -> dict[str, Any]:
        """The unknown fields of *chunk* that are new or have changed."""
        changed = {
            key: value
            for key, value in chunk.items()
            if key not in _CHUNK_FIELDS and value is not None and self._native.get(key) != value
        }
        self._native.update(changed)
        return changed

    def _choice(self, choice: Mapping[str, Any], number: int, events: list[Event]) -> None:
        state = self._choices.get(number)
        if state is None:
            state = self._choices[number] = _OpenChoice(number, self._call_ids)
            state.splitter = ThinkSplitter() if self._think_tags else None
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            # A whole message in a chunk counts only where there is no delta: Perplexity repeats it beside each.
            message = choice.get("message")
            delta = message if isinstance(message, dict) and not state.seen else {"content": choice.get("text")}
        if logprobs := choice.get("logprobs"):
            found = parse_logprobs(logprobs)
            state.logprobs = (*state.logprobs, *(found or ())) if state.logprobs else found
        _read_delta(state, delta, events)
        if state.logprobs is not None and state.current is Text:
            events.append(PartDelta(state.current_index, "", number, state.logprobs))
            state.logprobs = None
        if len(choice) > 3:
            state.native.update(
                (key, value) for key, value in choice.items() if key not in _CHOICE_FIELDS and value is not None
            )
            for dialect, fields in native_of_extra(choice.get("extra_content")).items():
                state.extra.setdefault(dialect, {}).update(fields)
        word = choice.get("finish_reason")
        if isinstance(word, str) and word and state.finish_word is None:
            state.finish_word = word

    def close(self, *, done: bool = False) -> list[Event]:
        """The ends of all parts and choices; a Failure when the stream was cut or said nothing.

        After `[DONE]` (*done*) a choice whose finish reason the server forgot has stopped.
        """
        if self.failed:
            return []
        events: list[Event] = []
        for state in self._choices.values() if done else ():
            state.finish_word = state.finish_word or "stop"
        for _, state in sorted(self._choices.items()):
            _end_choice(state, events)
        if not self.started:
            self.failed = True
            return [Failure("invalid_response", "the stream ended without an answer", 502)]
        if not self.finished:
            self.failed = True
            events.append(Failure("invalid_response", "the stream was cut before its end", 502))
        return events


def _read_delta(state: _OpenChoice, delta: Mapping[str, Any], events: list[Event]) -> None:
    """Reasoning before text before calls: the order in which one delta with several of them was written."""
    content = delta.get("content")
    if len(delta) == 1 and isinstance(content, str) and state.splitter is None:
        if content:
            _say(state, Text, content, events)
        return
    _think(state, delta, events)
    if isinstance(content, str) and content:
        for inside, text in state.splitter.feed(content) if state.splitter else ((False, content),):
            _say(state, Thinking if inside else Text, text, events)
    elif isinstance(content, list):
        for inside, text in spoken_parts(content):
            if text:
                _say(state, Thinking if inside else Text, text, events)
    if annotations := objects_in(delta.get("annotations")):
        _annotate(state, tuple(annotations), events)
    if isinstance(refusal := delta.get("refusal"), str) and refusal:
        _say(state, Refusal, refusal, events)
    _attach(state, delta, events)
    calls = delta.get("tool_calls")
    for call in objects_in(calls):
        _call(state, call, events)
    # llama-cpp-python writes every call twice, in the older form too.
    if isinstance(legacy := delta.get("function_call"), dict) and not calls:
        _call(state, {"index": 0, "function": legacy}, events)
    state.seen = True


def _attach(state: _OpenChoice, delta: Mapping[str, Any], events: list[Event]) -> None:
    if (extra := delta.get("extra_content")) is not None:
        _message_extra(state, extra, events)
    if isinstance(audio := delta.get("audio"), dict):
        _hear(state, audio)
    for item in objects_in(delta.get("images")):
        if (image := image_of_answer(item)) is not None:
            _whole(state, image, events)


def _think(state: _OpenChoice, delta: Mapping[str, Any], events: list[Event]) -> None:
    _signed_blocks(state, objects_in(delta.get("thinking_blocks")), events)
    details = delta.get("reasoning_details")
    if reasoning := named_reasoning(delta):
        state.reasoning_is_named = True
        _say(state, Thinking, reasoning, events)
    elif not state.reasoning_is_named and (reasoning := details_text(details)):
        _say(state, Thinking, reasoning, events)
    if isinstance(details, list) and details:
        if state.current is not Thinking and details_only_opaque(details):
            _open(state, Thinking(""), events)
        if state.current is Thinking:
            state.details.extend(details)


def _say(state: _OpenChoice, kind: type[Text | Thinking | Refusal], text: str, events: list[Event]) -> None:
    if state.current is not kind:
        _open(state, kind(""), events)
    logprobs, state.logprobs = state.logprobs, None
    events.append(PartDelta(state.current_index, text, state.number, logprobs))


def _open(state: _OpenChoice, part: Text | Thinking | Refusal, events: list[Event]) -> None:
    _end_current(state, events)
    _begin_call(state, events)
    state.current, state.current_index = type(part), state.parts
    state.parts += 1
    events.append(PartStart(state.current_index, part, state.number))


def _end_current(state: _OpenChoice, events: list[Event]) -> None:
    if state.current is None:
        return
    native = NO_NATIVE
    if state.details:
        if details_only_opaque(state.details):
            native = {DIALECT: {"reasoning_details": merged_details(state.details)}}
        state.details = []
    events.append(PartEnd(state.current_index, state.number, native))
    state.current = None


def _whole(state: _OpenChoice, part: Part, events: list[Event]) -> None:
    """A part that comes complete."""
    _end_current(state, events)
    _begin_call(state, events)
    events.append(PartStart(state.parts, part, state.number))
    events.append(PartEnd(state.parts, state.number))
    state.parts += 1


def _signed_blocks(state: _OpenChoice, blocks: list[dict[str, Any]], events: list[Event]) -> None:
    """Signed thinking, which our own renderer sends on the delta that ends the part with its readable text."""
    for block in blocks:
        part = thinking_of_block(block)
        if state.current is not Thinking:
            _open(state, Thinking(""), events)
        index = state.current_index
        state.current, state.details = None, []
        events.append(PartEnd(index, state.number, part.native))


def _annotate(state: _OpenChoice, annotations: tuple[Mapping[str, Any], ...], events: list[Event]) -> None:
    if state.current is not Text:
        _open(state, Text(""), events)
    events.append(PartDelta(state.current_index, "", state.number, annotations=annotations))


def _message_extra(state: _OpenChoice, extra: Any, events: list[Event]) -> None:
    for dialect, fields in native_of_extra(extra).items():
        for block in blocks_in(fields):
            _whole(state, Opaque(dialect, _text(block.get("type")), block), events)
        if fields:
            if state.current is None:
                _open(state, Thinking(""), events)
            events.append(PartDelta(state.current_index, "", state.number, native={dialect: fields}))


def _hear(state: _OpenChoice, audio: Mapping[str, Any]) -> None:
    for name in ("id", "expires_at"):
        if audio.get(name) is not None:
            state.audio[name] = audio[name]
    if isinstance(transcript := audio.get("transcript"), str):
        state.audio["transcript"] = state.audio.get("transcript", "") + transcript
    if isinstance(data := audio.get("data"), str) and data:
        state.audio_data.append(data)


def _call(state: _OpenChoice, call: Mapping[str, Any], events: list[Event]) -> None:
    """One fragment of a tool call. A new id on a known index is another call (some servers number all of them 0)."""
    function = call.get("function")
    custom = call.get("custom")
    kind: Literal["function", "custom"] = "custom" if isinstance(custom, dict) else "function"
    inner = custom if isinstance(custom, dict) else function if isinstance(function, dict) else {}
    call_id, name = _text(call.get("id")), _text(inner.get("name"))
    wire_index = call.get("index")
    if type(wire_index) is not int:
        wire_index = len(state.all_calls) if call_id or not state.all_calls else len(state.all_calls) - 1
    known = state.calls.get(wire_index)
    text = inner.get("input") if kind == "custom" else inner.get("arguments")
    text = text if isinstance(text, str) else dumps_text(text) if isinstance(text, dict) else ""
    extra = native_of_extra(call.get("extra_content"))
    if known is None or (call_id and name and call_id != known.id):
        _end_current(state, events)
        _begin_call(state, events)
        made = "" if call_id else state.call_ids.of(state.number, len(state.all_calls))
        known = _Call(state.parts, call_id or made, name, kind, native_of({}, **extra))
        state.parts += 1
        state.calls[wire_index] = state.unnamed = known
        state.all_calls.append(known)
        extra = {}
    elif not known.begun:
        known.name += more_of_name(known.name, name)
    if text or extra:
        if not known.begun:
            _begin_call(state, events)
        known.filled = known.filled or bool(text)
        events.append(PartDelta(known.index, text, state.number, native=extra or NO_NATIVE))


def _begin_call(state: _OpenChoice, events: list[Event]) -> None:
    """Tell the call whose name was waited for: something else has come."""
    call, state.unnamed = state.unnamed, None
    if call is not None:
        call.begun = True
        events.append(PartStart(call.index, ToolCall(call.id, call.name, "", call.kind, call.native), state.number))


def more_of_name(known: str, told: str) -> str:
    """What *told* adds to the name *known* of a call none of whose arguments have come.

    Most servers tell a name once, some again with every fragment, some in pieces, and some all of it that there is.
    """
    if told == known:
        return ""
    return told.removeprefix(known)


def _end_choice(state: _OpenChoice, events: list[Event]) -> None:
    for inside, text in state.splitter.close() if state.splitter else ():
        _say(state, Thinking if inside else Text, text, events)
    if state.logprobs is not None and state.current is not None:
        events.append(PartDelta(state.current_index, "", state.number, state.logprobs))
        state.logprobs = None
    _end_current(state, events)
    _begin_call(state, events)
    for call in state.all_calls:
        if not call.filled and call.kind == "function" and state.finish_word is not None:
            events.append(PartDelta(call.index, "{}", state.number))
        events.append(PartEnd(call.index, state.number))
    if state.audio or state.audio_data:
        data = joined_base64(state.audio_data) if state.audio_data else None
        _whole(state, audio_of_answer({**state.audio, "data": data}), events)
    if state.finish_word is not None:
        reason = finish_reason(state.finish_word, has_calls=bool(state.all_calls))
        events.append(Finish(reason, state.number, native_of(state.native, **state.extra)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class StreamParser:
    """A server's bytes to events. Nothing counts after `[DONE]` or an error."""

    def __init__(self, rules: Rules | None = None, new_id: Callable[[], str] = new_call_id) -> None:
        self._decoder = SseDecoder()
        self._reader = ChunkReader(bool(rules and rules.think_tags), CallIds(new_id))
        self._closed = False

    def feed(self, piece: bytes) -> list[Event]:
        """The events that *piece* completes."""
        if self._closed:
            return []
        try:
            decoded = self._decoder.feed(piece)
        except SseError as error:
            return self._fail(error.failure)
        return self._read(decoded)

    def close(self) -> list[Event]:
        """The events that the end of the stream implies."""
        if self._closed:
            return []
        events = self._read(self._decoder.close())
        if not self._closed:
            self._closed = True
            events.extend(self._reader.close())
        return events

    def _read(self, decoded: list[SseEvent]) -> list[Event]:
        events: list[Event] = []
        for event in decoded:
            if not event.data:
                continue
            chunk = chunk_of(event)
            if isinstance(chunk, Failure):
                events.extend(self._fail(chunk))
            elif chunk is not None:
                events.extend(self._reader.read(chunk))
            else:
                self._closed = True
                events.extend(self._reader.close(done=True))
            if self._closed:
                break
        return events

    def _fail(self, failure: Failure) -> list[Event]:
        self._closed = self._reader.failed = True
        return [failure]


def chunk_of(event: SseEvent) -> dict[str, Any] | Failure | None:
    """An event's chunk, the failure that it reports or is, or None for `[DONE]`."""
    if event.data.strip() == b"[DONE]":
        return None
    try:
        chunk = loads(event.data)
    except JsonError:
        shown = event.data[:80].decode("utf-8", "replace")
        return Failure("invalid_response", f"a data line is not JSON: {shown}", 502)
    if not isinstance(chunk, dict):
        return Failure("invalid_response", "a data line is not a JSON object", 502)
    if event.event == "error" and "error" not in chunk:
        chunk = {"error": chunk}
    if "error" in chunk or chunk.get("object") == "error":
        failure = error_in(chunk)
        if failure is not None:
            return failure
    return chunk
