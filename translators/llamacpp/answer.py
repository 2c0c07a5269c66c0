"""The text of an answer as events: reasoning split off, calls read out of it.

Whole answers and streams go through the same `Reading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.assemble import collect
from translators.errors import BadAnswer
from translators.llamacpp.calls import Call, CallReader, one_call
from translators.llamacpp.hints import Hints, hints_in
from translators.neutral import (
    Event,
    Finish,
    FinishReason,
    PartDelta,
    PartEnd,
    PartStart,
    Response,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    UsageReport,
)
from translators.openai_chat.parts import parse_logprobs
from translators.openai_chat.think_tags import OPEN, ThinkSplitter
from translators.openai_chat.usage import usage_in

_REASONS: Final[Mapping[str, FinishReason]] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}


class Reading:
    """One answer. Text goes in with `text`, events come out; `end` gives the last."""

    def __init__(self, hints: Hints, answer_id: str) -> None:
        self._hints = hints
        self._id = answer_id.rpartition("-")[2] or answer_id
        self._splitter = ThinkSplitter()
        if hints.thinking and not hints.constrained:
            self._splitter.feed(OPEN)
        self._reader = CallReader(hints.tools) if hints.calls == "auto" else None
        self._parts = 0
        self._calls = 0
        self._open: type[Text | Thinking | ToolCall] | None = None
        self._held: list[str] = []
        self._logprobs: tuple[TokenLogprob, ...] = ()

    def text(self, text: str, logprobs: tuple[TokenLogprob, ...] | None = None) -> list[Event]:
        """The events that *text* makes certain."""
        self._logprobs += logprobs or ()
        events: list[Event] = []
        match self._hints.calls:
            case "named":
                self._arguments(text, events)
            case "one":
                self._held.append(text)
            case "none" | "auto":
                self._spoken(self._splitter.feed(text), events)
        return events

    def end(self, reason: FinishReason) -> list[Event]:
        """What was held back, the end of the open part, and Finish."""
        events: list[Event] = []
        match self._hints.calls:
            case "named":
                self._arguments("", events)
            case "one":
                text = "".join(self._held)
                call = one_call(text)
                self._said(call if call is not None else text, events)
            case "none" | "auto":
                self._spoken(self._splitter.close(), events)
                for piece in self._reader.close() if self._reader else ():
                    self._said(piece, events)
        self._end_part(events)
        # Calls that max_tokens has cut are no finished calls.
        reason = "tool_calls" if self._calls and reason == "stop" else reason
        events.append(Finish(reason))
        return events

    def _spoken(self, pieces: list[tuple[bool, str]], events: list[Event]) -> None:
        for is_reasoning, text in pieces:
            if is_reasoning:
                self._add(Thinking(""), text, events)
            elif self._reader is None:
                self._said(text, events)
            else:
                for piece in self._reader.feed(text):
                    self._said(piece, events)

    def _said(self, piece: str | Call, events: list[Event]) -> None:
        if isinstance(piece, str):
            if piece:
                self._add(Text(""), piece, events)
            return
        self._end_part(events)
        self._start_call(piece.name, events)
        events.append(PartDelta(self._parts, piece.arguments))
        self._end_part(events)

    def _add(self, part: Text | Thinking, text: str, events: list[Event]) -> None:
        if self._open is not type(part):
            self._end_part(events)
            self._open = type(part)
            events.append(PartStart(self._parts, part))
        events.append(PartDelta(self._parts, text, logprobs=self._logprobs or None))
        self._logprobs = ()

    def _arguments(self, text: str, events: list[Event]) -> None:
        if self._open is not ToolCall:
            self._start_call(self._hints.tools[0] if self._hints.tools else "", events)
        if text:
            events.append(PartDelta(self._parts, text))

    def _start_call(self, name: str, events: list[Event]) -> None:
        self._open = ToolCall
        events.append(PartStart(self._parts, ToolCall(f"call_{self._id}_{self._calls}", name, "")))
        self._calls += 1

    def _end_part(self, events: list[Event]) -> None:
        if self._open is not None:
            events.append(PartEnd(self._parts))
            self._open = None
            self._parts += 1


def parse_response(body: Mapping[str, Any]) -> Response:
    """A whole answer.

    Raises:
        BadAnswer: it is none.
    """
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise BadAnswer("choices[0].message: expected an object in the local model's answer")
    start = start_of(body)
    reading = Reading(hints_in(body) or Hints(), start.id)
    events: list[Event] = [start]
    events += reading.text(message.get("content") or "", parse_logprobs(choice.get("logprobs")))
    events += reading.end(reason_of(choice.get("finish_reason")))
    usage = usage_in(body)
    if usage is not None:
        events.append(UsageReport(usage))
    return collect(events)


def start_of(body: Mapping[str, Any]) -> Start:
    """The head of an answer or of its first chunk."""
    created = body.get("created")
    return Start(str(body.get("id") or ""), str(body.get("model") or ""), created if isinstance(created, int) else 0)


def reason_of(word: Any) -> FinishReason:
    """The library knows stop and length; its tool_calls occurs in handlers of its own."""
    return _REASONS.get(word, "stop")
