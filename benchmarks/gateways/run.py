"""Modelport beside other gateways, in one run: the same requests to each in turn, round after round.

    python benchmarks/gateways/run.py [quick] [--own] [--rounds N] [--seconds S] [--targets a,b] [--phases c1,c64]

Where ../shared/bench is there, and nginx and gcc for it, its harness runs (bench.py, with compiled tools and the peers
under $BENCH_HOME); otherwise, or with --own, the small one of this folder, which needs nothing but Python. Either way
the lines of measurements, tables and a drawing are written to benchmarks/results/, and the tables into
docs/performance.md.

The servers have a processor for themselves, provider and load another; those that are not being asked are stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import report
import targets
from load import NUMBER
from targets import HERE, MODEL, ROOT, Place, Target

SHARED: Final = ROOT.parent / "shared" / "bench"
RESULTS: Final = HERE.parent / "results"
START_S: Final = 60.0
MANY: Final = 10**9
MILLION: Final = 10**6
FILLING_S: Final = 120.0
TICK: Final = os.sysconf("SC_CLK_TCK")
LONG: Final = 'The log says "retry" at line 12. ' * 3100


@dataclass(frozen=True, slots=True)
class Phase:
    """One kind of load. *only*: the targets that it is for, all if empty; the others leave those out."""

    connections: int
    stream: bool = False
    prompt: str = "Where does the latency of a proxy come from? " * 12
    delay_us: int = 0
    only: tuple[str, ...] = ()
    repeats: int = 0
    """So many different requests, each of which has been answered before."""


SPECIAL: Final = ("ours_cached", "ours_translating")
PHASES: Final = {
    "c1": Phase(1),
    "c64": Phase(64),
    "s16": Phase(16, stream=True),
    "paced16": Phase(16, stream=True, delay_us=10_000),
    "big1": Phase(1, prompt=LONG),
    "hits": Phase(64, only=("ours_cached",), repeats=1),
    "hits_sqlite": Phase(64, only=("ours_cached",), repeats=2000),
    "translated": Phase(64, only=("ours_translating",)),
    "translated_streams": Phase(16, stream=True, only=("ours_translating",)),
}
QUICK: Final = ("c1", "c64", "s16")


class Server:
    """A target that runs."""

    def __init__(self, name: str, target: Target, place: Place) -> None:
        self.name, self.target, self.place = name, target, place
        self.process: subprocess.Popen[bytes] | None = None
        self.start_s = self.idle_mb = 0.0

    def start(self) -> None:
        """Until it answers. Raises SystemExit: it does not."""
        if not self.target.command:
            return
        began = time.monotonic()
        with (self.place.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.target.command,
                env=targets.environment_of(self.target, self.place),
                cwd=self.place.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        pin(self.process.pid, 0)
        while (told := self.ask(Phase(1), seconds=5, requests=1))["errors"] or not told["done"]:
            if time.monotonic() - began > START_S or self.process.poll() is not None:
                written = (self.place.folder / "log").read_text("utf-8", "replace")
                raise SystemExit(f"{self.name} does not answer: {told['told']}\n{written[-1000:]}")
            time.sleep(0.02)
        self.start_s = time.monotonic() - began
        self.idle_mb = self.resident_mb()

    def ask(
        self, phase: Phase, *, seconds: float, requests: int = MANY, first: int = 0, same: bool = False
    ) -> dict[str, Any]:
        """What `load.py` heard; see `Asked` there."""
        body = {
            "model": self.target.model,
            "messages": [{"role": "user", "content": f"{phase.prompt} {NUMBER.decode()}"}],
            "max_tokens": 256,
            "temperature": 0.7,
            **({"stream": True} if phase.stream else {}),
        }
        asked = {
            "port": self.place.port,
            "path": self.target.path,
            "headers": self.target.headers,
            "body": json.dumps(body, separators=(",", ":")),
            "connections": phase.connections,
            "seconds": seconds,
            "requests": requests,
            "first": first,
            "same": same,
        }
        command = [sys.executable, str(HERE / "load.py"), json.dumps(asked)]
        asking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        pin(asking.pid, 1)
        said, failed = asking.communicate()
        if asking.returncode:
            return {"done": 0, "errors": 1, "told": failed.strip().rpartition("\n")[2]}
        heard: dict[str, Any] = json.loads(said)
        return heard

    def send(self, number: int) -> None:
        """A signal to all of its processes."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self.process is None:
            return
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.process.wait()

    def cpu_s(self) -> float:
        """Processor time so far, of the process and its children; 0 where the system does not tell."""
        return sum(map(_cpu_s, _family(self.process.pid))) if self.process else 0.0

    def resident_mb(self) -> float:
        """What it has in memory; 0 where the system does not tell."""
        return sum(map(_resident_mb, _family(self.process.pid))) if self.process else 0.0


