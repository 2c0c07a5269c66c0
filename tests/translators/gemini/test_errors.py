"""Gemini's errors in neutral words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from translators.gemini import error_in, parse_error

RETRY = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}]
BAD_KEY = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
FIELD = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "contents[0].parts"}]}]


def error(code: int, status: str, message: str = "m", **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, **more}}


CASES = [
    pytest.param(400, error(400, "INVALID_ARGUMENT"), "invalid_request", 400, id="101-invalid"),
    pytest.param(400, error(400, "INVALID_ARGUMENT", details=BAD_KEY), "authentication", 401, id="101-bad-key"),
    pytest.param(
        400,
        error(400, "INVALID_ARGUMENT", "API key not valid. Please pass"),
        "authentication",
        401,
        id="101-bad-key-words",
    ),
    pytest.param(
        400,
        error(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
        "context_length",
        400,
        id="101-context-length",
    ),
    pytest.param(
        400,
        error(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 5"),
        "too_large",
        400,
        id="101-too-large",
    ),
    pytest.param(
        400, error(400, "FAILED_PRECONDITION", "User location is not supported"), "permission", 400, id="101-location"
    ),
    pytest.param(400, error(400, "FAILED_PRECONDITION", "Please enable billing"), "billing", 400, id="101-billing"),
    pytest.param(401, error(401, "UNAUTHENTICATED"), "authentication", 401, id="101-unauthenticated"),
    pytest.param(403, error(403, "PERMISSION_DENIED"), "permission", 403, id="101-permission"),
    pytest.param(404, error(404, "NOT_FOUND"), "not_found", 404, id="101-not-found"),
    pytest.param(429, error(429, "RESOURCE_EXHAUSTED"), "rate_limit", 429, id="101-rate-limit"),
    pytest.param(429, [error(429, "RESOURCE_EXHAUSTED")], "rate_limit", 429, id="101-a-list-of-one"),
    pytest.param(500, error(500, "INTERNAL"), "server", 500, id="101-internal"),
    pytest.param(503, error(503, "UNAVAILABLE"), "overloaded", 503, id="101-unavailable"),
    pytest.param(504, error(504, "DEADLINE_EXCEEDED"), "timeout", 504, id="101-deadline"),
    pytest.param(
        400, {"error": {"code": "invalid_request", "message": "m"}}, "invalid_request", 400, id="101-word-code"
    ),
    pytest.param(
        413, error(413, "INVALID_ARGUMENT", "The context window is full"), "context_length", 413, id="101-413-words"
    ),
    pytest.param(500, error(400, "INVALID_ARGUMENT", details=BAD_KEY), "server", 500, id="101-500-bad-key"),
    pytest.param(503, error(429, "RESOURCE_EXHAUSTED", "Enable billing"), "overloaded", 503, id="101-503-words"),
    pytest.param(422, error(429, "RESOURCE_EXHAUSTED"), "rate_limit", 422, id="101-422-name"),
    pytest.param(409, error(409, "ABORTED"), "server", 409, id="101-409-aborted"),
    pytest.param(501, error(501, "UNIMPLEMENTED"), "server", 501, id="101-501-unimplemented"),
    pytest.param(200, error(503, "UNAVAILABLE"), "overloaded", 503, id="126-status-200"),
    pytest.param(502, {"error": "plain"}, "server", 502, id="101-a-string"),
    pytest.param(418, {"detail": "?"}, "invalid_request", 418, id="101-no-envelope"),
]


@pytest.mark.parametrize(("sent", "body", "kind", "status"), CASES)
def test_kinds(sent: int, body: Any, kind: str, status: int) -> None:
    failure = parse_error(sent, json.dumps(body).encode(), {})

    assert (failure.kind, failure.status) == (kind, status)


@pytest.mark.parametrize(
    ("details", "headers", "seconds"),
    [
        (RETRY, {}, 34.07),
        ([{**RETRY[0], "retryDelay": {"seconds": 34, "nanos": 70000000}}], {}, 34.07),
        ([{**RETRY[0], "retryDelay": "soon"}], {"retry-after": "7"}, 7.0),
        ([], {"retry-after": "7"}, 7.0),
        (RETRY, {"retry-after": "7"}, 34.07),
        ([], {}, None),
    ],
    ids=["101-text", "101-object", "101-unreadable", "101-header", "101-both", "101-neither"],
)
def test_retry_info_is_retry_after(details: list[Any], headers: dict[str, str], seconds: float | None) -> None:
    body = json.dumps(error(429, "RESOURCE_EXHAUSTED", details=details)).encode()

    assert parse_error(429, body, headers).retry_after_s == seconds


def test_the_violated_field_is_the_param() -> None:
    failure = parse_error(400, json.dumps(error(400, "INVALID_ARGUMENT", details=FIELD)).encode(), {})

    assert failure.param == "contents[0].parts"


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (502, b"<html>\n  <b>Bad Gateway</b>", "server", "<html> <b>Bad Gateway</b>"),
        (503, b"", "overloaded", "HTTP 503 without a body"),
        (429, b"\xff\xfe", "rate_limit", "\ufffd\ufffd"),
        (302, b"", "invalid_response", "HTTP 302 without a body"),
    ],
)
def test_bodies_that_are_no_json(status: int, body: bytes, kind: str, message: str) -> None:
    failure = parse_error(status, body, {"retry-after": "3"})

    assert (failure.kind, failure.status, failure.message, failure.retry_after_s) == (kind, status, message, 3.0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (error(429, "RESOURCE_EXHAUSTED"), 429),
        ([error(503, "UNAVAILABLE")], 503),
        ({"error": {"status": "UNAVAILABLE"}}, 503),
        ({"error": {"message": "m"}}, 500),
    ],
)
def test_126_an_error_in_an_answer_of_200_has_its_own_status(body: Any, status: int) -> None:
    failure = error_in(body)

    assert failure is not None
    assert failure.status == status


@pytest.mark.parametrize("body", [{}, [], None, {"candidates": [{"finishReason": "STOP"}]}, {"error": None}])
def test_answers_are_no_errors(body: Any) -> None:
    assert error_in(body) is None
