"""Header blocks of ordinary requests: framed, read once, remembered.

A client sends the same header block with each request but for its Content-Length. What is left when its digits are
cut out is the key of a table, so that a block is read once and found ever after.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth import presented_key
from proxy.errors import Refused
from proxy.fast.dialects import ROWS, Dialect, Manner
from proxy.scopes import check_endpoint
from proxy.server import MAX_HEADER_BYTES, MAX_HEADERS
from proxy.vendor_headers import vendor_headers, vendor_query

if TYPE_CHECKING:
    from proxy.auth import Gate
    from proxy.identity import Identity
    from proxy.keyring import Entry
    from proxy.server import HostGuard
    from proxy.services import Services

_LINES: Final[Mapping[bytes, tuple[Dialect, str]]] = {
    f"POST {row.path}{query} HTTP/1.1".encode(): (row, query) for row in ROWS for query in row.queries
}
"""The first lines of requests for the lane: of which dialect they are, and what stands behind the path."""
BEGINNINGS: Final = tuple(line + b"\r\n" for line in _LINES)
END: Final = b"\r\n\r\n"
REMEMBERED: Final = 1024
"""Header blocks. One that no client repeats pushes out nobody: a block counts from its second time on."""

JUDGED_S: Final = 0.05
"""How long it is gone by who somebody is while no key changes: that much later than its end a key may be taken."""

_DIGITS: Final = 9
_LENGTH: Final = re.compile(rb"\r\ncontent-length: ?([0-9]{1,%d})(?=\r\n)" % _DIGITS, re.IGNORECASE)
_OTHERS: Final = re.compile(rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE) [\x21-\x7e]+ HTTP/1\.1\r\n")
_FRAMING: Final = (b"transfer-encoding", b"upgrade", b"expect", b"trailer")
"""Where one of these words stands, others may read where a request ends in another way."""
_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]?([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
_NOT_ORDINARY: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "expect",
        "idempotency-key",
        "keep-alive",
        "origin",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "traceparent",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)
"""What changes how a request is framed, or what becomes of it; and what differs with each of them.

