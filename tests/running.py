"""A real `modelport serve` in a process of its own, on a free loopback port, with a temporary folder for all it keeps.

with Modelport(folder, config) as modelport:
    modelport.url                # http://127.0.0.1:41234
    modelport.get("/health")     # a plain request, outside any SDK
    modelport.stop()             # SIGTERM, to this process alone; gives the exit status
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.replay import free_port

ROOT = Path(__file__).resolve().parents[1]
MODELPORT = [sys.executable, "-c", "from proxy.cli import main; main()"]
"""The console script, without its being installed."""
START_S = 20.0
STOP_S = 20.0
POLL_S = 0.02
PORTS = 4
"""So many are tried: between being found free and being listened on, one may be given to another process."""


_SKEWED: Final = """
import time
from pathlib import Path

_now, _skew = time.time, Path(__file__).with_name("skew")
time.time = lambda: _now() + float(_skew.read_text())
"""


class HostClock:
    """The wall clock of servers that are started with its *environment*; their monotonic clock goes on as it is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "sitecustomize.py").write_text(_SKEWED, "utf-8")
        self.environment = {"PYTHONPATH": f"{folder}:{ROOT}"}
        self.jump_to(0)

    def jump_to(self, seconds: float) -> None:
        """Let it be so many seconds ahead of what it is."""
        (self._folder / "next").write_text(str(seconds), "utf-8")
        (self._folder / "next").replace(self._folder / "skew")  # never seen half-written


@dataclass(frozen=True, slots=True)
class Reply:
    """A plain HTTP answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Modelport:
    """The running server. *config* is the text of a modelport.toml; *environment* is added to an almost empty one."""

    def __init__(self, folder: Path, config: str, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.started_in_s = 0.0
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "modelport.toml"
        self._config.write_text(config, "utf-8")
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder / "share"),
            "XDG_CONFIG_HOME": str(folder / "settings"),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            **(environment or {}),
        }

    @property
    def command(self) -> Sequence[str]:
        """What starts it."""
        return MODELPORT

    @property
    def url(self) -> str:
        """The root, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that the server has printed."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    def cpu_s(self) -> float:
        """The processor time that it has taken, in user and system mode, to 10 ms (Linux)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait for /health/live."""
        for _ in range(PORTS - 1):
            if self._started():
                return
            self.port = free_port()  # somebody else was given it meanwhile
        if not self._started():
            raise AssertionError(f"no port was free {PORTS} times:\n{self.log}")

    def _started(self) -> bool:
        """Whether it lives; False where its port was taken."""
        began, said = time.monotonic(), len(self.log)
        command = [*self.command, "serve", "--config", str(self._config), "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        # Another server may answer on the port: ours says when it listens.
        while f":{self.port} " not in self.log[said:] or not self._lives():
            if self._process.poll() is not None:
                if f":{self.port}: Address already in use" in self.log:
                    return False
                raise AssertionError(f"the server ended with {self._process.returncode} at its start:\n{self.log}")
            if time.monotonic() - began > START_S:
                self.kill()
                raise AssertionError(f"the server was not live within {START_S} s:\n{self.log}")
            time.sleep(POLL_S)  # another process has no event to await
        self.started_in_s = time.monotonic() - began
        return True

    def _lives(self) -> bool:
        try:
            return self.get("/health/live", timeout_s=2).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server alone."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, within_s: float = STOP_S) -> int:
        """The exit status."""
        assert self._process is not None
        return self._process.wait(within_s)

    def stop(self) -> int:
        """SIGTERM, and the exit status. Stopping twice does no harm."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the server did not stop within {STOP_S} s of SIGTERM:\n{self.log}") from None
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_S)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 20.0,
    ) -> Reply:
        """One plain request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, named, answer.read())
        finally:
            connection.close()

    def get(self, path: str, timeout_s: float = 20.0) -> Reply:
        """GET."""
        return self.request("GET", path, timeout_s=timeout_s)

    def post(self, path: str, value: Any, headers: Mapping[str, str] | None = None, timeout_s: float = 20.0) -> Reply:
        """POST *value* as JSON; bytes go out as they are."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.request("POST", path, body, {"content-type": "application/json", **(headers or {})}, timeout_s)

    def exchange(self, request_id: str, settled_within_s: float = 5.0) -> dict[str, Any]:
        """The ledger's row of *request_id*, as soon as it is no longer open."""
        until = time.monotonic() + settled_within_s
        row: dict[str, Any] = {}
        while time.monotonic() < until:
            reply = self.get(f"/api/v1/exchanges/{request_id}")
            row = reply.json if reply.status == 200 else {}
            if row and row.get("status") != "open":
                return row
            time.sleep(POLL_S)  # the ledger tells nobody when it settles
        raise AssertionError(f"exchange {request_id} is not settled: {row}")
