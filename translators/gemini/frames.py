"""Events as the stream of streamGenerateContent: SSE with `alt=sse`, one JSON array without it.

Every frame is a whole GenerateContentResponse. Text goes out as it comes; a call goes out whole at its end, for its
arguments are an object; a signature goes out on an empty text of its part's kind, which belongs to what stands before.
The last frame has the finish reasons, the usage and, as the field `modelport`, the proxy's receipt: an SSE comment
would break Google's own client, which reads every line that is no `data: ` line as JSON.
(google-genai 3.4.0, _api_client._RawJsonLineBuffer)

There is no terminator: the last frame is held back until `close`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from translators.assemble import merge_native
from translators.codec import dumps, loads
from translators.dialect import ReplyTo
from translators.gemini.answer import (
    Json,
    Told,
    extra_content,
    head,
    prompt_feedback,
    render_usage,
    signature,
)
from translators.gemini.error import error_envelope
from translators.neutral import (
    NO_NATIVE,
    Choice,
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
    TokenLogprob,
    ToolCall,
    Usage,
    UsageReport,
)
from translators.sse import frame

RECEIPT = "modelport"
"""The field of the last frame in which the proxy's receipt stands."""


@dataclass(slots=True)
class _OpenPart:
    part: Part
    texts: list[str] = field(default_factory=list)
    begins: int = 0
    """Of a text: the characters that the choice has spoken before it."""


@dataclass(slots=True)
class _OpenChoice:
    parts: dict[int, _OpenPart] = field(default_factory=dict)
    spoken: list[str] = field(default_factory=list)
    characters: int = 0
    cited: list[tuple[int, int, Mapping[str, Any]]] = field(default_factory=list)
    told: Told = field(default_factory=Told)
    refusals: list[str] = field(default_factory=list)
    """Held back until the end says whether the vendor only blocked the prompt."""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    said: bool = False
    finish: Finish | None = None


