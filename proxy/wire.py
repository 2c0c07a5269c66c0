"""A stream on its way through: pieces of the backend's bytes in, frames for the client and events out.

Two kinds have the same three methods: `openai_chat.StreamRelay` passes bytes on while it reads along, `Translated`
parses one dialect and renders another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from translators.custom_tools import Restorer
from translators.dialect import StreamParser, StreamRenderer
from translators.neutral import Event, Finish, PartDelta, PartStart, Refusal, Text, Thinking, Usage, UsageReport


class Passed(Protocol):
    """What one step gave: *frames* for the client, and the *events* that they mean."""

    @property
    def frames(self) -> bytes:
        """Bytes for the client; may be empty."""

    @property
    def events(self) -> Sequence[Event]:
        """What happened."""


class Wire(Protocol):
    """One stream on its way through."""

    def feed(self, piece: bytes) -> Passed:
        """The next bytes of the backend."""

    def end(self) -> Passed:
        """The backend's stream ended."""

    def close(self, receipt: bytes | None, usage: Usage | None = None) -> bytes:
        """The closing frames: the receipt as a comment, then the client dialect's terminator.

        *usage* is the proxy's own count, for a client that asked for one and a server that gave none.
        """


@dataclass(frozen=True, slots=True)
class Step:
    """A `Passed` as a value."""

    frames: bytes
    events: Sequence[Event]


class Translated:
    """Parse, give tools the client's names and types back, render."""

    def __init__(self, parser: StreamParser, renderer: StreamRenderer, restorer: Restorer) -> None:
        self._parser = parser
        self._renderer = renderer
        self._restorer = restorer

    def feed(self, piece: bytes) -> Step:
        """See Wire."""
        return self._step(self._parser.feed(piece))

    def end(self) -> Step:
        """See Wire."""
        return self._step(self._parser.close())

    def close(self, receipt: bytes | None, usage: Usage | None = None) -> bytes:
        """See Wire."""
        counted = self._renderer.render([UsageReport(usage)]) if usage is not None else b""
        return counted + self._renderer.close(receipt)

    def _step(self, events: Sequence[Event]) -> Step:
        if not self._restorer.idle:
            events = self._restorer.events(events)
        return Step(self._renderer.render(events) if events else b"", events)


def is_content(event: Event) -> bool:
    """Whether *event* commits the stream: from here on no other target can take over unseen."""
    match event:
        case PartDelta():
            return bool(event.text)
        case PartStart(part=Text() | Thinking() | Refusal()):
            return False
        case PartStart() | Finish():
            return True
        case _:
            return False
