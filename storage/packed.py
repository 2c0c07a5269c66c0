"""Bytes as they lie in a BLOB: one mark, then the bytes, compressed when they are long."""

from __future__ import annotations

import zlib
from typing import Final

from storage.errors import Corrupt

COMPRESS_BYTES: Final = 4 * 1024
"""Longer values are compressed; shorter ones would save less than a page."""

_PLAIN: Final = b"\x00"
_ZLIB: Final = b"\x01"
_LEVEL: Final = 3
"""JSON shrinks to about a fifth; higher levels take twice the time for another hundredth."""


def pack(value: bytes) -> bytes:
    """*value* for the table."""
    if len(value) > COMPRESS_BYTES:
        squeezed = zlib.compress(value, _LEVEL)
        if len(squeezed) < len(value):
            return _ZLIB + squeezed
    return _PLAIN + value


def unpack(blob: bytes) -> bytes:
    """What `pack` was given.

    Raises:
        Corrupt: *blob* is not of its making.
    """
    match blob[:1]:
        case b"\x00":
            return blob[1:]
        case b"\x01":
            try:
                return zlib.decompress(blob[1:])
            except zlib.error as error:
                raise Corrupt(f"a stored value cannot be decompressed: {error}") from error
        case mark:
            raise Corrupt(f"a stored value begins with {mark!r}")
