"""Windows of time for budgets: which one a moment belongs to, and when it opens again. Everything in UTC.

calendar   hour, day, month: one bucket, from the window's start to its end
rolling    the last hour, 24 hours, 30 days: many buckets of a grain; the oldest counts while a part of it is in
total      one bucket, for ever
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

Window = Literal["hour", "day", "month", "total"]

_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US
LENGTH_US: Final[dict[Window, int]] = {"hour": _HOUR_US, "day": _DAY_US, "month": 30 * _DAY_US}
"""Of rolling windows."""
GRAIN_US: Final[dict[Window, int]] = {"hour": 60_000_000, "day": 900_000_000, "month": 6 * _HOUR_US}


def bucket_us(window: Window, at_us: int, *, rolling: bool) -> int:
    """The start of the bucket that a charge made at *at_us* belongs to."""
    if window == "total":
        return 0
    if rolling:
        return at_us - at_us % GRAIN_US[window]
    if window == "month":
        at = datetime.fromtimestamp(at_us // 1_000_000, UTC)
        return _us(at.replace(day=1, hour=0, minute=0, second=0, microsecond=0))
    return at_us - at_us % LENGTH_US[window]


def first_bucket_us(window: Window, at_us: int, *, rolling: bool) -> int:
    """The start of the oldest bucket that counts at *at_us*."""
    if rolling and window != "total":
        return bucket_us(window, at_us - LENGTH_US[window], rolling=True)
    return bucket_us(window, at_us, rolling=rolling)


def ends_us(window: Window, bucket: int, *, rolling: bool) -> int | None:
    """When what is in *bucket* no longer counts; None: never."""
    if window == "total":
        return None
    if rolling:
        return bucket + LENGTH_US[window] + GRAIN_US[window]
    if window == "month":
        start = datetime.fromtimestamp(bucket // 1_000_000, UTC)
        return _us((start + timedelta(days=32)).replace(day=1))
    return bucket + LENGTH_US[window]


def _us(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000
