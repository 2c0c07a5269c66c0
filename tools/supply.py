"""What is shipped, and whether that is what was agreed: versions, licences, the SBOM.

    python tools/supply.py version            the version in pyproject.toml
    python tools/supply.py licences           write docs/licences.md, from the packages that are installed here
    python tools/supply.py sbom FILE          complain where FILE (CycloneDX) and docker/requirements.lock differ

Exit status 1: something is not as agreed; every complaint is a line on standard error.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOCK: Final = ROOT / "docker" / "requirements.lock"
PAGE: Final = ROOT / "docs" / "licences.md"
ALLOWED: Final = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CNRI-Python",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "PSF-2.0",
    }
)
"""Permissive ones, and MPL-2.0, whose terms hold for its own files alone."""
WORDS: Final = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""How packages without an SPDX expression call their licence."""
NOT_ON_LINUX: Final = {"colorama": "BSD-3-Clause", "httpx2-jsfetch": "BSD-3-Clause"}
"""Locked for other platforms, not in the image, and therefore not installed where the page is written."""
HEAD: Final = """\
# Licences of what is shipped

The packages of `docker/requirements.lock`, which the image holds beside Python and Debian's libraries.
Written by `python tools/supply.py licences` from the packages' own metadata.
A test holds it against the lock, and against the set of what is allowed.
Data in the wheel is listed in [THIRD_PARTY_DATA.md](../THIRD_PARTY_DATA.md).

| package | licence |
| --- | --- |
"""


def locked(lock: str) -> dict[str, str]:
    """The version of every package that *lock* names."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", lock, re.MULTILINE))


def everywhere(lock: str) -> set[str]:
    """The packages that *lock* installs on every platform."""
    return set(re.findall(r"^([a-z0-9-]+)==[^ ;\\]+ \\$", lock, re.MULTILINE))


def licence(package: Distribution) -> str:
    """The SPDX expression of *package*. Empty if its metadata names none that is known."""
    said: Any = package.metadata
    if expression := said.get("License-Expression"):
        return str(expression)
    told = [name.rpartition(" :: ")[2] for name in said.get_all("Classifier", []) if name.startswith("License ::")]
    first = str(said.get("License") or "").strip().partition("\n")[0].strip()
    for name in (first, *told):
        if (spdx := WORDS.get(name, name)) in ALLOWED:
            return spdx
    return ""


def is_allowed(expression: str) -> bool:
    """Whether every licence that an SPDX *expression* names may be shipped, also those that it lets one choose."""
    names = set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR"}
    return bool(names) and names <= ALLOWED


def page(lock: str, licences: Mapping[str, str]) -> str:
    """The text of docs/licences.md."""
    return HEAD + "".join(f"| `{name}` | {licences[name]} |\n" for name in sorted(locked(lock)))


def listed(text: str) -> dict[str, str]:
    """The licences that the page tells."""
    return dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", text, re.MULTILINE))


def installed(lock: str) -> tuple[dict[str, str], list[str]]:
    """The licences of what *lock* names, and what is wrong about them."""
    found, wrong = dict(NOT_ON_LINUX), []
    for name in locked(lock):
        if name in NOT_ON_LINUX:
            continue
        try:
            found[name] = licence(distribution(name))
        except PackageNotFoundError:
            wrong.append(f"{name} is not installed here; install docker/requirements.lock first")
            continue
        if not is_allowed(found[name]):
            wrong.append(f"{name}: the licence {found[name]!r} is not among those of tools/supply.py")
    return found, wrong


def differences(bill: Mapping[str, Any], lock: str) -> list[str]:
    """Where the CycloneDX document *bill* and *lock* do not say the same."""
    named = {part["name"].lower().replace("_", "-"): part.get("version") for part in bill.get("components", [])}
    versions = locked(lock)
    return [
        *(f"{name} {version} is not in the lock" for name, version in named.items() if versions.get(name) != version),
        *(f"{name} is locked and not in the SBOM" for name in sorted(everywhere(lock) - named.keys())),
    ]


def main(arguments: list[str]) -> int:
    """Do what is asked. Gives the exit status."""
    lock = LOCK.read_text("utf-8")
    match arguments:
        case ["version"]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
            sys.stdout.write(f"{project['version']}\n")
            wrong = []
        case ["licences"]:
            found, wrong = installed(lock)
            if not wrong:
                PAGE.write_text(page(lock, found), "utf-8")
        case ["sbom", path]:
            wrong = differences(json.loads(Path(path).read_text("utf-8")), lock)
        case _:
            sys.stderr.write(__doc__ or "")
            return 2
    sys.stderr.writelines(f"{each}\n" for each in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
