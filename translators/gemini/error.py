"""Gemini's errors, read (with HTTP status or inside an answer of status 200) and written.

The body is `{"error": {code, message, status, details}}`, or a list of one when the request streamed without SSE.
The HTTP status says what kind of error it is; the name in the body where there is no HTTP status, where it says no more
than that the request was wrong, and where the two mean the same status below 500.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from translators.codec import JsonError, loads
from translators.gemini.finish import BROKEN, LOST_CALLS, finish_name
from translators.neutral import ErrorKind, Failure
from translators.retry_after import MAX_RETRY_AFTER_S, retry_after_s
from translators.statuses import KIND_BY_STATUS

# google.rpc.Code names -> (kind, the HTTP status they stand for)
_BY_STATUS_NAME: Final[Mapping[str, tuple[ErrorKind, int]]] = {
    "INVALID_ARGUMENT": ("invalid_request", 400),
    "FAILED_PRECONDITION": ("permission", 400),
    "OUT_OF_RANGE": ("invalid_request", 400),
    "UNAUTHENTICATED": ("authentication", 401),
    "PERMISSION_DENIED": ("permission", 403),
    "NOT_FOUND": ("not_found", 404),
    "ALREADY_EXISTS": ("invalid_request", 409),
    "ABORTED": ("server", 409),
    "RESOURCE_EXHAUSTED": ("rate_limit", 429),
    "CANCELLED": ("server", 499),
    "INTERNAL": ("server", 500),
    "UNKNOWN": ("server", 500),
    "DATA_LOSS": ("server", 500),
    "UNIMPLEMENTED": ("invalid_request", 501),
    "UNAVAILABLE": ("overloaded", 503),
    "DEADLINE_EXCEEDED": ("timeout", 504),
}
# Words of the message that say more than the status: (pattern, for these kinds only, kind, status or None to keep it)
_BY_MESSAGE: Final[tuple[tuple[str, tuple[ErrorKind, ...], ErrorKind, int | None], ...]] = (
    (r"api key (not valid|expired|not found)", ("invalid_request", "permission"), "authentication", 401),
    (
        r"tokens?\b.* exceeds? the maximum|context (window|length)",
        ("invalid_request", "too_large"),
        "context_length",
        None,
    ),
    (r"payload size exceeds", ("invalid_request",), "too_large", None),
    (r"billing|credits are depleted", ("permission", "rate_limit"), "billing", None),
)
_WORDED_STATUSES: Final = frozenset({400, 403, 413, 422, 429})
"""Only with these do the words count: a 500 that speaks of billing is still a 500."""
_VAGUE_STATUSES: Final = frozenset({400, 422})
_BAD_KEY_STATUSES: Final = frozenset({400, 401, 403, 422})
_BAD_KEY_REASONS: Final = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_NOT_FOUND"})


def parse_error(status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
    """The error that came with HTTP *status*, JSON or not. Header names are lower case."""
    try:
        value = loads(body)
    except JsonError:
        shown = " ".join(body[:300].decode("utf-8", "replace").split())
        return Failure(
            _kind_of(status), shown or f"HTTP {status} without a body", status, None, None, retry_after_s(headers)
        )
    error = _error_object(value)
    if error is None:
        return Failure(
            _kind_of(status), f"HTTP {status}: {str(value)[:300]}", status, None, None, retry_after_s(headers), value
        )
    return _failure(error, status, retry_after_s(headers), value)


def error_in(body: Any) -> Failure | None:
    """The failure inside an answer of status 200; None when it is an answer.

    An error object; or a finish that means that the model's output could not be used, without any output, or with
    nothing but a text where a call was lost.
    """
    error = _error_object(body)
    if error is not None:
        return _failure(error, None, None, body)
    candidates = [
        candidate
        for chunk in objects(body if isinstance(body, list) else [body])
        for candidate in objects(chunk.get("candidates"))
    ]
    for candidate in candidates:
        name = finish_name(candidate.get("finishReason"))
        if name in BROKEN:
            stands = _calls if name in LOST_CALLS else _shows
            used = any(stands(other.get("content")) for other in candidates)
            return None if used else broken(name, candidate.get("finishMessage"))
    return None


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in *value* if it is an array; a vendor's answer may hold anything."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _shows(content: Any) -> bool:
    """Whether *content* has anything but thoughts and empty text."""
    parts = objects(content.get("parts")) if isinstance(content, dict) else []
    return any(
        not part.get("thought") and any(part[key] for key in part if key != "thoughtSignature") for part in parts
    )


def _calls(content: Any) -> bool:
    parts = objects(content.get("parts")) if isinstance(content, dict) else []
    return any(isinstance(part.get("functionCall"), dict) for part in parts)


def broken(name: str, message: Any) -> Failure:
    """The failure for a finish reason that leaves nothing to show."""
    told = f": {message}" if isinstance(message, str) and message else ""
    return Failure("invalid_response", f"the model's answer could not be used, {name}{told}", 502, name)


def _error_object(value: Any) -> dict[str, Any] | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict) or not value.get("error"):
        return None
    error = value["error"]
    return error if isinstance(error, dict) else {"message": str(error)}


def _failure(error: Mapping[str, Any], status: int | None, retry_after: float | None, raw: Any) -> Failure:
    name = str(error.get("status") or "")
    code = error.get("code")
    named_kind, named_status = _BY_STATUS_NAME.get(name, (None, None))
    name_decides = status is None or status < 400 or status in _VAGUE_STATUSES or named_status == status < 500
    if status is None or status < 400:
        known = isinstance(code, int) and 400 <= code < 600
        status = code if known and isinstance(code, int) else named_status or 500
    kind = named_kind if name_decides and named_kind else _kind_of(status)
    message = str(error.get("message") or f"HTTP {status}")
    details = objects(error.get("details"))
    reasons = {str(detail.get("reason")) for detail in details}
    if reasons & _BAD_KEY_REASONS and status in _BAD_KEY_STATUSES:
        kind, status = "authentication", 401
    elif status in _WORDED_STATUSES:
        for pattern, kinds, sharper, its_status in _BY_MESSAGE:
            if kind in kinds and re.search(pattern, message, re.IGNORECASE):
                kind, status = sharper, its_status or status
                break
    delays = [delay for detail in details if (delay := _retry_delay_s(detail)) is not None]
    return Failure(
        kind,
        message,
        status,
        name or (str(code) if code is not None else None),
        _violated_field(details),
        delays[0] if delays else retry_after,
        raw,
    )


def _kind_of(status: int) -> ErrorKind:
    if status in KIND_BY_STATUS:
        return KIND_BY_STATUS[status]
    if 400 <= status < 500:
        return "invalid_request"
    return "server" if status >= 500 else "invalid_response"


def _retry_delay_s(detail: Mapping[str, Any]) -> float | None:
    """google.rpc.RetryInfo's delay: `"34.07s"`, or `{"seconds": 34, "nanos": 70000000}`."""
    if not str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
        return None
    delay = detail.get("retryDelay")
    if isinstance(delay, dict):
        seconds, nanos = delay.get("seconds", 0), delay.get("nanos", 0)
        delay = f"{seconds}.{int(nanos):09d}s" if str(seconds).isdigit() and str(nanos).isdigit() else None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)s?", delay) if isinstance(delay, str) else None
    return min(float(match[1]), MAX_RETRY_AFTER_S) if match else None


