"""A real server of several workers, and a way to ask each of them.

with Workers(folder, config) as server:
    first, second = server.each()             # a connection to each worker
    first.post("/v1/chat/completions", question(model="up/m")).status
"""

from __future__ import annotations

import http.client
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tests.measured import SEEN
from tests.running import POLL_S, Modelport, Reply

T = TypeVar("T")
MEASURED = [sys.executable, "-m", "tests.measured"]

MASTER = "mk-workers-0123456789abcdef"
BOSS = {"authorization": f"Bearer {MASTER}"}
LONG_S = 30.0
"""A bound for what takes a moment."""
TRIES = 400
"""Connections that are made until each worker has got one; the system deals them out by chance."""


class Reached:
    """A connection to one worker, which stays open. *headers* go with every request."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG_S)
        self._headers = dict(headers)
        self.number = int(self.request("GET", "/health/live").headers["x-request-id"][-2:], 16)

    def request(self, method: str, path: str, value: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request; *value* as JSON."""
        body = None if value is None else json.dumps(value).encode()
        named = {"content-type": "application/json", **self._headers, **(headers or {})}
        self._connection.request(method, path, body, named)
        answer = self._connection.getresponse()
        told = {name.lower(): text for name, text in answer.getheaders()}
        return Reply(answer.status, told, answer.read())

    def get(self, path: str) -> Reply:
        """GET."""
        return self.request("GET", path)

    def post(self, path: str, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """POST."""
        return self.request("POST", path, value, headers)

    def ask(self, headers: Mapping[str, str] | None = None, **body: Any) -> Reply:
        """A question."""
        whole = {"messages": [{"role": "user", "content": "Say hello"}], **body}
        return self.post("/v1/chat/completions", whole, headers)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class Workers(Modelport):
    """The server. Everybody may do everything with BOSS."""

    def __init__(self, folder: Path, config: str, count: int = 2, environment: Mapping[str, str] | None = None) -> None:
        self.config = f'{config}\n[server]\nworkers = {count}\n[auth]\nmaster_key = "{MASTER}"\n'
        super().__init__(folder, self.config, {**(environment or {}), **_measuring()})
        self.count = count
        self._reached: list[Reached] = []

    @property
    def command(self) -> Sequence[str]:
        """What starts it: measured, where the tests are, as its processes are many and hardly in any other test."""
        return MEASURED if SEEN in os.environ else super().command

    def reach(self, headers: Mapping[str, str] = BOSS) -> Reached:
        """A connection to whichever worker gets it."""
        reached = Reached(self.port, headers)
        self._reached.append(reached)
        return reached

    def each(self, headers: Mapping[str, str] = BOSS) -> list[Reached]:
        """A connection to each worker, in their order."""
        found: dict[int, Reached] = {}
        for _ in range(TRIES):
            reached = self.reach(headers)
            if reached.number in found:
                reached.close()
            found.setdefault(reached.number, reached)
            if len(found) == self.count:
                return [found[number] for number in sorted(found)]
        raise AssertionError(f"only {sorted(found)} of {self.count} workers answer:\n{self.log}")

    def pids(self) -> list[int]:
        """The workers' process ids."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("utf-8").split()]

    def pid_of(self, reached: Reached) -> int:
        """The process that has the other end of a connection: the one that holds its socket."""
        port = reached._connection.sock.getsockname()[1]
        lines = Path("/proc/net/tcp").read_text("utf-8").splitlines()[1:]
        rows = [line.split() for line in lines]
        inode = next(row[9] for row in rows if row[1].endswith(f":{self.port:04X}") and row[2].endswith(f":{port:04X}"))
        for pid in self.pids():
            links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()]
            if f"socket:[{inode}]" in links:
                return pid
        raise AssertionError("nobody has it")

    def __exit__(self, *how: Any) -> None:
        for reached in self._reached:
            reached.close()
        super().__exit__(*how)


def _measuring() -> dict[str, str]:
    return {SEEN: os.environ[SEEN]} if SEEN in os.environ else {}


def at_once(*work: Callable[[], T]) -> list[T]:
    """What each of *work* gives, all of them in threads of their own."""
    with ThreadPoolExecutor(len(work)) as pool:
        return [each.result(LONG_S) for each in [pool.submit(one) for one in work]]


def until(true: Callable[[], T], within_s: float = LONG_S) -> T:
    """What *true* gives as soon as that is true."""
    end = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(POLL_S)  # other processes have no event to await
    return found


def figure(text: str, sample: str) -> float:
    """The value of *sample* in a scrape; 0 where it is not there."""
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def statuses(replies: Sequence[Reply]) -> list[int]:
    """Sorted."""
    return sorted(reply.status for reply in replies)
