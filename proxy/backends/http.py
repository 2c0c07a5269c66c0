"""The HTTP backend: one caller for all providers, one `HttpBackend` for each.

Upstream hygiene (FAULTS, facts A8 to A10 and rule 7): redirects are never followed, cookies never kept, the
environment's proxies not used, bodies read to their end under a cap, reads buffered in small pieces.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from proxy.backends.backend import MAX_ANSWER_BYTES, Answer, BackendError, Call
from proxy.backends.callers import Caller, Carried, Direct, OwnAnswer, OwnCaller, broken
from proxy.backends.inflate import MOST_RATIO, BadEncoding, Bomb, Inflater
from proxy.threads import joined
from proxy.transport import Reply
from translators.neutral import TOO_MUCH, Failure


def bearer(key: str) -> dict[str, str]:
    """`Authorization: Bearer KEY`."""
    return {"authorization": f"Bearer {key}"}


AUTH_SCHEMES: Final[Mapping[str, Callable[[str], dict[str, str]]]] = {
    "bearer": bearer,
    "x-api-key": lambda key: {"x-api-key": key},
    "x-goog-api-key": lambda key: {"x-goog-api-key": key},
    "api-key": lambda key: {"api-key": key},
    "none": lambda _key: {},
}
"""How a provider wants its key: name of the scheme -> headers. Never in the query, which gets logged."""


class HttpAnswer:
    """An upstream answer whose head has arrived."""

    __slots__ = ("_carried", "_max_bytes", "_max_ratio", "_received", "connect_s", "headers", "status")

    def __init__(self, carried: Carried, max_bytes: int, max_ratio: int = MOST_RATIO, received: int = 0) -> None:
        self._carried = carried
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio
        self._received = received
        self.status = carried.status
        self.connect_s = carried.connect_s
        self.headers = carried.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes, each piece within idle_s of the one before."""
        try:
            inflater = Inflater(self._encoding, self._max_ratio) if self._encoding else None
            while piece := await self._carried.piece():
                for step in inflater.feed(piece) if inflater else (piece,):
                    self._received = self._within(self._received + len(step))
                    yield step
        except Bomb as error:
            raise _too_much(str(error)) from error
        except BadEncoding as error:
            raise broken("invalid_response", str(error), 502) from error

    async def flow(self, take: Callable[[bytes], bool], sink: Callable[[bytes], bool] | None) -> None:
        """Give *take* the pieces where they are read, until it wants no more; the rest is for `pieces`.

        What *sink* takes is not given to *take*.

        Where nothing can be read so, because the body is packed or is carried otherwise, nothing happens.
        """
        if not isinstance(self._carried, OwnAnswer) or self._encoding:
            return

        reply = self._carried.reply
        sunk = reply.sunk

        def counted(piece: bytes) -> bool:
            self._received += len(piece)
            self._within(self._received + reply.sunk - sunk)
            return take(piece)

        try:
            await reply.flow(counted, sink)
        finally:
            self._received += reply.sunk - sunk

    async def read(self) -> bytes:
        """The whole body."""
        length = self.headers.get("content-length", "")
        if length.isascii() and length.isdecimal() and len(length) < 20:
            self._within(int(length))
        if self._encoding:
            return await joined([piece async for piece in self.pieces()])
        pieces: list[bytes] = []
        received = 0
        while piece := await self._carried.piece():
            received = self._within(received + len(piece))
            pieces.append(piece)
        return await joined(pieces)

    @property
    def _encoding(self) -> str:
        """How the body is packed; empty where it is not."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding

    def _within(self, received: int) -> int:
        """*received*, unless that is more bytes than may be."""
        if received > self._max_bytes:
            raise _too_much(f"the answer is larger than {self._max_bytes} bytes")
        return received


def _too_much(message: str) -> BackendError:
    return BackendError(Failure("invalid_response", message, 502, TOO_MUCH))


class HttpBackend:
    """One provider over HTTP. *url* gives the address of a call's path.

    An answer may have *max_bytes*, where the call does not say otherwise, and unpack to *max_ratio* times its size.
    """

    def __init__(
        self,
        caller: Caller,
        url: Callable[[str], str],
        *,
        auth: str = "bearer",
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
        max_ratio: int = MOST_RATIO,
    ) -> None:
        self._caller = caller
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio
        self._url = url
        self._auth = AUTH_SCHEMES[auth]
        self._headers = {"content-type": "application/json", **_lower(headers or {})}

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answer]:
        """Make the call; see Backend."""
        clocks = call.timeouts
        wait_s = clocks.first_event_s if call.stream else clocks.whole_answer_s
        body = call.body if call.upload is None else call.upload
        carried = await self._caller.ask(
            call.method, self._url(call.path), self._outgoing(call), body, clocks=clocks, wait_s=wait_s
        )
        try:
            yield self._taken(carried, call)
        finally:
            carried.close()

    def direct(self, call: Call) -> Direct | None:
        """How to make calls like *call* without waiting for anything; None where that cannot be."""
        if not isinstance(self._caller, OwnCaller):
            return None
        return self._caller.direct(call.method, self._url(call.path), self._outgoing(call))

    @asynccontextmanager
    async def answered(self, call: Call, reply: Reply, received: int = 0) -> AsyncIterator[Answer]:
        """The answer to a *call* that was made with `direct`, of which *received* bytes are read already; as `send`."""
        carried = OwnCaller.answered(reply)
        try:
            yield self._taken(carried, call, received)
        finally:
            carried.close()

    def _outgoing(self, call: Call) -> dict[str, str]:
        accept = "text/event-stream" if call.stream else "application/json"
        headers = {**self._headers, "accept": accept, **_lower(call.headers)}
        if call.key is not None:
            headers.update(self._auth(call.key))
        return headers

    @property
    def max_bytes(self) -> int:
        """So many an answer may have."""
        return self._max_bytes

    def _taken(self, carried: Carried, call: Call, received: int = 0) -> HttpAnswer:
        if 300 <= carried.status < 400:
            message = f"the provider redirects ({carried.status}), which is refused"
            raise broken("invalid_response", message, carried.status)
        return HttpAnswer(carried, call.max_answer_bytes or self._max_bytes, self._max_ratio, received)

    async def close(self) -> None:
        """The caller belongs to whoever made it."""


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    """*headers* under names that are the same however they were spelled."""
    return {name.lower(): value for name, value in headers.items()}
