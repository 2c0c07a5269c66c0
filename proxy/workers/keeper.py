"""The keeper: the process that was started, where there are several workers.

    start the first worker --ready--> start the others --all ready--> say so
    a worker dies --> what it had of the limits is free, the others hear of it --> another one in its place, soon

It has neither threads nor an event loop, so that a worker can be forked from it at any time, and it never opens the
database: it holds it (`storage.holding`). SIGTERM and SIGINT stop all workers and then it; SIGHUP has it look at the
configuration, and all of them read it if it can be used. A worker whose keeper has died stops by itself.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import mmap
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from proxy.config import ConfigError, Loaded
from proxy.errors import StartError
from proxy.workers.guard import FileGuard
from proxy.workers.lines import KEEPER, Line, Lines, framed
from proxy.workers.marks import MARKS_BYTES
from proxy.workers.member import Member
from routing.shared import TABLE_BYTES, Table
from storage.holding import LOCK_WAIT_S, Held

log = logging.getLogger("modelport.workers")

SOON_S: Final = 0.05
"""After which a worker that has died gets a successor; twice as long each time that one does not last LASTS_S."""
LATEST_S: Final = 5.0
LASTS_S: Final = 10.0
GRACE_S: Final = 5.0
"""How much longer than `shutdown_s` a worker may take to end; then it is killed."""
MOST_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that wait for a worker that takes none; it is taken for dead then."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

Run = Callable[[Loaded, Callable[[], Loaded], Member], int]
"""One worker, from start to its exit status."""


@dataclass(slots=True, eq=False)
class Worker:
    """One worker, as the keeper knows it."""

    number: int
    pid: int
    line: socket.socket
    born: float
    ready: bool = False
    listens: bool = False
    """Whether it hears what others say."""
    lines: Lines = field(default_factory=Lines)
    unsent: bytearray = field(default_factory=bytearray)


class Keeper:
    """Keeps *loaded*'s number of workers, each of which is *run*. *reload* reads the configuration again."""

    def __init__(self, loaded: Loaded, reload: Callable[[], Loaded], run: Run) -> None:
        self._loaded = loaded
        self._reload = reload
        self._run = run
        self._count = loaded.settings.server.workers
        self._workers: dict[int, Worker] = {}
        self._due: dict[int, float] = {}
        """When a worker is to be started again."""
        self._pause_s: dict[int, float] = {}
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._kill_at: float | None = None
        self._status = 0
        self._banner = ""
        self._started = time.monotonic()

    def keep(self) -> int:
        """Work until a signal says stop; the exit status.

        Raises:
            StartError, StorageError: it cannot start; the message says why and what to do.
        """
        if not hasattr(os, "fork") or not hasattr(socket, "SO_REUSEPORT"):
            raise StartError("server.workers: this system cannot share a port between processes; set it to 1")
        path = self._loaded.settings.storage.path
        self._held = Held(path.absolute(), LOCK_WAIT_S)
        try:
            with contextlib.closing(_reserved(self._loaded)) as self._port, tempfile.TemporaryFile() as locks:
                self._locks = locks.fileno()
                self._memory = mmap.mmap(-1, TABLE_BYTES + MARKS_BYTES)
                self._table = Table(memoryview(self._memory)[:TABLE_BYTES], 0, FileGuard(self._locks), time.monotonic)
                self._listen_to_signals()
                self._start(0)
                self._loop()
        finally:
            self._held.release()
        return self._status

    # --- the loop

    def _loop(self) -> None:
        while self._workers or self._due:
            for key, events in self._selector.select(self._wait_s()):
                if key.data is None:
                    self._signalled()
                else:
                    self._serve(key.data, events)
            self._bury()
            self._start_due()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                for worker in self._workers.values():
                    log.error("worker %d did not end in time and is killed", worker.number)
                    os.kill(worker.pid, signal.SIGKILL)
                self._kill_at = None

    def _wait_s(self) -> float | None:
        moments = [*self._due.values(), *([self._kill_at] if self._kill_at is not None else ())]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _listen_to_signals(self) -> None:
        self._woken, wake = socket.socketpair()
        self._wake = wake
        for end in (self._woken, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        self._selector.register(self._woken, selectors.EVENT_READ, None)

    def _signalled(self) -> None:
        for number in self._woken.recv(4096):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop()
            elif number == signal.SIGHUP:
                self._look_at_configuration()

    def _stop(self) -> None:
        """Have all workers end."""
        if not self._stopping:
            self._kill_at = time.monotonic() + self._loaded.settings.server.shutdown_s + GRACE_S
        self._stopping = True
        self._due.clear()
        for worker in self._workers.values():
            os.kill(worker.pid, signal.SIGTERM)

    def _look_at_configuration(self) -> None:
        """Have all workers read the configuration again, unless it is wrong."""
        try:
            self._loaded = self._reload()
        except ConfigError as error:
            log.error("SIGHUP, but the new configuration is wrong; the old one stays in force:\n%s", error)
            return
        for worker in self._workers.values():
            if worker.ready:
                os.kill(worker.pid, signal.SIGHUP)

    # --- starting workers

    def _start(self, number: int, *, again: bool = False) -> None:
        own, line = socket.socketpair()
        member = Member(
            number, self._count, self._port.getsockname()[1], line, self._memory, self._locks, again, self._started
        )
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                status = self._be_worker(member, own)
            except BaseException:  # noqa: BLE001  # the keeper's own stack must not go on in the child
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        line.close()
        own.setblocking(False)
        worker = self._workers[number] = Worker(number, pid, own, time.monotonic())
        self._selector.register(own, selectors.EVENT_READ, worker)

    def _be_worker(self, member: Member, own: socket.socket) -> int:
        """In the child: let go of all that is the keeper's, and work."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for each in (own, self._port, self._woken, self._wake, *(worker.line for worker in self._workers.values())):
            each.close()
        self._selector.close()
        self._held.forget()
        loaded = self._loaded
        if member.again:
            with contextlib.suppress(ConfigError):  # then the one that was in force
                loaded = self._reload()
        gc.freeze()
        return self._run(loaded, self._reload, member)

    def _start_due(self) -> None:
        now = time.monotonic()
        for number, at in list(self._due.items()):
            if at <= now:
                del self._due[number]
                self._start(number, again=True)

    # --- what workers say

    def _serve(self, worker: Worker, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send_on(worker)
        if not events & selectors.EVENT_READ:
            return
        try:
            data = worker.line.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._selector.unregister(worker.line)
            worker.listens = False
            return
        for line in worker.lines.feed(data):
            self._relay(worker, line)

    def _relay(self, worker: Worker, line: Line) -> None:
        to = line.pop("to", None)
        if to == KEEPER:
            self._heard(worker, line)
            return
        line["from"] = worker.number
        others = [each for each in self._workers.values() if each is not worker and each.listens]
        reached = [each for each in others if to is None or each.number == to]
        if (number := line.get("ask")) is not None:
            self._send(worker, {"reached_for": number, "reached": [each.number for each in reached]})
        for each in reached:
            self._send(each, line)

    def _heard(self, worker: Worker, line: Line) -> None:
        match line["topic"]:
            case "here":
                worker.listens = True
                self._send(worker, {"topic": "welcome", "said": None, "from": KEEPER})
            case "ready":
                worker.ready = True
                self._banner = self._banner or line["said"]
                self._after_ready(worker)
            case topic:
                log.error("worker %d said %r, which nobody understands", worker.number, topic)

    def _after_ready(self, worker: Worker) -> None:
        if self._stopping:
            return
        for number in range(self._count):  # the first one has brought the database up to date
            if number not in self._workers and number not in self._due:
                self._start(number)
        if self._banner != SAID and all(self._is_ready(number) for number in range(self._count)):
            sys.stderr.write(self._banner)
            sys.stderr.flush()
            self._banner = SAID
        elif self._banner == SAID:
            log.warning("worker %d is back (pid %d)", worker.number, worker.pid)

    def _is_ready(self, number: int) -> bool:
        return number in self._workers and self._workers[number].ready

    def _send(self, worker: Worker, line: Line) -> None:
        worker.unsent += framed(line)
        self._send_on(worker)

    def _send_on(self, worker: Worker) -> None:
        try:
            while worker.unsent:
                sent = worker.line.send(worker.unsent)
                del worker.unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:  # it is dead, or about to be
            worker.unsent.clear()
            return
        if len(worker.unsent) > MOST_UNSENT:
            log.error("worker %d has heard nothing for long and is killed", worker.number)
            worker.unsent.clear()
            os.kill(worker.pid, signal.SIGKILL)
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.unsent else 0)
        if self._selector.get_key(worker.line).events != wanted:
            self._selector.modify(worker.line, wanted, worker)

    # --- workers that have ended

    def _bury(self) -> None:
        for worker in list(self._workers.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: Worker, code: int) -> None:
        del self._workers[worker.number]
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker.line)
        worker.line.close()
        self._table.reclaim(worker.number)
        for each in self._workers.values():
            if each.listens:
                self._send(each, {"topic": "gone", "said": worker.number, "from": KEEPER})
        if self._stopping:
            return
        if self._banner != SAID:
            self._status = code if code > 0 else 1  # it has said why
            self._stop()
            return
        lasted = time.monotonic() - worker.born >= LASTS_S
        pause_s = SOON_S if lasted else min(LATEST_S, 2 * self._pause_s.get(worker.number, SOON_S / 2))
        self._pause_s[worker.number] = pause_s
        self._due[worker.number] = time.monotonic() + pause_s
        log.error("worker %d (pid %d) has ended (%s); another one is started", worker.number, worker.pid, _words(code))


SAID: Final = "(said)"
"""In the place of the banner, when it was shown."""


def _words(code: int) -> str:
    if code >= 0:
        return f"status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _reserved(loaded: Loaded) -> socket.socket:
    """A socket on the port that nobody listens on: workers alone may have it, too.

    Raises:
        StartError: somebody else has the port.
    """
    server = loaded.settings.server
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:  # a port that is shared must not be a stranger's
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        port = socket.socket(family, kind, protocol)
        try:
            port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            port.bind(address)
        except OSError:
            port.close()
            raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StartError(
            f"cannot listen on {server.host}:{server.port}: {reason}; choose another with --port"
        ) from error
    return port
