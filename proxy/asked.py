"""One client's question, and how that client wants to be answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxy.controls import Controls
from proxy.threads import THREAD_BYTES
from translators.codec import dumps
from translators.dialect import ClientDialect, ReplyTo, StreamRenderer
from translators.neutral import Request, Response

if TYPE_CHECKING:
    from proxy.memory import Memory

EVENT_STREAM: Final = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Asked:
    """What one client wants, in its own bytes and in the neutral form."""

    dialect: ClientDialect
    raw: bytes
    body: Mapping[str, Any]
    request: Request
    controls: Controls
    created: int
    """Unix seconds, for answers whose vendor tells none."""
    id: str
    """Unique, for answers whose vendor gives none; the dialect puts its prefix before it."""
    forward: Mapping[str, str] = field(default_factory=dict)
    """Headers that a backend of the client's own vendor is sent as they came."""
    query: str = ""
    """What such a backend's address gets behind its path."""
    wants_count: bool = False
    """Whether the dialect tells the size of the prompt before the vendor does."""
    stream_type: str = EVENT_STREAM
    memory: Memory | None = None
    """What is to be remembered, of a dialect whose servers remember."""

    @property
    def large(self) -> bool:
        """Whether what looks at all of it belongs in a thread."""
        return len(self.raw) > THREAD_BYTES

    def whole(self, response: Response) -> bytes:
        """*response* as the client wants a whole answer."""
        return dumps(self.dialect.render_response(response, self.reply_to()))

    def renderer(self, input_tokens: int = 0) -> StreamRenderer:
        """What writes events as the client wants a stream."""
        return self.dialect.StreamRenderer(self.reply_to(input_tokens))

    def reply_to(self, input_tokens: int = 0) -> ReplyTo:
        """The client, for those who make its answer."""
        return ReplyTo(self.request, self.body, self.id, self.created, input_tokens)
