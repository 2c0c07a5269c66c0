"""Writes docs/compatibility.md: runs the matrix and the SDKs' tests and puts down what they found.

    python tests/contract/report.py          # make compatibility

Exits with 1, and writes nothing, when a test fails.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.contract.matrix.page import PAGE, Found, LossRow, written
from tests.contract.matrix.scenarios import cells

FOLDER = Path(__file__).resolve().parent
TESTS = ("test_matrix.py", "sdks")
CELLS = {cell.id: cell for cell in cells()}


class Collector:
    """A pytest plugin: what each test recorded about itself."""

    def __init__(self) -> None:
        self.found = Found()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == "cell":
                self.found.passed[CELLS[str(value)]] = report.passed
            elif name == "losses":
                cell = CELLS[str(dict(report.user_properties)["cell"])]
                self.found.losses[cell] = cast("list[LossRow]", value)
            elif name == "sdk":
                self.found.sdks.append((str(value), report.passed))


def main() -> int:
    collector = Collector()
    # The page is checked against the tests, not the tests against the page that is to be written.
    arguments = [*(str(FOLDER / name) for name in TESTS), "-k", "not test_the_page", "-p", "no:cacheprovider"]
    status = pytest.main([*arguments, *sys.argv[1:]], plugins=[collector])
    if status:
        return int(status)
    PAGE.write_text(written(collector.found), "utf-8")
    print(f"{PAGE}: {sum(collector.found.passed.values())} squares hold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
