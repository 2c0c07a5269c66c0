"""GenerateContentResponse objects to events. A whole answer is a stream of one object.

Text of neighbouring chunks is one part. A text part stays open until another kind of part begins or the answer ends,
because citations and log probabilities come last. A choice finishes at the end: reasons may come on several chunks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from translators.codec import dumps_text
from translators.counts import detail_count, main_counts
from translators.gemini.error import broken, error_in, objects
from translators.gemini.finish import BROKEN, LOST_CALLS, finish_name, finish_reason
from translators.gemini.partial_args import PartialArgs
from translators.neutral import (
    NO_NATIVE,
    Audio,
    Document,
    Event,
    Failure,
    Finish,
    Image,
    Native,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Source,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    UsageReport,
)

_Json = Mapping[str, Any]
# Beside the one field that says what a part is.
_SIDE_FIELDS: Final = frozenset({"thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"})
# Fields of a candidate that have become events.
_TOLD: Final = frozenset({"content", "index", "logprobsResult"})
_STARTS: Final = ("modelStatus", "createTime")
"""What the first object says of the whole answer, beside its id and model."""


def _native(part: _Json) -> Native:
    signature = part.get("thoughtSignature")
    return {"gemini": {"thoughtSignature": signature}} if signature else NO_NATIVE


@dataclass(slots=True)
class _Open:
    """A part that is not complete."""

    index: int
    kind: type[Part]
    signed: bool = False
    text: str = ""
    call: PartialArgs | None = None


@dataclass(slots=True)
class _Choice:
    index: int
    parts: int = 0
    open: _Open | None = None
    called: bool = False
    shown: bool = False
    """Something but thoughts has been sent."""
    finish: str | None = None
    native: dict[str, Any] = field(default_factory=dict)
    cited: list[_Json] = field(default_factory=list)


class ChunkReader:
    """Turns decoded objects into events, one object after the other.

    *new_id* makes an id where the vendor gave none for the whole answer.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._id = ""
        self._started = False
        self._calls = 0
        self._choices: dict[int, _Choice] = {}
        self._usage: dict[str, Any] = {}
        self.failed = False

    def chunk(self, value: Any) -> list[Event]:
        """The events of one object."""
        if self.failed:
            return []
        if not isinstance(value, dict):
            return self.fail(Failure("invalid_response", "expected a JSON object in Gemini's answer", 502))
        if value.get("error"):
            failure = error_in(value)
            return self.fail(failure) if failure else []
        events = [] if self._started else self._start(value)
        candidates = value.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                self._candidate(candidate, events)
        feedback = value.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason") and not self._choices:
            events.extend(self._blocked(feedback))
        usage = value.get("usageMetadata")
        if isinstance(usage, dict) and usage:
            # Counts are cumulative, and a later chunk may leave one out.
            merged = {**self._usage, **usage}
            if merged != self._usage:
                self._usage = merged
                events.append(UsageReport(parse_usage(merged)))
        return events

    def end(self, whole: bool) -> list[Event]:
        """What the end implies. A *whole* answer may lack a finish reason; a stream without one was cut."""
        if self.failed:
            return []
        if not self._choices:
            return self.fail(Failure("invalid_response", "Gemini's answer ended before it began", 502))
        events: list[Event] = []
        for choice in self._choices.values():
            events.extend(self._close(choice))
        choices = self._choices.values()
        name = next((choice.finish for choice in choices if choice.finish in BROKEN), None)
        if name is not None and not any(choice.called if name in LOST_CALLS else choice.shown for choice in choices):
            message = next((choice.native.get("finishMessage") for choice in self._choices.values()), None)
            return [*events, *self.fail(broken(name, message))]
        for choice in self._choices.values():
            if choice.finish is None and not (whole and choice.shown):
                told = "Gemini's answer is empty" if whole else "Gemini's stream was cut"
                return [*events, *self.fail(Failure("invalid_response", told, 502))]
            reason = finish_reason(choice.finish or "STOP", choice.called)
            events.append(Finish(reason, choice.index, {"gemini": choice.native} if choice.native else {}))
        return events

    def fail(self, failure: Failure) -> list[Event]:
        """End with *failure*."""
        start = [] if self._started else self._start({})
        self.failed = True
        return [*start, failure]

    # --- the answer as a whole ---

    def _start(self, value: _Json) -> list[Event]:
        if self._started:
            return []
        self._started = True
        begin = start_of(value, self._new_id)
        self._id = begin.id
        return [begin]

    def _blocked(self, feedback: _Json) -> list[Event]:
        """A refused prompt is an answer with one choice that says so."""
        choice = self._choices[0] = _Choice(0, shown=True)
        choice.finish = "SAFETY"
        choice.native = {"promptFeedback": dict(feedback)}
        told = feedback.get("blockReasonMessage") or f"Gemini blocked the prompt: {feedback['blockReason']}"
        return self._part(choice, Refusal(""), str(told))

    def _call_id(self, given: Any) -> str:
        if isinstance(given, str) and given:
            return given
        self._calls += 1
        return f"call_{hashlib.sha256(self._id.encode()).hexdigest()[:16]}_{self._calls}"

    # --- candidates and parts ---

    def _candidate(self, candidate: _Json, events: list[Event]) -> None:
        index = candidate.get("index")
        index = index if isinstance(index, int) else 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(index)
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                self._read(choice, part, events)
        if _TOLD.issuperset(candidate) and "logprobsResult" not in candidate:
            return
        choice.finish = finish_name(candidate.get("finishReason")) or choice.finish
        choice.native |= {key: value for key, value in candidate.items() if key not in _TOLD and value}
        events.extend(self._logprobs(choice, candidate))
        events.extend(self._citations(choice, candidate))

    def _read(self, choice: _Choice, part: _Json, events: list[Event]) -> None:
        text = part.get("text")
        if len(part) == 1 and isinstance(text, str) and (opened := choice.open) and _goes_on(opened, text):
            opened.text += text
            choice.shown = True
            events.append(PartDelta(opened.index, text, choice.index))
            return
        if isinstance(part.get("functionCall"), dict):
            events.extend(self._function_call(choice, part["functionCall"], part))
            return
        named = [key for key in part if key not in _SIDE_FIELDS]
        if not named or named == ["text"]:
            events.extend(self._text(choice, part))
            return
        thought = bool(part.get("thought"))
        if isinstance(part.get("inlineData"), dict) and not thought:
            choice.shown = True
            events.extend(self._part(choice, replace(_media(part["inlineData"]), native=_native(part))))
            return
        choice.shown = choice.shown or not thought
        events.extend(self._part(choice, Opaque("gemini", named[0], dict(part))))

    def _text(self, choice: _Choice, part: _Json) -> list[Event]:
        """Text or thought; an empty one may carry the signature of what came before."""
        text = part.get("text")
        text = text if isinstance(text, str) else ""
        native = _native(part)
        if not text and not native:
            return []
        kind: type[Text | Thinking] = Thinking if part.get("thought") else Text
        events: list[Event] = []
        opened = choice.open
        fits = opened is not None and not opened.signed and (opened.kind is kind or (not text and opened.call is None))
        if opened is None or not fits:
            events.extend(self._close(choice))
            opened = choice.open = _Open(choice.parts, kind)
            choice.parts += 1
            events.append(PartStart(opened.index, kind(""), choice.index))
        opened.text += text
        opened.signed = bool(native)
        choice.shown = choice.shown or (kind is Text and bool(text))
        events.append(PartDelta(opened.index, text, choice.index, native=native))
        return events

    def _function_call(self, choice: _Choice, call: _Json, part: _Json) -> list[Event]:
        opened = choice.open
        events: list[Event] = []
        streaming = opened.call if opened else None
        if streaming is None or call.get("name"):
            events.extend(self._close(choice))
            choice.called = choice.shown = True
            skeleton = ToolCall(self._call_id(call.get("id")), str(call.get("name") or ""), "", native=_native(part))
            opened = choice.open = _Open(choice.parts, ToolCall, call=(streaming := PartialArgs()))
            choice.parts += 1
            events.append(PartStart(opened.index, skeleton, choice.index))
        streaming.add(call.get("args"), call.get("partialArgs"))
        if not call.get("willContinue"):
            events.extend(self._close(choice))
        return events

    def _part(self, choice: _Choice, part: Part, text: str = "") -> list[Event]:
        """A part that comes whole."""
        events = self._close(choice)
        index, choice.parts = choice.parts, choice.parts + 1
        events.append(PartStart(index, part, choice.index))
        if text:
            events.append(PartDelta(index, text, choice.index))
        events.append(PartEnd(index, choice.index))
        return events

    def _close(self, choice: _Choice) -> list[Event]:
        opened, choice.open = choice.open, None
        if opened is None:
            return []
        events: list[Event] = []
        if opened.call is not None:
            events.append(PartDelta(opened.index, dumps_text(opened.call.value), choice.index))
        return [*events, PartEnd(opened.index, choice.index)]

    # --- what belongs to the text ---

    def _logprobs(self, choice: _Choice, candidate: _Json) -> list[Event]:
        logprobs = parse_logprobs(candidate.get("logprobsResult"))
        if logprobs is None:
            return []
        if choice.open is not None and choice.open.kind is Text:
            return [PartDelta(choice.open.index, "", choice.index, logprobs)]
        if choice.called:  # they are those of the call
            choice.native["logprobsResult"] = candidate["logprobsResult"]
            return []
        events = self._close(choice)
        opened = choice.open = _Open(choice.parts, Text)
        choice.parts += 1
        return [
            *events,
            PartStart(opened.index, Text(""), choice.index),
            PartDelta(opened.index, "", choice.index, logprobs),
        ]

    def _citations(self, choice: _Choice, candidate: _Json) -> list[Event]:
        if choice.open is None or choice.open.kind is not Text:
            return []
        found = parse_grounding(candidate.get("groundingMetadata"), choice.open.text)
        # Several chunks may bring the same metadata.
        fresh = tuple(citation for citation in found if citation not in choice.cited)
        choice.cited.extend(fresh)
        return [PartDelta(choice.open.index, "", choice.index, annotations=fresh)] if fresh else []


