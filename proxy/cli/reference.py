"""The reference of docs/cli.md, from the commands themselves.

python -m proxy.cli.reference docs/cli.md      # writes what stands between the two marks
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from proxy.cli.app import app
from proxy.cli.live import MEANING
from proxy.cli.live import OPTIONS as LIVE_OPTIONS
from proxy.cli.serve import OPTIONS

BEGIN: Final = "<!-- reference: begin (python -m proxy.cli.reference docs/cli.md) -->"
END: Final = "<!-- reference: end -->"
OWN_OPTIONS: Final = {
    "modelport serve": ("Run the server until SIGTERM or Ctrl-C.", OPTIONS),
    "modelport live": (MEANING, LIVE_OPTIONS),
}
"""Commands that read their options themselves, to start faster."""


def reference() -> str:
    """Every command with its arguments and options, as Markdown."""
    root = typer.main.get_group(app)
    commands = [found for word, command in root.commands.items() for found in _commands(f"modelport {word}", command)]
    return "\n\n".join(_entry(name, command) for name, command in commands)


def renewed(page: str) -> str:
    """*page* with the reference as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{after}"


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        yield name, command
    for word, each in inner.items():
        yield from _commands(f"{name} {word}", each)


def _entry(name: str, command: Any) -> str:
    if found := OWN_OPTIONS.get(name):
        text, options = found
        return _table(name, text, [(f"`{flag}{_value(how.get('metavar'))}`", how["help"]) for flag, how in options])
    rows = [
        (f"`{_spelled(each)}`", each.help or "")
        for each in command.params
        if each.name not in {"help", "context"} and not getattr(each, "hidden", False)
    ]
    return _table(name, " ".join(str(command.help).split()), rows)


def _table(name: str, text: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"### {name}", "", text]
    if rows:
        lines += ["", "| argument | meaning |", "| --- | --- |"]
        lines += [f"| {spelled} | {meaning} |" for spelled, meaning in rows]
    return "\n".join(lines)


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    value = "" if parameter.is_flag else _value(parameter.metavar or str(parameter.name).strip("_").upper())
    return ", ".join(parameter.opts) + value


def _value(metavar: str | None) -> str:
    return f" {metavar}" if metavar else ""


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(renewed(target.read_text(encoding="utf-8")), encoding="utf-8")
