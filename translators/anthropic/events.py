"""Events as the stream of an Anthropic message.

waiting --first block, or close--> message_start --blocks, one after the other--> message_delta --close--> message_stop

Parts may be open at the same time, blocks may not: the first open part streams live, the others are held and go out
whole, in the order in which they began. `message_start` waits for the first block, so that it can tell the input
tokens that the vendor reports; without a report it tells the estimate. `message_delta` waits for `close`, since many
vendors report usage last. Refusals are known to be told only when the answer ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from translators.anthropic.answer import (
    block_of,
    call_head,
    citations_of,
    explains_refusal,
    extra_content,
    message_head,
    own,
    render_usage,
    stop_fields,
    thinking_block,
)
from translators.anthropic.arguments import LiveArguments
from translators.anthropic.error import error_envelope
from translators.anthropic.response import NAME
from translators.assemble import merge_native
from translators.codec import dumps
from translators.dialect import ReplyTo
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
    ToolCall,
    Usage,
    UsageReport,
)
from translators.sse import comment, frame

MESSAGE_STOP: Final = frame(b'{"type":"message_stop"}', "message_stop")
_INPUT_IN_PIECES: Final = frozenset({"server_tool_use", "mcp_tool_use"})
"""Blocks of the vendor's own tools whose input comes in deltas, for which clients wait."""
_TEXT_DELTAS: Final[Mapping[type[Part], bytes]] = {
    Text: b'"delta":{"type":"text_delta","text":',
    Thinking: b'"delta":{"type":"thinking_delta","thinking":',
    ToolCall: b'"delta":{"type":"input_json_delta","partial_json":',
}


@dataclass(slots=True)
class _Block:
    """A part on its way. *head* is the constant beginning of its deltas' frames, empty until the block has begun."""

    part: Part
    index: int = -1
    head: bytes = b""
    held: list[PartDelta | PartEnd] = field(default_factory=list)
    native: Native = field(default_factory=dict)
    annotations: list[Mapping[str, Any]] = field(default_factory=list)
    arguments: LiveArguments | None = None


