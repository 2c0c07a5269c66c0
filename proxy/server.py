"""The HTTP server's edge: routes, admission, and the answers to what is not a request.

An aiohttp `web.Server` with a table of our own in front of the handlers. Each `Route` says who may use it, so that
access follows from the matched row and never from the text of a path.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, Literal

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion, HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from aiohttp.web_request import BaseRequest
from multidict import MultiMapping
from typing_extensions import override

from proxy.config.model import BoundSettings
from proxy.envelopes import dialect_of, failure_response
from proxy.errors import Refused, refused, too_busy
from proxy.identity import ANONYMOUS, Identity
from proxy.metering import Metered
from proxy.pages import Pages
from proxy.room import FREE_BYTES, Gathering, NoRoom, Room, Share, Shares
from proxy.watchdog import Lateness, Pulse, Sight, Watchdog
from translators.neutral import Failure

log = logging.getLogger("modelport.server")

Access = Literal["open", "member", "client", "viewer", "operator", "manager", "admin", "master"]
"""Who may use a route; `proxy.auth` has the table."""

MAX_HEADER_BYTES: Final = 8190
"""Of a whole head; a longer one is not ordinary."""
MAX_HEADERS: Final = 100
READ_BUFFER_BYTES: Final = 64 * 1024
SURPLUS: Final = 8
"""One connection more for each so many that there may be: it is told that there are too many."""

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

    def changes(self, method: str) -> bool:
        """Whether a request by *method* may change what the administration is about."""
        return method != "GET" and self.access in {"operator", "manager", "admin", "master"}

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
    queued_s: float = 0.0
    """How long it has waited to be let in."""
    meant: str | None = None
    """The path of ours that its own is a slip of, where that is none."""

    @property
    def tenant(self) -> str:
        """Whose cache, conversations and rows."""
        return self.identity.tenant

    @property
    def answer_id(self) -> str:
        """What the id of an answer is made of."""
        return self.id.removeprefix("req_")


_ID_DIGITS: Final = 16
_IDS_AT_ONCE: Final = 256


_ENDINGS: Final[list[str]] = []
"""What ids end with, where there are several workers."""


def mark_ids(mark: str) -> None:
    """From here on, let ids end with *mark*, a few hexadecimal digits. Before the first one is given."""
    _ENDINGS[:] = [mark]


def _random_digits() -> Iterator[str]:
    """Hexadecimal digits for one id after the other; the system is asked for those of many at once."""
    while True:
        digits = secrets.token_hex(_ID_DIGITS // 2 * _IDS_AT_ONCE)
        mark = "".join(_ENDINGS)
        random = _ID_DIGITS - len(mark)
        for start in range(0, len(digits), _ID_DIGITS):
            yield digits[start : start + random] + mark


_next_digits: Final = _random_digits().__next__


def new_id() -> str:
    """A request id: 24 hexadecimal digits after `req_`, sortable by second."""
    return f"req_{int(time.time()):08x}{_next_digits()}"


PROVIDER_HEADER: Final = "x-modelport-provider"
"""Names the provider that a request without translation goes to."""


class Table:
    """Routes by exact path, then by prefix."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact: dict[tuple[str, str], Route] = {
            (route.method, route.path): route for route in self.routes if not route.path.endswith("{}")
        }
        self._prefixes = [route for route in self.routes if route.path.endswith("{}")]

    def find(self, method: str, path: str, *, passed_on: bool = False) -> tuple[Route, str]:
        """The route of a request. *passed_on*: it names the provider that is to have what is not ours.

        Raises:
            Refused: 404 for an unknown path, 405 (naming the methods that exist) for a known one.
        """
        if route := self._exact.get((method, path)):
            return route, ""
        allowed = {known for known, exact in self._exact if exact == path}
        for route in self._prefixes:
            prefix = route.path[:-2]
            if path.startswith(prefix) and len(path) > len(prefix):
                if route.method == method or (route.method == "*" and (passed_on or not allowed)):
                    return route, path[len(prefix) :]
                if route.method != "*" and not route.catches:
                    allowed.add(route.method)
        if allowed:
            methods = ", ".join(sorted(allowed))
            error = refused(405, f"{method} is not possible on {path[:200]}; use {methods}", code="method_not_allowed")
            error.headers["allow"] = methods
            raise error
        meant = self.meant(method, path)
        hint = f"; did you mean {meant}?" if meant else ""
        raise refused(404, f"there is nothing at {method} {path[:200]}{hint}", kind="not_found", code="unknown_url")

    def meant(self, method: str, path: str) -> str | None:
        """The path that *path* is a slip of: a base URL with /v1 too much or too little, a slash too many."""
        steps = [step for step in path.split("/") if step]
        while steps[:1] in (["v1"], ["api"]):
            del steps[0]
        plain = "/v1/" + "/".join(steps)
        return plain if plain != path and (method, plain) in self._exact and (method, path) not in self._exact else None


