"""What a second target brings where the first one is late: p50, p95 and p99 of the first content, and the extra calls.

Use: python benchmarks/race.py [--requests N] [--write]        (`make bench-race`)

simulated   draws of latencies, the delay and the purse of `routing.hedging`; both targets are alike
ceiling     the best that any fixed delay reaches with the same purse, tried out with hindsight
measured    requests through the proxy to a scripted upstream on loopback, with `failover` and with `race` in turns
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from routing.hedging import UNKNOWN_MS, Hedging  # noqa: E402  the checkout is found by the line above
from tests.proxy.serving import provider, route, serving, streams  # noqa: E402
from tests.replay import Answer, Asked, Upstream  # noqa: E402

REPORT = Path(__file__).with_name("race.md")
SEED = 20261121
SHARE = 0.1
SIMULATED = 20_000
MOST_AT_ONCE = 8
WAYS = ("failover", "race")
WARM_UP = 60
"""Requests that are not counted: the race knows nothing of its targets before."""

Draw = Callable[[random.Random], float]

TAILS: dict[str, Draw] = {
    "lognormal, sigma 0.7": lambda rng: rng.lognormvariate(6.0, 0.7),
    "lognormal, sigma 1": lambda rng: rng.lognormvariate(6.0, 1.0),
    "lognormal, sigma 1.5": lambda rng: rng.lognormvariate(6.0, 1.5),
    "Weibull, shape 0.5": lambda rng: rng.weibullvariate(300, 0.5),
    "Pareto, alpha 2": lambda rng: 200 * rng.paretovariate(2),
    "Pareto, alpha 1.2": lambda rng: 200 * rng.paretovariate(1.2),
    "3 in 100 ten times as slow": lambda rng: rng.gauss(400, 40) * (10 if rng.random() < 0.03 else 1),
    "7 in 100 ten times as slow": lambda rng: rng.gauss(400, 40) * (10 if rng.random() < 0.07 else 1),
    "12 in 100 ten times as slow": lambda rng: rng.gauss(400, 40) * (10 if rng.random() < 0.12 else 1),
}
RANKS = (0.85, 0.88, 0.9, 0.91, 0.92, 0.94, 0.95, 0.97)
"""Of the first target's latencies: the delays that are tried out for the ceiling."""


@dataclass(frozen=True)
class Figures:
    """Milliseconds of one way to ask, and the share of extra calls."""

    p50: float
    p95: float
    p99: float
    extra: float = 0.0

    @classmethod
    def of(cls, values: list[float], extra: float = 0.0) -> Figures:
        ranked = sorted(values)
        return cls(*(ranked[int(rank * len(ranked))] for rank in (0.5, 0.95, 0.99)), extra)


def simulated(draw: Draw, requests: int, delay_ms: float | None = None) -> tuple[Figures, Figures]:
    """The first target alone, and with a second one, asked after *delay_ms*; None: after what is learnt."""
    rng, hedging = random.Random(SEED), Hedging()
    purse = hedging.purse("route")
    alone: list[float] = []
    raced: list[float] = []
    hedges = 0
    for _ in range(requests):
        purse.request(SHARE)
        first = draw(rng)
        known = hedging.late_after_ms("a", stream=True, share=SHARE)
        late_ms = delay_ms or (UNKNOWN_MS if known is None else known)
        alone.append(first)
        taken = first
        if first > late_ms and purse.pays():
            hedges += 1
            taken = min(first, late_ms + draw(rng))
        if taken == first:
            hedging.came("a", first, stream=True)
        else:
            hedging.gave_up("a", taken, stream=True, share=SHARE)
        raced.append(taken)
    return Figures.of(alone), Figures.of(raced, hedges / requests)


def ceiling(draw: Draw, requests: int) -> float:
    """The largest part by which a fixed delay brings the 99th percentile down."""
    rng = random.Random(SEED + 1)
    ranked = sorted(draw(rng) for _ in range(requests))
    tried = (simulated(draw, requests, ranked[int(rank * requests)]) for rank in RANKS)
    return max(1 - after.p99 / before.p99 for before, after in tried)