`connection: keep-alive` says nothing new.
"""
_SPEAKS: Final = "x-modelport-"
"""How headers begin that say something of the request to the proxy."""


class Frame(NamedTuple):
    """Where one request lies in what was received. *head*: its block without the digits of its Content-Length."""

    head: bytes
    body: int
    """Where its body begins."""
    end: int
    """Where it ends; more than there is as long as it is not whole."""


class Block(NamedTuple):
    """A header block that was framed: its bytes *before* and *behind* the digits of its Content-Length."""

    before: bytes
    behind: bytes
    head: bytes

    def frame(self, data: bytes) -> Frame | None:
        """The request at the beginning of *data*, if it has the same block; most that one client sends have."""
        before, behind, head = self
        start = len(before)
        if not data.startswith(before):
            return None
        stop = data.find(b"\r", start, start + _DIGITS + 1)
        digits = data[start:stop]
        if stop < 0 or not digits.isdigit() or not data.startswith(behind, stop):
            return None
        body = stop + len(behind)
        return Frame(head, body, body + int(digits))


def may_begin(data: bytes) -> bool:
    """Whether *data*, which may go on, begins as a request for the lane does."""
    return data.startswith(BEGINNINGS) or any(beginning.startswith(data) for beginning in BEGINNINGS)


def block(data: bytes) -> Block | None:
    """The header block at the beginning of *data*, which is whole; None where it has no plain length."""
    end = data.find(END)
    if end < 0 or end > MAX_HEADER_BYTES:
        return None
    length = _LENGTH.search(data, 0, end + 2)
    if length is None:
        return None
    before, behind = data[: length.start(1)], data[length.end(1) : end + len(END)]
    return Block(before, behind, before + behind[: -len(END)])


def others(data: bytes) -> Frame | None:
    """The request at the beginning of *data*, for somebody else than the lane, if it is plain where it ends.

    Without a head: nobody looks at it here.
    """
    end = data.find(END, 0, MAX_HEADER_BYTES)
    if end < 0 or not _OTHERS.match(data):
        return None
    head = data[: end + 2].lower()
    if any(map(head.__contains__, _FRAMING)):
        return None
    body = end + len(END)
    if b"content-length" not in head:
        return Frame(b"", body, body)
    found = frame(data)
    return found._replace(head=b"") if found else None


def frame(data: bytes) -> Frame | None:
    """The request at the beginning of *data*, whose header block is whole; None where it has no plain length."""
    found = block(data)
    return found.frame(data) if found else None


def read_head(head: bytes) -> CIMultiDictProxy[str] | None:
    """The headers of a block, which `frame` has cut; None where it is not plainly ordinary.

    Each name stands once, every letter is visible ASCII, and nothing is there that this lane does not know.
    """
    lines = head.split(b"\r\n")[1:]
    if len(lines) > MAX_HEADERS:
        return None
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        name, value = found[1].decode().lower(), (found[2] or b"").decode()
        if name in headers or name.startswith(_SPEAKS):
            return None
        if name in _NOT_ORDINARY and (name, value.lower()) != ("connection", "keep-alive"):
            return None
        headers[name] = value
    return CIMultiDictProxy(headers)


@dataclass(slots=True)
class Visitor:
    """Who sends requests with one header block, how, and with which *key*. It was let in by *gate* and *hosts*."""

    manner: Manner
    key: str | None
    hosts: HostGuard
    gate: Gate
    identity: Identity
    keys: Mapping[str, Entry]
    """Those that there were when *identity* was found out, which holds *until* a moment of `time.monotonic`."""
    until: float


class Heads:
    """The header blocks that were read, and the names of those that came once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Visitor | None] = {}
        self._once: set[int] = set()

    def visitor(self, services: Services, head: bytes) -> Visitor | None:
        """Who sends *head*; None where that is not ordinary, or not known yet."""
        visitor = self._known.get(head)
        if visitor is not None and visitor.hosts is services.hosts and visitor.gate is services.gate:
            return visitor
        if visitor is None and (head in self._known or self._is_new(head)):
            return None
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        visitor = self._known[head] = _visitor(services, head)
        return visitor

    def _is_new(self, head: bytes) -> bool:
        name = hash(head)
        if name in self._once:
            return False
        if len(self._once) >= REMEMBERED:
            self._once.clear()
        self._once.add(name)
        return True


def _visitor(services: Services, head: bytes) -> Visitor | None:
    headers, bounds = read_head(head), services.limits
    said = _LINES.get(head.partition(b"\r\n")[0])
    if (
        headers is None
        or said is None
        or len(headers) > bounds.headers
        or len(head) > min(bounds.header_bytes, bounds.all_headers_bytes)
    ):
        return None
    dialect, query = said
    try:
        services.hosts.check(headers)
        key = presented_key(headers)
        identity, keys = _let_in(services, key, dialect.path), services.keyring.entries
        forward = vendor_headers(headers, dialect.vendor)
    except Refused:
        return None
    manner = Manner(dialect, vendor_query(query.removeprefix("?"), read=True), tuple(forward.items()))
    return Visitor(manner, key, services.hosts, services.gate, identity, keys, time.monotonic() + JUDGED_S)


def admitted(services: Services, visitor: Visitor) -> Identity:
    """Whose key that of *visitor* is, now: it may have been revoked since it was read.

    Raises:
        Refused: nobody who may ask here.
    """
    now, keys = time.monotonic(), services.keyring.entries
    if now >= visitor.until or visitor.keys is not keys:
        visitor.identity = _let_in(services, visitor.key, visitor.manner.dialect.path)
        visitor.keys, visitor.until = keys, now + JUDGED_S
    return visitor.identity


def _let_in(services: Services, key: str | None, path: str) -> Identity:
    identity = services.gate.let_in(key, "client")
    check_endpoint(identity, path)
    return identity