def start_of(value: _Json, new_id: Callable[[], str]) -> Start:
    """What *value*, the first object of an answer, says of the whole of it."""
    own = {key: value[key] for key in _STARTS if value.get(key)}
    return Start(
        str(value.get("responseId") or "") or new_id(),
        str(value.get("modelVersion") or ""),
        _unix_s(own["createTime"]) if "createTime" in own else 0,
        {"gemini": own} if own else {},
    )


def _goes_on(opened: _Open, text: str) -> bool:
    """Whether *text* without anything beside it is more of the open part."""
    return opened.kind is Text and not opened.signed and bool(text)


def _media(blob: _Json) -> Image | Audio | Document:
    media_type = str(blob.get("mimeType") or "application/octet-stream")
    source = Source(media_type=media_type, data=str(blob.get("data") or ""))
    match media_type.partition("/")[0]:
        case "image":
            return Image(source)
        case "audio":
            return Audio(source)
        case _:
            return Document(source)


def _unix_s(time: Any) -> int:
    """An ISO 8601 time in Unix seconds; 0 when there is none. Gemini's own API gives none, Vertex does."""
    try:
        return int(datetime.fromisoformat(str(time)).timestamp())
    except ValueError:
        return 0


def usage_in(body: _Json) -> Usage | None:
    """The usage of an answer; None when it has none that can be read."""
    raw = body.get("usageMetadata")
    return parse_usage(raw) if isinstance(raw, dict) and raw else None


