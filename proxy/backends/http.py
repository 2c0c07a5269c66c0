"""The HTTP backend: one caller for all providers, one `HttpBackend` for each.

Upstream hygiene (FAULTS, facts A8 to A10 and rule 7): redirects are never followed, cookies never kept, the
environment's proxies not used, bodies read to their end under a cap, reads buffered in small pieces.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from proxy.backends.backend import Answer, Call
from proxy.backends.callers import Caller, Carried, broken
from proxy.backends.inflate import BadEncoding, Inflater


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

    __slots__ = ("_carried", "_max_bytes", "headers", "status")

    def __init__(self, carried: Carried, max_bytes: int) -> None:
        self._carried = carried
        self._max_bytes = max_bytes
        self.status = carried.status
        self.headers = carried.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes, each piece within idle_s of the one before."""
        received = 0
        try:
            inflater = Inflater(self._encoding) if self._encoding else None
            while piece := await self._carried.piece():
                for step in inflater.feed(piece) if inflater else (piece,):
                    received = self._within(received + len(step))
                    yield step
        except BadEncoding as error:
            raise broken("invalid_response", str(error), 502) from error

    async def read(self) -> bytes:
        """The whole body."""
        if self._encoding:
            return b"".join([piece async for piece in self.pieces()])
        pieces: list[bytes] = []
        received = 0
        while piece := await self._carried.piece():
            received = self._within(received + len(piece))
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def _encoding(self) -> str:
        """How the body is packed; empty where it is not."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding

    def _within(self, received: int) -> int:
        """*received*, unless that is more bytes than may be."""
        if received > self._max_bytes:
            raise broken("invalid_response", f"the answer is larger than {self._max_bytes} bytes", 502)
        return received


class HttpBackend:
    """One provider over HTTP. *url* gives the address of a call's path."""

    def __init__(
        self,
        caller: Caller,
        url: Callable[[str], str],
        *,
        auth: str = "bearer",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._caller = caller
        self._url = url
        self._auth = AUTH_SCHEMES[auth]
        self._headers = {"content-type": "application/json", **_lower(headers or {})}

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answer]:
        """Make the call; see Backend."""
        accept = "text/event-stream" if call.stream else "application/json"
        headers = {**self._headers, "accept": accept, **_lower(call.headers)}
        if call.key is not None:
            headers.update(self._auth(call.key))
        clocks = call.timeouts
        wait_s = clocks.first_event_s if call.stream else clocks.whole_answer_s
        body = call.body if call.upload is None else call.upload
        carried = await self._caller.ask(call.method, self._url(call.path), headers, body, clocks=clocks, wait_s=wait_s)
        try:
            if 300 <= carried.status < 400:
                raise broken("invalid_response", f"the provider redirects ({carried.status}), which is refused", 502)
            yield HttpAnswer(carried, call.max_answer_bytes)
        finally:
            carried.close()

    async def close(self) -> None:
        """The caller belongs to whoever made it."""


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    """*headers* under names that are the same however they were spelled."""
    return {name.lower(): value for name, value in headers.items()}
