"""Every case of the wire facts has its tests, or a reason why it has none yet: `wire_cases.toml` says which."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
CASES: Final[dict[str, dict[str, Any]]] = tomllib.loads((ROOT / "tests/wire_cases.toml").read_text("utf-8"))
LAST: Final = 141
NAMED: Final = re.compile(r"(?P<path>tests/[\w/]+\.py)::(?P<function>test_\w+)(?:\[(?P<id>[^\]]+)\])?")


@cache
def module(path: str) -> tuple[frozenset[str], str]:
    """The test functions of a file, and its text."""
    text = (ROOT / path).read_text("utf-8")
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.parse(text).body if isinstance(node, functions)), text


def test_no_case_is_missing() -> None:
    assert list(CASES) == [str(number) for number in range(1, LAST + 1)]


@pytest.mark.parametrize("number", CASES)
def test_a_case_has_tests_that_exist_or_a_reason(number: str) -> None:
    case = CASES[number]
    wrong: list[str] = []
    for named in case.get("tests", ()):
        found = NAMED.fullmatch(named)
        if not found or not (ROOT / found["path"]).exists():
            wrong.append(named)
            continue
        functions, text = module(found["path"])
        if found["function"] not in functions or (found["id"] or "") not in text:
            wrong.append(named)

    assert set(case) in ({"tests"}, {"later"})
    assert case.get("tests") or case.get("later")
    assert wrong == []
