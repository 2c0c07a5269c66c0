"""The command line. `serve` comes first and alone: it must not wait for what only the other commands need."""

from __future__ import annotations

import sys
from pathlib import Path

from proxy.cli.ownership import stranger

ROOT = Path(__file__).parent.parent.parent
"""The folder that holds the four packages."""


def main() -> None:
    """The console script `modelport`. Exits with 0, 1 (it did not work) or 2 (usage or configuration)."""
    if other := stranger(ROOT):
        sys.stderr.write(f"modelport: {other}\n")
        sys.exit(2)
    if sys.argv[1:2] == ["serve"]:
        from proxy.cli.serve import serve

        sys.exit(serve(sys.argv[2:]))
    from proxy.cli.app import app

    app(prog_name="modelport")
