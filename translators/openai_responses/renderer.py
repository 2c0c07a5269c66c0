"""Events as the stream of a Responses answer.

response.created, response.in_progress, then for each item

    message    output_item.added, for each text: content_part.added output_text.delta* .done .done, output_item.done
    reasoning  output_item.added, reasoning_summary_part.added ..._text.delta* .done .done, output_item.done
    call       output_item.added, function_call_arguments.delta* .done, output_item.done

and response.completed or response.incomplete with the whole answer. `sequence_number` counts all events from 0.

An item is done when the next one has begun or the answer has ended: only then it is known whether a message goes on
and whether the last item was cut off. Parts that are open at once belong to items of their own `output_index`.
A failure is told twice, as OpenAI does: an `error` event, at which the SDKs raise, and `response.failed`, which is
what Codex waits for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from translators.assemble import merge_native
from translators.codec import dumps
from translators.dialect import ReplyTo
from translators.neutral import (
    NO_NATIVE,
    Choice,
    Event,
    Failure,
    Finish,
    FinishReason,
    Native,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Response,
    ResponseNative,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    UsageReport,
)
from translators.openai_chat.error import error_envelope
from translators.openai_responses.answer import (
    ItemStatus,
    content_part,
    ending,
    finished,
    head,
    item_id,
    joins,
    logprob_shares,
    outward_annotation,
    render_item,
    render_logprobs,
    response_error,
    visible,
)
from translators.openai_responses.namespaces import home
from translators.sse import comment


@dataclass(slots=True)
class _OpenPart:
    """A part on its way. *place* is its `content_index` or `summary_index`."""

    part: Part
    item: _OpenItem
    place: int
    texts: list[str] = field(default_factory=list)
    annotations: list[Mapping[str, Any]] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    native: Native = field(default_factory=dict)
    delta_head: bytes = b""
    """Of a frame with more text: all before the sequence number."""
    delta_middle: bytes = b""
    """All between the sequence number and the text."""
    delta_tail: bytes = b""
    begun: bool = False
    """Of a thought: whether its summary has been announced, which an empty one is not."""
    ended: bool = False

    def built(self) -> Part:
        """The part with all that came."""
        text = "".join(self.texts)
        match self.part:
            case Text() as part:
                annotations = (*part.annotations, *self.annotations)
                native = merge_native(part.native, self.native)
                return replace(part, text=part.text + text, annotations=annotations, native=native)
            case Thinking() | Refusal() as part:
                return replace(part, text=part.text + text, native=merge_native(part.native, self.native))
            case ToolCall() as part:
                return replace(part, arguments=part.arguments + text, native=merge_native(part.native, self.native))
            case part:
                return part


@dataclass(slots=True)
class _OpenItem:
    """An output item on its way."""

    id: str
    position: int
    parts: list[_OpenPart] = field(default_factory=list)
    done: dict[str, Any] | None = None
    """Its final form, once the client has been told."""

    @property
    def is_message(self) -> bool:
        """Whether it is one of texts and refusals."""
        return isinstance(self.parts[0].part, Text | Refusal)

    @property
    def has_ended(self) -> bool:
        """Whether all its parts have."""
        return all(part.ended for part in self.parts)

    def rendered(self, status: ItemStatus) -> dict[str, Any]:
        """The whole item."""
        parts = [part.built() for part in self.parts]
        return render_item(parts, [part.logprobs for part in self.parts], self.id, status)


class StreamRenderer:
    """Renders events for one client; see `translators.dialect.StreamRenderer`."""

    def __init__(self, to: ReplyTo) -> None:
        self._to = to
        self._names = home(to.request)
        self._number = 0
        self._start: Start | None = None
        self._parts: dict[int, _OpenPart] = {}
        self._items: list[_OpenItem] = []
        self._undone: list[_OpenItem] = []
        self._hidden: list[Part] = []
        self._logprobs: list[TokenLogprob] = []
        self._finish: Finish | None = None
        self._native: Native = NO_NATIVE
        self._usage: Usage | None = None

    def render(self, events: Sequence[Event]) -> bytes:
        """The frames for *events*; empty when they have no visible form yet."""
        frames: list[bytes] = []
        for event in events:
            match event:
                case PartDelta():
                    if event.choice == 0:
                        self._delta(event, frames)
                case PartStart():
                    if event.choice == 0:
                        self._part_start(event, frames)
                case PartEnd():
                    if event.choice == 0:
                        self._part_end(event, frames)
                case Finish():
                    if event.choice == 0:
                        self._end(event, frames)
                case Start():
                    self._begin(event, frames)
                case UsageReport():
                    self._usage = event.usage
                case ResponseNative():
                    self._native = merge_native(self._native, event.native)
                case Failure():
                    continue
        return b"".join(frames)

    def fail(self, failure: Failure) -> bytes:
        """The error, and the answer that failed with what of it is complete."""
        error = error_envelope(failure)["error"]
        frames = [self._frame("error", {**error, "type": "error", "error": error})]
        response = self._whole([item.done for item in self._items if item.done is not None])
        response |= {"status": "failed", "error": response_error(failure), "incomplete_details": None}
        frames.append(self._frame("response.failed", {"response": response}))
        return b"".join(frames)

    def close(self, receipt: bytes | None = None) -> bytes:
        """What is still open, *receipt* as a comment, and the event with the whole answer."""
        frames: list[bytes] = []
        self._begun(frames)
        self._end_parts(frames)
        self._end_items(frames, self._last_status())
        self._share_logprobs()
        if receipt is not None:
            frames.append(comment(b"modelport " + receipt))
        response = self._whole([item.done for item in self._items if item.done is not None])
        frames.append(self._frame(f"response.{response['status']}", {"response": response}))
        return b"".join(frames)

    # --- the answer ---

    def _share_logprobs(self) -> None:
        """Give each of several texts the log probabilities of its own tokens, as whole answers do."""
        texts = [open_part for item in self._items for open_part in item.parts if item.is_message]
        if not self._logprobs or len(texts) < 2:
            return
        for open_part, share in zip(
            texts, logprob_shares([part.built() for part in texts], self._logprobs), strict=True
        ):
            open_part.logprobs = list(share)
        for item in self._items:
            if item.is_message and item.done is not None:
                item.done = item.rendered(item.done["status"])

    def _begin(self, start: Start, frames: list[bytes]) -> None:
        if self._start is not None:
            return
        self._start = start
        self._native = merge_native(start.native, self._native)
        response = self._head()
        frames.append(self._frame("response.created", {"response": response}))
        frames.append(self._frame("response.in_progress", {"response": response}))

    def _begun(self, frames: list[bytes]) -> None:
        if self._start is None:
            self._begin(Start("", "", 0), frames)

    def _head(self) -> dict[str, Any]:
        start = self._start or Start("", "", 0)
        return head(start.id, start.model, start.created, self._to)

    def _choice(self) -> Choice:
        reason: FinishReason | None = None
        native = NO_NATIVE
        if self._finish is not None:
            reason, native = self._finish.reason, self._finish.native
        return Choice(tuple(self._hidden), reason, native=native)

    def _whole(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        whole = Response("", "", 0, (), self._usage, native=self._native)
        return finished(self._head(), output, self._choice(), whole, self._to)

    def _frame(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        number = self._number
        self._number = number + 1
        return b"event: %b\ndata: %b\n\n" % (
            kind.encode(),
            dumps({"type": kind, "sequence_number": number, **fields}),
        )

    # --- items ---

    def _part_start(self, event: PartStart, frames: list[bytes]) -> None:
        self._begun(frames)
        part = visible(event.part, self._names)
        if part is None:
            if isinstance(event.part, Opaque):
                self._hidden.append(event.part)
            return
        last = self._items[-1] if self._items else None
        if last is not None and last.done is None and joins(last.parts[-1].part, part):
            item = last
        else:
            item = _OpenItem(item_id(part, len(self._items), self._to), len(self._items))
            self._items.append(item)
            self._undone.append(item)
        skeleton = _emptied(part)
        open_part = self._parts[event.index] = _OpenPart(skeleton, item, len(item.parts))
        item.parts.append(open_part)
        if item is not last:
            self._end_items(frames)
            added = item.rendered("in_progress")
            if isinstance(part, Text | Refusal):
                added["content"] = []
            frames.append(self._frame("response.output_item.added", {"output_index": item.position, "item": added}))
        self._announce(open_part, frames)
        text = part.arguments if isinstance(part, ToolCall) else getattr(part, "text", "")
        if text or (isinstance(part, Text) and part.annotations):
            annotations = part.annotations if isinstance(part, Text) else ()
            self._delta(PartDelta(event.index, text, annotations=annotations), frames)

    def _announce(self, open_part: _OpenPart, frames: list[bytes]) -> None:
        """The frame with which a part begins, and the shape of those with its text."""
        item = open_part.item
        match open_part.part:
            case Text():
                self._shape(open_part, "response.output_text.delta", b',"logprobs":[]}\n\n')
            case Refusal():
                self._shape(open_part, "response.refusal.delta")
            case Thinking():
                self._shape(open_part, "response.reasoning_summary_text.delta")
            case ToolCall(kind="custom"):
                self._shape(open_part, "response.custom_tool_call_input.delta")
            case ToolCall():
                self._shape(open_part, "response.function_call_arguments.delta")
            case _:
                return
        if isinstance(open_part.part, Text | Refusal):
            added = {**self._place(open_part), "part": content_part(open_part.part)}
            frames.append(self._frame("response.content_part.added", {"item_id": item.id, **added}))

    def _shape(self, open_part: _OpenPart, kind: str, tail: bytes = b"}\n\n") -> None:
        name = kind.encode()
        open_part.delta_head = b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name)
        open_part.delta_middle = b',%b,"delta":' % dumps({"item_id": open_part.item.id, **self._place(open_part)})[1:-1]
        open_part.delta_tail = tail

    def _place(self, open_part: _OpenPart) -> dict[str, Any]:
        """Where in the output *open_part* is."""
        place = {"output_index": open_part.item.position}
        match open_part.part:
            case Text() | Refusal():
                place["content_index"] = open_part.place
            case Thinking():
                place["summary_index"] = 0
            case _:
                pass
        return place

    # --- parts ---

    def _delta(self, event: PartDelta, frames: list[bytes]) -> None:
        open_part = self._parts.get(event.index)
        if open_part is None:
            return
        text = event.text
        if event.native:
            open_part.native = merge_native(open_part.native, event.native)
        if event.logprobs:
            self._logprobs.extend(event.logprobs)
        if event.logprobs and isinstance(open_part.part, Text):
            self._text_with_logprobs(event, open_part, frames)
        elif text and open_part.delta_head:
            if not open_part.begun and isinstance(open_part.part, Thinking):
                self._begin_summary(open_part, frames)
            open_part.texts.append(text)
            number = self._number
            self._number = number + 1
            frames.append(
                b"%b%d%b%b%b"
                % (open_part.delta_head, number, open_part.delta_middle, dumps(text), open_part.delta_tail)
            )
        for annotation in event.annotations:
            self._annotation(annotation, open_part, frames)

    def _text_with_logprobs(self, event: PartDelta, open_part: _OpenPart, frames: list[bytes]) -> None:
        logprobs = event.logprobs or ()
        open_part.texts.append(event.text)
        open_part.logprobs.extend(logprobs)
        fields = {"item_id": open_part.item.id, **self._place(open_part), "delta": event.text}
        frames.append(self._frame("response.output_text.delta", {**fields, "logprobs": render_logprobs(logprobs)}))

    def _annotation(self, annotation: Mapping[str, Any], open_part: _OpenPart, frames: list[bytes]) -> None:
        if not isinstance(open_part.part, Text):
            return
        fields = {
            "item_id": open_part.item.id,
            **self._place(open_part),
            "annotation_index": len(open_part.annotations),
            "annotation": outward_annotation(annotation),
        }
        open_part.annotations.append(annotation)
        frames.append(self._frame("response.output_text.annotation.added", fields))

    def _begin_summary(self, open_part: _OpenPart, frames: list[bytes]) -> None:
        open_part.begun = True
        fields = {"item_id": open_part.item.id, **self._place(open_part)}
        part = {"type": "summary_text", "text": ""}
        frames.append(self._frame("response.reasoning_summary_part.added", {**fields, "part": part}))

    def _part_end(self, event: PartEnd, frames: list[bytes]) -> None:
        open_part = self._parts.get(event.index)
        if open_part is None or open_part.ended:
            return
        if event.native:
            open_part.native = merge_native(open_part.native, event.native)
        self._end_part(open_part, frames)
        if open_part.item is not self._items[-1]:
            self._end_items(frames)

    def _end_part(self, open_part: _OpenPart, frames: list[bytes]) -> None:
        open_part.ended = True
        part = open_part.built()
        fields: dict[str, Any] = {"item_id": open_part.item.id, **self._place(open_part)}
        match part:
            case Text():
                done = content_part(part, open_part.logprobs)
                said = {"text": part.text, "logprobs": done["logprobs"]}
                frames.append(self._frame("response.output_text.done", {**fields, **said}))
                frames.append(self._frame("response.content_part.done", {**fields, "part": done}))
            case Refusal():
                frames.append(self._frame("response.refusal.done", {**fields, "refusal": part.text}))
                frames.append(self._frame("response.content_part.done", {**fields, "part": content_part(part)}))
            case Thinking() if open_part.begun:
                frames.append(self._frame("response.reasoning_summary_text.done", {**fields, "text": part.text}))
                summary = {"type": "summary_text", "text": part.text}
                frames.append(self._frame("response.reasoning_summary_part.done", {**fields, "part": summary}))
            case ToolCall(kind="custom"):
                frames.append(self._frame("response.custom_tool_call_input.done", {**fields, "input": part.arguments}))
            case ToolCall():
                self._end_arguments(part, open_part, fields, frames)
            case _:
                return

    def _end_arguments(
        self, part: ToolCall, open_part: _OpenPart, fields: Mapping[str, Any], frames: list[bytes]
    ) -> None:
        arguments = part.arguments
        if not arguments:
            # The SDK's snapshot is what the deltas gave, and it is read as JSON.
            arguments = "{}"
            open_part.texts.append(arguments)
            frames.append(self._frame("response.function_call_arguments.delta", {**fields, "delta": arguments}))
        done = {**fields, "arguments": arguments}
        frames.append(self._frame("response.function_call_arguments.done", done))

    # --- ends ---

    def _end(self, finish: Finish, frames: list[bytes]) -> None:
        self._begun(frames)
        self._finish = finish
        self._end_parts(frames)
        self._end_items(frames, self._last_status())

    def _last_status(self) -> ItemStatus:
        return "incomplete" if ending(self._choice())[0] == "incomplete" else "completed"

    def _end_parts(self, frames: list[bytes]) -> None:
        for open_part in self._parts.values():
            if not open_part.ended:
                self._end_part(open_part, frames)

    def _end_items(self, frames: list[bytes], last_status: ItemStatus | None = None) -> None:
        """The frames of items that have ended. The newest one may go on unless *last_status* says how it ends."""
        newest = self._items[-1] if self._items else None
        waiting: list[_OpenItem] = []
        for item in self._undone:
            status: ItemStatus | None = last_status if item is newest else "completed"
            if status is None or not item.has_ended:
                waiting.append(item)
                continue
            item.done = item.rendered(status)
            done = {"output_index": item.position, "item": item.done}
            frames.append(self._frame("response.output_item.done", done))
        self._undone = waiting


def _emptied(part: Part) -> Part:
    """*part* without its text."""
    match part:
        case Text():
            return replace(part, text="", annotations=())
        case Thinking() | Refusal():
            return replace(part, text="")
        case ToolCall():
            return replace(part, arguments="")
        case _:
            return part
