"""Reload and stop under load: no answer is cut, none is lost, all are booked."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from proxy.app import shut
from tests.proxy.serving import by_form, provider, question, says, streams
from tests.replay import Upstream
from tests.running import Modelport

CLIENTS: Final = 12
SLOW: Final = by_form(says(delay_head_s=0.05), streams("one ", "two ", "three", delay_between_s=0.02))


@dataclass
class Load:
    """Clients that ask one question after the other until nobody answers any more."""

    port: int
    keep_alive: bool
    answers: list[str] = field(default_factory=list)
    """How each request ended: whole, cut, lost (sent, and never answered), refused."""

    async def run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def _client(self, number: int) -> None:
        body = json.dumps(question(model="one/m", stream=bool(number % 2), user=str(number))).encode()
        close = "" if self.keep_alive else "Connection: close\r\n"
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{close}Content-Length: {len(body)}\r\n\r\n"
        writer = None
        while True:
            if writer is None:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionError:
                    self.answers.append("refused")
                    return
            end, stays = await self._answer(reader, writer, head.encode() + body)
            self.answers.append(end)
            if not (stays and self.keep_alive):
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
                writer = None

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[str, bool]:
        """How the answer ended, and whether the connection stays."""
        head = b""
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"content-length" in head:
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                json.loads(await reader.readexactly(length))
            else:
                assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return ("cut" if head else "lost"), False
        assert b" 200 ok" in head, head
        return "whole", b"connection: close" not in head


async def until(fact: object, load: asyncio.Task[None]) -> None:
    async with asyncio.timeout(30):
        while not fact():  # type: ignore[operator]
            assert not load.done()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("keep_alive", [False, True])
async def test_nothing_is_cut_or_lost_by_reloads_and_a_stop(
    tmp_path: Path, upstream: Upstream, keep_alive: bool
) -> None:
    """After SIGTERM nobody new is let in; who has been is answered, and the process ends.

    A request that comes on a used connection while that is being closed was neither asked nor booked: its client may
    send it again (RFC 9112, 9.3.1).
    """
    upstream.script("m", SLOW)
    config = "[cache]\nmode = 'off'\n" + provider("one", upstream)
    running = Modelport(tmp_path, config)
    await asyncio.to_thread(running.start)
    load = Load(running.port, keep_alive)
    asking = asyncio.create_task(load.run())
    await until(lambda: len(load.answers) > 2 * CLIENTS, asking)
    for number in range(3):
        (tmp_path / "modelport.toml").write_text(config + provider(f"more{number}", upstream))
        running.signal(signal.SIGHUP)
        await until(lambda n=number: running.log.count("configuration read again") == n + 1, asking)
    before = Counter(load.answers)
    running.signal(signal.SIGTERM)
    await asking
    status = await asyncio.to_thread(running.wait)

    with closing(sqlite3.connect(tmp_path / "share/modelport/modelport.db")) as database:
        rows = Counter(found for (found,) in database.execute("SELECT status FROM exchanges"))
    ends = Counter(load.answers)
    assert set(before) == {"whole"}
    assert ends.keys() <= {"whole", "refused", "lost"}
    assert (status, rows, len(upstream.requests)) == (0, {"ok": ends["whole"]}, ends["whole"])
    assert keep_alive or ends["lost"] <= 1  # who connects between the last look at the port and its end
    assert "Traceback" not in running.log


async def test_whoever_has_connected_is_let_in_when_the_port_closes() -> None:
    """The loop has had no turn to see them."""
    listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    address = listener.sockets[0].getsockname()
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection(address)) for _ in range(3)]
        visitors = [stack.enter_context(visitor) for visitor in shut(listener)]

        assert [each.getpeername() for each in visitors] == [each.getsockname() for each in waiting]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
    await listener.wait_closed()
