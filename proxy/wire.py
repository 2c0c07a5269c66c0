"""A stream on its way through: pieces of the backend's bytes in, frames for the client and events out.

Two kinds are alike: a dialect's `StreamRelay` passes bytes on while it reads along (`translators.moulds` spares it most
of the reading), `Translated` parses one dialect and renders another.
"""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from proxy.unfencing import Unfencer
from translators.custom_tools import Restorer
from translators.dialect import Relayed, StreamParser, StreamRenderer, Wire
from translators.neutral import (
    Event,
    Failure,
    Finish,
    PartDelta,
    PartStart,
    Refusal,
    Text,
    Thinking,
    Usage,
    UsageReport,
)


class Translated(Wire):
    """Parse, give tools the client's names and types back, render; see `translators.dialect.StreamRelay`.

    With an *unfencer* JSON comes without the fence around it.
    """

    def __init__(
        self, parser: StreamParser, renderer: StreamRenderer, restorer: Restorer, unfencer: Unfencer | None = None
    ) -> None:
        self._parser = parser
        self._renderer = renderer
        self._restorer = restorer
        self._unfencer = unfencer

    @override
    def feed(self, piece: bytes) -> Relayed:
        return self._step(self._parser.feed(piece))

    @override
    def end(self) -> Relayed:
        return self._step(self._parser.close())

    @override
    def fail(self, failure: Failure) -> bytes:
        return self._renderer.fail(failure)

    @override
    def close(self, receipt: bytes | None = None, usage: Usage | None = None) -> bytes:
        counted = self._renderer.render([UsageReport(usage)]) if usage is not None else b""
        return counted + self._renderer.close(receipt)

    def _step(self, events: Sequence[Event]) -> Relayed:
        if not self._restorer.idle:
            events = self._restorer.events(events)
        return self._rendered(events)

    def _rendered(self, events: Sequence[Event]) -> Relayed:
        if self._unfencer is not None:
            events = self._unfencer.events(events)
        return Relayed(self._renderer.render(events) if events else b"", events)


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