def _family(pid: int) -> list[int]:
    """*pid* and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        below = [int(each) for each in children.read_text("ascii").split()]
    except OSError:
        below = []
    return [pid, *(each for child in below for each in _family(child))]


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def pin(pid: int, position: int) -> None:
    """Bind a process that has just begun to the first processor (*position* 0), or to the second."""
    if hasattr(os, "sched_setaffinity") and len(cores := sorted(os.sched_getaffinity(0))) > 1:
        os.sched_setaffinity(pid, {cores[position]})


def free_port() -> int:
    """One at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def providers(delays_us: set[int]) -> Iterator[dict[int, int]]:
    """A provider for each delay; its port by the delay."""
    ports = {delay: free_port() for delay in delays_us}
    running = [
        subprocess.Popen([sys.executable, str(HERE / "mock.py"), str(port), str(delay)])
        for delay, port in ports.items()
    ]
    for each in running:
        pin(each.pid, 1)
    try:
        for port in ports.values():
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.02)
        yield ports
    finally:
        for each in running:
            each.terminate()
            each.wait()


def own_harness(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """What this folder's harness measures: a line for each phase, round and target."""
    names = chosen.targets.split(",") if chosen.targets else [*targets.TARGETS]
    phases = chosen.phases.split(",") if chosen.phases else [*(QUICK if chosen.quick else PHASES)]
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ports = stack.enter_context(providers({PHASES[phase].delay_us for phase in phases} | {0}))
        running = {
            (name, delay): server
            for delay, port in ports.items()
            for name in names
            if any(PHASES[phase].delay_us == delay and _fits(name, PHASES[phase]) for phase in phases)
            and (server := _started(name, Path(folder), delay, port, stack))
        }
        for turn in range(chosen.rounds):
            for phase_name in phases:
                phase = PHASES[phase_name]
                fit = [
                    server
                    for (name, delay), server in running.items()
                    if delay == phase.delay_us and _fits(name, phase)
                ]
                for server in fit[turn % max(1, len(fit)) :] + fit[: turn % max(1, len(fit))]:
                    line = {"target": server.name, "phase": phase_name, "round": turn, "workers": 1}
                    line |= measured(server, phase, turn, chosen.seconds)
                    lines.append(line)
                    print(report.told(line), flush=True)
        if not chosen.phases:
            lines += [line for server in running.values() if (line := _weighed(server))]
    return lines


def _fits(name: str, phase: Phase) -> bool:
    return name in phase.only if phase.only else name not in SPECIAL


def _started(name: str, folder: Path, delay: int, port: int, stack: ExitStack) -> Server | None:
    own = folder / f"{name}-{delay}"
    own.mkdir()
    place = Place(free_port(), f"http://127.0.0.1:{port}/v1", own)
    target = targets.TARGETS[name](place)
    if target is None:
        print(f"{name} is not installed and left out", file=sys.stderr)
        return None
    if not target.command:
        place = replace(place, port=port)
    server = Server(name, target, place)
    stack.callback(server.stop)
    server.start()
    server.ask(PHASES["c1"], seconds=1)
    server.send(signal.SIGSTOP)
    return server


def measured(server: Server, phase: Phase, turn: int, seconds: float) -> dict[str, Any]:
    """One measurement of one server, which runs only meanwhile."""
    server.send(signal.SIGCONT)
    first, requests, same = MILLION * (turn + 1), MANY, phase.repeats == 1
    if same:  # out of memory
        server.ask(phase, seconds=10, requests=1, first=first)
    elif phase.repeats:  # out of the database: after a restart, memory holds none of them
        seconds, requests = FILLING_S, phase.repeats
        server.ask(phase, seconds=seconds, requests=requests, first=first)
        server.stop()
        server.start()
    before = server.cpu_s()
    heard = server.ask(phase, seconds=seconds, requests=requests, first=first, same=same)
    spent = server.cpu_s() - before
    server.send(signal.SIGSTOP)
    if heard["done"] and server.process:
        heard["cpu_us"] = spent / heard["done"] * 1e6
    return heard


def _weighed(server: Server) -> dict[str, Any] | None:
    if server.process is None or server.name in SPECIAL or server.place.folder.name.partition("-")[2] != "0":
        return None
    return {
        "soak": server.name,
        "startup_s": server.start_s,
        "idle_rss": server.idle_mb,
        "after_rss": server.resident_mb(),
    }


def shared_harness(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """What the reference harness measures, with ours as the command that `targets.ours` makes."""
    home = Path(os.environ.setdefault("BENCH_HOME", str(ROOT / ".bench")))
    folder = home / "modelport"
    folder.mkdir(parents=True, exist_ok=True)
    command, key = targets.prepared(folder)
    serve = shlex.join([*command, "serve", "--config", f"{folder}/modelport.toml"]) + " --port {port}"
    settings = "MODELPORT__PROVIDERS__BENCH__BASE_URL={upstream} MODELPORT__SERVER__WORKERS={workers}"
    environment = {
        **os.environ,
        "BENCH_OURS_CMD": f"env {settings} {serve}",
        "BENCH_OURS_HEADERS": f"Authorization: Bearer {key}",
        "BENCH_OURS_MODEL": MODEL,
        "BENCH_OURS_SIZE": os.environ.get("BENCH_OURS_SIZE", str(Path(sys.executable).parents[1])),
    }
    known = set(home.glob("results-*.jsonl"))
    arguments = ["bash", str(SHARED / "all.sh"), *(["quick"] if chosen.quick else [])]
    if chosen.targets:
        environment["BENCH_TARGETS"] = chosen.targets
    subprocess.run(arguments, env=environment, check=True)
    (written,) = set(home.glob("results-*.jsonl")) - known
    return [json.loads(line) for line in written.read_text("utf-8").splitlines()]


def main() -> None:
    """Measure, and write down what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quick", nargs="?", choices=["quick"], help="fewer phases, one round")
    parser.add_argument("--own", action="store_true", help="the harness of this folder, whatever else there is")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--targets", default="")
    parser.add_argument("--phases", default="")
    parser.add_argument("--other", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--from", dest="lines", type=Path, help="lines that were measured before: only write")
    parser.add_argument("--to", type=Path, default=RESULTS, help="the folder of results")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 3)
    targets.TARGETS.update({name: targets.other(command) for name, _, command in map(_parted, chosen.other)})
    is_reference = SHARED.is_dir() and shutil.which("gcc") is not None and not chosen.own
    if chosen.lines:
        lines = [json.loads(line) for line in chosen.lines.read_text("utf-8").splitlines()]
    else:
        lines = (shared_harness if is_reference else own_harness)(chosen)
    page = ROOT / "docs/performance.md" if chosen.to == RESULTS else None
    report.write(lines, chosen.to, page, "the reference harness" if is_reference else "the project's own harness")


def _parted(text: str) -> tuple[str, str, str]:
    return text.partition("=")


if __name__ == "__main__":
    main()
