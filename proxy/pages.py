"""What pages in a browser are let do here: nothing, but for those of the configured origins (CORS).

A page may read an answer, and send JSON or a key at all, only where the server says so. Without
`[server] allowed_origins` no answer says anything, and browsers keep pages away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

REMEMBERED_S: Final = 600
"""How long a browser need not ask again."""
METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
_NAMES: Final = re.compile(r"[A-Za-z0-9-]{1,64}(?:, ?[A-Za-z0-9-]{1,64}){0,63}")


class Pages:
    """The pages of *origins*, each `scheme://host` or `scheme://host:port`."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origin.lower() for origin in origins)

    def may_ask(self, origin: str) -> bool:
        """Whether pages of *origin* may read answers."""
        return origin.lower() in self._origins

    def told(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers that the answer to a request with *headers* needs, so that its page can read it."""
        origin = headers.get("Origin")
        if origin is None or not self.may_ask(origin):
            return {}
        return {"access-control-allow-origin": origin, "access-control-expose-headers": "*", "vary": "Origin"}

    def ask_first(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with *headers* is a browser's question what a page that may ask may send."""
        return "Access-Control-Request-Method" in headers and bool(self.told(headers))


def preflight(headers: Mapping[str, str]) -> dict[str, str]:
    """What is answered to a browser that asks first, besides what every answer to that page says."""
    told = {"access-control-allow-methods": METHODS, "access-control-max-age": str(REMEMBERED_S)}
    wanted = headers.get("Access-Control-Request-Headers", "")
    if _NAMES.fullmatch(wanted):
        told["access-control-allow-headers"] = wanted
    if "Access-Control-Request-Private-Network" in headers:  # a public page that asks this machine (WICG, 2023)
        told["access-control-allow-private-network"] = "true"
    return told