class HostGuard:
    """Refuses names that a hostile page could have pointed at this port (DNS rebinding), and foreign origins.

    Addresses and `localhost` are fine, and so are the configured names. A page's origin must be configured, or of this
    machine, or of the host that it asks: any page on the web can have an address for its name. Where keys are required
    pages are free to ask, as none can know the key; and so are hosts, unless *named* ones were configured.
    """

    def __init__(
        self, own: str, named: Iterable[str] = (), *, keys_required: bool = False, pages: Pages | None = None
    ) -> None:
        self._named = {name.lower() for name in named}
        self._allowed = {own.lower(), *self._named}
        self._keys_required = keys_required
        self.pages = pages or Pages()
        """Those whose origins are configured."""

    def check(self, headers: Mapping[str, str], target: str | None = None) -> None:
        """Look at the host that *headers* name, and at the one in the request's *target* (RFC 9112, 3.2.2).

        Raises:
            Refused: 400 without Host, 421 for a foreign host, 403 for a foreign origin.
        """
        host = headers.get("Host")
        if not host:
            raise refused(400, "the Host header is missing", code="missing_host")
        if self._keys_required and not self._named:
            return
        name = _name(host)
        if _HOST.fullmatch(host) is None:
            raise refused(400, "the Host header is malformed", code="malformed_host")
        self._check_served(name)
        if target is not None:
            self._check_served(target.lower())
        origin = headers.get("Origin")
        if origin is not None and isinstance(headers, MultiMapping) and len(headers.getall("Origin")) > 1:
            raise refused(400, "there is more than one Origin header", code="malformed_origin")
        if origin is None or self._keys_required or self.pages.may_ask(origin):
            return
        page = origin.partition("://")[2]
        if _HOST.fullmatch(page) is None or (_name(page) != name and not self._local(_name(page))):
            raise refused(403, f"requests from pages of {origin[:100]!r} are refused", code="foreign_origin")

    def _check_served(self, name: str) -> None:
        if not self._local(name) and not _is_address(name):
            hint = "add it to [server] allowed_hosts to let it in"
            raise refused(421, f"the host name {name[:100]!r} is not served here; {hint}", code="unknown_host")

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
    """Look at how *request* came.

    Raises:
        Refused: 400 for HTTP other than 1.0 and 1.1, for chunks in 1.0, which has none (RFC 9112, 6.1), and for any
            other coding; 431 for a head that is too large.
    """
    if isinstance(request, Request) and request.objection is not None:
        raise request.objection
    coding = request.headers.get("Transfer-Encoding")
    if coding is not None and (request.version < HttpVersion11 or coding.strip().lower() != "chunked"):
        raise _malformed()


def _malformed() -> Refused:
    return refused(400, "malformed HTTP request", code="malformed_http")


def _speaks(version: HttpVersion) -> bool:
    return HttpVersion10 <= version <= HttpVersion11


def _is_followed(message: RawRequestMessage) -> bool:
    """Whether what comes after *message* is surely the next request.

    aiohttp 3.14 takes the last trailer of a chunked body for a header of the request that follows, what follows the
    head of a CONNECT for a request of its own, and what follows an upgrade that is not made for nothing at all.
    """
    return not (message.chunked or message.upgrade or message.method == "CONNECT") and _speaks(message.version)


