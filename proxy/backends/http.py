"""The HTTP backend: one caller for all providers, one `HttpBackend` for each.

Upstream hygiene (FAULTS, facts A8 to A10 and rule 7): redirects are never followed, cookies never kept, the
environment's proxies not used, bodies read to their end under a cap, reads buffered in small pieces.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Final

from typing_extensions import override

from proxy.backends.backend import MAX_ANSWER_BYTES, NO_ROOM, Answer, BackendError, Call, OwnFault
from proxy.backends.callers import Caller, Carried, Direct, OwnAnswer, OwnCaller, broken
from proxy.backends.inflate import MOST_RATIO, BadEncoding, Bomb, Inflater
from proxy.errors import RETRY_S
from proxy.room import FREE_BYTES, Gathering, NoRoom, for_an_answer
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

    __slots__ = ("_carried", "_max_ratio", "_received", "connect_s", "headers", "max_bytes", "status")

    def __init__(self, carried: Carried, max_bytes: int, max_ratio: int = MOST_RATIO, received: int = 0) -> None:
        self._carried = carried
        self.max_bytes = max_bytes
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
        gathering = Gathering(for_an_answer(), self.max_bytes)
        length = self.headers.get("content-length", "")
        told = self._within(int(length)) if length.isascii() and length.isdecimal() and len(length) < 20 else 0
        if self._encoding:
            async for piece in self.pieces():
                if gathering.add(piece):
                    await has_room(gathering)
            return await gathering.whole()
        if told > FREE_BYTES:
            await has_room(gathering, told)
        while piece := await self._carried.piece():
            self._within(gathering.received + len(piece))
            if gathering.add(piece):
                await has_room(gathering)
        return await gathering.whole()

    @property
    def whole(self) -> bytes | None:
        """The body, if all of it is at hand as it is, and it is a short one; else it has to be read.

        Raises:
            BackendError: it is larger than it may be.
        """
        if not isinstance(self._carried, OwnAnswer) or self._encoding:
            return None
        body = self._carried.reply.whole
        return body if body is not None and self._within(len(body)) <= FREE_BYTES else None

    @property
    def _encoding(self) -> str:
        """How the body is packed; empty where it is not."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding

    def _within(self, received: int) -> int:
        """*received*, unless that is more bytes than may be."""
        if received > self.max_bytes:
            raise _too_much(f"the answer is larger than {self.max_bytes} bytes")
        return received


async def has_room(gathering: Gathering, size: int | None = None) -> None:
    """Wait for room for *size* bytes of an answer, else for more of it.

    Raises:
        BackendError: there is none in time, which is no fault of the provider.
    """
    try:
        await gathering.room(size)
    except NoRoom as error:
        raise OwnFault(Failure("overloaded", f"too busy: {error}", 503, NO_ROOM, retry_after_s=RETRY_S)) from error


def _too_much(message: str) -> BackendError:
    return BackendError(Failure("invalid_response", message, 502, TOO_MUCH))


class _Sending(AbstractAsyncContextManager[Answer]):
    """A call that *carry* makes when this is entered, and whose answer *take* looks at first.

    A class, as every request has one: a generator takes twice as long.
    """

    __slots__ = ("_carried", "_carry", "_take")

    def __init__(self, carry: Callable[[], Awaitable[Carried]], take: Callable[[Carried], Answer]) -> None:
        self._carry = carry
        self._take = take
        self._carried: Carried | None = None

    @override
    async def __aenter__(self) -> Answer:
        carried = self._carried = await self._carry()
        try:
            return self._take(carried)
        except BaseException:
            carried.close()
            raise

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._carried is not None:
            self._carried.close()


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

    def send(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """Make the call; see Backend."""
        return _Sending(partial(self._asked, call), partial(self._taken, call))

    async def _asked(self, call: Call) -> Carried:
        clocks = call.timeouts
        wait_s = clocks.first_event_s if call.stream else clocks.whole_answer_s
        body = call.body if call.upload is None else call.upload
        return await self._caller.ask(
            call.method, self._url(call.path), self._outgoing(call), body, clocks=clocks, wait_s=wait_s
        )

    def direct(self, call: Call) -> Direct | None:
        """How to make calls like *call* without waiting for anything; None where that cannot be."""
        if not isinstance(self._caller, OwnCaller):
            return None
        return self._caller.direct(call.method, self._url(call.path), self._outgoing(call))

    def answered(self, call: Call, reply: Reply, received: int = 0) -> AbstractAsyncContextManager[Answer]:
        """The answer to a *call* that was made with `direct`, of which *received* bytes are read already; as `send`."""

        async def carried() -> Carried:
            return OwnCaller.answered(reply)

        return _Sending(carried, partial(self._taken, call, received=received))

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

    def _taken(self, call: Call, carried: Carried, received: int = 0) -> HttpAnswer:
        if 300 <= carried.status < 400:
            message = f"the provider redirects ({carried.status}), which is refused"
            raise broken("invalid_response", message, carried.status)
        return HttpAnswer(carried, call.max_answer_bytes or self._max_bytes, self._max_ratio, received)

    async def close(self) -> None:
        """The caller belongs to whoever made it."""


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    """*headers* under names that are the same however they were spelled."""
    return {name.lower(): value for name, value in headers.items()}
