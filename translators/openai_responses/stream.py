"""A Responses event stream as neutral events.

created --> items: added --> deltas --> done --> ... --completed, incomplete--> Finish
anywhere: failed, error, or a cut --> Failure, then silence

Deltas pass through one by one. Whatever a `done` event, a finished item or the final response holds beyond the deltas
is given then, so a server that streams whole items, or nothing before its last event, loses nothing.
An item is known by its `output_index`: ids change within one item behind some servers (Copilot).
Several items may be open at once (OpenRouter). Events that are not known here say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from translators.assemble import replay
from translators.codec import JsonError, loads_object
from translators.dialect import Rules
from translators.errors import BadAnswer
from translators.neutral import (
    NO_NATIVE,
    Event,
    Failure,
    Finish,
    Native,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    ResponseNative,
    Start,
    Text,
    Thinking,
    Usage,
    UsageReport,
)
from translators.openai_chat.parts import created_s, objects_in
from translators.openai_responses.error import error_in
from translators.openai_responses.items import (
    CALLS,
    PARAGRAPHS,
    call_of,
    inward_annotations,
    logprobs_of,
    message_native,
    own,
    parts_of,
    reasoning_native,
    text_in,
)
from translators.openai_responses.response import finish_native, finish_reason, parse_response, response_native
from translators.openai_responses.usage import usage_in
from translators.sse import SseDecoder, SseError, SseEvent

_CONFORMANT: Final = Rules()
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.done"})
_FAILURES: Final = frozenset({"error", "response.error", "response.failed", "response.cancelled"})
_BEGINNINGS: Final = frozenset({"response.created", "response.in_progress", "response.queued"})


@dataclass(slots=True)
class _OpenPart:
    """A part that has started: its index, and how much of it came."""

    index: int
    characters: int = 0
    citations: int = 0
    has_logprobs: bool = False
    ended: bool = False


@dataclass(slots=True)
class _Item:
    """An item: *wire* as it was last told, and the parts that it has become, by `content_index`."""

    wire: Mapping[str, Any]
    parts: dict[int, _OpenPart] = field(default_factory=dict)
    thought: str = ""
    """Of reasoning: whether its summary or its content is what is read, decided by what comes first."""
    thought_index: int = 0
    thought_characters: dict[int, int] = field(default_factory=dict)
    """How much of each paragraph came."""
    native: Native = field(default_factory=dict)
    """What a call began with."""
    done: bool = False

    @property
    def kind(self) -> str:
        """The type of the item."""
        return text_in(self.wire.get("type"))


class EventReader:
    """Decoded events to neutral ones; what `StreamParser` and a relay share. Raises nothing for any JSON object."""

    def __init__(self) -> None:
        self.started = False
        self.done = False
        self.failed = False
        self.usage: Usage | None = None
        """The tokens that the server told; None when it did not, or they cannot be any."""
        self._items: dict[int | str, _Item] = {}
        self._texts: dict[tuple[int | str, Any], _OpenPart] = {}
        """The open texts, for the event of which a stream consists."""
        self._parts = 0
        self._calls = 0

    def read(self, event: Mapping[str, Any]) -> list[Event]:
        """What one event means. After a terminal event nothing more comes."""
        if self.done:
            return []
        events: list[Event] = []
        try:
            kind = event.get("type")
            if kind == "response.output_text.delta" and not event.get("logprobs"):
                open_part = self._texts.get((event.get("output_index", ""), event.get("content_index")))
                if open_part is not None and not open_part.ended and type(text := event.get("delta")) is str and text:
                    open_part.characters += len(text)
                    return [PartDelta(open_part.index, text)]
            self._read(text_in(kind), event, events)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            # A field is of a type that the dialect does not allow.
            return [
                *events,
                *self._fail(Failure("invalid_response", f"an event of an unexpected shape: {error!r}", 502)),
            ]
        return events

    def close(self) -> list[Event]:
        """The Failure of a stream that was cut; nothing after its terminal event."""
        if self.done:
            return []
        words = "was cut before its end" if self.started else "ended without an answer"
        return self._fail(Failure("invalid_response", f"the stream {words}", 502))

    def _fail(self, failure: Failure) -> list[Event]:
        self.done = self.failed = True
        return [failure]

    # --- events ---

    def _read(self, kind: str, event: Mapping[str, Any], events: list[Event]) -> None:
        if kind in _FAILURES or (not kind and event.get("error")):
            self._failure(event, events)
            return
        if kind in _BEGINNINGS:
            self._start(event.get("response"), events)
            return
        if not kind.startswith("response."):
            return
        self._start(event.get("response"), events)
        if kind in _ENDS:
            self._end(event.get("response"), events)
            return
        key = self._key(event)
        name = kind.removeprefix("response.")
        if not self._content_event(name, key, event, events):
            self._item_event(name, key, event, events)

    def _content_event(self, name: str, key: int | str, event: Mapping[str, Any], events: list[Event]) -> bool:
        """An event about a message's content; whether it was one."""
        match name:
            case "output_text.delta" | "refusal.delta":
                self._text(key, event, text_in(event.get("delta")), events)
            case "content_part.added" | "content_part.done":
                self._content_part(key, event, name.endswith("done"), events)
            case "output_text.done":
                self._whole_text(key, event, "output_text", events)
            case "refusal.done":
                self._whole_text(key, event, "refusal", events)
            case "output_text.annotation.added":
                open_part = self._open_content(key, event.get("content_index"), Text, events)
                self._annotate(open_part, [event.get("annotation")], open_part.citations, events)
            case _:
                return False
        return True

    def _item_event(self, name: str, key: int | str, event: Mapping[str, Any], events: list[Event]) -> None:
        """An event about an item itself, its reasoning or its arguments."""
        match name:
            case "output_item.added":
                self._item_added(self._item(key, event.get("item")), events)
            case "output_item.done":
                self._item_done(self._item(key, event.get("item")), event.get("item"), events)
            case "reasoning_summary_text.delta" | "reasoning_text.delta":
                self._think(key, event, text_in(event.get("delta")), events, whole=False)
            case "reasoning_summary_text.done" | "reasoning_text.done":
                self._think(key, event, text_in(event.get("text")), events, whole=True)
            case "function_call_arguments.delta" | "custom_tool_call_input.delta":
                self._arguments(self._item(key, None, name), text_in(event.get("delta")), events)
            case "function_call_arguments.done" | "custom_tool_call_input.done":
                item = self._item(key, None, name)
                self._rest_of_arguments(item, event.get(CALLS.get(item.kind, "arguments")), events)
            case _:
                return

    def _start(self, response: Any, events: list[Event]) -> None:
        if self.started:
            return
        self.started = True
        told = response if isinstance(response, dict) else {}
        events.append(Start(text_in(told.get("id")), text_in(told.get("model")), created_s(told.get("created_at"))))

    def _failure(self, event: Mapping[str, Any], events: list[Event]) -> None:
        response = event.get("response")
        told = response if isinstance(response, dict) else event
        if (usage := usage_in(told)) is not None:
            self.usage = usage
            events.append(UsageReport(usage))
        failure = error_in(told) or Failure("server", "the vendor's stream ended in an error without a reason", 502)
        events.extend(self._fail(failure))

    def _end(self, response: Any, events: list[Event]) -> None:
        """The final response: what no event before it has told, the ends of all parts, how it ended."""
        told = response if isinstance(response, dict) else {}
        if told.get("status") in ("failed", "cancelled"):
            self._failure({"response": told}, events)
            return
        self._untold_items(told.get("output"), events)
        for item in self._items.values():
            if not item.done:
                self._item_done(item, item.wire, events)
        if native := response_native(told):
            events.append(ResponseNative(native))
        if (usage := usage_in(told)) is not None:
            self.usage = usage
            events.append(UsageReport(usage))
        self.done = True
        reason = finish_reason(told, has_calls=self._calls > 0)
        events.append(Finish(reason or "stop", native=finish_native(told)))

    def _untold_items(self, output: Any, events: list[Event]) -> None:
        ids = {item.wire.get("id") for item in self._items.values() if item.done and item.wire.get("id")}
        for position, wire in enumerate(objects_in(output)):
            known = self._items.get(position)
            if known is None and wire.get("id"):
                known = self._items.get(text_in(wire.get("id")))
            if known is None and wire.get("id") not in ids:
                known = self._items[position] = _Item(wire)
            if known is not None and not known.done and known.kind == wire.get("type"):
                self._item_done(known, wire, events)

    # --- items ---

    @staticmethod
    def _key(event: Mapping[str, Any]) -> int | str:
        """What the item of *event* is known by."""
        index = event.get("output_index")
        if type(index) is int:
            return index
        item = event.get("item")
        return text_in(event.get("item_id")) or (text_in(item.get("id")) if isinstance(item, dict) else "")

    def _item(self, key: int | str, wire: Any, event_kind: str = "") -> _Item:
        """The item of *key*, which an event may speak of before it was added."""
        item = self._items.get(key)
        if item is None:
            if not isinstance(wire, dict):
                kind = "custom_tool_call" if "custom_tool" in event_kind else "function_call"
                wire = {"type": kind if event_kind else "message"}
            item = self._items[key] = _Item(wire)
        return item

    def _open(self, part: Part, events: list[Event]) -> _OpenPart:
        open_part = _OpenPart(self._parts)
        self._parts += 1
        events.append(PartStart(open_part.index, part))
        return open_part

    def _item_added(self, item: _Item, events: list[Event]) -> None:
        if item.kind == "reasoning":
            self._open_thought(item, events)
        elif item.kind in CALLS and item.wire.get("name"):
            self._open_call(item, events)

    def _item_done(self, item: _Item, wire: Any, events: list[Event]) -> None:
        """Everything of an item that did not come before, and its end."""
        if item.done:
            return
        item.done = True
        told = wire if isinstance(wire, dict) else item.wire
        item.wire = told
        if item.kind == "message":
            for at, content in enumerate(objects_in(told.get("content"))):
                self._whole_content(item, at, content, events)
            for open_part in item.parts.values():
                self._end_part(open_part, own(message_native(told)), events)
        elif item.kind == "reasoning":
            open_part = self._open_thought(item, events)
            self._rest_of_thought(item, events)
            self._end_part(open_part, own(reasoning_native(told)), events)
        elif item.kind in CALLS:
            self._rest_of_arguments(item, told.get(CALLS[item.kind]), events)
            native = call_of(told).native
            self._end_part(item.parts[0], NO_NATIVE if native == item.native else native, events)
        elif item.kind:
            for part in parts_of(told):
                self._end_part(self._open(part, events), NO_NATIVE, events)

    def _end_part(self, open_part: _OpenPart, native: Native, events: list[Event]) -> None:
        if not open_part.ended:
            open_part.ended = True
            events.append(PartEnd(open_part.index, native=native))

    # --- messages ---

    def _open_content(self, key: int | str, at: Any, kind: type[Text | Refusal], events: list[Event]) -> _OpenPart:
        item = self._item(key, None)
        position = at if type(at) is int else 0
        open_part = item.parts.get(position)
        if open_part is None:
            part = kind("", native=own(message_native(item.wire)))
            open_part = item.parts[position] = self._open(part, events)
            if kind is Text:
                self._texts[key, at] = open_part
        return open_part

    def _text(self, key: int | str, event: Mapping[str, Any], text: str, events: list[Event]) -> None:
        kind = Refusal if event["type"] == "response.refusal.delta" else Text
        open_part = self._open_content(key, event.get("content_index"), kind, events)
        logprobs = logprobs_of(event.get("logprobs"))
        if (text or logprobs) and not open_part.ended:
            open_part.characters += len(text)
            open_part.has_logprobs |= logprobs is not None
            events.append(PartDelta(open_part.index, text, logprobs=logprobs))

    def _content_part(self, key: int | str, event: Mapping[str, Any], ends: bool, events: list[Event]) -> None:
        item, content = self._item(key, None), event.get("part")
        if item.kind != "message" or not isinstance(content, dict):
            return
        at = event.get("content_index")
        if ends:
            self._whole_content(item, at if type(at) is int else 0, content, events)
        elif content.get("type") in ("output_text", "text"):
            self._open_content(key, at, Text, events)
        elif content.get("type") == "refusal":
            self._open_content(key, at, Refusal, events)

    def _whole_text(self, key: int | str, event: Mapping[str, Any], kind: str, events: list[Event]) -> None:
        at = event.get("content_index")
        content = {**event, "type": kind}
        self._whole_content(self._item(key, None), at if type(at) is int else 0, content, events)

    def _whole_content(self, item: _Item, at: int, content: Mapping[str, Any], events: list[Event]) -> None:
        """What a whole content part holds beyond its deltas."""
        open_part = item.parts.get(at)
        kind = content.get("type")
        if kind not in ("output_text", "text", "refusal"):
            if open_part is None and item.done:
                item.parts[at] = self._open(parts_of({**item.wire, "content": [content]})[0], events)
            return
        text = text_in(content.get("refusal" if kind == "refusal" else "text"))
        if open_part is None:
            begun = Refusal if kind == "refusal" else Text
            open_part = item.parts[at] = self._open(begun("", native=own(message_native(item.wire))), events)
        if open_part.ended:
            return
        rest = text[open_part.characters :]
        logprobs = None if open_part.has_logprobs else logprobs_of(content.get("logprobs"))
        if rest or logprobs:
            open_part.characters += len(rest)
            open_part.has_logprobs |= logprobs is not None
            events.append(PartDelta(open_part.index, rest, logprobs=logprobs))
        annotations = objects_in(content.get("annotations"))
        self._annotate(open_part, annotations[open_part.citations :], open_part.citations, events)

    @staticmethod
    def _annotate(open_part: _OpenPart, annotations: list[Any], first: int, events: list[Event]) -> None:
        found = inward_annotations(annotations)
        if found and not open_part.ended:
            open_part.citations = first + len(found)
            events.append(PartDelta(open_part.index, "", annotations=found))

    # --- reasoning ---

    def _open_thought(self, item: _Item, events: list[Event]) -> _OpenPart:
        if 0 not in item.parts:
            item_id = text_in(item.wire.get("id"))
            item.parts[0] = self._open(Thinking("", own({"id": item_id} if item_id else {})), events)
        return item.parts[0]

    def _think(self, key: int | str, event: Mapping[str, Any], text: str, events: list[Event], *, whole: bool) -> None:
        is_summary = "summary" in event["type"]
        item = self._item(key, {"type": "reasoning"})
        at = event.get("summary_index" if is_summary else "content_index")
        position = at if type(at) is int else 0
        self._paragraph(item, "summary" if is_summary else "content", position, text, events, whole=whole)

    def _paragraph(
        self, item: _Item, thought: str, position: int, text: str, events: list[Event], *, whole: bool
    ) -> None:
        """More of one paragraph, or all of it where *whole*. Only one of summary and content is read."""
        if not text or item.thought not in ("", thought) or item.kind != "reasoning":
            return
        item.thought = thought
        open_part = self._open_thought(item, events)
        came = item.thought_characters.get(position, 0)
        text = text[came:] if whole else text
        if not text or open_part.ended:
            return
        gap = PARAGRAPHS if not came and item.thought_characters else ""
        item.thought_characters[position] = came + len(text)
        events.append(PartDelta(open_part.index, gap + text))

    def _rest_of_thought(self, item: _Item, events: list[Event]) -> None:
        for thought in ("summary", "content"):
            for position, entry in enumerate(objects_in(item.wire.get(thought))):
                self._paragraph(item, thought, position, text_in(entry.get("text")), events, whole=True)

    # --- calls ---

    def _open_call(self, item: _Item, events: list[Event]) -> _OpenPart:
        if 0 not in item.parts:
            call = replace(call_of(item.wire), arguments="")
            item.parts[0] = self._open(call, events)
            item.native = call.native
            self._calls += 1
        return item.parts[0]

    def _arguments(self, item: _Item, text: str, events: list[Event]) -> None:
        if item.kind not in CALLS or not text:
            return
        open_part = self._open_call(item, events)
        open_part.characters += len(text)
        events.append(PartDelta(open_part.index, text))

    def _rest_of_arguments(self, item: _Item, arguments: Any, events: list[Event]) -> None:
        if item.kind not in CALLS:
            return
        open_part = self._open_call(item, events)
        self._arguments(item, text_in(arguments)[open_part.characters :], events)


