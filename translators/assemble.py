"""The only link between streamed and whole answers: `collect` folds events, `replay` unfolds a response.

`collect(replay(response)) == response` for every response with merged text (no two deltas are kept apart).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from translators.neutral import (
    NO_NATIVE,
    Choice,
    Event,
    Failure,
    Finish,
    FinishReason,
    Native,
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


def merge_native(old: Native, new: Native) -> Native:
    """Both, field by field; *new* wins."""
    if not new:
        return old
    if not old:
        return new
    merged: dict[str, Mapping[str, Any]] = dict(old)
    for dialect, fields in new.items():
        merged[dialect] = {**merged.get(dialect, {}), **fields}
    return merged


@dataclass(slots=True)
class _OpenPart:
    part: Part
    texts: list[str] = field(default_factory=list)
    annotations: list[Mapping[str, Any]] = field(default_factory=list)
    native: Native = field(default_factory=dict)

    def built(self) -> Part:
        """The part with everything that its deltas brought."""
        text = "".join(self.texts)
        match self.part:
            case Text() as part:
                native = merge_native(part.native, self.native)
                return replace(
                    part, text=part.text + text, annotations=(*part.annotations, *self.annotations), native=native
                )
            case Thinking() | Refusal() as part:
                return replace(part, text=part.text + text, native=merge_native(part.native, self.native))
            case ToolCall() as part:
                return replace(part, arguments=part.arguments + text, native=merge_native(part.native, self.native))
            case part:
                return part


@dataclass(slots=True)
class _OpenChoice:
    parts: dict[int, _OpenPart] = field(default_factory=dict)
    reason: FinishReason | None = None
    logprobs: list[TokenLogprob] | None = None
    native: Native = field(default_factory=dict)

    def built(self, index: int) -> Choice:
        """The choice so far."""
        return Choice(
            parts=tuple(open_part.built() for _, open_part in sorted(self.parts.items())),
            finish_reason=self.reason,
            index=index,
            logprobs=None if self.logprobs is None else tuple(self.logprobs),
            native=self.native,
        )


class Collector:
    """Folds events one by one; `response` may be asked at any time (a cut stream gives what there was)."""

    def __init__(self) -> None:
        self._start = Start("", "", 0)
        self._choices: dict[int, _OpenChoice] = {}
        self._usage: Usage | None = None
        self._native: Native = NO_NATIVE
        self._failure: Failure | None = None

    def add(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case PartDelta():
                self._delta(event)
            case PartStart():
                self._choice(event.choice).parts[event.index] = _OpenPart(event.part)
            case PartEnd():
                if event.native:
                    part = self._choice(event.choice).parts[event.index]
                    part.native = merge_native(part.native, event.native)
            case Start():
                self._start = event
            case Finish():
                choice = self._choice(event.choice)
                choice.reason = event.reason
                choice.native = merge_native(choice.native, event.native)
            case UsageReport():
                self._usage = event.usage
            case ResponseNative():
                self._native = merge_native(self._native, event.native)
            case Failure():
                self._failure = event

    def _choice(self, index: int) -> _OpenChoice:
        return self._choices.setdefault(index, _OpenChoice())

    def _delta(self, event: PartDelta) -> None:
        choice = self._choice(event.choice)
        part = choice.parts[event.index]
        if event.text:
            part.texts.append(event.text)
        if event.annotations:
            part.annotations.extend(event.annotations)
        if event.native:
            part.native = merge_native(part.native, event.native)
        if event.logprobs is not None:
            choice.logprobs = [*(choice.logprobs or ()), *event.logprobs]

    @property
    def usage(self) -> Usage | None:
        """The last usage that was reported."""
        return self._usage

    def response(self) -> Response:
        """The answer as far as it came."""
        return Response(
            id=self._start.id,
            model=self._start.model,
            created=self._start.created,
            choices=tuple(choice.built(index) for index, choice in sorted(self._choices.items())),
            usage=self._usage,
            failure=self._failure,
            native=merge_native(self._start.native, self._native),
        )


def collect(events: Iterable[Event]) -> Response:
    """A stream as one whole answer."""
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector.response()


def replay(response: Response) -> Iterator[Event]:
    """A whole answer as a stream: each part in one delta. Log probabilities without a text get an empty one."""
    yield Start(response.id, response.model, response.created, response.native)
    for choice in response.choices:
        logprobs = choice.logprobs
        for index, part in enumerate(choice.parts):
            skeleton, text, annotations = _skeleton(part)
            yield PartStart(index, skeleton, choice.index)
            carries_logprobs = logprobs is not None and isinstance(part, Text | Refusal)
            if text or annotations or carries_logprobs:
                yield PartDelta(index, text, choice.index, logprobs if carries_logprobs else None, annotations)
                logprobs = None if carries_logprobs else logprobs
            yield PartEnd(index, choice.index)
        if logprobs is not None:  # of an answer without words, as of pictures alone: deltas of texts have their place
            yield PartStart(len(choice.parts), Text(""), choice.index)
            yield PartDelta(len(choice.parts), "", choice.index, logprobs)
            yield PartEnd(len(choice.parts), choice.index)
        if choice.finish_reason is not None:
            yield Finish(choice.finish_reason, choice.index, choice.native)
    if response.usage is not None:
        yield UsageReport(response.usage)
    if response.failure is not None:
        yield response.failure


def _skeleton(part: Part) -> tuple[Part, str, tuple[Mapping[str, Any], ...]]:
    """*part* without its text, the text, and the annotations."""
    match part:
        case Text():
            return replace(part, text="", annotations=()), part.text, part.annotations
        case Thinking() | Refusal():
            return replace(part, text=""), part.text, ()
        case ToolCall():
            return replace(part, arguments=""), part.arguments, ()
        case _:
            return part, "", ()
