"""Whether our four package names are really ours.

The names are short, and another distribution may install a package of the same name: into another folder that comes
first on the path, or over our files in the same one.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

NAMES: Final = ("translators", "routing", "storage", "proxy")
OURS: Final = "modelport"
REMEDY: Final = "install modelport alone in its environment (uv tool install, pipx, a container)"


def stranger(root: Path) -> str | None:
    """A sentence that says which name another distribution owns; None when all four stand in *root* alone."""
    for name in NAMES:
        spec = find_spec(name)
        places = [Path(place) for place in (spec.submodule_search_locations if spec else None) or []]
        if places != [root / name]:
            found = ", ".join(map(str, places)) or "nowhere"
            return f"the package {name!r} is {found}, not {root / name}; {REMEDY}"
    for record in root.glob("*.dist-info/RECORD"):
        distribution = record.parent.name.partition("-")[0]
        if distribution.lower() != OURS and (claimed := _claimed(record)):
            return f"the distribution {distribution!r} installs a package {claimed!r} over ours; {REMEDY}"
    return None


def _claimed(record: Path) -> str | None:
    try:
        lines = b"\n" + record.read_bytes()
    except OSError:
        return None
    return next((name for name in NAMES if f"\n{name}/".encode() in lines), None)
