"""The HTTP backend: one pooled aiohttp session for all providers, one `HttpBackend` for each.

Upstream hygiene (FAULTS, facts A8 to A10 and rule 7): redirects are never followed, cookies never kept, the
environment's proxies not used, bodies read to their end under a cap, reads buffered in small pieces.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from proxy.backends.backend import Answer, BackendError, Call, Timeouts
from proxy.backends.inflate import BadEncoding, Inflater
from translators.neutral import ErrorKind, Failure

READ_BUFFER_BYTES: Final = 32 * 1024
CONNECTIONS: Final = 2048
IDLE_CONNECTION_S: Final = 30.0
USER_AGENT: Final = "modelport"


def new_session() -> aiohttp.ClientSession:
    """The session that all HTTP backends share. The caller closes it."""
    connector = aiohttp.TCPConnector(
        limit=CONNECTIONS, limit_per_host=0, keepalive_timeout=IDLE_CONNECTION_S, ttl_dns_cache=60
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        read_bufsize=READ_BUFFER_BYTES,
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
    )


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

    __slots__ = ("_max_bytes", "_response", "_timeouts", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, timeouts: Timeouts, max_bytes: int) -> None:
        self._response = response
        self._timeouts = timeouts
        self._max_bytes = max_bytes
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes, each piece within idle_s of the one before."""
        content = self._response.content
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        received = 0
        try:
            inflater = None if encoding in {"", "identity"} else Inflater(encoding)
            while True:
                async with asyncio.timeout(self._timeouts.idle_s):
                    piece = await content.readany()
                if not piece:
                    return
                for step in inflater.feed(piece) if inflater else (piece,):
                    received += len(step)
                    if received > self._max_bytes:
                        raise _error("invalid_response", f"the answer is larger than {self._max_bytes} bytes", 502)
                    yield step
        except BadEncoding as error:
            raise _error("invalid_response", str(error), 502) from error
        except TimeoutError as error:
            raise _error("timeout", f"nothing came for {self._timeouts.idle_s:g} s in mid-answer", 504) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _error("connection", f"the answer broke off: {_told(error)}", 502) from error

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])


class HttpBackend:
    """One provider over HTTP. *url* gives the address of a call's path."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: Callable[[str], str],
        *,
        auth: str = "bearer",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._session = session
        self._url = url
        self._auth = AUTH_SCHEMES[auth]
        self._headers = {"content-type": "application/json", **(headers or {})}

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answer]:
        """Make the call; see Backend."""
        accept = "text/event-stream" if call.stream else "application/json"
        headers = {**self._headers, "accept": accept, **call.headers}
        if call.key is not None:
            headers.update(self._auth(call.key))
        clock = call.timeouts
        wait_s = clock.first_event_s if call.stream else clock.whole_answer_s
        response = None
        try:
            try:
                async with asyncio.timeout(wait_s):
                    response = await self._session.request(
                        call.method,
                        self._url(call.path),
                        data=call.upload or call.body or None,
                        headers=headers,
                        allow_redirects=False,
                        timeout=aiohttp.ClientTimeout(total=None, sock_connect=clock.connect_s),
                    )
            except (TimeoutError, aiohttp.ServerTimeoutError) as error:
                raise _timeout(error, clock, wait_s) from error
            except (aiohttp.ClientError, ConnectionError) as error:
                raise _error("connection", f"cannot reach the provider: {_told(error)}", 502) from error
            if 300 <= response.status < 400:
                raise _error("invalid_response", f"the provider redirects ({response.status}), which is refused", 502)
            yield HttpAnswer(response, clock, call.max_answer_bytes)
        finally:
            if response is not None:
                # At the end of the body the connection went back to the pool already; before it, this cuts it.
                response.close()

    async def close(self) -> None:
        """The session belongs to whoever made it."""


def _timeout(error: Exception, clock: Timeouts, wait_s: float) -> BackendError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _error("connection", f"no connection within {clock.connect_s:g} s", 504)
    return _error("timeout", f"no answer within {wait_s:g} s", 504)


def _error(kind: ErrorKind, message: str, status: int) -> BackendError:
    return BackendError(Failure(kind, message, status))


def _told(error: Exception) -> str:
    """What is safe to say of a transport error: its class and, for a refused connection, why."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        # The system's own word: asyncio's names the address, which is nobody's business.
        return os.strerror(number) if number and number > 0 else type(error).__name__
    return type(error).__name__
