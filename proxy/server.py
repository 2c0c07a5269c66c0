"""The HTTP server's edge: routes, admission, and the answers to what is not a request.

An aiohttp `web.Server` with a table of our own in front of the handlers. Each `Route` says who may use it, so that
access follows from the matched row and never from the text of a path.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from typing_extensions import override

from proxy.envelopes import dialect_of, failure_response
from proxy.errors import refused
from proxy.identity import ANONYMOUS, Identity
from proxy.metering import Metered
from translators.neutral import Failure

log = logging.getLogger("modelport.server")

Access = Literal["open", "member", "client", "viewer", "operator", "manager", "admin", "master"]
"""Who may use a route; `proxy.auth` has the table."""

HEADER_S: Final = 10.0
IDLE_CONNECTION_S: Final = 75.0
MAX_HEADER_BYTES: Final = 8190
MAX_HEADERS: Final = 100
READ_BUFFER_BYTES: Final = 64 * 1024

Handler = Callable[[Any, "Incoming"], Awaitable[web.StreamResponse]]
"""(services, incoming) -> answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table. A *path* that ends in `{}` takes the rest of the URL's path as the parameter."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "*"]
    """`*` takes every method, of what no other row has."""
    path: str
    handler: Handler
    access: Access
    catches: bool = False
    """Whether it takes what may be no path at all: another method then finds nothing there."""

    def counts(self, method: str) -> bool:
        """Whether a request by *method* counts for the limits of its key: it asks, or may ask, a provider."""
        return self.access == "client" and (self.method == "*" or method == "POST")


@dataclass(slots=True)
class Incoming:
    """A request that found its route."""

    http: BaseRequest
    route: Route
    parameter: str
    id: str
    """Our request id: the row's name in the ledger and the answer's `x-request-id`."""
    started: float
    """`time.perf_counter()` at its arrival."""
    identity: Identity = ANONYMOUS
    """Who sends it."""
    client_request_id: str | None = None
    """The `x-request-id` that the client sent, if it is safe to keep."""
    metered: Metered = field(default_factory=Metered)
    """What it takes of its key's limits."""
    foreword: Foreword | None = None
    """What the fast lane knows of it."""

    @property
    def tenant(self) -> str:
        """Whose cache, conversations and rows."""
        return self.identity.tenant

    @property
    def answer_id(self) -> str:
        """What the id of an answer is made of."""
        return self.id.removeprefix("req_")


def new_id() -> str:
    """A request id: 24 hexadecimal digits after `req_`, sortable by second."""
    return f"req_{int(time.time()):08x}{secrets.token_hex(8)}"


class Table:
    """Routes by exact path, then by prefix."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact: dict[tuple[str, str], Route] = {
            (route.method, route.path): route for route in self.routes if not route.path.endswith("{}")
        }
        self._prefixes = [route for route in self.routes if route.path.endswith("{}")]

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """The route of a request.

        Raises:
            Refused: 404 for an unknown path, 405 (naming the methods that exist) for a known one.
        """
        if route := self._exact.get((method, path)):
            return route, ""
        allowed = {known for known, exact in self._exact if exact == path}
        for route in self._prefixes:
            prefix = route.path[:-2]
            if path.startswith(prefix) and len(path) > len(prefix):
                if route.method == method or (route.method == "*" and not allowed):
                    return route, path[len(prefix) :]
                if route.method != "*" and not route.catches:
                    allowed.add(route.method)
        if allowed:
            methods = ", ".join(sorted(allowed))
            error = refused(405, f"{method} is not possible on {path[:200]}; use {methods}", code="method_not_allowed")
            error.headers["allow"] = methods
            raise error
        raise refused(404, f"there is nothing at {method} {path[:200]}", kind="not_found", code="unknown_url")


class HostGuard:
    """Refuses names that a hostile page could have pointed at this port (DNS rebinding), and foreign origins.

    Addresses and `localhost` are fine, and so are the configured names. A page's origin must be of this machine, or
    of the host that it asks: any page on the web can have an address for its name. Where keys are required the guard
    is off: a page cannot know the key.
    """

    def __init__(self, allowed: Iterable[str], *, keys_required: bool) -> None:
        self._allowed = {name.lower() for name in allowed}
        self._off = keys_required

    def check(self, headers: Mapping[str, str]) -> None:
        """Raises Refused: 400 without Host, 421 for a foreign host, 403 for a foreign origin."""
        host = headers.get("Host")
        if not host:
            raise refused(400, "the Host header is missing", code="missing_host")
        if self._off:
            return
        name = _name(host)
        if not self._local(name) and not _is_address(name):
            hint = "add it to [server] allowed_hosts to let it in"
            raise refused(421, f"the host name {host[:100]!r} is not served here; {hint}", code="unknown_host")
        origin = headers.get("Origin")
        if origin is None:
            return
        page = _name(origin.partition("://")[2])
        if page != name and not self._local(page):
            raise refused(403, f"requests from pages of {origin[:100]!r} are refused", code="foreign_origin")

    def _local(self, name: str) -> bool:
        if name in self._allowed or name == "localhost" or name.endswith(".localhost"):
            return True
        return _is_address(name) and ipaddress.ip_address(name).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def check_framing(request: BaseRequest) -> None:
    """Raises Refused: 400 for HTTP before 1.0, and for chunks in 1.0, which has none (RFC 9112, 6.1)."""
    if request.version < HttpVersion10 or (request.version < HttpVersion11 and "Transfer-Encoding" in request.headers):
        raise refused(400, "malformed HTTP request", code="malformed_http")


def _name(host: str) -> str:
    """The host's name without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


