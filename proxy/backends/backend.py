"""What a backend is: one call out, one answer back, in the bytes of its dialect.

A backend neither translates nor retries. It is given a body that is ready to be sent, and gives the bytes as they
come. Whatever goes wrong before the answer's status is known is a `BackendError`; afterwards, too, when the answer
breaks off or stalls.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from translators.neutral import Failure


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The clocks of one attempt, in seconds.

    *connect_s*: until the connection stands. *first_event_s*: of a stream, from sending until the first content.
    *whole_answer_s*: of a whole answer, until its head comes, which is when the model has finished; a row that sets
    first_event_s alone means both. *idle_s*: between pieces. *total_s*: everything.
    """

    connect_s: float = 5.0
    first_event_s: float = 60.0
    whole_answer_s: float = 300.0
    idle_s: float = 60.0
    total_s: float = 600.0


MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

Operation = Literal["generate", "embed", "count", "complete", "models"]
"""What a backend is asked for: an answer, vectors, a count of tokens, the continuation of a text, its models."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one target. *body* is JSON in the backend's dialect; *key* is the provider's secret.

    *path* is where it is posted, below the provider's base URL; backends without network go by *operation*.
    What is passed on untouched may have another *method*, its own content type among *headers*, an *upload* that
    comes in pieces in place of the body, and an answer of any size. *max_answer_bytes* None: as is configured.
    """

    model: str
    body: bytes
    stream: bool
    method: str = "POST"
    upload: AsyncIterable[bytes] | None = None
    max_answer_bytes: int | None = None
    operation: Operation = "generate"
    path: str = ""
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeouts: Timeouts = field(default_factory=Timeouts)


class BackendError(Exception):
    """The call failed without an answer of the vendor's own: refused, reset, timed out, cut."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class OwnFault(BackendError):
    """The call failed for want of something on this machine, which says nothing of the provider; see OWN_FAULTS."""


NO_DESCRIPTORS: Final = "no_descriptors"
NO_ROOM: Final = "too_busy"
OWN_FAULTS: Final = frozenset({NO_DESCRIPTORS, NO_ROOM})
"""What is short then, as a code: descriptors for connections, memory for answers."""


class Answer(Protocol):
    """An answer whose head has arrived. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    connect_s: float | None
    """After how long there was a connection to its server; None: at once, or there is none."""

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises BackendError when it breaks off or stalls."""

    async def read(self) -> bytes:
        """The whole body, bounded. Raises BackendError when it is cut, too large or stalls."""


class Backend(Protocol):
    """Leaving the context of `send` releases the connection; leaving it early cancels the work behind it."""

    def send(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """Send *call*. Raises BackendError."""

    async def close(self) -> None:
        """Release everything. No call is running."""