def _violated_field(details: list[dict[str, Any]]) -> str | None:
    """The first field that google.rpc.BadRequest names."""
    for detail in details:
        for violation in objects(detail.get("fieldViolations")):
            if isinstance(violation.get("field"), str):
                return str(violation["field"])
    return None


# --- written for a client --------------------------------------------------------------------------

_NAME_BY_STATUS: Final[Mapping[int, str]] = {
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
"""Google's name for an HTTP status; any other is INVALID_ARGUMENT below 500 and INTERNAL from there on."""
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
_RPC: Final = "type.googleapis.com/google.rpc."


def render_error(failure: Failure, request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and body for a client. The delay, the field, the code and the request's id stand in the details."""
    status = failure.status if 400 <= failure.status <= 599 else _STATUS_BY_KIND[failure.kind]
    return status, error_envelope(failure, request_id)


def error_envelope(failure: Failure, request_id: str = "") -> dict[str, Any]:
    """`{"error": {code, message, status, details}}`, which is also the one data line of a stream that failed."""
    status = failure.status if 400 <= failure.status <= 599 else _STATUS_BY_KIND[failure.kind]
    error: dict[str, Any] = {
        "code": status,
        "message": failure.message or "the upstream gave no reason",
        "status": _status_name(failure, status),
    }
    if details := _details(failure, request_id):
        error["details"] = details
    return {"error": error}


def _status_name(failure: Failure, status: int) -> str:
    """Google's own name where it was one and means this status; else the status's."""
    if failure.code is not None and _BY_STATUS_NAME.get(failure.code, (None, 0))[1] == status:
        return failure.code
    if status == 400 and failure.kind in ("permission", "billing"):
        return "FAILED_PRECONDITION"
    return _NAME_BY_STATUS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")


def _details(failure: Failure, request_id: str) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    if failure.code is not None and failure.code not in _BY_STATUS_NAME:
        reason = re.sub(r"\W", "_", failure.code).upper()
        details.append({"@type": _RPC + "ErrorInfo", "reason": reason, "domain": "modelport"})
    if failure.retry_after_s is not None:
        delay = f"{failure.retry_after_s:.3f}".rstrip("0").rstrip(".")
        details.append({"@type": _RPC + "RetryInfo", "retryDelay": f"{delay}s"})
    if failure.param is not None:
        violation = {"field": failure.param, "description": failure.message}
        details.append({"@type": _RPC + "BadRequest", "fieldViolations": [violation]})
    if request_id:
        details.append({"@type": _RPC + "RequestInfo", "requestId": request_id})
    return details
