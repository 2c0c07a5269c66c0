"""File descriptors: how many the process may have, who gets them, and what is said when there are none left.

    all of them = RESERVED for files, the database and the loop + a half for clients + a half for providers

Where a request needs one and there is none, it waits in line for a connection of its kind; nobody accepts what cannot
be answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

log = logging.getLogger("modelport")

RESERVED: Final = 40
"""A running server has some 20 open, and a few more while files are read or names looked up."""
LEAST: Final = 8
"""Connections that clients, and likewise providers, may have however few descriptors there are."""
UNBOUNDED: Final = 1_000_000
"""What an unlimited number is taken for."""
NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Refusals of the system that say nothing about where they happen."""


class Shares(NamedTuple):
    """Connections that there may be at a time."""

    clients: int
    providers: int


def raise_limit() -> int:
    """Let the process have as many descriptors as it may; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # some systems name a limit that they do not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return UNBOUNDED if soft == resource.RLIM_INFINITY else soft


def shares(limit: int | None = None) -> Shares:
    """How many of *limit* descriptors (None: of those that the process may have now) connections get."""
    if limit is None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = UNBOUNDED if soft == resource.RLIM_INFINITY else soft
    each = max(LEAST, (limit - RESERVED) // 2)
    return Shares(each, each)


class LoopErrors:
    """What the event loop reports, at most one record a second.

    Without descriptors asyncio reports every connection that it cannot accept, a thousand times a second, each with a
    traceback: the log would fill the disk next. *now* is a monotonic clock.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._quiet_until = float("-inf")
        self.left_out = 0
        """Reports since the last record."""

    def __call__(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """To be given to `loop.set_exception_handler`."""
        if self._now() < self._quiet_until:
            self.left_out += 1
            return
        self._quiet_until = self._now() + 1
        left_out, self.left_out = self.left_out, 0
        more = f" ({left_out} reports before this one were left out)" if left_out else ""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            log.error("%s: %s%s", context["message"], error.strerror, more)
        else:
            log.error("%s%s", context["message"], more, exc_info=error)
