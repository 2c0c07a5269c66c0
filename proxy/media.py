"""Remote pictures and files, fetched under guard where a target cannot fetch them itself.

A URL from a request is an address that a stranger chose. So: http and https only, public addresses only, checked
after resolution and connected to exactly as checked, no redirects, bounded size and time, and a type that fits.
A fetch that fails is a 400 that names the part; nothing is left out in silence.
"""

from __future__ import annotations

import base64
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

import aiohttp
from yarl import URL

from proxy.errors import refused
from translators.dialect import Rules
from translators.losses import placed, result_placed
from translators.neutral import Audio, Document, Image, Message, Part, Request, Source, ToolResult

MAX_MEDIA_BYTES: Final = 20 * 1024 * 1024
FETCH_S: Final = 20.0
NOT_PUBLIC: Final = "the address of the host is not a public one"

_KINDS: Final = {Image: ("image/",), Audio: ("audio/",), Document: ("application/pdf", "text/")}


class ForbiddenAddress(OSError):
    """The name resolves to an address that is not public."""


def guarded_socket(found: aiohttp.AddrInfoType) -> socket.socket:
    """A socket for an address that is about to be connected to: the one place that no spelling of a host gets around.

    A host such as `127.1` or `2130706433` is passed on unresolved, and the system would take it for an address.

    Raises:
        ForbiddenAddress: the address is not public.
    """
    family, kind, protocol, _, address = found
    check_public(str(address[0]))
    return socket.socket(family, kind, protocol)


def check_public(address: str) -> None:
    """Raises ForbiddenAddress when *address* is one of this machine, its network, no place at all, or no address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        raise ForbiddenAddress(NOT_PUBLIC) from None
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        # Reserved blocks lead to IPv4 behind a translator (64:ff9b::/96) or nowhere.
        if inner is None and (ip.is_reserved or ip.is_site_local):
            raise ForbiddenAddress(NOT_PUBLIC)
        ip = inner or ip
    if not ip.is_global or ip.is_multicast:
        raise ForbiddenAddress(NOT_PUBLIC)


class MediaFetcher:
    """Fetches under the guard. Made on first use; the owner closes it."""

    def __init__(
        self, *, allow_private: bool = False, total_s: float = FETCH_S, max_bytes: int = MAX_MEDIA_BYTES
    ) -> None:
        self._allow_private = allow_private
        self._total_s = total_s
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            guard = None if self._allow_private else guarded_socket
            connector = aiohttp.TCPConnector(socket_factory=guard, limit=32, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
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
            async with self._opened().get(http_url(url, place), allow_redirects=False) as response:
                if response.status != 200:
                    raise _bad(place, f"the host answered with status {response.status}")
                media_type = response.content_type
                if not media_type.startswith(kinds):
                    raise _bad(place, f"expected {' or '.join(kinds)}, the host sent {media_type[:60]}")
                content = await self._bounded(response, place)
        except aiohttp.ClientConnectorError as error:
            forbidden = isinstance(error.os_error, ForbiddenAddress)
            raise _bad(place, str(error.os_error) if forbidden else "the host cannot be reached") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _bad(place, f"the fetch failed: {type(error).__name__}") from error
        return Source(media_type=media_type, data=base64.b64encode(content).decode())

    async def _bounded(self, response: aiohttp.ClientResponse, place: str) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in response.content.iter_chunked(64 * 1024):
            size += len(piece)
            if size > self._max_bytes:
                raise _bad(place, f"the file is larger than {self._max_bytes} bytes")
            pieces.append(piece)
        return b"".join(pieces)


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


async def inline_remote(request: Request, rules: Rules, fetch: Fetch) -> Request:
    """*request* with every remote file that the target cannot fetch itself fetched and put in place."""
    if rules.image_urls and rules.file_urls and not rules.image_url_prefixes:
        return request
    messages: list[Message] = []
    for index, message in enumerate(request.messages):
        if any(isinstance(part, Image | Audio | Document | ToolResult) for part in message.parts):
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
    if url is None or (rules.image_url_prefixes and url.startswith(rules.image_url_prefixes)):
        return False
    return bool(rules.image_url_prefixes) or not (rules.image_urls if isinstance(part, Image) else rules.file_urls)
