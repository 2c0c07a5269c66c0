"""Events as the chunks of a completions stream, each of which is a small completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from translators.codec import dumps
from translators.dialect import ReplyTo
from translators.neutral import (
    Event,
    Failure,
    Finish,
    PartDelta,
    PartStart,
    Refusal,
    Start,
    Text,
    TokenLogprob,
    Usage,
    UsageReport,
)
from translators.openai_chat.error import error_envelope
from translators.openai_chat.usage import render_usage
from translators.openai_text.parts import DIALECT, echo_text, first_offset, outward_reason, render_logprobs
from translators.sse import comment, frame

DONE: Final = b"data: [DONE]\n\n"


@dataclass(slots=True)
class _OpenChoice:
    offset: int
    """Of the next token in prompt and answer together."""
    spoken: set[int] = field(default_factory=set)
    """Indexes of the parts that are text."""


class StreamRenderer:
    """Renders events for one client; see `translators.dialect.StreamRenderer`."""

    def __init__(self, to: ReplyTo) -> None:
        self._to = to
        self._head = b""
        self._echo = ""
        self._choices: dict[int, _OpenChoice] = {}
        self._usage: Usage | None = None

    def render(self, events: Sequence[Event]) -> bytes:
        """The frames for *events*; empty when they have no visible form yet."""
        frames: list[bytes] = []
        for event in events:
            match event:
                case PartDelta():
                    choice = self._choice(event.choice, frames)
                    if event.index in choice.spoken and (event.text or event.logprobs):
                        frames.append(self._text(event.choice, choice, event.text, event.logprobs))
                case PartStart(part=Text() | Refusal() as part):
                    choice = self._choice(event.choice, frames)
                    choice.spoken.add(event.index)
                    if part.text:
                        frames.append(self._text(event.choice, choice, part.text, None))
                case Finish():
                    self._choice(event.choice, frames)
                    frames.append(
                        self._chunk(event.choice, "", outward_reason(event.reason), own=event.native.get(DIALECT, {}))
                    )
                case Start():
                    self._start(event)
                case UsageReport():
                    self._usage = event.usage
                case _:
                    continue
        return b"".join(frames)

    def fail(self, failure: Failure) -> bytes:
        """The error as a frame; no terminator follows it."""
        return frame(dumps(error_envelope(failure)))

    def close(self, receipt: bytes | None = None) -> bytes:
        """The usage chunk where it was asked for, *receipt* as a comment, and `[DONE]`."""
        frames: list[bytes] = []
        if self._to.request.include_usage and self._usage is not None:
            head = self._headed().removesuffix(b',"usage":null')
            frames.append(frame(head + b"," + dumps({"choices": [], "usage": render_usage(self._usage)})[1:]))
        if receipt is not None:
            frames.append(comment(b"modelport " + receipt))
        frames.append(DONE)
        return b"".join(frames)

    def _start(self, event: Start) -> None:
        head: dict[str, Any] = {
            "id": event.id or f"cmpl-{self._to.id}",
            "object": "text_completion",
            "created": event.created or self._to.created,
            "model": event.model or self._to.request.model,
        }
        own = event.native.get(DIALECT, {})
        # A completions server has echoed by itself.
        self._echo = "" if own else echo_text(self._to)
        fingerprint = event.native.get("openai_chat", own).get("system_fingerprint")
        if fingerprint is not None:
            head["system_fingerprint"] = fingerprint
        if self._to.request.include_usage:
            head["usage"] = None
        self._head = dumps(head)[:-1]

    def _headed(self) -> bytes:
        if not self._head:
            self._start(Start("", "", 0))
        return self._head

    def _choice(self, number: int, frames: list[bytes]) -> _OpenChoice:
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _OpenChoice(first_offset(self._to))
            if self._echo:
                frames.append(self._chunk(number, self._echo))
        return choice

    def _text(self, number: int, choice: _OpenChoice, text: str, logprobs: Sequence[TokenLogprob] | None) -> bytes:
        if not logprobs:
            choice.offset += len(text)
            return self._chunk(number, text)
        rendered = render_logprobs(logprobs, choice.offset)
        choice.offset += sum(len(entry.token) for entry in logprobs)
        return self._chunk(number, text, logprobs=rendered)

    def _chunk(
        self,
        number: int,
        text: str,
        finish_reason: str | None = None,
        *,
        logprobs: Mapping[str, Any] | None = None,
        own: Mapping[str, Any] | None = None,
    ) -> bytes:
        choice = {"text": text, "index": number, "logprobs": logprobs, "finish_reason": finish_reason}
        if own:
            choice = {**own, **choice}
        return b'data: %b,"choices":[%b]}\n\n' % (self._headed(), dumps(choice))
