"""Errors of the Responses API: OpenAI's envelope, `status: failed` in an answer, and the `error` event of a stream.

`{"type": "error", "code", "message", "param"}` is the event's documented form; servers nest it under `error` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from translators.neutral import ErrorKind, Failure
from translators.openai_chat import error as chat

# openai.types.responses.ResponseError.code; what is not here says no more than that the request is wrong.
_BY_CODE: Final[Mapping[str, tuple[ErrorKind, int]]] = {
    "server_error": ("server", 500),
    "rate_limit_exceeded": ("rate_limit", 429),
    "invalid_prompt": ("content_filter", 400),
    "bio_policy": ("content_filter", 400),
    "misalignment_policy_violation": ("content_filter", 400),
    "image_content_policy_violation": ("content_filter", 400),
    "vector_store_timeout": ("timeout", 504),
    "image_too_large": ("too_large", 413),
    "image_file_too_large": ("too_large", 413),
    **dict.fromkeys(
        (
            "data_residency_mismatch",
            "invalid_image",
            "invalid_image_format",
            "invalid_base64_image",
            "invalid_image_url",
            "image_too_small",
            "image_parse_error",
            "invalid_image_mode",
            "unsupported_image_media_type",
            "empty_image_file",
            "failed_to_download_image",
            "image_file_not_found",
        ),
        ("invalid_request", 400),
    ),
}
_VAGUE: Final = frozenset({"invalid_request", "server"})


def parse_error(status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
    """Whatever a server sent with *status*. *headers* have lower-case names."""
    failure = chat.parse_error(status, body, headers)
    kind, _ = _BY_CODE.get(failure.code or "", (None, 0))
    if kind is not None and status in (400, 422) and failure.kind in _VAGUE:
        return replace(failure, kind=kind)
    return failure


def error_in(body: Mapping[str, Any]) -> Failure | None:
    """The failure that an answer or an event of status 200 reports; None when it reports none.

    Its status is the one that the code implies, else 502: the server said success and meant the reverse.
    """
    error = body.get("error")
    if body.get("status") in ("failed", "cancelled"):
        if not error:
            return Failure("server", f"the vendor ended the response as {body['status']}, without a reason", 502)
        body = {"error": error}
    failure = chat.error_in(body)
    if failure is None:
        return None
    kind, status = _BY_CODE.get(failure.code or "", (None, 0))
    return failure if kind is None else replace(failure, kind=kind, status=status)
