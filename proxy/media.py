"""Remote pictures and files, fetched under guard where a target cannot fetch them itself.

A URL from a request is an address that a stranger chose. So: http and https only, public addresses only, checked
after resolution and connected to exactly as checked, bounded size and time, and a type that the bytes bear out.
Redirects are followed a few times, each of them under the same guard; nothing of ours goes along: no cookie, no key.
A fetch that fails is a 400 that names the part; nothing is left out in silence.

No server is ever sent the address of a local file, and one that fetches nothing (`Rules.image_urls`,
`Rules.file_urls`) is sent no address at all, whatever the kind of part or the dialect: what cannot be fetched for it
is refused, and so is a tool whose server it would call (`server_url` of `mcp`).
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

import aiohttp
from yarl import URL

from proxy.backends.inflate import BadEncoding, Inflater
from proxy.errors import refused
from proxy.file_types import UNDECLARED, is_page, marked, type_of
from proxy.late_tls import late_context
from translators.addresses import addresses, is_local_file, tool_addresses
from translators.dialect import Rules
from translators.losses import placed, result_placed
from translators.neutral import Audio, Document, Image, Message, Opaque, Part, Request, Source, ToolResult

MAX_MEDIA_BYTES: Final = 20 * 1024 * 1024
MAX_FILES: Final = 100
"""Of one request; as many pictures as the vendors take at most."""
MAX_FETCHED_BYTES: Final = 64 * 1024 * 1024
"""Of one request, all its files together."""
FETCH_S: Final = 20.0
"""For one file, all its redirects together."""
MOST_REDIRECTS: Final = 5
NOT_PUBLIC: Final = "the address of the host is not a public one"

_KINDS: Final = {Image: ("image/",), Audio: ("audio/",), Document: ("application/pdf", "text/")}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONNECTIONS: Final = 256
_CONNECTIONS_TO_ONE: Final = 16
_CLOUDS: Final = tuple(
    ipaddress.ip_network(block)
    for block in (
        "169.254.0.0/16",
        "fe80::/10",
        "168.63.129.16/32",  # Azure
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::/32",  # AWS
    )
)
"""Where a cloud tells its machines their secrets: no picture is there, whatever is allowed."""

CheckAddress = Callable[[str], None]


class ForbiddenAddress(OSError):
    """The name resolves to an address that is not public."""


def guarded(check: CheckAddress) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """What makes sockets for addresses that *check* lets pass: the one place that no spelling of a host gets around.

    It is asked for the very address that is connected to next, so that no name can change in between. A host such as
    `127.1` or `2130706433` is passed on unresolved, and the system would take it for an address.
    """

    def opened(found: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = found
        check(str(address[0]))
        return socket.socket(family, kind, protocol)

    return opened


def check_public(address: str) -> None:
    """Raises ForbiddenAddress when *address* is one of this machine, its network, no place at all, or no address."""
    ip = _meant(address)
    # Reserved blocks lead to IPv4 behind a translator (64:ff9b::/96) or nowhere.
    if isinstance(ip, ipaddress.IPv6Address) and (ip.is_reserved or ip.is_site_local):
        raise ForbiddenAddress(NOT_PUBLIC)
    if not ip.is_global or ip.is_multicast or _of_the_cloud(ip):
        raise ForbiddenAddress(NOT_PUBLIC)


def check_not_the_clouds(address: str) -> None:
    """Raises ForbiddenAddress when *address* is none, or a cloud's own: what is left where private ones are allowed."""
    if _of_the_cloud(_meant(address)):
        raise ForbiddenAddress(NOT_PUBLIC)


