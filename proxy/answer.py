"""A whole answer to a client; a long one is written piece by piece, as its client takes it.

In one piece it would be copied twice: behind its head, and into what waits for the client.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from typing_extensions import override

PIECE_BYTES: Final = 256 * 1024


class WholeAnswer(web.Response):
    """An answer with a body of bytes, to a request whose method has one."""

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        body = self.body
        if isinstance(body, bytes) and len(body) > PIECE_BYTES:
            view = memoryview(body)
            for start in range(0, len(view), PIECE_BYTES):
                await self.write(view[start : start + PIECE_BYTES])
            self.body = None
        await super().write_eof(data)
