"""Answers that their vendor interrupts and expects to be sent again, continued for clients of other dialects.

call 1 --pause--> call 2 --pause--> ... --any other end--> one answer: its parts in a row, usage summed, the last end
                        `--no content comes, or too many calls--> what there is, marked as paused, and said so

`continuation` is what is asked next, `Sequel` says how far it goes. `Seam` makes the events of several calls those of
one answer, `Continued` does so to a stream on its way, `followed` to answers that came in one piece.

A client of the vendor's own dialect gets the vendor's own word: its SDK sends the turn again by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from typing_extensions import override

from proxy.unfencing import Unfencer
from proxy.whole import summed
from proxy.wire import Translated, is_content
from routing.errors import AttemptFailed
from translators.assemble import Collector, merge_native, replay
from translators.custom_tools import Restorer
from translators.dialect import Relayed, StreamParser, StreamRenderer
from translators.losses import Loss
from translators.neutral import (
    Choice,
    Event,
    Failure,
    Finish,
    Message,
    Native,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Request,
    Response,
    ResponseNative,
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageReport,
)
from translators.openai_chat.parts import shifted

PLACE: Final = "answer"
"""Where losses of what was said so far have their place: no client wrote it."""
_FIELD: Final = "finish_reason"
_ENDS: Final = frozenset(
    {"finishReason", "finishMessage", "continuationToken", "stop_reason", "stop_sequence", "stop_details"}
)
"""Fields of a choice that say how one call ended, and not what was said."""


# --- what is asked next ------------------------------------------------------------------------------


def _by_token(request: Request, choice: Choice, _response: Response) -> Request | None:
    """The same request, with the token at its top level. (google-genai, `_generate_content_with_continuation`)"""
    own = choice.native.get("gemini", {})
    if not own.get("continuationToken"):
        return None
    fields = {**request.native.get("gemini", {}), "continuationToken": own["continuationToken"]}
    return replace(request, native={**request.native, "gemini": fields})


def _by_turn(request: Request, choice: Choice, response: Response) -> Request | None:
    """The turn as it came, as the last message; nothing after it. (platform.claude.com, handling stop reasons)

    A call of the client's own tools has to be answered first. What runs in a container goes on in the same one.
    """
    if not choice.parts or any(isinstance(part, ToolCall) for part in choice.parts):
        return None
    turn = Message("assistant", choice.parts, place=PLACE)
    container = response.native.get("anthropic", {}).get("container")
    native: Native = request.native
    if isinstance(container, dict) and container.get("id"):
        native = {**native, "anthropic": {"container": container["id"], **native.get("anthropic", {})}}
    return replace(request, messages=(*request.messages, turn), native=native)


_WAYS: Final[Mapping[str, Callable[[Request, Choice, Response], Request | None]]] = {
    "anthropic": _by_turn,
    "gemini": _by_token,
}
"""Dialect -> how an answer that its vendor interrupted is continued."""


def continuation(request: Request, response: Response) -> Request | None:
    """What to ask after *response*, which is all of the answer to *request* so far.

    None when it was not interrupted, or cannot be continued; of several choices none can.
    """
    if len(response.choices) != 1 or response.choices[0].finish_reason != "pause":
        return None
    choice = response.choices[0]
    way = next((_WAYS[dialect] for dialect in choice.native if dialect in _WAYS), None)
    return way(request, choice, response) if way else None


def can_continue(request: Request, dialect: str) -> bool:
    """Whether an answer to *request* that a server of *dialect* interrupts is to be continued here."""
    return dialect in _WAYS and request.dialect != dialect


class Sequel:
    """The calls that follow the first one of an answer: at most *most*."""

    def __init__(self, request: Request, most: int) -> None:
        self._request = request
        self._most = most
        self._asked: Request | None = None
        self._lost: list[Loss] = []
        self._note: Loss | None = None
        self.calls = 1

    def next(self, so_far: Response) -> Request | None:
        """What to ask after *so_far*; None when the answer is to stay as it is."""
        follow = continuation(self._request, so_far)
        if follow is None:
            return None
        if follow == self._asked:
            # A call that brought nothing new would only be repeated.
            self._stays(f"the vendor does not go on with its answer; {self.calls} calls were made")
            return None
        if self.calls > self._most:
            self._stays(f"the vendor interrupted its answer {self.calls} times; no more calls are made")
            return None
        self._asked = follow
        return follow

    def came(self, losses: Sequence[Loss]) -> None:
        """One more call, which had *losses*, gave its part of the answer."""
        self.calls += 1
        self._lost.extend(losses)
        self._note = Loss(_FIELD, "emulated", f"the vendor interrupted its answer; it took {self.calls} calls")

    def failed(self, failure: Failure) -> None:
        """The last call gave nothing."""
        why = f"{failure.kind}, status {failure.status}"
        self._note = Loss(_FIELD, "dropped", f"the vendor interrupted its answer; call {self.calls + 1} failed: {why}")

    @property
    def notes(self) -> tuple[Loss, ...]:
        """What is to be said of these calls."""
        return (*self._lost, self._note) if self._note else ()

    def _stays(self, why: str) -> None:
        self._note = Loss(_FIELD, "clamped", why)


# --- one answer of several calls -----------------------------------------------------------------------


class Seam:
    """Makes the events of one call after the other those of one answer, of one choice.

    Held back: the Finish of an interrupted call, and the end of a text until it is certain that the next call does
    not go on with it. `open` lets the next call begin, `release` gives what is held where there is none.
    """

    def __init__(self) -> None:
        self._later = False
        self._shift = 0
        self._started: PartStart | None = None
        """The newest part of this call, if it is a text that may go on in the next."""
        self._end: PartEnd | None = None
        self._before: Text | Thinking | None = None
        """The text so far with which this call may go on, until its first part begins."""
        self._joint = -1
        self._offset = 0
        self._carried: Native = {}
        self._ids: set[str] = set()
        self._marks: list[tuple[int, int]] = [(0, 0)]
        """Where each call's part of the answer begins: index of the part, characters of it that are older."""
        self._usages: list[Usage | None] = [None]
        self._earlier: Usage | None = Usage()
        self.finish: Finish | None = None
        """The interruption, while it is held back."""

    def events(self, events: Sequence[Event]) -> Sequence[Event]:
        """*events* of the present call as those of the whole answer."""
        if not self._later and len(events) == 1 and type(events[0]) is PartDelta:
            return events  # nearly all pieces of nearly all streams
        joined: list[Event] = []
        for event in events:
            match event:
                case PartDelta():
                    joined.append(self._delta(event) if self._later else event)
                case PartStart():
                    self._start(event, joined)
                case PartEnd():
                    self._part_end(event, joined)
                case Finish():
                    self._finish(event, joined)
                case UsageReport():
                    self._usages[-1] = event.usage
                    joined.append(UsageReport(_added(self._earlier, event.usage)) if self._later else event)
                case Start() if self._later:
                    joined.extend([ResponseNative(event.native)] if event.native else [])
                case _:
                    joined.append(event)
        return joined

    def open(self, so_far: Response) -> list[Event]:
        """The next call begins, after *so_far*, which is all that went through."""
        parts = so_far.choices[0].parts if so_far.choices else ()
        self._earlier = _added(self._earlier, self._usages[-1])
        self._carried = _without_ends(self.finish.native) if self.finish else {}
        last = parts[-1] if parts else None
        self._before = None
        if self._end is not None and isinstance(last, Text | Thinking) and not last.native:
            self._before = last
        self._ids |= {part.id for part in parts if isinstance(part, ToolCall)}
        self._later, self._shift, self._joint = True, len(parts), -1
        self._marks.append((len(parts), 0))
        self._usages.append(None)
        self.finish = self._started = None
        return [UsageReport(None)] if self._earlier is None else []

    def cut(self) -> None:
        """The present call broke off: its text has not ended, and may go on in the next call."""
        if self._started is not None and self._end is None:
            self._end = PartEnd(self._started.index + self._shift, self._started.choice)
        self.finish = None

    def release(self) -> list[Event]:
        """What is held back: nothing goes on."""
        held: list[Event] = [event for event in (self._end, self.finish) if event is not None]
        self._end = self.finish = None
        return held

    @property
    def usage(self) -> Usage | None:
        """What the vendor reports of the present call alone."""
        return self._usages[-1]

    def shares(self, response: Response) -> list[Response]:
        """What each call gave of *response*, with its own usage."""
        if not response.choices:
            return [replace(response, usage=usage) for usage in self._usages]
        choice = response.choices[0]
        ends = [*self._marks[1:], (len(choice.parts), 0)]
        return [
            replace(response, choices=(replace(choice, parts=_cut(choice, begin, end)),), usage=usage)
            for begin, end, usage in zip(self._marks, ends, self._usages, strict=True)
        ]

    # --- events

    def _start(self, event: PartStart, joined: list[Event]) -> None:
        before, self._before = self._before, None
        part = event.part
        text = part if isinstance(part, Text | Thinking) and not part.native else None
        if before is not None and text is not None and type(text) is type(before):
            self._end = None
            self._shift -= 1
            self._joint, self._offset = self._shift + event.index, len(before.text)
            self._marks[-1] = (self._joint, self._offset)
            self._started = event
            if text.text:
                joined.append(PartDelta(self._joint, text.text, event.choice))
            return
        self._let_end(joined)
        self._started = event if text is not None else None
        if isinstance(part, ToolCall) and self._later:
            part = self._unique(part)
        joined.append(PartStart(event.index + self._shift, part, event.choice) if self._later else event)

    def _unique(self, call: ToolCall) -> ToolCall:
        """*call* with an id that no earlier call of the answer has: made ids count from one in each."""
        number = len(self._marks)
        while call.id in self._ids:
            call = replace(call, id=f"{call.id}_{number}")
        return call

    def _delta(self, event: PartDelta) -> PartDelta:
        index = event.index + self._shift
        annotations = event.annotations
        if annotations and index == self._joint:
            annotations = tuple(shifted(annotations, self._offset))
        return PartDelta(index, event.text, event.choice, event.logprobs, annotations, event.native)

    def _part_end(self, event: PartEnd, joined: list[Event]) -> None:
        held = self._started is not None and self._started.index == event.index and not event.native
        if self._later:
            event = PartEnd(event.index + self._shift, event.choice, event.native)
        if held:
            self._end = event
        else:
            joined.append(event)

    def _finish(self, event: Finish, joined: list[Event]) -> None:
        if event.reason == "pause":
            self.finish = event
            return
        self._let_end(joined)
        joined.append(replace(event, native=merge_native(self._carried, event.native)) if self._carried else event)

    def _let_end(self, joined: list[Event]) -> None:
        if self._end is not None:
            joined.append(self._end)
            self._end = None


