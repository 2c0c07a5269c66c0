"""Who asks: one function for every spelling of the key header.

Virtual keys come with their own issue; until then a port that requires keys knows the master key alone.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from proxy.errors import refused
from proxy.identity import ANONYMOUS, MASTER_IDENTITY, Identity
from proxy.server import Access


def presented_key(headers: Mapping[str, str]) -> str | None:
    """The key that a client sent, as OpenAI's, Anthropic's, Azure's or Gemini's SDK spells it."""
    authorization = headers.get("Authorization", "")
    if authorization[:7].lower() == "bearer ":
        return authorization[7:].strip()
    return headers.get("x-api-key") or headers.get("x-goog-api-key") or headers.get("api-key")


class Gate:
    """Decides by the matched route's access, never by the path."""

    def __init__(self, *, required: bool, master_key: str | None) -> None:
        self.required = required
        self._master = master_key.encode() if master_key else None

    def admit(self, headers: Mapping[str, str], access: Access, in_query: str | None = None) -> Identity:
        """Who sends a request. *in_query* is the key of Google's REST clients that write it into the address.

        Raises:
            Refused: 401 without a valid key where one is needed, 403 where the master key is and none is configured.
        """
        if access == "open":
            return ANONYMOUS
        if self._is_master(presented_key(headers) or in_query):
            return MASTER_IDENTITY
        if access == "master" and self._master is None:
            raise refused(
                403,
                "this needs the master key and none is configured; set [auth] master_key",
                kind="permission",
                code="master_key_missing",
            )
        needs_master = access == "master" or (access == "operator" and self._master is not None)
        if needs_master or self.required:
            what = "the master key" if needs_master else "a valid key"
            raise refused(
                401,
                f"{what} is needed: send it as Authorization: Bearer KEY",
                kind="authentication",
                code="invalid_api_key",
            )
        return ANONYMOUS

    def _is_master(self, key: str | None) -> bool:
        if self._master is None:
            return False
        return key is not None and hmac.compare_digest(key.encode(errors="surrogateescape"), self._master)
