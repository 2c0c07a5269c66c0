"""atheris on the readers of foreign bytes: `python tests/hostile/fuzz_atheris.py TARGET [libFuzzer's options]`.

make fuzz-atheris TARGET=event_stream SECONDS=3600
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["translators", "proxy.fast"]):
    from tests.hostile.targets import TARGETS


def main() -> None:
    """Run one target until it breaks or its time is over."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz_atheris.py TARGET [options]; there are {', '.join(TARGETS)}")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
