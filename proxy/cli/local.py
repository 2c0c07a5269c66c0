"""A server of our own on the configured database, for as long as a command takes, where none runs.

It listens on a free port of this machine and lets in nobody but the command, by a key that is made for it.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from proxy.app import App, opened
from proxy.cli.client import Refused, Server
from proxy.config import Loaded, Secret, load
from proxy.config.loading import MEMORY
from proxy.server import Server as Listening
from storage.errors import Locked

START_S: Final = 30.0


@contextmanager
def own_server(config: Path | None, profile: str | None, url: str) -> Iterator[Server]:
    """A server on the configured database; it is gone at the end. *url* is where one was looked for.

    Raises:
        ConfigError: the configuration is wrong.
        Refused: there is no such database, or it cannot be used.
    """
    loaded = load(config, profile=profile, open_port=True)
    if loaded.settings.storage.path == MEMORY:
        told = f"nothing answers at {url}, and the configuration keeps nothing (storage.path = {MEMORY})"
        raise Refused(f"{told}; start it with: modelport serve")
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
        yield Server(f"http://127.0.0.1:{port}", key, local=True)
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
    async with opened(loaded) as services:
        serving = Listening(App(services).dispatch)
        listener = await asyncio.get_running_loop().create_server(serving, "127.0.0.1", 0)
        started.put(listener.sockets[0].getsockname()[1])
        await stop.wait()
        listener.close()
        await serving.shutdown(1.0)


def _refused(error: BaseException, url: str) -> Refused:
    if isinstance(error, Locked):
        told = f"nothing answers at {url}, but a modelport process has the database open ({error})"
        return Refused(f"{told}; say where it listens: --url")
    return Refused(f"nothing answers at {url}, and the database cannot be used without it: {error}")
