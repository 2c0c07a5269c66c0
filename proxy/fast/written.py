"""Whole answers as bytes, as aiohttp would write them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

from aiohttp.http import SERVER_SOFTWARE


class Written(NamedTuple):
    """A whole answer: its status, and all of its bytes."""

    status: int
    data: bytes


def written(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole answer.

    Raises:
        ValueError: a header would break the line.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header holds a line break")
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    return b"%b%b%b" % ((first + lines).encode(), ending(len(body)), body)


_endings: dict[int, str] = {}


def ending(size: int) -> bytes:
    """The last lines of a head before a body of so many bytes."""
    second = int(time.time())
    rest = _endings.get(second)
    if rest is None:
        _endings.clear()
        rest = _endings[second] = f"\r\nDate: {formatdate(second, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
    return f"Content-Length: {size}{rest}".encode()
