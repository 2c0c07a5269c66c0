"""How long a vendor asks to wait, read from its response headers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

MAX_RETRY_AFTER_S: Final = 86_400.0
"""A longer wait than a day is a mistake of the sender and is cut to it."""


def retry_after_s(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """The seconds to wait by `retry-after-ms` or `retry-after`; None when neither says anything readable.

    Header names are lower case. An HTTP date counts from the answer's own `date` header, so that the clocks of
    the two machines need not agree; without one from *now*, in Unix seconds.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return _bounded(seconds)
    until = _epoch_s(text)
    if until is None:
        return None
    sent = _epoch_s(headers.get("date"))
    return _bounded(until - (now() if sent is None else sent))


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
