"""A completions stream as events.

Tolerated, because real servers do it: chunks without choices, without index, without text, with chat's `delta` in
its place, usage on any chunk, no `[DONE]`, an `error` key in a data line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from translators.dialect import Rules
from translators.neutral import (
    NO_NATIVE,
    Event,
    Failure,
    Finish,
    PartDelta,
    PartEnd,
    PartStart,
    ResponseNative,
    Start,
    Text,
    Usage,
    UsageReport,
)
from translators.openai_chat.parts import created_s, objects_in
from translators.openai_chat.response import finish_reason
from translators.openai_chat.stream import chunk_of
from translators.openai_chat.usage import parse_usage, raw_usage
from translators.openai_text.parts import (
    ANSWER_FIELDS,
    CHOICE_FIELDS,
    DIALECT,
    answer_native,
    choice_index,
    choice_text,
    parse_logprobs,
    unknown,
)
from translators.sse import SseDecoder, SseError, SseEvent


@dataclass(slots=True)
class _OpenChoice:
    speaks: bool = False
    finish_word: str | None = None
    native: dict[str, Any] = field(default_factory=dict)


class ChunkReader:
    """Decoded chunks to events; what `StreamParser` and the relay share.

    A choice's Finish is held until the stream ends, because text may come after the first finish reason.
    """

    __slots__ = ("_choices", "_native", "_raw_usage", "failed", "started", "usage")

    def __init__(self) -> None:
        self.started = False
        self.failed = False
        self.usage: Usage | None = None
        """The tokens that the server told last."""
        self._choices: dict[int, _OpenChoice] = {}
        self._native: dict[str, Any] = {}
        self._raw_usage: Mapping[str, Any] | None = None

    def read(self, chunk: Mapping[str, Any]) -> list[Event]:
        """The events of one chunk."""
        events: list[Event] = []
        choices = objects_in(chunk.get("choices"))
        changed = self._keep_native(chunk) if not chunk.keys() <= ANSWER_FIELDS else {}
        if not self.started:
            if not choices and not chunk.get("id") and not chunk.get("usage"):
                return events
            self.started = True
            identity = (_text(chunk.get("id")), _text(chunk.get("model")), created_s(chunk.get("created")))
            events.append(Start(*identity, answer_native(self._native)))
        elif changed:
            events.append(ResponseNative({DIALECT: changed}))
        for position, choice in enumerate(choices):
            self._choice(choice, choice_index(choice.get("index"), position), events)
        if (raw := raw_usage(chunk)) is not None and raw != self._raw_usage:
            self._raw_usage, self.usage = raw, parse_usage(raw)
            events.append(UsageReport(self.usage))
        return events

    def _keep_native(self, chunk: Mapping[str, Any]) -> dict[str, Any]:
        """The unknown fields of *chunk* that are new or have changed."""
        rest = unknown(chunk, ANSWER_FIELDS)
        changed = {name: value for name, value in rest.items() if self._native.get(name) != value}
        self._native.update(changed)
        return changed

    def _choice(self, choice: Mapping[str, Any], number: int, events: list[Event]) -> None:
        state = self._choices.get(number)
        if state is None:
            state = self._choices[number] = _OpenChoice()
        text = choice_text(choice)
        logprobs = parse_logprobs(choice["logprobs"]) if choice.get("logprobs") else None
        if text or logprobs:
            if not state.speaks:
                state.speaks = True
                events.append(PartStart(0, Text(""), number))
            events.append(PartDelta(0, text, number, logprobs))
        if not choice.keys() <= CHOICE_FIELDS:
            state.native.update(unknown(choice, CHOICE_FIELDS))
        word = choice.get("finish_reason")
        if isinstance(word, str) and word and state.finish_word is None:
            state.finish_word = word

    def close(self, *, done: bool = False) -> list[Event]:
        """The ends of all choices; a Failure when the stream was cut or said nothing.

        After `[DONE]` (*done*) a choice whose finish reason the server forgot has stopped.
        """
        if self.failed:
            return []
        events: list[Event] = []
        for number, state in sorted(self._choices.items()):
            if state.speaks:
                events.append(PartEnd(0, number))
            if done or state.finish_word is not None:
                reason = finish_reason(state.finish_word or "stop", has_calls=False)
                events.append(Finish(reason, number, {DIALECT: state.native} if state.native else NO_NATIVE))
        if not self._choices:
            self.failed = True
            return [Failure("invalid_response", "the stream ended without an answer", 502)]
        if not done and any(state.finish_word is None for state in self._choices.values()):
            self.failed = True
            events.append(Failure("invalid_response", "the stream was cut before its end", 502))
        return events


class StreamParser:
    """See `translators.dialect.StreamParser`."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._decoder = SseDecoder()
        self._reader = ChunkReader()
        self._ended = False

    def feed(self, piece: bytes) -> list[Event]:
        """The events that *piece* completes."""
        if self._ended:
            return []
        try:
            return self._read(self._decoder.feed(piece))
        except SseError as error:
            self._ended = True
            return [error.failure]

    def close(self) -> list[Event]:
        """The events that the end of the stream implies."""
        if self._ended:
            return []
        events = self._read(self._decoder.close())
        if not self._ended:
            self._ended = True
            events.extend(self._reader.close())
        return events

    def _read(self, decoded: list[SseEvent]) -> list[Event]:
        events: list[Event] = []
        for event in decoded:
            if not event.data:
                continue
            chunk = chunk_of(event)
            if isinstance(chunk, dict):
                events.extend(self._reader.read(chunk))
                continue
            self._ended = True
            events.extend([chunk] if chunk is not None else self._reader.close(done=True))
            break
        return events


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
