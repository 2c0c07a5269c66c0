"""Dataclasses that are made while the server is imported behave as any others."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import ROOT
from proxy.late_methods import MAKER, late_methods

LATE = pytest.mark.skipif(not hasattr(dataclasses, MAKER), reason="this Python compiles a class at once")


def _family() -> dict[str, type[Any]]:
    @dataclass(frozen=True, slots=True)
    class Frozen:
        one: int
        two: str = "two"
        rest: list[int] = field(default_factory=list, compare=False)

    @dataclass(slots=True)
    class Open:
        one: int
        doubled: int = field(init=False)

        def __post_init__(self) -> None:
            self.doubled = 2 * self.one

    @dataclass
    class Plain(Open):
        three: int = dataclasses.field(default=3, kw_only=True)

    @dataclass(order=True)
    class Ordered:
        one: int

    @dataclass(eq=False)
    class Unequal:
        one: int

    return {each.__name__: each for each in (Frozen, Open, Plain, Ordered, Unequal)}


def _changed(value: Any) -> None:
    value.one = 5


def _deleted(value: Any) -> None:
    del value.one


USES: dict[str, Callable[[Any], Any]] = {
    "printed": repr,
    "copied": copy.deepcopy,
    "replaced": lambda value: replace(value, one=7),
    "taken apart": dataclasses.asdict,
    "equal to its copy": lambda value: value == copy.copy(value),
    "equal to a number": lambda value: value == 1,
    "unequal": lambda value: value == replace(value, one=8),
    "hashed": lambda value: hash(value) == hash(copy.copy(value)),
    "less": lambda value: value < replace(value, one=9),
    "changed": _changed,
    "deleted": _deleted,
    "made without arguments": lambda value: type(value)(),
    "made with a name too many": lambda value: type(value)(one=1, none=2),
    "names of its methods": lambda value: [type(value).__init__.__qualname__, type(value).__repr__.__qualname__],
    "its signature": lambda value: inspect.signature(type(value)),
    "its own text": lambda value: type(value).__doc__,
    "told by its class": lambda value: type(value).__match_args__,
}


def _outcome(use: Callable[[Any], Any], value: Any) -> str:
    try:
        return repr(use(value))
    except (TypeError, AttributeError, FrozenInstanceError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("name", _family())
def test_a_late_class_does_what_any_dataclass_does(name: str, use: Callable[[Any], Any]) -> None:
    with late_methods():
        late = _family()[name]
    usual = _family()[name]

    assert [_outcome(use, late(1)) for _ in "twice"] == [_outcome(use, usual(1)) for _ in "twice"]


@LATE
def test_a_method_takes_the_place_of_its_source_when_it_is_looked_up() -> None:
    with late_methods():
        made = _family()["Frozen"]
    before = {name: type(vars(made)[name]).__name__ for name in ("__init__", "__eq__")}

    made(1)
    after = {name: type(vars(made)[name]).__name__ for name in ("__init__", "__eq__")}

    assert before["__eq__"] == "_Source"
    assert after == {"__init__": "function", "__eq__": "_Source"}


def test_an_overridden_method_that_calls_on_is_compiled_once() -> None:
    with late_methods():

        @dataclass
        class Base:
            """With a text, so that nobody looks for its signature."""

            one: int

        class Child(Base):
            def __init__(self, one: int) -> None:
                super().__init__(one + 1)

    assert [Child(1).one, Child(2).one, Base(5).one] == [2, 3, 5]
    assert type(vars(Base)["__init__"]).__name__ == "function"


def test_everything_is_as_before_when_it_is_over() -> None:
    before = getattr(dataclasses, MAKER, None)

    with pytest.raises(ZeroDivisionError), late_methods():
        1 / 0  # noqa: B018  # the error is what is wanted

    assert getattr(dataclasses, MAKER, None) is before


@LATE
def test_the_server_is_imported_so(tmp_path: Path) -> None:
    """Of the classes that are not compared at the start, none has a compiled comparison."""
    code = (
        "import socket, sys\nfrom proxy.cli import main\n"
        "taken = socket.create_server(('127.0.0.1', 0))\n"
        "sys.argv = ['modelport', 'serve', '--port', str(taken.getsockname()[1])]\n"
        "try: main()\nexcept SystemExit as end: print(end.code)\n"
        "from proxy.config import Loaded\nfrom storage.bookings import SettledExchange\n"
        "for each in (Loaded, SettledExchange): print(type(vars(each)['__eq__']).__module__)\n"
    )
    paths = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True, check=True)

    assert told.stdout.split() == ["1", "proxy.late_methods", "proxy.late_methods"]
