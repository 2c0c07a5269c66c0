"""The shipped provider rows (proxy/providers.toml), as they stand in the file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parent.parent / "providers.toml"


@cache
def rows() -> Mapping[str, Mapping[str, Any]]:
    """Provider name -> row, in the order of the file."""
    found: Mapping[str, Mapping[str, Any]] = _file()["providers"]
    return found


@cache
def dialects() -> Mapping[str, Mapping[str, Any]]:
    """Dialect name -> what a provider of that dialect has unless its row or section says otherwise."""
    found: Mapping[str, Mapping[str, Any]] = _file()["dialects"]
    return found


@cache
def _file() -> Mapping[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))
