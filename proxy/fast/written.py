"""Whole answers as bytes, as aiohttp would write them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from aiohttp.http import SERVER_SOFTWARE

from proxy.answer import PIECE_BYTES
from proxy.envelopes import failure_headers
from proxy.fast.dialects import Dialect
from proxy.room import Shares
from translators.codec import dumps
from translators.dialect import ClientDialect
from translators.neutral import Failure


class Written(NamedTuple):
    """A whole answer: its status and its bytes, *data* and then *rest*, which is long and goes out piece by piece.

    *held* is what the rest holds of memory; whoever writes it releases that.
    """

    status: int
    data: bytes
    rest: bytes = b""
    held: Shares | None = None


def answer(status: int, headers: Mapping[str, str], body: bytes) -> Written:
    """A whole answer. Raises as `written`."""
    if len(body) <= PIECE_BYTES:
        return Written(status, written(status, headers, body))
    return Written(status, _head(status, headers) + ending(len(body)), body)


def told(client: ClientDialect, failure: Failure, request_id: str) -> Written:
    """*failure* in the envelope of a *client*."""
    status, body = client.render_error(failure, request_id)
    return Written(status, written(status, failure_headers(failure, request_id), dumps(body)))


def told_often(dialect: Dialect, failure: Failure, request_id: str) -> Written:
    """The same, where many are told it in one second. *failure* has nothing of a vendor's."""
    parts = _but_for_its_id(dialect, failure, int(time.time()))
    return Written(failure.status, request_id.encode().join(parts))


@lru_cache(maxsize=8)
def _but_for_its_id(dialect: Dialect, failure: Failure, _second: int) -> list[bytes]:
    place = "req_" + "0" * 24
    return told(dialect.client, failure, place).data.split(place.encode())


def written(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole answer.

    Raises:
        ValueError: a header would break the line.
    """
    return b"%b%b%b" % (_head(status, headers), ending(len(body)), body)


def opened(headers: Mapping[str, str]) -> bytes:
    """The head of an answer whose body comes in chunks.

    Raises:
        ValueError: a header would break the line.
    """
    return b"HTTP/1.1 200 OK\r\n" + lines(headers).encode() + open_ending()


def closing(frames: bytes) -> bytes:
    """The last chunk of a body, and its end."""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(frames), frames) if frames else b"0\r\n\r\n"


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines(headers)}".encode()


def lines(headers: Mapping[str, str]) -> str:
    """*headers* as lines of a head. Raises as `written`."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise ValueError("a header holds a line break")
    return text


_endings: dict[int, str] = {}


def ending(size: int) -> bytes:
    """The last lines of a head before a body of so many bytes."""
    return f"Content-Length: {size}{_rest()}".encode()


def open_ending() -> bytes:
    """The last lines of a head before a body that comes in chunks."""
    return f"Transfer-Encoding: chunked{_rest()}".encode()


def _rest() -> str:
    second = int(time.time())
    rest = _endings.get(second)
    if rest is None:
        _endings.clear()
        rest = _endings[second] = f"\r\nDate: {formatdate(second, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
    return rest
