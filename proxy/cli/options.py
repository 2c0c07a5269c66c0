"""What commands have in common: the options that say which server is meant, and errors that become one line.

A parameter of a command whose type is a subclass of `Options` stands for the fields of that class: each is an option,
those of the class itself before those of its bases.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from proxy.cli.client import Refused, Server, administered, server
from proxy.cli.terminal import fail
from proxy.config.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From: 24h, 90d or an ISO 8601 time.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Up to. Default: now.")]


def whole_number(text: str | int) -> int:
    """A number in digits, and nothing else that Python takes for one (`1_000`, digits of other scripts)."""
    if isinstance(text, str) and not (text.isascii() and text.isdecimal()):
        raise typer.BadParameter(f"{text!r} is not a whole number in digits")
    return int(text)


class Options:
    """Options that several commands take: a frozen dataclass whose fields all have defaults."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class File(Options):
    """Which configuration is meant."""

    config: Annotated[Path | None, typer.Option("--config", metavar="PATH", help="Configuration file.")] = None
    profile: Annotated[str | None, typer.Option("--profile", metavar="NAME", help="Profile of the configuration.")] = (
        None
    )


@dataclass(frozen=True, slots=True)
class Where(File):
    """Which server is meant."""

    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="Where the server is. Default: MODELPORT_URL, else the configuration."
        ),
    ] = None

    def server(self) -> Server:
        """The running one. Raises ConfigError, Refused."""
        return server(self.url, self.config, self.profile)

    def administered(self) -> AbstractContextManager[Server]:
        """The running one; where none runs, one of our own on the database. Entering it raises ConfigError, Refused."""
        return administered(self.url, self.config, self.profile)


@dataclass(frozen=True, slots=True)
class Asked(Where):
    """Which server is meant, and how its answer is written."""

    as_json: Json = False


def command(function: Callable[..., None]) -> Callable[..., None]:
    """*function* as typer takes it: one parameter for each option; what a person can mend is one line and a status."""
    parameters, groups = _spread(function)

    @wraps(function)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{each: given.pop(each) for each, _, _ in _fields(group)})
        try:
            function(**given)
        except Refused as error:
            fail(error)
        except ConfigError as error:
            fail(error, 2)

    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect looks at first
    return run


def _spread(function: Callable[..., None]) -> tuple[list[inspect.Parameter], dict[str, type[Options]]]:
    """The parameters with those of the groups in their places, and the groups by name."""
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Options]] = {}
    for each in inspect.signature(function).parameters.values():
        kind = hints[each.name]
        if isinstance(kind, type) and issubclass(kind, Options):
            groups[each.name] = kind
            parameters += [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
                for name, annotation, default in _fields(kind)
            ]
        else:
            parameters.append(each.replace(annotation=kind))
    return parameters, groups


def _fields(group: type[Options]) -> Iterator[tuple[str, Any, Any]]:
    """Name, annotation and default of each option."""
    hints = get_type_hints(group, include_extras=True)
    defaults = inspect.signature(group).parameters
    for kind in group.__mro__:
        for name in inspect.get_annotations(kind):
            yield name, hints[name], defaults[name].default