class StreamParser:
    """One answer's bytes to events. After a Failure nothing more comes."""

    def __init__(self, rules: Rules = _CONFORMANT) -> None:
        # No rule changes how this dialect is read; the parameter is that of every dialect.
        del rules
        self._decoder = SseDecoder()
        self._reader = EventReader()

    def feed(self, piece: bytes) -> list[Event]:
        """The events that *piece* completes."""
        if self._reader.done:
            return []
        try:
            frames = self._decoder.feed(piece)
        except SseError as error:
            self._reader.done = self._reader.failed = True
            return [error.failure]
        return self._events(frames)

    def close(self) -> list[Event]:
        """The rest of the bytes, and a Failure where the stream was cut."""
        if self._reader.done:
            return []
        return [*self._events(self._decoder.close()), *self._reader.close()]

    def _events(self, frames: list[SseEvent]) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            if self._reader.done:
                break
            try:
                if frame.data and frame.data != b"[DONE]":
                    events += self._reader.read(loads_object(frame.data))
                elif not frame.data:
                    events += self._bare(frame.raw)
            except (BadAnswer, JsonError) as error:
                events += self._broken(str(error))
        return events

    def _broken(self, message: str) -> list[Event]:
        self._reader.done = self._reader.failed = True
        return [Failure("invalid_response", message, 502)]

    def _bare(self, raw: bytes) -> list[Event]:
        """Bytes without a data line: comments, or JSON from a server that did not stream after all."""
        if self._reader.started or not raw.lstrip().startswith(b"{"):
            return []
        value = loads_object(raw)
        failure = error_in(value)
        events: list[Event] = [failure] if failure is not None else list(replay(parse_response(value)))
        self._reader.done = True
        return events