def followed(first: Response, more: Response) -> Response:
    """*first*, which was interrupted, and *more*, which continues it, as one answer."""
    seam, collector = Seam(), Collector()
    for event in seam.events(list(replay(first))):
        collector.add(event)
    for event in (*seam.open(collector.response()), *seam.events(list(replay(more))), *seam.release()):
        collector.add(event)
    return collector.response()


class Trim(Protocol):
    """Takes something out of a stream's events."""

    def events(self, events: Sequence[Event]) -> Sequence[Event]:
        """What is left of *events*."""


class Continued(Translated):
    """A stream that goes on with the stream of another call; see `proxy.wire.Translated`.

    What a later call says is kept back until its first content: up to there it may fail without a trace.
    """

    def __init__(
        self, parser: StreamParser, renderer: StreamRenderer, restorer: Restorer, unfencer: Unfencer | None = None
    ) -> None:
        super().__init__(parser, renderer, restorer, unfencer)
        self._so_far: Response | None = None
        self._waiting: list[Event] = []
        self.seam = Seam()
        self.trim: Trim | None = None
        """What cuts off the next call's repetitions."""

    def resume(self, parser: StreamParser, restorer: Restorer, so_far: Response) -> None:
        """The next call's stream is read, after *so_far*, which is all that went through."""
        self._parser, self._restorer = parser, restorer
        self._so_far, self._waiting = so_far, []

    def release(self) -> Relayed:
        """The end of an answer that nothing continues."""
        return self._rendered(self.seam.release())

    @property
    def usage(self) -> Usage | None:
        """What the vendor has reported of the present call, which may have given nothing yet."""
        if self._so_far is None:
            return self.seam.usage
        return next((event.usage for event in reversed(self._waiting) if isinstance(event, UsageReport)), None)

    def paused(self, so_far: Response) -> Response:
        """*so_far* with the interruption that is held back."""
        finish = self.seam.finish
        if finish is None:
            return so_far
        choice = so_far.choices[0] if so_far.choices else Choice((), None)
        return replace(so_far, choices=(replace(choice, finish_reason=finish.reason, native=finish.native),))

    @override
    def _step(self, events: Sequence[Event]) -> Relayed:
        if not self._restorer.idle:
            events = self._restorer.events(events)
        if self._so_far is None:
            return self._rendered(self.seam.events(self.trim.events(events) if self.trim else events))
        events = self.trim.events(events) if self.trim else events
        self._waiting.extend(events)
        if failure := next((event for event in events if isinstance(event, Failure)), None):
            raise AttemptFailed(failure)
        if not any(map(is_content, events)):
            return Relayed(b"", ())
        opening = self.seam.open(self._so_far)
        self._so_far = None
        return self._rendered([*opening, *self.seam.events(self._waiting)])


def _added(one: Usage | None, other: Usage | None) -> Usage | None:
    """Both together; None when one of them is not known."""
    return None if one is None or other is None else summed([one, other])


def _without_ends(native: Native) -> Native:
    kept: dict[str, Mapping[str, Any]] = {
        dialect: {name: value for name, value in fields.items() if name not in _ENDS}
        for dialect, fields in native.items()
    }
    return {dialect: fields for dialect, fields in kept.items() if fields}


def _cut(choice: Choice, begin: tuple[int, int], end: tuple[int, int]) -> tuple[Part, ...]:
    """The parts from *begin* up to *end*; both are a part and a number of its characters."""
    found = list(choice.parts[begin[0] : end[0] + (1 if end[1] else 0)])
    if end[1] and isinstance(last := found[-1], Text | Thinking):
        found[-1] = replace(last, text=last.text[: end[1]])
    if begin[1] and found and isinstance(first := found[0], Text | Thinking):
        found[0] = replace(first, text=first.text[begin[1] :])
    return tuple(found)
