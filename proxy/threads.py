"""Work that takes long goes to a thread, so that the requests beside it need not wait.

One such work at a time: it holds the interpreter in long goes, and several of them would keep the event loop from
its turn for as long as all of them take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

THREAD_BYTES: Final = 256 * 1024
"""JSON that is longer is read in a thread."""
JOIN_BYTES: Final = 1024 * 1024
"""Fewer are joined where they are."""
_TURNS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]] = WeakKeyDictionary()


async def threaded(large: bool, work: Callable[..., T], *arguments: Any) -> T:
    """What *work* gives, from a thread when it is *large*."""
    if not large:
        return work(*arguments)
    async with _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        return await asyncio.to_thread(work, *arguments)


async def joined(pieces: Sequence[bytes]) -> bytes:
    """*pieces* as one. Many bytes are copied in a thread, beside which the loop goes on: joining lets go of it."""
    if len(pieces) == 1:
        return pieces[0]
    if sum(map(len, pieces)) > JOIN_BYTES:
        return await asyncio.to_thread(b"".join, pieces)
    return b"".join(pieces)
