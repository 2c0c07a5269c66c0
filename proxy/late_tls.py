"""TLS whose authorities are read for the first connection that wants it, and not at every start.

aiohttp makes two contexts while it is imported, and has each of them read the system's authorities, which takes longer
than to import all of its modules. Under `no_authorities` they are made without: who trusts nobody connects to nobody,
so that a session which uses them by mistake fails. Sessions get a `late_context`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from typing_extensions import override

from proxy.transport.pool import tls_context


def late_context() -> ssl.SSLContext:
    """A client's context, with the system's authorities from the first connection on."""
    return _Late(ssl.PROTOCOL_TLS_CLIENT)


class _Late(ssl.SSLContext):
    """Has no authorities of its own: every connection is made by the context that `_context` makes."""

    @override
    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        return _context().wrap_bio(*arguments, **named)

    @override
    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        return _context().wrap_socket(*arguments, **named)


@cache
def _context() -> ssl.SSLContext:
    return tls_context()


@contextmanager
def no_authorities() -> Iterator[None]:
    """While it lasts, the contexts that are made trust nobody. For imports, while there is one thread."""
    ssl.SSLContext.set_default_verify_paths = _nothing  # type: ignore[method-assign,assignment]  # until below
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths


def _nothing(_context: ssl.SSLContext) -> None:
    pass
