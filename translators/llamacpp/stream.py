"""A streamed answer: one JSON object per line, see the package's docstring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.codec import JsonError, loads_object
from translators.dialect import Rules
from translators.llamacpp.answer import Reading, reason_of, start_of
from translators.llamacpp.error import error_in
from translators.llamacpp.hints import Hints, hints_in
from translators.neutral import Event, Failure, Start, UsageReport
from translators.openai_chat.parts import parse_logprobs
from translators.openai_chat.usage import usage_in

MAX_LINE_BYTES: Final = 16 * 1024 * 1024


class StreamParser:
    """Lines to events. The hints come with the stream, so *rules* change nothing."""

    def __init__(self, rules: Rules | None = None) -> None:
        del rules
        self._pending = b""
        self._hints = Hints()
        self._reading: Reading | None = None
        self._started = False
        self._done = False

    def feed(self, piece: bytes) -> list[Event]:
        """The events that *piece* completes."""
        *lines, self._pending = (self._pending + piece).split(b"\n")
        events: list[Event] = []
        for line in lines:
            self._line(line, events)
        if len(self._pending) > MAX_LINE_BYTES:
            self._pending = b""
            self._fail(Failure("invalid_response", f"a line of more than {MAX_LINE_BYTES} bytes", 502), events)
        return events

    def close(self) -> list[Event]:
        """The last line where it has no line end; a Failure when the answer was cut."""
        events: list[Event] = []
        line, self._pending = self._pending, b""
        self._line(line, events)
        self._fail(Failure("invalid_response", "the local model's answer broke off", 502), events)
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line.strip():
            return
        try:
            body = loads_object(line)
        except JsonError as error:
            self._fail(Failure("invalid_response", f"the local model's answer is {error}", 502), events)
            return
        if (failure := error_in(body)) is not None:
            self._fail(failure, events)
            return
        self._hints = hints_in(body) or self._hints
        if not self._done:
            self._chunk(body, events)
        usage = usage_in(body)
        if usage is not None:
            events.append(UsageReport(usage))

    def _chunk(self, body: Mapping[str, Any], events: list[Event]) -> None:
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        if self._reading is None:
            start = start_of(body)
            self._start(start, events)
            self._reading = Reading(self._hints, start.id)
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else None
        if isinstance(text, str) and text:
            events.extend(self._reading.text(text, parse_logprobs(choice.get("logprobs"))))
        if choice.get("finish_reason") is not None:
            events.extend(self._reading.end(reason_of(choice["finish_reason"])))
            self._done = True

    def _start(self, start: Start, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            events.append(start)

    def _fail(self, failure: Failure, events: list[Event]) -> None:
        """End the answer, unless it has ended already."""
        if not self._done:
            self._start(Start("", "", 0), events)
            self._done = True
            events.append(failure)
