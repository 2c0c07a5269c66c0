"""Errors of this package, and what a vendor's failure becomes for the client.

ProxyError
├── Refused             the client gets this answer: a neutral Failure and headers
│   └── UnknownKey      the key or signature that was sent is nobody's (401)
└── StartError          the server cannot start: one line that says why and what to do
    └── NobodyGetsIn    because of its configuration: keys are required, and there is none

`for_client` keeps two things apart: what the client did wrong keeps its status, what went wrong between us and the
provider is a 502, 503 or 504 and never the client's fault (DESIGN section 3, FAULTS section 3.3).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from routing.errors import AttemptFailed
from storage.errors import LedgerUnavailable
from translators.codec import dumps_text, loads
from translators.errors import BadRequest
from translators.neutral import ErrorKind, Failure

MAX_MESSAGE: Final = 2000
"""Characters of a vendor's message that are passed on."""


class ProxyError(Exception):
    """Anything that ends a request or the server."""


class Refused(ProxyError):
    """The client gets *failure*, with *headers*."""

    def __init__(self, failure: Failure, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.headers = dict(headers or {})


class UnknownKey(Refused):
    """401: the key, or the signature, that was sent is nobody's. How often that happens is counted by address."""

    def __init__(self, message: str, code: str = "invalid_api_key") -> None:
        super().__init__(Failure("authentication", message, 401, code))


class StartError(ProxyError):
    """The server cannot start."""


class NobodyGetsIn(StartError):
    """Keys are required, and there is none that could make others."""


def refused(
    status: int,
    message: str,
    *,
    kind: ErrorKind = "invalid_request",
    code: str | None = None,
    param: str | None = None,
    retry_after_s: float | None = None,
) -> Refused:
    """A refusal of our own."""
    return Refused(Failure(kind, message, status, code=code, param=param, retry_after_s=retry_after_s))


RETRY_S: Final = 1.0
"""When a client that was turned away may come again."""


def too_busy(why: str) -> Refused:
    """A refusal for want of something that others have now."""
    return refused(503, f"too busy: {why}", kind="overloaded", code="too_busy", retry_after_s=RETRY_S)


_UPSTREAM: Final[Mapping[ErrorKind, tuple[int, str | None]]] = {
    "authentication": (502, "upstream_auth"),
    "permission": (502, "upstream_auth"),
    "billing": (502, "upstream_auth"),
    "rate_limit": (429, "rate_limit_exceeded"),
    "overloaded": (503, "upstream_overloaded"),
    "timeout": (504, "upstream_timeout"),
    "server": (502, "upstream_error"),
    "connection": (502, "upstream_unreachable"),
    "invalid_response": (502, "upstream_invalid"),
}
"""Kinds that are not the client's doing: status and code for the client. Other kinds keep the vendor's status."""

_KEPT_STATUSES: Final = frozenset({400, 404, 413, 422})
_PASSING_STATUSES: Final = frozenset({408, 409, 425})
"""Client-error statuses that pass by themselves: the client has done nothing wrong."""


def failure_of(error: Refused | BadRequest | AttemptFailed | LedgerUnavailable) -> Failure:
    """What ended a request or an attempt, as the failure that it is told as."""
    match error:
        case AttemptFailed() | Refused():
            return error.failure
        case BadRequest():
            return Failure("invalid_request", error.message, 400, code=error.code, param=error.param)
        case LedgerUnavailable():
            return Failure("overloaded", str(error), 503, "ledger_unavailable")


def for_client(failure: Failure, where: str, redactor: Redactor, final: Set[int] = frozenset()) -> Failure:
    """*failure* of the provider *where*, in our words and without secrets.

    *final*: statuses that are the provider's word on the client's request, beside those that always are.
    """
    message = redactor.clean(failure.message)[:MAX_MESSAGE]
    param = redactor.clean(failure.param) if failure.param else None
    code: str | None
    if failure.kind not in _UPSTREAM and failure.status in _PASSING_STATUSES - final:
        failure = replace(failure, kind="timeout" if failure.status == 408 else "server")
    if failure.kind in _UPSTREAM:
        status, code = _UPSTREAM[failure.kind]
        param = None
        if failure.kind == "connection" and failure.status == 504:
            status = 504
    else:
        status = failure.status if failure.status in _KEPT_STATUSES | final else 400
        code = redactor.clean(failure.code) if failure.code else None
    return replace(
        failure,
        status=status,
        code=code,
        param=param,
        message=f"{where}: {message or f'status {failure.status}, without a message'}",
        raw=_details(failure.raw, redactor),
    )


def _details(raw: Any, redactor: Redactor) -> dict[str, Any] | None:
    """Of the vendor's error what an SDK may act upon: `error.details`, without secrets."""
    error = raw.get("error") if isinstance(raw, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    if not isinstance(details, dict):
        return None
    text = dumps_text(details)
    return {"error": {"details": loads(redactor.clean(text).encode())}} if len(text) <= MAX_MESSAGE else None


class Redactor:
    """Takes secrets out of text: the ones that are configured, and what looks like one."""

    _LOOKS = re.compile(
        r"(?i)(?:(?<![A-Za-z0-9])(?:sk|pk|rk|xai|gsk|hf|mp|nvapi)|\bkey)[-_][A-Za-z0-9_\-*.]{8,}"
        r"|(?<![A-Za-z0-9])AIza[A-Za-z0-9_\-]{20,}|(?<![A-Za-z0-9])gh[opsu]_[A-Za-z0-9]{16,}|\bAKIA[A-Z0-9]{12,}"
        r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]+)?"
        r"|(?<=bearer )[A-Za-z0-9._~+/=\-]{8,}|(?<=basic )[A-Za-z0-9+/=]{8,}|(?<=://)[^\s/@]{1,200}:[^\s/@]{1,200}(?=@)"
    )

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        written = {spelling for secret in secrets if len(secret) >= 6 for spelling in spellings(secret)}
        known = sorted(written, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def clean(self, text: str) -> str:
        """*text* with every secret replaced."""
        return self._LOOKS.sub("[secret]", self.clean_known(text))

    def clean_known(self, text: str) -> str:
        """*text* with the configured secrets replaced, and nothing that only looks like one."""
        return self._known.sub("[secret]", text) if self._known else text


def spellings(secret: str) -> set[str]:
    """*secret* as an error message may quote it: as it is, percent-encoded, in base64."""
    return {secret, quote(secret, safe=""), quote(secret), base64.b64encode(secret.encode()).decode().rstrip("=")}
