"""Errors, read and written.

Read: `{"error": {...}}` with text or numeric codes, `{"error": "..."}`, `{"detail": ...}`, a top-level `message`,
HTML, nothing at all. The kind follows the vendor's own code, then its type, then its words, then the status.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any, Final

from translators.codec import JsonError, dumps_text, loads
from translators.neutral import ErrorKind, Failure
from translators.retry_after import retry_after_s
from translators.statuses import KIND_BY_STATUS

MAX_MESSAGE: Final = 2000
"""Characters of a vendor's message that are kept."""
LOADING_S: Final = 2.0
"""How soon a server that is loading its model is asked again: llama-server's 503 "Loading model" does not say."""

_KIND_BY_STATUS: Final[Mapping[int, ErrorKind]] = {
    **KIND_BY_STATUS,
    400: "invalid_request",
    422: "invalid_request",
    424: "server",
    524: "timeout",
}

_KIND_BY_WORD: Final[Mapping[str, ErrorKind]] = {
    "context_length_exceeded": "context_length",
    "exceed_context_size_error": "context_length",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "responsibleaipolicyviolation": "content_filter",
    "invalid_request_error": "invalid_request",
    "invalid_api_key": "authentication",
    "authentication_error": "authentication",
    "insufficient_quota": "billing",
    "billing_hard_limit_reached": "billing",
    "billing_error": "billing",
    "insufficient_balance": "billing",
    "permission_error": "permission",
    "model_not_found": "not_found",
    "deploymentnotfound": "not_found",
    "not_found_error": "not_found",
    "rate_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "request_too_large": "too_large",
    "overloaded_error": "overloaded",
    "overloaded": "overloaded",
    "timeout_error": "timeout",
    "server_error": "server",
    "internal_server_error": "server",
    "api_error": "server",
}
"""Vendors' `code` and `type` words that tell more than the status, in lower case."""

_OF_HEADERS: Final = frozenset({"mismatched_organization", "mismatched_project"})
"""Codes of a 401 that is about the client's `OpenAI-Organization` or `OpenAI-Project`: the key itself is good."""

_CONTEXT_LENGTH = re.compile(
    r"maximum context length|context (?:length|window|size)|too many (?:input )?tokens|prompt is too long"
    r"|exceeds? the (?:available|maximum|model'?s?) context|input is too long",
    re.IGNORECASE,
)
_LOADING = re.compile(r"\bloading\b.*\bmodel|\bmodel\b.*\bloading", re.IGNORECASE)
_CONTENT_FILTER = re.compile(r"content management policy|content[ _]filter|safety system", re.IGNORECASE)

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

_TYPE_BY_KIND: Final[Mapping[ErrorKind, str]] = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "permission": "permission_error",
    "billing": "insufficient_quota",
    "not_found": "not_found_error",
    "too_large": "invalid_request_error",
    "context_length": "invalid_request_error",
    "content_filter": "invalid_request_error",
    "rate_limit": "rate_limit_error",
    "overloaded": "server_error",
    "timeout": "server_error",
    "server": "server_error",
    "invalid_response": "server_error",
    "connection": "server_error",
}

_CODE_BY_KIND: Final[Mapping[ErrorKind, str]] = {
    "authentication": "invalid_api_key",
    "billing": "insufficient_quota",
    "not_found": "model_not_found",
    "too_large": "request_too_large",
    "context_length": "context_length_exceeded",
    "content_filter": "content_filter",
    "rate_limit": "rate_limit_exceeded",
    "overloaded": "overloaded",
    "timeout": "timeout",
    "invalid_response": "upstream_invalid_response",
    "connection": "upstream_connection",
}


