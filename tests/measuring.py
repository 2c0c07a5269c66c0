"""How much of the four packages the tests run, in lines and branches: a plugin of pytest, loaded by `make test`.

    python -m pytest -p tests.measuring

slipcover writes its marks into the code as it is imported and takes them out once they have been hit, so that a run
takes little longer; a tracer would treble it. Of servers in processes of their own those are measured that tests start
by `tests.measured`, which puts what it has seen into a folder.
With pytest-xdist every worker measures itself and hands its result to the one that started it, which judges.
Below a bound the run fails: see `shortfalls`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.measured import SEEN

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("translators", "routing", "storage", "proxy")
LEAST_TOTAL: Final = 92.0
"""Per cent of all lines and branches of the four packages together."""
LEAST_FILE: Final = 80.0
"""Per cent of the lines and branches of any one file."""
NOT_RUN: Final = [
    r"^\s*if TYPE_CHECKING:",
    r"\bassert_never\(",  # what the type checker proves is never reached
    r"^\s*\.\.\.\s*(#.*)?$",  # the body of a Protocol's method
    r"^\s*@overload\b",
]
"""Beside `# pragma: no cover`: statements that no test can run."""


def measured(*folders: str) -> tuple[Any, Any]:
    """What measures what lies in *folders* of the checkout in this process, and what has to be entered for that."""
    import slipcover

    own = slipcover.Slipcover(immediate=True, branch=True, exclude_also=NOT_RUN)
    return own, slipcover.ImportManager(own, slipcover.FileMatcher(sources=[ROOT / name for name in folders]))


def pytest_configure(config: pytest.Config) -> None:
    """Begin before the tests import what is measured."""
    os.environ.setdefault(SEEN, tempfile.mkdtemp(prefix="modelport-seen-"))
    if not getattr(config.option, "numprocesses", None):
        config.pluginmanager.register(Measured(config), "measured")
    else:
        config.pluginmanager.register(Collected(config), "measured")


class Measured:
    """This process, in which tests run."""

    def __init__(self, config: pytest.Config) -> None:
        import slipcover  # noqa: F401  # pytest wants to load it first: it brings a plugin, which stays asleep

        if early := sorted(name for name in sys.modules if name.partition(".")[0] in PACKAGES):
            # A path in the arguments makes pytest load the conftest.py there first.
            raise pytest.UsageError(f"{early[0]} is imported already; coverage is measured without paths: make test")
        self._config = config
        self._own, self._imports = measured(*PACKAGES)
        self._imports.__enter__()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand over what was seen, or judge it."""
        self._imports.__exit__(None, None, None)
        seen = self._own.get_coverage()
        handed: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if handed is not None:
            handed["coverage"] = json.dumps(seen)
            return
        judge(self._config, session, [seen])


class Collected:
    """The process that others run tests for."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._seen: list[Any] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """One of them has ended."""
        del error  # who has crashed hands nothing over, and the run fails anyway
        if seen := getattr(node, "workeroutput", {}).get("coverage"):
            self._seen.append(json.loads(seen))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """All of them have."""
        judge(self._config, session, self._seen)


def judge(config: pytest.Config, session: pytest.Session, seen: list[Any]) -> None:
    """Say what was reached, and fail the run that had succeeded until now if it is too little."""
    import slipcover

    all_files = slipcover.Slipcover(branch=True, source=[str(ROOT / name) for name in PACKAGES], exclude_also=NOT_RUN)
    files: dict[str, Any] = all_files.get_coverage()
    folder = Path(os.environ[SEEN])
    for each in [*seen, *(json.loads(part.read_text("utf-8")) for part in folder.glob("*.json"))]:
        slipcover.merge_coverage(files, each)
    shutil.rmtree(folder, ignore_errors=True)
    lines = [line(name, counts) for name, counts in sorted(counted(files["files"]).items())]
    report = ROOT / "build" / "coverage.txt"
    report.parent.mkdir(exist_ok=True)
    report.write_text("\n".join(lines) + "\n", "utf-8")
    (report.parent / "coverage.json").write_text(json.dumps(files), "utf-8")

    wrong = shortfalls(counted(files["files"]))
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.ensure_newline()
        share = per_cent(total(counted(files["files"]).values()))
        terminal.write_line(f"coverage of lines and branches: {share:.2f} %; by file: {report.relative_to(ROOT)}")
        for told in wrong:
            terminal.write_line(told, red=True)
    if wrong and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


KINDS: Final = ("executed_lines", "executed_branches", "missing_lines", "missing_branches")
Counts = tuple[int, int]
"""How many lines and branches were run, of how many."""


def counted(files: Mapping[str, Any]) -> dict[str, Counts]:
    """The counts of every file, by its path below the checkout."""
    return {
        str(Path(name).resolve().relative_to(ROOT)): (
            len(file["executed_lines"]) + len(file["executed_branches"]),
            sum(
                len(file[kind]) for kind in ("executed_lines", "executed_branches", "missing_lines", "missing_branches")
            ),
        )
        for name, file in files.items()
    }


def total(counts: Any) -> Counts:
    """All of *counts* together."""
    every = list(counts)
    return sum(run for run, _ in every), sum(there for _, there in every)


def per_cent(counts: Counts) -> float:
    """A file without a line is run whole."""
    run, there = counts
    return 100.0 * run / there if there else 100.0


def shortfalls(files: Mapping[str, Counts]) -> list[str]:
    """What is below its bound, in a line each."""
    told = [
        f"coverage: {name} is at {per_cent(counts):.1f} %, below {LEAST_FILE:g} %"
        for name, counts in sorted(files.items())
        if per_cent(counts) < LEAST_FILE
    ]
    if (share := per_cent(total(files.values()))) < LEAST_TOTAL:
        told.append(f"coverage: all together are at {share:.2f} %, below {LEAST_TOTAL:g} %")
    return told


def line(name: str, counts: Counts) -> str:
    """A file in the report."""
    return f"{per_cent(counts):6.2f} %  {counts[0]:5} of {counts[1]:5}  {name}"