_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/?#@]+)(?::[0-9]{1,5})?")
"""A name or an address, and perhaps a port (RFC 3986, 3.2)."""


def _name(host: str) -> str:
    """The host's name without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


class Request(BaseRequest):
    """A request whose body can be read before its handler reads it."""

    foreword: Foreword | None = None
    """What the fast lane knows of it."""
    told: Mapping[str, str] = MappingProxyType({})
    """Headers that its answer gets besides its own, whatever answers it."""
    objection: Refused | None = None
    """What is wrong with its head."""
    target_host: str | None = None
    """The host that its target names; None where that is a path alone."""
    last = False
    """Whether its connection takes no further one."""
    whole = False
    """Whether nothing can be done before its body is whole."""
    room: Room | None = None
    """What its body has to find room in, if it is a long one."""
    share: Share | None = None
    """What its body holds of that."""
    answers: Shares | None = None
    """What the answers to it hold."""

    @property
    @override
    def version(self) -> HttpVersion:
        """Which one its answer is written in."""
        return self._version if _speaks(self._version) else HttpVersion10

    @property
    @override
    def keep_alive(self) -> bool:
        return not self.last and super().keep_alive

    @property
    def surplus(self) -> bool:
        """Whether it came on a connection that is one too many."""
        return isinstance(self.protocol, Connection) and self.protocol.surplus

    @override
    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        if self.told:
            response.headers.update(self.told)

    @property
    @override
    def content(self) -> StreamReader:
        """The body, as far as it has not been read. (aiohttp's own goes on with the first one it gave.)"""
        return self._payload

    def done(self, *, answered: bool) -> None:
        """Its body is not needed any more, nor, when it was *answered*, are the answers."""
        if self.share is not None:
            self.share.release()
        if answered and self.answers is not None:
            self.answers.release()

    def put_back(self, body: bytes) -> None:
        """Let *body*, which was read, be read again."""
        payload = StreamReader(self.protocol, max(1, len(body)), loop=self._loop)
        payload.feed_data(body)
        payload.feed_eof()
        self._payload = payload


class Foreword:
    """What the fast lane (`proxy.fast`) has to say of a request that it hands over."""


class Connection(RequestHandler):
    """One connection. Says nothing of a malformed request but that it is one: its line may hold the caller's key."""

    foreword: Foreword | None = None
    """Of the request that comes next."""
    surplus = False
    """Whether it is one more than there may be: its request is refused."""
    requests = 0
    """How many it has brought."""
    _work: object | None = None
    """A request that aiohttp does not know of."""
    _wire: asyncio.Transport | None = None
    """As long as anything may go out on it; aiohttp forgets its own when it closes."""
    _newest: StreamReader | None = None
    """The body of the request that came last."""
    _received = _head_bytes = 0
    _heavy = False
    """Whether more than a head may have has come with the requests that have not begun."""

    def __init__(self, manager: Server, loop: asyncio.AbstractEventLoop, *, bounds: BoundSettings, **how: Any) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=bounds.idle_s,
            max_line_size=bounds.request_line_bytes,
            max_field_size=bounds.header_bytes,
            max_headers=bounds.headers,
            **how,
        )
        self.bounds = bounds
        self.pulse = Pulse(loop.time())

    @property
    def last(self) -> bool:
        """Whether the next request is the last one that it may bring."""
        return self.surplus or self.requests + 1 >= self.bounds.requests_per_connection

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wire = self.transport
        if isinstance(self._manager, Server):
            self._manager.arrived(self)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._wire = None
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        in_head = self._newest is None or self._newest.is_eof()
        known = self._request_count
        super().data_received(data)
        if in_head and data.isspace():
            return  # Blank lines before a request, which some clients send, begin nothing.
        self._received += len(data)
        if self._request_count != known:
            self._heavy = self._heavy or self._head_bytes + len(data) > self.bounds.all_headers_bytes
            self._newest, self._head_bytes = (self._messages[-1][1] if self._messages else None), 0
        elif in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.bounds.all_headers_bytes + self.bounds.request_line_bytes:
                self.refuse(_large_head(self.bounds))

    def check_head(self, message: RawRequestMessage) -> Refused | None:
        """What is wrong with the size of a head, when its request begins."""
        if not self._heavy:
            return None
        self._heavy = bool(self._messages)
        size = sum([len(name) + len(value) + 4 for name, value in message.raw_headers])
        return _large_head(self.bounds) if size > self.bounds.all_headers_bytes else None

    def begin(self, request: Request, message: RawRequestMessage) -> None:
        """*request* is the next one."""
        request.foreword, self.foreword = self.foreword, None
        request.last = self.last or not _is_followed(message)
        request.target_host = message.url.raw_host
        request.objection = self.check_head(message) if _speaks(message.version) else _malformed()
        self.requests += 1

    def refuse(self, refusal: Refused) -> None:
        """Answer with *refusal* what has come of a head, and close."""
        if self._close:
            return  # It is being closed.
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.force_close()
            return
        self._close = True
        self._messages.append((_ErrInfo(refusal.failure.status, refusal, ""), EMPTY_PAYLOAD))
        waiter.set_result(None)

    @override
    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            if isinstance(request, Request):
                request.done(answered=True)

    # --- for the watchdog

    def sight(self) -> Sight:
        """What can be seen of it now."""
        unsent = self._wire.get_write_buffer_size() if self._wire is not None else 0
        request = self._current_request
        if self._work is None and self._waiter is not None and not self._waiter.done():
            return Sight("waiting", self.requests, self._received, unsent)
        if request is None or request.content.is_eof():
            return Sight("answer", self.requests, self._received, unsent)
        whole = isinstance(request, Request) and request.whole
        return Sight("body", self.requests, self._received, unsent, not self._reading_paused, whole)

    def called_off(self, late: Lateness, bounds: BoundSettings) -> None:
        """It is late: say so if that can be said, and close it."""
        match late:
            case "silent":
                self.force_close()
            case "slow_head":
                told = f"the request's head did not come within {bounds.header_s:g} s ([limits] header_s)"
                self.refuse(refused(408, told, kind="timeout", code="slow_head"))
            case "slow_body" if self._current_request is not None:
                content = self._current_request.content
                content.set_exception(_slow_body(bounds))
                content.feed_eof()  # Nobody waits for the rest of it.
            case "unread" if self._wire is not None:
                log.info("a client took nothing of its answer for %g s and is cut off", bounds.write_s)
                self._wire.abort()

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
        if isinstance(exc, Refused):
            failure = exc.failure
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("a handler failed: %s", type(exc).__name__, exc_info=exc)
            failure = Failure(
                "server", "an internal error of the proxy; its log has the details", 500, "internal_error"
            )
        else:
            log.info("malformed HTTP: %s", type(exc).__name__)
            failure = self._malformed(exc, status)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        # A request that could not be parsed has neither a path nor headers that count.
        dialect = dialect_of(request.rel_url.raw_path, request.headers)
        response = failure_response(failure, new_id(), {"connection": "close"}, dialect)
        response.force_close()
        return response

    def _malformed(self, exc: BaseException | None, status: int) -> Failure:
        bounds = self.bounds
        told = "malformed HTTP request"
        if isinstance(exc, LineTooLong):
            told = (
                f"the request line is longer than {bounds.request_line_bytes} bytes or a header than"
                f" {bounds.header_bytes} ([limits] request_line_bytes, header_bytes)"
            )
            status = 431
        elif isinstance(exc, BadHttpMessage) and exc.message == "Too many headers received":
            told, status = f"more than {bounds.headers} headers ([limits] headers)", 431
        return Failure("invalid_request", told, status, "malformed_http")