def parse_error(status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
    """Whatever a server sent with *status*. *headers* have lower-case names."""
    try:
        value = loads(body) if body.strip() else None
    except JsonError:
        value = body.decode("utf-8", "replace")
    return _failure(status, value, retry_after_s(headers))


def error_in(body: Any) -> Failure | None:
    """The failure that a body or a data line with status 200 reports; None when it reports none.

    Its status is the one that the error names, else 502: the server said success and meant the reverse.
    """
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if not error and body.get("object") != "error" and body.get("type") != "error":
        return None
    if not error and "message" not in body:
        return None
    return _failure(0, body, None)


def error_envelope(failure: Failure) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}`, which is also the one data line of a stream that failed."""
    return {
        "error": {
            "message": failure.message or "the upstream gave no reason",
            # No client is to think that its own key or money is at fault when the proxy's is.
            "type": _TYPE_BY_KIND[failure.kind] if failure.status < 500 else _TYPE_BY_KIND["server"],
            "param": failure.param,
            "code": failure.code or _CODE_BY_KIND.get(failure.kind),
        }
    }


def render_error(failure: Failure, request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and body for a client. The request id stands in the header `x-request-id` and beside the error."""
    status = failure.status if 400 <= failure.status <= 599 else _STATUS_BY_KIND[failure.kind]
    body = error_envelope(failure)
    if request_id:
        body["request_id"] = request_id
    return status, body


def _failure(status: int, value: Any, retry_after: float | None) -> Failure:
    fields = _error_fields(value)
    message = _message(fields, value)
    code, kind_word, param = (_word(fields.get(name)) for name in ("code", "type", "param"))
    inner = fields.get("innererror")
    words = [code, kind_word, _word(inner.get("code")) if isinstance(inner, dict) else None]
    kind = next((_KIND_BY_WORD[word.lower()] for word in words if word and word.lower() in _KIND_BY_WORD), None)
    if not status:
        status = _named_status(fields, value) or (_STATUS_BY_KIND[kind] if kind else 502)
    if code in _OF_HEADERS:
        kind = "invalid_request"
    elif kind in (None, "server", "invalid_request") or (kind == "server" and status < 500):
        kind = _kind_by_status_and_message(status, message)
    if retry_after is None and status == 503 and _LOADING.search(message):
        retry_after = LOADING_S
    return Failure(
        kind=kind or "server",
        message=message[:MAX_MESSAGE],
        status=status,
        code=code,
        param=param,
        retry_after_s=retry_after,
        raw=value,
    )


def _kind_by_status_and_message(status: int, message: str) -> ErrorKind:
    if status in (400, 413, 422, 500) and _CONTEXT_LENGTH.search(message):
        return "context_length"
    if status in (400, 403, 422) and _CONTENT_FILTER.search(message):
        return "content_filter"
    if status in _KIND_BY_STATUS:
        return _KIND_BY_STATUS[status]
    return "server" if status >= 500 else "invalid_request"


def _error_fields(value: Any) -> Mapping[str, Any]:
    """The object that holds message, type and code, wherever it stands."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return {}
    error = value.get("error")
    if isinstance(error, dict):
        return error
    return value


def _message(fields: Mapping[str, Any], value: Any) -> str:
    for name in ("message", "error", "detail", "msg", "error_description"):
        found = fields.get(name)
        if isinstance(found, str) and found:
            return found
        if found:
            return dumps_text(found)
    if isinstance(value, str):
        return _plain(value)
    return dumps_text(value) if value else ""


def _plain(text: str) -> str:
    """A proxy's HTML page as its words."""
    if "<" not in text:
        return text.strip()
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.IGNORECASE | re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def _word(value: Any) -> str | None:
    """A code, type or param as text; a bare HTTP status says nothing that the status does not."""
    if isinstance(value, str) and value:
        return None if value.isdigit() and 400 <= int(value) <= 599 else value
    if isinstance(value, int) and not isinstance(value, bool) and not 400 <= value <= 599:
        return str(value)
    return None


def _named_status(fields: Mapping[str, Any], value: Any) -> int | None:
    outer = value if isinstance(value, dict) else {}
    for found in (fields.get("status"), fields.get("code"), fields.get("raw_status_code"), outer.get("code")):
        status = int(found) if isinstance(found, str) and found.isdigit() else found
        if isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599:
            return status
    return None
