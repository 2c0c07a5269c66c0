"""Errors of the Responses API: OpenAI's envelope, `status: failed` in an answer, and the `error` event of a stream.

`{"type": "error", "code", "message", "param"}` is the event's documented form; servers nest it under `error` too.
"""

from __future__ import annotations

import re
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
_ABOUT_THE_REQUEST: Final = frozenset({"invalid_request", "not_found"})
NOT_KNOWN: Final = "previous_response_not_found"
"""OpenAI's code for a `previous_response_id` that it cannot go on from."""
_PREVIOUS: Final = "previous_response_id"
_AS_A_FIELD: Final = re.compile(
    r"(?:un|not )support|unknown (?:parameter|field|argument|property)|unrecogni[sz]ed|unexpected|extra inputs"
    r"|not (?:permitted|allowed|implemented|available|enabled)",
    re.IGNORECASE,
)


def parse_error(status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
    """Whatever a server sent with *status*. *headers* have lower-case names.

    A server that keeps nothing refuses `previous_response_id` as a field (`{"detail": "Unsupported parameter:
    previous_response_id"}`); for whoever asks, that is the same as an id that is not known.
    """
    failure = chat.parse_error(status, body, headers)
    if failure.kind in _ABOUT_THE_REQUEST and (failure.param == _PREVIOUS or _PREVIOUS in failure.message):
        return replace(failure, code=NOT_KNOWN)
    kind, _ = _BY_CODE.get(failure.code or "", (None, 0))
    if kind is not None and status in (400, 422) and failure.kind in _VAGUE:
        return replace(failure, kind=kind)
    return failure


def keeps_nothing(failure: Failure) -> bool:
    """Whether a server refuses every `previous_response_id`, not only the one that it was told."""
    return failure.code == NOT_KNOWN and _AS_A_FIELD.search(failure.message) is not None


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
