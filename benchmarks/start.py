"""How long a fresh `modelport serve` takes to its first 200, and what it keeps in memory while idle.

Use: python benchmarks/start.py [ROUNDS]        (Linux; `make bench-start`)

Each round starts the server on a free loopback port with an empty folder, asks `demo/echo` until it answers 200,
waits two seconds and reads the resident memory of the process. The pause between two asks is a millisecond.
"""

from __future__ import annotations

import http.client
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BODY = b'{"model": "demo/echo", "messages": [{"role": "user", "content": "Hello"}]}'
LIMIT_S = 30.0
IDLE_S = 2.0


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    starts: list[float] = []
    sizes: list[float] = []
    for _ in range(rounds):
        start_s, resident_mb = measure()
        starts.append(start_s)
        sizes.append(resident_mb)
        print(f"first 200 after {start_s:.3f} s, {resident_mb:.1f} MB resident", flush=True)
    print(
        f"median of {rounds}: {statistics.median(starts):.3f} s [{min(starts):.3f} to {max(starts):.3f}], "
        f"{statistics.median(sizes):.1f} MB; Python {platform.python_version()}, {os.cpu_count()} cores"
    )


def measure() -> tuple[float, float]:
    """Seconds to the first 200, and MB resident when idle."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "XDG_DATA_HOME": folder}
        command = [Path(sys.executable).with_name("modelport"), "serve", "--port", str(port)]
        began = time.perf_counter()
        server = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
        try:
            while not answers(port):
                if time.perf_counter() - began > LIMIT_S:
                    raise SystemExit(f"no answer within {LIMIT_S:g} s")
                time.sleep(0.001)
            start_s = time.perf_counter() - began
            time.sleep(IDLE_S)
            status = Path(f"/proc/{server.pid}/status").read_text("utf-8")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(LIMIT_S)
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return start_s, int(found[1]) / 1024 if found else 0.0


def answers(port: int) -> bool:
    """Whether a chat completion comes back with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    try:
        connection.request("POST", "/v1/chat/completions", BODY, {"content-type": "application/json"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    main()
