"""Frameworks, unmodified, against a running modelport with a foreign backend behind it.

    python tests/contract/agents/run_frameworks.py FOLDER     # make contract

FOLDER holds an environment for each framework (they cannot share one: their ranges of SDK versions do not meet),
as `requirements.txt` beside the tests names them. What came out is written to `matrix/results/frameworks.json`, from
where it comes to docs/compatibility.md. Exits with 1 when a test fails that is not named in EXPECTED.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.contract.agents.model import Model
from tests.contract.matrix.page import RESULTS
from tests.replay import Upstream
from tests.running import ROOT, Modelport

HERE: Final = Path(__file__).resolve().parent
UPSTREAM_KEY: Final = "sk-upstream-0123456789abcdef"
TIMEOUT_S: Final = 500
CONFIG: Final = """
[cache]
mode = "off"

[providers.to-openai]
dialect = "openai_chat"
base_url = "{url}/v1"
keys = ["env:UPSTREAM_KEY"]
models = ["gpt-4.1"]

[providers.to-anthropic]
dialect = "anthropic"
base_url = "{url}"
keys = ["env:UPSTREAM_KEY"]
models = ["claude-sonnet-4-5"]
"""


@dataclass(frozen=True, slots=True)
class Framework:
    """*packages* are those whose versions the page tells."""

    name: str
    environment: str
    tests: str
    packages: tuple[str, ...]


FRAMEWORKS: Final = (
    Framework(
        "LangChain standard tests",
        "langchain",
        "check_langchain.py",
        ("langchain-openai", "langchain-anthropic", "langchain-google-genai", "langchain-tests"),
    ),
    Framework("pydantic-ai", "agents", "check_pydantic_ai.py", ("pydantic-ai-slim",)),
    Framework("openai-agents", "agents", "check_openai_agents.py", ("openai-agents",)),
    Framework("instructor", "instructor", "check_instructor.py", ("instructor",)),
)
EXPECTED: Final[Mapping[str, str]] = {
    f"{name}::test_stream_time": "it measures the replay of a tape, and there is none"
    for name in ("TestOpenAIChat", "TestOpenAIResponses", "TestAnthropic", "TestGoogle")
}
"""Tests that cannot pass, with the reason."""


@dataclass(slots=True)
class Counts:
    passed: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def run(framework: Framework, python: Path, url: str) -> dict[str, Counts]:
    """The counts by test class or module."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [str(python), "-m", "pytest", str(HERE / framework.tests), "-q", "-p", "no:cacheprovider"]
        command += ["-c", str(HERE / "pytest.ini"), "--rootdir", str(HERE), f"--junitxml={report}"]
        environment = {**os.environ, "MODELPORT_URL": url, "PYTHONPATH": str(ROOT), "LANGSMITH_TRACING": "false"}
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False)
        if not report.exists():
            raise SystemExit(f"{framework.name}: pytest did not run:\n{ran.stdout.decode()}{ran.stderr.decode()}")
        return counted(ET.parse(report).getroot())


def counted(report: ET.Element) -> dict[str, Counts]:
    """A JUnit report, by class."""
    found: dict[str, Counts] = {}
    for case in report.iter("testcase"):
        counts = found.setdefault(case.get("classname", "").rpartition(".")[2], Counts())
        name = case.get("name", "")
        problem = next((each for each in case if each.tag in {"failure", "error"}), None)
        if problem is not None:
            counts.failed[name] = re.sub(r"\s+", " ", problem.get("message") or "")[:300]
        elif (skipped := case.find("skipped")) is not None:
            why = re.sub(r"\s+", " ", skipped.get("message") or "")[:160]
            counts.skipped[name] = why
        else:
            counts.passed += 1
    return found


def versions(python: Path, packages: tuple[str, ...]) -> str:
    code = f"from importlib.metadata import version; print(', '.join(f'{{p}} {{version(p)}}' for p in {packages!r}))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    folder = Path(sys.argv[1]).resolve()
    rows, notes, unexpected = [], [], 0
    skipped: dict[tuple[str, str], list[str]] = {}
    with tempfile.TemporaryDirectory() as made, Upstream(Model()) as upstream:
        config = CONFIG.format(url=upstream.url)
        with Modelport(Path(made), config, {"UPSTREAM_KEY": UPSTREAM_KEY}) as server:
            for framework in FRAMEWORKS:
                python = folder / framework.environment / "bin" / "python"
                told = versions(python, framework.packages)
                for name, counts in run(framework, python, server.url).items():
                    row = [framework.name, name, told, counts.passed, len(counts.skipped), len(counts.failed)]
                    rows.append([str(each) for each in row])
                    for test, why in counts.failed.items():
                        place = f"{name}::{test}"
                        unexpected += place not in EXPECTED
                        notes.append(f"`{place}` fails: {EXPECTED.get(place, why)}.")
                        print(f"{place}: {why}")
                    for test, why in counts.skipped.items():
                        skipped.setdefault((test, why), []).append(name)
                    print(" | ".join(rows[-1]))
    notes += [f"`{test}` is skipped for {', '.join(names)}: {why}" for (test, why), names in skipped.items()]
    result = {
        "title": "Frameworks",
        "about": "Unmodified, in front of a backend that speaks another dialect than the framework's client.",
        "date": datetime.now(UTC).date().isoformat(),
        "command": "make contract",
        "columns": ["framework", "tests", "versions", "passed", "skipped", "failed"],
        "rows": rows,
        "notes": notes,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "frameworks.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