class StreamRenderer:
    """Renders events for one client; see `translators.dialect.StreamRenderer`."""

    def __init__(self, to: ReplyTo) -> None:
        self._to = to
        self._start = Start("", "", 0)
        self._begun = False
        self._usage: Usage | None = None
        self._blocks: dict[int, _Block] = {}
        self._live: _Block | None = None
        self._waiting: deque[_Block] = deque()
        self._written = 0
        self._refusals: dict[int, list[str]] = {}
        self._refusal_told = False
        self._foreign: list[Opaque] = []
        self._has_calls = False
        self._late: Native = NO_NATIVE
        self._finish: Finish | None = None

    def render(self, events: Sequence[Event]) -> bytes:
        """The frames for *events*; empty when they have no visible form yet."""
        frames: list[bytes] = []
        for event in events:
            match event:
                case PartDelta(choice=0) | PartEnd(choice=0):
                    self._more(event, frames)
                case PartStart(choice=0):
                    self._part(event, frames)
                case Finish(choice=0):
                    self._finish = event
                    self._end_blocks(frames)
                case Start():
                    self._start = event
                case UsageReport():
                    self._usage = event.usage
                case ResponseNative():
                    self._late = merge_native(self._late, event.native)
                case Failure() | PartDelta() | PartEnd() | PartStart() | Finish():
                    # Failures are written by `fail`; of several choices only the first has a place here.
                    continue
        return b"".join(frames)

    def fail(self, failure: Failure) -> bytes:
        """The error as an event; nothing follows it."""
        return frame(dumps(error_envelope(failure)), "error")

    def close(self, receipt: bytes | None = None) -> bytes:
        """What is open, the reason and the usage; then *receipt* as a comment, and `message_stop`."""
        frames: list[bytes] = []
        self._end_blocks(frames)
        self._begin_message(frames)
        frames.append(frame(dumps(self._message_delta()), "message_delta"))
        if receipt is not None:
            frames.append(comment(b"modelport " + receipt))
        frames.append(MESSAGE_STOP)
        return b"".join(frames)

    # --- the message ---

    def _begin_message(self, frames: list[bytes]) -> None:
        if self._begun:
            return
        self._begun = True
        message = {
            **message_head(self._start.id, self._start.model, self._to),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": render_usage(self._usage, self._to),
        }
        for name, value in own(self._start.native).items():
            message.setdefault(name, value)
        frames.append(frame(dumps({"type": "message_start", "message": message}), "message_start"))

    def _message_delta(self) -> dict[str, Any]:
        reason, native = (None, NO_NATIVE) if self._finish is None else (self._finish.reason, self._finish.native)
        delta = stop_fields(reason, native, self._refusal(), self._to, has_calls=self._has_calls)
        late = dict(own(self._late))
        if (container := late.pop("container", None)) is not None:
            delta["container"] = container
        event: dict[str, Any] = {
            "type": "message_delta",
            "delta": delta,
            "usage": render_usage(self._usage, self._to),
        }
        for name, value in late.items():
            event.setdefault(name, value)
        if extra := extra_content((self._start.native, self._late, native), self._foreign):
            event["extra_content"] = extra
        return event

    # --- parts ---

    def _part(self, event: PartStart, frames: list[bytes]) -> None:
        part = event.part
        block = self._blocks[event.index] = _Block(part)
        match part:
            case Refusal():
                self._refusals[event.index] = [part.text]
                return
            case Opaque() if part.dialect != NAME:
                self._foreign.append(part)
                return
            case ToolCall():
                self._has_calls = True
        if self._live is None:
            self._live = block
            self._begin(block, frames)
        else:
            self._waiting.append(block)

    def _more(self, event: PartDelta | PartEnd, frames: list[bytes]) -> None:
        block = self._blocks[event.index]
        if block is self._live:
            if isinstance(event, PartDelta):
                self._delta(block, event, frames)
            else:
                self._end(block, event.native, frames)
                self._next(frames)
        elif isinstance(block.part, Refusal):
            self._refusals[event.index].append(event.text if isinstance(event, PartDelta) else "")
        else:
            block.held.append(event)

    def _next(self, frames: list[bytes]) -> None:
        """The parts that waited: whole while they are complete, then one that streams live."""
        self._live = None
        while self._waiting:
            block = self._waiting.popleft()
            self._begin(block, frames)
            for event in block.held:
                if isinstance(event, PartEnd):
                    self._end(block, event.native, frames)
                else:
                    self._delta(block, event, frames)
            if not block.held or not isinstance(block.held[-1], PartEnd):
                self._live = block
                return

    def _end_blocks(self, frames: list[bytes]) -> None:
        """End what the vendor left open, then tell the refusal."""
        while self._live is not None:
            self._end(self._live, NO_NATIVE, frames)
            self._next(frames)
        refusal = self._refusal()
        explained = self._finish is not None and explains_refusal(self._finish.native)
        if refusal and not explained and not self._refusal_told:
            self._refusal_told = True
            self._whole({"type": "text", "text": refusal}, frames)

    def _refusal(self) -> str:
        return "".join(text for texts in self._refusals.values() for text in texts)

    # --- blocks ---

    def _begin(self, block: _Block, frames: list[bytes]) -> None:
        """Begin the block of a call, or write a part that has no deltas; texts begin with their first words."""
        part = block.part
        match part:
            case Text() | Thinking():
                block.native = part.native
                if part.text:
                    self._text(block, part.text, frames)
            case ToolCall():
                block.native = part.native
                block.arguments = LiveArguments(free_text=part.kind == "custom")
                self._open(block, {**call_head(part), "input": {}}, frames)
                self._text(block, block.arguments.feed(part.arguments), frames)
            case _ if (whole := block_of(part)) is not None:
                self._whole(whole, frames)

    def _delta(self, block: _Block, event: PartDelta, frames: list[bytes]) -> None:
        if event.native:
            block.native = merge_native(block.native, event.native)
        if event.annotations:
            block.annotations.extend(event.annotations)
        text = event.text
        if block.arguments is not None:
            text = block.arguments.feed(text)
        self._text(block, text, frames)

    def _text(self, block: _Block, text: str, frames: list[bytes]) -> None:
        if not text:
            return
        if not block.head:
            part = block.part
            if isinstance(part, Thinking):
                self._open(block, {"type": "thinking", "thinking": "", "signature": ""}, frames)
            else:
                fields = {name: value for name, value in own(block.native).items() if name != "citations"}
                self._open(block, {"type": "text", "text": "", **fields}, frames)
        frames.append(block.head + dumps(text) + b"}}\n\n")

    def _end(self, block: _Block, native: Native, frames: list[bytes]) -> None:
        if native:
            block.native = merge_native(block.native, native)
        match block.part:
            case Text():
                citations = citations_of(block.annotations, block.native) if block.head else []
                frames.extend(
                    _delta_frame(block.index, {"type": "citations_delta", "citation": citation})
                    for citation in citations
                )
            case Thinking():
                self._sign(block, frames)
            case ToolCall() if block.arguments is not None:
                self._text(block, block.arguments.close(), frames)
        if block.head:
            frames.append(_stop_frame(block.index))

    def _sign(self, block: _Block, frames: list[bytes]) -> None:
        """The signature of a thought; a thought that cannot be read begins here."""
        signed = thinking_block("-" if block.head else "", block.native)
        if signed is None:
            return
        if signed["type"] == "redacted_thinking":
            if not block.head:
                self._whole(signed, frames)
            return
        if not block.head:
            self._open(block, {"type": "thinking", "thinking": "", "signature": ""}, frames)
        frames.append(_delta_frame(block.index, {"type": "signature_delta", "signature": signed["signature"]}))

    def _open(self, block: _Block, wire: Mapping[str, Any], frames: list[bytes]) -> None:
        self._begin_message(frames)
        block.index = self._written
        self._written += 1
        frames.append(_start_frame(block.index, wire))
        block.head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,%b' % (
            block.index,
            _TEXT_DELTAS[type(block.part)],
        )

    def _whole(self, wire: Mapping[str, Any], frames: list[bytes]) -> None:
        """A block that is complete: as deltas too, where clients read only those."""
        self._begin_message(frames)
        index = self._written
        self._written += 1
        deltas: list[dict[str, Any]] = []
        kind = wire.get("type")
        if kind == "text":
            deltas.append({"type": "text_delta", "text": wire["text"]})
            wire = {**wire, "text": ""}
        elif kind in _INPUT_IN_PIECES and isinstance(wire.get("input"), dict):
            deltas.append({"type": "input_json_delta", "partial_json": dumps(wire["input"]).decode()})
            wire = {**wire, "input": {}}
        frames.append(_start_frame(index, wire))
        frames.extend(_delta_frame(index, delta) for delta in deltas)
        frames.append(_stop_frame(index))


def _delta_frame(index: int, delta: Mapping[str, Any]) -> bytes:
    event = {"type": "content_block_delta", "index": index, "delta": delta}
    return frame(dumps(event), "content_block_delta")


def _start_frame(index: int, wire: Mapping[str, Any]) -> bytes:
    event = {"type": "content_block_start", "index": index, "content_block": wire}
    return frame(dumps(event), "content_block_start")


def _stop_frame(index: int) -> bytes:
    return frame(b'{"type":"content_block_stop","index":%d}' % index, "content_block_stop")