def _meant(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """*address*, or the IPv4 address that it stands for. Raises ForbiddenAddress when it is none."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        raise ForbiddenAddress(NOT_PUBLIC) from None
    if isinstance(ip, ipaddress.IPv6Address):
        return ip.ipv4_mapped or ip.sixtofour or ip
    return ip


def _of_the_cloud(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(ip in network for network in _CLOUDS if network.version == ip.version)


class MediaFetcher:
    """Fetches under the guard. Made on first use; the owner closes it."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        check: CheckAddress | None = None,
        total_s: float = FETCH_S,
        max_bytes: int = MAX_MEDIA_BYTES,
    ) -> None:
        self._guard = guarded(check or (check_not_the_clouds if allow_private else check_public))
        self._total_s = total_s
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                socket_factory=self._guard,
                limit=_CONNECTIONS,
                limit_per_host=_CONNECTIONS_TO_ONE,
                force_close=True,
                ssl=late_context(),
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                headers={"user-agent": "modelport", "accept-encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=self._total_s),
            )
        return self._session

    async def close(self) -> None:
        """Release the connections."""
        if self._session is not None:
            await self._session.close()

    async def fetch(self, url: str, kinds: tuple[str, ...], place: str) -> Source:
        """The content of *url* as base64.

        Raises:
            Refused: 400 naming *place*: the URL, the host, the size or the type is not acceptable, or it failed.
        """
        try:
            async with asyncio.timeout(self._total_s):
                declared, content = await self._file(http_url(url, place), place)
        except aiohttp.ClientConnectorError as error:
            forbidden = isinstance(error.os_error, ForbiddenAddress)
            raise _bad(place, str(error.os_error) if forbidden else "the host cannot be reached") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _bad(place, f"the fetch failed: {type(error).__name__}") from error
        media_type = type_of(content, declared, kinds)
        if media_type is None:
            raise _bad(place, _mistyped(content, declared, kinds))
        return Source(media_type=media_type, data=base64.b64encode(content).decode())

    async def _file(self, url: URL, place: str) -> tuple[str, bytes]:
        """The type that the host declares, and the content, wherever it is redirected to."""
        for _ in range(MOST_REDIRECTS + 1):
            async with self._opened().get(url, allow_redirects=False) as response:
                location = response.headers.get("location")
                if response.status in _REDIRECTS and location:
                    url = _redirected(url, location, place)
                    continue
                if response.status != 200:
                    raise _bad(place, f"the host answered with status {response.status}")
                return response.content_type.lower(), await self._bounded(response, place)
        raise _bad(place, f"the host redirects more than {MOST_REDIRECTS} times")

    async def _bounded(self, response: aiohttp.ClientResponse, place: str) -> bytes:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        pieces: list[bytes] = []
        size = 0
        try:
            inflater = None if encoding in {"", "identity"} else Inflater(encoding)
            async for piece in response.content.iter_chunked(64 * 1024):
                for step in inflater.feed(piece) if inflater else (piece,):
                    size += len(step)
                    if size > self._max_bytes:
                        raise _bad(place, f"the file is larger than {self._max_bytes} bytes")
                    pieces.append(step)
        except BadEncoding as error:
            raise _bad(place, str(error)) from error
        return b"".join(pieces)


