"""How long a vendor asks to wait, read from its response headers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

MAX_RETRY_AFTER_S: Final = 86_400.0
"""A longer wait than a day is a mistake of the sender and is cut to it."""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds to wait by `retry-after-ms` or `retry-after`; None when neither says anything readable.

    Header names are lower case. An HTTP date counts from the answer's own `date` header, so that the clocks of
    the two machines need not agree; without one it says nothing.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return _bounded(seconds)
    until, base = _epoch_s(text), _epoch_s(headers.get("date"))
    if until is None or base is None:
        return None
    return _bounded(until - base)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None


def _epoch_s(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, IndexError, TypeError, OverflowError):
        return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
