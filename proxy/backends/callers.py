"""Who carries a call to a provider and its answer back: our own transport, or aiohttp's client.

Both keep the same hygiene (redirects are handed back, no cookies, no proxies of the environment, nothing unpacked,
reads in small pieces) and the same clocks, and raise the same `BackendError`s.
"""

from __future__ import annotations

import asyncio
import os
import re
from base64 import b64encode
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Protocol

import aiohttp
from yarl import URL

from proxy.backends.backend import NO_DESCRIPTORS, BackendError, OwnFault, Timeouts
from proxy.descriptors import NONE_LEFT, Shortage, is_shortage
from proxy.errors import RETRY_S
from proxy.late_tls import late_context
from proxy.transport import Deadlines, Origin, Reply, Transport, TransportError
from proxy.transport.errors import (
    ConnectFailed,
    ConnectTimeout,
    HeadTimeout,
    IdleTimeout,
    NoDescriptor,
    TotalTimeout,
    WriteTimeout,
)
from proxy.transport.pool import Counts
from translators.neutral import ErrorKind, Failure

READ_BUFFER_BYTES: Final = 32 * 1024
CONNECTIONS: Final = 2048
IDLE_CONNECTION_S: Final = 30.0
HEADERS: Final = {"user-agent": "modelport", "accept-encoding": "identity"}
"""What every call carries unless it says otherwise."""

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Carrier = Literal["own", "aiohttp"]


class Carried(Protocol):
    """An answer whose head has arrived. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    connect_s: float | None
    """After how long there was a connection; None: at once, or nobody knows."""

    async def piece(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises BackendError when it breaks off or stalls."""

    def close(self) -> None:
        """Let go of it: the provider sees a hang-up, unless it came whole."""


class Caller(Protocol):
    """Makes calls to any address."""

    shortage: Shortage

    @property
    def counts(self) -> Counts | None:
        """Its connections; None where they cannot be counted."""

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes],
        *,
        clocks: Timeouts,
        wait_s: float,
    ) -> Carried:
        """Send a request, and wait *wait_s* for the head of its answer. Names of headers are lower case.

        Raises:
            BackendError: the provider cannot be reached, or does not answer.
        """


@asynccontextmanager
async def caller_for(
    carrier: Carrier, session: aiohttp.ClientSession, connections: int = CONNECTIONS
) -> AsyncIterator[Caller]:
    """The caller that the configuration chooses; *session* belongs to whoever made it.

    Who finds *connections* in use waits in line for one.
    """
    if carrier == "aiohttp":
        yield AiohttpCaller(session)
        return
    transport = Transport(limit=connections, per_origin=connections, idle_s=IDLE_CONNECTION_S)
    try:
        yield OwnCaller(transport)
    finally:
        await transport.close()


def broken(kind: ErrorKind, message: str, status: int) -> BackendError:
    """A call that failed without an answer of the vendor's own."""
    return BackendError(Failure(kind, message, status))


# --- our own transport


class _Address(NamedTuple):
    origin: Origin
    host: str
    target: str
    basic: str | None


class Direct(NamedTuple):
    """Calls that differ in nothing but their body: by which *transport* to where, with which *head*."""

    transport: Transport
    method: str
    origin: Origin
    head: bytes


