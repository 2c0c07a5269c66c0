"""Administration where no server runs: one of our own on the same database, for as long as a command takes.

It listens on a free port of this machine and lets in nobody but the command, by a key that is made for it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Final
from urllib.parse import urlsplit

from proxy.cli.client import Refused, Server, server
from proxy.config import Loaded, load
from proxy.config.load import MEMORY
from proxy.config.secrets import Secret

CONNECT_S: Final = 1.0
START_S: Final = 30.0


@contextmanager
def administered(url: str | None, config: Path | None, profile: str | None) -> Iterator[Server]:
    """The running server; where none runs and none was named, one of our own.

    Raises:
        ConfigError: the configuration is wrong.
        Refused: neither is to be had.
    """
    running = server(url, config, profile)
    if url or os.environ.get("MODELPORT_URL") or _answers(running):
        yield running
        return
    loaded = load(config, profile=profile, open_port=True)
    if loaded.settings.storage.path == MEMORY:
        told = f"nothing answers at {running.url}, and the configuration keeps nothing (storage.path = {MEMORY})"
        raise Refused(f"{told}; start it with: modelport serve")
    with _own(loaded, running.url) as own:
        yield own


def _answers(running: Server) -> bool:
    parts = urlsplit(running.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), CONNECT_S):
            return True
    except OSError:
        return False


@contextmanager
def _own(loaded: Loaded, url: str) -> Iterator[Server]:
    """A server on the database of *loaded*; it is gone at the end. *url* is where one was looked for."""
    key = secrets.token_urlsafe(32)
    auth = loaded.settings.auth.model_copy(update={"required": True, "master_key": Secret(key)})
    loaded = replace(loaded, settings=loaded.settings.model_copy(update={"auth": auth}))
    started: SimpleQueue[int | BaseException] = SimpleQueue()
    stop = _Stop()
    thread = threading.Thread(target=_serve, args=(loaded, started, stop), name="modelport-local")
    thread.start()
    try:
        port = started.get(timeout=START_S)
        if isinstance(port, BaseException):
            raise _refused(port, url) from port
        yield Server(f"http://127.0.0.1:{port}", key)
    finally:
        stop.set()
        thread.join()


class _Stop:
    """An event of another thread's loop, which may not be there yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None
        self._stopped = False

    def set(self) -> None:
        with self._lock:
            self._stopped = True
            if self._loop and self._event:
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        with self._lock:
            self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
            if self._stopped:
                return
        await self._event.wait()
        with self._lock:
            self._loop = None


def _serve(loaded: Loaded, started: SimpleQueue[int | BaseException], stop: _Stop) -> None:
    try:
        asyncio.run(_run(loaded, started, stop))
    except Exception as error:  # noqa: BLE001  the edge of the thread: whoever waits for its start is told
        started.put(error)


async def _run(loaded: Loaded, started: SimpleQueue[int | BaseException], stop: _Stop) -> None:
    from proxy.app import App, opened  # it brings the whole server
    from proxy.server import Server as Listening

    async with opened(loaded) as services:
        serving = Listening(App(services).dispatch)
        listener = await asyncio.get_running_loop().create_server(serving, "127.0.0.1", 0)
        started.put(listener.sockets[0].getsockname()[1])
        await stop.wait()
        listener.close()
        await serving.shutdown(1.0)


def _refused(error: BaseException, url: str) -> Refused:
    from storage.errors import Locked  # as above

    if isinstance(error, Locked):
        told = f"nothing answers at {url}, but a modelport process has the database open ({error})"
        return Refused(f"{told}; say where it listens: --url")
    return Refused(f"nothing answers at {url}, and the database cannot be used without it: {error}")
