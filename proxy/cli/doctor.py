"""`modelport doctor`: looks at everything that can be wrong, and says what to do about it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.options import File, Json, command
from proxy.cli.terminal import write, write_json
from proxy.config.errors import ConfigError
from proxy.version import version

if TYPE_CHECKING:
    from proxy.doctor import Finding

app = typer.Typer()


@app.command("doctor")
@command
def doctor(
    *,
    network: Annotated[
        bool, typer.Option("--network", help="Ask the providers for their lists of models, which costs nothing.")
    ] = False,
    as_json: Json = False,
    file: File,
) -> None:
    """Look at configuration, keys, database, clock, disk and exposure. Exits with 1 when something is wrong."""
    from proxy.doctor import worst  # half of the server comes with it; `--help` does without

    findings = look(file, network=network)
    grade = worst(findings)
    if as_json:
        checks = [
            {"check": each.check, "status": each.grade, "found": each.told, "todo": each.todo or None}
            for each in findings
        ]
        write_json({"status": grade, "version": version(), "checks": checks})
    else:
        show(findings)
    if grade == "fail":
        raise typer.Exit(1)


def look(file: File, *, network: bool) -> list[Finding]:
    """The findings. A configuration that cannot be read is one of them, and the last."""
    from proxy.config import load  # as above
    from proxy.doctor import Finding, examined, of_versions

    try:
        loaded = load(file.config, profile=file.profile, open_port=True)
    except ConfigError as error:
        return [*of_versions(), Finding("configuration", "fail", str(error), "mend it; modelport config check tells")]
    return list(examined(loaded, os.environ, network=network))


def show(findings: list[Finding]) -> None:
    """A line for each, and a further one for what to do."""
    for each in findings:
        write(f"{each.grade:<5} {each.check:<14} {each.told}")
        if each.todo:
            write(f"{'':<20} -> {each.todo}")