def parse_usage(raw: _Json) -> Usage | None:
    """usageMetadata; None when its counts are missing or cannot be any.

    The prompt contains its cached part; tool results and thoughts come on top.
    """

    counts = main_counts(raw, ("promptTokenCount",), ("candidatesTokenCount",))
    if counts is None:
        return None
    thoughts = detail_count(raw, "thoughtsTokenCount")
    return Usage(
        input_tokens=counts[0] + detail_count(raw, "toolUsePromptTokenCount"),
        output_tokens=counts[1] + thoughts,
        cached_input_tokens=detail_count(raw, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        audio_input_tokens=_audio(raw, "promptTokensDetails"),
        audio_output_tokens=_audio(raw, "candidatesTokensDetails"),
        raw=dict(raw),
    )


def _audio(raw: _Json, name: str) -> int:
    if name not in raw:
        return 0
    return sum(detail_count(detail, "tokenCount") for detail in objects(raw[name]) if detail.get("modality") == "AUDIO")


def parse_logprobs(result: Any) -> tuple[TokenLogprob, ...] | None:
    """logprobsResult; None when there is none."""
    if not isinstance(result, dict) or not (chosen := objects(result.get("chosenCandidates"))):
        return None
    tops = objects(result.get("topCandidates"))
    return tuple(
        replace(
            _logprob(token),
            top=tuple(_logprob(top) for top in (objects(tops[at].get("candidates")) if at < len(tops) else ())),
        )
        for at, token in enumerate(chosen)
    )


def _logprob(candidate: _Json) -> TokenLogprob:
    token = str(candidate.get("token") or "")
    logprob = candidate.get("logProbability")
    return TokenLogprob(
        token, float(logprob) if isinstance(logprob, int | float) else 0.0, tuple(token.encode("utf-8", "replace"))
    )


def parse_grounding(metadata: Any, text: str) -> tuple[_Json, ...]:
    """The citations of *text*: groundingSupports, whose offsets count bytes, as `url_citation` with characters."""
    if not isinstance(metadata, dict):
        return ()
    pages = [_page(chunk) for chunk in objects(metadata.get("groundingChunks"))]
    encoded = text.encode()
    annotations: list[_Json] = []
    for support in objects(metadata.get("groundingSupports")):
        span = _span(support.get("segment"), text, encoded)
        indices = support.get("groundingChunkIndices")
        for at in indices if span and isinstance(indices, list) else ():
            page = pages[at] if isinstance(at, int) and 0 <= at < len(pages) else {}
            if span and page.get("uri"):
                citation: dict[str, Any] = {"start_index": span[0], "end_index": span[1]}
                citation |= {"url": page["uri"], "title": page.get("title") or ""}
                annotations.append({"type": "url_citation", "url_citation": citation})
    return tuple(annotations)


def _page(chunk: _Json) -> _Json:
    """What a grounding chunk points to, be it `web`, `maps` or `retrievedContext`."""
    return next((page for page in chunk.values() if isinstance(page, dict)), {})


def _span(segment: Any, text: str, encoded: bytes) -> tuple[int, int] | None:
    """Characters [start, end) of *segment*. Its own words count where the offsets are of another part."""
    if not isinstance(segment, dict):
        return None
    start, end = (value if isinstance(value := segment.get(key), int) else 0 for key in ("startIndex", "endIndex"))
    first = len(encoded[:start].decode("utf-8", "ignore"))
    last = len(encoded[:end].decode("utf-8", "ignore"))
    words = segment.get("text")
    if not isinstance(words, str) or not words:
        return (first, last) if 0 <= first < last and end <= len(encoded) else None
    if text[first:last] == words:
        return first, last
    found = text.find(words)
    return (found, found + len(words)) if found >= 0 else None
