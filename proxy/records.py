"""What the request log keeps of an exchange's bodies: what was said as it was said, everything else by size and digest.

A record is made where it is settled, and read in a thread: nobody who is answered waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from proxy.asked import Asked
from translators.codec import JsonError, loads, loads_object
from translators.neutral import Response

MOST_KEPT: Final = 1024 * 1024
"""Bytes of a JSON body that is kept; a longer one is told by its digest."""
MOST_READ: Final = 8 * 1024 * 1024
"""Bytes of an answer with vectors that is read for what stands beside them."""


@dataclass(frozen=True, slots=True)
class Record:
    """The bodies of one exchange. *asked* and *answered* give them as JSON, in a thread; *size* in bytes, roughly."""

    asked: Callable[[], Mapping[str, Any]]
    answered: Callable[[], Mapping[str, Any] | None]
    size: int


def of_question(asked: Asked, response: Response | None) -> Record:
    """Of a question in one of the dialects; the answer as the client would have had it whole."""

    def answered() -> Mapping[str, Any] | None:
        return None if response is None else loads_object(asked.whole(response))

    return Record(lambda: loads_object(asked.raw), answered, len(asked.raw))


def of_vectors(raw: bytes, payload: bytes | None) -> Record:
    """Of a request for embeddings; the vectors are counted, not kept."""

    def answered() -> Mapping[str, Any] | None:
        if payload is None:
            return None
        told = _digest("application/json", payload)
        if len(payload) > MOST_READ:
            return told
        answer: dict[str, Any] = loads(payload)
        name = next((name for name in ("data", "embeddings", "embedding") if name in answer), "data")
        found = answer.get(name)
        return {**answer, name: {"vectors": len(found) if isinstance(found, list) else 1, **told}}

    return Record(lambda: loads_object(raw), answered, len(raw) + len(payload or b""))


class Passed:
    """A body that passes by in pieces."""

    def __init__(self, content_type: str) -> None:
        self._type = content_type.partition(";")[0].strip().lower()[:128]
        self._kept: bytearray | None = bytearray() if self._type == "application/json" else None
        self._hash = sha256()
        self._length = 0

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self._kept or b"")

    def add(self, piece: bytes) -> None:
        """The next bytes."""
        self._hash.update(piece)
        self._length += len(piece)
        if self._kept is not None:
            self._kept += piece
            if len(self._kept) > MOST_KEPT:
                self._kept = None

    def told(self) -> Mapping[str, Any] | None:
        """A JSON object as it is; anything else by its type, size and digest; None where nothing came."""
        if not self._length:
            return None
        if self._kept is not None:
            try:
                return loads_object(bytes(self._kept))
            except JsonError:
                pass
        return {"content_type": self._type, "bytes": self._length, "sha256": self._hash.hexdigest()}


def of_passing(method: str, path: str, sent: Passed, came: Passed | None) -> Record:
    """Of a call that is passed on as it is."""

    def asked() -> Mapping[str, Any]:
        body = sent.told()
        return {"method": method, "path": path, **({} if body is None else {"body": body})}

    return Record(asked, lambda: came.told() if came else None, sent.size + (came.size if came else 0))


def _digest(content_type: str, body: bytes) -> dict[str, Any]:
    return {"content_type": content_type, "bytes": len(body), "sha256": sha256(body).hexdigest()}