class StreamRenderer:
    """Events as SSE frames, for `alt=sse`; see `translators.dialect.StreamRenderer`."""

    def __init__(self, to: ReplyTo) -> None:
        self._to = to
        self._start = Start(to.id, to.request.model, 0)
        self._tail = b""
        self._text_heads: dict[tuple[int, bool], tuple[bytes, bytes]] = {}
        self._choices: dict[int, _OpenChoice] = {}
        self._native: Native = NO_NATIVE
        self._usage: Usage | None = None

    def render(self, events: Sequence[Event]) -> bytes:
        """The frames for *events*."""
        frames: list[bytes] = []
        for event in events:
            match event:
                case PartDelta():
                    self._delta(event, frames)
                case PartStart():
                    self._part_start(event, frames)
                case PartEnd():
                    self._part_end(event, frames)
                case Finish():
                    self._choice(event.choice).finish = event
                case Start():
                    self._begin(event)
                case UsageReport():
                    self._usage = event.usage
                case ResponseNative():
                    self._native = merge_native(self._native, event.native)
                case Failure():
                    continue
        return b"".join(frames)

    def fail(self, failure: Failure) -> bytes:
        """The error as a frame; nothing follows it."""
        return self._framed(dumps(error_envelope(failure)))

    def close(self, receipt: bytes | None = None) -> bytes:
        """The last frame, with *receipt* in it."""
        frames: list[bytes] = []
        candidates: list[Json] = []
        feedback: Mapping[str, Any] | None = None
        for number, choice in sorted(self._choices.items()):
            finish = choice.finish or Finish("stop", number)
            whole = Choice((), finish.reason, number, tuple(choice.logprobs) or None, finish.native)
            blocked = prompt_feedback(whole, said=choice.said or bool(choice.refusals))
            if blocked is not None and not choice.said and len(self._choices) == 1:
                feedback = blocked
                continue
            if choice.refusals:
                self._say(number, choice, "".join(choice.refusals), frames)
            candidates.append(_last_candidate(choice, whole))
        body: Json = {"candidates": candidates} if candidates else {}
        if feedback is not None and not candidates:
            body["promptFeedback"] = feedback
        if self._usage is not None:
            body["usageMetadata"] = render_usage(self._usage)
        body |= head(self._start.id, self._start.model, self._start.created, self._native)
        if extra := extra_content(self._native):
            body["extraContent"] = extra
        if receipt is not None:
            body[RECEIPT] = loads(receipt)
        return b"".join([*frames, self._framed(dumps(body))])

    def _framed(self, body: bytes) -> bytes:
        return frame(body)

    # --- the answer as a whole ---

    def _begin(self, event: Start) -> None:
        self._start = replace(event, id=event.id or self._to.id, model=event.model or self._to.request.model)
        self._native = merge_native(self._native, event.native)
        self._tail = b""
        self._text_heads.clear()

    def _chunk(self, number: int, part: Json, **fields: Any) -> bytes:
        if not self._tail:
            start = self._start
            self._tail = b"]," + dumps(head(start.id, start.model, start.created, NO_NATIVE))[1:]
        candidate = {"content": {"parts": [part], "role": "model"}, **fields, "index": number}
        return self._framed(b'{"candidates":[' + dumps(candidate) + self._tail)

    def _choice(self, number: int) -> _OpenChoice:
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _OpenChoice()
        return choice

    # --- parts ---

    def _part_start(self, event: PartStart, frames: list[bytes]) -> None:
        choice = self._choice(event.choice)
        part = event.part
        opened = choice.parts[event.index] = _OpenPart(part, begins=choice.characters)
        match part:
            case Text():
                choice.cited.extend((0, opened.begins, citation) for citation in part.annotations)
                if part.text:
                    self._say(event.choice, choice, part.text, frames)
            case Thinking() if part.text:
                self._think(event.choice, choice, part.text, frames)
            case Refusal() if part.text:
                choice.refusals.append(part.text)
            case ToolCall() if part.arguments:
                opened.texts.append(part.arguments)
            case _:
                pass

    def _delta(self, event: PartDelta, frames: list[bytes]) -> None:
        choice = self._choices[event.choice]
        opened = choice.parts[event.index]
        if event.native:
            opened.part = _with_native(opened.part, event.native)
        if event.annotations:
            choice.cited.extend((0, opened.begins, citation) for citation in event.annotations)
        if event.logprobs is not None:
            choice.logprobs.extend(event.logprobs)
        if not event.text:
            return
        match opened.part:
            case Text():
                self._say(event.choice, choice, event.text, frames)
            case Thinking():
                self._think(event.choice, choice, event.text, frames)
            case Refusal():
                choice.refusals.append(event.text)
            case _:
                opened.texts.append(event.text)

    def _part_end(self, event: PartEnd, frames: list[bytes]) -> None:
        choice = self._choices[event.choice]
        opened = choice.parts.pop(event.index)
        part = _with_native(opened.part, event.native) if event.native else opened.part
        match part:
            case Text() | Thinking():
                if own := signature(part.native):
                    thought = {"thought": True} if isinstance(part, Thinking) else {}
                    choice.said = True
                    frames.append(self._chunk(event.choice, {"text": "", **thought, **own}))
                return
            case Refusal():
                return
            case ToolCall():
                part = replace(part, arguments="".join(opened.texts))
            case _:
                pass
        at = len(choice.told.parts)
        choice.told.add(part)
        for rendered in choice.told.parts[at:]:
            choice.said = True
            frames.append(self._chunk(event.choice, rendered))

    def _say(self, number: int, choice: _OpenChoice, text: str, frames: list[bytes]) -> None:
        choice.said = True
        choice.spoken.append(text)
        choice.characters += len(text)
        before, after = self._text_heads.get((number, False)) or self._new_head(number, thought=False)
        frames.append(before + dumps(text) + after)

    def _think(self, number: int, choice: _OpenChoice, text: str, frames: list[bytes]) -> None:
        choice.said = True
        before, after = self._text_heads.get((number, True)) or self._new_head(number, thought=True)
        frames.append(before + dumps(text) + after)

    def _new_head(self, number: int, *, thought: bool) -> tuple[bytes, bytes]:
        """What stands before and after the words of a frame that is nothing but text."""
        part: Json = {"text": "", "thought": True} if thought else {"text": ""}
        before, _, after = self._chunk(number, part).partition(b'"text":""')
        halves = self._text_heads[number, thought] = before + b'"text":', after
        return halves


class ArrayRenderer(StreamRenderer):
    """The same objects as one JSON array, for a client that did not say `alt=sse`."""

    def __init__(self, to: ReplyTo) -> None:
        super().__init__(to)
        self._opened = False

    def render(self, events: Sequence[Event]) -> bytes:
        """The array so far."""
        return self._listed(super().render(events))

    def fail(self, failure: Failure) -> bytes:
        """The error as the last object."""
        return self._listed(super().fail(failure)) + b"]"

    def close(self, receipt: bytes | None = None) -> bytes:
        """The last object, with *receipt* in it, and the end of the array."""
        return self._listed(super().close(receipt)) + b"]"

    def _framed(self, body: bytes) -> bytes:
        return b",\r\n" + body

    def _listed(self, objects: bytes) -> bytes:
        if not objects or self._opened:
            return objects
        self._opened = True
        return b"[" + objects.removeprefix(b",\r\n")


def _last_candidate(choice: _OpenChoice, whole: Choice) -> Json:
    """The candidate of the last frame. It has an empty text: Google's client takes one without parts for broken."""
    told = choice.told
    told.spoken, told.places, told.cited = ["".join(choice.spoken)], [0], choice.cited
    content = {"parts": [{"text": ""}], "role": "model"}
    return {"content": content, **told.ending(whole), "index": whole.index}


def _with_native(part: Part, native: Native) -> Part:
    match part:
        case Text() | Thinking() | ToolCall() | Refusal():
            return replace(part, native=merge_native(part.native, native))
        case _:
            return part
