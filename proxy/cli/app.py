"""The commands put together. A command's module is imported when its name is said, and all of them for `--help`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from proxy.cli.process import say_version

MODULES: Final = {
    "serve": "process",
    "live": "process",
    "status": "reports",
    "models": "reports",
    "ask": "ask",
    "test": "ask",
    "version": "process",
    "exchange": "exchange",
    "ledger": "ledger",
    "keys": "keys",
    "orgs": "keys",
    "teams": "keys",
    "budgets": "budgets",
    "costs": "costs",
    "prices": "prices",
    "router": "router",
    "route": "route",
    "config": "config",
    "cache": "cache",
    "catalog": "catalog",
    "providers": "credentials",
    "secrets": "credentials",
    "audit": "audit",
    "logs": "requestlog",
    "log": "log",
    "doctor": "doctor",
}
"""Where each word after `modelport` is at home; the order is that of `--help`. A module's `app` holds its words."""


class Words(Mapping[str, Any]):
    """Commands by name, made when they are looked at."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, word: str) -> Any:
        if word not in self._made:
            module = import_module(f"proxy.cli.{MODULES[word]}")
            self._made.update(typer.main.get_group(module.app).commands)
        return self._made[word]

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


class Root(TyperGroup):
    """`modelport` itself."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast("MutableMapping[str, Any]", Words())  # nobody adds to them


app = typer.Typer(
    name="modelport",
    cls=Root,
    help="One local port for every model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def begin(show_version: Annotated[bool, typer.Option("--version", help="Say the version.")] = False) -> None:
    """One local port for every model."""
    if show_version:
        say_version()
        raise typer.Exit
