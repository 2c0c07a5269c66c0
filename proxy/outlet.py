"""The way out of a stream: frames to its client, at once where somebody else is at work, or waiting where nobody is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import ClientConnectionResetError
from typing_extensions import override

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.base_protocol import BaseProtocol


class Outlet:
    """To the client of *connection*, whose answer has begun; *drain* waits until it has read enough of it."""

    direct = True
    """Whether frames may go out where they come in, with nobody waiting."""

    def __init__(self, connection: BaseProtocol, drain: Callable[[], Awaitable[None]], *, chunked: bool) -> None:
        self.connection = connection
        self._drain = drain
        self.chunked = chunked
        self.waits = False
        """Whether the client has to read before more can be written."""

    async def write(self, frames: bytes) -> None:
        """Write *frames*, and wait until there is room for more. Raises as `push`."""
        self.push(frames)
        await self.room()

    def push(self, frames: bytes, head: bytes = b"") -> bool:
        """Write *frames* at once, in one piece, with *head* before them; whether there is room for more.

        Raises:
            ClientConnectionResetError: the client has left.
        """
        connection = self.connection
        transport = connection.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        if self.chunked and frames:
            frames = b"%b%x\r\n%b\r\n" % (head, len(frames), frames)
        elif head:
            frames = head + frames
        transport.write(frames)
        return not connection.writing_paused

    def cut(self) -> None:
        """Cut the connection: the client is to see that its answer is not whole."""
        if self.connection.transport is not None:
            self.connection.transport.abort()

    async def room(self) -> None:
        """Wait until there is room for more."""
        if self.connection.writing_paused:
            self.waits = True
            await self._drain()
            self.waits = False


class ToWriter(Outlet):
    """To a *writer* that is no connection, and takes its time."""

    direct = False

    def __init__(self, writer: AbstractStreamWriter) -> None:
        self._writer = writer
        self.waits = self.chunked = False

    @override
    async def write(self, frames: bytes) -> None:
        await self._writer.write(frames)

    @override
    def cut(self) -> None:
        """Nobody is connected."""

    @override
    async def room(self) -> None:
        """There always is."""
