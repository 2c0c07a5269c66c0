"""The Markdown fence that some models put around JSON, taken off a stream on its way.

    begin --```json and a bracket--> inside --the bracket's end--> over: what follows is left out
          --anything else----------> plain: everything passes

What comes before the fence is left out as well, as it is of whole answers (`structured.fenced`); it is held back until
it is clear, which takes the first characters of an answer. What looks like JSON is passed on at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from typing_extensions import override

from translators.dialect import Relayed, Wire
from translators.neutral import (
    Event,
    Failure,
    Finish,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Text,
    Thinking,
    Usage,
    UsageReport,
)

LONGEST_PREFACE: Final = 400
"""Characters in which the first bracket is waited for."""

_PREFACE: Final = re.compile(r"(?:.*\n)?[ \t]*```(?:json\w*)?[ \t]*\r?\n\s*", re.IGNORECASE | re.DOTALL)
_BRACKET: Final = re.compile(r"[{\[]")
_STEP: Final = re.compile(r"[{}\[\]\"\\]")


def beginning(text: str) -> str | None:
    """What *text*, the beginning of an answer, holds from its JSON on; all of it when there is no fence.

    None while that is not clear yet.
    """
    bracket = _BRACKET.search(text)
    if bracket is None:
        return text if len(text) > LONGEST_PREFACE else None
    start = bracket.start()
    return text[start:] if start <= LONGEST_PREFACE and _PREFACE.fullmatch(text, 0, start) else text


@dataclass(slots=True)
class _Json:
    """How deep in brackets a text is that began with one."""

    depth: int = 0
    quoted: bool = False
    escaped: bool = False

    def up_to_end(self, text: str) -> tuple[str, bool]:
        """The part of *text* that belongs to the value, and whether the value ends with it."""
        start = 0
        if self.escaped and text:
            start, self.escaped = 1, False
        for found in _STEP.finditer(text, start):
            if found.start() < start:
                continue  # it was escaped
            match found[0]:
                case "\\":
                    start = found.end() + 1
                    self.escaped = start > len(text)
                case '"':
                    self.quoted = not self.quoted
                case "{" | "[" if not self.quoted:
                    self.depth += 1
                case "}" | "]" if not self.quoted:
                    self.depth -= 1
                    if self.depth == 0:
                        return text[: found.end()], True
                case _:
                    pass
        return text, False


@dataclass(slots=True)
class _Choice:
    """One choice so far. *held* are deltas that may still be left out."""

    phase: Literal["begin", "inside", "over", "plain"] = "begin"
    texts: set[int] = field(default_factory=set)
    held: list[PartDelta] = field(default_factory=list)
    json: _Json = field(default_factory=_Json)


class Unfencer:
    """Takes fences off events. *opened* hears of each."""

    def __init__(self, opened: Callable[[], None]) -> None:
        self._opened = opened
        self._choices: dict[int, _Choice] = {}

    def events(self, events: Sequence[Event]) -> list[Event]:
        """*events* without what is around the JSON; some of them later."""
        passed: list[Event] = []
        for event in events:
            match event:
                case PartStart(part=Text()):
                    self._of(event.choice).texts.add(event.index)
                    passed.append(event)
                case PartDelta() if event.index in (choice := self._of(event.choice)).texts:
                    passed.extend(self._delta(choice, event))
                case PartEnd() | Finish():
                    passed.extend(_released(self._of(event.choice)))
                    passed.append(event)
                case Failure():
                    for choice in self._choices.values():
                        passed.extend(_released(choice))
                    passed.append(event)
                case _:
                    passed.append(event)
        return passed

    def _of(self, choice: int) -> _Choice:
        return self._choices.setdefault(choice, _Choice())

    def _delta(self, choice: _Choice, delta: PartDelta) -> list[PartDelta]:
        match choice.phase:
            case "plain":
                return [delta]
            case "inside":
                return _inside(choice, delta, delta.text)
            case "over":
                return _rest(delta, "")
            case "begin":
                choice.held.append(delta)
                text = "".join(each.text for each in choice.held)
                if (rest := beginning(text)) is None:
                    return []
                if rest == text:
                    return _released(choice)
                choice.phase, choice.held = "inside", []
                self._opened()
                return _inside(choice, delta, rest)


def _released(choice: _Choice) -> list[PartDelta]:
    """What was held back, as it came."""
    held, choice.held = choice.held, []
    if held:
        choice.phase = "plain"
    return held


def _inside(choice: _Choice, delta: PartDelta, text: str) -> list[PartDelta]:
    kept, ended = choice.json.up_to_end(text)
    if ended:
        choice.phase = "over"
    return _rest(delta, kept)


def _rest(delta: PartDelta, kept: str) -> list[PartDelta]:
    """*delta* with *kept* for its text; nothing where nothing is left."""
    if kept == delta.text:
        return [delta]
    if not kept and not delta.annotations and not delta.native:
        return []
    return [replace(delta, text=kept, logprobs=None)]


class Watched(Wire):
    """A relay that gives way to a translation of the whole stream, if the answer begins in a fence.

    It decides before anything has gone out: at the first text, or at the first reasoning, behind which text will come.
    """

    def __init__(self, relay: Wire, translated: Callable[[], Wire]) -> None:
        self._relay = relay
        self._translated = translated
        self._decided = False
        self._raw: list[bytes] = []
        self._frames: list[bytes] = []
        self._events: list[Event] = []

    @override
    def feed(self, piece: bytes) -> Relayed:
        step = self._relay.feed(piece)
        if self._decided:
            return step
        self._raw.append(piece)
        self._frames.append(step.frames)
        self._events += [*step.events, *self._relay.told()]
        match _beginning_of(self._events):
            case "relay":
                return self._released()
            case "translate":
                self._relay, self._decided = self._translated(), True
                return self._relay.feed(b"".join(self._raw))
            case None:
                # Told at once, as a call that breaks off here costs it; told again with all that is held back.
                return Relayed(b"", [event for event in step.events if isinstance(event, UsageReport)])

    @override
    def end(self) -> Relayed:
        held = Relayed(b"", ()) if self._decided else self._released()
        last = self._relay.end()
        return Relayed(held.frames + last.frames, [*held.events, *last.events])

    @override
    def fail(self, failure: Failure) -> bytes:
        return self._relay.fail(failure)

    @override
    def close(self, receipt: bytes | None = None, usage: Usage | None = None) -> bytes:
        return self._relay.close(receipt, usage)

    @override
    def passes(self, piece: bytes) -> bool:
        return self._decided and self._relay.passes(piece)

    @override
    def told(self) -> Sequence[Event]:
        return self._relay.told() if self._decided else ()

    def _released(self) -> Relayed:
        self._decided = True
        return Relayed(b"".join(self._frames), self._events)


def _beginning_of(events: Sequence[Event]) -> Literal["relay", "translate"] | None:
    """What is to be done with a stream that begins with *events*; None while that is not clear."""
    kinds: dict[int, type] = {}
    text = ""
    for event in events:
        match event:
            case PartStart(part=Text() | Thinking() | Refusal()):
                kinds[event.index] = type(event.part)
            case PartDelta() if event.text and kinds.get(event.index) is Thinking:
                return "translate"
            case PartDelta() if kinds.get(event.index) is Text:
                text += event.text
                if (rest := beginning(text)) is not None:
                    return "relay" if rest == text else "translate"
            case PartStart() | PartDelta() | Finish() | Failure():
                return "relay"
            case _:
                continue
    return None