class Request(BaseRequest):
    """A request whose body can be read before its handler reads it."""

    foreword: Foreword | None = None
    """What the fast lane knows of it."""

    @property
    @override
    def content(self) -> StreamReader:
        """The body, as far as it has not been read. (aiohttp's own goes on with the first one it gave.)"""
        return self._payload

    def put_back(self, body: bytes) -> None:
        """Let *body*, which was read, be read again."""
        payload = StreamReader(self.protocol, max(1, len(body)), loop=self._loop)
        payload.feed_data(body)
        payload.feed_eof()
        self._payload = payload


class Foreword:
    """What the fast lane (`proxy.fast`) has to say of a request that it hands over."""


class Connection(RequestHandler):
    """One connection. Says nothing of a malformed request but that it is one: its line may hold the caller's key.

    A connection whose first request has not begun in time is closed: aiohttp itself watches idle ones only after that.
    """

    asked = False
    foreword: Foreword | None = None
    """Of the request that comes next."""

    def __init__(self, manager: Server, loop: asyncio.AbstractEventLoop, *, header_s: float, **how: Any) -> None:
        super().__init__(manager, loop=loop, **how)
        self._clock = loop.call_later(header_s, self._close_silent)

    def _close_silent(self) -> None:
        if not self.asked and self.transport is not None:
            self.transport.close()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._clock.cancel()
        super().connection_lost(exc)

    @override
    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # the client has left: there is nobody to tell, and nothing to mend
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("a handler failed: %s", type(exc).__name__, exc_info=exc)
            failure = Failure(
                "server", "an internal error of the proxy; its log has the details", 500, "internal_error"
            )
        else:
            log.info("malformed HTTP: %s", type(exc).__name__)
            failure = Failure("invalid_request", "malformed HTTP request", status, "malformed_http")
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        # A request that could not be parsed has neither a path nor headers that count.
        dialect = dialect_of(request.rel_url.raw_path, request.headers)
        response = failure_response(failure, new_id(), dialect=dialect)
        response.force_close()
        return response


class Server(web.Server):
    """Accepts connections and hands requests to `dispatch`."""

    def __init__(
        self,
        dispatch: Callable[[BaseRequest], Awaitable[web.StreamResponse]],
        *,
        header_s: float = HEADER_S,
        connection: Callable[..., Connection] = Connection,
    ) -> None:
        super().__init__(
            dispatch,
            request_factory=self._request,
            handler_cancellation=True,
            keepalive_timeout=IDLE_CONNECTION_S,
            access_log=None,
            logger=logging.getLogger("modelport.http"),
            auto_decompress=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            read_bufsize=READ_BUFFER_BYTES,
        )
        self._header_s = header_s
        self._connection = connection

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: Any,
    ) -> BaseRequest:
        request = Request(message, payload, protocol, writer, task, self._loop, client_max_size=0)
        if isinstance(protocol, Connection):
            protocol.asked = True
            request.foreword, protocol.foreword = protocol.foreword, None
        return request

    @override
    def __call__(self) -> RequestHandler:
        return self._connection(self, self._loop, header_s=self._header_s, **self._kwargs)


async def read_body(request: BaseRequest, limit: int, timeout_s: float) -> bytes:
    """The request's body.

    Raises:
        Refused: 413 too large (before it is read when its length is told), 415 compressed, 408 too slow.
    """
    too_large = refused(
        413, f"the body is larger than {limit} bytes ([server] max_body_mb)", kind="too_large", code="body_too_large"
    )
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", ""}:
        raise refused(
            415,
            f"Content-Encoding {encoding[:40]!r} is not accepted; send the body as it is",
            code="unsupported_encoding",
        )
    if request.content_length is not None and request.content_length > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > limit:
                    raise too_large
    except TimeoutError as error:
        raise refused(408, f"the body did not come within {timeout_s:g} s", kind="timeout", code="slow_body") from error
    return bytes(body)
