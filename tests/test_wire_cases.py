"""Every case of the wire facts has its tests, or a reason why it has none yet: `wire_cases.toml` says which."""

from __future__ import annotations

import tomllib
from typing import Any, Final

import pytest

from tests.named_tests import ROOT, missing

CASES: Final[dict[str, dict[str, Any]]] = tomllib.loads((ROOT / "tests/wire_cases.toml").read_text("utf-8"))
LAST: Final = 141


def test_no_case_is_missing() -> None:
    assert list(CASES) == [str(number) for number in range(1, LAST + 1)]


@pytest.mark.parametrize("number", CASES)
def test_a_case_has_tests_that_exist_or_a_reason(number: str) -> None:
    case = CASES[number]

    assert set(case) in ({"tests"}, {"later"})
    assert case.get("tests") or case.get("later")
    assert missing(case.get("tests", ())) == []
