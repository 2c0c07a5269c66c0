"""`make bench`: measurements come back from a run of the own harness, and become tables and a drawing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "gateways"
sys.path.insert(0, str(FOLDER))
import report  # noqa: E402  # a script's neighbour, which no package holds

sys.path.remove(str(FOLDER))


def line(target: str, rps: float, *, phase: str = "c64", stream: bool = False, **more: Any) -> dict[str, Any]:
    times = {"p50": 10.0, "p99": 1234.5}
    streamed = {"chunks_per_s": 99.0, "first_chunk": times, "chunk_delay": times} if stream else {}
    asked = {"target": target, "phase": phase, "round": 0, "workers": 1, "done": 5, "errors": 0, "latency": times}
    return {**asked, "rps": rps, "cpu_us": 20.4, **streamed, **more}


def test_a_table_has_medians_and_counts_what_failed() -> None:
    lines = [line("ours", 1000), line("ours", 3000, errors=1, unsent=2), line("ours", 2000), line("nginx", 40_000.4)]

    told = report.tables(lines)

    assert "| **modelport** | 2,000 | 10 | 1,234 | 20 | 3 |" in told
    assert "| nginx | 40,000 | 10 | 1,234 | 20 | 0 |" in told


def test_streams_and_weights_have_columns_of_their_own() -> None:
    weights = {"soak": "ours", "startup_s": 0.444, "idle_rss": 60.4, "after_rss": 70.6}

    told = report.tables([line("ours", 12.34, phase="s16", stream=True), weights])

    assert "| **modelport** | 12.3 | 10 | 10 | 1,234 | 20 | 0 |" in told
    assert "| **modelport** | 0.44 | 60 | 71 | - | - |" in told


def test_the_drawing_has_a_bar_for_each_server_the_fastest_first() -> None:
    drawn = ET.fromstring(report.drawing([line("ours", 100), line("<nginx> & others", 10_000), line("litellm", 10)]))
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    widths = [float(each.get("width", 0)) for each in drawn.iter("{http://www.w3.org/2000/svg}rect")]

    assert [text for text in texts if text in {"<nginx> & others", "modelport", "LiteLLM"}] == [
        "<nginx> & others",
        "modelport",
        "LiteLLM",
    ]
    assert widths == pytest.approx([4 * widths[2], 2 * widths[2], widths[2]], abs=0.2)


def test_only_the_marked_part_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", "utf-8")
    found = [{"conditions": "on a day"}, line("ours", 1)]

    report.write(found, tmp_path, page, "any harness")
    report.write(found, tmp_path, page, "any harness")
    told = page.read_text("utf-8")

    assert told.startswith(f"before\n{report.BEGIN}\non a day\n")
    assert told.endswith(f"{report.END}\nafter\n")
    assert told.count("| **modelport** | 1 |") == 1
    assert [json.loads(each) for each in (tmp_path / "side-by-side.jsonl").read_text("utf-8").splitlines()] == found


def test_the_page_has_the_marks() -> None:
    page = FOLDER.parents[1] / "docs" / "performance.md"

    assert [page.read_text("utf-8").count(mark) for mark in (report.BEGIN, report.END)] == [1, 1]


def test_the_own_harness_runs_alone(tmp_path: Path) -> None:
    """Provider and load: whole answers and streams, each word with the time that it took."""
    asked = ["--own", "--rounds", "1", "--seconds", "0.2", "--targets", "direct", "--phases", "c1,s16"]
    command = [sys.executable, str(FOLDER / "run.py"), *asked, "--to", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(each) for each in (tmp_path / "side-by-side.jsonl").read_text("utf-8").splitlines()[1:]]

    assert (ran.returncode, ran.stderr) == (0, "")
    assert [(each["phase"], each["errors"], each["unfinished"]) for each in lines] == [("c1", 0, 0), ("s16", 0, 0)]
    assert all(each["done"] and each["latency"]["p50"] > 0 for each in lines)
    assert lines[1]["chunk_delay"]["p50"] > 0
    assert {each.name for each in tmp_path.iterdir()} == {f"side-by-side.{kind}" for kind in ("jsonl", "md", "svg")}
