"""SQL is made of the program's own words: what comes from outside is bound, and wildcards in it are none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from storage.audit import AuditLog
from storage.db import Database

ROOT: Final = Path(__file__).resolve().parents[2]
FILES: Final = sorted((ROOT / "storage").rglob("*.py"))
EXECUTES: Final = {"execute", "executemany", "executescript"}
BUILT_ELSEWHERE: Final = {
    "storage/verify.py": "a pragma takes no parameters; the names are those of sqlite_schema, quoted",
    "storage/migrations/__init__.py": "the statements of the numbered migrations, and a pragma",
}
"""Where a statement may be put together otherwise, and of what."""

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Module:
    """One file: which of its expressions are made of nothing but what stands in source files."""

    def __init__(self, path: Path) -> None:
        self.name = str(path.relative_to(ROOT))
        self.tree = ast.parse(path.read_text("utf-8"))
        self.above = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self.top = self._top()
        self.functions = {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    def _top(self) -> set[str]:
        """Names of the module itself: made when it is imported, before any request."""
        found: set[str] = set()
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom | ast.Import):
                found |= {alias.asname or alias.name for alias in node.names}
            for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
                if isinstance(target, ast.Name | ast.Tuple):
                    names = target.elts if isinstance(target, ast.Tuple) else [target]
                    found |= {each.id for each in names if isinstance(each, ast.Name)}
        return found

    def statements(self) -> Iterator[ast.expr]:
        """What is executed."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in EXECUTES:
                yield node.args[0]

    def scopes(self, node: ast.AST) -> Iterator[Function]:
        """The functions around *node*, innermost first."""
        while (node := self.above.get(node, self.tree)) is not self.tree:
            if isinstance(node, Function):
                yield node

    def is_own(self, node: ast.expr, seen: frozenset[ast.AST] = frozenset()) -> bool:
        """Whether *node* is made of the words of source files alone."""
        if node in seen:
            return True
        seen |= {node}
        match node:
            case ast.Constant():
                return True
            case ast.Name():
                return self._is_own_name(node, seen)
            case ast.Attribute():
                return self.is_own(node.value, seen)
            case ast.Subscript():  # a word of an own table, whatever it is looked up by
                return self.is_own(node.value, seen)
            case ast.IfExp():
                return self.is_own(node.body, seen) and self.is_own(node.orelse, seen)
            case ast.BinOp():
                return self.is_own(node.left, seen) and self.is_own(node.right, seen)
            case ast.Starred():
                return self.is_own(node.value, seen)
            case ast.Tuple() | ast.List() | ast.Set():
                return all(self.is_own(each, seen) for each in node.elts)
            case ast.JoinedStr():
                return all(self.is_own(each, seen) for each in node.values)
            case ast.FormattedValue():
                return _is_number(node) or self.is_own(node.value, seen)
            case ast.Call(func=ast.Attribute(value=value, attr="items" | "values" | "replace")):
                return self.is_own(value, seen) and all(self.is_own(each, seen) for each in node.args)
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                returns = [each for each in ast.walk(self.functions[name]) if isinstance(each, ast.Return)]
                return all(each.value is not None and self.is_own(each.value, seen) for each in returns)
            case _:
                return False

    def _is_own_name(self, node: ast.Name, seen: frozenset[ast.AST]) -> bool:
        for scope in self.scopes(node):
            found = list(self._bindings(scope, node.id))
            if found:
                return all(self.is_own(each, seen) for each in found)
            if any(each.arg == node.id for each in _arguments(scope)):
                given = [
                    (module, each)
                    for module in (self, *self.others(getattr(scope, "name", "")))
                    for each in module.given(scope, node.id)
                ]
                return bool(given) and all(module.is_own(each, seen) for module, each in given)
        return node.id in self.top

    def _bindings(self, scope: Function, name: str) -> Iterator[ast.expr]:
        """What *name* is set to in *scope*."""
        for node in ast.walk(scope):
            match node:
                case ast.Assign(targets=targets) if any(_binds(target, name) for target in targets):
                    yield node.value
                case ast.AnnAssign(target=target, value=ast.expr() as value) if _binds(target, name):
                    yield value
                case ast.AugAssign(target=target) if _binds(target, name):
                    yield node.value
                case ast.For(target=target) | ast.comprehension(target=target) if _binds(target, name):
                    yield node.iter

    def others(self, name: str) -> Iterator[Module]:
        """The other files that import *name* from this one."""
        here = self.name.removesuffix(".py").replace("/", ".")
        for module in modules():
            for node in module.tree.body:
                if isinstance(node, ast.ImportFrom) and node.module == here and name in {a.name for a in node.names}:
                    yield module

    def given(self, function: Function, name: str) -> Iterator[ast.expr]:
        """What callers in this file give to the parameter *name*, by `partial` too."""
        place = [each.arg for each in _arguments(function)].index(name)
        called = getattr(function, "name", None)
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Call) or called is None:
                continue
            target, arguments = node.func, list(node.args)
            if isinstance(target, ast.Name) and target.id == "partial" and arguments:
                target = arguments.pop(0)
            if isinstance(target, ast.Attribute) and target.attr == called:
                arguments.insert(0, target.value)
            elif not (isinstance(target, ast.Name) and target.id == called):
                continue
            named = [each.value for each in node.keywords if each.arg == name]
            if named or len(arguments) > place:
                yield named[0] if named else arguments[place]


