"""Errors of every shape, and the waits they ask for."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from translators import anthropic, gemini
from translators.neutral import Failure
from translators.openai_chat import error_in, parse_error, render_error
from translators.retry_after import retry_after_s


@pytest.mark.parametrize(
    ("status", "body", "kind", "message", "code"),
    [
        (
            429,
            {"error": {"message": "slow", "type": "x", "code": "rate_limit_exceeded"}},
            "rate_limit",
            "slow",
            "rate_limit_exceeded",
        ),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, "billing", "pay", "insufficient_quota"),
        (
            400,
            {"error": {"message": "long", "code": "context_length_exceeded"}},
            "context_length",
            "long",
            "context_length_exceeded",
        ),
        (
            400,
            {"error": {"message": "This model's maximum context length is 8192 tokens"}},
            "context_length",
            "This",
            None,
        ),
        (
            400,
            {"error": {"message": "request exceeds the available context size", "code": 400}},
            "context_length",
            "req",
            None,
        ),
        (
            400,
            {"error": {"message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            "content_filter",
            "m",
            None,
        ),
        (400, {"error": {"message": "bad key", "type": "authentication_error"}}, "authentication", "bad key", None),
        (401, {"detail": "Invalid API Key"}, "authentication", "Invalid API Key", None),
        (404, {"error": "not here"}, "not_found", "not here", None),
        (400, {"code": 400, "message": "too hot", "type": "Bad Request"}, "invalid_request", "too hot", None),
        (422, {"detail": [{"loc": ["a"], "msg": "b"}]}, "invalid_request", '[{"loc":["a"],"msg":"b"}]', None),
        (500, {"error": {"code": 500, "message": "x", "type": "server_error"}}, "server", "x", None),
        (
            503,
            "<html><title>503</title><body>Service <b>Unavailable</b></body></html>",
            "overloaded",
            "503 Service Unavailable",
            None,
        ),
        (529, "", "overloaded", "", None),
        (524, "\udcff", "timeout", "", None),
        (400, [{"error": {"code": 400, "message": "list"}}], "invalid_request", "list", None),
    ],
)
def test_every_shape_of_error_is_understood(status: int, body: Any, kind: str, message: str, code: str | None) -> None:
    raw = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else orjson.dumps(body)

    failure = parse_error(status, raw, {})

    assert (failure.kind, failure.status, failure.code) == (kind, status, code)
    assert failure.message.startswith(message)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"error": {"message": "x", "code": 429}}, 429, id="WIRE 126"),
        ({"error": {"message": "x", "code": "503"}}, 503),
        ({"error": {"message": "x", "code": "context_length_exceeded"}}, 400),
        ({"error": {"message": "x", "status": 400, "code": "content_filter"}}, 400),
        ({"error": "broken"}, 502),
        ({"object": "error", "message": "x", "code": 404}, 404),
        ({"error": {"message": "x", "type": "invalid_request_error", "param": "seed", "code": None}}, 400),
    ],
)
def test_an_error_with_status_200_gets_its_true_status(body: dict[str, Any], status: int) -> None:
    failure = error_in(body)

    assert failure is not None
    assert failure.status == status


@pytest.mark.parametrize("body", [{"choices": []}, {"error": None, "choices": [1]}, {"message": "x"}, []])
def test_an_answer_is_no_error(body: Any) -> None:
    assert error_in(body) is None


@pytest.mark.parametrize(
    ("failure", "status", "kind", "code"),
    [
        pytest.param(Failure("rate_limit", "m", 429), 429, "rate_limit_error", "rate_limit_exceeded", id="WIRE 130"),
        pytest.param(
            Failure("invalid_request", "m", 422, param="p"), 422, "invalid_request_error", None, id="WIRE 132"
        ),
        (Failure("overloaded", "m", 529), 529, "server_error", "overloaded"),
        (Failure("authentication", "m", 401), 401, "authentication_error", "invalid_api_key"),
        (Failure("authentication", "m", 502, code="upstream_auth"), 502, "server_error", "upstream_auth"),
        (Failure("billing", "m", 502, code="upstream_auth"), 502, "server_error", "upstream_auth"),
        (Failure("connection", "m", 0), 502, "server_error", "upstream_connection"),
        (Failure("not_found", "m", 404, code="own"), 404, "not_found_error", "own"),
    ],
)
def test_the_envelope_is_openais(failure: Failure, status: int, kind: str, code: str | None) -> None:
    """WIRE 133."""
    found, body = render_error(failure, "req_1")

    assert found == status
    assert body == {
        "error": {"message": "m", "type": kind, "param": failure.param, "code": code},
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"retry-after": "7"}, 7, id="WIRE 130 seconds"),
        pytest.param({"retry-after-ms": "1500", "retry-after": "9"}, 1.5, id="WIRE 130 milliseconds"),
        (
            {"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"},
            30,
        ),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1e30"}, 86400),
        ({}, None),
    ],
)
def test_waits_are_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
    assert parse_error(429, b"{}", headers).retry_after_s == seconds


@pytest.mark.parametrize(
    ("until", "date", "seconds"),
    [
        ("Sat, 21 Nov 2026 10:00:30 GMT", None, 30),
        ("Sat, 21 Nov 2026 10:00:30 GMT", "yesterday", 30),
        ("Sat, 21 Nov 2026 09:59:00 GMT", None, 0),
        ("Sat, 21 Nov 2026 10:00:30 GMT", "Sat, 21 Nov 2026 10:00:20 GMT", 10),
    ],
    ids=["no-date", "no-readable-date", "past", "the-senders-clock-first"],
)
def test_130_a_wait_until_a_time_counts_from_the_clock_where_the_answer_tells_none(
    until: str, date: str | None, seconds: float
) -> None:
    headers = {"retry-after": until, **({"date": date} if date else {})}

    assert retry_after_s(headers, now=datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp) == seconds


STATUSES = [
    (400, "invalid_request"),
    (401, "authentication"),
    (402, "billing"),
    (403, "permission"),
    (404, "not_found"),
    (408, "timeout"),
    (409, "invalid_request"),
    (413, "too_large"),
    (422, "invalid_request"),
    (425, "invalid_request"),
    (429, "rate_limit"),
    (500, "server"),
    (501, "server"),
    (502, "server"),
    (503, "overloaded"),
    (504, "timeout"),
    (529, "overloaded"),
]
BODIES = {
    "openai_chat": (parse_error, {"error": {"type": "invalid_request_error", "message": "No."}}),
    "anthropic": (
        anthropic.parse_error,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "No."}},
    ),
    "gemini": (gemini.parse_error, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "No."}}),
}


@pytest.mark.parametrize(("status", "kind"), STATUSES)
@pytest.mark.parametrize("dialect", list(BODIES))
def test_a_status_outweighs_a_body_that_blames_the_request(dialect: str, status: int, kind: str) -> None:
    parse, body = BODIES[dialect]

    failure = parse(status, orjson.dumps(body), {})

    assert (failure.kind, failure.status) == (kind, status)
