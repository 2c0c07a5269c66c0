"""The event loop that requests run on: uvloop's where it is installed, which spends less on each read and write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

EventLoop = Literal["auto", "uvloop", "asyncio"]


class NoUvloop(Exception):
    """uvloop was asked for, and is not installed."""


def loop_factory(wanted: EventLoop) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop, for `asyncio.Runner`; None: asyncio's own. *auto*: uvloop's where there is one.

    Raises:
        NoUvloop: see there.
    """
    if wanted == "asyncio" or (wanted == "auto" and find_spec("uvloop") is None):
        return None
    try:
        import uvloop  # not on every system
    except ImportError as error:
        if wanted == "auto":
            return None
        told = f"[server] event_loop: uvloop cannot be loaded ({error}); install it, or say 'auto' or 'asyncio'"
        raise NoUvloop(told) from error
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
