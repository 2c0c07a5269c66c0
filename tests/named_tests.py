"""Tests that a table names: `path::function[id]`, where *id* is part of a row's id, as the file has it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
NAMED: Final = re.compile(r"(?P<path>tests/[\w/]+\.py)::(?P<function>test_\w+)(?:\[(?P<id>[^\]]+)\])?")


@cache
def _module(path: str) -> tuple[frozenset[str], str]:
    """The test functions of a file, and its text."""
    text = (ROOT / path).read_text("utf-8")
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.parse(text).body if isinstance(node, functions)), text


def missing(names: Iterable[str]) -> list[str]:
    """Those of *names* that are no test."""
    wrong: list[str] = []
    for named in names:
        found = NAMED.fullmatch(named)
        if not found or not (ROOT / found["path"]).exists():
            wrong.append(named)
            continue
        functions, text = _module(found["path"])
        if found["function"] not in functions or (found["id"] or "") not in text:
            wrong.append(named)
    return wrong
