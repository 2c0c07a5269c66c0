"""Signatures of the proxy's own: what another vendor signed or encrypted, in a form that any client hands back.

A dialect that has a field for signatures (Anthropic's `signature`, Gemini's `thoughtSignature`, OpenAI's
`encrypted_content`) can carry another vendor's: `seal` packs the native fields of a part into one text of base64,
`unseal` recognises and unpacks it. So a conversation that returns to its vendor keeps its reasoning without any
memory here, and one that goes elsewhere loses a field that is known not to be that vendor's.

Nothing is secret in it and nothing is trusted: it holds what the client was told anyway.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from typing import Final

from translators.codec import JsonError, dumps, loads_object
from translators.neutral import Native

_MARK: Final = b"modelport\x01"
_MARKED: Final = b64encode(_MARK[:9]).decode()
"""How every sealed text begins."""
MAX_UNSEALED: Final = 1024 * 1024
_SHORT: Final = 512
"""Bytes for which the smallest deflater will do: the usual one sets up 256 KB of memory first (zlib's manual)."""


def seal(native: Native) -> str:
    """*native* as one text; of no fields, too, which says that the proxy and no vendor made it."""
    plain = dumps(dict(native))
    deflater = zlib.compressobj(level=1, wbits=9, memLevel=1) if len(plain) <= _SHORT else zlib.compressobj(level=1)
    return b64encode(_MARK + deflater.compress(plain) + deflater.flush()).decode()


def unseal(text: str) -> Native | None:
    """What `seal` packed; None for a text that is not the proxy's own, or is damaged."""
    if not text.startswith(_MARKED):
        return None
    try:
        packed = b64decode(text, validate=True)
        if not packed.startswith(_MARK):
            return None
        inflater = zlib.decompressobj()
        plain = inflater.decompress(packed[len(_MARK) :], MAX_UNSEALED)
        if not inflater.eof:
            return None
        native = loads_object(plain)
    except (BadBase64, ValueError, zlib.error, JsonError):
        return None
    return {dialect: fields for dialect, fields in native.items() if isinstance(fields, dict)}