@cache
def modules() -> tuple[Module, ...]:
    """All of storage."""
    return tuple(Module(path) for path in FILES)


def _arguments(function: Function) -> list[ast.arg]:
    given = function.args
    return [*given.posonlyargs, *given.args, *given.kwonlyargs]


def _binds(target: ast.expr, name: str) -> bool:
    return any(isinstance(each, ast.Name) and each.id == name for each in ast.walk(target))


def _is_number(node: ast.FormattedValue) -> bool:
    """Whether the format allows whole numbers alone."""
    return isinstance(node.format_spec, ast.JoinedStr) and ast.unparse(node.format_spec) == "f'd'"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_word_from_outside_gets_into_a_statement(path: Path) -> None:
    module = next(each for each in modules() if each.name == str(path.relative_to(ROOT)))
    foreign = [ast.unparse(each) for each in module.statements() if not module.is_own(each)]

    assert foreign == [] or module.name in BUILT_ELSEWHERE, foreign


def test_the_exceptions_are_still_needed_and_are_pragmas() -> None:
    for name in BUILT_ELSEWHERE:
        module = next(each for each in modules() if each.name == name)
        foreign = [ast.unparse(each) for each in module.statements() if not module.is_own(each)]
        assert foreign, name
        assert [each for each in foreign if not (each.startswith("f'PRAGMA ") or each == "statement")] == []


SPOILED: Final = {
    "f-string of a parameter": 'def f(c, name):\n    c.execute(f"SELECT {name}")\ndef g(c, r):\n    f(c, r.name)\n',
    "added": 'def f(c, name):\n    c.execute("SELECT " + name)\ndef g(c, r):\n    f(c, r.name)\n',
    "formatted": 'def f(c, r):\n    c.execute("SELECT {}".format(r))\n',
    "percent": 'def f(c, r):\n    c.execute("SELECT %s" % r.name)\n',
    "joined": 'def f(c, r):\n    c.execute(" AND ".join(r))\n',
    "by a name": 'def f(c, r):\n    text = "SELECT 1"\n    text += r.order\n    c.execute(text)\n',
    "by a loop": "def f(c, r):\n    for each in r.many:\n        c.execute(each)\n",
    "by a function": "def f(r):\n    return r.sql\ndef g(c, r):\n    c.execute(f(r))\n",
    "of a parameter nobody gives": "def f(c, text):\n    c.execute(text)\n",
    "of self": "class A:\n    def f(self, c):\n        c.execute(self.text)\n",
    "in a lambda": 'def f(db, r):\n    db.read(lambda c: c.execute(f"SELECT {r}"))\n',
}


@pytest.mark.parametrize("case", SPOILED)
def test_every_way_to_put_a_word_in_is_seen(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spoiled.py"
    path.write_text(SPOILED[case], "utf-8")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    module = Module(path)

    assert [module.is_own(each) for each in module.statements()] == [False]


def test_no_pattern_is_made_of_what_is_asked_for() -> None:
    """`LIKE` with a bound value takes its % and _ for wildcards. `GLOB` is where a glob is what one asks by."""
    found = {}
    for path in FILES:
        text = path.read_text("utf-8")
        for each in re.findall(r"\b(?:LIKE|GLOB|REGEXP)\s+(?!')[:\w]+", text):
            found.setdefault(str(path.relative_to(ROOT)), []).append(each)

    assert found == {"storage/repricing.py": ["GLOB :model", "GLOB :model"]}


async def test_an_action_of_the_audit_log_is_asked_for_by_its_letters(tmp_path: Path) -> None:
    async with Database(tmp_path / "modelport.db") as db:
        audit = AuditLog(db)
        for action in ("key.created", "key.revoked", "keyring.made", "budget.created"):
            audit.note("me", action, "it")
        await db.write(lambda connection: None)  # what was noted is written before

        async def asked(action: str) -> list[str]:
            return sorted(entry.action for entry in await audit.show(action=action))

        found = [await asked(action) for action in ("key", "key.created", "%", "k_y", "key%", "key.%", "*")]

    assert found == [["key.created", "key.revoked"], ["key.created"], [], [], [], [], []]