def _large_head(bounds: BoundSettings) -> Refused:
    told = f"the headers have more than {bounds.all_headers_bytes} bytes in all ([limits] all_headers_bytes)"
    error = refused(431, told, code="malformed_http")
    error.headers["connection"] = "close"
    return error


def _slow_body(bounds: BoundSettings) -> Refused:
    told = (
        f"the body came too slowly: at least {bounds.body_bytes_per_s} bytes a second over {bounds.body_grace_s:g} s,"
        f" and all of it within {bounds.body_s:g} s ([limits] body_bytes_per_s, body_grace_s, body_s)"
    )
    error = refused(408, told, kind="timeout", code="slow_body")
    error.headers["connection"] = "close"
    return error


class Server(web.Server):
    """Accepts connections and hands requests to `dispatch`.

    *bounds* gives what holds for connections that are made now. *connections*: how many there may be, if fewer.
    """

    def __init__(
        self,
        dispatch: Callable[[BaseRequest], Awaitable[web.StreamResponse]],
        *,
        bounds: Callable[[], BoundSettings] = BoundSettings,
        connections: int | None = None,
        connection: Callable[..., Connection] = Connection,
    ) -> None:
        super().__init__(
            dispatch,
            request_factory=self._request,
            handler_cancellation=True,
            access_log=None,
            logger=logging.getLogger("modelport.http"),
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
        )
        self._bounds = bounds
        self._most = connections
        self._connection = connection
        self.turned_away = 0
        """Connections that were closed at once, since the start: there were too many even to say so."""
        self.watchdog = Watchdog(self._loop, lambda: tuple(self._open), bounds)
        self._open: set[Connection] = set()

    @property
    def most_connections(self) -> int:
        """How many there may be."""
        configured = self._bounds().connections
        return configured if self._most is None else min(configured, self._most)

    @property
    def open_connections(self) -> int:
        """How many there are."""
        return len(self._open)

    def arrived(self, connection: Connection) -> None:
        """*connection* is open."""
        self._open.add(connection)
        self.watchdog.wake()
        most = self.most_connections
        if len(self._open) <= most:
            return
        connection.surplus = True
        if len(self._open) > most + most // SURPLUS + SURPLUS:
            self.turned_away += 1
            connection.force_close()

    @override
    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        if isinstance(handler, Connection):
            self._open.discard(handler)
        super().connection_lost(handler, exc)

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
            protocol.begin(request, message)
        return request

    @override
    def __call__(self) -> RequestHandler:
        return self._connection(self, self._loop, bounds=self._bounds(), **self._kwargs)

    @property
    def expects(self) -> bool:
        """Whether somebody has connected who has asked nothing yet."""
        return any(not connection.requests for connection in self._open)

    @override
    def pre_shutdown(self) -> None:
        for connection in self._open:
            if connection.requests:  # the others have something to ask
                connection.close()

    @override
    async def shutdown(self, timeout: float | None = None) -> None:
        self.watchdog.rest()
        await super().shutdown(timeout)


