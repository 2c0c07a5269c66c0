"""A server of its own whose coverage is measured: forked processes hand theirs in as they end.

    MODELPORT_TESTS_SEEN=folder python -m tests.measured serve ...

What is killed hands nothing in.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

SEEN: Final = "MODELPORT_TESTS_SEEN"
"""The variable that names the folder; without it nothing is measured."""
ELSEWHERE: Final = "proxy/workers"
"""What runs in no process of the tests themselves. To measure the rest, too, would take seconds for each start."""


def main(folder: Path) -> None:
    """Run the console script on the arguments."""
    from tests.measuring import measured

    own, imports = measured(ELSEWHERE)
    imports.__enter__()

    def hand_in() -> None:
        part = folder / f"{os.getpid()}-{time.monotonic_ns()}"
        part.write_text(json.dumps(own.get_coverage()), "utf-8")
        part.rename(part.with_suffix(".json"))

    def leave(status: int, _exit: Any = os._exit) -> NoReturn:
        """What a forked process ends with."""
        hand_in()
        _exit(status)

    os._exit = leave
    atexit.register(hand_in)

    from proxy.cli import main as run

    sys.exit(run())


if __name__ == "__main__":
    main(Path(os.environ[SEEN]))
