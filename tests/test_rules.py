"""The rules of docs/security.md: each has its tests, in `rules.toml`; and what can be seen in the source alone."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import Any, Final

import pytest

from tests.named_tests import ROOT, missing

RULES: Final[dict[str, dict[str, Any]]] = tomllib.loads((ROOT / "tests/rules.toml").read_text("utf-8"))
LAST: Final = 24
PACKAGES: Final = ("translators", "routing", "storage", "proxy")


def test_no_rule_is_missing() -> None:
    assert list(RULES) == [str(number) for number in range(1, LAST + 1)]


@pytest.mark.parametrize("number", RULES)
def test_a_rule_has_tests_that_exist(number: str) -> None:
    rule = RULES[number]

    assert set(rule) == {"rule", "tests"}
    assert rule["tests"]
    assert missing(rule["tests"]) == []


def test_the_page_of_security_says_every_rule_with_one_of_its_tests() -> None:
    page = (ROOT / "docs/security.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| `(\S+)` \|$", page, re.MULTILINE)

    assert [(number, rule.partition(": ")[0]) for number, rule, _ in rows] == [
        (number, rule["rule"]) for number, rule in RULES.items()
    ]
    assert [number for number, _, test in rows if test not in RULES[number]["tests"]] == []


# --- rule 8: no code of text

MAKES_CODE: Final = {
    *("eval", "exec", "compile", "__import__", "import_module", "run_path", "run_module", "spec_from_file_location"),
    *("Popen", "create_subprocess_exec", "create_subprocess_shell", "check_output"),
    *("load_extension", "enable_load_extension", "from_string", "Template", "unsafe_load", "full_load"),
}
OF_THE_SYSTEM: Final = {"system", "popen", "fork", "posix_spawn", "execv", "execve", "execvp", "spawnv"}
UNPACKS: Final = {"pickle", "marshal", "shelve", "dill", "jinja2", "runpy", "ctypes"}
WORDS: Final = re.compile(rf"\b(?:{'|'.join(sorted(MAKES_CODE | OF_THE_SYSTEM | UNPACKS))})\b")
KNOWN: Final = {
    "proxy/config/__init__.py::import_module": "modules of its own, by a table",
    "proxy/cli/app.py::import_module": "modules of its own, by a table",
    "proxy/late.py::import_module": "modules of its own, named where routes are",
    "proxy/workers/keeper.py::fork": "its own workers",
    "translators/dialects.py::import_module": "modules of its own, by a table",
    "proxy/backends/llamacpp.py::create_subprocess_exec": "its own child, for models of the configuration",
}


def test_nothing_makes_code_of_text() -> None:
    """No evaluation, no import, no process, no template, nothing unpickled, but for what is known."""
    found = set()
    for path in sorted(each for package in PACKAGES for each in (ROOT / package).rglob("*.py")):
        name, text = path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
        if not WORDS.search(text.replace("re.compile", "").replace("regex.compile", "")):
            continue
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(func=ast.Name(id=called)) if called in MAKES_CODE:
                    found.add(f"{name}::{called}")
                case ast.Call(func=ast.Attribute(value=ast.Name(id="re" | "regex"), attr="compile")):
                    pass
                case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr=called)) if called in OF_THE_SYSTEM:
                    found.add(f"{name}::{called}")
                case ast.Call(func=ast.Attribute(attr=called)) if called in MAKES_CODE:
                    found.add(f"{name}::{called}")
                case ast.Import(names=names):
                    found |= {f"{name}::{each.name}" for each in names if each.name.partition(".")[0] in UNPACKS}
                case ast.ImportFrom(module=str(module), level=0) if module.partition(".")[0] in UNPACKS:
                    found.add(f"{name}::{module}")

    assert found == set(KNOWN)


# --- rule 20: compared in constant time

COMPARED: Final = {
    "proxy/auth.py::_is_master",
    "proxy/config/secrets.py::__eq__",
    "proxy/keyring.py::find",
    "proxy/signing.py::check",
}
"""Where what somebody sent is held against a secret, or what is made of one."""


def test_secrets_are_compared_in_constant_time() -> None:
    """And nowhere in these files a key, signature or digest with `==`."""
    found = set()
    plain = []
    for name in sorted({place.partition("::")[0] for place in COMPARED}):
        for function in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("compare_digest"):
                    found.add(f"{name}::{function.name}")
                if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                    sides = {
                        ast.unparse(each).rpartition(".")[2].strip("_()") for each in (node.left, *node.comparators)
                    }
                    if sides & {"presented", "signature", "digest", "given", "wanted", "secret", "master", "value"}:
                        plain.append(f"{name}::{function.name}: {ast.unparse(node)}")

    assert (found, plain) == (COMPARED, [])