class Fetched:
    """The files of one exchange: each is fetched once, whoever wants it, and all together have a limit."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._known: dict[tuple[str, tuple[str, ...]], Source] = {}
        self._left = MAX_FETCHED_BYTES

    async def fetch(self, url: str, kinds: tuple[str, ...], place: str) -> Source:
        """The content of *url*; see `MediaFetcher.fetch`."""
        if known := self._known.get((url, kinds)):
            return known
        if len(self._known) == MAX_FILES:
            raise _bad(place, f"of one request at most {MAX_FILES} files are fetched")
        source = await self._fetch(url, kinds, place)
        self._left -= len(source.data or "") * 3 // 4
        if self._left < 0:
            raise _bad(place, f"the files of the request are larger than {MAX_FETCHED_BYTES} bytes together")
        self._known[url, kinds] = source
        return source


def _redirected(url: URL, location: str, place: str) -> URL:
    """Where *location* leads from *url*.

    Raises:
        Refused: 400 naming *place*: not to http or https, or from https to http.
    """
    try:
        target = url.join(URL(location))
    except ValueError as error:
        raise _bad(place, "the host redirects to no http or https URL") from error
    if target.scheme not in {"http", "https"} or not target.host:
        raise _bad(place, "the host redirects to no http or https URL")
    if url.scheme == "https" and target.scheme == "http":
        raise _bad(place, "the host redirects from https to http")
    # What the client wrote before the @ is for that host alone.
    return target if target.origin() == url.origin() else target.with_user(None)


def _mistyped(content: bytes, declared: str, kinds: tuple[str, ...]) -> str:
    """Why *content* is not taken for one of *kinds*."""
    wanted = " or ".join(kinds)
    if declared not in UNDECLARED and not declared.startswith(kinds):
        return f"expected {wanted}, the host sent {declared[:60]}"
    told = "the host does not say what it is" if declared in UNDECLARED else f"the host calls it {declared[:60]}"
    found = marked(content)
    what = f"of {found[0]}" if found else "of a web page" if is_page(content) else "of nothing that is known"
    return f"expected {wanted}; {told}, its bytes are those {what}"


def http_url(url: str, place: str) -> URL:
    """*url*, parsed once by the parser that the connection uses.

    Raises:
        Refused: 400 naming *place*: it is no http or https URL.
    """
    try:
        parsed = URL(url)
    except ValueError as error:
        raise _bad(place, "expected an http or https URL") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise _bad(place, "expected an http or https URL")
    return parsed


def _bad(place: str, why: str) -> Exception:
    return refused(400, f"{place}: cannot be fetched for this target: {why}", param=place, code="invalid_media_url")


Fetch = Callable[[str, tuple[str, ...], str], Awaitable[Source]]


_FILES: Final = frozenset({Image, Audio, Document, ToolResult})
"""Parts that are files, or may hold some."""


async def inline_remote(request: Request, rules: Rules, fetch: Fetch) -> Request:
    """*request* with every remote file that the target cannot fetch itself fetched and put in place."""
    if rules.image_urls and rules.file_urls and not rules.image_url_prefixes:
        return request
    messages: list[Message] = []
    for index, message in enumerate(request.messages):
        if not _FILES.isdisjoint(map(type, message.parts)):
            parts = await _parts(placed(message, index, request.dialect), request.dialect, rules, fetch)
            messages.append(replace(message, parts=parts) if parts else message)
        else:
            messages.append(message)
    same = all(old is new for old, new in zip(request.messages, messages, strict=True))
    return request if same else replace(request, messages=tuple(messages))


async def _parts(
    parts: Sequence[tuple[str, Part]], dialect: str, rules: Rules, fetch: Fetch
) -> tuple[Part, ...] | None:
    """*parts*, each with its place, with what had to be fetched; None when nothing had to be."""
    changed: list[Part] = []
    for place, part in parts:
        match part:
            case Image() | Audio() | Document() if _must_fetch(part, rules):
                source = await fetch(str(part.source.url), _KINDS[type(part)], place)
                changed.append(replace(part, source=source))
            case ToolResult():
                inner = await _parts(result_placed(part, place, dialect), dialect, rules, fetch)
                changed.append(replace(part, parts=inner) if inner else part)
            case _:
                changed.append(part)
    same = all(old is new for (_, old), new in zip(parts, changed, strict=True))
    return None if same else tuple(changed)


def _must_fetch(part: Image | Audio | Document, rules: Rules) -> bool:
    url = part.source.url
    if url is None:
        return False
    if not (rules.image_urls if isinstance(part, Image) else rules.file_urls):
        return True
    return bool(rules.image_url_prefixes) and not url.startswith(rules.image_url_prefixes)


_CARRIERS: Final = _FILES | {Opaque}


def refuse_addresses(request: Request, rules: Rules, dialect: str) -> None:
    """Checks what is left of addresses in *request* once `inline_remote` is done, for a server of *dialect*.

    Raises:
        Refused: 400 naming the part or the tool's field: it holds the address of a local file, or any for a server that
            fetches nothing.
    """
    for place, address in tool_addresses(request, dialect):
        if is_local_file(address) or not (rules.image_urls or rules.file_urls):
            told = f"{place}: the target is sent no address to call, as it is a server of one's own"
            if is_local_file(address):
                told = f"{place}: expected an http or https URL, found the address of a local file"
            raise refused(400, told, param=place, code="invalid_tool_url")
    for index, message in enumerate(request.messages):
        if not _CARRIERS.isdisjoint(map(type, message.parts)):
            _refuse_addresses(placed(message, index, request.dialect), request.dialect, rules, dialect)


def _refuse_addresses(parts: Sequence[tuple[str, Part]], client: str, rules: Rules, dialect: str) -> None:
    for place, part in parts:
        if isinstance(part, ToolResult):
            _refuse_addresses(result_placed(part, place, client), client, rules, dialect)
            continue
        # Servers of chat completions have no place for a file's address, and those beyond may say so themselves.
        fetches = rules.image_urls or (rules.file_urls and not isinstance(part, Image))
        for address in addresses(part, dialect):
            if is_local_file(address):
                raise refused(
                    400,
                    f"{place}: expected content, or an http or https URL, found the address of a local file",
                    param=place,
                    code="invalid_media_url",
                )
            if not fetches:
                raise refused(
                    400,
                    f"{place}: expected the content as base64 or a data URL: the target is sent no address to fetch",
                    param=place,
                    code="invalid_media_url",
                )
