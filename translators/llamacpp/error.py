"""The backend's errors: `{"error": {"kind", "message", "status", "code"?}}`, kinds being those of ErrorKind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from translators.codec import JsonError, loads
from translators.neutral import ErrorKind, Failure
from translators.retry_after import retry_after_s

_STATUSES: Final[Mapping[ErrorKind, int]] = {
    "invalid_request": 400,
    "context_length": 400,
    "not_found": 404,
    "overloaded": 503,
    "timeout": 504,
}


def parse_error(status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
    """The failure of an answer with *status*."""
    try:
        value = loads(body)
    except JsonError:
        value = None
    found = error_in(value) if isinstance(value, dict) else None
    if found is not None:
        return Failure(found.kind, found.message, status, found.code, found.param, retry_after_s(headers), found.raw)
    text = body.decode("utf-8", "replace").strip()[:500]
    kind: ErrorKind = "invalid_request" if 400 <= status < 500 else "server"
    return Failure(kind, text or f"the local model answered with status {status}", status, raw=value)


def error_in(body: Mapping[str, Any]) -> Failure | None:
    """The failure in a body or line that came with status 200; None when it is none."""
    error = body.get("error")
    if not error:
        return None
    fields = error if isinstance(error, dict) else {"message": str(error)}
    kind: ErrorKind = next((known for known in get_args(ErrorKind) if known == fields.get("kind")), "server")
    status = fields.get("status")
    return Failure(
        kind,
        str(fields.get("message") or "the local model failed"),
        status if isinstance(status, int) else _STATUSES.get(kind, 500),
        code=fields.get("code"),
        param=fields.get("param"),
        raw=body,
    )
