"""What the commands write: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import typer

WIDE: Final = 200
"""Columns of a table that goes to a file or a pipe."""


def fail(message: object, status: int = 1) -> NoReturn:
    """Say what is wrong and end with *status*: 1 it did not work, 2 usage or configuration."""
    note(message)
    raise typer.Exit(status)


def note(message: object) -> None:
    """A line for the person, not for the pipe."""
    sys.stderr.write(f"{message}\n")


def write(text: str) -> None:
    """A result."""
    sys.stdout.write(f"{text}\n")


def write_json(value: Any) -> None:
    """A result for machines."""
    write(json.dumps(value, indent=2, ensure_ascii=False))


def write_table(columns: Sequence[str], lines: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """A result for people. Columns named in *right* are numbers."""
    from rich.console import Console  # only where a table is shown
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for line in lines:
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in line))
    Console(width=None if sys.stdout.isatty() else WIDE, highlight=False).print(table)