async def measured(requests: int) -> tuple[Figures, Figures]:
    """Through the proxy: 100 ms as a rule, 1500 ms in 4 of 100 cases, with `failover` and with `race` in turns.

    MOST_AT_ONCE requests are asked side by side, *requests* in each way.
    """
    rng = random.Random(SEED)

    def answer(_asked: Asked) -> Answer:
        slow = rng.random() < 0.04
        return replace(streams(), delay_body_s=1.5 if slow else 0.1)

    with Upstream() as upstream, tempfile.TemporaryDirectory() as folder:
        upstream.script("a", answer)
        upstream.script("b", answer)
        config = [provider("one", upstream), provider("two", upstream)]
        config += [route(policy, "one/a", "two/b", more=f'policy = "{policy}"') for policy in WAYS]
        async with serving(Path(folder), "\n".join(config)) as server:
            taken: dict[str, list[float]] = {policy: [] for policy in WAYS}
            gate = asyncio.Semaphore(MOST_AT_ONCE)

            async def one(policy: str) -> None:
                async with gate:
                    begun = time.perf_counter()
                    async with server.asking(model=policy, stream=True) as reply:
                        while b"Hello" not in await reply.content.readany():
                            pass
                        taken[policy].append((time.perf_counter() - begun) * 1000)
                        await reply.read()

            await asyncio.gather(*(one(policy) for _ in range(WARM_UP) for policy in WAYS))
            for times in taken.values():
                times.clear()
            before = len(upstream.requests)
            await asyncio.gather(*(one(policy) for _ in range(requests) for policy in WAYS))
            extra = (len(upstream.requests) - before) / requests - 2
    alone, raced = taken.values()
    return Figures.of(alone, 0.0), Figures.of(raced, extra)


def _line(name: str, before: Figures, after: Figures, most: str = "") -> str:
    less = 1 - after.p99 / before.p99
    return (
        f"| {name} | {before.p50:.0f} / {after.p50:.0f} | {before.p95:.0f} / {after.p95:.0f} |"
        f" {before.p99:.0f} / {after.p99:.0f} | {less:.0%} |{most} {after.extra:.1%} |"
    )


def report(requests: int) -> str:
    """The page."""
    head = "| tail | p50 ms | p95 ms | p99 ms | p99 less | extra calls |\n|---|---|---|---|---|---|"
    wide = "| tail | p50 ms | p95 ms | p99 ms | p99 less | ceiling | extra calls |\n|---|---|---|---|---|---|---|"
    lines = [
        _line(name, *simulated(draw, SIMULATED), f" {ceiling(draw, SIMULATED):.0%} |") for name, draw in TAILS.items()
    ]
    before, after = asyncio.run(measured(requests))
    return (
        "# Racing\n\n"
        "First content of a stream, with the first target alone and with `race` (before / after)."
        " `max_extra` is 0.1, the default; the delay is learnt.\n\n"
        f"Simulated, {SIMULATED:,} requests each; the ceiling is the best fixed delay found with hindsight:\n\n{wide}\n"
        + "\n".join(lines)
        + "\n\nWhere one answer in a hundred is not much slower than the others (sigma 0.7), a second call gains"
        " little, however it is timed; where more are slow than may have a second call (12 in 100), some are not"
        " helped.\n\n"
        f"Through the proxy to a scripted upstream on loopback, {requests} requests each, in turns, {MOST_AT_ONCE} at a"
        " time; 100 ms as a rule, 1500 ms in 4 of 100 cases:\n\n"
        f"{head}\n{_line('4 in 100 fifteen times as slow', before, after)}\n\n"
        f"Python {platform.python_version()}, {platform.machine()}, load {os.getloadavg()[0]:.0f} on {os.cpu_count()}"
        f" cores, {time.strftime('%Y-%m-%d')}. Command: `make bench-race`.\n"
    )


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    page = report(given.requests)
    if given.write:
        REPORT.write_text(page, "utf-8")
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
