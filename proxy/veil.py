"""Secrets in an answer that passes by: every letter of them becomes `*`, so that its length stays what was promised.

A provider that repeats its key in mid-answer, as in an error event, says it to us and not to the client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from proxy.errors import spellings

LEAST: Final = 16
"""Shorter ones would veil ordinary words."""
_TEXT: Final = re.compile(r"text/|application/(?:[\w.+-]*\+)?(?:json|x-ndjson|jsonl|xml)\b")


class Veil:
    """Over one answer of *content_type*; what is no text passes as it is."""

    def __init__(self, secrets: Iterable[str], content_type: str) -> None:
        known = {spelled.encode() for secret in secrets if len(secret) >= LEAST for spelled in spellings(secret)}
        self._known = sorted(known, key=len, reverse=True) if _TEXT.match(content_type.strip().lower()) else []
        self._pattern = re.compile(b"|".join(map(re.escape, self._known))) if self._known else None
        self._held = b""

    def over(self, piece: bytes) -> bytes:
        """What may go out now that *piece* has come: what may be the beginning of a secret waits for the next one."""
        if self._pattern is None:
            return piece
        seen = self._pattern.sub(lambda found: b"*" * len(found[0]), self._held + piece)
        kept = self._begun(seen)
        self._held = seen[len(seen) - kept :]
        return seen[: len(seen) - kept]

    def rest(self) -> bytes:
        """What still waited when the answer ended."""
        held, self._held = self._held, b""
        return held

    def _begun(self, seen: bytes) -> int:
        """How many bytes at the end of *seen* may be the beginning of a secret."""
        return max(
            (
                length
                for known in self._known
                for length in range(1, min(len(known), len(seen) + 1))
                if seen.endswith(known[:length])
            ),
            default=0,
        )
