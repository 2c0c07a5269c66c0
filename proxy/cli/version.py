"""Which version this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """`modelport 0.1.0`; without a number when it runs from a folder that is not installed."""
    try:
        return f"modelport {installed('modelport')}"
    except PackageNotFoundError:
        return "modelport (not installed)"
