"""Anthropic's event stream as neutral events.

message_start --content_block_start--> open block --content_block_stop--> ... --message_delta--> reason known
reason known --message_stop or end of bytes--> Finish          anywhere --error or cut--> Failure, then silence

Text, thinking and tool arguments pass through delta by delta. What is only whole when its block ends (citations,
signatures, blocks of server tools) comes then. Usage is cumulative: a key that comes again overwrites.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from translators.anthropic.error import error_in
from translators.anthropic.response import (
    NAME,
    annotations_of,
    finish_native,
    finish_reason,
    message_native,
    parse_response,
    part_of,
    refusal_of,
    text_native,
    thinking_native,
    tool_native,
    usage_of,
)
from translators.assemble import replay
from translators.codec import JsonError, dumps_text, loads, loads_object
from translators.dialect import Rules
from translators.errors import BadAnswer
from translators.neutral import (
    NO_NATIVE,
    Event,
    Failure,
    Finish,
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
    UsageReport,
)
from translators.sse import SseDecoder, SseError, SseEvent

_CONFORMANT: Final = Rules()


@dataclass(slots=True)
class _Block:
    """An open content block: *wire* as it began and grew, *index* that of its part."""

    index: int
    wire: dict[str, Any]
    part: Part
    texts: list[str] = field(default_factory=list)
    citations: list[Mapping[str, Any]] = field(default_factory=list)


class StreamParser:
    """One answer's bytes to events. After a Failure nothing more comes."""

    def __init__(self, rules: Rules = _CONFORMANT) -> None:
        # No rule changes how this dialect is read; the parameter is that of every dialect.
        del rules
        self._decoder = SseDecoder()
        self._open: dict[int, _Block] = {}
        self._parts: list[Part] = []
        self._ending: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._started = False
        self._done = False

    @property
    def done(self) -> bool:
        """Whether the answer is over: nothing that still comes is read."""
        return self._done

    def read(self, frames: list[SseEvent]) -> list[Event]:
        """The events of *frames*, for who decodes the bytes already."""
        return self._events(frames)

    def feed(self, piece: bytes) -> list[Event]:
        """The events that *piece* completes."""
        if self._done:
            return []
        try:
            frames = self._decoder.feed(piece)
        except SseError as error:
            self._done = True
            return [error.failure]
        return self._events(frames)

    def close(self) -> list[Event]:
        """The rest of the bytes, then the Finish that a missing message_stop left open, or a Failure."""
        if self._done:
            return []
        events = self._events(self._decoder.close())
        if self._done:
            return events
        if self._ending.get("stop_reason") is not None:
            return [*events, *self._finish()]
        return [*events, *self._fail("the stream ended before the message did")]

    def _events(self, frames: list[SseEvent]) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            if self._done:
                break
            try:
                events.extend(self._frame(frame))
            except (BadAnswer, JsonError) as error:
                events.extend(self._fail(str(error)))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                # A field is missing or of a type that the dialect does not allow.
                events.extend(self._fail(f"an event of an unexpected shape: {error!r}"))
        return events

    def _fail(self, message: str) -> list[Event]:
        self._done = True
        return [Failure("invalid_response", message, 502)]

    def _frame(self, frame: SseEvent) -> list[Event]:
        if not frame.data:
            return self._bare(frame.raw)
        if frame.data == b"[DONE]":
            return []
        fields = loads_object(frame.data)
        match fields.get("type") or frame.event:
            case "message_start":
                return self._start(fields["message"])
            case "content_block_start":
                return self._block_start(fields["index"], fields["content_block"])
            case "content_block_delta":
                return self._block_delta(self._block(fields["index"]), fields["delta"])
            case "content_block_stop":
                return self._block_stop(self._open.pop(fields["index"]))
            case "message_delta":
                return self._message_delta(fields)
            case "message_stop":
                return self._finish()
            case _:
                return self._other(fields)

    def _other(self, fields: Mapping[str, Any]) -> list[Event]:
        """Errors end the stream; pings and events that are not known here say nothing."""
        failure = error_in(fields)
        if failure is None:
            return []
        self._done = True
        return [failure]

    def _bare(self, raw: bytes) -> list[Event]:
        """Bytes without a data line: comments, or JSON from a server that did not stream after all."""
        if self._started or not raw.lstrip().startswith(b"{"):
            return []
        value = loads(raw)
        failure = error_in(value)
        self._done = True
        return [failure] if failure is not None else list(replay(parse_response(value)))

    def _start(self, message: Mapping[str, Any]) -> list[Event]:
        if self._started:
            return []
        self._started = True
        events: list[Event] = [
            Start(str(message.get("id") or ""), str(message.get("model") or ""), 0, message_native(message))
        ]
        events.extend(self._report(message.get("usage")))
        for position, block in enumerate(message.get("content") or ()):
            # Anthropic sends none here, some servers of its dialect begin with a whole block.
            events.extend(self._block_start(-1 - position, block))
            events.extend(self._block_stop(self._open.pop(-1 - position)))
        return events

    def _block(self, index: int) -> _Block:
        if index not in self._open:
            raise BadAnswer(f"a delta for content block {index}, which is not open")
        return self._open[index]

    def _block_start(self, wire_index: int, wire: dict[str, Any]) -> list[Event]:
        if not self._started:
            raise BadAnswer("a content block before message_start")
        part = part_of(wire)
        block = _Block(len(self._parts), dict(wire), part)
        self._open[wire_index] = block
        self._parts.append(part)
        match part:
            case Text(text):
                block.citations = list(wire.get("citations") or ())
                skeleton: Part = Text("", native=text_native([], wire))
            case Thinking(text, native):
                # A signature may come with the start; redacted data always does.
                skeleton = Thinking("", native)
            case ToolCall():
                # The start holds an empty input; the real one follows in pieces.
                skeleton, text = replace(part, arguments=""), ""
            case _:
                return []
        events: list[Event] = [PartStart(block.index, skeleton)]
        if text:
            block.texts.append(text)
            events.append(PartDelta(block.index, text))
        return events

    def _block_delta(self, block: _Block, delta: Mapping[str, Any]) -> list[Event]:
        match delta["type"], block.part:
            case "text_delta", Text():
                return self._text(block, delta["text"])
            case "thinking_delta", Thinking():
                return self._text(block, delta["thinking"])
            case "input_json_delta", ToolCall():
                return self._text(block, delta["partial_json"])
            case "input_json_delta", _:
                block.texts.append(delta["partial_json"])
            case "citations_delta", Text():
                block.citations.append(delta["citation"])
            case _:
                _merge(block.wire, delta)
        return []

    def _text(self, block: _Block, text: str) -> list[Event]:
        if not text:
            return []
        block.texts.append(text)
        return [PartDelta(block.index, text)]

    def _block_stop(self, block: _Block) -> list[Event]:
        index = block.index
        text = "".join(block.texts)
        match block.part:
            case Text():
                annotations = annotations_of(block.citations, text)
                before: list[Event] = [PartDelta(index, "", annotations=annotations)] if annotations else []
                return [*before, PartEnd(index, native=text_native(block.citations, block.wire))]
            case Thinking(native=native) if "redacted_data" in native.get(NAME, ()):
                return [PartEnd(index)]
            case Thinking():
                return [PartEnd(index, native=thinking_native(block.wire))]
            case ToolCall():
                before = [] if text else [PartDelta(index, dumps_text(block.wire.get("input") or {}))]
                native = tool_native(block.wire)
                return [*before, PartEnd(index, native=NO_NATIVE if native == block.part.native else native)]
            case _:
                if text:
                    block.wire["input"] = _parsed(text)
                whole = part_of(block.wire)
                self._parts[index] = whole
                return [PartStart(index, whole), PartEnd(index)]

    def _message_delta(self, fields: Mapping[str, Any]) -> list[Event]:
        if not self._started:
            raise BadAnswer("message_delta before message_start")
        delta = fields.get("delta") or {}
        self._ending.update({name: value for name, value in delta.items() if value is not None})
        news = {**fields, **delta, "type": None, "delta": None}
        native = message_native(news)
        events: list[Event] = [ResponseNative(native)] if native else []
        return [*events, *self._report(fields.get("usage"))]

    def _report(self, usage: Any) -> list[Event]:
        if not isinstance(usage, dict):
            return []
        self._usage.update({name: value for name, value in usage.items() if value is not None})
        return [UsageReport(usage_of(dict(self._usage)))]

    def _finish(self) -> list[Event]:
        """Ends what is open and gives the Finish, once."""
        if not self._started:
            raise BadAnswer("message_stop before message_start")
        self._done = True
        events = [event for _, block in sorted(self._open.items()) for event in self._block_stop(block)]
        try:
            reason = finish_reason(self._ending.get("stop_reason"), self._parts)
        except BadAnswer as error:
            return [*events, *self._fail(str(error))]
        if (refusal := refusal_of(self._ending)) is not None:
            index = len(self._parts)
            events.extend((PartStart(index, Refusal("")), PartDelta(index, refusal.text), PartEnd(index)))
        return [*events, Finish(reason, native=finish_native(self._ending))]


def _merge(wire: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """A delta of another kind (signature, compaction, what is still to come): its fields replace those of the block.

    Anthropic sends each of them whole, and its SDK sets rather than appends.
    """
    wire.update({name: value for name, value in delta.items() if name != "type" and value is not None})


def _parsed(text: str) -> Any:
    """The input of a server tool; the text itself when it was cut."""
    try:
        return loads(text)
    except JsonError:
        return text
