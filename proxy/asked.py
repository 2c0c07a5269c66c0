"""One client's question, and how that client wants to be answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from proxy.controls import Controls
from translators import openai_chat
from translators.codec import dumps
from translators.dialect import Rules
from translators.neutral import Request, Response


@dataclass(frozen=True, slots=True)
class Asked:
    """What one client wants, in its own bytes and in the neutral form."""

    raw: bytes
    body: Mapping[str, Any]
    request: Request
    controls: Controls
    created: int
    """Unix seconds, for answers whose vendor tells none."""
    fallback_id: str
    """The answer's id where the vendor gives none."""

    def whole(self, response: Response) -> bytes:
        """*response* as the client wants a whole answer."""
        return dumps(openai_chat.render_response(response, **self._fallbacks, legacy_functions=self._legacy_functions))

    def renderer(self) -> openai_chat.StreamRenderer:
        """What writes events as the client wants a stream."""
        return openai_chat.StreamRenderer(
            include_usage=self.request.include_usage, **self._fallbacks, legacy_functions=self._legacy_functions
        )

    def relay(self, rules: Rules) -> openai_chat.StreamRelay:
        """What passes a stream of the client's own dialect on."""
        return openai_chat.StreamRelay(rules, include_usage=self.request.include_usage, **self._fallbacks)

    def relayed(self, raw: bytes, rules: Rules) -> tuple[bytes, Response]:
        """A whole answer of the client's own dialect, mended where it must be, and what it says."""
        return openai_chat.relay_response(raw, rules, **self._fallbacks)

    @property
    def _fallbacks(self) -> Fallbacks:
        return {"fallback_id": self.fallback_id, "fallback_model": self.request.model, "created": self.created}

    @property
    def _legacy_functions(self) -> bool:
        return openai_chat.uses_functions(self.body)


class Fallbacks(TypedDict):
    """What stands in where a vendor leaves something out."""

    fallback_id: str
    fallback_model: str
    created: int
