"""Work that takes long goes to a thread, so that the requests beside it need not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

THREAD_BYTES: Final = 256 * 1024
"""JSON that is longer is read in a thread."""


async def threaded(large: bool, work: Callable[..., T], *arguments: Any) -> T:
    """What *work* gives, from a thread when it is *large*."""
    return await asyncio.to_thread(work, *arguments) if large else work(*arguments)