async def read_body(request: BaseRequest, limit: int) -> bytes:
    """The request's body.

    Raises:
        Refused: 413 too large (before it is read when its length is told), 415 compressed, 408 too slow, 503 there is
            no room for it.
    """
    if isinstance(request, Request):
        request.whole = True
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", ""}:
        raise refused(
            415,
            f"Content-Encoding {encoding[:40]!r} is not accepted; send the body as it is",
            code="unsupported_encoding",
        )
    length = request.content_length
    if length is not None and length > limit:
        raise _large_body(limit)
    content = request.content
    if length is not None and length <= FREE_BYTES and content.is_eof():
        return content.read_nowait()
    gathering = Gathering(share_of(request), limit)
    try:
        if length is not None and length > FREE_BYTES:
            await gathering.room(length)
        async for piece in content.iter_any():
            is_short = gathering.add(piece)
            if gathering.received > limit:
                raise _large_body(limit)
            if is_short:
                await gathering.room()
    except NoRoom as error:
        raise too_busy(str(error)) from error
    return await gathering.whole()


def _large_body(limit: int) -> Refused:
    told = f"the body is larger than {limit} bytes ([server] max_body_mb)"
    return refused(413, told, kind="too_large", code="body_too_large")


def share_of(request: BaseRequest) -> Share | None:
    """What the body of *request* is to hold; None where nobody counts, or it was counted before."""
    if not isinstance(request, Request) or request.room is None or request.share is not None:
        return None
    if request.content_length is None or request.content_length > FREE_BYTES:
        request.share = Share(request.room)
    return request.share
