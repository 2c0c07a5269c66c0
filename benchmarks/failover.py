"""How long a client waits for its first content when the first target fails, and what a storm of faults costs.

Use: python benchmarks/failover.py [--runs 200] [--requests 10000] [--write]        (`make bench-failover`)

Every number is measured through the proxy, with a scripted upstream on loopback in the same process: milliseconds from
sending a streamed chat completion to its first content. For the single faults breaker, keys and outliers are forgotten
before each run, so that the first target is asked, and fails, every time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from routing.breaker import Breakers  # noqa: E402  the checkout is found by the line above
from routing.limits import KeyRing  # noqa: E402
from routing.outliers import Outliers  # noqa: E402
from tests.proxy.serving import (  # noqa: E402
    OPENING,
    Served,
    chunk,
    failing,
    provider,
    route,
    serving,
    stream_text,
    streams,
)
from tests.replay import Answer, Asked, Upstream  # noqa: E402

REPORT = Path(__file__).with_name("failover.md")
SEED = 20261121
FIRST_EVENT_S = 1.5
CLOCKS = f"timeouts = {{ connect_s = 1, first_event_s = {FIRST_EVENT_S}, idle_s = 5, total_s = 30 }}"
AT_ONCE = 16
WAITING_AT_ONCE = 8
"""How many wait side by side where each waits for the clock."""
BROKEN = 'data: {"id": "x", "choices": [{"delta": {"content": "He\n\n'

FAULTS: dict[str, Answer | None] = {
    "refused": None,
    "500": failing(500),
    "429": failing(429),
    "cut": Answer.sse(OPENING + chunk({"content": "Hello"}), stop_at=len(OPENING), end="reset"),
    "malformed": Answer.sse(BROKEN),
    "not JSON": Answer(headers={"content-type": "text/html"}, body=b"<html>busy</html>", chunked=False),
    "hanging": Answer(hang=True),
    "slow": Answer.sse(stream_text("late"), delay_body_s=4.0),
    "heartbeats": Answer.sse(": wait\n\n" * 40 + stream_text("late"), split="events", delay_between_s=0.1),
}
SLOW = frozenset({"hanging", "slow", "heartbeats"})
STORM_SHARE = 0.3
STORM = ("500", "cut", "malformed", "not JSON")


@dataclass(frozen=True)
class Times:
    """Milliseconds until the first content, and how many runs had none."""

    p50: float
    p95: float
    p99: float
    worst: float
    lost: int

    @classmethod
    def of(cls, found: list[float | None]) -> Times:
        ranked = sorted(value for value in found if value is not None)
        at = [ranked[min(len(ranked) - 1, int(rank * len(ranked)))] for rank in (0.5, 0.95, 0.99)]
        return cls(*at, ranked[-1], found.count(None))

    def row(self, name: str) -> str:
        """A line of the table."""
        return f"| {name} | {self.p50:.1f} | {self.p95:.1f} | {self.p99:.1f} | {self.worst:.1f} | {self.lost} |"


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sections(upstream: Upstream, *, refused: bool = False, breaker: str = "") -> str:
    """Two targets, a/m and b/good, as the route `both`; `only` has the second one alone."""
    where = f"http://127.0.0.1:{closed_port()}/v1" if refused else upstream
    return "\n".join(
        (
            provider("a", where, more=f'models = ["m"]\n{CLOCKS}'),
            provider("b", upstream, more=f'models = ["good"]\n{CLOCKS}'),
            route("both", "a/m", "b/good"),
            route("only", "b/good"),
            breaker,
        )
    )


async def first_content_ms(server: Served, model: str, text: str = "Hello") -> float | None:
    """Until *text* has come; None when it never does."""
    started, body = time.perf_counter(), b""
    wanted = f'"content":"{text}'.encode()
    async with server.asking(model=model, stream=True) as answer:
        took = None
        async for piece in answer.content.iter_any():
            body += piece
            if took is None and wanted in body.replace(b'": "', b'":"'):
                took = (time.perf_counter() - started) * 1000
    return took if b"[DONE]" in body else None


def forget(server: Served) -> None:
    """As though nothing had ever failed."""
    services = server.services
    services.breakers = Breakers(time.monotonic)
    services.outliers = Outliers(time.monotonic)
    rings = services.setup.rings
    assert isinstance(rings, dict)
    for name, ring in rings.items():
        rings[name] = KeyRing([key for key in ring.keys if key is not None], time.monotonic)


async def measured(server: Served, model: str, runs: int, at_once: int, *, forgets: bool = True) -> Times:
    """*runs* requests, *at_once* side by side."""
    found: list[float | None] = []
    left = iter(range(runs))

    async def client() -> None:
        for _ in left:
            if forgets:
                forget(server)
            found.append(await first_content_ms(server, model))

    gc.collect()
    await asyncio.gather(*(client() for _ in range(at_once)))
    return Times.of(found)


async def single_faults(runs: int) -> dict[str, Times]:
    """By fault; `none` is the second target alone, `breaker open` a dead first target that is not asked any more."""
    found: dict[str, Times] = {}
    for name, fault in FAULTS.items():
        with Upstream() as upstream, tempfile.TemporaryDirectory() as folder:
            if fault is not None:
                upstream.script("m", fault)
            upstream.script("good", streams())
            async with serving(Path(folder), sections(upstream, refused=fault is None)) as server:
                if not found:
                    await measured(server, "only", 30, 1)
                    found["none"] = await measured(server, "only", runs, 1)
                found[name] = await measured(server, "both", runs, WAITING_AT_ONCE if name in SLOW else 1)
    with Upstream() as upstream, tempfile.TemporaryDirectory() as folder:
        upstream.script("m", failing(500))
        upstream.script("good", streams())
        long = "[breaker]\nfailures = 3\ncooldown_s = 3600"
        async with serving(Path(folder), sections(upstream, breaker=long)) as server:
            await measured(server, "both", 30, 1, forgets=False)
            taken: dict[str, list[float | None]] = {"only": [], "both": []}
            for _ in range(runs):  # in turns, as the machine has its moods
                for model, times in taken.items():
                    times.append(await first_content_ms(server, model))
            found["breaker open"] = Times.of(taken["both"])
            found["none, in turns with the line above"] = Times.of(taken["only"])
    return found


@dataclass(frozen=True)
class Storm:
    """Requests under random faults: how many there were, were lost, and the calls that were made for each."""

    requests: int
    lost: int
    amplification: float
    seconds: float


async def storm(requests: int, share: float) -> Storm:
    """Faults at random on two of three targets, *share* of their answers."""
    rng = random.Random(SEED)

    def faulty(_asked: Asked) -> Answer:
        fault = FAULTS[rng.choice(STORM)] if rng.random() < share else None
        return fault or streams()

    with Upstream() as upstream, tempfile.TemporaryDirectory() as folder:
        for model in ("bad", "worse"):
            upstream.script(model, faulty)
        upstream.script("good", streams())
        names = {"a": "bad", "b": "worse", "c": "good"}
        config = [provider(name, upstream, more=f'models = ["{model}"]\n{CLOCKS}') for name, model in names.items()]
        config.append(route("all", *(f"{name}/{model}" for name, model in names.items())))
        async with serving(Path(folder), "\n".join(config)) as server:
            left, lost, started = iter(range(requests)), 0, time.perf_counter()

            async def client() -> None:
                nonlocal lost
                for _ in left:
                    lost += await first_content_ms(server, "all") is None

            await asyncio.gather(*(client() for _ in range(AT_ONCE)))
            took = time.perf_counter() - started
        return Storm(requests, lost, len(upstream.requests) / requests, took)


async def report(runs: int, requests: int, say: Callable[[str], None]) -> None:
    """All tables."""
    say("# Failover\n")
    say(
        f"Milliseconds until the client's first content, {runs} runs each, `first_event_s = {FIRST_EVENT_S}`: the "
        "first target of the route fails as said, the second answers.\n`none` is the second target asked directly.\n"
    )
    say("| first target | p50 | p95 | p99 | worst | lost |\n|---|---|---|---|---|---|")
    for name, times in (await single_faults(runs)).items():
        say(times.row(name))
    say("\nThree targets, of which two fail at random (500, cut, malformed, not JSON), asked in their order:\n")
    say("| share of faults | requests | lost | calls for each request | requests/s |\n|---|---|---|---|---|")
    for share in (0.05, STORM_SHARE, 1.0):
        found = await storm(requests if share == STORM_SHARE else requests // 5, share)
        rate = found.requests / found.seconds
        say(f"| {share:.0%} | {found.requests} | {found.lost} | {found.amplification:.3f} | {rate:.0f} |")
    say(f"\nPython {platform.python_version()}, {platform.machine()}. Command: `make bench-failover`.")


def main() -> None:
    """Measure, print, and with --write keep the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--write", action="store_true", help=f"keep the report as {REPORT.name}")
    args = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    asyncio.run(report(args.runs, args.requests, say))
    if args.write:
        REPORT.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
