"""The version of the installed distribution."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


@cache
def version() -> str:
    """`0.1.0`, or `unknown` when the code runs without being installed."""
    try:
        return installed("modelport")
    except PackageNotFoundError:
        return "unknown"