class OwnCaller:
    """By `proxy.transport`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.shortage = Shortage()

    @property
    def counts(self) -> Counts | None:
        """Those of the transport."""
        return self._transport.counts

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes],
        *,
        clocks: Timeouts,
        wait_s: float,
    ) -> Carried:
        """Make the call; see Caller."""
        address = _address(url)
        deadlines = Deadlines(clocks.connect_s, wait_s, clocks.idle_s, wait_s)
        try:
            reply = await self._transport.send(
                method, address.origin, request_head(method, address, headers), body, deadlines
            )
        except NoDescriptor as error:
            raise _no_descriptor(self.shortage) from error
        except TransportError as error:
            raise _unanswered(error) from error
        return OwnAnswer(reply)

    def direct(self, method: str, url: str, headers: Mapping[str, str]) -> Direct:
        """What `ask` would send, but for the body."""
        address = _address(url)
        return Direct(self._transport, method, address.origin, request_head(method, address, headers))

    @staticmethod
    def answered(reply: Reply) -> Carried:
        """The answer to a call that was made with `direct`.

        Raises:
            BackendError: as `ask`.
        """
        if not reply.status and reply.error is not None:
            raise _unanswered(reply.error) from reply.error
        return OwnAnswer(reply)


def _no_descriptor(shortage: Shortage) -> OwnFault:
    shortage.meet()
    told = f"{NONE_LEFT} to ask a provider with; nothing was asked"
    return OwnFault(Failure("overloaded", told, 503, NO_DESCRIPTORS, retry_after_s=RETRY_S))


def _unanswered(error: TransportError) -> BackendError:
    """What *error*, which came before any answer, is to those who asked."""
    match error:
        case ConnectTimeout():
            return broken("connection", f"no connection within {error.limit_s:g} s", 504)
        case HeadTimeout() | WriteTimeout() | TotalTimeout():
            return broken("timeout", f"no answer within {error.limit_s:g} s", 504)
        case ConnectFailed():
            return broken("connection", f"cannot reach the provider: {error.reason}", 502)
    return broken("connection", f"cannot reach the provider: {error}", 502)


class OwnAnswer:
    """A *reply* of our own transport, as `Carried` has it."""

    __slots__ = ("connect_s", "headers", "reply", "status")

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.status = reply.status
        self.connect_s = reply.connect_s
        self.headers: Mapping[str, str] = {
            _spelled(name): value.decode("utf-8", "surrogateescape") for name, value in reply.headers
        }

    async def piece(self) -> bytes:
        """The next piece; see Carried."""
        try:
            return await self.reply.piece()
        except IdleTimeout as error:
            raise _stalled(error.limit_s) from error
        except TotalTimeout as error:
            raise broken("timeout", "the answer did not end in time", 504) from error
        except TransportError as error:
            raise broken("connection", f"the answer broke off: {error}", 502) from error

    def close(self) -> None:
        """Let go."""
        self.reply.close()


@lru_cache(maxsize=512)
def _spelled(name: bytes) -> str:
    return name.decode("ascii").lower()


@lru_cache(maxsize=1024)
def _address(url: str) -> _Address:
    parts = URL(url)
    if parts.raw_host is None or parts.port is None:
        raise broken("connection", "the provider's address has no host", 502)
    basic = None
    if parts.user is not None or parts.password is not None:
        basic = "Basic " + b64encode(f"{parts.user or ''}:{parts.password or ''}".encode()).decode()
    origin = Origin(parts.raw_host, parts.port, parts.scheme == "https")
    return _Address(origin, parts.host_port_subcomponent or "", parts.raw_path_qs, basic)


def request_head(method: str, address: _Address, headers: Mapping[str, str]) -> bytes:
    """The request line and all headers but those that frame the body.

    Raises:
        ValueError: a header cannot be sent; the message names it, not its value.
    """
    sent = {"host": address.host, **HEADERS, **headers}
    if address.basic is not None:
        sent.setdefault("authorization", address.basic)
    bad = _CONTROLS.search("".join([method, address.target, *sent, *sent.values()]))
    if bad is not None:
        named = [name for name, value in sent.items() if _CONTROLS.search(name + value)]
        raise ValueError(f"{named or 'the path'}: what is sent may not hold control characters")
    lines = "".join([f"{name}: {value}\r\n" for name, value in sent.items()])
    return f"{method} {address.target} HTTP/1.1\r\n{lines}".encode("utf-8", "surrogateescape")


# --- aiohttp


class AiohttpCaller:
    """By aiohttp's client."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.shortage = Shortage()

    @property
    def counts(self) -> Counts | None:
        """aiohttp does not tell."""
        return None

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes],
        *,
        clocks: Timeouts,
        wait_s: float,
    ) -> Carried:
        """Make the call; see Caller."""
        try:
            async with asyncio.timeout(wait_s):
                response = await self._session.request(
                    method,
                    url,
                    data=body or None,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=clocks.connect_s),
                )
        except aiohttp.ConnectionTimeoutError as error:
            raise broken("connection", f"no connection within {clocks.connect_s:g} s", 504) from error
        except (TimeoutError, aiohttp.ServerTimeoutError) as error:
            raise broken("timeout", f"no answer within {wait_s:g} s", 504) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            if isinstance(error, aiohttp.ClientConnectorError) and is_shortage(error.os_error):
                raise _no_descriptor(self.shortage) from error
            raise broken("connection", f"cannot reach the provider: {_told(error)}", 502) from error
        return _AiohttpAnswer(response, clocks.idle_s)


class _AiohttpAnswer:
    __slots__ = ("_idle_s", "_response", "connect_s", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, idle_s: float) -> None:
        self._response = response
        self._idle_s = idle_s
        self.status = response.status
        self.connect_s: float | None = None
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    async def piece(self) -> bytes:
        """The next piece; see Carried."""
        try:
            async with asyncio.timeout(self._idle_s):
                return await self._response.content.readany()
        except TimeoutError as error:
            raise _stalled(self._idle_s) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise broken("connection", f"the answer broke off: {_told(error)}", 502) from error

    def close(self) -> None:
        """Let go. At the end of the body the connection went back to the pool already; before it, this cuts it."""
        self._response.close()


def new_session(connections: int = CONNECTIONS) -> aiohttp.ClientSession:
    """The session that all calls by aiohttp share. The caller closes it."""
    connector = aiohttp.TCPConnector(
        limit=connections,
        limit_per_host=0,
        keepalive_timeout=IDLE_CONNECTION_S,
        ttl_dns_cache=60,
        ssl=late_context(),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        read_bufsize=READ_BUFFER_BYTES,
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        headers=HEADERS,
    )


def _stalled(idle_s: float) -> BackendError:
    return broken("timeout", f"nothing came for {idle_s:g} s in mid-answer", 504)


def _told(error: Exception) -> str:
    """What is safe to say of a transport error: its class and, for a refused connection, why."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        # The system's own word: asyncio's names the address, which is nobody's business.
        return os.strerror(number) if number and number > 0 else type(error).__name__
    return type(error).__name__
