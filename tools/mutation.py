"""Change the code in small ways, one at a time, and see whether the tests notice: mutation testing with mutmut.

    python tools/mutation.py                 every subject
    python tools/mutation.py breaker auth    these

Works on a copy in build/mutation, so that nothing here is changed. What survives is printed with its change.
A survivor is explained if docs/mutation.md shows the line that it puts in. One that only writes SQL in another case
is no change at all, and only counted. Exit status 1: something survived that the page does not explain.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PLACE: Final = ROOT / "build" / "mutation"
PAGE: Final = ROOT / "docs" / "mutation.md"
COPIED: Final = ["translators", "routing", "storage", "proxy", "tests", "pyproject.toml"]
MOST_TOLD: Final = 4000
"""Characters of what mutmut says where it fails."""
SQL: Final = re.compile(r"\b(select|insert|update|delete|from|where)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Subject:
    """A file, what of it is changed (patterns of names; without one all of it), and the tests that must notice."""

    file: str
    tests: tuple[str, ...]
    names: tuple[str, ...] = ()


SUBJECTS: Final = {
    "breaker": Subject("routing/breaker.py", ("tests/routing/test_breaker.py", "tests/routing/test_restoring.py")),
    "cache-key": Subject("storage/cache.py", ("tests/storage/test_cache.py",), ("storage.cache.x_cache_key__*",)),
    "canonical": Subject(
        "translators/codec.py",
        ("tests/translators/test_codec.py", "tests/storage/test_cache.py"),
        ("translators.codec.x_canonical__*", "translators.codec.x__written_exactly__*"),
    ),
    "budgets": Subject(
        "storage/budgets.py",
        ("tests/storage/test_budgets.py", "tests/storage/test_budget_rows.py", "tests/storage/test_repricing.py"),
    ),
    "auth": Subject(
        "proxy/auth.py",
        (
            "tests/proxy/test_auth.py",
            "tests/proxy/test_keys.py",
            "tests/proxy/test_access.py",
            "tests/proxy/test_signing.py::test_a_signed_request_gets_in_without_the_key",
            "tests/proxy/test_signing.py::test_a_key_that_demands_signatures_is_no_key_without_one",
        ),
    ),
    "ledger": Subject(
        "storage/ledger.py",
        (
            "tests/storage/test_ledger.py",
            "tests/storage/test_ledger_gone.py",
            "tests/storage/test_journal.py",
            "tests/storage/test_slate.py",
        ),
    ),
}
READS_SOURCES: Final = "tests/proxy/test_access.py::test_one_function_reads_the_clients_key"
"""Looks at the text of the code, where mutmut keeps all changes of a function side by side."""
SETTINGS: Final = """
[tool.mutmut]
source_paths = ["translators", "routing", "storage", "proxy"]
only_mutate = ["{file}"]
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist", "--deselect={reads_sources}"]
pytest_add_cli_args_test_selection = [{tests}]
"""


def main(wanted: list[str]) -> int:
    """Run the *wanted* subjects, or all. Gives the exit status."""
    if unknown := [name for name in wanted if name not in SUBJECTS]:
        sys.stderr.write(f"{', '.join(unknown)}: no subject; choose of {', '.join(SUBJECTS)}\n")
        return 2
    unexplained = [one for name in wanted or SUBJECTS for one in survivors_of(name, SUBJECTS[name])]
    return 1 if unexplained else 0


def survivors_of(name: str, subject: Subject) -> list[str]:
    """Run one subject and tell how it went. Gives the survivors that the page does not explain."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    for each in COPIED:
        copy = shutil.copytree if (ROOT / each).is_dir() else shutil.copy
        copy(ROOT / each, PLACE / each)
    tests = ", ".join(f'"{path}"' for path in subject.tests)
    with (PLACE / "pyproject.toml").open("a", encoding="utf-8") as settings:
        settings.write(SETTINGS.format(file=subject.file, tests=tests, reads_sources=READS_SOURCES))

    told = mutmut("run", "--max-children", str(os.cpu_count() or 1), *subject.names)
    outcomes = dict(re.findall(r"^\s*(\S+__mutmut_\d+): ([\w ]+)$", mutmut("results", "--all", "true"), re.MULTILINE))
    tried = {mutant: outcome for mutant, outcome in outcomes.items() if outcome != "not checked"}
    if not tried:
        sys.stdout.write(f"{told[-MOST_TOLD:]}\n{name}: nothing was tried; mutmut says why\n")
        return [name]
    alive = {mutant: change(mutant) for mutant, outcome in tried.items() if outcome in {"survived", "no tests"}}
    same = [mutant for mutant, changed in alive.items() if is_sql_in_another_case(changed)]
    explained = PAGE.read_text("utf-8") if PAGE.exists() else ""
    open_ones = [one for one in alive if one not in same and not is_explained(alive[one], explained)]
    for mutant in open_ones:
        sys.stdout.write(f"{mutant} ({tried[mutant]})\n" + "".join(f"    {line}\n" for line in alive[mutant]))
    sys.stdout.write(
        f"{name}: {len(tried)} changes, {len(tried) - len(alive)} noticed, {len(same)} without effect (case of SQL), "
        f"{len(alive) - len(same) - len(open_ones)} explained, {len(open_ones)} open\n"
    )
    return open_ones


def mutmut(*arguments: str) -> str:
    """What mutmut says; it runs in the copy."""
    ran = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments], cwd=PLACE, stdout=subprocess.PIPE, text=True, check=False
    )
    return ran.stdout


def change(mutant: str) -> list[str]:
    """The lines that a mutant takes away and puts in."""
    shown = mutmut("show", mutant).splitlines()
    return [line for line in shown if line[:1] in "+-" and line[:3] not in {"+++", "---"}]


def is_explained(changed: list[str], page: str) -> bool:
    """Whether *page* shows what was put in."""
    put_in = [line[1:].strip() for line in changed if line.startswith("+")]
    return bool(put_in) and all(f"`{line}`" in page.replace("\\|", "|") for line in put_in)


def is_sql_in_another_case(changed: list[str]) -> bool:
    """Whether the database reads the same statement."""
    before = [line[1:].lower() for line in changed if line.startswith("-")]
    after = [line[1:].lower() for line in changed if line.startswith("+")]
    return before == after and all(SQL.search(line) for line in before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
