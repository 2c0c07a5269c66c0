"""Measurements as lines, tables and a drawing. They are read back from their lines, whichever harness wrote them."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from math import log10
from pathlib import Path
from statistics import median
from typing import Any, Final

Line = Mapping[str, Any]
BEGIN: Final = "<!-- side by side: written by make bench -->"
END: Final = "<!-- end -->"
TITLES: Final = {
    "direct": "the provider itself",
    "bare": "bare aiohttp proxy",
    "ours": "**modelport**",
    "ours_cached": "**modelport**, answers cached",
    "ours_translating": "**modelport**, Anthropic behind it",
    "tensorzero": "TensorZero",
    "portkey": "Portkey",
    "mlflow": "MLflow gateway",
    "litellm": "LiteLLM",
    "ccr": "claude-code-router",
}
MEANINGS: Final = {
    "c1": "one connection",
    "c64": "64 connections",
    "r1000": "1,000 requests a second wanted",
    "big1": "prompts of 100 KB, one connection",
    "s16": "16 streams as fast as they go",
    "s64": "64 streams as fast as they go",
    "paced16": "16 streams with an event each 10 ms",
    "hits": "the same question, out of the cache in memory",
    "hits_sqlite": "questions of before a restart, out of the database",
    "translated": "chat completions from Anthropic's dialect",
    "translated_streams": "the same as streams",
}
PACKAGES: Final = ("aiohttp", "uvloop", "httptools", "orjson", "msgspec", "pydantic")


def told(line: Line) -> str:
    """One measurement, for who watches."""
    if not line.get("done"):
        return f"{line['round']} {line['phase']:12} {line['target']:16} {line.get('told', 'nothing came back')}"
    latency = f"p50 {line['latency']['p50']:8.0f}  p99 {line['latency']['p99']:8.0f} us"
    text = (
        f"{line['round']} {line['phase']:12} {line['target']:16} {line['rps']:9.0f}/s  {latency}"
        f"  CPU {line.get('cpu_us', 0):7.0f} us  errors {line['errors']}"
    )
    return text + (f"  event p99 {line['chunk_delay']['p99']:.0f} us" if line.get("chunks_per_s") else "")


def write(lines: Sequence[Line], folder: Path, page: Path | None, harness: str) -> None:
    """Write the *lines*, their tables and drawing into *folder*, and the tables into *page*."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any("conditions" in line for line in lines):
        lines = [{"conditions": _conditions(harness)}, *lines]
    conditions = next(line["conditions"] for line in lines if "conditions" in line)
    text = f"{conditions}\n\n{tables(lines)}"
    picture = "![Requests per second]({}side-by-side.svg)\n"
    (folder / "side-by-side.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    (folder / "side-by-side.md").write_text(f"# Side by side\n\n{text}\n{picture.format('')}", "utf-8")
    (folder / "side-by-side.svg").write_text(drawing(lines), "utf-8")
    if page is not None and BEGIN in (before := page.read_text("utf-8")):
        head, _, rest = before.partition(BEGIN)
        tail = rest.partition(END)[2]
        block = f"{BEGIN}\n{text}\n{picture.format('../benchmarks/results/')}{END}"
        page.write_text(f"{head}{block}{tail}", "utf-8")
    print(text)


def _conditions(harness: str) -> str:
    """When, on what, with what and by which command."""
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    command = " ".join(["make bench", *(f"ARGS={escape(' '.join(sys.argv[1:]))!r}" for _ in sys.argv[1:2])])
    return (
        f"`{command}` on {datetime.now(UTC):%Y-%m-%d} with {harness}: {os.cpu_count()} processors ({_processor()}), "
        f"{platform.system()} {platform.release().partition('-')[0]}; {', '.join(versions)}. "
        "One processor for the server, another for provider and load; medians of the rounds."
    )


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def tables(lines: Sequence[Line]) -> str:
    """A table for each phase, and one of start and memory."""
    measured = [line for line in lines if "phase" in line and line.get("done")]
    phases = dict.fromkeys((line["phase"], line["workers"]) for line in measured)
    found = [_phase(phase, workers, measured) for phase, workers in phases]
    weighed = [line for line in lines if "soak" in line]
    return "\n".join([*found, *([_weights(weighed)] if weighed else [])])


def _phase(phase: str, workers: int, measured: Sequence[Line]) -> str:
    here = [line for line in measured if (line["phase"], line["workers"]) == (phase, workers)]
    names = dict.fromkeys(line["target"] for line in here)
    streams = any(line.get("chunks_per_s") for line in here)
    head = ["", "requests/s", "p50 us", "p99 us", "CPU us each"]
    if streams:
        head = ["", "streams/s", "first event p50 us", "event delay p50 us", "event delay p99 us", "CPU us a stream"]
    head += ["errors"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name in names:
        own = [line for line in here if line["target"] == name]
        rows.append([TITLES.get(name, name), *(_cells(own, streams=streams)), str(sum(map(_failed, own)))])
    title = f"{phase}: {MEANINGS[phase]}" if phase in MEANINGS else phase
    title += f", {workers} workers" if workers > 1 else ""
    return f"**{title}**\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _failed(line: Line) -> int:
    """Requests without the answer that they should have; the reference harness counts three kinds."""
    return sum(int(line.get(kind, 0)) for kind in ("errors", "unsent", "unfinished"))


def _cells(own: Sequence[Line], *, streams: bool) -> Iterable[str]:
    spent = [line["cpu_us"] for line in own if line.get("cpu_us")]
    yield f"{median(line['rps'] for line in own):,.{1 if streams else 0}f}"
    if streams:
        yield _number(own, "first_chunk", "p50")
        yield _number(own, "chunk_delay", "p50")
        yield _number(own, "chunk_delay", "p99")
    else:
        yield _number(own, "latency", "p50")
        yield _number(own, "latency", "p99")
    yield f"{median(spent):,.0f}" if spent else "-"


def _number(own: Sequence[Line], kind: str, share: str) -> str:
    found = median(line[kind][share] for line in own)
    return f"{found:,.0f}" if found > 0 else "-"


def _weights(weighed: Sequence[Line]) -> str:
    rows = [
        "| | start to first 200, s | MB idle | MB after load | MB installed | packages |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for line in weighed:
        cells = [
            f"{line['startup_s']:.2f}",
            *(
                f"{line[name]:,.0f}" if line.get(name) else "-"
                for name in ("idle_rss", "after_rss", "size_mb", "packages")
            ),
        ]
        rows.append(f"| {TITLES.get(line['soak'], line['soak'])} | {' | '.join(cells)} |")
    return "**start and memory**\n\n" + "\n".join(rows) + "\n"


def drawing(lines: Sequence[Line]) -> str:
    """Requests per second at 64 connections, on a scale on which ten times as many are as far again; SVG."""
    rates: dict[str, list[float]] = {}
    for line in lines:
        if line.get("phase") == "c64" and line.get("workers") == 1 and line.get("done"):
            rates.setdefault(line["target"], []).append(line["rps"])
    bars = sorted(((median(found), name) for name, found in rates.items()), reverse=True)
    left, width, height = 190, 720, 26
    decades = 5
    made = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height * len(bars) + 46}" '
        'font-family="sans-serif" font-size="13">',
        '<text x="8" y="18" font-weight="bold">requests/s on one processor, 64 connections</text>',
    ]
    scale = (width - left - 90) / decades
    for row, (rate, name) in enumerate(bars):
        top = 30 + row * height
        length = max(1.0, scale * log10(max(rate, 1.0)))
        colour = "#2563eb" if name.startswith("ours") else "#94a3b8"
        title = escape(TITLES.get(name, name).replace("**", ""))
        made.append(f'<text x="{left - 8}" y="{top + 15}" text-anchor="end">{title}</text>')
        made.append(f'<rect x="{left}" y="{top + 3}" width="{length:.1f}" height="{height - 8}" fill="{colour}"/>')
        made.append(f'<text x="{left + length + 6:.1f}" y="{top + 15}">{rate:,.0f}</text>')
    made.append(
        f'<text x="{left}" y="{height * len(bars) + 42}" fill="#64748b" font-size="11">'
        "logarithmic: each step of the same length is ten times as many</text></svg>\n"
    )
    return "\n".join(made)
