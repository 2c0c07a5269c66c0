"""The command line. `serve` comes first and alone: it must not wait for what only the other commands need."""

from __future__ import annotations

import gc
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
        # Importing makes many objects and hardly any garbage: collecting meanwhile is a seventh of the time to start.
        gc.disable()
        from proxy.late_methods import late_methods

        with late_methods():
            from proxy.cli.serve import serve

        sys.exit(serve(sys.argv[2:]))
    if sys.argv[1:2] == ["live"]:  # every ten seconds, in a container
        from proxy.cli.live import live

        sys.exit(live(sys.argv[2:]))
    from proxy.cli.app import app

    app(prog_name="modelport")
