"""What can go wrong between a request and the end of its answer.

TransportError
├─ ConnectFailed     no connection: refused, unknown name, a certificate that does not hold
│  └─ NoDescriptor      this system has none to make one with: the server was never asked
├─ TimedOut          a clock ran out
│  ├─ ConnectTimeout    until the connection stands
│  ├─ WriteTimeout      the peer takes no more of the body
│  ├─ HeadTimeout       until the answer's head
│  ├─ IdleTimeout       between two pieces of its body
│  └─ TotalTimeout      everything
├─ Disconnected      the connection ended before the answer did
├─ BadAnswer         what came is not HTTP/1.1 as far as we take it, or its head is too large
└─ TooLarge          the body is longer than the reader wants

Messages hold nothing of what was sent or received: a header line may be a key.
"""

from __future__ import annotations


class TransportError(Exception):
    """No answer, or not a whole one."""


class ConnectFailed(TransportError):
    """*reason* is the system's or the TLS library's word for it, without addresses."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no connection: {reason}")
        self.reason = reason


class NoDescriptor(ConnectFailed):
    """This system has no descriptor, or no memory, for a connection."""


class TimedOut(TransportError):
    """A clock of *limit_s* seconds ran out."""

    what = "no answer"

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"{self.what} within {limit_s:g} s")
        self.limit_s = limit_s


class ConnectTimeout(TimedOut):
    """The connection did not stand in time."""

    what = "no connection"


class WriteTimeout(TimedOut):
    """The peer stopped taking the request's body."""

    what = "no more of the request was taken"


class HeadTimeout(TimedOut):
    """No answer began."""


class IdleTimeout(TimedOut):
    """The answer began, and then nothing came."""

    what = "nothing more came"


class TotalTimeout(TimedOut):
    """The answer was not whole in time."""

    what = "no whole answer"


class Disconnected(TransportError):
    """The connection ended too early."""


class BadAnswer(TransportError):
    """What came cannot be taken for an answer."""


class TooLarge(TransportError):
    """The body is longer than *limit* bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is larger than {limit} bytes")
