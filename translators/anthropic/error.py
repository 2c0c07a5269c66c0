"""Anthropic's errors, and what gateways send in their place; errors for a client of Anthropic's.

`{"type": "error", "error": {"type", "message", "details"?}, "request_id"}`

The kind follows from the HTTP status. Where that says no more than that the request was wrong, and where an error
came without one (in a stream, in an answer of status 200), it follows from the error's type; and from the message where
`invalid_request_error` covers several things.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from translators.codec import JsonError, loads
from translators.neutral import ErrorKind, Failure
from translators.retry_after import retry_after_s
from translators.statuses import KIND_BY_STATUS

# Types and statuses: platform.claude.com/docs/en/api/errors and anthropic.types.shared.ErrorType.
_BY_TYPE: Final[Mapping[str, tuple[ErrorKind, int]]] = {
    "invalid_request_error": ("invalid_request", 400),
    "authentication_error": ("authentication", 401),
    "billing_error": ("billing", 402),
    "permission_error": ("permission", 403),
    "not_found_error": ("not_found", 404),
    "conflict_error": ("invalid_request", 409),
    "memory_precondition_failed_error": ("invalid_request", 412),
    "memory_path_conflict_error": ("invalid_request", 409),
    "request_too_large": ("too_large", 413),
    "rate_limit_error": ("rate_limit", 429),
    "api_error": ("server", 500),
    "timeout_error": ("timeout", 504),
    "overloaded_error": ("overloaded", 529),
}
_BY_MESSAGE: Final[tuple[tuple[re.Pattern[str], ErrorKind], ...]] = (
    (
        re.compile(
            r"prompt is too long|exceeds? (the )?(model's )?context (limit|window)|context window (size )?exceeded"
        ),
        "context_length",
    ),
    (re.compile(r"credit balance is too low|spend(ing)? limit|usage limits?\b"), "billing"),
    (re.compile(r"blocked by (our )?content filter"), "content_filter"),
)
_MESSAGE_TYPES: Final = frozenset({"", "invalid_request_error", "billing_error", "request_too_large"})
"""Only under these does the message decide: a 429 whose text speaks of limits is still a rate limit."""
_VAGUE_STATUSES: Final = frozenset({400, 422})
"""The statuses that leave it to the error's type to say what is wrong."""

_TYPE_BY_KIND: Final[Mapping[ErrorKind, str]] = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "permission": "permission_error",
    "billing": "billing_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "context_length": "invalid_request_error",
    "content_filter": "invalid_request_error",
    "rate_limit": "rate_limit_error",
    "overloaded": "overloaded_error",
    "timeout": "timeout_error",
    "server": "api_error",
    "invalid_response": "api_error",
    "connection": "api_error",
}
_STATUS_BY_KIND: Final[Mapping[ErrorKind, int]] = {
    "invalid_request": 400,
    "authentication": 401,
    "permission": 403,
    "billing": 402,
    "not_found": 404,
    "too_large": 413,
    "context_length": 400,
    "content_filter": 400,
    "rate_limit": 429,
    "overloaded": 503,
    "timeout": 504,
    "server": 500,
    "invalid_response": 502,
    "connection": 502,
}
_NOT_THE_CLIENTS: Final = frozenset({"api_error", "overloaded_error", "timeout_error"})
"""What may stand under a status of 500 and above: no client is to think that its own key or money is at fault."""
NO_THREADS: Final = "thread_unsupported_request"
"""At this the SDK's tool runner sends whole conversations instead (anthropic.lib.threads)."""
_TOO_LONG: Final = "prompt is too long"
"""The words by which agents know that they must shorten the conversation (Claude Code compacts upon them)."""

_MARKUP = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_SHOWN_CHARACTERS: Final = 500


def parse_error(status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
    """Whatever came with *status*; *raw* is the body as JSON with the header's `request_id` where the body has none."""
    try:
        value = loads(body)
    except JsonError:
        text = " ".join(_MARKUP.sub(" ", body.decode("utf-8", "replace")).split())
        value = {"text": text[:_SHOWN_CHARACTERS]} if text else {}
    raw: dict[str, Any] = dict(value) if isinstance(value, dict) else {"body": value}
    request_id = headers.get("request-id") or headers.get("x-request-id")
    if request_id and not raw.get("request_id"):
        raw["request_id"] = request_id
    return _failure(raw, status, retry_after_s(headers))


def error_in(body: Mapping[str, Any]) -> Failure | None:
    """The failure that stands in a body or event sent with status 200; None when *body* is none."""
    if body.get("type") == "error" or ("error" in body and body["error"] and "type" not in body):
        return _failure(body, None, None)
    return None


def error_envelope(failure: Failure) -> dict[str, Any]:
    """`{"type": "error", "error": {type, message}}`, which is also the data of the event that ends a stream."""
    message = failure.message or "the upstream gave no reason"
    if failure.kind == "context_length" and _TOO_LONG not in message.lower():
        message = f"{_TOO_LONG}: {message}"
    error_type = _TYPE_BY_KIND[failure.kind]
    if failure.status >= 500 and error_type not in _NOT_THE_CLIENTS:
        error_type = "api_error"
    error: dict[str, Any] = {"type": error_type, "message": message}
    if (details := _details(failure)) is not None:
        error["details"] = details
    return {"type": "error", "error": error}


def _details(failure: Failure) -> Mapping[str, Any] | None:
    """What the SDK reads besides the message: the vendor's own details, or that threads are not had here."""
    error = failure.raw.get("error") if isinstance(failure.raw, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    if isinstance(details, dict):
        return details
    if failure.code == NO_THREADS:
        return {"error_code": NO_THREADS, "unsupported": [failure.param]}
    return None


def render_error(failure: Failure, request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and body for a client. Statuses stay what they are: an overloaded upstream is a 503 here too, no 529."""
    status = failure.status if 400 <= failure.status <= 599 else _STATUS_BY_KIND[failure.kind]
    return status, {**error_envelope(failure), "request_id": request_id or None}


def _failure(raw: Mapping[str, Any], status: int | None, retry_after: float | None) -> Failure:
    """*status* None: the type of the error implies it."""
    error = raw.get("error")
    fields = error if isinstance(error, dict) else {}
    error_type = _text(fields.get("type"))
    message = _text(fields.get("message")) or _text(error) or _text(raw.get("message")) or _text(raw.get("text"))
    type_kind, type_status = _BY_TYPE.get(error_type, (None, None))
    if status is None or status < 400:
        status = type_status or 500
    elif status not in _VAGUE_STATUSES:
        type_kind = None
    kind = _kind_of_message(message, status) if error_type in _MESSAGE_TYPES else None
    details = fields.get("details")
    code = _text(details.get("error_code")) if isinstance(details, dict) else ""
    return Failure(
        kind=kind or type_kind or _kind_of_status(status),
        message=message or f"the vendor answered with status {status} and no message",
        status=status,
        code=code or error_type or None,
        retry_after_s=retry_after,
        raw=raw,
    )


def _kind_of_message(message: str, status: int) -> ErrorKind | None:
    """What the words of a refused (400, 422) or too large (413) request say; size is no matter of money."""
    if status not in _VAGUE_STATUSES and status != 413:
        return None
    lower = message.lower()
    found = next((kind for pattern, kind in _BY_MESSAGE if pattern.search(lower)), None)
    return None if status == 413 and found == "billing" else found


def _kind_of_status(status: int) -> ErrorKind:
    return KIND_BY_STATUS.get(status, "server" if status >= 500 else "invalid_request")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
