"""The files beside the database that each worker has for itself: its journal and its slate."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_OWN: Final = re.compile(r"-(?:spill|slate)\.(\d+)")


def worker_file(path: Path, suffix: str, number: int) -> Path:
    """The file of the worker *number* beside the database at *path*; the first one's are those of a process alone."""
    return path.with_name(f"{path.name}{suffix}" + (f".{number}" if number else ""))


def left_by_workers(path: Path) -> list[int]:
    """The workers, beyond the first, that have left a file beside the database at *path*."""
    if not path.parent.is_dir():
        return []
    names = (file.name.removeprefix(path.name) for file in path.parent.iterdir() if file.name.startswith(path.name))
    return sorted({int(found[1]) for name in names if (found := _OWN.fullmatch(name))})
