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
import os
import resource
import socket
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

log = logging.getLogger("modelport")

RESERVED: Final = 40
"""A running server has some 20 open, and a few more while files are read or names looked up."""
LEAST: Final = 8
"""Connections that clients, and likewise providers, may have however few descriptors there are."""
LASTS_S: Final = 30.0
"""So long after the last time that there was none, there is taken to be a shortage."""
UNBOUNDED: Final = 1_000_000
"""What an unlimited number is taken for."""
NONE_LEFT: Final = "this server has no file descriptor left"
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


def is_shortage(error: BaseException) -> bool:
    """Whether *error*, of making a connection, is the system's having nothing to make it with.

    A name that is not found may be such, too: looking it up takes a descriptor, and no error tells of that.
    """
    if isinstance(error, socket.gaierror):
        return not _is_one_left()
    return isinstance(error, OSError) and error.errno in NO_ROOM


def _is_one_left() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in NO_ROOM
    return True


class Shortage:
    """How often the system had no descriptor for what a request needs. *now* is a monotonic clock."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._until = float("-inf")
        self.met = 0
        """How often, since the start."""

    def meet(self) -> None:
        """It had none."""
        self.met += 1
        if not self.lasts:
            log.error("%s: requests are refused", NONE_LEFT)
        self._until = self._now() + LASTS_S

    @property
    def lasts(self) -> bool:
        """Whether that was of late."""
        return self._now() < self._until


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
